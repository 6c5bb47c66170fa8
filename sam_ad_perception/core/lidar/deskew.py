"""Motion compensation (deskewing) of lidar sweeps: each point as seen at the reference time.

A lidar takes a tenth of a second for a turn, and its stamp is not the camera's. At 20 m/s a point
taken 50 ms before the exposure is a metre off. Points carry their own times, so each is mapped
with the pose that the lidar had then: from knots of its motion, between which the twist is
constant (Chasles' screw motion, SE(3) exponential; Lynch and Park, Modern Robotics, section 3.3).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from sam_ad_perception.core.geometry.transforms import check_transform, transform_points
from sam_ad_perception.core.sensors import PointCloud, PointMotion, SensorFrame

_SUBSTEPS = 16
"""Poses per knot interval in the table that points read. Matrices are mixed linearly between two
of them: at 2 rad/s and 25 ms knots that errs by 1.2e-6 rad, a tenth of a millimetre at 100 m."""


def exp_twist(twist: ArrayLike) -> NDArray[np.float64]:
    """Move at constant twists for one unit of time.

    Args:
        twist: (..., 6) float, linear velocity, then angular velocity, in the moving frame.

    Returns:
        (..., 4, 4) float64, pose after the motion in the frame before it.
    """
    xi = np.asarray(twist, dtype=np.float64)
    v, w = xi[..., :3], xi[..., 3:]
    angle2 = np.sum(w * w, axis=-1)[..., None, None]
    angle = np.sqrt(angle2)
    small = angle < 1e-4  # the series below are exact to float64 there
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 1 - angle2 / 6, np.sin(safe) / safe)
    b = np.where(small, 0.5 - angle2 / 24, (1 - np.cos(safe)) / safe**2)
    c = np.where(small, 1 / 6 - angle2 / 120, (safe - np.sin(safe)) / safe**3)
    W = _cross_matrix(w)
    W2 = W @ W
    T = np.zeros((*xi.shape[:-1], 4, 4))
    T[..., :3, :3] = np.eye(3) + a * W + b * W2
    T[..., :3, 3] = ((np.eye(3) + b * W + c * W2) @ v[..., None])[..., 0]
    T[..., 3, 3] = 1.0
    return T


def log_transform(T: ArrayLike) -> NDArray[np.float64]:
    """Find the constant twist that makes a motion in one unit of time: inverse of `exp_twist`.

    Args:
        T: (4, 4) rigid transform that turns by less than pi.

    Returns:
        (6,) float64, linear velocity, then angular velocity.

    Raises:
        ValueError: `T` is not rigid.
    """
    T = check_transform(T)
    R = T[:3, :3]
    axis = 0.5 * np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    sine, cosine = float(np.linalg.norm(axis)), 0.5 * (float(np.trace(R)) - 1)
    angle = float(np.arctan2(sine, cosine))
    w = axis if sine < 1e-8 else axis * (angle / sine)
    W = _cross_matrix(w)
    half = 0.5 * angle
    c = 1 / 12 if angle < 1e-3 else (1 - half / np.tan(half)) / angle**2
    v = (np.eye(3) - 0.5 * W + c * (W @ W)) @ T[:3, 3]
    return np.concatenate([v, w])


def point_times(frame: SensorFrame) -> tuple[int, int]:
    """Time of the first and of the last point of a sweep.

    Args:
        frame: A lidar frame; without times of its points, all were taken at its `time_ns`.

    Returns:
        Nanoseconds, on the clock of the frame's stamp.
    """
    assert isinstance(frame.data, PointCloud)
    offsets = frame.data.time_offset_ns
    if offsets is None or offsets.size == 0:
        return frame.time_ns, frame.time_ns
    return frame.stamp_ns + int(offsets.min()), frame.stamp_ns + int(offsets.max())


def deskew_points(frame: SensorFrame, T_target_lidar: ArrayLike) -> NDArray[np.floating]:
    """Map a sweep into another frame, each point as of the reference time where motion is known.

    Args:
        frame: A lidar frame. Points before its motion's first knot or after its last get the
            pose of that knot.
        T_target_lidar: (4, 4) rigid transform of the lidar's frame at the reference time, metres.

    Returns:
        (N, 3), metres, target frame, in the order and dtype of the frame's points.

    Raises:
        ValueError: Points that are not (N, 3), or a transform that is not rigid.
    """
    assert isinstance(frame.data, PointCloud)
    cloud = frame.data
    if frame.motion is None:
        return transform_points(T_target_lidar, cloud.points)
    rows, start, rate = pose_table(frame, T_target_lidar)
    if len(rows) == 1:
        T = np.vstack([rows[0, :12].reshape(3, 4), (0.0, 0.0, 0.0, 1.0)])
        return transform_points(T, cloud.points)
    points, times = np.asarray(cloud.points), cloud.time_offset_ns
    assert times is not None  # there is one pose otherwise
    if points.ndim != 2 or points.shape[1] != 3 or len(times) != len(points):
        raise ValueError(f'points must be ({len(times)}, 3), got {points.shape}')
    dtype = np.float32 if points.dtype == np.float32 else np.float64
    points = np.ascontiguousarray(points, dtype)
    out = np.empty_like(points)
    _place(points, np.ascontiguousarray(times), start, rate, rows, out)
    return out


def pose_table(
    frame: SensorFrame, T_target_lidar: ArrayLike
) -> tuple[NDArray[np.float64], int, float]:
    """Tabulate the poses of a sweep for a kernel that maps its points.

    Args:
        frame: A lidar frame.
        T_target_lidar: (4, 4) rigid transform of the lidar's frame at the reference time, metres.

    Returns:
        Poses (M, 24) float64: the upper three rows of `T_target_lidar` at a time, then what is to
        be added until the next pose. One alone where all points have one pose. Then the time of
        the first pose after the frame's stamp, nanoseconds, and poses per nanosecond.

    Raises:
        ValueError: A transform that is not rigid.
    """
    assert isinstance(frame.data, PointCloud)
    T, motion = check_transform(T_target_lidar, 'T_target_lidar'), frame.motion
    start, rate = 0, 0.0
    if motion is None:
        table = T[None]
    elif frame.data.time_offset_ns is None or len(motion.T_reference) == 1:
        table = T @ _pose_at(motion, frame.time_ns)[None]
    else:
        table = T @ _pose_table(motion)
        start, rate = motion.start_ns - frame.stamp_ns, _SUBSTEPS / motion.step_ns
    flat = table[:, :3].reshape(-1, 12)
    return np.hstack([flat, np.diff(flat, axis=0, append=flat[-1:])]), start, rate


def _cross_matrix(w: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3, 3) so that `W @ x` is the cross product of w (..., 3) with x."""
    W = np.zeros((*w.shape, 3))
    W[..., 2, 1], W[..., 1, 2] = w[..., 0], -w[..., 0]
    W[..., 0, 2], W[..., 2, 0] = w[..., 1], -w[..., 1]
    W[..., 1, 0], W[..., 0, 1] = w[..., 2], -w[..., 2]
    return W


