"""The ground in sweeps: planes that were drawn, the simulator's truth, and real KITTI sweeps."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_ad_perception.core.lidar.ground import (
    GroundConfig,
    GroundPlane,
    find_contradictions,
    find_ground,
)
from sam_ad_perception.core.sensors import CameraModel


def street(rng, height, roll, pitch, count=4000, clutter=0.4):
    """Points on a tilted plane below the sensor, and clutter above it."""
    xy = rng.uniform(-25, 25, (count, 2))
    z = -height + np.tan(pitch) * xy[:, 0] + np.tan(roll) * xy[:, 1]
    points = np.column_stack([xy, z + rng.normal(0, 0.02, count)])
    above = rng.random(count) < clutter
    points[above, 2] += rng.uniform(0.3, 6, above.sum())
    return points.astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    height=st.floats(0.4, 3.5),
    roll=st.floats(-0.12, 0.12),
    pitch=st.floats(-0.12, 0.12),
    clutter=st.floats(0, 0.6),
    seed=st.integers(0, 99),
)
def test_a_drawn_plane_is_found(height, roll, pitch, clutter, seed):
    points = street(np.random.default_rng(seed), height, roll, pitch, clutter=clutter)
    ground = find_ground(points)
    expected = np.array([-np.tan(pitch), -np.tan(roll), 1.0])
    expected /= np.linalg.norm(expected)
    assert ground is not None
    assert np.rad2deg(np.arccos(min(ground.normal @ expected, 1.0))) < 0.5
    assert ground.offset == pytest.approx(height * expected[2], abs=0.06)


def test_ground_of_real_sweeps_is_where_the_recording_says(sample_data):
    """KITTI: points on the road within 25 m lie at z = -1.64 +/- 0.07 m in the Velodyne frame."""
    files = sorted((sample_data / 'kitti' / 'frames').rglob('*.bin'))
    assert len(files) == 3
    for file in files:
        points = np.fromfile(file, np.float32).reshape(-1, 4)[:, :3]
        ground = find_ground(points)
        assert ground is not None
        x, y, z = points.T
        road = (x > 5) & (x < 25) & (np.abs(y) < 3) & (np.abs(ground.heights(points)) < 0.1)
        assert np.median(z[road]) == pytest.approx(-1.64, abs=0.07), file
        begin = time.process_time()
        for _ in range(10):
            find_ground(points)
        assert (time.process_time() - begin) / 10 < 0.05  # it takes about 2 ms on a quiet core


@pytest.mark.parametrize(
    'points',
    [
        np.zeros((0, 3), np.float32),
        np.full((500, 3), np.nan, np.float32),
        np.full((500, 3), np.inf, np.float32),
        np.random.default_rng(0).normal(0, 8, (2000, 3)).astype(np.float32),
        np.random.default_rng(0).uniform((5, -20, -2), (5.01, 20, 6), (2000, 3)),
    ],
    ids=['empty', 'NaN', 'infinite', 'a ball', 'a wall'],
)
def test_where_there_is_no_ground_none_is_found(points):
    assert find_ground(points) is None


def test_a_ceiling_is_no_ground(rng):
    points = street(rng, 1.8, 0, 0, clutter=0)
    roof = points.copy()
    roof[:, 2] = 3.0
    ground = find_ground(np.concatenate([points[:1500], roof]))
    assert ground is not None
    assert ground.offset == pytest.approx(1.8, abs=0.05)


def test_a_plane_is_the_same_in_another_frame(rng):
    plane = GroundPlane(np.array([0.0, 0, 1]), 1.7, 1.0)
    points = rng.normal(0, 5, (20, 3))
    angle = 0.3
    T = np.eye(4)
    T[:3, :3] = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    T[:3, :3] = T[:3, :3] @ [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    T[:3, 3] = [0.3, -0.2, 0.9]
    moved = points @ T[:3, :3].T + T[:3, 3]
    np.testing.assert_allclose(plane.transformed(T).heights(moved), plane.heights(points))


def test_what_stands_on_the_road_is_found_and_the_road_is_not():
    """A camera 1.5 m above flat ground; a box of one metre stands 10 m ahead."""
    camera = CameraModel(200, 100, np.array([[100.0, 0, 100], [0, 100, 50], [0, 0, 1]]))
    v, u = np.mgrid[:100, :200].astype(float)
    with np.errstate(divide='ignore'):
        depth = np.where(v > 50, 1.5 * 100 / (v - 50), np.nan).astype(np.float32)
    box = (u > 90) & (u < 110) & (v >= 55) & (v < 65)  # 10 m away, up to 1 m above the ground
    depth[box] = 10.0
    mask = np.zeros((100, 200), np.uint8)
    mask[:, 150:] = 13
    ground = GroundPlane(np.array([0.0, -1, 0]), 1.5, 1.0)
    found = find_contradictions(depth, mask, camera, ground, {0, 1}, GroundConfig())
    heights = 1.5 - (v - 50) / 100 * 10
    np.testing.assert_array_equal(found, box & (heights > 0.5))
    assert found.sum() > 50
    nobody = find_contradictions(depth, mask, camera, ground, {13}, GroundConfig())
    assert not nobody.any()
