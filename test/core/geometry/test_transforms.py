from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import (
    TransformError,
    check_transform,
    invert_transform,
    make_transform,
    matrix_to_quaternion,
    quaternion_to_matrix,
    transform_points,
)

SECOND = 1_000_000_000
small = st.floats(-10, 10, allow_nan=False)
# rotation vectors up to a full turn: all branches of the matrix-to-quaternion step
rotation_vectors = st.tuples(*[st.floats(-np.pi, np.pi, allow_nan=False)] * 3)


def transform(rotation_vector, translation=(0, 0, 0)):
    return make_transform(cv2.Rodrigues(np.array(rotation_vector, float))[0], translation)


@given(rotation_vectors)
def test_quaternion_agrees_with_rodrigues(rotation_vector):
    rotation_vector = np.array(rotation_vector)
    angle = np.linalg.norm(rotation_vector)
    axis = rotation_vector / angle if angle > 0 else np.array([1.0, 0, 0])
    quaternion = [*(axis * np.sin(angle / 2)), np.cos(angle / 2)]
    R = cv2.Rodrigues(rotation_vector)[0]
    np.testing.assert_allclose(quaternion_to_matrix(*quaternion), R, atol=1e-12)
    again = matrix_to_quaternion(R)
    np.testing.assert_allclose(quaternion_to_matrix(*again), R, atol=1e-12)
    assert again[3] >= 0


@pytest.mark.parametrize('axis', range(3))
def test_half_turns_survive_the_quaternion(axis):
    rotation_vector = np.zeros(3)
    rotation_vector[axis] = np.pi
    R = cv2.Rodrigues(rotation_vector)[0]
    expected = np.zeros(4)
    expected[axis] = 1
    np.testing.assert_allclose(np.abs(matrix_to_quaternion(R)), expected, atol=1e-9)


@pytest.mark.parametrize(
    'quaternion',
    [
        (0, 0, 0, 0),
        (np.nan, 0, 0, 1),
        (0, 0, np.inf, 1),
        (0, 0, 0, 1.006),
        (0, 0, 0, 0.994),
        (0.5, 0.5, 0.5, 0),
    ],
)
def test_bad_quaternion_is_refused(quaternion):
    with pytest.raises(ValueError, match=r'quaternion \(x, y, z, w\) must have norm 1, got'):
        quaternion_to_matrix(*quaternion)


def test_quaternion_typed_with_two_or_three_digits_is_accepted():
    np.testing.assert_allclose(
        quaternion_to_matrix(0, 0, 0.71, 0.71), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12
    )
    np.testing.assert_allclose(
        quaternion_to_matrix(0.707, 0, 0, 0.707), [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-12
    )


@pytest.mark.parametrize(
    ('T', 'message'),
    [
        (np.eye(3), r'must be \(4, 4\), got \(3, 3\)'),
        (np.diag([1.0, 1, -1, 1]), 'finite rigid transform'),
        (np.diag([2.0, 1, 1, 1]), 'finite rigid transform'),
        (np.full((4, 4), np.nan), 'finite rigid transform'),
        (np.ones((4, 4)), 'finite rigid transform'),
    ],
)
def test_what_is_not_rigid_is_refused(T, message):
    with pytest.raises(ValueError, match=message):
        check_transform(T)
    with pytest.raises(ValueError, match='T_a_b must be'):
        transform_points(T, np.zeros((1, 3)))


@given(rotation_vectors, st.tuples(small, small, small))
def test_inverse_and_points_agree_with_matrix_algebra(rotation_vector, translation):
    T = transform(rotation_vector, translation)
    np.testing.assert_allclose(invert_transform(T), np.linalg.inv(T), atol=1e-12)
    points = np.random.default_rng(0).uniform(-50, 50, (20, 3))
    expected = (np.column_stack([points, np.ones(20)]) @ T.T)[:, :3]
    np.testing.assert_allclose(transform_points(T, points), expected, atol=1e-12)
    there_and_back = transform_points(invert_transform(T), transform_points(T, points))
    np.testing.assert_allclose(there_and_back, points, atol=1e-12)


def test_points_keep_their_dtype_and_large_offsets_do_not_cost_digits():
    offset = np.array([4_500_000.0, 500_000.0, 0.0])  # a UTM origin: float32 steps of 0.5 m
    to_map, from_map = transform((0, 0, 0), offset), transform((0, 0, 0.1), -offset)
    points = np.random.default_rng(0).uniform(-50, 50, (100, 3)).astype(np.float32)
    T = from_map @ to_map
    moved = transform_points(T, points)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, points @ T[:3, :3].T + T[:3, 3], atol=1e-4)
    strided = np.asfortranarray(points)
    np.testing.assert_array_equal(transform_points(T, strided), moved)
    with pytest.raises(ValueError, match=r'points must be \(N, 3\), got \(3,\)'):
        transform_points(T, np.zeros(3))


@given(st.data())
def test_lookup_is_the_product_along_any_tree(data):
    count = data.draw(st.integers(2, 9))
    names = [f'frame_{i}' for i in range(count)]
    T_root = {names[0]: np.eye(4)}
    tree = TransformTree()
    for i in range(1, count):
        parent = names[data.draw(st.integers(0, i - 1))]
        T = transform(data.draw(rotation_vectors), data.draw(st.tuples(small, small, small)))
        if data.draw(st.booleans()):
            tree.set_static(parent, names[i], T)
        else:
            tree.add_dynamic(parent, names[i], 5 * SECOND, T)
        T_root[names[i]] = T_root[parent] @ T
    target, source = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    expected = np.linalg.inv(T_root[target]) @ T_root[source]
    np.testing.assert_allclose(tree.lookup(target, source, 5 * SECOND), expected, atol=1e-9)
    np.testing.assert_allclose(tree.lookup(target, source), expected, atol=1e-9)


