"""A folder of files as a recording: `camera/`, `thermal/`, `lidar/` and `events/`.

Files are named by their stamps, or a CSV in the folder (`name,stamp`) tells them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from sam_ad_perception.bags.importing.event_files import EVENT_SUFFIXES, plan_events
from sam_ad_perception.bags.importing.image_files import IMAGE_SUFFIXES, plan_image
from sam_ad_perception.bags.importing.plan import (
    ImportDataError,
    ImportPlan,
    PlannedMessage,
    plan_info,
    plan_transforms,
)
from sam_ad_perception.bags.importing.point_files import POINT_SUFFIXES, plan_cloud
from sam_ad_perception.core.geometry.calibration import Calibration, load_calibration
from sam_ad_perception.core.sensors import Modality

UNITS = {'s': 1_000_000_000, 'ms': 1_000_000, 'us': 1_000, 'ns': 1}
CALIBRATION_NAMES = ('calibration.yaml', 'calibration.yml', 'extrinsics.yaml')
FOLDERS = {
    'camera': (Modality.CAMERA, IMAGE_SUFFIXES),
    'thermal': (Modality.THERMAL, IMAGE_SUFFIXES),
    'lidar': (Modality.LIDAR, POINT_SUFFIXES),
    'events': (Modality.EVENT, EVENT_SUFFIXES),
}
_FIRST_S, _LAST_S = 946_684_800, 4_102_444_800  # the years 2000 to 2100
_SECONDS_NANOSECONDS = re.compile(r'(\d{10})[_-](\d{9})')
_NUMBER = re.compile(r'\d+(\.\d+)?')


def plan_folder(
    source: Path,
    calibration: Path | None = None,
    *,
    unit: str = '',
    columns: int = 4,
    lidar_frame: str = '',
) -> ImportPlan:
    """Plan the import of a folder.

    Args:
        source: The folder, with one folder for each sensor.
        calibration: Calibration file; by default `calibration.yaml` in the folder.
        unit: Of the stamps: s, ms, us or ns; empty: whichever gives a year from 2000 to 2100.
        columns: Numbers for each point of `.bin` files.
        lidar_frame: Frame of the points; by default the one of the calibration that no camera
            has.

    Returns:
        The plan.

    Raises:
        ImportDataError: A file is missing or malformed; names it.
        CalibrationError: The calibration is malformed.
        OSError: A file cannot be read.
    """
    if not source.is_dir():
        raise ImportDataError(f'{source} is no folder')
    if unit and unit not in UNITS:
        raise ImportDataError(f'unit must be one of {", ".join(UNITS)}, got {unit!r}')
    known, remarks = _find_calibration(source, calibration)
    made: list[PlannedMessage] = []
    found = {}
    for name, (modality, suffixes) in FOLDERS.items():
        if (source / name).is_dir():
            stamped, told = _stamped_files(source / name, suffixes, unit)
            remarks += told
            found[modality] = stamped
    other = sorted(p.name for p in source.iterdir() if p.is_dir() and p.name not in FOLDERS)
    if other:
        remarks.append(f'{", ".join(other)}: not read, known are {", ".join(FOLDERS)}')
    for modality in (Modality.CAMERA, Modality.THERMAL):
        made += _plan_images(modality, found.get(modality, []), known, remarks)
    if sweeps := found.get(Modality.LIDAR):
        frame = lidar_frame or _lidar_frame(known)
        made += [plan_cloud('/lidar/points', path, t, frame, columns) for t, path in sweeps]
    made += _plan_events(found.get(Modality.EVENT, []), known)
    if not made:
        raise ImportDataError(
            f'{source} holds no file of a sensor, expected the folders {", ".join(FOLDERS)}'
        )
    start = min(each.received_ns for each in made)
    if known.transforms:
        links = [(parent, child, start, T) for parent, child, T in known.transforms]
        made.insert(0, plan_transforms(links, start, static=True))
    return ImportPlan(made, tuple(remarks))


def _find_calibration(source: Path, given: Path | None) -> tuple[Calibration, list[str]]:
    """Read the calibration that is given or lies in the folder."""
    if given is not None:
        return load_calibration(given), []
    for name in CALIBRATION_NAMES:
        if (source / name).is_file():
            return load_calibration(source / name), []
    return Calibration(), [
        f'no {CALIBRATION_NAMES[0]}: sensors are not placed (config/extrinsics.example.yaml shows '
        'the format)'
    ]


def _plan_images(
    modality: Modality, files: list[tuple[int, Path]], known: Calibration, remarks: list[str]
) -> list[PlannedMessage]:
    """Plan the images of one sensor, and its CameraInfo where the calibration has it."""
    model = known.cameras.get(modality)
    frame = model.frame_id if model is not None else f'{modality}_optical'
    if files and model is None:
        remarks.append(f'{modality}: no cameras.{modality} in the calibration, so no camera_info')
    size = None if model is None else model.size
    made = []
    for stamp, path in files:
        if model is not None:
            made.append(plan_info(f'/{modality}/camera_info', model, stamp))
        made.append(plan_image(f'/{modality}/image_raw/compressed', path, stamp, frame, size))
    return made


def _plan_events(files: list[tuple[int, Path]], known: Calibration) -> list[PlannedMessage]:
    """Plan packets of events."""
    if not files:
        return []
    model = known.cameras.get(Modality.EVENT)
    if model is None:
        raise ImportDataError(
            f'{files[0][1].parent}: the size of the event camera is unknown, expected '
            'cameras.event in the calibration'
        )
    made = []
    for number, (stamp, path) in enumerate(files):
        made.append(plan_info('/events/camera_info', model, stamp))
        made.append(plan_events('/events', path, stamp, model.frame_id, model.size, number))
    return made


def _lidar_frame(known: Calibration) -> str:
    """Find the frame of the lidar: the only one that is placed and no camera's."""
    links = [name for parent, child, _ in known.transforms for name in (parent, child)]
    if 'lidar' in links or not links:
        return 'lidar'
    cameras = {model.frame_id for model in known.cameras.values()}
    rest = sorted(set(links) - cameras)
    if len(rest) == 1:
        return rest[0]
    children = sorted({child for _, child, _ in known.transforms} - cameras)
    if len(children) == 1:
        return children[0]
    raise ImportDataError(
        f'the frame of the lidar may be any of {", ".join(rest) or "none"}: call it lidar in the '
        'calibration, or name it with --lidar-frame'
    )


