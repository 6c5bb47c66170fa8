"""What bundles tell of how a lidar moved while and after it measured."""

from __future__ import annotations

import numpy as np

from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import make_transform
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.core.synchronization.bundler import Bundler, BundlerConfig

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
    placed = deskew_points(bundle.frames[LIDAR], bundle.T_camera[LIDAR])
    np.testing.assert_allclose(placed, [[-2.0, 0.9, 0.0], [-1.0, 0.9, 0.0]], atol=1e-5)


def test_a_sweep_without_times_moves_as_a_whole_and_says_so() -> None:
    bundler = make_bundler(moving_tree())
    bundle = bundle_with(
        bundler, PointCloud(np.ones((2, 3), np.float32), time_note='no field of time')
    )
    assert bundle.notes == {LIDAR: 'moved as a whole: no field of time'}
    placed = deskew_points(bundle.frames[LIDAR], bundle.T_camera[LIDAR])
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


def test_motion_that_nobody_tells_is_no_shortcoming_of_a_sweep_of_the_time_of_the_image() -> None:
    bundler = make_bundler(make_tree())  # without odom
    times = np.array([40, 45, 50], np.int64) * MS
    bundle = bundle_with(bundler, PointCloud(STILL.points, None, times))
    assert bundle.frames[LIDAR].motion is None
    assert bundle.time_error_ns[LIDAR] == -5 * MS
    assert bundle.notes == {}
    assert bundler.counters['lidar.not_deskewed'] == 1
    assert not bundler.ego_motion.known


def test_a_sweep_measured_30_ms_before_the_image_and_not_deskewed_raises_the_status() -> None:
    bundler = make_bundler(make_tree())  # without odom
    bundle = bundle_with(bundler)
    assert bundle.notes == {
        LIDAR: 'measured 50 ms before the reference and not deskewed: neither transforms nor '
        'odometry tell the motion'
    }
    assert bundler.counters['lidar.not_deskewed'] == 1
    assert not bundler.ego_motion.known


def test_twists_stand_in_for_transforms() -> None:
    bundler = make_bundler(make_tree())
    bundler.ego_motion.add_twist(100 * S - 20 * MS, (20, 0, 0), (0, 0, 0), 'base_link')
    bundle = bundle_with(bundler)
    assert bundle.notes == {}
    placed = deskew_points(bundle.frames[LIDAR], bundle.T_camera[LIDAR])
    np.testing.assert_allclose(placed, np.broadcast_to((0.0, 1.9, 1.0), (3, 3)), atol=1e-5)


def drive_with_late_transforms(lag_ns: int) -> tuple[list[SensorBundle], list[int]]:
    """Frames at 10 Hz, each of a sweep and a picture, with transforms that come late.

    Returns:
        The bundles, and how long after its picture each came, nanoseconds.
    """
    tree = make_tree()
    bundler = make_bundler(tree)
    moments = [(t + lag_ns, 'tf', t) for t in range(98 * S, 102 * S, 10 * MS)]
    moments += [(t, 'frame', t) for t in range(100 * S, 101 * S, 100 * MS)]
    bundles, waits = [], []
    for now, kind, stamp in sorted(moments):
        found = []
        while (due := bundler.next_deadline_ns) is not None and due <= now:
            found += [(due, each) for each in bundler.poll(due)]
        if kind == 'tf':
            T = make_transform(np.eye(3), (20e-9 * (stamp - 98 * S), 0.0, 0.0))
            tree.add_dynamic('odom', 'base_link', stamp, T)
        else:
            sweep = SensorFrame(LIDAR, stamp - 20 * MS, 'lidar', STILL)
            picture = SensorFrame(
                Modality.CAMERA, stamp, 'camera_optical', np.zeros((48, 64, 3), np.uint8)
            )
            for frame in (sweep, picture):
                found += [(now, each) for each in bundler.add_frame(frame, now)]
        for came, each in found:
            if isinstance(each, SensorBundle) and LIDAR in each.frames:
                bundles.append(each)
                waits.append(came - each.stamp_ns)
    return bundles, waits


def test_live_transforms_that_come_late_are_waited_for_until_the_deadline() -> None:
    """20 ms at 20 m/s are 0.4 m; 100 ms beyond the last transform the motion is continued."""
    deadline_ns = round(1e9 * BundlerConfig().sync.deadline_s)
    _, at_once = drive_with_late_transforms(0)
    for lag_ns, told in ((90 * MS, True), (130 * MS, True), (400 * MS, False)):
        bundles, waits = drive_with_late_transforms(lag_ns)
        assert len(bundles) >= 8
        for bundle in bundles[2:]:
            assert (bundle.frames[LIDAR].motion is not None) == told
            if told:
                placed = deskew_points(bundle.frames[LIDAR], bundle.T_camera[LIDAR])
                np.testing.assert_allclose(placed[0], (0.6, 1.9, 1.0), atol=1e-5)
        late = lag_ns == 130 * MS
        assert max(waits) <= (2 * deadline_ns if late else max(at_once))
