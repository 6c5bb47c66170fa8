"""The tree of all frames: what `/tf_static` and `/tf`, or a calibration file, say.

It takes and answers what tf2's buffer takes and answers, link by link: the newest parent of a
frame wins, a link may turn from static to moving and back, a late pose is sorted in, and one link
that is wrong costs itself only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_ad_perception.core.geometry.transforms import (
    TransformError,
    check_transform,
    interpolate_transform,
    invert_transform,
)

_SECOND_NS = 1_000_000_000
_MOST_BEFORE = 4096
"""Poses kept of before a link was fixed, if they are older than the history."""
MOST_NAMES = 8
"""No message lists more frames than this: a tracker may have thousands."""


def name_some(names: Iterable[str]) -> str:
    """List names for a message.

    Args:
        names: Any number, the most telling first.

    Returns:
        At most `MOST_NAMES` of them and how many are left; `none` for none.
    """
    listed = list(names)
    told = ', '.join(listed[:MOST_NAMES]) or 'none'
    left = len(listed) - MOST_NAMES
    return f'{told} and {left} more' if left > 0 else told


@dataclass(eq=False)
class _Link:
    """One frame's pose in its parent over time, in the order of time.

    Attributes:
        static: Whether a pose holds from its stamp until the next one; else poses are samples.
        stamps_ns: Of the poses.
        parents: Likewise.
        poses: Likewise, (4, 4) `T_parent_child`.
        moved_at: The tree's activity when the last pose came, see `TransformTree._pass_time`.
        late: Stamps of the poses that came last, all older than the newest by a jump or more.
        refused_ns: Stamp of the last pose that was too old, where it was the last to come.
    """

    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    poses: list[NDArray[np.float64]] = field(default_factory=list)
    moved_at: int = 0
    late: list[int] = field(default_factory=list)
    refused_ns: int | None = None

    def insert(self, stamp_ns: int, parent: str, T: NDArray[np.float64]) -> None:
        """Sort a pose in; of several for one stamp the first and the last are kept.

        What moves towards that stamp ends at the first, and goes on from the last, as in tf2.
        """
        first, at = bisect_left(self.stamps_ns, stamp_ns), bisect_right(self.stamps_ns, stamp_ns)
        same = at > first and self.parents[at - 1] == parent
        if same and np.array_equal(self.poses[at - 1], T):
            return  # said again
        if at > first + (0 if self.static else 1):
            self.parents[at - 1], self.poses[at - 1] = parent, T
            return
        self.stamps_ns.insert(at, stamp_ns)
        self.parents.insert(at, parent)
        self.poses.insert(at, T)

    def keep(self, rows: Iterable[int]) -> None:
        """Keep only these poses."""
        kept = list(rows)
        self.stamps_ns = [self.stamps_ns[i] for i in kept]
        self.parents = [self.parents[i] for i in kept]
        self.poses = [self.poses[i] for i in kept]

    def row(self, stamp_ns: int) -> int:
        """The newest pose that is not after a time, else the first."""
        return max(bisect_right(self.stamps_ns, stamp_ns) - 1, 0)

    def pose(self, stamp_ns: int) -> NDArray[np.float64]:
        """Pose at a time: of samples with one parent what lies between them."""
        at = self.row(stamp_ns)
        last = at + 1 == len(self.stamps_ns)
        if self.static or last or stamp_ns <= self.stamps_ns[at]:
            return self.poses[at]
        if self.parents[at] != self.parents[at + 1]:
            return self.poses[at]
        before, after = self.stamps_ns[at], self.stamps_ns[at + 1]
        fraction = (stamp_ns - before) / (after - before)
        return interpolate_transform(self.poses[at], self.poses[at + 1], fraction)

    @property
    def span(self) -> tuple[int, int]:
        """First and last time since which its parent is the newest one."""
        first = len(self.stamps_ns) - 1
        while first and self.parents[first - 1] == self.parents[-1]:
            first -= 1
        return self.stamps_ns[first], self.stamps_ns[-1]


class TransformTree:
    """All known frames, static and moving.

    Not thread-safe. Leading slashes of frame names are dropped.

    Attributes:
        doubts: For frames that are placed by several sources that contradict each other, which,
            in words; its owner fills it.

    Args:
        history_ns: How far back each moving link is kept, nanoseconds.
        tolerance_ns: How far outside a link's recorded times a lookup may lie. Within it the
            nearest recorded pose holds; the motion is not continued.
        jump_ns: A link whose stamps stay behind its own newest one by more than this, over this
            long, has a clock that was set back (bag loop, simulator reset): it begins anew, alone.
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
        self.doubts: dict[str, str] = {}
        self._links: dict[str, _Link] = {}
        self._activity_ns = 0
        self._swept_ns = 0
        self._newcomer_ns: int | None = None

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of all frames, sorted."""
        parents = {parent for link in self._links.values() for parent in link.parents}
        return tuple(sorted({*self._links, *parents}))

    def has_frame(self, name: str) -> bool:
        """Tell whether a frame is known, as child or as parent."""
        name = name.lstrip('/')
        return name in self._links or any(name in link.parents for link in self._links.values())

    def parent_of(self, child: str) -> str | None:
        """The newest parent of a frame; None for a root, or where it is unknown."""
        link = self._links.get(child.lstrip('/'))
        return None if link is None else link.parents[-1]

    def forget(self, child: str) -> None:
        """Forget where a frame is."""
        self._links.pop(child.lstrip('/'), None)

    def set_static(
        self, parent: str, child: str, T_parent_child: ArrayLike, since_ns: int | None = None
    ) -> str:
        """Set the pose of `child` in `parent`.

        Args:
            parent: Frame name.
            child: Frame name.
            T_parent_child: (4, 4) rigid transform, metres, as in `TransformStamped`.
            since_ns: From when on it holds, nanoseconds, where poses before it are kept (a
                recording that was calibrated on the way); the first one also holds before. None
                replaces all that was known of the link.

        Returns:
            What became of an earlier link of `child`, in words; empty where nothing changed but
            the pose.

        Raises:
            ValueError: An empty frame name, a link of a frame to itself, or a transform that is
                not rigid.
        """
        parent, child, T = _check_link(parent, child, T_parent_child)
        link = self._links.get(child)
        note = self._change(link, parent, child, static=True)
        if link is None or not link.static or since_ns is None:
            link = self._links[child] = _Link(static=True)
        at = link.row(since_ns) if since_ns is not None and link.stamps_ns else None
        if at is not None and link.parents[at] == parent and np.array_equal(link.poses[at], T):
            return note  # said again
        link.insert(since_ns or 0, parent, T)
        return note

    def add_dynamic(
        self, parent: str, child: str, stamp_ns: int, T_parent_child: ArrayLike
    ) -> str:
        """Add one timed pose of `child` in `parent`; late ones are sorted in.

        Args:
            parent: Frame name.
            child: Frame name.
            stamp_ns: When the pose held, nanoseconds. A second one for a stamp holds from it on.
            T_parent_child: (4, 4) rigid transform, metres.

        Returns:
            What became of earlier poses of `child`, in words; empty where they were continued.

        Raises:
            TransformError: The pose is older than the link's newest by more than `history_ns`. A
                second such pose in a row is taken: the link begins anew.
            ValueError: An empty frame name, a link of a frame to itself, or a transform that is
                not rigid.
        """
        parent, child, T = _check_link(parent, child, T_parent_child)
        link = self._links.get(child)
        if link is not None and link.static and stamp_ns < link.stamps_ns[-1]:
            self._move_before(link, stamp_ns, parent, T)
            return ''
        note = self._change(link, parent, child, static=False)
        if link is None or link.static:
            link = self._links[child] = _Link(static=False)
            self._pass_time(link, self._newcomer_ns, stamp_ns)
            self._newcomer_ns = stamp_ns
            link.insert(stamp_ns, parent, T)
            return note
        newest = link.stamps_ns[-1]
        if stamp_ns < newest - self.history_ns:
            self._restart_old(link, parent, child, stamp_ns)
            note = f'the clock of {parent!r} -> {child!r} was set back: it begins anew'
        self._pass_time(link, newest, stamp_ns)
        link.refused_ns = None
        link.insert(stamp_ns, parent, T)
        if self._was_set_back(link, newest, stamp_ns):
            note = f'the clock of {parent!r} -> {child!r} was set back: it begins anew'
        expired = bisect_left(link.stamps_ns, link.stamps_ns[-1] - self.history_ns)
        if expired:
            link.keep(range(expired, len(link.stamps_ns)))
        return note

    def clear_dynamic(self) -> None:
        """Forget all moving links; static ones stay."""
        self._links = {child: link for child, link in self._links.items() if link.static}

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> NDArray[np.float64]:
        """Return `T_target_source` (4, 4) float64: maps source-frame points into `target`.

        Args:
            target: Frame name.
            source: Frame name.
            stamp_ns: Time asked for, nanoseconds; moving links are interpolated. None takes the
                newest time that all moving links of the chain have reached.

        Raises:
            TransformError: A frame is unknown, the two are not connected (says what is known),
                they lie on a loop, or a link on the way has no pose near `stamp_ns` (says which
                times it has).
        """
        down, up = self._path(target, source, stamp_ns)
        if stamp_ns is None:
            moving = [
                link.stamps_ns[-1] for c in (*down, *up) if not (link := self._links[c]).static
            ]
            stamp_ns = min(moving, default=0)
            if moving:
                down, up = self._path(target, source, stamp_ns)
            else:
                return invert_transform(self._compose(down, None)) @ self._compose(up, None)
        return invert_transform(self._compose(down, stamp_ns)) @ self._compose(up, stamp_ns)

    def doubt(self, target: str, source: str) -> str:
        """Say what contradicts the transform between two frames.

        Args:
            target: Frame name.
            source: Frame name.

        Returns:
            The `doubts` of the links on the way, in words; empty for none.

        Raises:
            TransformError: The two are not connected.
        """
        if not self.doubts:
            return ''
        down, up = self._path(target, source, None)
        found = [self.doubts[child] for child in (*down, *up) if child in self.doubts]
        more = f' (and {len(found) - 1} more)' if len(found) > 1 else ''
        return f'{found[0]}{more}' if found else ''

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
        down, up = self._path(target, source, None)
        spans = [link.span for c in (*down, *up) if not (link := self._links[c]).static]
        if not spans:
            return None
        return max(first for first, _ in spans), min(last for _, last in spans)

    def _change(self, link: _Link | None, parent: str, child: str, *, static: bool) -> str:
        """Say what a new link does to the one that is known."""
        if link is None:
            return ''
        if link.static != static:
            now = 'is static now' if static else 'moves now, and was static'
            return f'frame {child!r} {now}: the newest counts'
        if link.parents[-1] != parent:
            return (
                f'frame {child!r} has another parent: {parent!r} now, {link.parents[-1]!r} '
                'before; the newest counts'
            )
        return ''

    def _restart_old(self, link: _Link, parent: str, child: str, stamp_ns: int) -> None:
        """Empty a link whose clock was set back; one old pose alone is refused."""
        before, link.refused_ns = link.refused_ns, stamp_ns
        if before is None or not 0 < stamp_ns - before <= self.jump_ns:
            raise TransformError(
                f'transform {parent!r} -> {child!r} of {stamp_ns / 1e9:.3f} s is '
                f'{(link.stamps_ns[-1] - stamp_ns) / 1e9:.1f} s older than the newest of this link'
            )
        link.keep(())
        link.late = []

    def _move_before(
        self, link: _Link, stamp_ns: int, parent: str, T: NDArray[np.float64]
    ) -> None:
        """Keep a pose of before a link was fixed: in a recording that is known ahead of it."""
        link.insert(stamp_ns, parent, T)
        if len(link.stamps_ns) > _MOST_BEFORE:
            oldest = bisect_left(link.stamps_ns, stamp_ns - self.history_ns)
            link.keep(range(oldest, len(link.stamps_ns)))

    def _was_set_back(self, link: _Link, newest: int, stamp_ns: int) -> bool:
        """Tell whether a link's clock was set back, and then keep only what came since."""
        if stamp_ns >= newest - self.jump_ns:
            if stamp_ns > newest:
                link.late = []
            return False
        if link.late and stamp_ns <= link.late[-1]:
            link.late = []
        link.late.append(stamp_ns)
        if link.late[-1] - link.late[0] < self.jump_ns:
            return False
        since = set(link.late)
        link.keep(i for i, stamp in enumerate(link.stamps_ns) if stamp in since)
        link.late = []
        return True

    def _pass_time(self, link: _Link, before_ns: int | None, stamp_ns: int) -> None:
        """Let a link's own progress carry the tree's activity on, and forget who takes no part.

        Clocks of links may differ, so each is only held against itself: one that runs ahead, or
        jumps, ages no other. Frames that move once each, as a tracker's, count as one link.
        """
        if before_ns is not None and 0 < stamp_ns - before_ns < self.jump_ns:
            began = link.moved_at if link.stamps_ns else self._activity_ns
            self._activity_ns = max(self._activity_ns, began + stamp_ns - before_ns)
        link.moved_at = self._activity_ns
        if self._activity_ns - self._swept_ns < self.jump_ns:
            return
        self._swept_ns = self._activity_ns
        oldest = self._activity_ns - 2 * self.history_ns
        self._links = {c: n for c, n in self._links.items() if n.static or n.moved_at >= oldest}

    def _path(self, target: str, source: str, stamp_ns: int | None) -> tuple[list[str], list[str]]:
        """Frames from each of the two up to, without, the first ancestor that they share."""
        target, source = target.lstrip('/'), source.lstrip('/')
        if target == source:
            return [], []
        up_target, why_target, _ = self._climb(target, stamp_ns)
        up_source, why_source, loops = self._climb(source, stamp_ns)
        if loops and target not in up_source:
            raise TransformError(why_source)  # as tf2, also where a way might be found
        # Of two ways round a loop the one upwards from the source counts, as in tf2.
        common = target if target in up_source else None
        common = common or next((frame for frame in up_source if frame in up_target), None)
        if common is not None:
            return up_target[: up_target.index(common)], up_source[: up_source.index(common)]
        for frame in (target, source):
            if not self.has_frame(frame):
                raise TransformError(
                    f'no transform from {source!r} to {target!r}: frame {frame!r} is unknown '
                    f'(known: {name_some(self._telling_frames())})'
                )
        if why := why_source or why_target:
            raise TransformError(why)
        raise TransformError(
            f'no transform from {source!r} to {target!r}: they are not connected; '
            f'{source!r} hangs below {up_source[-1]!r}, {target!r} below {up_target[-1]!r} '
            f'(known: {name_some(self._telling_frames())})'
        )

    def _telling_frames(self) -> list[str]:
        """All frames, those of the vehicle's build first, then what moves on it."""
        fixed = {c for c, link in self._links.items() if link.static}
        fixed |= {link.parents[-1] for link in self._links.values() if link.static}
        return sorted(self.frames, key=lambda frame: (frame not in fixed, frame))

    def _climb(self, frame: str, stamp_ns: int | None) -> tuple[list[str], str, bool]:
        """A frame, its parent at a time (None: its newest), ...; why it ends; if by a loop."""
        chain = [frame]
        while (link := self._links.get(chain[-1])) is not None:
            if stamp_ns is not None and (why := self._out_of_reach(chain[-1], stamp_ns)):
                return chain, why, False
            parent = link.parents[-1 if stamp_ns is None else link.row(stamp_ns)]
            if parent in chain:
                loop = name_some(chain[chain.index(parent) :])
                why = f'no transform of {frame!r}: the links of {loop} form a loop'
                return chain, why, True
            chain.append(parent)
        return chain, '', False

    def _out_of_reach(self, child: str, stamp_ns: int) -> str:
        """Why a link has no pose at a time; empty where it has one."""
        link = self._links[child]
        first, last = link.stamps_ns[0], link.stamps_ns[-1]
        if link.static or first - self.tolerance_ns <= stamp_ns <= last + self.tolerance_ns:
            return ''
        return (
            f'no transform {link.parents[-1]!r} -> {child!r} at {stamp_ns / 1e9:.3f} s: it is '
            f'known from {first / 1e9:.3f} s to {last / 1e9:.3f} s'
        )

    def _compose(self, chain: list[str], stamp_ns: int | None) -> NDArray[np.float64]:
        """Pose of the first frame of the chain in the parent of the last."""
        T = np.eye(4)
        for child in chain:
            link = self._links[child]
            T = (link.poses[-1] if stamp_ns is None else link.pose(stamp_ns)) @ T
        return T


def _check_link(
    parent: str, child: str, T_parent_child: ArrayLike
) -> tuple[str, str, NDArray[np.float64]]:
    """Names without slashes, and the transform, where both can be used."""
    parent, child = parent.lstrip('/'), child.lstrip('/')
    if not parent or not child:
        raise ValueError(f'frame names must not be empty, got {parent!r} -> {child!r}')
    if parent == child:
        raise ValueError(f'transform {parent!r} -> {child!r} links a frame to itself')
    return (
        parent,
        child,
        check_transform(T_parent_child, f'transform {parent!r} -> {child!r}').copy(),
    )
