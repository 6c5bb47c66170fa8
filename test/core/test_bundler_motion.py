"""What bundles tell of how a lidar moved while and after it measured."""

from __future__ import annotations

import numpy as np

from sam_ad_perception.core.bundler import Bundler, BundlerConfig
from sam_ad_perception.core.deskew import place_points
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.core.transforms import TransformTree, make_transform

MS, S = 1_000_000, 1_000_000_000
LIDAR = Modality.LIDAR
VIEW = CameraModel(64, 48, np.diag([50.0, 50.0, 1.0]), frame_id='camera_optical')
STILL = PointCloud(np.ones((3, 3), np.float32))


def make_tree() -> TransformTree:
    """Camera and lidar stand on `base_link`, beside each other."""
    tree = TransformTree()
    for frame, y in (('camera_optical', 0.1), ('lidar', 1.0)):
        tree.set_static('base_link', frame, make_transform(np.eye(3), (0.0, y, 0.0)))
    return tree


def make_bundler(tree: TransformTree) -> Bundler:
    bundler = Bundler(BundlerConfig(), tree)
    bundler.set_camera(Modality.CAMERA, VIEW)
    return bundler


def bundle_with(bundler: Bundler, cloud: PointCloud = STILL) -> SensorBundle:
    """The bundle of a picture, and of a sweep from 50 ms before it."""
    bundler.add_frame(SensorFrame(LIDAR, 100 * S - 50 * MS, 'lidar', cloud), 100 * S)
    picture = np.zeros((48, 64, 3), np.uint8)
    bundler.add_frame(SensorFrame(Modality.CAMERA, 100 * S, 'camera_optical', picture), 100 * S)
    (bundle,) = bundler.flush()
    assert isinstance(bundle, SensorBundle)
    return bundle


def moving_tree() -> TransformTree:
    """The vehicle drives along x at 20 m/s."""
    tree = make_tree()
    for i in range(200):
        stamp = 99 * S + i * 10 * MS
        T = make_transform(np.eye(3), (20e-9 * (stamp - 99 * S), 0.0, 0.0))
        tree.add_dynamic('odom', 'base_link', stamp, T)
    return tree


def test_a_sweep_learns_how_its_lidar_moved() -> None:
    """Points of 100 and 50 ms before the exposure lie 2 m and 1 m behind where they were seen."""
    bundler = make_bundler(moving_tree())
    cloud = PointCloud(np.zeros((2, 3), np.float32), None, np.array([-50 * MS, 0], np.int64))
    bundle = bundle_with(bundler, cloud)
    assert bundle.notes == {}
    placed = place_points(bundle.frames[LIDAR], bundle.T_camera[LIDAR])
    np.testing.assert_allclose(placed, [[-2.0, 0.9, 0.0], [-1.0, 0.9, 0.0]], atol=1e-5)


def test_a_sweep_without_times_moves_as_a_whole_and_says_so() -> None:
    bundler = make_bundler(moving_tree())
    bundle = bundle_with(
        bundler, PointCloud(np.ones((2, 3), np.float32), time_note='no field of time')
    )
    assert bundle.notes == {LIDAR: 'moved as a whole: no field of time'}
    placed = place_points(bundle.frames[LIDAR], bundle.T_camera[LIDAR])
    np.testing.assert_allclose(placed, np.broadcast_to((0.0, 1.9, 1.0), (2, 3)), atol=1e-5)


def test_a_sweep_whose_motion_is_unknown_is_used_as_it_came_and_says_so() -> None:
    tree = make_tree()
    for stamp in (50 * S, 51 * S):  # and then the odometry fell silent
        tree.add_dynamic('odom', 'base_link', stamp, np.eye(4))
    bundler = make_bundler(tree)
    bundle = bundle_with(bundler)
    assert bundle.frames[LIDAR].motion is None
    told = "not deskewed: transform 'odom' -> 'lidar' is known from 50.000 s to 51.000 s"
    assert bundle.notes[LIDAR].startswith(told)
    assert bundler.counters['lidar.not_deskewed'] == 1


def test_motion_that_nobody_tells_is_no_shortcoming_of_a_frame() -> None:
    bundler = make_bundler(make_tree())  # without odom
    bundle = bundle_with(bundler)
    assert bundle.frames[LIDAR].motion is None
    assert bundle.notes == {}
    assert bundler.counters['lidar.not_deskewed'] == 1
    assert not bundler.ego_motion.known


def test_twists_stand_in_for_transforms() -> None:
    bundler = make_bundler(make_tree())
    bundler.ego_motion.add_twist(100 * S - 20 * MS, (20, 0, 0), (0, 0, 0), 'base_link')
    bundle = bundle_with(bundler)
    assert bundle.notes == {}
    placed = place_points(bundle.frames[LIDAR], bundle.T_camera[LIDAR])
    np.testing.assert_allclose(placed, np.broadcast_to((0.0, 1.9, 1.0), (3, 3)), atol=1e-5)
