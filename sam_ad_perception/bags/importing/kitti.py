"""KITTI: drives of the raw data, sequences of the odometry benchmark, and frames with a calib.txt.

Transforms are those of the development kit: a point of the Velodyne is seen by camera `i` at
`P_rect_i R_rect_0 T_velo_to_cam`. The fourth column of P_rect moves the point into the camera's
own centre, so it is put into `/tf_static`, and CameraInfo has `P = [K | 0]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.importing.image_files import IMAGE_SUFFIXES, plan_image, size_of_file
from sam_ad_perception.bags.importing.plan import (
    ImportDataError,
    ImportPlan,
    PlannedMessage,
    plan_info,
    plan_transforms,
)
from sam_ad_perception.bags.importing.point_files import plan_cloud
from sam_ad_perception.core.geometry.transforms import invert_transform, make_transform
from sam_ad_perception.core.sensors import CameraModel

Values = Mapping[str, NDArray[np.float64]]
CAMERAS = {0: 'camera_gray_left', 1: 'camera_gray_right', 2: 'camera_left', 3: 'camera_right'}
"""Namespace of each camera's topics; 2 and 3 are in colour."""
CLOUD_TOPIC, LIDAR_FRAME = '/lidar/points', 'velodyne'
NOMINAL_START_NS = 1_000_000_000_000_000_000
_STAMP = re.compile(r'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))?')
_FRAME = re.compile(r'\d+')


@dataclass(frozen=True)
class _Images:
    """Images of one camera by number, and their stamps where they are known."""

    camera: int
    files: Mapping[int, Path]
    stamps_ns: tuple[int, ...] | None


@dataclass(frozen=True)
class _Sweeps:
    """Files of the lidar by number, when the scanner looked ahead, and when each sweep ended."""

    files: Mapping[int, Path]
    stamps_ns: tuple[int, ...] | None
    ends_ns: tuple[int, ...] | None = None


def plan_kitti(source: Path, rate_hz: float = 10.0) -> ImportPlan:
    """Plan the import of a KITTI drive.

    Args:
        source: A raw drive (`2011_09_26_drive_0001_sync` or `_extract`, with `calib_*.txt` in it
            or beside it), a date folder with one drive, or a folder with `image_02`, `velodyne`
            and `calib.txt` (the odometry benchmark: `image_2`, `times.txt`).
        rate_hz: Frames per second where the source has no stamps.

    Returns:
        The plan.

    Raises:
        ImportDataError: A file is missing or malformed; names it.
        OSError: A file cannot be read.
    """
    if not source.is_dir():
        raise ImportDataError(f'{source} is no folder, expected a drive of KITTI')
    if rate_hz <= 0:
        raise ImportDataError(f'rate must be positive, got {rate_hz}')
    if (source / 'calib.txt').is_file():
        return _plan_frames(source, rate_hz)
    return _plan_drive(_find_drive(source))


def _find_drive(source: Path) -> Path:
    """Find the drive, which a date folder may hold."""
    if any(source.glob('image_0?/data')) or (source / 'velodyne_points').is_dir():
        return source
    drives = sorted(p for p in source.glob('*_drive_*') if p.is_dir())
    if len(drives) == 1:
        return drives[0]
    if drives:
        names = ', '.join(p.name for p in drives[:8])
        raise ImportDataError(f'{source} holds {len(drives)} drives, name one of them: {names}')
    raise ImportDataError(
        f'{source} holds neither image_0?/data nor calib.txt, expected a raw drive of KITTI '
        '(…_drive_…_sync) or a folder with image_02, velodyne and calib.txt'
    )


def _plan_drive(drive: Path) -> ImportPlan:
    """Plan a drive of the raw data."""
    cams = _read_values(_find_calibration(drive, 'calib_cam_to_cam.txt'))
    velo_file = _find_calibration(drive, 'calib_velo_to_cam.txt')
    velo = _read_values(velo_file)
    T_cam0_velo = make_transform(
        _matrix(velo, 'R', (3, 3), velo_file), _matrix(velo, 'T', (3,), velo_file)
    )
    remarks = [f'{name} is not imported' for name in ('oxts',) if (drive / name).is_dir()]
    images = []
    for camera in CAMERAS:
        folder = drive / f'image_{camera:02d}'
        if folder.is_dir():
            stamps = _read_timestamps(folder / 'timestamps.txt')
            images.append(_Images(camera, _numbered(folder / 'data', *IMAGE_SUFFIXES), stamps))
    sweeps = None
    folder = drive / 'velodyne_points'
    if folder.is_dir():
        ends = folder / 'timestamps_end.txt'
        sweeps = _Sweeps(
            _numbered(folder / 'data', '.bin'),
            _read_timestamps(folder / 'timestamps.txt'),
            _read_timestamps(ends) if ends.is_file() else None,
        )
    views = []
    for each in images:
        if each.files:
            size = size_of_file(next(iter(each.files.values())))
            views.append(_view_of_drive(each.camera, size, cams, T_cam0_velo, drive))
    used = [each for each in images if each.files]
    return _plan(used, sweeps, views, 0.0, remarks)


