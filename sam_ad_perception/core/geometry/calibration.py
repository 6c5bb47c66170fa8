"""Calibration from a file, for vehicles whose transforms or camera geometry no topic brings."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import (
    make_transform,
    quaternion_to_matrix,
)
from sam_ad_perception.core.sensors import CameraModel, Modality
from sam_ad_perception.core.settings.yaml_documents import YamlError, read_yaml

_TRANSFORM = {'parent', 'child', 'translation', 'rotation'}
_CAMERA = {'frame_id', 'width', 'height', 'K', 'distortion_model', 'D'}
_CAMERA_OPTIONAL = {'distortion_model', 'D'}


class CalibrationError(ValueError):
    """A calibration file is malformed; the message names the field."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a calibration file says.

    Attributes:
        transforms: For each static link: parent frame, child frame, (4, 4) float64
            `T_parent_child`, metres.
        cameras: Geometry of image-like sensors, used until a CameraInfo of the sensor comes.
    """

    transforms: tuple[tuple[str, str, NDArray[np.float64]], ...] = ()
    cameras: Mapping[Modality, CameraModel] = field(default_factory=dict)

    def fill(self, tree: TransformTree) -> None:
        """Put the links into a tree.

        Args:
            tree: The tree.

        Raises:
            ValueError: A link of a frame to itself, or an empty name.
        """
        for parent, child, T_parent_child in self.transforms:
            tree.set_static(parent, child, T_parent_child)


def load_calibration(path: Path) -> Calibration:
    """Read a calibration file; `config/extrinsics.example.yaml` shows every field.

    Args:
        path: YAML file with `transforms` (a list) and, optionally, `cameras` (by sensor).

    Returns:
        Its content.

    Raises:
        CalibrationError: Names the file, the field, what came and what was expected.
        OSError: The file cannot be read.
    """
    try:
        content = read_yaml(path)
    except YamlError as err:
        raise CalibrationError(str(err)) from err
    try:
        top = _mapping('the file', content, {'transforms', 'cameras'}, {'transforms', 'cameras'})
        links = top.get('transforms') or []
        if not isinstance(links, list):
            raise CalibrationError(f'transforms must be a list, got {_shown(links)}')
        cameras = _mapping('cameras', top.get('cameras') or {}, set(Modality), set(Modality))
        calibration = Calibration(
            tuple(_read_link(f'transforms[{i}]', each) for i, each in enumerate(links)),
            {Modality(n): _read_camera(f'cameras.{n}', value) for n, value in cameras.items()},
        )
        children = [child for _, child, _ in calibration.transforms]
        for i, child in enumerate(children):
            if child in children[:i]:
                raise CalibrationError(f'transforms[{i}].child {child!r} is placed already')
        _check_loops({child: parent for parent, child, _ in calibration.transforms})
        calibration.fill(TransformTree())
    except ValueError as err:
        raise CalibrationError(f'{path}: {err}') from err
    return calibration


def _check_loops(parents: Mapping[str, str]) -> None:
    """Tell of a loop now, not on the road."""
    for child in parents:
        chain = [child]
        while (parent := parents.get(chain[-1])) is not None:
            if parent in chain:
                raise CalibrationError(f'the transforms of {", ".join(chain[:8])} form a loop')
            chain.append(parent)


def _read_link(name: str, link: object) -> tuple[str, str, NDArray[np.float64]]:
    """Read one transform."""
    fields = _mapping(name, link, _TRANSFORM)
    x, y, z, w = _numbers(f'{name}.rotation', fields['rotation'], 4)
    try:
        R = quaternion_to_matrix(x, y, z, w)
    except ValueError as err:
        raise CalibrationError(f'{name}.rotation: {err}') from err
    T = make_transform(R, _numbers(f'{name}.translation', fields['translation'], 3))
    parent = _text(f'{name}.parent', fields['parent']).lstrip('/')
    return parent, _text(f'{name}.child', fields['child']).lstrip('/'), T


def _read_camera(name: str, camera: object) -> CameraModel:
    """Read one camera."""
    fields = _mapping(name, camera, _CAMERA, _CAMERA_OPTIONAL)
    for side in ('width', 'height'):
        if type(fields[side]) is not int:
            raise CalibrationError(f'{name}.{side} must be an int, got {_shown(fields[side])}')
    try:
        return CameraModel(
            width=fields['width'],
            height=fields['height'],
            K=np.array(_numbers(f'{name}.K', fields['K'], 9)).reshape(3, 3),
            D=np.array(_numbers(f'{name}.D', fields.get('D', []), None)),
            distortion_model=_text(
                f'{name}.distortion_model', fields.get('distortion_model', 'plumb_bob')
            ),
            frame_id=_text(f'{name}.frame_id', fields['frame_id']).lstrip('/'),
        )
    except CalibrationError:
        raise
    except ValueError as err:
        raise CalibrationError(f'{name}: {err}') from err


def _mapping(
    name: str, value: object, keys: set[Any], optional: Collection[Any] = ()
) -> dict[str, Any]:
    """Check a mapping: no key is unknown, none is lacking."""
    if not isinstance(value, dict):
        raise CalibrationError(f'{name} must be a mapping, got {_shown(value)}')
    known = ', '.join(sorted(map(str, keys)))
    for key in value:
        if key not in keys:
            raise CalibrationError(f'{name} has the unknown field {key!r}, known are {known}')
    for key in sorted(map(str, keys - set(optional))):
        if key not in value:
            raise CalibrationError(f'{name}.{key} is missing')
    return value


def _numbers(name: str, value: object, count: int | None) -> list[float]:
    """Check a list of finite numbers."""
    expected = f'{count} numbers' if count is not None else 'numbers'
    if not isinstance(value, list) or (count is not None and len(value) != count):
        raise CalibrationError(f'{name} must be a list of {expected}, got {_shown(value)}')
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float) or not math.isfinite(item):
            raise CalibrationError(f'{name} must be a list of {expected}, got {_shown(value)}')
    return [float(item) for item in value]


def _text(name: str, value: object) -> str:
    """Check a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise CalibrationError(f'{name} must be a name, got {_shown(value)}')
    return value


def _shown(value: object) -> str:
    """Describe a refused value."""
    return 'null' if value is None else f'{value!r} ({type(value).__name__})'
