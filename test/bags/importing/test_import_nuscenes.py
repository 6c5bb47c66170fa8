"""A nuScenes scene as rosbag2: depth by the chain that the development kit documents."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sam_ad_perception.bags.bundles import read_bundles
from sam_ad_perception.bags.importing.nuscenes import plan_nuscenes
from sam_ad_perception.bags.importing.plan import ImportDataError, write_plan
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.core.lidar.depth_image import DepthConfig, render_depth
from sam_ad_perception.core.lidar.occlusion import OcclusionConfig
from sam_ad_perception.core.sensors import Modality, SensorBundle

CHANNELS = {
    'CAM_FRONT': 0.0,
    'CAM_FRONT_LEFT': 55.0,
    'CAM_FRONT_RIGHT': -55.0,
    'CAM_BACK': 180.0,
    'CAM_BACK_LEFT': 110.0,
    'CAM_BACK_RIGHT': -110.0,
}
SIZE = (90, 160)
START_US = 1_532_402_927_612_460
K = [[126.6, 0.0, 81.6], [0.0, 126.6, 49.1], [0.0, 0.0, 1.0]]


def rotation(axis: list[float], degrees: float) -> NDArray[np.float64]:
    return cv2.Rodrigues(np.radians(degrees) * np.array(axis, dtype=float))[0]


def wxyz(R: NDArray[np.float64]) -> list[float]:
    """A quaternion by its rotation vector."""
    vector = cv2.Rodrigues(R)[0].ravel()
    angle = np.linalg.norm(vector)
    axis = vector / angle if angle else vector
    return [float(np.cos(angle / 2)), *(float(v) for v in np.sin(angle / 2) * axis)]


def matrix(q: list[float]) -> NDArray[np.float64]:
    """The rotation of w, x, y, z, written out."""
    w, x, y, z = np.array(q) / np.linalg.norm(q)
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )


class Tables:
    """The tables of a drive at 10 m/s in a curve, and its files."""

    def __init__(self, root: Path, rng: np.random.Generator) -> None:
        self.root, self.rng = root, rng
        self.rows: dict[str, list[dict]] = {
            name: []
            for name in (
                *('scene', 'sample', 'sample_data', 'calibrated_sensor', 'ego_pose', 'sensor'),
            )
        }
        self.rows['scene'] += [
            {'token': 's0', 'name': 'scene-0061'},
            {'token': 's1', 'name': 'scene-0103'},
        ]
        optical = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
        for channel, yaw in CHANNELS.items():
            R = rotation([0, 0, 1], yaw) @ optical @ rotation([1, 0.3, 0], 0.7)
            self.add_sensor(channel, 'camera', R, [1.7 - abs(yaw) / 90, yaw / 110, 1.5], K)
        self.add_sensor('LIDAR_TOP', 'lidar', rotation([0, 0, 1], -89.9), [0.94, 0.0, 1.84], [])
        self.add_sensor('RADAR_FRONT', 'radar', np.eye(3), [3.4, 0.0, 0.5], [])
        for scene in range(2):
            for k in range(2):
                time = START_US + scene * 60_000_000 + k * 500_000
                token = f'sample{scene}{k}'
                self.rows['sample'].append(
                    {'token': token, 'timestamp': time, 'scene_token': f's{scene}'}
                )
                for i, channel in enumerate(CHANNELS):
                    self.add_data(token, channel, time - 35_000 + 12_000 * i, k)
                self.add_data(token, 'LIDAR_TOP', time, k)
                self.add_data(token, 'RADAR_FRONT', time, k)

    def add_sensor(self, channel, modality, R, translation, K) -> None:
        self.rows['sensor'].append({'token': channel, 'channel': channel, 'modality': modality})
        self.rows['calibrated_sensor'].append(
            {
                'token': f'c{channel}',
                'sensor_token': channel,
                'translation': translation,
                'rotation': wxyz(R),
                'camera_intrinsic': K,
            }
        )

    def add_data(self, sample: str, channel: str, time: int, k: int) -> None:
        seconds = (time - START_US) / 1e6
        pose = f'p{channel}{time}'
        self.rows['ego_pose'].append(
            {
                'token': pose,
                'timestamp': time,
                'translation': [411.3 + 10 * seconds, 1180.9 + 2 * seconds, 0.1 * seconds],
                'rotation': wxyz(rotation([0.02, 0.01, 1], 20 + 15 * seconds)),
            }
        )
        suffix = {'C': 'jpg', 'L': 'pcd.bin', 'R': 'pcd'}[channel[0]]
        name = f'samples/{channel}/n015__{channel}__{time}.{suffix}'
        is_camera = channel[0] == 'C'
        self.rows['sample_data'].append(
            {
                'token': f'd{channel}{time}',
                'sample_token': sample,
                'ego_pose_token': pose,
                'calibrated_sensor_token': f'c{channel}',
                'timestamp': time,
                'filename': name,
                'is_key_frame': k == 0,
                'height': SIZE[0] if is_camera else 0,
                'width': SIZE[1] if is_camera else 0,
            }
        )
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if is_camera:
            cv2.imwrite(str(file), self.rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8))
        elif suffix == 'pcd.bin':
            points = self.rng.uniform([-40, -40, -2, 0, 0], [40, 40, 4, 255, 1], (20000, 5))
            points[:, 4] = self.rng.integers(0, 32, len(points))
            points.astype('<f4').tofile(file)
        else:
            file.write_bytes(b'# .PCD v.7\n')

    def write(self) -> Path:
        folder = self.root / 'v1.0-mini'
        folder.mkdir(exist_ok=True)
        for name, rows in self.rows.items():
            (folder / f'{name}.json').write_text(json.dumps(rows))
        return self.root

    def record(self, table: str, token: str) -> dict:
        return next(row for row in self.rows[table] if row['token'] == token)

    def devkit_depth(self, camera: dict, lidar: dict) -> NDArray[np.float64]:
        """Sensor to ego to global to ego to camera, as `map_pointcloud_to_image` documents."""
        points = np.fromfile(self.root / lidar['filename'], '<f4').reshape(-1, 5)
        points = points[:, :3].T.astype(np.float64)
        for table, key in (
            ('calibrated_sensor', 'calibrated_sensor_token'),
            ('ego_pose', 'ego_pose_token'),
        ):
            record = self.record(table, lidar[key])
            points = matrix(record['rotation']) @ points
            points += np.reshape(record['translation'], (3, 1))
        for table, key in (
            ('ego_pose', 'ego_pose_token'),
            ('calibrated_sensor', 'calibrated_sensor_token'),
        ):
            record = self.record(table, camera[key])
            points -= np.reshape(record['translation'], (3, 1))
            points = matrix(record['rotation']).T @ points
        points = points[:, points[2] > 0]
        u, v, _ = np.floor(np.array(K) @ points / points[2] + 0.5).astype(int)
        inside = (u >= 0) & (v >= 0) & (u < SIZE[1]) & (v < SIZE[0])
        depth = np.full(SIZE, np.inf)
        np.minimum.at(depth, (v[inside], u[inside]), points[2, inside])
        return np.where(np.isfinite(depth), depth, np.nan)


def test_depth_of_all_six_cameras_is_that_of_the_devkit(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    tables = Tables(tmp_path / 'nuscenes', rng)
    report = write_plan(plan_nuscenes(tables.write(), 'scene-0061'), tmp_path / 'bag')
    assert report.counts['/lidar_top/points'] == 2
    assert any('RADAR_FRONT: radars are not imported' in r for r in report.remarks)
    shares = []
    for channel in CHANNELS:
        space = f'/{channel.lower()}'
        assert report.counts[f'{space}/image_rect/compressed'] == 2
        given = {
            'camera': f'{space}/image_rect/compressed',
            'camera_info': f'{space}/camera_info',
        }
        with BagReader(tmp_path / 'bag') as reader:
            results = list(read_bundles(reader, choose_topics(reader, given)))
        rows = tables.rows['sample_data']
        cameras = [r for r in rows if r['calibrated_sensor_token'] == f'c{channel}'][:2]
        lidars = [r for r in rows if r['calibrated_sensor_token'] == 'cLIDAR_TOP'][:2]
        for result, camera, lidar in zip(results, cameras, lidars, strict=True):
            assert isinstance(result, SensorBundle), result
            assert result.stamp_ns == camera['timestamp'] * 1000
            frame, T = result.frames[Modality.LIDAR], result.T_camera[Modality.LIDAR]
            assert frame.stamp_ns == lidar['timestamp'] * 1000
            config = DepthConfig(OcclusionConfig(enabled=False))
            ours = render_depth(frame, T, result.camera, config).returns
            theirs = tables.devkit_depth(camera, lidar)
            either = np.isfinite(ours) | np.isfinite(theirs)
            assert either.sum() > 500
            shares.append(np.mean(np.abs(ours[either] - theirs[either]) < 1e-3))
    print('equal pixels', min(shares))
    assert len(shares) == 12
    assert min(shares) > 0.999


def test_key_frames_alone_and_a_scene_by_its_token(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    root = Tables(tmp_path / 'nuscenes', rng).write()
    plan = plan_nuscenes(root / 'v1.0-mini', 's1', key_frames=True)
    report = write_plan(plan, tmp_path / 'bag')
    assert report.counts['/cam_front/image_rect/compressed'] == 1
    with BagReader(tmp_path / 'bag') as reader:
        cloud = next(reader.messages(['/lidar_top/points']))
        assert cloud.received_ns == (START_US + 60_000_000) * 1000
        fields = reader.deserialize(cloud).fields
    assert [f.name for f in fields] == ['x', 'y', 'z', 'intensity', 'ring']


def drop(table: str, key: str):
    def change(tables: Tables) -> None:
        del tables.rows[table][0][key]

    return change


def put(table: str, key: str, value: object):
    def change(tables: Tables) -> None:
        tables.rows[table][0][key] = value

    return change


@pytest.mark.parametrize(
    ('change', 'scene', 'told'),
    [
        (None, '', '2 scenes, name one with --scene: scene-0061, scene-0103'),
        (None, 'scene-7', "no scene 'scene-7': scene-0061"),
        (drop('sample_data', 'timestamp'), 's0', "sample_data.json lacks 'timestamp'"),
        (put('sample_data', 'ego_pose_token', 'no'), 's0', "ego_pose.json has no token 'no'"),
        (put('ego_pose', 'rotation', [1, 0, 0]), 's0', 'ego_pose.json, token pCAM_FRONT'),
        (put('ego_pose', 'rotation', [0, 0, 0, 0]), 's0', 'must have norm 1'),
        (put('calibrated_sensor', 'camera_intrinsic', []), 's0', 'K must be 3x3'),
        (put('sample_data', 'timestamp', 'now'), 's0', "timestamp is 'now', expected micros"),
        (put('sample_data', 'width', 20), 's0', 'has 160x90 pixels, the calibration says 20x90'),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, rng: np.random.Generator, change, scene: str, told: str
) -> None:
    tables = Tables(tmp_path / 'nuscenes', rng)
    if change is not None:
        change(tables)
    root = tables.write()
    with pytest.raises(ImportDataError, match=told):
        write_plan(plan_nuscenes(root, scene), tmp_path / 'bag')
    assert not (tmp_path / 'bag').exists()


def test_absent_files_are_counted(tmp_path: Path, rng: np.random.Generator) -> None:
    tables = Tables(tmp_path / 'nuscenes', rng)
    first = tables.root / tables.rows['sample_data'][0]['filename']
    first.unlink()
    plan = plan_nuscenes(tables.write(), 's0')
    assert plan.remarks[0] == f'1 files of the tables are absent, the first is {first}'
    with pytest.raises(ImportDataError, match=r'holds no v1.0-\*/sample_data.json'):
        plan_nuscenes(tmp_path / 'elsewhere')