def _steps(motion: PointMotion) -> NDArray[np.float64]:
    """(K - 1, 6) twist of each knot interval, per interval."""
    knots = motion.T_reference
    steps = [log_transform(np.linalg.solve(a, b)) for a, b in pairwise(knots)]
    return np.array(steps).reshape(-1, 6)


@lru_cache(maxsize=8)  # a sweep is mapped several times: for the network, the depth, the labels
def _pose_table(motion: PointMotion) -> NDArray[np.float64]:
    """((K - 1) * _SUBSTEPS + 1, 4, 4): the knots and what lies evenly between them."""
    fractions = np.arange(_SUBSTEPS)[:, None] / _SUBSTEPS
    parts = exp_twist(_steps(motion)[:, None] * fractions)
    filled = (motion.T_reference[:-1, None] @ parts).reshape(-1, 4, 4)
    return np.concatenate([filled, motion.T_reference[-1:]])


def _pose_at(motion: PointMotion, stamp_ns: int) -> NDArray[np.float64]:
    """(4, 4) pose at one time."""
    last = len(motion.T_reference) - 1
    position = min(max((stamp_ns - motion.start_ns) / motion.step_ns, 0.0), float(last))
    knot = min(int(position), max(last - 1, 0))
    T: NDArray[np.float64] = motion.T_reference[knot]
    if position > knot:
        T = T @ exp_twist((position - knot) * _steps(motion)[knot])
    return T


@njit(cache=True, nogil=True)
def _place(points, times, start, rate, poses, out):  # type: ignore[no-untyped-def]
    """Map each point with the pose at its time: row `(time - start) * rate` of `poses`."""
    last = np.float64(poses.shape[0] - 1)
    for i in range(points.shape[0]):
        position = min(max((times[i] - start) * rate, 0.0), last)
        k = np.uint64(position)  # unsigned: an index that may be negative costs a check
        f = position - np.float64(k)
        x = np.float64(points[i, 0])
        y = np.float64(points[i, 1])
        z = np.float64(points[i, 2])
        for r in range(3):
            out[i, r] = (
                (poses[k, 4 * r] + f * poses[k, 4 * r + 12]) * x
                + (poses[k, 4 * r + 1] + f * poses[k, 4 * r + 13]) * y
                + (poses[k, 4 * r + 2] + f * poses[k, 4 * r + 14]) * z
                + (poses[k, 4 * r + 3] + f * poses[k, 4 * r + 15])
            )
