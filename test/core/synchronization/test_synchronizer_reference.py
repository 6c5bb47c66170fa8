"""The synchronizer against a brute-force one, and against what must hold for any arrivals.

`BruteForce` keeps every frame and goes through all of them; it shares the parameters only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.core.synchronization.config import SensorConfig
from sam_ad_perception.core.synchronization.measured_times import MeasuredTimes
from sam_ad_perception.core.synchronization.results import DroppedReference, SyncedSet
from sam_ad_perception.core.synchronization.synchronizer import Synchronizer

MS = 1_000_000
MEASURED = [
    MeasuredTimes(),
    MeasuredTimes(),
    MeasuredTimes(tuple(range(0, 100 * MS, 9 * MS))),  # a sweep that is stamped at its start
    MeasuredTimes(tuple(range(-100 * MS, 1, 9 * MS))),  # at its end
    MeasuredTimes((20 * MS, 24 * MS, 28 * MS)),  # a narrow view
    MeasuredTimes((-10 * MS, 0), is_stream=True),
]
Arrival = tuple[int, str, int]  # now, sensor, stamp; nanoseconds


@dataclass
class Frame:
    stamp: int
    arrival: int
    number: int
    measured: MeasuredTimes
    used: bool = False

    def times(self) -> list[int]:
        return [self.stamp + each for each in self.measured.offsets_ns]

    def distance(self, time: int) -> int:
        times = self.times()
        if self.measured.is_stream:
            return 0 if times[0] <= time <= times[-1] else min(abs(t - time) for t in times)
        return sum(abs(t - time) for t in times) // len(times)

    @property
    def settles(self) -> int:
        return max(self.times()) if self.measured.is_stream else min(self.times())


@dataclass
class Waiting:
    stamp: int
    sensor: str
    due: int
    number: int


@dataclass
class Sensor:
    """All that ever came from one sensor since time was last set back, and its rhythm."""

    config: SensorConfig
    frames: list[Frame] = field(default_factory=list)
    newest: int | None = None
    newest_frame: Frame | None = None
    heard: int | None = None
    seen: bool = False
    rhythmic: bool = False
    stamp_gaps: list[int] = field(default_factory=list)
    arrival_gaps: list[int] = field(default_factory=list)
    late_stamps: list[int] = field(default_factory=list)
    behind_since: int | None = None

    @property
    def tolerance(self) -> int:
        return round(self.config.tolerance_s * 1e9)

    @property
    def silent_at(self) -> int:
        assert self.heard is not None
        max_age = round(self.config.max_age_s * 1e9)
        if len(self.arrival_gaps) >= 3:
            typical = sorted(self.arrival_gaps[-8:])[len(self.arrival_gaps[-8:]) // 2]
            max_age = max(max_age, typical + typical // 2)
        return self.heard + max_age

    def overdue_at(self, deadline: int) -> int:
        if len(self.arrival_gaps) < 3 or not self.stamp_gaps:
            return self.silent_at
        typical = [sorted(g[-8:])[len(g[-8:]) // 2] for g in (self.stamp_gaps, self.arrival_gaps)]
        return min(self.silent_at, self.heard + max(typical) + deadline)

    def knows(self, stamp: int) -> bool:
        if self.newest_frame is None:
            return False
        settles = self.newest_frame.settles
        if settles >= stamp:
            return True
        if len(self.stamp_gaps) < 3 or self.newest_frame.measured.is_stream:
            return False
        following = settles + min(self.stamp_gaps[-8:]) - stamp
        if stamp - settles <= self.tolerance:
            return following >= stamp - settles
        return following > self.tolerance

    def comes_by(self, time: int) -> bool:
        gaps = self.arrival_gaps[-8:]
        return len(gaps) < 3 or self.heard + 2 * min(gaps) - max(gaps) <= time

    def match(self, stamp: int) -> Frame | None:
        near = [f for f in self.frames if f.distance(stamp) <= self.tolerance]
        return min(near, key=lambda f: (f.distance(stamp), f.stamp), default=None)

    def beside(self, frame: Frame, stamp: int) -> Frame | None:
        """The neighbour in whose favour at least two of the frame's times speak."""
        before = [f for f in self.frames if f.stamp < frame.stamp]
        after = [f for f in self.frames if f.stamp > frame.stamp]
        best, most = None, 1
        for other in (*before[-1:], *after[:1]):
            if len(other.times()) == 1 or len(frame.times()) == 1 or frame.measured.is_stream:
                continue
            apart = other.stamp - frame.stamp
            nearer = sum(abs(t + apart - stamp) < abs(t - stamp) - MS for t in frame.times())
            if nearer > most:
                best, most = other, nearer
        return best


