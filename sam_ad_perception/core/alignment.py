"""Bring images of other sensors (thermal, events, labels) into the camera's view."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.geometry import check_transform, sampling_map, scale_camera
from sam_ad_perception.core.sensors import CameraModel

Interpolation = Literal['linear', 'nearest']

_FLAGS = {'linear': cv2.INTER_LINEAR, 'nearest': cv2.INTER_NEAREST}
_DTYPES = (np.uint8, np.uint16, np.int16, np.float32)
_CHANNELS_AT_ONCE = 4  # cv2.remap with a border value takes no more
_MAPS_KEPT = 8  # 18 MB each at 1920x1080


def warp_to_camera(
    image: NDArray[np.generic],
    source: CameraModel,
    target: CameraModel,
    T_target_source: NDArray[np.float64],
    *,
    interpolation: Interpolation = 'linear',
    size: tuple[int, int] | None = None,
    distance_m: float = np.inf,
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Resample an image as the target camera would see it, lens distortion of both included.

    Without a depth per pixel the scene is taken to be a plane at `distance_m`. At infinity, the
    default, the translation between the sensors is ignored and only the rotation counts; the
    error is then `f * baseline / depth` pixels. The maps are cached, by the content of the two
    models, the transform and the distance.

    The image is sampled, not averaged: where the output is much coarser than `image`, warp at
    full size and shrink the result.

    Args:
        image: (H, W) or (H, W, C), uint8, uint16, int16 or float32.
        source: Geometry of `image`.
        target: The view wanted.
        T_target_source: (4, 4), maps source-frame points into the target's frame, metres.
        interpolation: `linear`, or `nearest` for labels and counts.
        size: `(H, W)` of the output, pixels; the target's view at that resolution. None takes
            the target's own size.
        distance_m: Distance of the scene along the target's optical axis, metres.

    Returns:
        The image, (H, W) or (H, W, C) in the dtype of `image`, 0 where `valid` is False; and
        `valid` (H, W) bool, read-only: whether the source's image covers the pixel.

    Raises:
        ValueError: The image's size is not its model's, its dtype or the interpolation is not
            supported, or the transform is not rigid.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3) or image.shape[:2] != source.size:
        raise ValueError(
            f'image must be {source.size} as its camera model says, with or without channels, '
            f'got {image.shape}'
        )
    if image.dtype not in _DTYPES:
        names = ', '.join(np.dtype(dtype).name for dtype in _DTYPES)
        raise ValueError(f'image dtype must be one of {names}, got {image.dtype}')
    if interpolation not in _FLAGS:
        raise ValueError(f'interpolation must be one of {sorted(_FLAGS)}, got {interpolation!r}')
    T = check_transform(T_target_source, 'T_target_source')
    if np.isinf(distance_m):  # the translation has no effect: do not let it split the cache
        T = np.block([[T[:3, :3], np.zeros((3, 1))], [T[3:]]])
    view = target if size is None else scale_camera(target, size)
    map_u, map_v, valid = _cached_map(_View.of(source), _View.of(view), T.tobytes(), distance_m)
    return _remap(image, map_u, map_v, _FLAGS[interpolation]), valid


@dataclass(frozen=True)
class _View:
    """A `CameraModel` as a cache key: equal by content, without the frame's name."""

    width: int
    height: int
    K: bytes
    D: bytes
    distortion_model: str

    @classmethod
    def of(cls, camera: CameraModel) -> _View:
        return cls(
            camera.width,
            camera.height,
            camera.K.tobytes(),
            camera.D.tobytes(),
            camera.distortion_model,
        )

    def camera(self) -> CameraModel:
        K, D = np.frombuffer(self.K).reshape(3, 3), np.frombuffer(self.D)
        return CameraModel(self.width, self.height, K, D, self.distortion_model)


@lru_cache(maxsize=_MAPS_KEPT)
def _cached_map(
    source: _View, target: _View, T_target_source: bytes, distance_m: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    T = np.frombuffer(T_target_source).reshape(4, 4)
    maps = sampling_map(source.camera(), target.camera(), T, distance_m)
    for array in maps:
        array.flags.writeable = False
    return maps


def _remap(
    image: NDArray[Any], map_u: NDArray[np.float32], map_v: NDArray[np.float32], flag: int
) -> NDArray[Any]:
    if image.ndim == 2 or image.shape[2] <= _CHANNELS_AT_ONCE:
        out = cv2.remap(image, map_u, map_v, flag, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        return out.reshape(*map_u.shape, *image.shape[2:])
    groups = range(0, image.shape[2], _CHANNELS_AT_ONCE)
    parts = [
        _remap(np.ascontiguousarray(image[:, :, c : c + _CHANNELS_AT_ONCE]), map_u, map_v, flag)
        for c in groups
    ]
    return np.concatenate(parts, axis=2)
