"""How the vehicle moved around a reference time: from transforms, or from measured twists."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import (
    TransformError,
    invert_transform,
)
from sam_ad_perception.core.lidar.deskew import exp_twist, log_transform, point_times
from sam_ad_perception.core.sensors import PointMotion, SensorFrame

KNOT_NS = 25_000_000
"""Spacing of knots. Braking at 10 m/s^2 leaves a constant twist by under a millimetre in it."""
MOST_KNOTS = 41
REACH_NS = 100_000_000
"""How far beyond the last known motion it is continued, at the twist that it had there."""
_EDGE_NS = 50_000_000
_HISTORY_NS = 3_000_000_000
_JUMP_NS = 1_000_000_000

Pose = Callable[[int], NDArray[np.float64]]
"""(4, 4) pose of a frame at a time in nanoseconds; raises TransformError where unknown."""


def sample_motion(pose: Pose, start_ns: int, end_ns: int, reference_ns: int) -> PointMotion:
    """Take knots of a motion.

    Args:
        pose: The lidar's pose in any frame that does not move.
        start_ns: Time of the first point, nanoseconds.
        end_ns: Time of the last point, nanoseconds.
        reference_ns: Time from which the points are to be seen, nanoseconds.

    Returns:
        Knots from `start_ns` to `end_ns`, at most `MOST_KNOTS`; one where the two are equal.

    Raises:
        TransformError: The pose is not known at one of these times.
    """
    T_reference_fixed = invert_transform(pose(reference_ns))
    span = max(end_ns - start_ns, 0)
    intervals = min(-(-span // KNOT_NS), MOST_KNOTS - 1)
    step_ns = max(-(-span // max(intervals, 1)), 1)
    stamps = [start_ns + k * step_ns for k in range(intervals + 1)]
    knots = np.stack([T_reference_fixed @ pose(min(stamp, end_ns)) for stamp in stamps])
    return PointMotion(start_ns, step_ns, knots)


def motion_from_twist(
    stamps_ns: Sequence[int],
    twists: ArrayLike,
    T_body_lidar: ArrayLike,
    start_ns: int,
    end_ns: int,
    reference_ns: int,
) -> PointMotion:
    """Integrate measured twists of a body into the motion of the lidar that it carries.

    Each twist holds from its own stamp to the next one's; the first also before, the last after.

    Args:
        stamps_ns: M times in strictly increasing order, nanoseconds; at least one.
        twists: (M, 6), linear (m/s) then angular velocity (rad/s) in the body's own frame, as in
            `nav_msgs/Odometry` and `geometry_msgs/TwistStamped`.
        T_body_lidar: (4, 4) rigid transform, metres.
        start_ns: Time of the first point, nanoseconds.
        end_ns: Time of the last point, nanoseconds.
        reference_ns: Time from which the points are to be seen, nanoseconds.

    Returns:
        The motion.

    Raises:
        ValueError: Shapes disagree, there is no twist, or a value is not finite.
        TransformError: A time lies more than `REACH_NS` outside the stamps.
    """
    xi = np.asarray(twists, dtype=np.float64)
    if xi.ndim != 2 or xi.shape != (len(stamps_ns), 6) or not len(xi):
        raise ValueError(f'twists must be ({len(stamps_ns)}, 6) and not empty, got {xi.shape}')
    if not np.all(np.isfinite(xi)):
        raise ValueError('twists must be finite')
    T_body_lidar = np.asarray(T_body_lidar, dtype=np.float64)
    poses = [np.eye(4)]
    for k in range(len(xi) - 1):
        poses.append(poses[-1] @ exp_twist(xi[k] * ((stamps_ns[k + 1] - stamps_ns[k]) * 1e-9)))

    def pose(stamp_ns: int) -> NDArray[np.float64]:
        if not stamps_ns[0] - REACH_NS <= stamp_ns <= stamps_ns[-1] + REACH_NS:
            raise TransformError(
                f'the twist is known from {stamps_ns[0] / 1e9:.3f} s to '
                f'{stamps_ns[-1] / 1e9:.3f} s, the sweep needs {stamp_ns / 1e9:.3f} s'
            )
        k = max(bisect_left(stamps_ns, stamp_ns + 1) - 1, 0)
        T: NDArray[np.float64] = poses[k] @ exp_twist(xi[k] * ((stamp_ns - stamps_ns[k]) * 1e-9))
        return T @ T_body_lidar

    return sample_motion(pose, start_ns, end_ns, reference_ns)


class EgoMotion:
    """What is known of the vehicle's motion.

    The transform of the lidar against a fixed frame is taken where the tree has it; else a twist
    of a body on which the lidar stands. Not thread-safe.

    Args:
        transforms: The tree of frames; its owner keeps it up to date.
        fixed_frame: A frame that does not move over a second, such as `odom`.
    """

    def __init__(self, transforms: TransformTree, fixed_frame: str) -> None:
        self._transforms = transforms
        self._fixed_frame = fixed_frame
        self._body = ''
        self._stamps: list[int] = []
        self._twists: list[NDArray[np.float64]] = []

    @property
    def known(self) -> bool:
        """Whether anything tells of motion at all: the fixed frame is there, or twists came."""
        return bool(self._stamps) or self._transforms.has_frame(self._fixed_frame)

    def add_twist(
        self, stamp_ns: int, linear: ArrayLike, angular: ArrayLike, frame_id: str
    ) -> None:
        """Take a measured twist; another frame or a backward jump of time begins anew.

        Args:
            stamp_ns: Its time, nanoseconds. One that is older than the newest is left out.
            linear: (3,), m/s, in the body's own frame.
            angular: (3,), rad/s, likewise.
            frame_id: The body's frame.

        Raises:
            ValueError: A value is not finite, or the frame has no name.
        """
        twist = np.concatenate([np.reshape(linear, 3), np.reshape(angular, 3)]).astype(float)
        if not np.all(np.isfinite(twist)) or not frame_id:
            raise ValueError(f'twist of frame {frame_id!r} must be finite, got {twist.tolist()}')
        if frame_id != self._body or (self._stamps and stamp_ns < self._stamps[-1] - _JUMP_NS):
            self._body, self._stamps, self._twists = frame_id, [], []
        if self._stamps and stamp_ns <= self._stamps[-1]:
            return
        self._stamps.append(stamp_ns)
        self._twists.append(twist)
        expired = bisect_left(self._stamps, stamp_ns - _HISTORY_NS)
        del self._stamps[:expired], self._twists[:expired]

    def of_sweep(self, frame: SensorFrame, reference_ns: int) -> PointMotion:
        """Find how the lidar moved over a sweep.

        Args:
            frame: A lidar frame.
            reference_ns: Time from which its points are to be seen, nanoseconds.

        Returns:
            The motion.

        Raises:
            TransformError: It is not known; says what is lacking.
        """
        first, last = point_times(frame)
        try:
            pose = self._tree_pose(
                frame.frame_id, min(first, reference_ns), max(last, reference_ns)
            )
            return sample_motion(pose, first, last, reference_ns)
        except TransformError as err:
            if not self._stamps:
                raise
            lacking = str(err)
        try:
            T = self._transforms.lookup(self._body, frame.frame_id, reference_ns)
            return motion_from_twist(
                self._stamps, np.array(self._twists), T, first, last, reference_ns
            )
        except TransformError as err:
            raise TransformError(f'{lacking}; {err}') from err

    def lag_ns(self, frame: SensorFrame, reference_ns: int) -> int:
        """Tell how far the motion that is known falls short of what a sweep needs.

        Args:
            frame: A lidar frame.
            reference_ns: Time from which its points are to be seen, nanoseconds.

        Returns:
            Nanoseconds beyond what is known and continued; 0 where the motion is known, or where
            nothing tells of it.
        """
        end_ns = max(*point_times(frame), reference_ns)
        span = self._transforms.known_span(self._fixed_frame, frame.frame_id)
        ends = [] if span is None else [span[1]]
        ends += self._stamps[-1:]
        return max(0, end_ns - REACH_NS - max(ends)) if ends else 0

    def _tree_pose(self, frame_id: str, start_ns: int, end_ns: int) -> Pose:
        """Pose of a frame in the fixed one, continued a little beyond what the tree knows."""
        tree, fixed = self._transforms, self._fixed_frame
        span = tree.known_span(fixed, frame_id)
        if span is None:
            T = tree.lookup(fixed, frame_id)
            return lambda stamp_ns: T
        low, high = span
        if start_ns < low - REACH_NS or end_ns > high + REACH_NS or high <= low:
            raise TransformError(
                f'transform {fixed!r} -> {frame_id!r} is known from {low / 1e9:.3f} s to '
                f'{high / 1e9:.3f} s, the sweep needs {start_ns / 1e9:.3f} s to '
                f'{end_ns / 1e9:.3f} s'
            )

        def pose(stamp_ns: int) -> NDArray[np.float64]:
            if low <= stamp_ns <= high:
                return tree.lookup(fixed, frame_id, stamp_ns)
            edge = low if stamp_ns < low else high
            inner = min(low + _EDGE_NS, high) if stamp_ns < low else max(high - _EDGE_NS, low)
            T_edge = tree.lookup(fixed, frame_id, edge)
            twist = log_transform(invert_transform(tree.lookup(fixed, frame_id, inner)) @ T_edge)
            T: NDArray[np.float64] = T_edge @ exp_twist(
                twist * ((stamp_ns - edge) / (edge - inner))
            )
            return T

        return pose
