"""KITTI as rosbag2: depth images equal the development kit's arithmetic on the same files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sam_ad_perception.bags.bundles import read_bundles
from sam_ad_perception.bags.importing.kitti import plan_kitti
from sam_ad_perception.bags.importing.plan import ImportDataError, write_plan
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.commands.cli import main
from sam_ad_perception.core.lidar.depth_image import DepthConfig, render_depth
from sam_ad_perception.core.lidar.occlusion import OcclusionConfig
from sam_ad_perception.core.sensors import Modality, SensorBundle

RAW_DEPTH = DepthConfig(OcclusionConfig(enabled=False))
STAMPS = ('2011-09-26 13:02:25.951199337', '2011-09-26 13:02:26.054906606')
STAMP_NS = (1_317_042_145_951_199_337, 1_317_042_146_054_906_606)


def depths(bag: Path, topics: dict[str, str] | None = None) -> list[NDArray[np.float32]]:
    """The depth image of each camera image, by the way that `sam_ad label` goes."""
    made = []
    with BagReader(bag) as reader:
        for result in read_bundles(reader, choose_topics(reader, topics or {})):
            assert isinstance(result, SensorBundle), result
            frame, T = result.frames[Modality.LIDAR], result.T_camera[Modality.LIDAR]
            made.append(render_depth(frame, T, result.camera, RAW_DEPTH).returns)
    return made


def devkit_depth(
    points: NDArray[np.float32], P: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Project as the development kit does: `P x`, the nearest point of a pixel wins."""
    homogeneous = np.c_[points[:, :3].astype(np.float64), np.ones(len(points))] @ P.T
    ahead = homogeneous[homogeneous[:, 2] > 0]
    u, v = np.floor(ahead[:, :2].T / ahead[:, 2] + 0.5).astype(int)
    inside = (u >= 0) & (v >= 0) & (u < size[1]) & (v < size[0])
    depth = np.full(size, np.inf)
    np.minimum.at(depth, (v[inside], u[inside]), ahead[inside, 2])
    return np.where(np.isfinite(depth), depth, np.nan)


def homogeneous(values: list[float], columns: int) -> NDArray[np.float64]:
    T = np.eye(4)
    T[:3, :columns] = np.reshape(values, (3, columns))
    return T


def read_calib(file: Path) -> dict[str, list[float]]:
    lines = [line.split(':') for line in file.read_text().splitlines() if line.strip()]
    return {name: [float(v) for v in rest.split()] for name, rest in lines}


def equal_share(ours: NDArray[np.float32], theirs: NDArray[np.float64]) -> float:
    """Share of the pixels with a point in either image that agree to a millimetre."""
    either = np.isfinite(ours) | np.isfinite(theirs)
    assert either.sum() > 100
    return float(np.mean(np.abs(ours[either] - theirs[either]) < 1e-3))


def test_depth_of_real_frames_is_that_of_the_devkit(tmp_path: Path, sample_data: Path) -> None:
    source, bag = sample_data / 'kitti' / 'frames', tmp_path / 'bag'
    assert main(['import', 'kitti', str(source), '--out', str(bag)]) == 0
    calib = read_calib(source / 'calib.txt')
    chain = homogeneous(calib['R0_rect'], 3) @ homogeneous(calib['Tr_velo_to_cam'], 4)
    P = np.reshape(calib['P2'], (3, 4)) @ chain
    made = depths(bag)
    sweeps = sorted((source / 'velodyne').glob('*.bin'))
    assert len(made) == len(sweeps) == 3
    shares = []
    for ours, file in zip(made, sweeps, strict=True):
        points = np.fromfile(file, '<f4').reshape(-1, 4)
        shares.append(equal_share(ours, devkit_depth(points, P, (375, 1242))))
    print('equal pixels', shares)
    assert min(shares) > 0.999


