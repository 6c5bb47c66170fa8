"""Numpy arrays to a sensor bundle, for programs and notebooks without ROS messages.

What can be read in one way only is converted (lists, floats from 0 to 1, grey and RGBA images);
everything else is refused by a sentence that names the argument, what came and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_ad_perception.core.geometry.calibration import Calibration, load_calibration
from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import TransformError
from sam_ad_perception.core.messages.array_forms import plain_array, shown
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorData,
    SensorFrame,
)

_FLOAT32_FAR_M = 4096.0
"""Beyond this float32 has steps of half a millimetre: coordinates of a map stay float64."""
_COLOUR = 'expected (H, W, 3) uint8 RGB, or floats from 0 to 1, or grey (H, W), or RGBA (H, W, 4)'
_THERMAL = 'expected (H, W) uint8 or uint16 counts, or temperatures as floats'
_COLDEST, _HOTTEST = -273.15, 3000.0
"""Floats beyond are no temperatures, in degrees Celsius or in kelvin."""
_LIDAR = 'expected (N, 3) x, y, z or (N, 4) with intensity, as floats in metres'
_FARTHEST_M = 500.0
"""Half of a depth image beyond that, metres, and it is none in metres."""
_DEPTH = 'expected (H, W) metres as floats, or millimetres as uint16'


def bundle_from_arrays(
    *,
    camera: ArrayLike | None = None,
    thermal: ArrayLike | None = None,
    event: Events | None = None,
    lidar: ArrayLike | PointCloud | None = None,
    depth: ArrayLike | None = None,
    calibration: Calibration | str | Path | None = None,
    stamp_ns: int = 0,
) -> SensorBundle:
    """Make a bundle of what several sensors saw at one time.

    Args:
        camera: (H, W, 3) uint8 RGB, the same as floats from 0 to 1, grey (H, W), or RGBA.
        thermal: (H, W) uint8 or uint16 counts, or float temperatures. Networks that scale an
            image by itself take degrees Celsius and kelvin alike; for a fixed range in degrees
            they are Celsius, unless its `float_unit` says otherwise.
        event: Events of the last tens of milliseconds before `stamp_ns`.
        lidar: (N, 3) x, y, z or (N, 4) with intensity, floats, metres, in the lidar's frame; or a
            structured array with the fields x, y, z and perhaps intensity.
        depth: (H, W) float metres, NaN where unknown, or uint16 millimetres with 0 there.
        calibration: Camera geometry and transforms, or the file of them
            (`config/extrinsics.example.yaml`). The frame of a lidar is the only one in
            `transforms` that no camera has, or the one called lidar. Without a calibration there
            may be a camera image only.
        stamp_ns: Time of the bundle, nanoseconds.

    Returns:
        The bundle, led by the first of camera, thermal, event and lidar that is there.

    Raises:
        ValueError: An argument cannot be used; says which, what came and what was expected.
        OSError: The calibration file cannot be read.
    """
    data = _read_sensors(camera, thermal, event, lidar, depth)
    leaders = [modality for modality in data if modality is not Modality.DEPTH]
    if not leaders:
        raise ValueError(
            f'at least one of camera, thermal, event and lidar is needed, got {list(data) or None}'
        )
    known = _read_calibration(calibration, data)
    notes: dict[Modality, str] = {}
    frames: dict[Modality, SensorFrame] = {}
    for modality, each in data.items():
        model = None if modality is Modality.LIDAR else _geometry(modality, each, known, notes)
        frame_id = _lidar_frame(known) if model is None else model.frame_id
        frames[modality] = SensorFrame(modality, stamp_ns, frame_id, each, model)
    if Modality.CAMERA in frames:
        view = frames[Modality.CAMERA].camera
    else:
        view = known.cameras.get(Modality.CAMERA)
    if view is None:
        raise ValueError(
            'calibration has no geometry of the camera, in whose view the mask is made: '
            'expected `cameras: {camera: ...}`'
        )
    return SensorBundle(
        stamp_ns,
        leaders[0],
        view,
        frames,
        missing={m: 'not given' for m in Modality if m not in frames},
        T_camera=_transforms(frames, view, known),
        notes=notes,
    )


def _read_sensors(
    camera: ArrayLike | None,
    thermal: ArrayLike | None,
    event: Events | None,
    lidar: ArrayLike | PointCloud | None,
    depth: ArrayLike | None,
) -> dict[Modality, SensorData]:
    """Convert each argument that is given, in the order of reference priority."""
    data: dict[Modality, SensorData] = {}
    if camera is not None:
        data[Modality.CAMERA] = camera_image(camera)
    if thermal is not None:
        data[Modality.THERMAL] = thermal_image(thermal)
    if event is not None:
        if not isinstance(event, Events):
            raise ValueError(
                f'event is {shown(event)}, expected sam_ad_perception.Events(x, y, polarity, '
                't_ns, size)'
            )
        data[Modality.EVENT] = event_stream(event)
    if lidar is not None:
        data[Modality.LIDAR] = lidar if isinstance(lidar, PointCloud) else point_cloud(lidar)
    if depth is not None:
        data[Modality.DEPTH] = depth_map(depth)
    return data


def camera_image(image: ArrayLike) -> NDArray[np.uint8]:
    """Read a camera image.

    Args:
        image: (H, W, 3) RGB, (H, W) or (H, W, 1) grey, (H, W, 4) RGBA; integers from 0 to 255 or
            floats from 0 to 1.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: Another shape, type or range.
    """
    pixels = plain_array('camera', image, _COLOUR)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.size == 0:
        hint = ''
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4):
            turn = 'permute' if hasattr(image, 'permute') else 'transpose'
            hint = f'; channels come last here: image.{turn}(1, 2, 0)'
        elif pixels.ndim == 4:
            hint = '; call it once per image'
        raise ValueError(f'camera is {shown(image)}, {_COLOUR}{hint}')
    pixels = pixels[:, :, :3]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.dtype.kind in 'iu':
        least, most = int(pixels.min()), int(pixels.max())
        if pixels.dtype != np.uint8 and (least < 0 or most > 255):
            raise ValueError(
                f'camera is {shown(image)} from {least} to {most}, {_COLOUR}'
                '; an image of 16 bits is (image >> 8).astype(numpy.uint8)'
            )
        return np.ascontiguousarray(pixels, np.uint8)
    if pixels.dtype.kind != 'f':
        raise ValueError(f'camera is {shown(image)}, {_COLOUR}')
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):  # NaN included
        raise ValueError(
            f'camera is {shown(image)} from {low:g} to {high:g}, {_COLOUR}'
            + ('; floats from 0 to 255 are image.astype(numpy.uint8)' if low >= 0 else '')
        )
    return np.ascontiguousarray(np.rint(pixels * 255), np.uint8)


def thermal_image(image: ArrayLike) -> NDArray[np.generic]:
    """Read a thermal image.

    Args:
        image: (H, W) or (H, W, 1), integers from 0 to 65535 (counts) or floats (temperatures).

    Returns:
        (H, W) uint8 or uint16 counts, or float32 temperatures.

    Raises:
        ValueError: Another shape, type or range, or floats from 0 to 1: no temperatures.
    """
    pixels = _grey('thermal', image, _THERMAL)
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype.kind in 'iu':
        least, most = int(pixels.min()), int(pixels.max())
        if least < 0 or most > 65535:
            raise ValueError(f'thermal is {shown(image)} from {least} to {most}, {_THERMAL}')
        return pixels.astype(np.uint16)
    if pixels.dtype.kind != 'f' or not np.isfinite(pixels).any():
        raise ValueError(f'thermal is {shown(image)}, {_THERMAL}')
    low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    if low >= 0 and high <= 1:
        raise ValueError(
            f'thermal is {shown(image)} from {low:g} to {high:g}, {_THERMAL}'
            '; a picture scaled to 0..1 is (image * 65535).astype(numpy.uint16)'
        )
    if low < _COLDEST or high > _HOTTEST:
        raise ValueError(
            f'thermal is {shown(image)} from {low:g} to {high:g}, {_THERMAL}'
            + ('; counts are integers: image.astype(numpy.uint16)' if low >= 0 else '')
        )
    return pixels.astype(np.float32)


def point_cloud(points: ArrayLike) -> PointCloud:
    """Read a lidar sweep.

    Args:
        points: (N, 3) x, y, z, or (N, 4) with intensity, floats, metres; a list of numbers; or a
            structured array with the fields x, y, z and perhaps intensity. Rows with a coordinate
            that is not finite are left out.

    Returns:
        The sweep.

    Raises:
        ValueError: Another shape or type. Arrays of integers are refused: they are millimetres,
            or metres that lost their decimals.
    """
    rows = plain_array('lidar', points, _LIDAR)
    if rows.dtype.names is not None:
        lacking = [name for name in 'xyz' if name not in rows.dtype.names]
        if lacking:
            raise ValueError(f'lidar has the fields {rows.dtype.names}, {_LIDAR}: lacks {lacking}')
        names = [*'xyz', *(['intensity'] if 'intensity' in rows.dtype.names else [])]
        kind = 'f' if all(rows[name].dtype.kind == 'f' for name in 'xyz') else 'i'
        rows = np.stack([rows[name].ravel() for name in names], axis=1)
    else:
        kind = rows.dtype.kind
        if kind in 'iu' and not hasattr(points, 'dtype'):
            kind = 'f'  # numbers that somebody typed: they have no type that could be wrong
    if rows.ndim != 2 or rows.shape[1] not in (3, 4):
        hint = ''
        if rows.ndim == 2 and rows.shape[0] in (3, 4):
            hint = '; points come in rows here: points.T'
        elif rows.ndim == 2 and rows.shape[1] > 4:
            hint = '; of more columns take those: points[:, :4]'
        elif rows.ndim == 3 and rows.shape[2] in (3, 4):
            hint = f'; an organised cloud is points.reshape(-1, {rows.shape[2]})'
        raise ValueError(f'lidar is {shown(points)}, {_LIDAR}{hint}')
    if kind != 'f':
        raise ValueError(
            f'lidar is {shown(points)}, {_LIDAR}'
            '; millimetres are points / 1000, whole metres points.astype(numpy.float32)'
        )
    rows = rows[np.isfinite(rows[:, :3]).all(axis=1)]
    intensity = np.ascontiguousarray(rows[:, 3], np.float32) if rows.shape[1] == 4 else None
    far = len(rows) > 0 and float(np.abs(rows[:, :3]).max()) > _FLOAT32_FAR_M
    kept = np.float64 if far and rows.dtype.itemsize > 4 else np.float32
    return PointCloud(np.ascontiguousarray(rows[:, :3], kept), intensity)


def depth_map(image: ArrayLike) -> NDArray[np.float32]:
    """Read the image of a depth sensor (REP 118).

    Args:
        image: (H, W) float metres, NaN, infinite or 0 where unknown; or uint16 millimetres, 0
            where unknown.

    Returns:
        (H, W) float32, metres, NaN where unknown.

    Raises:
        ValueError: Another shape or type, or floats that are no metres.
    """
    pixels = _grey('depth', image, _DEPTH)
    if pixels.dtype == np.uint16:
        metres = np.where(pixels == 0, np.nan, pixels / 1000)
        return np.asarray(metres, np.float32)
    if pixels.dtype.kind != 'f':
        raise ValueError(f'depth is {shown(image)}, {_DEPTH}')
    known = np.isfinite(pixels) & (pixels != 0)
    near, middle = (np.min(pixels[known]), np.median(pixels[known])) if known.any() else (0.0, 0.0)
    if near < 0 or middle > _FARTHEST_M:
        hint = '; millimetres are image / 1000' if near >= 0 else ''
        raise ValueError(
            f'depth is {shown(image)}, least {near:g}, half of it beyond {middle:g}, '
            f'{_DEPTH}{hint}'
        )
    return np.where(known, pixels, np.nan).astype(np.float32)


def event_stream(events: Events) -> Events:
    """Put events into the form in which they are read.

    Args:
        events: Columns of any integer type; polarity bool, or 0 and 1, or -1 and 1.

    Returns:
        The same events, ordered by time, polarity as bool.

    Raises:
        ValueError: A column holds other numbers.
    """
    for name in ('x', 'y', 't_ns'):
        column = getattr(events, name)
        if len(column) and column.dtype.kind not in 'iu':
            raise ValueError(
                f'event: {name} is {shown(column)}, expected integers'
                + ('; seconds are (1e9 * t).astype(numpy.int64)' if name == 't_ns' else '')
            )
    values = {int(value) for value in np.unique(events.polarity)} if len(events.x) else set()
    if not (values <= {0, 1} or values <= {-1, 1}):
        raise ValueError(f'event: polarity is {sorted(values)[:9]}, expected 0 and 1, or -1 and 1')
    order = np.argsort(events.t_ns, kind='stable')
    return replace(
        events,
        x=events.x[order].astype(np.uint16),
        y=events.y[order].astype(np.uint16),
        polarity=events.polarity[order] > 0,
        t_ns=events.t_ns[order].astype(np.int64),
    )


def _grey(name: str, image: ArrayLike, expected: str) -> NDArray[Any]:
    """Read an image of one channel; three equal channels are one."""
    pixels = plain_array(name, image, expected)
    if pixels.ndim == 3 and pixels.shape[2] in (1, 3) and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f'{name} is {shown(image)}, {expected}')
    return np.ascontiguousarray(pixels)


def _read_calibration(
    calibration: Calibration | str | Path | None, data: Mapping[Modality, SensorData]
) -> Calibration:
    """Read the calibration; without one, a camera image alone has a view of its own."""
    if isinstance(calibration, str | Path):
        return load_calibration(Path(calibration))
    if isinstance(calibration, Calibration):
        return calibration
    if calibration is not None:
        raise ValueError(
            f'calibration is a {type(calibration).__name__}, expected a Calibration or the path '
            'of its file'
        )
    others = [str(modality) for modality in data if modality is not Modality.CAMERA]
    if others:
        raise ValueError(
            f'{", ".join(others)} cannot be shown in the camera view without calibration: give '
            'calibration=FILE with the geometry and the transforms of the sensors '
            '(config/extrinsics.example.yaml)'
        )
    image = data[Modality.CAMERA]
    assert isinstance(image, np.ndarray)
    height, width = image.shape[:2]
    # Only other sensors would need the focal length; there is none here.
    K = np.array([[width, 0, width / 2 - 0.5], [0, width, height / 2 - 0.5], [0, 0, 1]])
    view = CameraModel(width, height, K, frame_id='camera')
    return Calibration(cameras={Modality.CAMERA: view})


def _geometry(
    modality: Modality, data: SensorData, known: Calibration, notes: dict[Modality, str]
) -> CameraModel:
    """Find the geometry of an image, scaled where the image was resized."""
    model = known.cameras.get(modality)
    if model is None:
        raise ValueError(
            f'{modality} has no geometry in calibration, which has '
            f'{[str(each) for each in known.cameras]}: expected `cameras: {{{modality}: ...}}`'
        )
    height, width = data.size if isinstance(data, Events) else np.asarray(data).shape[:2]
    if (height, width) == model.size:
        return model
    # The same view resized: the sides keep their ratio up to the rounding to whole pixels.
    wanted = width * model.height / model.width
    if isinstance(data, Events) or abs(wanted - height) > max(1, height / width):
        resized = '' if isinstance(data, Events) else ', or that resized in proportion'
        raise ValueError(
            f'{modality} is {width} x {height} pixels, expected {model.width} x {model.height} as '
            f'in calibration{resized}; a crop needs a calibration of its own'
        )
    notes[modality] = (
        f'image of {width} x {height} pixels, geometry scaled from {model.width} x {model.height}'
    )
    return scale_camera(model, (height, width))


def _lidar_frame(known: Calibration) -> str:
    """Find the frame of the lidar: the one called so, or the only one left over."""
    children = [child for _, child, _ in known.transforms]
    parents = [parent for parent, _, _ in known.transforms]
    cameras = {model.frame_id for model in known.cameras.values()}
    frames = [*dict.fromkeys([*children, *parents])]
    if 'lidar' in frames:
        return 'lidar'
    named = [frame for frame in frames if 'lidar' in frame.lower()]
    left = named or [frame for frame in children if frame not in cameras and frame not in parents]
    if len(left) == 1:
        return left[0]
    raise ValueError(
        f'the frame of the lidar is not clear in calibration, whose transforms have {frames}: '
        'call it `lidar`'
    )


def _transforms(
    frames: Mapping[Modality, SensorFrame], view: CameraModel, known: Calibration
) -> dict[Modality, NDArray[np.float64]]:
    """Find the transform of each sensor into the camera's frame."""
    tree = TransformTree()
    known.fill(tree)
    found: dict[Modality, NDArray[np.float64]] = {}
    for modality, frame in frames.items():
        if modality is Modality.CAMERA:
            continue
        if frame.frame_id == view.frame_id:
            found[modality] = np.eye(4)
            continue
        try:
            found[modality] = tree.lookup(view.frame_id, frame.frame_id)
        except TransformError as err:
            raise ValueError(f'{modality} has no place in calibration: {err}') from err
    return found