def _view_of_drive(
    camera: int, size: tuple[int, int], cams: Values, T_cam0_velo: NDArray[np.float64], where: Path
) -> tuple[CameraModel, NDArray[np.float64], bool]:
    """Geometry of a camera by its images' size: rectified or as they were taken."""
    name, frame = f'{camera:02d}', f'{CAMERAS[camera]}_optical'
    flat = _matrix(cams, f'S_rect_{name}', (2,), where)
    raw = _matrix(cams, f'S_{name}', (2,), where)
    if size == (int(flat[1]), int(flat[0])):
        P = _matrix(cams, f'P_rect_{name}', (3, 4), where)
        R = _matrix(cams, 'R_rect_00', (3, 3), where)
        return *_rectified(P, make_transform(R, np.zeros(3)) @ T_cam0_velo, size, frame), True
    if size == (int(raw[1]), int(raw[0])):
        K = _matrix(cams, f'K_{name}', (3, 3), where)
        model = CameraModel(size[1], size[0], K, cams[f'D_{name}'], frame_id=frame)
        R = _matrix(cams, f'R_{name}', (3, 3), where)
        T = make_transform(R, _matrix(cams, f'T_{name}', (3,), where))
        return model, T @ T_cam0_velo, False
    raise ImportDataError(
        f'{where}: images of camera {name} have {size[1]}x{size[0]} pixels, calib_cam_to_cam.txt '
        f'says {flat.astype(int).tolist()} rectified and {raw.astype(int).tolist()} raw'
    )


def _rectified(
    P: NDArray[np.float64], T_rect_velo: NDArray[np.float64], size: tuple[int, int], frame: str
) -> tuple[CameraModel, NDArray[np.float64]]:
    """Move the fourth column of P into the transform."""
    model = CameraModel(size[1], size[0], P[:, :3], frame_id=frame)
    own_centre = make_transform(np.eye(3), np.linalg.solve(P[:, :3], P[:, 3]))
    return model, own_centre @ T_rect_velo


def _plan_frames(source: Path, rate_hz: float) -> ImportPlan:
    """Plan a folder with calib.txt."""
    file = source / 'calib.txt'
    values = _read_values(file)
    rotation = np.eye(3)
    if 'R0_rect' in values or 'R_rect' in values:
        key = 'R0_rect' if 'R0_rect' in values else 'R_rect'
        rotation = _matrix(values, key, (3, 3), file)
    key = 'Tr' if 'Tr' in values and 'Tr_velo_to_cam' not in values else 'Tr_velo_to_cam'
    Tr = _matrix(values, key, (3, 4), file)
    T_rect_velo = make_transform(rotation, np.zeros(3)) @ make_transform(Tr[:, :3], Tr[:, 3])
    times = source / 'times.txt'
    stamps = _read_seconds(times) if times.is_file() else None
    remarks = []
    if stamps is None:
        remarks.append(f'no times.txt: stamps are nominal, {rate_hz:g} frames per second')
    images, views = [], []
    for camera in CAMERAS:
        for folder in (source / f'image_{camera:02d}', source / f'image_{camera}'):
            folder = folder / 'data' if (folder / 'data').is_dir() else folder
            if not folder.is_dir():
                continue
            found = _Images(camera, _numbered(folder, *IMAGE_SUFFIXES), stamps)
            if not found.files:
                continue
            size = size_of_file(next(iter(found.files.values())))
            P = _matrix(values, f'P{camera}', (3, 4), file)
            frame = f'{CAMERAS[camera]}_optical'
            images.append(found)
            views.append((*_rectified(P, T_rect_velo, size, frame), True))
            break
    folder = source / 'velodyne'
    sweeps = _Sweeps(_numbered(folder, '.bin'), stamps) if folder.is_dir() else None
    return _plan(images, sweeps, views, rate_hz, remarks)


