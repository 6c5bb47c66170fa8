"""Groups the frames of several sensors around one reference frame, whatever any sensor does.

The contract is: every reference frame becomes one set or one counted reason, at the latest
`deadline` after it arrived; a sensor that stops delays nothing; what comes out depends on what
came in alone, not on when somebody polls. Time is an argument, so there is no clock and no ROS.

Two time lines must not be mixed. *Stamps* say when something was measured; frames are matched by
them, after the sensor's `offset_s` was subtracted. *Now* says when something arrived; deadlines
and silence are counted in it. It may be a monotonic clock, or ROS time in a replay.

How the parts of the contract are read here:

* A sensor never seen counts as live until its `max_age` after the first frame of any sensor. So
  the first sets wait for it until their deadline, and a reference that is missing from the start
  is replaced after its `max_age`.
* The reference is overdue `deadline` after the next frame was to arrive by its rhythm (the median
  of the last 8 intervals), and at the latest when it is absent. The frames of the sensor that
  takes over become references at once, where no set used them and it was not absent since.
* When a sensor of higher priority returns, references of the others that wait and that would only
  repeat its set (within its tolerance, or later) are counted `taken_back`.
* Sets leave in the order of their stamps; one that is due takes the earlier ones with it.
* Time was set back when a stamp is `time_jump` older than the newest of its sensor, when three
  frames of a sensor in a row are in order but not newer than its newest, or when now goes back by
  `time_jump`. Sets that wait are given out, all else is forgotten, and work goes on.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.synchronization.config import SensorConfig, SynchronizerConfig, to_ns
from sam_ad_perception.core.synchronization.measured_times import MeasuredTimes
from sam_ad_perception.core.synchronization.results import (
    DroppedReference,
    Outcome,
    SensorReport,
    SyncedSet,
)
from sam_ad_perception.core.synchronization.sensor_track import NEVER, SensorTrack

K = TypeVar('K', bound=Hashable)
T = TypeVar('T')

FOREVER = -NEVER


@dataclass(order=True)
class _Pending(Generic[K, T]):
    """A reference frame that waits for the other sensors."""

    stamp: int
    deadline: int = field(compare=False)
    key: K = field(compare=False)
    item: T = field(compare=False)


class Synchronizer(Generic[K, T]):
    """Turns each reference frame into a set or a counted drop (the contract is at the top).

    Attributes:
        time_jumps: How often time was set back.
    """

    def __init__(
        self,
        sensors: Mapping[K, SensorConfig],
        priority: Sequence[K],
        *,
        deadline_s: float = 0.05,
        time_jump_s: float = 0.5,
        wait_s: float | None = None,
    ) -> None:
        """Make a synchronizer that has seen nothing.

        Args:
            sensors: Every sensor that will be added, with its configuration.
            priority: Sensors that may lead, first choice first; disabled ones are passed over.
            deadline_s: A set leaves at the latest so long after its reference arrived, seconds.
            time_jump_s: Time that goes back by more than this starts anew, seconds.
            wait_s: A set waits so long rather than until the deadline, which then only tells
                when a reference is overdue: of a recording all comes in the end. Seconds.

        Raises:
            ValueError: The priority names an unknown sensor, or no sensor can lead.
        """
        unknown = [key for key in priority if key not in sensors]
        if unknown:
            raise ValueError(f'priority names {unknown}, sensors are {list(sensors)}')
        leading = [key for key in priority if sensors[key].enabled]
        if not leading:
            raise ValueError(f'no enabled sensor may lead: priority {list(priority)}')
        ranks = {key: rank for rank, key in enumerate(leading)}
        self._tracks: dict[K, SensorTrack[T]] = {
            key: SensorTrack(config, ranks.get(key)) for key, config in sensors.items()
        }
        self._ranked = [self._tracks[key] for key in leading]
        self._keys = leading
        self._waiters = [(key, track) for key, track in self._tracks.items() if track.enabled]
        self._deadline_ns = to_ns(deadline_s)
        self._wait_ns = self._deadline_ns if wait_s is None else to_ns(wait_s)
        self._jump_ns = to_ns(time_jump_s)
        self._pending: list[_Pending[K, T]] = []
        self._rank = 0  # of the leader; behind the last where every sensor is overdue
        self._last_stamp = NEVER
        self._heard = False
        self._now = NEVER
        self._wake = FOREVER
        self._references: Counter[tuple[K, str]] = Counter()
        self.time_jumps = 0

    def add(
        self,
        sensor: K,
        stamp_ns: int,
        item: T,
        now_ns: int,
        measured: MeasuredTimes | None = None,
    ) -> list[Outcome[K, T]]:
        """Take one frame.

        Args:
            sensor: Whose frame.
            stamp_ns: Its stamp as the sensor gave it, nanoseconds.
            item: Anything; it comes back in the sets.
            now_ns: When it arrived, nanoseconds.
            measured: When it was measured, where it tells that better than its stamp.

        Returns:
            What became of reference frames: those due before it arrived, then those that it
            completed.

        Raises:
            ValueError: The sensor is unknown.
        """
        track = self._tracks.get(sensor)
        if track is None:
            raise ValueError(f'sensor must be one of {list(self._tracks)}, got {sensor!r}')
        out = self.poll(now_ns)
        now = self._now
        if not self._heard:
            self._begin(now)
        track.counters['received'] += 1
        if not track.enabled:
            track.counters['disabled'] += 1
            return out
        stamp = stamp_ns - track.offset_ns
        if track.jumps_back(stamp, self._jump_ns) or self._stays_behind(track, stamp, now):
            self._start_anew(now, out)
        if not track.insert(stamp, item, now, self._last_stamp - track.tolerance_ns, measured):
            return out
        if track.rank is not None and track.rank <= self._rank:
            self._arrive(sensor, track, stamp, item, out)
        if self._pending:
            self._release(now, out)
        return out

    def poll(self, now_ns: int) -> list[Outcome[K, T]]:
        """Let time pass.

        Args:
            now_ns: The time, nanoseconds.

        Returns:
            What became of the reference frames that are due.
        """
        out: list[Outcome[K, T]] = []
        if now_ns >= self._wake:
            self._advance(now_ns, out)
        elif self._now - now_ns > self._jump_ns:
            self._start_anew(now_ns, out)
        elif now_ns < self._now:
            return out
        self._now = now_ns
        return out

    def flush(self) -> list[Outcome[K, T]]:
        """Give out the sets that wait, with what there is: the end of a recording."""
        out: list[Outcome[K, T]] = []
        while self._pending:
            self._emit(self._now, out)
        return out

    @property
    def next_deadline_ns(self) -> int | None:
        """When to `poll` at the latest to get what becomes due in time, nanoseconds, or None."""
        wake = self._next_event()
        return wake if wake < FOREVER else None

    @property
    def counters(self) -> Mapping[tuple[K, str], int]:
        """Frames and references by fate, for each sensor.

        Every frame is `received`, and then `used` (in a set, counted once), or dropped: `unused`
        (a nearer one was taken), `duplicate`, `late` (older than any later set may use),
        `overflow` (queue full), `flushed` (time was set back), `disabled`; or it is still held.

        Every frame that leads, or should have (not each one, with `min_reference_period_s`), is a
        `reference`, and then a `bundle`, or dropped: `superseded` (a set with this or a later
        stamp was out before it arrived), `taken_back`
        (a sensor of higher priority returned), `required_absent`; or it still waits.
        """
        counts = dict(self._references)
        for key, track in self._tracks.items():
            counts |= {(key, fate): n for fate, n in track.counters.items() if n}
        return counts

    def report(self) -> dict[K, SensorReport]:
        """Tell each sensor's rhythm and latency, and the clock offset that they hint at."""
        base = next((track for track in self._ranked if track.latency_ns is not None), None)
        reports: dict[K, SensorReport] = {}
        for key, track in self._tracks.items():
            latency, period, offset, paired = track.latency_ns, track.period_ns, None, None
            if base is not None and base.latency_ns is not None and latency is not None:
                offset = base.latency_ns - latency
                if period and base.period_ns:
                    paired = max(period, base.period_ns)
            reports[key] = SensorReport(period, latency, offset, paired)
        return reports

    def _begin(self, now: int) -> None:
        """Begin to wait for every sensor: the first frame is here."""
        self._heard = True
        for track in self._tracks.values():
            track.last_arrival = now
        self._wake = self._next_event()

    def _stays_behind(self, track: SensorTrack[T], stamp: int, now: int) -> bool:
        """Whether a sensor that should lead has been far behind the sets for too long.

        Some old frames after a stall are superseded. Frames that go on like that mean that the
        sensor that led meanwhile has its clock ahead; the one of higher priority is believed.
        """
        if (
            track.rank is None
            or track.rank > self._rank
            or stamp > self._last_stamp - self._jump_ns
        ):
            track.behind_since = None
            return False
        if track.behind_since is None:
            track.behind_since = now
        return now - track.behind_since > self._jump_ns

    def _start_anew(self, now: int, out: list[Outcome[K, T]]) -> None:
        """Give out what waits, forget the rest: time was set back."""
        while self._pending:
            self._emit(self._now, out)
        for track in self._tracks.values():
            track.clear(self._now, now)
        self.time_jumps += 1
        self._last_stamp = NEVER
        self._now = now
        self._rank = self._first_punctual(now)
        self._wake = self._next_event()

    def _arrive(
        self, key: K, track: SensorTrack[T], stamp: int, item: T, out: list[Outcome[K, T]]
    ) -> None:
        """Take a frame of the leader, or of one that is to lead again."""
        assert track.rank is not None
        if stamp <= self._last_stamp and not track.lead_period_ns:
            self._references[key, 'reference'] += 1
            self._drop(key, stamp, 'superseded', 'it came after a set as late or later', out)
        if track.rank < self._rank:
            if track.behind_since is None:
                self._lead(track.rank, out)
        elif stamp > self._last_stamp:
            self._refer(key, stamp, item, self._now)
        self._wake = self._next_event()

    def _lead(self, rank: int, out: list[Outcome[K, T]]) -> None:
        """Make a sensor the leader; its frames that no set has used yet become references."""
        returns = rank < self._rank
        self._rank = rank
        if rank == len(self._ranked):
            return
        key, track = self._keys[rank], self._ranked[rank]
        waiting = {pending.stamp for pending in self._pending if pending.key == key}
        frames = [
            (stamp, item, arrival)
            for stamp, item, arrival, used in track.frames()
            if stamp > self._last_stamp
            and not used
            and stamp not in waiting
            and self._now - arrival <= track.max_age_ns
        ]
        if returns and frames:
            first = frames[0][0] - track.tolerance_ns
            repeated = [p for p in self._pending if p.stamp >= first and p.key != key]
            self._pending = [p for p in self._pending if p.stamp < first or p.key == key]
            for pending in repeated:
                self._drop(pending.key, pending.stamp, 'taken_back', f'{key} leads again', out)
        for frame in frames:
            self._refer(key, *frame)

    def _refer(self, key: K, stamp: int, item: T, arrival: int) -> None:
        """Let a frame wait for the other sensors, unless it is too close to the last reference."""
        period = self._tracks[key].lead_period_ns
        latest = self._pending[-1].stamp if self._pending else self._last_stamp
        if period and stamp - latest < period:
            return
        self._references[key, 'reference'] += 1
        insort(self._pending, _Pending(stamp, arrival + self._wait_ns, key, item))

    def _due(self) -> int:
        """When the first reference leaves at the latest: the later ones take it with them."""
        return min([pending.deadline for pending in self._pending])

    def _drop(self, key: K, stamp: int, fate: str, reason: str, out: list[Outcome[K, T]]) -> None:
        """Count and report a reference frame that leads to no set."""
        self._references[key, fate] += 1
        out.append(DroppedReference(stamp, key, fate, reason))

    def _first_punctual(self, now: int) -> int:
        """Rank of the first sensor that is not overdue; behind the last where all are."""
        for rank, track in enumerate(self._ranked):
            if now < track.overdue_at(self._deadline_ns):
                return rank
        return len(self._ranked)

    def _next_event(self) -> int:
        """When time alone changes something next."""
        wake = FOREVER
        if self._heard and self._rank < len(self._ranked):
            wake = self._ranked[self._rank].overdue_at(self._deadline_ns)
        if self._pending:
            head = self._pending[0]
            wake = min(wake, self._due())
            for key, track in self._waiters:
                if key != head.key and self._awaits(track, head.stamp, self._now):
                    wake = min(wake, track.silent_at)
        return wake

    def _advance(self, now: int, out: list[Outcome[K, T]]) -> None:
        """Do all that time alone makes due up to `now`, each thing at its own time."""
        while (event := self._next_event()) <= min(now, FOREVER - 1):
            self._now = max(event, self._now)
            if (
                self._rank < len(self._ranked)
                and self._ranked[self._rank].overdue_at(self._deadline_ns) <= self._now
            ):
                self._lead(self._first_punctual(self._now), out)
            self._release(self._now, out)
        self._wake = event

    def _release(self, now: int, out: list[Outcome[K, T]]) -> None:
        """Emit the references that are due or complete, in order."""
        changed = False
        while self._pending and self._is_ready(self._pending[0], now):
            self._emit(now, out)
            changed = True
        if changed:
            self._wake = self._next_event()

    def _is_ready(self, head: _Pending[K, T], now: int) -> bool:
        """Whether a reference is due, complete, or one too many."""
        if self._due() <= now:
            return True
        for key, track in self._waiters:
            if key != head.key and self._awaits(track, head.stamp, now):
                return len(self._pending) > self._tracks[head.key].config.queue_size
        return True

    def _awaits(self, track: SensorTrack[T], stamp: int, now: int) -> bool:
        """Whether a nearer frame of a sensor may come before the first reference is due."""
        return track.is_live(now) and not track.knows(stamp) and track.comes_by(self._due())

    def _emit(self, now: int, out: list[Outcome[K, T]]) -> None:
        """Make the set of the first reference that waits, and let go of what is behind it."""
        head = self._pending.pop(0)
        found: dict[K, int] = {}
        absent: dict[K, str] = {}
        lacking: list[str] = []
        for key, track in self._tracks.items():
            if key == head.key:
                continue
            if (at := track.candidate(head.stamp)) >= 0:
                found[key] = at
            elif track.enabled or track.config.required:
                # A sensor that is switched off is not missing, unless somebody requires it.
                absent[key] = track.why_absent(head.stamp, now)
                if track.config.required:
                    lacking.append(f'{key} is required: {absent[key]}')
        if lacking:
            self._drop(head.key, head.stamp, 'required_absent', '; '.join(lacking), out)
        else:
            item = (head.stamp, head.item)
            out.append(make_set(self._tracks, found, head.key, item, absent))
            self._references[head.key, 'bundle'] += 1
        self._last_stamp = head.stamp
        for track in self._tracks.values():
            track.prune(head.stamp - track.tolerance_ns)


