"""Rigid transforms `T_a_b`: they map points of frame b into frame a."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

_QUATERNION_TOLERANCE = 1e-2
"""Of the squared norm, as tf2 has it: `0 0 0.71 0.71` of a launch file is a rotation."""


class TransformError(ValueError):
    """A transform is missing, not available at the asked time, or contradicts the tree."""


def make_transform(R: ArrayLike, t: ArrayLike) -> NDArray[np.float64]:
    """Build the (4, 4) float64 transform `x -> R x + t`.

    Args:
        R: (3, 3) rotation.
        t: (3,) translation, metres.

    Raises:
        ValueError: The result is not a rigid transform.
    """
    T = np.eye(4)
    T[:3, :3] = np.asarray(R, dtype=np.float64)
    T[:3, 3] = np.asarray(t, dtype=np.float64).reshape(3)
    return check_transform(T)


def check_transform(T: ArrayLike, name: str = 'transform') -> NDArray[np.float64]:
    """Return `T` as (4, 4) float64 if it is rigid: orthonormal to 1e-3, not mirrored, finite.

    Raises:
        ValueError: Says what `name` is instead.
    """
    T = np.asarray(T, dtype=np.float64)
    if T.shape != (4, 4):
        raise ValueError(f'{name} must be (4, 4), got {T.shape}')
    R = T[:3, :3]
    if not (
        np.all(np.isfinite(T))
        and np.array_equal(T[3], (0.0, 0.0, 0.0, 1.0))
        and np.abs(R @ R.T - np.eye(3)).max() < 1e-3
        and np.linalg.det(R) > 0
    ):
        raise ValueError(f'{name} must be a finite rigid transform, got {T.tolist()}')
    return T


def invert_transform(T_a_b: ArrayLike) -> NDArray[np.float64]:
    """Return `T_b_a` (4, 4) float64.

    Raises:
        ValueError: `T_a_b` is not a rigid transform.
    """
    T = check_transform(T_a_b)
    inverse = np.eye(4)
    inverse[:3, :3] = T[:3, :3].T
    inverse[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return inverse


def transform_points(T_a_b: ArrayLike, points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Map points from frame b into frame a.

    Args:
        T_a_b: (4, 4) rigid transform, metres.
        points: (N, 3) float32 or float64, metres, frame b.

    Returns:
        (N, 3), metres, frame a, in the dtype of `points`; the sums are made in float64.

    Raises:
        ValueError: A wrong shape, or a transform that is not rigid.
    """
    T = np.ascontiguousarray(check_transform(T_a_b, 'T_a_b'))
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f'points must be (N, 3), got {points.shape}')
    dtype = np.float32 if points.dtype == np.float32 else np.float64
    points = np.ascontiguousarray(points, dtype)
    out = np.empty_like(points)
    _transform(T, points, out)
    return out


@njit(cache=True, nogil=True)
def _transform(T, points, out):  # type: ignore[no-untyped-def]
    for i in range(points.shape[0]):
        x = np.float64(points[i, 0])
        y = np.float64(points[i, 1])
        z = np.float64(points[i, 2])
        out[i, 0] = T[0, 0] * x + T[0, 1] * y + T[0, 2] * z + T[0, 3]
        out[i, 1] = T[1, 0] * x + T[1, 1] * y + T[1, 2] * z + T[1, 3]
        out[i, 2] = T[2, 0] * x + T[2, 1] * y + T[2, 2] * z + T[2, 3]


def quaternion_to_matrix(x: float, y: float, z: float, w: float) -> NDArray[np.float64]:
    """Turn a quaternion (order of `geometry_msgs/Quaternion`) into a (3, 3) rotation.

    It is normalised where its squared norm is off 1 by less than 0.01, the tolerance of tf2.

    Raises:
        ValueError: The quaternion is zero, not finite, or further from norm 1.
    """
    q = np.array([x, y, z, w], dtype=np.float64)
    with np.errstate(over='ignore'):
        norm = float(np.linalg.norm(q)) if np.all(np.isfinite(q)) else np.nan
    if not abs(norm * norm - 1.0) < _QUATERNION_TOLERANCE:
        raise ValueError(
            f'quaternion (x, y, z, w) must have norm 1, got {q.tolist()} with norm {norm:.6g}'
        )
    x, y, z, w = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def matrix_to_quaternion(R: ArrayLike) -> NDArray[np.float64]:
    """Turn a (3, 3) rotation into the unit quaternion (4,) `x y z w` with `w >= 0`.

    Raises:
        ValueError: `R` is not a rotation.
    """
    R = make_transform(R, np.zeros(3))[:3, :3]
    # Shepperd's method: divide by the largest of the four, never by a value near zero
    trace = np.trace(R)
    largest = int(np.argmax([R[0, 0], R[1, 1], R[2, 2], trace]))
    q = np.empty(4)
    if largest == 3:
        q[3] = 1 + trace
        q[:3] = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        q[i] = 1 - trace + 2 * R[i, i]
        q[j] = R[j, i] + R[i, j]
        q[k] = R[k, i] + R[i, k]
        q[3] = R[k, j] - R[j, k]
    q /= np.linalg.norm(q)
    return -q if q[3] < 0 else q


def interpolate_transform(
    T_0: NDArray[np.float64], T_1: NDArray[np.float64], fraction: float
) -> NDArray[np.float64]:
    """Move from `T_0` (fraction 0) to `T_1` (fraction 1): lerp of position, slerp of rotation.

    Args:
        T_0: (4, 4).
        T_1: (4, 4), of the same two frames.
        fraction: Within 0 and 1.
    """
    q_0, q_1 = matrix_to_quaternion(T_0[:3, :3]), matrix_to_quaternion(T_1[:3, :3])
    cosine = float(q_0 @ q_1)
    if cosine < 0:  # q and -q are one rotation: take the shorter way
        q_1, cosine = -q_1, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:  # sin(angle) is lost to rounding; the chord equals the arc here
        q = (1 - fraction) * q_0 + fraction * q_1
    else:
        q = (np.sin((1 - fraction) * angle) * q_0 + np.sin(fraction * angle) * q_1) / np.sin(angle)
    T = np.eye(4)
    T[:3, :3] = quaternion_to_matrix(*q / np.linalg.norm(q))
    T[:3, 3] = (1 - fraction) * T_0[:3, 3] + fraction * T_1[:3, 3]
    return T
