"""MUSES as a miniature tree: raw measurements through our own core, and projected pictures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.inputs.events import EventCounts
from sam_ad_perception.modeling.inputs.published_pictures import PrerenderedImage
from sam_ad_perception.modeling.inputs.representations import LidarImage
from training.datasets import muses
from training.datasets.catalog import open_dataset
from training.datasets.muses_radar import read_radar
from training.frames.frame import DatasetError, prepare_frame
from training.frames.image_folders import FrameFiles

SIZE = (54, 96)
SCENE, PLACE = 'REC0006_frame_041442', 'train/fog/night'
START_US, END_US = 1_679_500_000_100_000, 1_679_500_000_110_000
K = np.array([[90.0, 0, 47.5], [0, 90.0, 26.5], [0, 0, 1]])
# lidar x forward, y left, z up; camera x right, y down, z forward
T_CAMERA_LIDAR = np.array([[0.0, -1, 0, 0.1], [0, 0, -1, -0.3], [1, 0, 0, 0.2], [0, 0, 0, 1]])
T_GNSS_LIDAR = np.array([[1.0, 0, 0, 0.5], [0, -1, 0, 0], [0, 0, -1, 1], [0, 0, 0, 1]])
SPEED = 13.5  # m/s


@pytest.fixture
def tree(tmp_path: Path, rng: np.random.Generator) -> Path:
    def place(folder: str, end: str) -> Path:
        path = tmp_path / folder / PLACE / f'{SCENE}_{end}'
        path.parent.mkdir(parents=True)
        return path

    picture = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(picture).save(place('frame_camera', 'frame_camera.png'))
    labels = rng.integers(0, 19, SIZE, dtype=np.uint8)
    Image.fromarray(labels).save(place('gt_semantic', 'gt_labelTrainIds.png'))
    points = np.zeros((500, 6))
    points[:, 0] = rng.uniform(5, 50, 500)
    points[:, 1:3] = rng.uniform(-5, 5, (500, 2))
    points[:, 3] = rng.uniform(0, 255, 500)
    points[:, 5] = START_US * 1e-6 + rng.uniform(-0.1, 0.01, 500)
    points[0, :3] = 0.1  # the vehicle itself
    points[1, 0] = np.nan
    points.astype(np.float64).tofile(place('lidar', 'lidar.bin'))
    place('event_camera', 'event_camera.h5').write_bytes(b'')
    calib = {
        'intrinsics': {'rgb': {'K': K.tolist()}, 'event': {'K': K.tolist()}},
        'extrinsics': {
            'lidar2rgb': T_CAMERA_LIDAR.tolist(),
            'event2rgb': np.eye(4).tolist(),
            'lidar2gnss': T_GNSS_LIDAR.tolist(),
            'radar2rgb': T_CAMERA_LIDAR.tolist(),
            'radar2gnss': T_GNSS_LIDAR.tolist(),
        },
    }
    (tmp_path / 'calib.json').write_text(json.dumps(calib))
    entry = {
        'frame_camera_exposure_start_timestamp_us': START_US,
        'frame_camera_exposure_end_timestamp_us': END_US,
        'path_to_gnss': f'gnss/{PLACE}/{SCENE}_gnss.txt',
    }
    (tmp_path / 'meta.json').write_text(json.dumps({SCENE: entry}))
    fields = np.zeros(28, int)
    fields[23] = round(SPEED * 1000)
    place('gnss', 'gnss.txt').write_text(' '.join(map(str, fields)))
    return tmp_path


@pytest.fixture
def events(monkeypatch):
    """The events of the frame, given in place of the file, which needs packages to be written."""
    x, y = np.array([10, 10, 700.6, 1280, -1]), np.array([20, 20, 300.2, 3, 3])
    t = np.array([99_000, 98_000, 80_000, 99_500, 99_900]) + START_US
    cut = muses.cut_events(x, y, np.array([1, 1, 0, 1, 1]), t)
    monkeypatch.setattr(muses, 'read_events', lambda path: cut)
    return cut


def read(root: Path, name: str = 'muses'):
    return open_dataset(name, root, 'train', partial=True).read(0)


def test_raw_points_fall_where_opencv_projects_them(tree, events):
    (tree / 'meta.json').unlink()
    frame = read(tree)
    assert frame.condition == 'fog/night'
    sweep = frame.bundle.frames[Modality.LIDAR]
    assert len(sweep.data.points) == 498
    image = prepare_frame(frame, {'lidar': LidarImage()}, SIZE).inputs['lidar']
    rows = np.fromfile(tree / f'lidar/{PLACE}/{SCENE}_lidar.bin').reshape(-1, 6)[2:]
    seen = rows[:, :3] @ T_CAMERA_LIDAR[:3, :3].T + T_CAMERA_LIDAR[:3, 3]
    uv = cv2.projectPoints(seen, np.zeros(3), np.zeros(3), K, None)[0].reshape(-1, 2)
    u, v = np.rint(uv).astype(int).T
    inside = (u >= 0) & (u < SIZE[1]) & (v >= 0) & (v < SIZE[0])
    expected = np.zeros(SIZE, bool)
    expected[v[inside], u[inside]] = True
    np.testing.assert_array_equal(image[0] > 0, expected)


def test_sweeps_are_deskewed_by_the_speed_over_ground(tree, events):
    frame = read(tree)
    middle_ns = (START_US + END_US) * 500
    assert frame.bundle.stamp_ns == middle_ns
    sweep = frame.bundle.frames[Modality.LIDAR]
    rows = np.fromfile(tree / f'lidar/{PLACE}/{SCENE}_lidar.bin').reshape(-1, 6)[2:]
    placed = deskew_points(sweep, np.eye(4))
    # straight ahead: a point seen dt before the exposure is nearer by v * dt at the exposure
    expected = rows[:, 0] + SPEED * (rows[:, 5] - middle_ns * 1e-9)
    np.testing.assert_allclose(placed[:, 0], expected, atol=1e-3)
    np.testing.assert_allclose(placed[:, 1:], rows[:, 1:3], atol=1e-3)


def test_events_of_the_last_30_ms_on_the_sensor_are_kept(tree, events):
    cut, last_ns = events
    assert last_ns == (START_US + 99_900) * 1000
    assert cut.t_ns.tolist() == [(START_US + us) * 1000 for us in (80_000, 98_000, 99_000)]
    assert (cut.x.tolist(), cut.y.tolist()) == ([701, 10, 10], [300, 20, 20])
    assert cut.polarity.tolist() == [False, True, True]
    early = muses.cut_events(*np.ones((3, 2)), np.array([0, 30_000]))[0]
    assert early.t_ns.tolist() == [30_000_000]
    frame = read(tree)
    counts = prepare_frame(frame, {'event': EventCounts(log=False)}, (720, 1280)).inputs['event']
    assert counts[0].sum() > 0
    assert counts[1].sum() == 0
    with pytest.raises(DatasetError, match='holds no events'):
        muses.cut_events(*np.ones((3, 0)), np.ones(0, np.int64))


def test_event_files_are_read_or_their_packages_are_named(tmp_path):
    path = tmp_path / 'x_event_camera.h5'
    if any(importlib.util.find_spec(name) is None for name in ('h5py', 'hdf5plugin')):
        with pytest.raises(DatasetError, match='pip install h5py hdf5plugin'):
            muses.read_events(path)
        return
    import h5py

    columns = {'x': [1, 2], 'y': [3, 4], 't': [100, 50_000], 'p': [0, 1]}
    with h5py.File(path, 'w') as file:
        for name, values in columns.items():
            file[f'events/{name}'] = values
    events, last_ns = muses.read_events(path)
    assert (events.x.tolist(), events.polarity.tolist(), last_ns) == ([2], [True], 50_000_000)


def radar_picture(late_ns: int) -> np.ndarray:
    """Echoes: one that counts, of an invalid azimuth, from behind, from too far."""
    polar = np.zeros((11 + 5000, 400), np.uint8)
    polar[10] = 1
    stamp_ns = (START_US + END_US) * 500 + late_ns
    for row, value in ((0, stamp_ns // 10**9), (4, stamp_ns % 10**9)):
        polar[row : row + 4] = np.frombuffer(np.uint32(value).tobytes(), np.uint8)[:, None]
    polar[11 + 456, 190] = 77  # 457 bins of 4.38 cm, 9 degrees to the left
    polar[11 + 300, 200], polar[10, 200] = 99, 0
    polar[11 + 300, 20] = 55
    polar[11 + 4000, 190] = 66  # beyond 150 m
    return polar


@pytest.mark.parametrize('late_ms', [0, 100])
def test_radar_is_drawn_where_its_echoes_lie_on_the_ground(tree, events, late_ms):
    path = tree / 'radar' / PLACE / f'{SCENE}_radar.png'
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), radar_picture(late_ms * 1_000_000))
    frame = read(tree)
    angle = np.deg2rad(180 - 0.9 * 191)
    distance = 457 * 0.0438
    point = [distance * np.cos(angle), distance * np.sin(angle), -1.62]
    point[0] += SPEED * late_ms * 1e-3  # as seen from where the vehicle was at the exposure
    seen = T_CAMERA_LIDAR[:3, :3] @ point + T_CAMERA_LIDAR[:3, 3]
    u, v = np.rint(cv2.projectPoints(seen, np.zeros(3), np.zeros(3), K, None)[0].ravel()).astype(
        int
    )
    picture = prepare_frame(frame, {'radar': PrerenderedImage(nearest=True)}, SIZE).inputs['radar']
    assert np.argwhere(picture[1] > 0).tolist() == [[v, u]]
    np.testing.assert_allclose(picture[:, v, u], [distance, 77, 0], atol=1e-3)
    assert 'radar' in frame.pictures


def test_a_radar_picture_that_is_none_is_named(tmp_path):
    path = tmp_path / 'radar.png'
    cv2.imwrite(str(path), np.zeros((50, 300), np.uint8))
    with pytest.raises(
        DatasetError, match=r'radar\.png is \(50, 300\) uint8, expected 400 columns'
    ):
        read_radar(path, 0)


@pytest.mark.parametrize('end', ['.npz', '.npy', '.png'])
def test_projected_pictures_are_those_of_the_tool(tree, rng, end):
    lidar = np.zeros((*SIZE, 3), np.float32)
    lidar[5, 7] = (41.5, 12, -1.25)
    counts = rng.integers(0, 5, (*SIZE, 3), dtype=np.uint8)
    for folder, image in (('lidar', lidar), ('event_camera', counts), ('radar', lidar)):
        path = tree / 'projected_to_rgb' / folder / PLACE / f'{SCENE}_{folder}{end}'
        path.parent.mkdir(parents=True)
        if end == '.png':
            shown = image if image is counts else ((image + 100) * 150).astype(np.uint16)
            cv2.imwrite(str(path), shown)
        elif end == '.npy':
            np.save(path, image)
        else:
            np.savez_compressed(path, image)
    mean, std = (4.917, 6.149, 0.27), (13.347, 17.638, 1.232)
    forms = {
        'lidar': PrerenderedImage(mean, std, nearest=True),
        'event': PrerenderedImage(nearest=True),
    }
    forms['radar'] = PrerenderedImage(mean, std)
    prepared = prepare_frame(read(tree, 'muses_projected'), forms, SIZE).inputs
    expected = (lidar - np.float32(mean)) / np.float32(std)
    for name in ('lidar', 'radar'):
        np.testing.assert_allclose(prepared[name], expected.transpose(2, 0, 1), atol=6e-3)
    np.testing.assert_array_equal(prepared['event'], counts.transpose(2, 0, 1))


def test_what_is_wrong_with_a_file_is_said(tree, events):
    lidar = tree / f'lidar/{PLACE}/{SCENE}_lidar.bin'
    lidar.write_bytes(lidar.read_bytes()[:-8])
    with pytest.raises(DatasetError, match='2999 float64 values, expected rows of 6'):
        read(tree)
    with pytest.raises(DatasetError, match='withheld'):
        open_dataset('muses', tree, 'test', partial=True)
    with pytest.raises(DatasetError, match='no entry'):
        muses.read_frame(_renamed(tree))


def test_a_calibration_that_is_none_is_refused(tree, events):
    calib = json.loads((tree / 'calib.json').read_text())
    calib['extrinsics']['lidar2rgb'][0][0] = 3.0
    (tree / 'calib.json').write_text(json.dumps(calib))
    muses._read_json.cache_clear()
    with pytest.raises(DatasetError, match='lidar2rgb is not rigid'):
        read(tree)


def _renamed(tree: Path) -> FrameFiles:
    (files,) = open_dataset('muses', tree, 'train', partial=True).frames
    return FrameFiles('another', files.files)
