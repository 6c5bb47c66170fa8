"""nuScenes: one scene of the tables `v1.0-*`, read as plain JSON.

Every sensor has the namespace of its channel (`/cam_front`, `/lidar_top`). A sensor is placed on
`base_link` by its calibration, `base_link` on `odom` (the map frame of nuScenes) by the ego pose
of each measurement, as the development kit goes: sensor, ego, global, ego, camera.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.importing.image_files import plan_image
from sam_ad_perception.bags.importing.plan import (
    ImportDataError,
    ImportPlan,
    PlannedMessage,
    plan_info,
    plan_transforms,
)
from sam_ad_perception.bags.importing.point_files import plan_cloud
from sam_ad_perception.core.geometry.transforms import make_transform, quaternion_to_matrix
from sam_ad_perception.core.messages.to_ros import Transform
from sam_ad_perception.core.sensors import CameraModel

WORLD_FRAME, BASE_FRAME = 'odom', 'base_link'
TABLES = ('scene', 'sample', 'sample_data', 'calibrated_sensor', 'ego_pose', 'sensor')
Row = Mapping[str, Any]


def plan_nuscenes(source: Path, scene: str = '', *, key_frames: bool = False) -> ImportPlan:
    """Plan the import of a scene.

    Args:
        source: Folder that holds `v1.0-*`, `samples` and `sweeps`; or the folder of the tables.
        scene: Name or token of the scene; may be empty where there is only one.
        key_frames: Whether only the key frames (2 Hz) are imported, not the sweeps between.

    Returns:
        The plan.

    Raises:
        ImportDataError: A table or a file is missing or malformed; names it.
        OSError: A file cannot be read.
    """
    folder = _find_tables(source)
    root = folder.parent
    tables = {name: _read_table(folder / f'{name}.json') for name in TABLES}
    chosen = _choose_scene(tables['scene'], scene, folder)
    samples = {
        _get(row, 'token', 'sample')
        for row in tables['sample']
        if _get(row, 'scene_token', 'sample') == _get(chosen, 'token', 'scene')
    }
    rows = [
        row
        for row in tables['sample_data']
        if _get(row, 'sample_token', 'sample_data') in samples
        and (not key_frames or _get(row, 'is_key_frame', 'sample_data'))
    ]
    return _Scene(root, tables).plan(rows)


class _Scene:
    """The tables of a scene, by token, while its plan is made."""

    def __init__(self, root: Path, tables: Mapping[str, Sequence[Row]]) -> None:
        self._root = root
        self._calibrations = _by_token(tables['calibrated_sensor'], 'calibrated_sensor')
        self._sensors = _by_token(tables['sensor'], 'sensor')
        self._poses = _by_token(tables['ego_pose'], 'ego_pose')
        self._placed: dict[str, tuple[str, NDArray[np.float64]]] = {}
        self._base: dict[int, NDArray[np.float64]] = {}
        self._absent: list[Path] = []
        self._skipped: set[str] = set()
        self._contradicted = 0

    def plan(self, rows: Sequence[Row]) -> ImportPlan:
        """Plan measurements, the ego poses and the calibration."""
        made = [each for row in rows for each in self._plan_row(row)]
        if not made:
            raise ImportDataError(
                f'none of the {len(rows)} files of the scene is in {self._root}'
                + (f', for example {self._absent[0]}' if self._absent else '')
            )
        start = min(each.received_ns for each in made)
        start = min(start, *self._base)
        static: list[Transform] = [
            (BASE_FRAME, frame, start, T) for frame, (_, T) in sorted(self._placed.items())
        ]
        moving = [
            plan_transforms([(WORLD_FRAME, BASE_FRAME, stamp, T)], stamp, static=False)
            for stamp, T in sorted(self._base.items())
        ]
        remarks = []
        if self._absent:
            remarks.append(
                f'{len(self._absent)} files of the tables are absent, the first is '
                f'{self._absent[0]}'
            )
        if self._contradicted:
            remarks.append(
                f'{self._contradicted} ego poses differ from another of the same time, of which '
                'the first of the table is taken'
            )
        if self._skipped:
            remarks.append(f'{", ".join(sorted(self._skipped))}: radars are not imported')
        transforms = [plan_transforms(static, start, static=True), *moving]
        return ImportPlan([*transforms, *made], tuple(remarks))

    def _plan_row(self, row: Row) -> list[PlannedMessage]:
        """Plan one measurement; nothing where its file is absent or its sensor is not read."""
        calibration = _look_up(
            self._calibrations, row, 'calibrated_sensor_token', 'calibrated_sensor'
        )
        sensor = _look_up(self._sensors, calibration, 'sensor_token', 'sensor')
        channel = str(_get(sensor, 'channel', 'sensor'))
        modality = _get(sensor, 'modality', 'sensor')
        if modality not in ('camera', 'lidar'):
            self._skipped.add(channel)
            return []
        path = self._root / str(_get(row, 'filename', 'sample_data'))
        if not path.is_file():
            self._absent.append(path)
            return []
        stamp = _stamp_of(row, 'sample_data')
        self._note_pose(_look_up(self._poses, row, 'ego_pose_token', 'ego_pose'), stamp)
        space = f'/{channel.lower()}'
        frame = channel.lower() + ('_optical' if modality == 'camera' else '')
        self._place(frame, calibration)
        if modality == 'lidar':
            return [plan_cloud(f'{space}/points', path, stamp, frame, 5)]
        camera = _camera_of(row, calibration, frame)
        topic = f'{space}/image_rect/compressed'
        return [
            plan_info(f'{space}/camera_info', camera, stamp),
            plan_image(topic, path, stamp, frame, camera.size),
        ]

    def _place(self, frame: str, calibration: Row) -> None:
        """Keep where a sensor sits."""
        token = str(_get(calibration, 'token', 'calibrated_sensor'))
        known = self._placed.get(frame)
        if known is None:
            self._placed[frame] = (token, _pose_of(calibration, 'calibrated_sensor'))
        elif known[0] != token:
            T = _pose_of(calibration, 'calibrated_sensor')
            if not np.allclose(T, known[1], rtol=0, atol=1e-9):
                raise ImportDataError(
                    f'calibrated_sensor {token} places {frame} elsewhere than {known[0]} of the '
                    'same scene, expected one calibration'
                )

    def _note_pose(self, pose: Row, stamp: int) -> None:
        """Keep the ego pose at the time of a measurement."""
        T = _pose_of(pose, 'ego_pose')
        if stamp in self._base and not np.allclose(self._base[stamp], T, rtol=0, atol=1e-6):
            self._contradicted += 1
        self._base.setdefault(stamp, T)


def _find_tables(source: Path) -> Path:
    """Find the folder of the tables."""
    if (source / 'sample_data.json').is_file():
        return source
    found = sorted(p.parent for p in source.glob('v1.0-*/sample_data.json'))
    if len(found) == 1:
        return found[0]
    if found:
        names = ', '.join(p.name for p in found)
        raise ImportDataError(f'{source} holds the tables {names}, name one of these folders')
    raise ImportDataError(f'{source} holds no v1.0-*/sample_data.json, expected nuScenes')


def _read_table(file: Path) -> Sequence[Row]:
    """Read a table."""
    if not file.is_file():
        raise ImportDataError(f'{file} is missing, expected the tables {", ".join(TABLES)}')
    try:
        rows = json.loads(file.read_bytes())
    except ValueError as err:
        raise ImportDataError(f'{file} is no JSON: {err}') from err
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ImportDataError(f'{file} holds {type(rows).__name__}, expected a list of records')
    return rows


def _choose_scene(scenes: Sequence[Row], name: str, folder: Path) -> Row:
    """Find the scene that is meant."""
    fitting = [row for row in scenes if not name or name in (row.get('name'), row.get('token'))]
    if len(fitting) == 1:
        return fitting[0]
    names = ', '.join(str(row.get('name')) for row in scenes[:10])
    more = f' and {len(scenes) - 10} more' if len(scenes) > 10 else ''
    wanted = f'no scene {name!r}' if name else f'{len(scenes)} scenes, name one with --scene'
    raise ImportDataError(f'{folder} holds {wanted}: {names}{more}')


def _by_token(rows: Sequence[Row], table: str) -> dict[str, Row]:
    return {str(_get(row, 'token', table)): row for row in rows}


def _look_up(rows: Mapping[str, Row], row: Row, key: str, table: str) -> Row:
    """Follow a token into another table."""
    token = row.get(key)
    if token not in rows:
        raise ImportDataError(f'{table}.json has no token {token!r}, which a {key} names')
    return rows[str(token)]


def _get(row: Row, key: str, table: str) -> Any:
    """Take a field."""
    if key not in row:
        raise ImportDataError(f'a record of {table}.json lacks {key!r}, it has {list(row)}')
    return row[key]


def _stamp_of(row: Row, table: str) -> int:
    """Microseconds as nanoseconds."""
    value = _get(row, 'timestamp', table)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ImportDataError(f'{table}.json: timestamp is {value!r}, expected microseconds')
    return round(value) * 1000 if isinstance(value, int) else round(value * 1000)


def _pose_of(row: Row, table: str) -> NDArray[np.float64]:
    """Read translation and rotation (w, x, y, z)."""
    try:
        w, x, y, z = (float(v) for v in _get(row, 'rotation', table))
        translation = [float(v) for v in _get(row, 'translation', table)]
        return make_transform(quaternion_to_matrix(x, y, z, w), translation)
    except (TypeError, ValueError) as err:
        raise ImportDataError(f'{table}.json, token {row.get("token")}: {err}') from err


def _camera_of(row: Row, calibration: Row, frame: str) -> CameraModel:
    """Read the intrinsics."""
    K = _get(calibration, 'camera_intrinsic', 'calibrated_sensor')
    width, height = (int(_get(row, side, 'sample_data')) for side in ('width', 'height'))
    try:
        return CameraModel(width, height, np.array(K, dtype=np.float64), frame_id=frame)
    except (TypeError, ValueError) as err:
        raise ImportDataError(
            f'calibrated_sensor.json, token {calibration.get("token")}: {err}'
        ) from err
