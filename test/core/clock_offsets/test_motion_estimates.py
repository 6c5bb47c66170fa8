"""Rotations that images and sweeps tell, against those that made them."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.clock_offsets.image_motion import ImageMotion
from sam_ad_perception.core.clock_offsets.sweep_motion import SweepMotion
from sam_ad_perception.core.sensors import PointCloud

FOCAL = 200.0


def texture(seed: int, size: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.uniform(0, 255, size).astype(np.float32), (0, 0), 2.0)


@pytest.mark.parametrize('kind', ['rgb8', 'mono16'])
def test_rotation_of_a_camera_in_a_far_world(kind: str) -> None:
    """Pictures of a panorama seen by a camera that turns: a homography K R K^-1."""
    size = (240, 320)
    K = np.array([[FOCAL, 0, 159.5], [0, FOCAL, 119.5], [0, 0, 1]])
    wide = K.copy()
    wide[:2, 2] += (100, 100)
    world = texture(0, (size[0] + 200, size[1] + 200))
    times = 0.1 * np.arange(30)
    angles = np.column_stack(
        [0.01 * np.sin(4 * times), 0.03 * np.sin(2 * times), 0.01 * np.sin(3 * times + 1)]
    )
    motion = ImageMotion(FOCAL)
    poses = [cv2.Rodrigues(angle)[0] for angle in angles]
    for time, R in zip(times, poses, strict=True):
        image = cv2.warpPerspective(world, K @ R @ np.linalg.inv(wide), size[::-1])
        stretched = np.clip((image - 80) * 2.5, 0, 255)
        if kind == 'mono16':
            motion.add((stretched * 4 + 29000).astype(np.uint16), time)
        else:
            motion.add(np.repeat(stretched[..., None].astype(np.uint8), 3, axis=2), time)
    true = [cv2.Rodrigues(a @ b.T)[0].ravel() for a, b in pairwise(poses)]
    track = motion.track()
    assert track.channels == ('pitch', 'yaw', 'roll', 'activity')
    np.testing.assert_allclose(track.increments[:, :3], true, atol=4e-4)
    np.testing.assert_array_equal(track.times_s, times)


def test_pictures_without_texture_tell_nothing() -> None:
    motion = ImageMotion()
    for i in range(5):
        motion.add(np.full((100, 100), 7, np.uint8), 0.1 * i)
    assert np.all(np.isnan(motion.track().increments[:, :3]))


def test_gaps_and_old_frames() -> None:
    motion = ImageMotion()
    picture = texture(1, (100, 100)).astype(np.uint8)
    for time in (0.0, 0.1, 0.05, 2.0, 2.1):
        motion.add(picture, time)
    track = motion.track()
    np.testing.assert_array_equal(track.times_s, [0.0, 0.1, 2.0, 2.1])
    assert np.isnan(track.increments[1]).all()
    np.testing.assert_allclose(track.increments[[0, 2]], 0.0, atol=1e-6)


def room(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """What 24 x 720 beams see of a room of 30 x 20 x 5 m, and a pillar, from a pose."""
    azimuth = np.linspace(-np.pi, np.pi, 720, endpoint=False)
    elevation = np.linspace(0.15, -0.3, 24)[:, None]
    rays = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation) * np.ones_like(azimuth),
        ],
        axis=-1,
    ).reshape(-1, 3)
    seen = rays @ R.T
    reach = np.full(len(rays), 1e9)
    for axis, (low, high) in enumerate(((-13.0, 17.0), (-8.0, 12.0), (-2.0, 3.0))):
        with np.errstate(divide='ignore'):
            for wall in (low, high):
                far = (wall - t[axis]) / seen[:, axis]
                reach = np.minimum(reach, np.where(far > 0, far, 1e9))
    return (rays * reach[:, None]).astype(np.float32)


def test_rotation_of_a_lidar_in_a_room() -> None:
    rng = np.random.default_rng(0)
    times = 0.1 * np.arange(12)
    angles = np.column_stack(
        [0.004 * np.sin(6 * times), 0.005 * np.sin(8 * times), 0.05 * np.sin(2 * times)]
    )
    poses = [cv2.Rodrigues(angle)[0] for angle in angles]
    motion = SweepMotion()
    for i, (time, R) in enumerate(zip(times, poses, strict=True)):
        points = room(R, np.array([0.3 * i, 0.05 * i, 0.0]))
        noisy = points + rng.normal(0, 0.01, points.shape).astype(np.float32)
        azimuth = np.arctan2(points[:, 1], points[:, 0])
        ages = np.rint((azimuth - np.pi) / (2 * np.pi) * 1e8).astype(np.int64)
        motion.add(PointCloud(noisy, time_offset_ns=ages), time)
    true = [cv2.Rodrigues(a.T @ b)[0].ravel() for a, b in pairwise(poses)]
    track = motion.track()
    assert track.channels == ('roll', 'pitch', 'yaw')
    np.testing.assert_allclose(track.increments, true, atol=1e-3)
    # What lies ahead and behind tells of pitch, and what lies around tells of yaw: the middle.
    np.testing.assert_allclose(track.shifts_s[1:], -0.05, atol=0.012)


def test_sweeps_with_few_points_tell_nothing() -> None:
    motion = SweepMotion()
    for i in range(4):
        motion.add(PointCloud(np.ones((10, 3), np.float32)), 0.1 * i)
    assert np.isnan(motion.track().increments).all()