class BruteForce:
    def __init__(
        self,
        sensors: dict[str, SensorConfig],
        priority: list[str],
        deadline: int,
        jump: int,
        measured: dict[str, MeasuredTimes],
    ) -> None:
        self.measured = measured
        self.sensors = {key: Sensor(config) for key, config in sensors.items()}
        self.priority = [key for key in priority if sensors[key].enabled]
        self.deadline, self.jump = deadline, jump
        self.leader: str | None = self.priority[0]
        self.last: int | None = None
        self.waiting: list[Waiting] = []
        self.now: int | None = None
        self.out: list[Any] = []
        self.jumps = 0

    def run(self, arrivals: list[Arrival]) -> list[Any]:
        for number, (now, key, stamp) in enumerate(arrivals):
            self.pass_time(now)
            self.arrive(key, stamp, number)
        while self.waiting:
            self.emit()
        return self.out

    def pass_time(self, now: int) -> None:
        if self.now is None:
            self.now = now
            for sensor in self.sensors.values():
                sensor.heard = now
        if self.now - now > self.jump:
            self.start_anew(now)
        while True:
            times = [w.due for w in self.waiting]
            times += [s.silent_at for s in self.sensors.values()]
            times += [s.overdue_at(self.deadline) for s in self.sensors.values()]
            coming = [t for t in times if self.now < t <= now]
            if not coming:
                break
            self.now = min(coming)
            if self.leader and self.sensors[self.leader].overdue_at(self.deadline) <= self.now:
                self.lead(self.punctual())
            self.release()
        self.now = max(now, self.now)

    def punctual(self) -> str | None:
        for key in self.priority:
            if self.now < self.sensors[key].overdue_at(self.deadline):
                return key
        return None

    def rank(self, key: str | None) -> int:
        return self.priority.index(key) if key in self.priority else 99

    def arrive(self, key: str, stamp: int, number: int) -> None:
        sensor = self.sensors[key]
        if not sensor.config.enabled:
            return
        stamp -= round(sensor.config.offset_s * 1e9)
        may_lead = key in self.priority and self.rank(key) <= self.rank(self.leader)
        if self.is_set_back(sensor, stamp, may_lead):
            self.start_anew(self.now)
            sensor = self.sensors[key]
            may_lead = self.rank(key) <= self.rank(self.leader) and key in self.priority
        frame = Frame(stamp, self.now, number, self.measured[key])
        usable = self.last is None or max(frame.times()) > self.last - sensor.tolerance
        there = any(f.stamp == stamp for f in sensor.frames) and usable
        if stamp == sensor.newest or there:
            return
        if sensor.newest is None or stamp > sensor.newest:
            if sensor.newest is not None:
                sensor.stamp_gaps.append(stamp - sensor.newest)
            sensor.newest, sensor.newest_frame = stamp, frame
        if sensor.rhythmic:
            sensor.arrival_gaps.append(self.now - sensor.heard)
        sensor.heard, sensor.rhythmic, sensor.seen = self.now, True, True
        if usable:
            sensor.frames = sorted([*sensor.frames, frame], key=lambda f: f.stamp)
        if may_lead:
            fresh = self.last is None or stamp > self.last
            if not fresh and not sensor.config.min_reference_period_s:
                self.out.append(('superseded', key, stamp))
            if key != self.leader:
                if sensor.behind_since is None:
                    self.lead(key)
            elif fresh:
                self.refer(key, frame)
        self.release()

    def is_set_back(self, sensor: Sensor, stamp: int, may_lead: bool) -> bool:
        if sensor.newest is not None and stamp <= sensor.newest:
            if sensor.late_stamps and stamp <= sensor.late_stamps[-1]:
                sensor.late_stamps = []
            sensor.late_stamps.append(stamp)
            if sensor.newest - stamp > self.jump or len(sensor.late_stamps) >= 3:
                return True
        else:
            sensor.late_stamps = []
        if may_lead and self.last is not None and stamp <= self.last - self.jump:
            sensor.behind_since = self.now if sensor.behind_since is None else sensor.behind_since
            return self.now - sensor.behind_since > self.jump
        sensor.behind_since = None
        return False

    def start_anew(self, now: int) -> None:
        while self.waiting:
            self.emit()
        for key, sensor in self.sensors.items():
            live = self.now < sensor.silent_at
            heard = now if live else now - (sensor.silent_at - sensor.heard)
            self.sensors[key] = Sensor(
                sensor.config,
                heard=heard,
                seen=sensor.seen,
                stamp_gaps=sensor.stamp_gaps,
                arrival_gaps=sensor.arrival_gaps,
            )
        self.now, self.last = now, None
        self.jumps += 1
        self.leader = self.punctual()

    def lead(self, key: str | None) -> None:
        returns = self.rank(key) < self.rank(self.leader)
        self.leader = key
        if key is None:
            return
        sensor = self.sensors[key]
        waiting = {w.number for w in self.waiting}
        frames = [
            f
            for f in sensor.frames
            if not f.used and f.number not in waiting
            if self.last is None or f.stamp > self.last
            if self.now - f.arrival <= round(sensor.config.max_age_s * 1e9)
        ]
        frames.sort(key=lambda f: f.stamp)
        if returns and frames:
            for w in sorted(self.waiting, key=lambda w: w.stamp):
                if w.sensor != key and w.stamp >= frames[0].stamp - sensor.tolerance:
                    self.out.append(('taken_back', w.sensor, w.stamp))
                    self.waiting.remove(w)
        for f in frames:
            self.refer(key, f)

    def refer(self, key: str, f: Frame) -> None:
        period = round(self.sensors[key].config.min_reference_period_s * 1e9)
        others = [w.stamp for w in self.waiting] or [s for s in [self.last] if s is not None]
        if period == 0 or not others or f.stamp >= max(others) + period:
            self.waiting.append(Waiting(f.stamp, key, f.arrival + self.deadline, f.number))

    def release(self) -> None:
        while self.waiting:
            head = min(self.waiting, key=lambda w: w.stamp)
            due = min(w.due for w in self.waiting)
            awaited = [
                key
                for key, s in self.sensors.items()
                if s.config.enabled and key != head.sensor and s.comes_by(due)
                if self.now < s.silent_at and not s.knows(head.stamp)
            ]
            if awaited and due > self.now:
                return
            self.emit()

    def emit(self) -> None:
        head = min(self.waiting, key=lambda w: w.stamp)
        self.waiting.remove(head)
        found = {
            key: sensor.match(head.stamp)
            for key, sensor in self.sensors.items()
            if key != head.sensor
        }
        found[head.sensor] = next(
            (f for f in self.sensors[head.sensor].frames if f.number == head.number),
            Frame(head.stamp, 0, head.number, self.measured[head.sensor]),
        )
        self.last = head.stamp
        if any(f is None and self.sensors[key].config.required for key, f in found.items()):
            self.out.append(('required_absent', head.sensor, head.stamp))
            return
        for f in found.values():
            if f is not None:
                f.used = True
        items = {key: f.number for key, f in found.items() if f is not None}
        beside = {
            key: other.number
            for key, f in found.items()
            if f is not None and key != head.sensor
            if (other := self.sensors[key].beside(f, head.stamp)) is not None
        }
        self.out.append(('bundle', head.sensor, head.stamp, items, beside))


