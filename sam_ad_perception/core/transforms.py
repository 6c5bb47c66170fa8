"""Rigid transforms `T_a_b` (map b-frame points into frame a), and the tree of all frames."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

_SECOND_NS = 1_000_000_000
_QUATERNION_TOLERANCE = 1e-3


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
    """Turn a unit quaternion (order of `geometry_msgs/Quaternion`) into a (3, 3) rotation.

    Raises:
        ValueError: The quaternion is zero, not finite, or its norm is off 1 by more than 1e-3.
    """
    q = np.array([x, y, z, w], dtype=np.float64)
    norm = float(np.linalg.norm(q)) if np.all(np.isfinite(q)) else np.nan
    if not abs(norm - 1.0) <= _QUATERNION_TOLERANCE:
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


@dataclass(eq=False)
class _Link:
    """One frame's pose in its parent: a constant, or a history in the order of time."""

    parent: str
    static: NDArray[np.float64] | None = None
    stamps_ns: list[int] = field(default_factory=list)
    poses: list[NDArray[np.float64]] = field(default_factory=list)


class TransformTree:
    """All known frames, static and moving: what `/tf_static` and `/tf` say.

    Not thread-safe. A leading slash of a frame name is ignored.

    Args:
        history_ns: How far back each moving link is kept, nanoseconds.
        tolerance_ns: How far outside a link's recorded times a lookup may lie. Within it the
            nearest recorded pose holds; the motion is not continued.
        jump_ns: A stamp that is older than the link's newest by more than this is a clock that
            jumped back (bag loop, simulator reset): all moving links are forgotten.
    """

    def __init__(
        self,
        *,
        history_ns: int = 10 * _SECOND_NS,
        tolerance_ns: int = 50_000_000,
        jump_ns: int = _SECOND_NS,
    ) -> None:
        self.history_ns = history_ns
        self.tolerance_ns = tolerance_ns
        self.jump_ns = jump_ns
        self._links: dict[str, _Link] = {}

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of all frames, sorted."""
        return tuple(sorted({*self._links, *(link.parent for link in self._links.values())}))

    def set_static(self, parent: str, child: str, T_parent_child: ArrayLike) -> None:
        """Set the pose of `child` in `parent`, valid for all times; replaces an earlier one.

        Args:
            parent: Frame name.
            child: Frame name.
            T_parent_child: (4, 4) rigid transform, metres, as in `TransformStamped`.

        Raises:
            TransformError: `child` has another parent already, or the link closes a loop.
            ValueError: An empty frame name, or a transform that is not rigid.
        """
        parent, child = self._check_link(parent, child)
        T = check_transform(T_parent_child, f'transform {parent!r} -> {child!r}').copy()
        self._links[child] = _Link(parent, static=T)

    def add_dynamic(
        self, parent: str, child: str, stamp_ns: int, T_parent_child: ArrayLike
    ) -> None:
        """Add one timed pose of `child` in `parent`; late ones are sorted in.

        Args:
            parent: Frame name.
            child: Frame name.
            stamp_ns: When the pose held, nanoseconds. A second one for a stamp replaces the first.
            T_parent_child: (4, 4) rigid transform, metres.

        Raises:
            TransformError: `child` has another parent or is static, or the link closes a loop.
            ValueError: An empty frame name, or a transform that is not rigid.
        """
        parent, child = self._check_link(parent, child)
        T = check_transform(T_parent_child, f'transform {parent!r} -> {child!r}').copy()
        link = self._links.get(child)
        if link is not None and link.static is not None:
            raise TransformError(f'frame {child!r} is static in {parent!r} and cannot move')
        if link is not None and stamp_ns < link.stamps_ns[-1] - self.jump_ns:
            self.clear_dynamic()
            link = None
        if link is None:
            link = self._links[child] = _Link(parent)
        at = bisect_left(link.stamps_ns, stamp_ns)
        if at < len(link.stamps_ns) and link.stamps_ns[at] == stamp_ns:
            link.poses[at] = T
            return
        link.stamps_ns.insert(at, stamp_ns)
        link.poses.insert(at, T)
        expired = bisect_left(link.stamps_ns, link.stamps_ns[-1] - self.history_ns)
        del link.stamps_ns[:expired], link.poses[:expired]

    def clear_dynamic(self) -> None:
        """Forget all moving links; static ones stay."""
        self._links = {c: link for c, link in self._links.items() if link.static is not None}

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> NDArray[np.float64]:
        """Return `T_target_source` (4, 4) float64: maps source-frame points into `target`.

        Args:
            target: Frame name.
            source: Frame name.
            stamp_ns: Time asked for, nanoseconds; moving links are interpolated. None takes the
                newest time that all moving links of the chain have reached.

        Raises:
            TransformError: A frame is unknown, the two are not connected (says what is known),
                or a link on the way has no pose near `stamp_ns` (says which times it has).
        """
        down, up = self._path(target, source)
        if stamp_ns is None:
            stamp_ns = self._newest_common([*down, *up])
        T_common_target = self._compose(down, stamp_ns)
        return invert_transform(T_common_target) @ self._compose(up, stamp_ns)

    def known_span(self, target: str, source: str) -> tuple[int, int] | None:
        """Say over which time the transform between two frames is known without continuing it.

        Args:
            target: Frame name.
            source: Frame name.

        Returns:
            First and last time that all moving links of the chain cover, nanoseconds; the last
            may lie before the first. None where no link moves.

        Raises:
            TransformError: A frame is unknown, or the two are not connected.
        """
        down, up = self._path(target, source)
        moving = [link for c in (*down, *up) if (link := self._links[c]).stamps_ns]
        if not moving:
            return None
        return max(m.stamps_ns[0] for m in moving), min(m.stamps_ns[-1] for m in moving)

    def _path(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Frames from each of the two up to, without, the first ancestor that they share."""
        target, source = target.removeprefix('/'), source.removeprefix('/')
        known = self.frames
        for frame in (target, source):
            if frame not in known and target != source:
                raise TransformError(
                    f'no transform from {source!r} to {target!r}: frame {frame!r} is unknown '
                    f'(known: {", ".join(known) or "none"})'
                )
        up_target, up_source = self._ancestors(target), self._ancestors(source)
        common = next((frame for frame in up_source if frame in up_target), None)
        if common is None:
            raise TransformError(
                f'no transform from {source!r} to {target!r}: they are not connected; '
                f'{source!r} hangs below {up_source[-1]!r}, {target!r} below {up_target[-1]!r} '
                f'(known: {", ".join(known)})'
            )
        return up_target[: up_target.index(common)], up_source[: up_source.index(common)]

    def _check_link(self, parent: str, child: str) -> tuple[str, str]:
        parent, child = parent.removeprefix('/'), child.removeprefix('/')
        if not parent or not child:
            raise ValueError(f'frame names must not be empty, got {parent!r} -> {child!r}')
        link = self._links.get(child)
        if link is not None and link.parent != parent:
            raise TransformError(
                f'frame {child!r} has two parents: {link.parent!r} and now {parent!r}'
            )
        if link is None and child in self._ancestors(parent):
            raise TransformError(f'transform {parent!r} -> {child!r} would close a loop')
        return parent, child

    def _ancestors(self, frame: str) -> list[str]:
        """The frame itself, its parent, and so on up to the root."""
        chain = [frame]
        while (link := self._links.get(chain[-1])) is not None:
            chain.append(link.parent)
        return chain

    def _newest_common(self, chain: list[str]) -> int:
        newest = (self._links[c].stamps_ns[-1] for c in chain if self._links[c].stamps_ns)
        return min(newest, default=0)

    def _compose(self, chain: list[str], stamp_ns: int) -> NDArray[np.float64]:
        """Pose of the first frame of the chain in the parent of the last."""
        T = np.eye(4)
        for child in chain:
            T = self._pose(child, stamp_ns) @ T
        return T

    def _pose(self, child: str, stamp_ns: int) -> NDArray[np.float64]:
        link = self._links[child]
        if link.static is not None:
            return link.static
        first, last = link.stamps_ns[0], link.stamps_ns[-1]
        if not first - self.tolerance_ns <= stamp_ns <= last + self.tolerance_ns:
            raise TransformError(
                f'no transform {link.parent!r} -> {child!r} at {stamp_ns / 1e9:.3f} s: it is '
                f'known from {first / 1e9:.3f} s to {last / 1e9:.3f} s'
            )
        at = bisect_left(link.stamps_ns, stamp_ns)
        if at == len(link.stamps_ns):
            return link.poses[-1]
        if at == 0 or link.stamps_ns[at] == stamp_ns:
            return link.poses[at]
        before, after = link.stamps_ns[at - 1], link.stamps_ns[at]
        fraction = (stamp_ns - before) / (after - before)
        return interpolate_transform(link.poses[at - 1], link.poses[at], fraction)