def test_images_and_points_keep_their_bytes(tmp_path: Path, sample_data: Path) -> None:
    source, bag = sample_data / 'kitti' / 'frames', tmp_path / 'bag'
    write_plan(plan_kitti(source), bag)
    images, clouds = [], []
    with BagReader(bag) as reader:
        for message in reader.messages():
            data = reader.deserialize(message)
            if message.topic.endswith('compressed'):
                images.append(bytes(data.data))
                assert data.format == 'bgr8; png compressed bgr8'
            elif message.topic == '/lidar/points':
                clouds.append(bytes(data.data))
                assert [f.name for f in data.fields] == ['x', 'y', 'z', 'intensity']
    assert images == [p.read_bytes() for p in sorted((source / 'image_02').glob('*.png'))]
    assert clouds == [p.read_bytes() for p in sorted((source / 'velodyne').glob('*.bin'))]


def make_drive(folder: Path, size: tuple[int, int], rng: np.random.Generator) -> Path:
    """A raw drive of two frames: camera 2 with a lens, 64x48 raw, 60x40 rectified."""
    drive = folder / '2011_09_26' / '2011_09_26_drive_0001_sync'
    tilt, _ = cv2.Rodrigues(np.array([0.01, -0.02, 0.015]))
    R_velo, T_velo = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), [0.0, -0.08, -0.27]
    text = {
        'S_02': [64, 48],
        'K_02': [50.0, 0, 31, 0, 51, 23, 0, 0, 1],
        'D_02': [-0.2, 0.05, 0.001, 0.0005, 0.0],
        'R_02': tilt.ravel(),
        'T_02': [0.06, 0.001, -0.002],
        'S_rect_02': [60, 40],
        'R_rect_00': cv2.Rodrigues(np.array([0.005, 0.003, -0.01]))[0].ravel(),
        'P_rect_02': [48.0, 0, 29.5, 3.1, 0, 48, 19.5, 0.2, 0, 0, 1, 0.003],
    }
    drive.mkdir(parents=True)
    lines = [f'{name}: {" ".join(f"{v:.12e}" for v in values)}' for name, values in text.items()]
    (drive.parent / 'calib_cam_to_cam.txt').write_text(
        'calib_time: 09-Jan-2012 13:57:47\n' + '\n'.join(lines) + '\n'
    )
    (drive.parent / 'calib_velo_to_cam.txt').write_text(
        f'R: {" ".join(map(str, R_velo.ravel()))}\nT: {" ".join(map(str, T_velo))}\n'
    )
    for name, suffix in (('image_02', 'png'), ('velodyne_points', 'bin')):
        (drive / name / 'data').mkdir(parents=True)
        (drive / name / 'timestamps.txt').write_text('\n'.join(STAMPS) + '\n')
        for number in range(2):
            file = drive / name / 'data' / f'{number:010d}.{suffix}'
            if suffix == 'png':
                cv2.imwrite(str(file), rng.integers(0, 255, (*size, 3), dtype=np.uint8))
            else:
                spread = rng.uniform([4, -4, -2, 0], [40, 4, 2, 1], (3000, 4))
                spread[:, 1:3] *= spread[:, :1] / 12
                spread.astype('<f4').tofile(file)
    ends = '2011-09-26 13:02:25.990000000\n2011-09-26 13:02:26.100000000\n'
    (drive / 'velodyne_points' / 'timestamps_end.txt').write_text(ends)
    return drive


def test_a_rectified_drive(tmp_path: Path, rng: np.random.Generator) -> None:
    drive = make_drive(tmp_path, (40, 60), rng)
    write_plan(plan_kitti(drive.parent), tmp_path / 'bag')  # the date folder holds one drive
    cams = read_calib_drive(drive)
    P = np.reshape(cams['P_rect_02'], (3, 4)) @ homogeneous(cams['R_rect_00'], 3) @ cams['velo']
    for number, ours in enumerate(depths(tmp_path / 'bag')):
        file = drive / 'velodyne_points' / 'data' / f'{number:010d}.bin'
        points = np.fromfile(file, '<f4').reshape(-1, 4)
        assert equal_share(ours, devkit_depth(points, P, (40, 60))) > 0.999
    with BagReader(tmp_path / 'bag') as reader:
        stamps: dict[str, list[int]] = {}
        received: dict[str, list[int]] = {}
        for message in reader.messages(['/lidar/points', '/camera_left/image_rect/compressed']):
            stamp = reader.deserialize(message).header.stamp
            stamps.setdefault(message.topic, []).append(stamp.sec * 10**9 + stamp.nanosec)
            received.setdefault(message.topic, []).append(message.received_ns)
    assert [tuple(each) for each in stamps.values()] == [STAMP_NS, STAMP_NS]
    # A sweep is there when it ended, an image when it was taken.
    assert [r - s for r, s in zip(received['/lidar/points'], STAMP_NS, strict=True)] == [
        38_800_663,
        45_093_394,
    ]