def _stamped_files(
    folder: Path, suffixes: Collection[str], unit: str
) -> tuple[list[tuple[int, Path]], list[str]]:
    """Find the files of a folder and their stamps, in the order of time."""
    remarks = []
    tables = sorted(folder.glob('*.csv'))
    tables = [t for t in tables if _is_stamp_table(t)] if '.csv' in suffixes else tables
    files = {
        p.name: p
        for p in sorted(folder.iterdir())
        if p.suffix.lower() in suffixes and p not in tables and not p.name.startswith('.')
    }
    ignored = sum(p.is_file() for p in folder.iterdir()) - len(files) - len(tables)
    if ignored:
        remarks.append(f'{folder}: {ignored} files are not read, expected {", ".join(suffixes)}')
    if len(tables) > 1:
        raise ImportDataError(f'{folder} holds {len(tables)} CSV files, expected one')
    if tables:
        stamps = _read_stamp_table(tables[0], files, unit)
        if rest := sorted(set(files) - set(stamps)):
            remarks.append(f'{tables[0]} lacks {len(rest)} files, not read: {rest[0]} ...')
    else:
        stamps = {n: _stamp(_stem(n), unit, f'{folder / n}') for n in files}
    ordered = sorted((stamp, files[name]) for name, stamp in stamps.items())
    for (one, path), (two, other) in pairwise(ordered):
        if one == two:
            raise ImportDataError(f'{path} and {other.name} have the same stamp {one} ns')
    return ordered, remarks


def _stem(name: str) -> str:
    """Cut the ending, which may be `.pcd.bin`."""
    return name.removesuffix('.pcd.bin') if name.endswith('.pcd.bin') else Path(name).stem


def _is_stamp_table(file: Path) -> bool:
    """Tell a table of names and stamps from a file of events."""
    with file.open(errors='replace') as lines:
        header = lines.readline()
    return 'name' in header and 'stamp' in header


def _read_stamp_table(table: Path, files: Collection[str], unit: str) -> dict[str, int]:
    """Read rows `name,stamp`; a header `name,stamp_us` tells the unit."""
    stamps: dict[str, int] = {}
    with table.open(newline='', encoding='utf-8-sig', errors='replace') as lines:
        for number, row in enumerate(csv.reader(lines), 1):
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            where = f'{table}, line {number}'
            if len(cells) != 2:
                raise ImportDataError(f'{where}: {",".join(row)!r}, expected name,stamp')
            name, text = cells
            if not stamps and not any(c.isdigit() for c in text):
                ending = text.rpartition('_')[2]
                unit = ending if ending in UNITS else unit
                continue
            if name not in files:
                raise ImportDataError(f'{where}: there is no file {name!r} in {table.parent}')
            if name in stamps:
                raise ImportDataError(f'{where}: {name!r} is there twice')
            stamps[name] = _stamp(text, unit, where)
    return stamps


def _stamp(text: str, unit: str, where: str) -> int:
    """Read a stamp as nanoseconds."""
    if match := _SECONDS_NANOSECONDS.fullmatch(text):
        return int(match[1]) * UNITS['s'] + int(match[2])
    if not _NUMBER.fullmatch(text):
        raise ImportDataError(
            f'{where}: {text!r} is no stamp, expected a number of s, ms, us or ns; or put a CSV '
            'with name,stamp beside the files'
        )
    value = Decimal(text)
    if unit:
        return int(value * UNITS[unit])
    for scale in UNITS.values():
        if _FIRST_S <= value * scale / UNITS['s'] < _LAST_S:
            return int(value * scale)
    raise ImportDataError(
        f'{where}: {text!r} is a time from 2000 to 2100 in none of s, ms, us and ns; name the '
        'unit (--unit), or put a CSV with name,stamp beside the files'
    )
