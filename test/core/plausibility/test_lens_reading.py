"""Rectified or raw, told from images: lines through OpenCV's lens model, and KITTI frames."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.plausibility.lens_reading import (
    look_at_image,
    no_evidence,
    readings_differ,
)
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.plausibility.reading_watch import LensReadings
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame

SIZE = (400, 640)
K = np.array([[500.0, 0, 318], [0, 500, 203], [0, 0, 1]])
D = np.array([-0.3, 0.09, 0.0005, -0.0004, 0])
RECTIFIED, RAW = CameraModel(640, 400, K), CameraModel(640, 400, K, D)
# Of KITTI's calibration of 2011-09-26, camera 2, as its bags carry it beside rectified images.
KITTI_K = np.array([[959.791, 0, 696.0217], [0, 956.9251, 224.1806], [0, 0, 1]])
KITTI_D = np.array([-0.3691481, 0.1968681, 1.353473e-3, 5.677587e-4, -0.06770705])


def street(rng, D, lines=40):
    """Straight lines of the world, drawn through the points that `cv2.projectPoints` gives."""
    image = np.full((*SIZE, 3), 90, np.uint8)
    for _ in range(lines):
        middle, angle = rng.uniform((-0.6, -0.36), (0.6, 0.36)), rng.uniform(0, np.pi)
        reach = np.linspace(-0.35, 0.35, 60)[:, None]
        xy = middle + reach * np.array([np.cos(angle), np.sin(angle)])
        rays = np.column_stack([xy, np.ones(len(xy))])
        uv, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, D)
        colour = tuple(int(c) for c in rng.integers(0, 255, 3))
        points = np.rint(uv.reshape(-1, 2) * 16).astype(np.int32)
        cv2.polylines(image, [points], False, colour, 3, cv2.LINE_AA, shift=4)
    noise = rng.normal(0, 3, image.shape)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 0.7) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize('scale', [1.0, 0.4, -0.5])
def test_straight_lines_tell_the_reading(rng, scale):
    raw = CameraModel(640, 400, K, scale * D)
    for is_rectified in (True, False):
        evidence = no_evidence()
        for _ in range(2):
            image = street(rng, np.zeros(5) if is_rectified else scale * D)
            evidence = evidence.joined(look_at_image(image, RECTIFIED, raw))
        assert evidence.rectified is is_rectified, evidence.words


def test_nothing_is_told_without_edges_or_difference(rng):
    noise = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    for image in (noise, np.full_like(noise, 128)):
        assert look_at_image(image, RECTIFIED, RAW).rectified is None
    assert readings_differ(RECTIFIED, CameraModel(640, 400, K)) == 0
    corners = np.array([(u, v, 1) for u in (0, 639) for v in (0, 399)], float)
    rays = corners @ np.linalg.inv(K).T
    uv, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, D)
    farthest = np.linalg.norm(uv.reshape(-1, 2) - corners[:, :2], axis=1).max()
    assert readings_differ(RECTIFIED, RAW) == pytest.approx(farthest, abs=0.05)


def kitti(folder, number):
    """A frame of KITTI: image, sweep, transform into the camera, P."""
    image = cv2.imread(str(folder / f'kitti/frames/image_02/{number:010d}.png'))
    sweep = np.fromfile(folder / f'kitti/frames/velodyne/{number:010d}.bin', np.float32)
    rows = [r.partition(':') for r in (folder / 'kitti/frames/calib.txt').read_text().splitlines()]
    known = {name: np.array(values.split(), float) for name, _, values in rows if values}
    P, T, R = known['P2'].reshape(3, 4), np.eye(4), np.eye(4)
    T[:3], R[:3, :3] = known['Tr_velo_to_cam'].reshape(3, 4), known['R0_rect'].reshape(3, 3)
    T = R @ T
    T[:3, 3] += np.linalg.solve(P[:, :3], P[:, 3])
    return image[:, :, ::-1].copy(), sweep.reshape(-1, 4)[:, :3], T, P[:, :3]


@pytest.mark.data
@pytest.mark.parametrize('calibrated', ['as kitti2bag', 'at its size'])
def test_kitti_frames_are_rectified_and_their_distorted_copies_are_not(sample_data, calibrated):
    straight, bent = no_evidence(), no_evidence()
    for number in range(3):
        image, points, T, P = kitti(sample_data, number)
        height, width = image.shape[:2]
        K_raw = KITTI_K if calibrated == 'as kitti2bag' else P
        rectified, raw = (
            CameraModel(width, height, P),
            CameraModel(width, height, K_raw, KITTI_D),
        )
        straight = straight.joined(look_at_image(image, rectified, raw, points, T))
        # OpenCV's undistortPoints tells where each pixel of a distorted image comes from.
        v, u = np.mgrid[:height, :width].astype(np.float32)
        pixels = np.column_stack([u.ravel(), v.ravel()])[:, None]
        sources = cv2.undistortPoints(pixels, K_raw, KITTI_D, P=P).reshape(height, width, 2)
        drawn = cv2.remap(image, sources.astype(np.float32), None, cv2.INTER_LINEAR)
        bent = bent.joined(look_at_image(drawn, rectified, raw, points, T))
    assert bent.rectified is False, bent.words
    assert bent.depths < -2.0
    assert straight.depths > 1.0
    assert straight.total > 0
    if calibrated == 'as kitti2bag':
        assert straight.rectified is True, straight.words


def bundle_of(image, k):
    frame = SensorFrame(Modality.CAMERA, k, 'camera_optical', image, RECTIFIED)
    lidar = SensorFrame(Modality.THERMAL, k, 'camera_optical', image[:, :, 0], RECTIFIED)
    frames = {Modality.CAMERA: frame, Modality.THERMAL: lidar}
    return SensorBundle(k, Modality.CAMERA, RECTIFIED, frames)


@pytest.mark.parametrize('taken', [True, False])
@pytest.mark.parametrize('is_rectified', [True, False])
def test_the_pass_finds_images_that_are_read_wrongly(rng, taken, is_rectified):
    monitor = PlausibilityMonitor(PlausibilityConfig())
    monitor.readings.set_readings(LensReadings(RECTIFIED, RAW, taken=taken))
    last, images = None, [street(rng, np.zeros(5) if is_rectified else D) for _ in range(5)]
    for k in range(20):
        image = images[k // 4]
        last = monitor.check_bundle(bundle_of(image, k))
        monitor.readings.finish()
    told = {(f.finding.code, f.finding.sensor, f.finding.out) for f in monitor.findings()}
    if taken == is_rectified:
        assert told == set()
        return
    assert told == {('geometry.rectified', 'camera', True)}
    assert set(last.frames) == {Modality.CAMERA}
    word = 'true' if is_rectified else 'false'
    assert f'camera.rectified: {word}' in last.missing[Modality.THERMAL]
    assert 'rectified' in last.notes[Modality.CAMERA]


@pytest.mark.parametrize(
    ('topic', 'at_once'), [('/cam/image_rect', True), ('/cam/image_raw', False)]
)
@pytest.mark.parametrize('is_rectified', [True, False])
def test_images_decide_once_where_nobody_said(rng, is_rectified, topic, at_once):
    watch = PlausibilityMonitor(PlausibilityConfig()).readings
    watch.at_once = at_once
    told = LensReadings(RECTIFIED, RAW, taken=True, settled=False, topic=topic)
    watch.set_readings(told)
    true, other = (np.zeros(5), D) if is_rectified else (D, np.zeros(5))
    for k in range(12):
        watch.look(bundle_of(street(rng, true), k))
        watch.finish()
        if watch.decided is not None:
            break
    assert watch.decided is is_rectified
    for k in range(12, 60):  # images of the other kind: it never goes back
        watch.look(bundle_of(street(rng, other, lines=4), k))
        watch.finish()
    assert watch.decided is is_rectified
    zoomed = CameraModel(640, 400, K * [[1.5], [1.5], [1]])
    watch.set_readings(
        LensReadings(zoomed, CameraModel(640, 400, zoomed.K, D), taken=True, settled=False)
    )
    assert watch.decided is is_rectified
    if is_rectified == (topic == '/cam/image_rect'):
        assert watch.finding is None
        return
    assert not watch.finding.out
    named, other = ('raw', 'rectified') if is_rectified else ('rectified', 'raw')
    assert f'its topic {topic} is named as of {named} images' in watch.finding.text
    assert f'read as {other} from here on' in watch.finding.remedy
    assert f'camera.rectified: {str(not is_rectified).lower()} overrules' in watch.finding.remedy


def test_what_was_projected_by_the_wrong_reading_is_taken_out_until_it_is_followed(rng):
    monitor = PlausibilityMonitor(PlausibilityConfig())
    monitor.readings.at_once = True
    told = LensReadings(RECTIFIED, RAW, taken=True, settled=False, topic='/cam/image_rect')
    monitor.readings.set_readings(told)
    before = [monitor.check_bundle(bundle_of(street(rng, D), k)) for k in range(12)]
    assert monitor.readings.decided is False
    assert Modality.THERMAL in before[0].frames
    assert Modality.THERMAL in before[-1].missing
    followed = replace(bundle_of(street(rng, D), 12), camera=RAW)
    after = monitor.check_bundle(followed)
    assert set(after.frames) == {Modality.CAMERA, Modality.THERMAL}
    assert 'read as raw from here on' in monitor.findings()[0].finding.sentence
    assert 'its images are not rectified' in after.notes[Modality.CAMERA]