def _plan(
    images: list[_Images],
    sweeps: _Sweeps | None,
    views: list[tuple[CameraModel, NDArray[np.float64], bool]],
    rate_hz: float,
    remarks: list[str],
) -> ImportPlan:
    """Put the messages together."""
    made: list[PlannedMessage] = []
    for each, (model, _, flat) in zip(images, views, strict=True):
        space = f'/{CAMERAS[each.camera]}'
        topic = f'{space}/image_{"rect" if flat else "raw"}/compressed'
        for number, file in each.files.items():
            stamp = _stamp_of(number, each.stamps_ns, rate_hz, file)
            made.append(plan_info(f'{space}/camera_info', model, stamp))
            made.append(plan_image(topic, file, stamp, model.frame_id, model.size))
    if sweeps is not None and sweeps.files:
        for number, file in sweeps.files.items():
            stamp = _stamp_of(number, sweeps.stamps_ns, rate_hz, file)
            end = stamp
            if sweeps.ends_ns is not None:
                end = max(stamp, _stamp_of(number, sweeps.ends_ns, rate_hz, file))
            made.append(plan_cloud(CLOUD_TOPIC, file, stamp, LIDAR_FRAME, received_ns=end))
    else:
        remarks.append('no velodyne folder with .bin files: there is no lidar')
    if not made:
        raise ImportDataError('neither images nor sweeps are there, expected image_02/*.png')
    start = min(each.received_ns for each in made)
    links = [(LIDAR_FRAME, model.frame_id, start, invert_transform(T)) for model, T, _ in views]
    if links:
        made.insert(0, plan_transforms(links, start, static=True))
    return ImportPlan(made, tuple(remarks))


def _stamp_of(number: int, stamps: tuple[int, ...] | None, rate_hz: float, file: Path) -> int:
    """Stamp of a frame by its number."""
    if stamps is None:
        return NOMINAL_START_NS + round(number * 1e9 / rate_hz)
    if number >= len(stamps):
        raise ImportDataError(f'{file} is frame {number}, but there are {len(stamps)} stamps')
    return stamps[number]


def _numbered(folder: Path, *suffixes: str) -> dict[int, Path]:
    """List the frames of a folder by their numbers."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob('*')):
        if path.suffix not in suffixes or path.name.startswith('.'):
            continue
        if not _FRAME.fullmatch(path.stem):
            raise ImportDataError(
                f'{path}: expected the number of a frame, as 0000000000{path.suffix}'
            )
        if int(path.stem) in found:
            raise ImportDataError(f'{path} and {found[int(path.stem)].name} are the same frame')
        found[int(path.stem)] = path
    return found


def _find_calibration(drive: Path, name: str) -> Path:
    """Find a calibration file in the drive or beside it."""
    for folder in (drive, drive.resolve().parent):
        if (folder / name).is_file():
            return folder / name
    raise ImportDataError(
        f'{name} is neither in {drive} nor beside it; it comes with the calibration files of the '
        'date (…_calib.zip)'
    )


def _read_values(file: Path) -> Values:
    """Read lines `name: numbers`; those that hold words are passed over."""
    values = {}
    for line in file.read_text().splitlines():
        name, colon, rest = line.partition(':')
        if not colon:
            continue
        try:
            values[name.strip()] = np.array([float(word) for word in rest.split()])
        except ValueError:
            continue
    return values


def _matrix(values: Values, name: str, shape: tuple[int, ...], file: Path) -> NDArray[np.float64]:
    """Take a matrix of a calibration file."""
    if name not in values:
        raise ImportDataError(f'{file} has no {name}, it has {", ".join(values) or "nothing"}')
    if values[name].size != np.prod(shape) or not np.all(np.isfinite(values[name])):
        raise ImportDataError(
            f'{file}: {name} has {values[name].size} values, expected {np.prod(shape)} numbers'
        )
    return values[name].reshape(shape)


def _read_timestamps(file: Path) -> tuple[int, ...]:
    """Read `2011-09-26 13:02:25.951199337` of each line, taken as UTC."""
    if not file.is_file():
        raise ImportDataError(f'{file} is missing, expected one time for each frame')
    stamps = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line.strip():
            continue
        match = _STAMP.fullmatch(line.strip())
        if match is None:
            raise ImportDataError(
                f'{file}, line {number}: {line!r}, expected YYYY-MM-DD hh:mm:ss.nnnnnnnnn'
            )
        try:
            whole = datetime.strptime(match[1], '%Y-%m-%d %H:%M:%S').replace(tzinfo=UTC)
        except ValueError as err:
            raise ImportDataError(f'{file}, line {number}: {err}') from err
        fraction = int((match[2] or '0').ljust(9, '0'))
        stamps.append(int(whole.timestamp()) * 1_000_000_000 + fraction)
    return tuple(stamps)


def _read_seconds(file: Path) -> tuple[int, ...]:
    """Read times.txt: seconds since the first frame, which get a nominal start."""
    stamps = []
    for number, line in enumerate(file.read_text().split(), 1):
        try:
            stamps.append(NOMINAL_START_NS + round(float(line) * 1e9))
        except (ValueError, OverflowError) as err:
            raise ImportDataError(f'{file}, line {number}: {line!r}, expected seconds') from err
    return tuple(stamps)
