"""MUSES: camera, event camera and lidar in fog, rain and snow, 1920x1080, 1500/250 frames.

    frame_camera/{train,val}/{clear,fog,rain,snow}/{day,night}/<scene>_frame_camera.png
    gt_semantic/.../<scene>_gt_labelTrainIds.png, lidar/.../<scene>_lidar.bin,
    event_camera/.../<scene>_event_camera.h5, gnss/, calib.json, meta.json

`muses` reads what the sensors measured, and our own `core` places it in the view: sweeps are
deskewed to the middle of the exposure by the speed and the turn rates of the GNSS record, where
meta.json leads to one. Where there is a folder radar/, the picture `radar` is drawn of it.
`muses_projected` reads the pictures that the data set's own tool makes in
projected_to_rgb/. Labels are the 19 train ids of Cityscapes. Facts: Brodermann et al., "MUSES",
ECCV 2024, and its tools.
"""

from __future__ import annotations

import importlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.lidar.deskew import exp_twist
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    PointMotion,
    SensorBundle,
    SensorFrame,
)
from training.datasets.muses_radar import draw_radar, read_radar
from training.frames.benchmark_protocol import BenchmarkProtocol
from training.frames.frame import LabelledFrame, bundle_in_view
from training.frames.image_files import read_image, read_rgb
from training.frames.image_folders import (
    DatasetError,
    DatasetLayout,
    FrameFiles,
    first_existing,
    sorted_files,
)
from training.frames.label_images import read_ids

EVENT_SIZE = (720, 1280)
WINDOW_US = 30_000
"""Events of so long before the last one are taken, microseconds."""
NEAREST_M = 1.0
"""Lidar points closer than this are the vehicle itself, metres."""
_COLUMNS = 6  # x, y, z, intensity, ring, time in seconds
_GNSS_FIELDS = 28
_RATES, _SPEED = slice(17, 20), 23  # turn rates in 1e-5 degrees/s, speed over ground in mm/s
_KNOTS = 9
_END = '_frame_camera.png'
_PROJECTED = {'lidar': 'lidar', 'event': 'event_camera', 'radar': 'radar'}
_PNG_SCALE, _PNG_SHIFT = 150.0, 100.0  # projected values are written as (value + 100) * 150


def find_frames(root: Path, split: str) -> list[FrameFiles]:
    """See `DatasetLayout.find`; raw measurements."""
    frames = []
    for files in _find_images(root, split):
        image = files.files['camera']
        place = image.parent.relative_to(root / 'frame_camera')
        more = {
            'lidar': root / 'lidar' / place / f'{files.name}_lidar.bin',
            'event': root / 'event_camera' / place / f'{files.name}_event_camera.h5',
            'calib': root / 'calib.json',
        }
        if (root / 'radar').is_dir():
            more['radar'] = root / 'radar' / place / f'{files.name}_radar.png'
        if (root / 'meta.json').exists():
            more['meta'] = root / 'meta.json'
        frames.append(FrameFiles(files.name, {**files.files, **more}, files.condition))
    return frames


def find_projected(root: Path, split: str) -> list[FrameFiles]:
    """See `DatasetLayout.find`; pictures of the data set's own tool."""
    frames = []
    for files in _find_images(root, split):
        place = files.files['camera'].parent.relative_to(root / 'frame_camera')
        more = {}
        for modality, folder in _PROJECTED.items():
            if modality == 'radar' and not (root / 'projected_to_rgb' / folder).is_dir():
                continue
            stem = root / 'projected_to_rgb' / folder / place / f'{files.name}_{folder}'
            more[modality] = first_existing(
                stem.with_name(stem.name + end) for end in ('.npz', '.npy', '.png')
            )
        frames.append(FrameFiles(files.name, {**files.files, **more}, files.condition))
    return frames