def make_set(
    tracks: Mapping[K, SensorTrack[T]],
    found: Mapping[K, int],
    reference: K,
    leading: tuple[int, T],
    absent: Mapping[K, str],
) -> SyncedSet[K, T]:
    """Take the frames of a set out of their tracks.

    Args:
        tracks: The sensors.
        found: For each sensor but the reference, the index of its frame.
        reference: The sensor that leads.
        leading: Stamp and item of its frame.
        absent: See `SyncedSet`.

    Returns:
        The set.
    """
    stamp, track = leading[0], tracks[reference]
    if (own := track.find(stamp)) >= 0:
        track.take(own)
    near = {key: tracks[key].beside(at, stamp) for key, at in found.items()}
    items = {key: tracks[key].take(at) for key, at in found.items()}
    measured = {key: tracks[key].measured_at(at) for key, at in found.items()}
    beside = {key: tracks[key].take(at) for key, at in near.items() if at >= 0}
    items[reference], measured[reference] = leading, stamp
    return SyncedSet(stamp, reference, items, absent, measured, beside)


def make_synchronizer(
    config: SynchronizerConfig, wait_s: float | None = None
) -> Synchronizer[Modality, T]:
    """Make the synchronizer of the live sensors.

    Args:
        config: Its configuration.
        wait_s: See `Synchronizer`.

    Returns:
        A synchronizer whose keys are the modalities.
    """
    return Synchronizer(
        config.sensors,
        [Modality(name) for name in config.reference],
        deadline_s=config.deadline_s,
        time_jump_s=config.time_jump_s,
        wait_s=wait_s,
    )