@given(rotation_vectors, rotation_vectors, st.floats(0, 1))
def test_interpolation_turns_at_constant_speed_along_the_shortest_way(first, second, fraction):
    T_0, T_1 = transform(first, (1, 2, 3)), transform(second, (5, -2, 3))
    tree = TransformTree()
    tree.add_dynamic('a', 'b', 0, T_0)
    tree.add_dynamic('a', 'b', SECOND, T_1)
    T = tree.lookup('a', 'b', round(fraction * SECOND))
    fraction = round(fraction * SECOND) / SECOND
    step = cv2.Rodrigues(T_0[:3, :3].T @ T_1[:3, :3])[0]
    if np.linalg.norm(step) > np.pi - 1e-3:
        return  # half a turn: both ways are shortest
    expected = T_0[:3, :3] @ cv2.Rodrigues(fraction * step)[0]
    np.testing.assert_allclose(T[:3, :3], expected, atol=1e-6)
    np.testing.assert_allclose(T[:3, 3], [1 + 4 * fraction, 2 - 4 * fraction, 3], atol=1e-9)


def test_late_poses_are_sorted_in_and_a_second_one_goes_on_from_its_stamp():
    tree = TransformTree()
    for stamp, x in [(0, 0.0), (2, 2.0), (1, 50.0), (1, 1.0)]:
        tree.add_dynamic('odom', 'base', stamp * SECOND // 10, transform((0, 0, 0), (x, 0, 0)))
    at = [tree.lookup('odom', 'base', SECOND * i // 20)[0, 3] for i in range(5)]
    np.testing.assert_allclose(at, [0, 25, 1, 1.5, 2])  # as BufferCore


def test_unknown_frame_is_named_with_the_known_ones():
    tree = TransformTree()
    tree.set_static('base_link', 'lidar', np.eye(4))
    with pytest.raises(
        TransformError,
        match=r"no transform from 'lidar' to 'camera': frame 'camera' is unknown "
        r'\(known: base_link, lidar\)',
    ):
        tree.lookup('camera', 'lidar')
    with pytest.raises(TransformError, match='known: none'):
        TransformTree().lookup('camera', 'lidar')


def test_unconnected_frames_are_named_with_their_roots():
    tree = TransformTree()
    tree.set_static('base_link', 'lidar', np.eye(4))
    tree.set_static('rig', 'camera', np.eye(4))
    with pytest.raises(
        TransformError,
        match="not connected; 'lidar' hangs below 'base_link', 'camera' below 'rig'",
    ):
        tree.lookup('camera', 'lidar', 0)


def test_no_pose_is_invented_outside_the_recorded_times():
    tree = TransformTree(tolerance_ns=10_000_000)
    for stamp in (SECOND, 2 * SECOND):
        tree.add_dynamic('odom', 'base', stamp, transform((0, 0, 0), (stamp / SECOND, 0, 0)))
    tree.set_static('base', 'camera', transform((0, 0, 0), (0, 0, 1)))
    # within the tolerance the last pose holds
    assert tree.lookup('odom', 'camera', 2_010_000_000)[0, 3] == 2
    assert tree.lookup('odom', 'camera', 990_000_000)[0, 3] == 1
    for stamp in (2_010_000_001, 989_999_999):
        with pytest.raises(
            TransformError,
            match=rf"no transform 'odom' -> 'base' at {stamp / 1e9:.3f} s: it is known from "
            r'1.000 s to 2.000 s',
        ):
            tree.lookup('odom', 'camera', stamp)
    # what does not pass the moving link needs no time
    assert tree.lookup('base', 'camera', 99 * SECOND)[2, 3] == 1


def test_newest_common_time_is_the_default():
    tree = TransformTree()
    for stamp in (1, 2, 3):
        tree.add_dynamic('map', 'odom', stamp * SECOND // 2, transform((0, 0, 0), (stamp, 0, 0)))
    tree.add_dynamic('odom', 'base', SECOND, np.eye(4))
    assert tree.lookup('map', 'base')[0, 3] == 2
    assert tree.lookup('odom', 'map')[0, 3] == -3


def test_history_is_bounded():
    tree = TransformTree(history_ns=SECOND)
    for i in range(1000):
        tree.add_dynamic('odom', 'base', i * SECOND // 100, transform((0, 0, 0), (i, 0, 0)))
    assert tree.lookup('odom', 'base', 8_990_000_000)[0, 3] == 899
    with pytest.raises(TransformError, match=r'known from 8.990 s to 9.990 s'):
        tree.lookup('odom', 'base', 8 * SECOND)


def test_static_transform_may_be_corrected_and_slashes_do_not_matter():
    tree = TransformTree()
    tree.set_static('/base', '/camera', transform((0, 0, 0), (1, 0, 0)))
    tree.set_static('base', 'camera', transform((0, 0, 0), (2, 0, 0)))
    assert tree.lookup('base', '/camera')[0, 3] == 2


def test_given_and_returned_arrays_are_not_the_trees_own():
    tree = TransformTree()
    T = transform((0, 0, 0), (1, 0, 0))
    tree.set_static('base', 'camera', T)
    T[0, 3] = 7
    tree.lookup('base', 'camera')[0, 3] = 7
    assert tree.lookup('base', 'camera')[0, 3] == 1