def normalized(outcomes: list[Any]) -> list[Any]:
    return [
        (o.fate, o.reference, o.stamp_ns)
        if isinstance(o, DroppedReference)
        else (
            'bundle',
            o.reference,
            o.stamp_ns,
            {k: item for k, (_, item) in o.items.items()},
            {k: item for k, (_, item) in o.beside.items()},
        )
        for o in outcomes
    ]


@st.composite
def configurations(draw: st.DrawFn) -> tuple[dict[str, SensorConfig], list[str], float]:
    sensors = {
        key: SensorConfig(
            enabled=draw(st.sampled_from([True, True, True, False])) or key == 'a',
            required=draw(st.sampled_from([False] * 9 + [True])),
            offset_s=draw(st.sampled_from([0.0, 0.0, 0.059, -0.02])),
            tolerance_s=draw(st.sampled_from([0.0, 0.02, 0.05, 0.11])),
            max_age_s=draw(st.sampled_from([0.15, 0.5, 1.0])),
            min_reference_period_s=draw(st.sampled_from([0.0, 0.0, 0.08])),
            queue_size=10_000,
        )
        for key in 'abcd'[: draw(st.integers(1, 4))]
    }
    order = draw(st.permutations(list(sensors)))
    priority = order[: draw(st.integers(1, len(order)))]
    if not any(sensors[key].enabled for key in priority):
        priority = [*priority, 'a']
    return sensors, priority, draw(st.sampled_from([0.0, 0.05, 0.2]))


