"""The plausibility pass raises nothing on real recordings of healthy sensors."""

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)

START = 1_700_000_000_000_000_000
CAMERA, THERMAL, LIDAR = Modality.CAMERA, Modality.THERMAL, Modality.LIDAR


def model(image, frame='camera_optical'):
    height, width = image.shape[:2]
    K = np.array([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]])
    return CameraModel(width, height, K, frame_id=frame)


def told(images, modality, encoding, period_s):
    """What the pass tells of images that arrive 8 ms after their stamps."""
    monitor, count = PlausibilityMonitor(PlausibilityConfig()), 0
    checks = monitor.checks(modality)
    for k, image in enumerate(images):
        stamp = START + round(k * period_s * 1e9)
        monitor.observe(modality, stamp, stamp + 8_000_000)
        assert monitor.admit(modality, stamp) is None
        pixels, found = checks.check_in(image, encoding)
        out, more = checks.check_out(pixels)
        view = model(image)
        frame = SensorFrame(modality, stamp, 'optical', out, view, findings=(*found, *more))
        T = {} if modality is CAMERA else {modality: np.eye(4)}
        bundle = SensorBundle(stamp, modality, view, {modality: frame}, T_camera=T)
        assert set(monitor.check_bundle(bundle).frames) == {modality}
        count += 1
    assert count > 10
    return [(each.finding.code, each.count) for each in monitor.findings()]


def video(path, step):
    """Every so many frames of a video, RGB."""
    capture = cv2.VideoCapture(str(path))
    k = 0
    while capture.grab():
        if k % step == 0:
            yield capture.retrieve()[1][:, :, ::-1].copy()
        k += 1


@pytest.mark.data
@pytest.mark.parametrize(
    ('name', 'step'),
    [
        ('highway_25hz', 1),
        ('standing_car-detection', 3),
        ('standing_bottle-detection', 6),
    ],
)
def test_nothing_on_videos_of_a_highway_and_of_standing_cameras(sample_data, name, step):
    frames = video(sample_data / f'health/{name}.mp4', step)
    assert told(frames, CAMERA, 'rgb8', 0.04 * step) == []


@pytest.mark.data
def test_nothing_on_camvid(sample_data):
    paths = sorted((sample_data / 'camvid/val').glob('*.png'))
    images = (cv2.imread(str(path))[:, :, ::-1].copy() for path in paths)
    assert told(images, CAMERA, 'rgb8', 1 / 30) == []


@pytest.mark.data
@pytest.mark.parametrize('name', ['possum', 'street'])
def test_nothing_on_counts_of_a_lepton(sample_data, name):
    counts = np.load(sample_data / f'health/lepton_{name}_9hz.npz')['frames']
    assert told(counts, THERMAL, 'mono16', 1 / 9) == []


@pytest.mark.data
def test_nothing_on_sweeps_of_a_street(sample_data):
    sweeps = np.load(sample_data / 'health/street_lidar_10hz.npz')
    monitor, view = PlausibilityMonitor(PlausibilityConfig()), model(np.zeros((400, 640, 3)))
    T = np.eye(4)
    T[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    for k, name in enumerate(sorted(sweeps.files)):
        stamp = START + k * 100_000_000
        monitor.observe(LIDAR, stamp, stamp + 100_000_000)
        frame = SensorFrame(LIDAR, stamp, 'lidar', PointCloud(sweeps[name]))
        frame = monitor.check_frame(frame, stamp + 100_000_000)
        bundle = SensorBundle(stamp, LIDAR, view, {LIDAR: frame}, T_camera={LIDAR: T})
        assert set(monitor.check_bundle(bundle).frames) == {LIDAR}
    assert monitor.findings() == ()
