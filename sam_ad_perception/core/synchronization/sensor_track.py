"""One sensor as the synchronizer sees it: its recent frames by stamp, its rhythm, its silence."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from sam_ad_perception.core.synchronization.config import SensorConfig, to_ns
from sam_ad_perception.core.synchronization.measured_times import AT_STAMP, MeasuredTimes

T = TypeVar('T')

RHYTHM_LENGTH = 8
"""The rhythm of a sensor is read from this many latest intervals."""

RHYTHM_MINIMUM = 3
"""Fewer intervals than this say nothing about a sensor's rhythm."""

_FEWEST_NEARER = 2
"""Of the `SAMPLES` of a sweep: with fewer in the next one's nearer part, it is not worth while."""

_NEARER_NS = 1_000_000
"""A part that is nearer by less than this is not looked for in another sweep."""

RESTART_RUN = 3
"""So many frames in a row that are in order but older than the newest: time was set back."""

NEVER = -(1 << 62)

NEVER_SEEN = 'never seen'
"""Why a sensor is missing of which nothing came at all."""


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
        self.offset_ns = to_ns(config.offset_s)
        self.tolerance_ns = to_ns(config.tolerance_s)
        self.lead_period_ns = to_ns(config.min_reference_period_s)
        self.max_age_ns = to_ns(config.max_age_s)
        self.newest: int | None = None
        self.behind_since: int | None = None
        self.last_arrival = NEVER
        self.seen = False
        self.counters: Counter[str] = Counter()
        self._stamps: list[int] = []
        self._items: list[T] = []
        self._measured: list[MeasuredTimes | None] = []
        self._newest_measured: MeasuredTimes | None = None
        self._reach_ns = 0
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

    def insert(
        self,
        stamp: int,
        item: T,
        now: int,
        horizon: int,
        measured: MeasuredTimes | None = None,
    ) -> bool:
        """Hold a frame.

        Args:
            stamp: Its stamp, nanoseconds.
            item: Its content.
            now: When it arrived, nanoseconds.
            horizon: A frame measured up to and including this time is late: no set can use it.
            measured: When it was measured; None where only `sweep_stamp` tells.

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
            self._newest_measured = measured
        if self._rhythmic:
            self._arrival_intervals.append(now - self.last_arrival)
        self._rhythmic = True
        self._latencies.append(now - stamp)
        self.last_arrival = now
        self.seen = True
        times = measured or self._unmeasured
        if stamp + times.offsets_ns[-1] <= horizon:
            self.counters['late'] += 1
            return True
        self._reach_ns = max(self._reach_ns, times.reach_ns)
        stamps.insert(at, stamp)
        self._items.insert(at, item)
        self._measured.insert(at, measured)
        self._arrivals.insert(at, now)
        self._used.insert(at, False)
        if len(stamps) > self.config.queue_size:
            self._drop(1, 'overflow')
        return True

    def prune(self, time: int) -> None:
        """Let go of frames measured up to and including `time`: no later reference uses them."""
        count = 0
        limit = bisect_right(self._stamps, time + self._reach_ns)
        while count < limit and self._stamps[count] + self._times(count).offsets_ns[-1] <= time:
            count += 1
        if count:
            self._drop(count, 'unused')

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
        silence = 0 if self.is_live(before) else self.silent_at - self.last_arrival
        self.last_arrival = now - silence
        self.newest = None
        self._newest_measured = None
        self.behind_since = None
        self._late_run = 0
        self._rhythmic = False

    @property
    def silent_at(self) -> int:
        """When the sensor counts as absent: `max_age` after its last frame.

        A sensor of 2 Hz and less is not absent from each frame to the next: it has half a period
        more than its rhythm.
        """
        period = 0
        if len(self._arrival_intervals) >= RHYTHM_MINIMUM:
            period = _median(self._arrival_intervals)
        return self.last_arrival + max(self.max_age_ns, period + period // 2)

    def is_live(self, now: int) -> bool:
        """Whether the sensor is not absent."""
        return now < self.silent_at

    def knows(self, reference: int) -> bool:
        """Whether the frame nearest to `reference` is known: no nearer one can come any more."""
        if self.newest is None:
            return False
        newest = self._newest_measured or self._unmeasured
        settled = self.newest + newest.settles_ns
        if settled >= reference:
            return True
        if len(self._intervals) < RHYTHM_MINIMUM or newest.is_stream:
            return False
        distance = reference - settled
        ahead = settled + min(self._intervals) - reference
        return ahead >= distance if distance <= self.tolerance_ns else ahead > self.tolerance_ns

    def comes_by(self, time: int) -> bool:
        """Whether the next frame may arrive up to and including `time`, by its rhythm."""
        if len(self._arrival_intervals) < RHYTHM_MINIMUM:
            return True
        least, most = min(self._arrival_intervals), max(self._arrival_intervals)
        return self.last_arrival + 2 * least - most <= time

    def candidate(self, reference: int) -> int:
        """Index of the frame measured nearest to `reference`, -1 where none is within tolerance.

        Of two frames equally near, the earlier one.
        """
        stamps, reach = self._stamps, self._reach_ns
        best, least = -1, self.tolerance_ns
        at = bisect_left(stamps, reference)
        for i in range(at, len(stamps)):
            if stamps[i] - reference - reach > least:
                break
            distance = self._times(i).distance_ns(reference - stamps[i])
            if distance < least or (best < 0 and distance == least):
                best, least = i, distance
        for i in range(at - 1, -1, -1):
            if reference - stamps[i] - reach > least:
                break
            distance = self._times(i).distance_ns(reference - stamps[i])
            if distance <= least:
                best, least = i, distance
        return best

    def beside(self, at: int, reference: int) -> int:
        """Index of the frame before or after `at` that measured a part of the view nearer.

        Only frames that were measured in the course of time have parts: sweeps. A point has its
        like in the next sweep, as much later as that one's stamp is.

        Returns:
            The index, -1 where all of the frame `at` is nearer.
        """
        best, most = -1, _FEWEST_NEARER - 1
        for other in (at - 1, at + 1):
            if not 0 <= other < len(self._stamps):
                continue
            own, like = self._times(at), self._times(other)
            if min(len(own.offsets_ns), len(like.offsets_ns)) == 1 or own.is_stream:
                continue
            apart = self._stamps[other] - self._stamps[at]
            middle = 2 * (reference - self._stamps[at])
            if apart > 0:
                count = sum(2 * each < middle - apart - _NEARER_NS for each in own.offsets_ns)
            else:
                count = sum(2 * each > middle - apart + _NEARER_NS for each in own.offsets_ns)
            if count > most:
                best, most = other, count
        return best

    def overdue_at(self, deadline_ns: int) -> int:
        """When the next frame is `deadline_ns` overdue, or the sensor is absent.

        The rhythm is the slower one of stamps and arrivals, so that a slowed-down replay is not
        overdue all the time.
        """
        silent_at = self.silent_at
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
            return NEVER_SEEN
        if not self.is_live(now):
            return f'no new frame for {(now - self.last_arrival) / 1e9:.2f} s'
        if self.newest is None:
            return 'not arrived since time jumped back'
        newest = self._newest_measured or self._unmeasured
        frames = [(self.newest, newest)]
        frames += [(stamp, self._times(at)) for at, stamp in enumerate(self._stamps)]
        far = [times.distance_ns(reference - stamp) for stamp, times in frames]
        stamp, times = frames[far.index(min(far))]
        middle = stamp + (times.offsets_ns[0] + times.offsets_ns[-1]) // 2
        side = 'after' if middle > reference else 'before'
        return (
            f'no frame within {self.tolerance_ns / 1e6:g} ms of the reference, '
            f'the nearest is {min(far) / 1e6:.1f} ms {side} it'
        )

    def measured_at(self, at: int) -> int:
        """Mean of the times at which the frame at this index was measured, nanoseconds."""
        offsets = self._times(at).offsets_ns
        return self._stamps[at] + sum(offsets) // len(offsets)

    @property
    def _unmeasured(self) -> MeasuredTimes:
        """When a frame was measured of which only its stamp tells."""
        convention, period = self.config.sweep_stamp, self.period_ns
        if period is None or convention in ('auto', 'middle'):
            return AT_STAMP
        return MeasuredTimes((period // 2 if convention == 'start' else -period // 2,))

    def _times(self, at: int) -> MeasuredTimes:
        """When the frame at this index was measured, relative to its stamp."""
        return self._measured[at] or self._unmeasured

    def _drop(self, count: int, reason: str) -> None:
        """Let go of the `count` oldest frames; those that no bundle used are counted."""
        self.counters[reason] += self._used[:count].count(False)
        del self._stamps[:count], self._items[:count], self._measured[:count]
        del self._arrivals[:count], self._used[:count]


def _median(values: deque[int]) -> int:
    """Upper median."""
    return sorted(values)[len(values) // 2]