@st.composite
def arrivals_of(draw: st.DrawFn, keys: list[str]) -> list[Arrival]:
    """Streams with rates, phases, jitter, delays, gaps, repeats, reordering, and jumps back."""
    arrivals: list[Arrival] = []
    for key in keys:
        period = draw(st.sampled_from([33, 50, 100]))
        start = draw(st.integers(0, 120))
        count = draw(st.integers(0, 25))
        offset = draw(st.sampled_from([0, 0, 0, 59, -20, 5000]))
        latency = draw(st.integers(0, 60))
        gap = draw(st.tuples(st.integers(0, 25), st.sampled_from([0, 0, 300, 2000])))
        jump = draw(st.tuples(st.integers(0, 25), st.sampled_from([0, 0, 0, 200, 1000])))
        for i in range(count):
            fate = draw(st.sampled_from(['ok'] * 12 + ['lost', 'twice', 'late', 'jitter']))
            measured = start + i * period + (gap[1] if i >= gap[0] else 0)
            stamp = measured + offset - (jump[1] if i >= jump[0] else 0)
            if fate == 'jitter':
                stamp += draw(st.integers(-20, 20))
            arrival = measured + latency + (draw(st.integers(1, 400)) if fate == 'late' else 0)
            repeats = {'lost': 0, 'twice': 2}.get(fate, 1)
            arrivals += [(arrival * MS, key, stamp * MS)] * repeats
    arrivals.sort(key=lambda arrival: (arrival[0], arrival[1]))
    if draw(st.sampled_from([False, False, True])) and arrivals:  # the clock of arrivals goes back
        at = draw(st.integers(0, len(arrivals) - 1))
        back = draw(st.sampled_from([100, 700, 3000])) * MS
        arrivals = arrivals[:at] + [(t - back, key, s - back) for t, key, s in arrivals[at:]]
    return arrivals


@st.composite
def cases(draw: st.DrawFn) -> Any:
    sensors, priority, deadline_s = draw(configurations())
    measured = {key: draw(st.sampled_from(MEASURED)) for key in sensors}
    return sensors, priority, deadline_s, draw(arrivals_of(list(sensors))), measured


def run(case: Any, polls: list[int] | None = None) -> tuple[list[Any], Synchronizer[str, int]]:
    sensors, priority, deadline_s, arrivals, measured = case
    sync: Synchronizer[str, int] = Synchronizer(sensors, priority, deadline_s=deadline_s)
    out: list[Any] = []
    for number, (now, key, stamp) in enumerate(arrivals):
        if polls and number > 0:
            before = arrivals[number - 1][0]
            for share in polls:
                if now > before:
                    out += sync.poll(before + (now - before) * share // 100)
        out += sync.add(key, stamp, number, now, measured[key])
    return out + sync.flush(), sync


@given(case=cases())
def test_same_as_brute_force(case: Any) -> None:
    sensors, priority, deadline_s, arrivals, measured = case
    brute = BruteForce(sensors, priority, round(deadline_s * 1e9), 500 * MS, measured)
    out, sync = run(case)
    assert normalized(out) == brute.run(arrivals)
    assert sync.time_jumps == brute.jumps


@given(case=cases(), polls=st.lists(st.integers(0, 100), max_size=3).map(sorted))
def test_polls_change_nothing(case: Any, polls: list[int]) -> None:
    assert normalized(run(case)[0]) == normalized(run(case, polls)[0])


@given(case=cases())
def test_everything_is_accounted_for(case: Any) -> None:
    out, sync = run(case)
    counts = Counter(sync.counters)
    arrived = Counter(key for _, key, _ in case[3])
    outcomes = Counter(
        (o.reference, o.fate if isinstance(o, DroppedReference) else 'bundle') for o in out
    )
    for key in case[0]:
        fates = ('used', 'unused', 'duplicate', 'late', 'overflow', 'flushed', 'disabled')
        held = arrived[key] - sum(counts[key, fate] for fate in fates)
        assert counts[key, 'received'] == arrived[key]
        assert 0 <= held <= arrived[key]
        ends = ('bundle', 'superseded', 'taken_back', 'required_absent')
        assert counts[key, 'reference'] == sum(counts[key, end] for end in ends)
        for end in ends:
            assert counts[key, end] == outcomes[key, end]


@given(case=cases())
def test_order_and_deadline(case: Any) -> None:
    """Stamps rise until time is set back; nobody who polls in time waits beyond the deadline."""
    sensors, priority, deadline_s, arrivals, measured = case
    sync: Synchronizer[str, int] = Synchronizer(sensors, priority, deadline_s=deadline_s)
    sets: list[tuple[int, SyncedSet[str, int]]] = []
    allowed = round(deadline_s * 1e9) + max(round(c.max_age_s * 1e9) for c in sensors.values())
    for number, (now, key, stamp) in enumerate(arrivals):
        while (due := sync.next_deadline_ns) is not None and due <= now:
            sets += [(sync.time_jumps, o) for o in sync.poll(due) if isinstance(o, SyncedSet)]
        jumps = sync.time_jumps
        for outcome in sync.add(key, stamp, number, now, measured[key]):
            if isinstance(outcome, SyncedSet) and sync.time_jumps == jumps:
                sets.append((jumps, outcome))
                arrived = arrivals[outcome.items[outcome.reference][1]][0]
                assert now - arrived <= allowed
    for (jump, one), (next_jump, other) in pairwise(sets):
        assert jump != next_jump or one.stamp_ns < other.stamp_ns