def _find_images(root: Path, split: str) -> list[FrameFiles]:
    frames = []
    base = root / 'frame_camera'
    for image in sorted_files(base / split, f'*/*/*{_END}'):
        place = image.parent.relative_to(base)
        name = image.name.removesuffix(_END)
        labels = root / 'gt_semantic' / place / f'{name}_gt_labelTrainIds.png'
        condition = '/'.join(place.parts[1:])
        frames.append(FrameFiles(name, {'camera': image, 'labels': labels}, condition))
    return frames


def read_frame(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`; raw measurements."""
    # Calibration: cameras, transforms between sensors, and to the GNSS receiver.
    colour = read_rgb(files.files['camera'])
    calib_path = files.files['calib']
    calib = _read_json(calib_path)
    stamp_ns, gnss = _exposure(files)
    try:
        intrinsics, extrinsics = calib['intrinsics'], calib['extrinsics']
        camera = _camera(intrinsics['rgb']['K'], colour.shape[:2], 'camera')
        event_camera = _camera(intrinsics['event']['K'], EVENT_SIZE, 'event')
        T_camera = {
            Modality.LIDAR: _rigid(extrinsics['lidar2rgb'], 'lidar2rgb'),
            Modality.EVENT: _rigid(extrinsics['event2rgb'], 'event2rgb'),
        }
        T_gnss = {
            name: _rigid(extrinsics[f'{name}2gnss'], f'{name}2gnss')
            for name in ('lidar', 'radar')
            if gnss is not None and name in files.files
        }
        radar_key = 'radar2rgb'
        T_radar = _rigid(extrinsics[radar_key], radar_key) if 'radar' in files.files else None
    except (KeyError, TypeError) as error:
        raise DatasetError(f'{calib_path} lacks {error}') from error
    except ValueError as error:
        raise DatasetError(f'{calib_path}: {error}') from error
    # Sensors of the moment; lidar and radar know how the vehicle moved meanwhile.
    sweep = read_sweep(files.files['lidar'], stamp_ns)
    motion = _sweep_motion(sweep, stamp_ns, gnss, T_gnss.get('lidar'))
    events, event_ns = read_events(files.files['event'])
    frames = {
        Modality.CAMERA: SensorFrame(Modality.CAMERA, stamp_ns, 'camera', colour, camera),
        Modality.EVENT: SensorFrame(Modality.EVENT, event_ns, 'event', events, event_camera),
        Modality.LIDAR: SensorFrame(Modality.LIDAR, stamp_ns, 'lidar', sweep, motion=motion),
    }
    bundle = SensorBundle(stamp_ns, Modality.CAMERA, camera, frames, T_camera=T_camera)
    # The radar has no sensor of ours: it is drawn into the camera's view.
    pictures = {}
    if T_radar is not None:
        echoes = read_radar(files.files['radar'], stamp_ns)
        turned = _sweep_motion(echoes, stamp_ns, gnss, T_gnss.get('radar'))
        shown = SensorFrame(Modality.LIDAR, stamp_ns, 'radar', echoes, motion=turned)
        pictures['radar'] = draw_radar(shown, T_radar, camera)
    labels = read_ids(files.files['labels'])
    return LabelledFrame(files.name, bundle, labels, files.condition, pictures=pictures)


def read_projected(files: FrameFiles) -> LabelledFrame:
    """See `DatasetLayout.read`; lidar as range, intensity, height, events as ON, OFF, 0."""
    bundle = bundle_in_view(
        {
            Modality.CAMERA: read_rgb(files.files['camera']),
            Modality.EVENT: _projection(files.files['event']),
            Modality.LIDAR: _projection(files.files['lidar'], shifted=True),
        }
    )
    radar = files.files.get('radar')
    pictures = {'radar': _projection(radar, shifted=True)} if radar else {}
    labels = read_ids(files.files['labels'])
    return LabelledFrame(files.name, bundle, labels, files.condition, pictures=pictures)


def _projection(path: Path, *, shifted: bool = False) -> NDArray[np.float32]:
    """A picture of the tool; `shifted` where its PNG files hold (value + 100) * 150."""
    try:
        if path.suffix == '.png':
            # OpenCV reads the channels in the order in which it wrote them: they are not turned
            image = read_image(path)
        elif path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as archive:
                image = archive['arr_0']
        else:
            image = np.load(path, allow_pickle=False)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DatasetError(f'{path} cannot be read: {error}') from error
    if image.ndim != 3 or image.shape[2] != 3:
        raise DatasetError(f'{path} has shape {image.shape}, expected (H, W, 3)')
    values = np.asarray(image, np.float32)
    return values / _PNG_SCALE - _PNG_SHIFT if shifted and path.suffix == '.png' else values


def read_sweep(path: Path, stamp_ns: int) -> PointCloud:
    """Read a lidar file: rows of x, y, z, intensity, ring, time, all float64.

    Args:
        path: The file.
        stamp_ns: What the times of the points are relative to, nanoseconds.

    Returns:
        The sweep without non-finite points and without the vehicle itself.

    Raises:
        DatasetError: Its length is not that of whole rows.
    """
    try:
        values = np.fromfile(path, np.float64)
    except OSError as error:
        raise DatasetError(f'{path} cannot be read: {error}') from error
    if values.size == 0 or values.size % _COLUMNS:
        raise DatasetError(f'{path} has {values.size} float64 values, expected rows of {_COLUMNS}')
    rows = values.reshape(-1, _COLUMNS)
    rows = rows[np.isfinite(rows).all(axis=1)]
    rows = rows[np.linalg.norm(rows[:, :3], axis=1) >= NEAREST_M]
    offsets = np.rint((rows[:, 5] - stamp_ns * 1e-9) * 1e9).astype(np.int64)
    return PointCloud(rows[:, :3].astype(np.float32), rows[:, 3].astype(np.float32), offsets)


def read_events(path: Path) -> tuple[Events, int]:
    """Read the last 30 ms of an event file.

    Args:
        path: HDF5 with `events/{x,y,t,p}`, times in microseconds.

    Returns:
        The events, and the time of the last one, nanoseconds.

    Raises:
        DatasetError: It cannot be read, or h5py is not installed.
    """
    try:
        h5py = importlib.import_module('h5py')
        importlib.import_module('hdf5plugin')  # the files are compressed with what it brings
    except ImportError as error:
        raise DatasetError(
            'the events of MUSES need two optional packages: pip install h5py hdf5plugin'
        ) from error
    try:
        with h5py.File(path, 'r') as file:
            t = np.asarray(file['events/t'][:], np.int64)
            columns = [np.asarray(file[f'events/{name}'][:]) for name in 'xyp']
    except (OSError, KeyError) as error:
        raise DatasetError(f'{path} cannot be read: {error}') from error
    x, y, p = columns
    return cut_events(x, y, p, t)


def cut_events(
    x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], t_us: NDArray[np.int64]
) -> tuple[Events, int]:
    """Keep the events of the last 30 ms that fall on the sensor.

    Args:
        x: (N,) column; undistortion has left some outside of the sensor.
        y: (N,) row.
        p: (N,) 1 for ON.
        t_us: (N,) microseconds.

    Returns:
        The events in the order of time, and the time of the last one, nanoseconds.

    Raises:
        DatasetError: There are none.
    """
    if t_us.size == 0:
        raise DatasetError('the event file holds no events')
    last = int(t_us.max())
    columns, rows = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    height, width = EVENT_SIZE
    keep = (t_us > last - WINDOW_US) & (columns >= 0) & (columns < width)
    keep &= (rows >= 0) & (rows < height)
    kept = np.flatnonzero(keep)
    kept = kept[np.argsort(t_us[kept], kind='stable')]
    events = Events(
        columns[kept].astype(np.uint16),
        rows[kept].astype(np.uint16),
        np.asarray(p[kept] > 0),
        t_us[kept] * 1000,
        EVENT_SIZE,
    )
    return events, last * 1000


@lru_cache(maxsize=4)
def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DatasetError(f'{path} cannot be read: {error}') from error


def _exposure(files: FrameFiles) -> tuple[int, NDArray[np.float64] | None]:
    """Middle of the exposure, nanoseconds, and (6,) twist of the vehicle in the GNSS frame."""
    if 'meta' not in files.files:
        return 0, None
    meta_path = files.files['meta']
    entry = _read_json(meta_path).get(files.name)
    if entry is None:
        raise DatasetError(f'{meta_path} has no entry {files.name!r}')
    try:
        ends = [int(entry[f'frame_camera_exposure_{e}_timestamp_us']) for e in ('start', 'end')]
        path = meta_path.parent / entry['path_to_gnss']
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f'{meta_path}: entry {files.name!r} lacks {error}') from error
    stamp_ns = sum(ends) * 500  # half of it, in nanoseconds
    return stamp_ns, _read_twist(path) if path.is_file() else None


def _read_twist(path: Path) -> NDArray[np.float64]:
    numbers = path.read_text(encoding='utf-8').split()
    if len(numbers) < _GNSS_FIELDS:
        raise DatasetError(f'{path} has {len(numbers)} fields, expected {_GNSS_FIELDS}')
    values = np.array(numbers[:_GNSS_FIELDS], np.float64)
    return np.concatenate([[values[_SPEED] * 1e-3, 0, 0], np.deg2rad(values[_RATES] * 1e-5)])


def _sweep_motion(
    sweep: PointCloud,
    stamp_ns: int,
    twist: NDArray[np.float64] | None,
    T_gnss: NDArray[np.float64] | None,
) -> PointMotion | None:
    """How the sensor of a sweep moved; None where that is unknown."""
    offsets = sweep.time_offset_ns
    if twist is None or T_gnss is None or offsets is None or offsets.size == 0:
        return None
    first, last = int(offsets.min()), int(offsets.max())
    step = max(1, -(-(last - first) // (_KNOTS - 1)))
    times_s = (first + step * np.arange(_KNOTS)) * 1e-9
    moved = exp_twist(twist * times_s[:, None])
    return PointMotion(stamp_ns + first, step, np.linalg.inv(T_gnss) @ moved @ T_gnss)


def _camera(K: Any, size: tuple[int, ...], frame_id: str) -> CameraModel:
    return CameraModel(size[1], size[0], np.array(K, np.float64), frame_id=frame_id)


def _rigid(matrix: Any, name: str) -> NDArray[np.float64]:
    """The rigid transform nearest to a rounded one."""
    T = np.array(matrix, np.float64)
    if T.shape != (4, 4) or not np.isfinite(T).all():
        raise ValueError(f'{name} must be (4, 4) and finite, got {T.tolist()}')
    u, sizes, v = np.linalg.svd(T[:3, :3])
    if np.abs(sizes - 1).max() > 1e-3 or np.linalg.det(u @ v) < 0:
        raise ValueError(f'{name} is not rigid: {T.tolist()}')
    T[:3, :3], T[3] = u @ v, (0, 0, 0, 1)
    return T


_SPLITS = {'train': 1500, 'val': 250}
_WITHHELD = {'test': 'the labels of MUSES test are withheld'}
_PROTOCOL = BenchmarkProtocol('its semantic benchmark, which is that of Cityscapes')
LAYOUT = DatasetLayout(
    'muses',
    'muses',
    _SPLITS,
    find_frames,
    read_frame,
    _WITHHELD,
    '_gt_labelTrainIds.png',
    protocol=_PROTOCOL,
)
LAYOUT_PROJECTED = DatasetLayout(
    'muses_projected',
    'muses',
    _SPLITS,
    find_projected,
    read_projected,
    _WITHHELD,
    '_gt_labelTrainIds.png',
    protocol=_PROTOCOL,
)
