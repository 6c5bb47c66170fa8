"""Sweeps seen from one instant: scipy-free oracles are the matrix exponential's power series, a
plain loop over the points, and the simulator's exact depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.geometry.cameras import project_points
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import (
    TransformError,
    invert_transform,
    make_transform,
    transform_points,
)
from sam_ad_perception.core.lidar.depth_image import project_depth
from sam_ad_perception.core.lidar.deskew import (
    deskew_points,
    exp_twist,
    log_transform,
    point_times,
)
from sam_ad_perception.core.lidar.ego_motion import EgoMotion, motion_from_twist, sample_motion
from sam_ad_perception.core.sensors import Modality, PointCloud, PointMotion, SensorFrame
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig

MS, S = 1_000_000, 1_000_000_000
STANDING = (2, 3, 4, 5, 6, 7, 8)
"""Cityscapes: building, wall, fence, pole, traffic light, traffic sign, vegetation."""
NUMBERS = st.floats(-2, 2, allow_subnormal=False)


def series(twist):
    """The matrix exponential by its definition."""
    v, w = np.asarray(twist[:3]), np.asarray(twist[3:])
    A = np.zeros((4, 4))
    A[:3, :3] = [[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]]
    A[:3, 3] = v
    total, term = np.eye(4), np.eye(4)
    for k in range(1, 60):
        term = term @ A / k
        total = total + term
    return total


def sweep(points, offsets_ns, stamp_ns=10 * S, motion=None):
    times = None if offsets_ns is None else np.asarray(offsets_ns, np.int64)
    return SensorFrame(
        Modality.LIDAR, stamp_ns, 'lidar', PointCloud(points, None, times), motion=motion
    )


@given(st.lists(NUMBERS, min_size=6, max_size=6))
def test_exponential_is_its_series_and_log_its_inverse(numbers):
    twist = np.array(numbers) * [3, 3, 3, 0.8, 0.8, 0.8]
    T = exp_twist(twist)
    np.testing.assert_allclose(T, series(twist), atol=1e-9)
    np.testing.assert_allclose(log_transform(T), twist, atol=1e-7)


@pytest.mark.parametrize('size', [0.0, 1e-12, 1e-9, 1e-6, 0.99e-4, 1.01e-4, 1e-3, 3.1])
def test_small_and_large_turns_lose_no_digits(size):
    twist = np.array([3.0, -1.0, 2.0, 0.6 * size, 0.0, -0.8 * size])
    np.testing.assert_allclose(exp_twist(twist), series(twist), atol=1e-11)
    np.testing.assert_allclose(log_transform(exp_twist(twist)), twist, atol=1e-9)


def test_points_are_moved_by_the_pose_of_their_own_time(rng):
    """Against the exact pose of each point, in plain numpy."""
    twist = np.array([20.0, 0.5, -0.2, 0.05, -0.1, 0.8])  # per second
    T_camera_lidar = make_transform(series([0, 0, 0, 0.3, -1.2, 1.1])[:3, :3], (0.1, -0.3, 0.2))
    points = rng.normal(size=(2000, 3)) * 30
    offsets = rng.integers(-100 * MS, 1, 2000)
    reference = 10 * S - 37 * MS
    motion = sample_motion(
        lambda t: exp_twist(twist * ((t - 10 * S) * 1e-9)), 10 * S - 100 * MS, 10 * S, reference
    )
    poses = exp_twist(twist * ((10 * S + offsets - reference)[:, None] * 1e-9))
    expected = np.einsum('nij,nj->ni', poses[:, :3, :3], points) + poses[:, :3, 3]
    expected = expected @ T_camera_lidar[:3, :3].T + T_camera_lidar[:3, 3]
    placed = deskew_points(sweep(points, offsets, motion=motion), T_camera_lidar)
    np.testing.assert_allclose(placed, expected, atol=1e-4)
    single = deskew_points(
        sweep(points.astype(np.float32), offsets, motion=motion), T_camera_lidar
    )
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=1e-4)


@pytest.mark.parametrize('offsets', [None, np.zeros(50, np.int64)])
def test_without_times_the_whole_sweep_moves_from_its_stamp_to_the_reference(rng, offsets):
    points = rng.normal(size=(50, 3)).astype(np.float32)
    frame = sweep(points, offsets)
    motion = sample_motion(
        lambda t: make_transform(np.eye(3), (20e-9 * (t - 10 * S), 0, 0)),
        *point_times(frame),
        10 * S + 50 * MS,
    )
    moved = deskew_points(sweep(points, offsets, motion=motion), np.eye(4))
    np.testing.assert_allclose(moved, points - [1.0, 0, 0], atol=1e-6)


def test_unknown_motion_is_a_plain_transform(rng):
    points = rng.normal(size=(50, 3)).astype(np.float32)
    T = make_transform(np.eye(3), (1, 2, 3))
    placed = deskew_points(sweep(points, np.arange(50)), T)
    np.testing.assert_array_equal(placed, transform_points(T, points))


def test_points_outside_the_knots_get_the_pose_of_the_nearest():
    knots = np.stack([make_transform(np.eye(3), (x, 0, 0)) for x in (0.0, 1.0)])
    motion = PointMotion(10 * S, 10 * MS, knots)
    placed = deskew_points(
        sweep(np.zeros((3, 3)), [-MS, 5 * MS, 90 * MS], motion=motion), np.eye(4)
    )
    np.testing.assert_allclose(placed[:, 0], [0.0, 0.5, 1.0], atol=1e-12)


def test_wrong_motion_and_shapes_are_refused():
    with pytest.raises(ValueError, match='a knot and a positive step'):
        PointMotion(0, 0, np.eye(4)[None])
    with pytest.raises(ValueError, match=r'T_reference must be \(K, 4, 4\)'):
        PointMotion(0, 1, np.eye(4))
    motion = PointMotion(0, 1, np.stack([np.eye(4)] * 2))
    with pytest.raises(ValueError, match=r'points must be \(2, 3\), got \(3, 3\)'):
        deskew_points(sweep(np.zeros((3, 3)), [0, 0], motion=motion), np.eye(4))


def moving_tree(start_ns, end_ns, period_ns=10 * MS, twist=(20.0, 0, 0, 0, 0, 0.3)):
    tree = TransformTree()
    tree.set_static('base_link', 'lidar', make_transform(np.eye(3), (1.2, 0, 2)))
    for stamp in range(start_ns, end_ns + 1, period_ns):
        pose = exp_twist(np.array(twist) * ((stamp - start_ns) * 1e-9))
        tree.add_dynamic('odom', 'base_link', stamp, pose)
    return tree


def exact(tree_start, twist, times, reference):
    """(N, 4, 4) pose of the lidar at times, seen from the lidar at the reference."""
    T = make_transform(np.eye(3), (1.2, 0, 2))
    seconds = (np.atleast_1d(times) - tree_start)[:, None] * 1e-9
    there = invert_transform(exp_twist(np.array(twist) * ((reference - tree_start) * 1e-9)) @ T)
    return there @ exp_twist(np.array(twist) * seconds) @ T


@pytest.mark.parametrize('late_ms', [-40, 0, 40, 90])
def test_motion_comes_from_the_tree_and_is_continued_a_little(late_ms):
    """The sweep ends, and the reference lies, up to 90 ms after the last known transform."""
    twist = (20.0, 0, 0, 0, 0, 0.3)
    tree = moving_tree(9 * S, 10 * S)
    end = 10 * S + late_ms * MS
    offsets = np.arange(-100, 1) * MS
    frame = sweep(np.zeros((101, 3)), offsets, stamp_ns=end)
    motion = EgoMotion(tree, 'odom').of_sweep(frame, end - 20 * MS)
    moved = deskew_points(sweep(np.zeros((101, 3)), offsets, end, motion), np.eye(4))
    expected = exact(9 * S, twist, end + offsets, end - 20 * MS)[:, :3, 3]
    np.testing.assert_allclose(moved, expected, atol=2e-4)
    assert np.ptp(expected[:, 0]) > 1.9


def test_what_is_lacking_is_said():
    frame = sweep(np.zeros((3, 3)), [-100 * MS, 0, 0])
    tree = moving_tree(9 * S, 9 * S + 800 * MS)
    with pytest.raises(
        TransformError, match=r"'odom' -> 'lidar' is known from 9.000 s to 9.800 s"
    ):
        EgoMotion(tree, 'odom').of_sweep(frame, 10 * S)
    with pytest.raises(TransformError, match="'map' is unknown"):
        EgoMotion(tree, 'map').of_sweep(frame, 10 * S)
    with pytest.raises(TransformError, match='known from'):  # one pose tells no motion
        EgoMotion(moving_tree(10 * S, 10 * S), 'odom').of_sweep(frame, 10 * S)


def test_a_fixed_chain_stands_still():
    tree = TransformTree()
    tree.set_static('odom', 'lidar', make_transform(np.eye(3), (5, 0, 0)))
    motion = EgoMotion(tree, 'odom').of_sweep(sweep(np.zeros((2, 3)), [-100 * MS, 0]), 10 * S)
    np.testing.assert_allclose(motion.T_reference, np.broadcast_to(np.eye(4), (5, 4, 4)))


def test_twist_takes_the_place_of_a_missing_transform():
    tree = TransformTree()
    tree.set_static('base_link', 'lidar', make_transform(np.eye(3), (1.2, 0, 2)))
    ego = EgoMotion(tree, 'odom')
    frame = sweep(np.zeros((101, 3)), np.arange(-100, 1) * MS)
    with pytest.raises(TransformError, match="'odom' is unknown"):
        ego.of_sweep(frame, 10 * S)
    for stamp in range(9 * S, 10 * S - 30 * MS, 20 * MS):
        ego.add_twist(stamp, (20, 0, 0), (0, 0, 0.3), 'base_link')
    motion = ego.of_sweep(frame, 10 * S - 20 * MS)
    moved = deskew_points(
        sweep(np.zeros((101, 3)), np.arange(-100, 1) * MS, motion=motion), np.eye(4)
    )
    times = 10 * S + np.arange(-100, 1) * MS
    expected = exact(9 * S, (20.0, 0, 0, 0, 0, 0.3), times, 10 * S - 20 * MS)[:, :3, 3]
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    ego.add_twist(5 * S, (1, 0, 0), (0, 0, 0), 'base_link')  # time was set back
    with pytest.raises(TransformError, match=r'the twist is known from 5.000 s to 5.000 s'):
        ego.of_sweep(frame, 10 * S)
    with pytest.raises(ValueError, match='must be finite'):
        ego.add_twist(6 * S, (np.nan, 0, 0), (0, 0, 0), 'base_link')


def test_changing_twists_are_integrated_piece_by_piece(rng):
    stamps = [10 * S + k * 10 * MS for k in range(-10, 3)]
    twists = rng.normal(size=(13, 6)) * [20, 1, 1, 0.2, 0.2, 0.5]
    motion = motion_from_twist(stamps, twists, np.eye(4), 10 * S - 100 * MS, 10 * S, 10 * S)
    pose = np.eye(4)
    for twist in twists[:10]:
        pose = pose @ series(twist * 0.01)
    np.testing.assert_allclose(motion.T_reference[0], invert_transform(pose), atol=1e-9)
    np.testing.assert_allclose(motion.T_reference[-1], np.eye(4), atol=1e-9)
    with pytest.raises(ValueError, match=r'twists must be \(2, 6\)'):
        motion_from_twist([0, 1], np.zeros((3, 6)), np.eye(4), 0, 1, 1)


@pytest.fixture(scope='module')
def street():
    return Drive(DriveConfig(seed=4, duration_s=2.0, speed_mps=20.0))


def test_of_a_static_street_the_depth_is_exact_to_a_centimetre(street):
    """Inverse depth is linear in the pixel on planes: the exact image can be read in between."""
    camera, errors = street.cameras[Modality.CAMERA], []
    T = np.linalg.inv(street.T_base[Modality.CAMERA]) @ street.T_base[Modality.LIDAR]
    for stamp in (street.config.start_ns + 200 * MS, street.config.start_ns + 700 * MS):
        frame = street.measure(Modality.LIDAR, stamp)
        motion = sample_motion(
            lambda t: street.pose(t) @ street.T_base[Modality.LIDAR], *point_times(frame), stamp
        )
        uv, z = project_points(camera, deskew_points(replace(frame, motion=motion), T))
        ok = (z > 0) & np.all((uv >= 0) & (uv < np.array(camera.size[::-1]) - 1), axis=1)
        uv, z, truth = uv[ok], z[ok], street.truth(stamp)
        (u, v), (right, down) = np.floor(uv).astype(int).T, (uv - np.floor(uv)).T
        static = ~np.isin(truth.labels, (10, *range(11, 19)))
        corners = [(v, u), (v, u + 1), (v + 1, u), (v + 1, u + 1)]
        a, b, c, d = (1 / truth.depth[corner] for corner in corners)
        plane = np.abs(a + d - b - c) < 1e-4
        plane &= np.all(
            [static[corner] & np.isfinite(truth.depth[corner]) for corner in corners], 0
        )
        exact = 1 / (
            (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * c + right * d)
        )
        errors.append(np.abs(z - exact)[plane])
    assert np.concatenate(errors).size > 10_000
    assert np.median(np.concatenate(errors)) < 0.01


def depth_error(drive, frame, stamp_ns):
    """Absolute depth error on what stands (not the ground, along which the car's motion does not
    show, nor traffic, whose own motion nobody knows) against the exact depth image."""
    T = np.linalg.inv(drive.T_base[Modality.CAMERA]) @ drive.T_base[Modality.LIDAR]
    depth = project_depth(deskew_points(frame, T), drive.cameras[Modality.CAMERA])
    truth = drive.truth(stamp_ns)
    standing = np.isin(truth.labels, STANDING)
    known = np.isfinite(depth) & np.isfinite(truth.depth) & (depth < 40) & standing
    assert known.sum() > 500
    return np.abs(depth - truth.depth)[known]


def test_at_20_mps_the_deskewed_sweep_fits_the_exact_depth(street):
    """The exposure lies 60 ms after the sweep's end, as with `latest` at 10 Hz."""
    tree = TransformTree()
    tree.set_static('base_link', 'lidar', street.T_base[Modality.LIDAR])
    start = street.config.start_ns
    for k in range(-20, 60):
        tree.add_dynamic(
            'odom', 'base_link', start + k * 20 * MS, street.pose(start + k * 20 * MS)
        )
    ego, raw_errors, errors = EgoMotion(tree, 'odom'), [], []
    for sweep_end in (start + 200 * MS, start + 700 * MS):
        stamp = sweep_end + 60 * MS
        frame = street.measure(Modality.LIDAR, sweep_end)
        raw_errors.append(depth_error(street, frame, stamp))
        moved = SensorFrame(
            frame.modality, frame.stamp_ns, 'lidar', frame.data, motion=ego.of_sweep(frame, stamp)
        )
        errors.append(depth_error(street, moved, stamp))
    assert np.median(np.concatenate(errors)) < 0.03
    assert np.median(np.concatenate(raw_errors)) > 0.5


def test_a_simulated_bundle_knows_how_its_lidar_moved(street):
    """So networks are trained on what they get on the road."""
    bundle, _ = street.bundle(street.config.start_ns + 500 * MS)
    errors = depth_error(street, bundle.frames[Modality.LIDAR], bundle.stamp_ns)
    assert np.median(errors) < 0.03
    still = replace(bundle.frames[Modality.LIDAR], motion=None)
    assert np.median(depth_error(street, still, bundle.stamp_ns)) > 2 * np.median(errors)