def read_calib_drive(drive: Path) -> dict[str, NDArray[np.float64]]:
    cams = {}
    for line in (drive.parent / 'calib_cam_to_cam.txt').read_text().splitlines()[1:]:
        name, _, rest = line.partition(':')
        cams[name] = np.array(rest.split(), dtype=float)
    velo = read_calib(drive.parent / 'calib_velo_to_cam.txt')
    cams['velo'] = homogeneous(velo['R'], 3)
    cams['velo'][:3, 3] = velo['T']
    return cams


def test_an_unrectified_drive_has_the_lens(tmp_path: Path, rng: np.random.Generator) -> None:
    drive = make_drive(tmp_path, (48, 64), rng)
    write_plan(plan_kitti(drive), tmp_path / 'bag')
    cams = read_calib_drive(drive)
    T = homogeneous(cams['R_02'], 3)
    T[:3, 3] = cams['T_02']
    T = T @ cams['velo']
    K = cams['K_02'].reshape(3, 3)
    for number, ours in enumerate(depths(tmp_path / 'bag')):
        file = drive / 'velodyne_points' / 'data' / f'{number:010d}.bin'
        points = np.fromfile(file, '<f4').reshape(-1, 4)[:, :3].astype(np.float64)
        uv, _ = cv2.projectPoints(points, cv2.Rodrigues(T[:3, :3])[0], T[:3, 3], K, cams['D_02'])
        z = points @ T[2, :3] + T[2, 3]
        u, v = np.floor(uv[:, 0].T + 0.5).astype(int)
        inside = (u >= 0) & (v >= 0) & (u < 64) & (v < 48) & (z > 0)
        depth = np.full((48, 64), np.inf)
        np.minimum.at(depth, (v[inside], u[inside]), z[inside])
        assert equal_share(ours, np.where(np.isfinite(depth), depth, np.nan)) > 0.999


@pytest.mark.parametrize(
    ('break_it', 'told'),
    [
        (lambda d: (d.parent / 'calib_velo_to_cam.txt').unlink(), 'calib_velo_to_cam.txt is neit'),
        (lambda d: (d / 'image_02' / 'timestamps.txt').unlink(), 'timestamps.txt is missing'),
        (
            lambda d: (d / 'image_02' / 'timestamps.txt').write_text('yesterday\n'),
            "line 1: 'yesterday', expected YYYY-MM-DD",
        ),
        (
            lambda d: (d / 'image_02' / 'timestamps.txt').write_text(STAMPS[0]),
            'is frame 1, but there are 1 stamps',
        ),
        (
            lambda d: (d.parent / 'calib_cam_to_cam.txt').write_text('S_02: 64 48\n'),
            'has no S_rect_02, it has S_02',
        ),
        (
            lambda d: (d / 'image_02' / 'data' / '0000000000.png').write_bytes(b'GIF89a..'),
            r"begins with b'GIF89a..', expected a JPEG or PNG",
        ),
        (
            lambda d: (d / 'velodyne_points' / 'data' / '0000000001.bin').write_bytes(bytes(20)),
            '20 bytes are not rows of 4 float32; rows of 5 would fit',
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_left(
    tmp_path: Path, rng: np.random.Generator, break_it, told: str
) -> None:
    drive = make_drive(tmp_path, (40, 60), rng)
    break_it(drive)
    with pytest.raises(ImportDataError, match=told):
        write_plan(plan_kitti(drive), tmp_path / 'bag')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['2011_09_26']


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ImportDataError, match=r'neither image_0\?/data nor calib.txt'):
        plan_kitti(tmp_path)
