"""One sensor as the synchronizer sees it: its recent frames by stamp, its rhythm, its silence."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from sam_ad_perception.core.synchronizer_config import SensorConfig, to_ns

T = TypeVar('T')

RHYTHM_LENGTH = 8
"""The rhythm of a sensor is read from this many latest intervals."""

RHYTHM_MINIMUM = 3
"""Fewer intervals than this say nothing about a sensor's rhythm."""

RESTART_RUN = 3
"""So many frames in a row that are in order but older than the newest: time was set back."""

NEVER = -(1 << 62)


class SensorTrack(Generic[T]):
    """Recent frames of one sensor, ordered by stamp.

    Attributes:
        behind_since: When its frames began to be behind the sets by a time jump, or None.
        newest: Greatest stamp received since the start or the last flush, or None.
        last_arrival: When a frame arrived last; before the first, when waiting for it began.
        seen: Whether any frame ever arrived.
        counters: Frames by fate.
    """

    def __init__(self, config: SensorConfig, rank: int | None) -> None:
        """Make an empty track.

        Args:
            config: The sensor's configuration.
            rank: Place in the reference priority, 0 first; None where it never leads.
        """
        self.config = config
        self.rank = rank
        self.enabled = config.enabled
        self.waits = config.enabled and config.policy == 'nearest'
        self.offset_ns = to_ns(config.offset_s)
        self.tolerance_ns = to_ns(config.tolerance_s)
        self.lead_period_ns = to_ns(config.lead_period_s)
        self.max_age_ns = to_ns(config.max_age_s)
        self.newest: int | None = None
        self.behind_since: int | None = None
        self.last_arrival = NEVER
        self.seen = False
        self.counters: Counter[str] = Counter()
        self._stamps: list[int] = []
        self._items: list[T] = []
        self._arrivals: list[int] = []
        self._used: list[bool] = []
        self._intervals: deque[int] = deque(maxlen=RHYTHM_LENGTH)
        self._arrival_intervals: deque[int] = deque(maxlen=RHYTHM_LENGTH)
        self._latencies: deque[int] = deque(maxlen=RHYTHM_LENGTH)
        self._previous_late = 0
        self._late_run = 0
        self._rhythmic = False

    def jumps_back(self, stamp: int, jump_ns: int) -> bool:
        """Whether this stamp says that time was set back, rather than that a frame is late."""
        newest = self.newest
        if newest is None or stamp > newest:
            self._late_run = 0
            return False
        in_order = self._late_run == 0 or stamp > self._previous_late
        self._late_run = self._late_run + 1 if in_order else 1
        self._previous_late = stamp
        return newest - stamp > jump_ns or self._late_run >= RESTART_RUN

    def insert(self, stamp: int, item: T, now: int, horizon: int) -> bool:
        """Hold a frame.

        Args:
            stamp: Its stamp, nanoseconds.
            item: Its content.
            now: When it arrived, nanoseconds.
            horizon: A frame up to and including this stamp is late: no set can use it.

        Returns:
            False, and the frame is counted, where its stamp was there already. A repeated stamp
            is no sign of life.
        """
        newest = self.newest
        stamps = self._stamps
        in_order = newest is None or stamp > newest
        at = len(stamps) if in_order else bisect_left(stamps, stamp)
        if stamp == newest or (at < len(stamps) and stamps[at] == stamp):
            self.counters['duplicate'] += 1
            return False
        if in_order:
            if newest is not None:
                self._intervals.append(stamp - newest)
            self.newest = stamp
        if self._rhythmic:
            self._arrival_intervals.append(now - self.last_arrival)
        self._rhythmic = True
        self._latencies.append(now - stamp)
        self.last_arrival = now
        self.seen = True
        if stamp <= horizon:
            self.counters['late'] += 1
            return True
        stamps.insert(at, stamp)
        self._items.insert(at, item)
        self._arrivals.insert(at, now)
        self._used.insert(at, False)
        if len(stamps) > self.config.queue_size:
            self._drop(1, 'overflow')
        return True

    def prune(self, stamp: int) -> None:
        """Let go of the frames up to and including `stamp`: no later reference can use them."""
        if self._stamps and self._stamps[0] <= stamp:
            self._drop(bisect_right(self._stamps, stamp), 'unused')

    def frames(self) -> Iterator[tuple[int, T, int, bool]]:
        """The frames held: stamp, item, arrival, whether a set used it."""
        return zip(self._stamps, self._items, self._arrivals, self._used, strict=True)

    def find(self, stamp: int) -> int:
        """Index of the frame with exactly this stamp, -1 where it is not held."""
        at = bisect_left(self._stamps, stamp)
        return at if at < len(self._stamps) and self._stamps[at] == stamp else -1

    def take(self, at: int) -> tuple[int, T]:
        """Stamp and item of the frame at this index, which a set uses."""
        if not self._used[at]:
            self._used[at] = True
            self.counters['used'] += 1
        return self._stamps[at], self._items[at]

    def clear(self, before: int, now: int) -> None:
        """Forget frames and stamps, not the rhythm.

        Args:
            before: The time up to here: who was live then counts as heard just now.
            now: The time from here on, which may be an earlier one.
        """
        self._drop(len(self._stamps), 'flushed')
        self.last_arrival = now if self.is_live(before) else now - self.max_age_ns
        self.newest = None
        self.behind_since = None
        self._late_run = 0
        self._rhythmic = False

    def is_live(self, now: int) -> bool:
        """Whether the sensor was heard within its `max_age`."""
        return now < self.last_arrival + self.max_age_ns

    def knows(self, reference: int) -> bool:
        """Whether the frame nearest to `reference` is known: no nearer one can come any more."""
        newest = self.newest
        if newest is None:
            return False
        if newest >= reference:
            return True
        if len(self._intervals) < RHYTHM_MINIMUM:
            return False
        distance = reference - newest
        ahead = newest + min(self._intervals) - reference
        return ahead >= distance if distance <= self.tolerance_ns else ahead > self.tolerance_ns

    def candidate(self, reference: int) -> int:
        """Index of the frame for `reference` by the sensor's policy, -1 where there is none.

        Of two frames equally near, the earlier one.
        """
        stamps = self._stamps
        if self.config.policy == 'latest':
            at = bisect_right(stamps, reference + self.tolerance_ns) - 1
        else:
            at = bisect_left(stamps, reference)
            if at == len(stamps) or (
                at > 0 and reference - stamps[at - 1] <= stamps[at] - reference
            ):
                at -= 1
        return at if at >= 0 and abs(stamps[at] - reference) <= self.tolerance_ns else -1

    def overdue_at(self, deadline_ns: int) -> int:
        """When the next frame is `deadline_ns` overdue, or the sensor is absent.

        The rhythm is the slower one of stamps and arrivals, so that a slowed-down replay is not
        overdue all the time.
        """
        silent_at = self.last_arrival + self.max_age_ns
        if len(self._arrival_intervals) < RHYTHM_MINIMUM or not self._intervals:
            return silent_at
        period = max(_median(self._intervals), _median(self._arrival_intervals))
        return min(silent_at, self.last_arrival + period + deadline_ns)

    @property
    def period_ns(self) -> int | None:
        """Median interval of the latest stamps, nanoseconds, or None while unknown."""
        return _median(self._intervals) if len(self._intervals) >= RHYTHM_MINIMUM else None

    @property
    def latency_ns(self) -> int | None:
        """Median of arrival minus stamp of the latest frames, or None before the first."""
        return _median(self._latencies) if self._latencies else None

    def why_absent(self, reference: int, now: int) -> str:
        """Why no frame of this sensor goes with `reference`, in words."""
        if not self.enabled:
            return 'disabled'
        if not self.seen:
            return 'never seen'
        if not self.is_live(now):
            return f'no new frame for {(now - self.last_arrival) / 1e9:.2f} s'
        if self.newest is None:
            return 'not arrived since time jumped back'
        near = min((*self._stamps, self.newest), key=lambda stamp: abs(stamp - reference))
        side = 'after' if near > reference else 'before'
        return (
            f'no frame within {self.tolerance_ns / 1e6:g} ms of the reference, '
            f'the nearest is {abs(near - reference) / 1e6:.1f} ms {side} it'
        )

    def _drop(self, count: int, reason: str) -> None:
        """Let go of the `count` oldest frames; those that no bundle used are counted."""
        self.counters[reason] += self._used[:count].count(False)
        del self._stamps[:count], self._items[:count], self._arrivals[:count], self._used[:count]


def _median(values: deque[int]) -> int:
    """Upper median."""
    return sorted(values)[len(values) // 2]
