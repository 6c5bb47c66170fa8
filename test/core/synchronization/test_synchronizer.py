"""The synchronizer's contract, case by case: what a vehicle does to its sensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.settings.parameters import ParameterError, build, leaves
from sam_ad_perception.core.synchronization.config import SensorConfig, SynchronizerConfig
from sam_ad_perception.core.synchronization.results import DroppedReference, Outcome, SyncedSet
from sam_ad_perception.core.synchronization.synchronizer import Synchronizer, make_synchronizer

MS, S = 1_000_000, 1_000_000_000
LATENCY = 5 * MS
KEYS = ('camera', 'thermal', 'event', 'lidar')
Arrival = tuple[int, str, int]
Result = Outcome[str, int]


def stream(
    key: str, start_ms: int = 0, end_ms: int = 4000, period_ms: int = 100, offset_ms: int = 0
) -> list[Arrival]:
    """Frames (arrival, key, stamp) at a steady rate; `offset` moves the stamps alone."""
    return [
        (t * MS + LATENCY, key, (t + offset_ms) * MS) for t in range(start_ms, end_ms, period_ms)
    ]


def make(
    deadline_s: float = 0.05, keys: Iterable[str] = KEYS, **configs: SensorConfig
) -> Synchronizer[str, int]:
    sensors = {key: configs.get(key, SensorConfig()) for key in keys}
    return Synchronizer(sensors, list(sensors), deadline_s=deadline_s)


def timed(sync: Synchronizer[str, int], arrivals: list[Arrival]) -> list[tuple[int, Result]]:
    """Play arrivals, polled in time as a node would: (when, what)."""
    out: list[tuple[int, Result]] = []
    for now, key, stamp in sorted(arrivals, key=lambda a: a[0]):
        while (due := sync.next_deadline_ns) is not None and due < now:
            out += [(due, outcome) for outcome in sync.poll(due)]
        out += [(now, outcome) for outcome in sync.add(key, stamp, stamp, now)]
    while (due := sync.next_deadline_ns) is not None:
        out += [(due, outcome) for outcome in sync.poll(due)]
    return out


def sets_of(sync: Synchronizer[str, int], arrivals: list[Arrival]) -> list[SyncedSet[str, int]]:
    return [o for _, o in timed(sync, arrivals) if isinstance(o, SyncedSet)]


def errors_ms(sets: list[SyncedSet[str, int]], key: str) -> list[float]:
    return [(s.items[key][0] - s.stamp_ns) / MS for s in sets if key in s.items]


def all_streams(without: str = '') -> list[Arrival]:
    """Four sensors at 10 Hz with phases of up to 20 ms."""
    phases = {'camera': 0, 'thermal': 8, 'event': -12, 'lidar': 20}
    return [
        arrival
        for key, phase in phases.items()
        if key != without
        for arrival in stream(key, 100 + phase, 4100 + phase)
    ]


def test_all_sensors_present() -> None:
    sync = make()
    sets = sets_of(sync, all_streams())
    assert [s.stamp_ns // MS for s in sets] == list(range(100, 4100, 100))
    assert all(s.reference == 'camera' for s in sets)
    assert errors_ms(sets, 'thermal') == [8] * 40
    assert errors_ms(sets, 'event') == [-12] * 40
    assert errors_ms(sets, 'lidar') == [20] * 40
    assert not any(s.absent for s in sets)
    assert not any(s.beside for s in sets), (
        'instants have no parts that a neighbour measured nearer'
    )


@pytest.mark.parametrize('gone', KEYS)
def test_sensor_absent_from_the_start(gone: str) -> None:
    sync = make()
    sets = sets_of(sync, all_streams(without=gone))
    leader = 'thermal' if gone == 'camera' else 'camera'
    assert {s.reference for s in sets} == {leader}
    assert len(sets) == 40
    assert all(s.absent == {gone: 'never seen'} for s in sets)
    for key in set(KEYS) - {gone}:
        assert len(errors_ms(sets, key)) == 40


@pytest.mark.parametrize('gone', KEYS)
def test_sensor_stops_and_returns(gone: str) -> None:
    arrivals = [a for a in all_streams() if not (a[1] == gone and 1000 * MS < a[2] < 3000 * MS)]
    sync = make()
    results = timed(sync, arrivals)
    sets = [o for _, o in results if isinstance(o, SyncedSet)]
    stamps = [s.stamp_ns // MS for s in sets]
    assert all(80 <= b - a <= 120 for a, b in pairwise(stamps)), 'the output never pauses'
    after = [s for s in sets if 3100 * MS <= s.stamp_ns <= 4000 * MS]
    assert {s.reference for s in after} == {'camera'}
    assert all(not s.absent for s in after)
    during = [s for s in sets if 1600 * MS < s.stamp_ns < 2900 * MS]
    assert all(s.absent[gone].startswith('no new frame for ') for s in during)
    if gone == 'camera':
        assert {s.reference for s in during} == {'thermal'}
    # Nobody waits for an absent sensor: its neighbours' next frame is the latest to wait for.
    waits = [
        when - o.stamp_ns - LATENCY for when, o in results if 1700 * MS < o.stamp_ns < 2900 * MS
    ]
    assert max(waits) <= 32 * MS


def test_camera_then_thermal_stop_and_return() -> None:
    stops = {'camera': (1000, 4000), 'thermal': (2000, 3000), 'event': (0, 9000)}
    arrivals = [
        a
        for key, phase in (('camera', 0), ('thermal', 8), ('event', 0), ('lidar', 20))
        for a in stream(key, 100 + phase, 5000 + phase)
        if not stops.get(key, (0, 0))[0] * MS < a[2] < stops.get(key, (0, 0))[1] * MS
    ]
    sync = make()
    sets = [s for s in sets_of(sync, arrivals) if s.stamp_ns <= 4900 * MS]
    leaders = [s.reference for s in sets]
    changes = [leaders[0], *(b for a, b in pairwise(leaders) if a != b)]
    assert changes == ['camera', 'thermal', 'lidar', 'thermal', 'camera']
    stamps = [s.stamp_ns // MS for s in sets]
    assert all(0 < b - a <= 130 for a, b in pairwise(stamps))


def test_late_frame_of_an_overdue_reference_is_superseded() -> None:
    arrivals = [a for a in all_streams() if a[:2] != (1505 * MS, 'camera')]
    arrivals.append((1690 * MS, 'camera', 1500 * MS))  # 190 ms late; thermal led meanwhile
    sync = make()
    drops = [o for _, o in timed(sync, arrivals) if isinstance(o, DroppedReference)]
    assert [(d.reference, d.stamp_ns // MS, d.fate) for d in drops] == [
        ('camera', 1500, 'superseded')
    ]
    assert sync.counters['camera', 'superseded'] == 1
    assert sync.counters['thermal', 'bundle'] == 1


def test_return_within_the_same_moment_repeats_no_set() -> None:
    """Thermal has led and waits; the camera frame of that moment takes its place."""
    sync = make(keys=('camera', 'thermal', 'event'))
    for i in range(10):
        for key in ('camera', 'thermal', 'event'):
            sync.add(key, i * 100 * MS, i, i * 100 * MS)
    assert sync.poll(1060 * MS) == []  # the camera is overdue
    assert sync.add('thermal', 1065 * MS, 10, 1065 * MS) == []  # waits for camera and event
    (drop,) = sync.add('camera', 1064 * MS, 10, 1070 * MS)
    assert isinstance(drop, DroppedReference)
    assert (drop.reference, drop.fate) == ('thermal', 'taken_back')
    (bundle,) = sync.poll(1200 * MS)
    assert isinstance(bundle, SyncedSet)
    assert (bundle.reference, bundle.items['thermal'][0] // MS) == ('camera', 1065)


@pytest.mark.parametrize('length_ms', [250, 300, 450, 700, 1500, 4000])
@pytest.mark.parametrize('clock', ['goes on', 'loops too'])
def test_bag_loop_at_any_point(length_ms: int, clock: str) -> None:
    """Three loops; `now` is a wall clock, or is set back with the stamps."""
    one = sorted(a for a in all_streams() if a[2] < (100 + length_ms) * MS)
    sync = make()
    out: list[Result] = []
    for loop in range(3):
        for now, key, stamp in one:
            shift = loop * length_ms * MS if clock == 'goes on' else 0
            out += sync.add(key, stamp, stamp, now + shift)
    out += sync.flush()
    leads = [o.stamp_ns for o in out if isinstance(o, SyncedSet) and o.reference == 'camera']
    frames = sum(key == 'camera' for _, key, _ in one)
    # A loop shorter than a time jump is known by three late frames: two are lost, no more.
    lost = 2 if length_ms <= 700 else 0
    assert len(leads) >= 3 * frames - 2 * lost
    assert sync.time_jumps >= 2
    assert sync.counters['camera', 'reference'] == sum(
        sync.counters.get(('camera', fate), 0)
        for fate in ('bundle', 'superseded', 'taken_back', 'required_absent')
    )


def test_constant_offset_is_reported_and_then_paired_right() -> None:
    """Stamps of the thermal camera run 59 ms ahead, at 10 Hz: the neighbour is nearer."""
    arrivals = stream('camera') + stream('thermal', offset_ms=59)
    wrong = make(keys=('camera', 'thermal'))
    assert errors_ms(sets_of(wrong, arrivals), 'thermal') == [-41] * 39
    assert wrong.report()['thermal'].offset_ns == 59 * MS
    assert wrong.report()['thermal'].doubt.startswith('stamps are 59 ms ahead of the reference')
    assert wrong.report()['camera'].doubt == ''
    config = SensorConfig(offset_s=0.059)
    right = make(keys=('camera', 'thermal'), thermal=config)
    assert errors_ms(sets_of(right, arrivals), 'thermal') == [0] * 40
    assert right.report()['thermal'].offset_ns == 0
    assert right.report()['thermal'].doubt == ''
    narrow = make(keys=('camera', 'thermal'), thermal=SensorConfig(tolerance_s=0.03))
    reasons = {s.absent.get('thermal') for s in sets_of(narrow, arrivals)[5:]}
    assert reasons == {'no frame within 30 ms of the reference, the nearest is 41.0 ms before it'}


def test_equal_stamps_leave_at_once() -> None:
    """Frames with one stamp, as a trigger gives: the last one completes the set."""
    sync = make()
    for i in range(20):
        t = i * 100 * MS
        for later, key in enumerate(KEYS[:-1]):
            assert sync.add(key, t, i, t + later * MS) == []
        (bundle,) = sync.add('lidar', t, i, t + 4 * MS)
        assert isinstance(bundle, SyncedSet)
        assert [item for _, item in bundle.items.values()] == [i] * 4


def test_slow_lidar_beside_a_fast_camera() -> None:
    arrivals = stream('camera', 0, 3000, 33) + stream('lidar', 7, 3000, 100)
    nearest = SensorConfig(tolerance_s=0.051)
    results = timed(make(keys=('camera', 'lidar'), lidar=nearest), arrivals)
    assert len(results) == 91
    for when, outcome in results[10:-5]:
        assert isinstance(outcome, SyncedSet)
        error = outcome.items['lidar'][0] - outcome.stamp_ns
        assert abs(error) <= 50 * MS
        # Known as soon as the next sweep cannot be nearer: no wait for one that has passed.
        assert when - outcome.stamp_ns - LATENCY <= max(error, 0)


def test_stall_of_everything() -> None:
    arrivals = [
        (now + (5 * S if stamp >= 2 * S else 0), key, stamp + (5 * S if stamp >= 2 * S else 0))
        for now, key, stamp in all_streams()
    ]
    sync = make()
    sets = sets_of(sync, arrivals)
    assert [s.stamp_ns // MS for s in sets if s.reference == 'camera'] == [
        *range(100, 2000, 100),
        *range(7000, 9100, 100),
    ]
    assert sync.time_jumps == 0
    assert len(sets) <= 42, 'at most one set of another sensor on either side of the stall'


def test_lead_period_thins_out_a_fast_reference() -> None:
    """Event packets come at 250 Hz; alone, they lead at 20 Hz, and none is counted as dropped."""
    sync = make(keys=('event',), event=SensorConfig(min_reference_period_s=0.05, queue_size=2000))
    stamps = [s.stamp_ns // MS for s in sets_of(sync, stream('event', 0, 2000, 4))]
    assert stamps == list(range(0, 2000, 52))
    assert sync.counters['event', 'reference'] == len(stamps)


def test_deadline_is_kept_and_counted_from_the_arrival() -> None:
    sync = make(deadline_s=0.03, keys=('camera', 'thermal'))
    assert sync.add('camera', 0, 0, 7 * MS) == []
    assert sync.next_deadline_ns == 37 * MS
    assert sync.poll(37 * MS - 1) == []
    (bundle,) = sync.poll(37 * MS)
    assert isinstance(bundle, SyncedSet)
    assert bundle.absent == {'thermal': 'never seen'}


def test_what_comes_after_the_deadline_does_not_change_the_set() -> None:
    """Nobody polled; the frame that arrives too late is not in the set it brings out."""
    sync = make(keys=('camera', 'thermal'))
    sync.add('camera', 0, 0, 0)
    first, *_ = sync.add('thermal', 1 * MS, 1, 60 * MS)
    assert isinstance(first, SyncedSet)
    assert set(first.items) == {'camera'}


def test_required_sensor() -> None:
    sync = make(keys=('camera', 'thermal'), thermal=SensorConfig(required=True))
    results = timed(sync, stream('camera', 0, 500) + stream('thermal', 0, 300))
    assert [isinstance(o, SyncedSet) for _, o in results] == [True] * 3 + [False] * 2
    drop = results[3][1]
    assert isinstance(drop, DroppedReference)
    assert drop.reason == (
        'thermal is required: no frame within 50 ms of the reference, '
        'the nearest is 100.0 ms before it'
    )
    assert sync.counters['camera', 'required_absent'] == 2


def test_duplicates_late_frames_and_disabled_sensors_are_counted() -> None:
    sync = make(keys=('camera', 'thermal', 'event'), event=SensorConfig(enabled=False))
    results = timed(
        sync,
        stream('camera')
        + stream('camera')
        + stream('thermal')
        + [(2050 * MS, 'thermal', 1000 * MS + 1), (3 * S, 'event', 3 * S)],
    )
    assert len([o for _, o in results if isinstance(o, SyncedSet)]) == 40
    assert sync.time_jumps == 1, 'a stamp a second back is a jump'
    counts = sync.counters
    assert counts['camera', 'duplicate'] == 40
    assert counts['event', 'disabled'] == 1
    late = make(keys=('camera', 'thermal'))
    timed(late, [*stream('camera'), *stream('thermal'), (2050 * MS, 'thermal', 1601 * MS)])
    assert late.counters['thermal', 'late'] == 1
    assert late.time_jumps == 0


def test_frozen_stamps_are_no_sign_of_life() -> None:
    """A camera driver that repeats one frame for ever is replaced like a silent one."""
    frozen = [(now, key, min(stamp, S)) for now, key, stamp in stream('camera')]
    sets = sets_of(make(keys=('camera', 'thermal')), frozen + stream('thermal'))
    assert {s.reference for s in sets if s.stamp_ns > 1200 * MS} == {'thermal'}
    assert sets[-1].stamp_ns == 3900 * MS


def test_reference_with_a_clock_behind_is_believed_again() -> None:
    """Thermal's clock is an hour ahead; after it led, the camera's frames seem an hour late."""
    hour = 3600 * S
    camera = [a for a in stream('camera', 0, 8000) if not 2000 * MS < a[2] < 3000 * MS]
    thermal = [(now, key, stamp + hour) for now, key, stamp in stream('thermal', 0, 8000)]
    sync = make(keys=('camera', 'thermal'))
    sets = sets_of(sync, camera + thermal)
    assert {s.reference for s in sets if 2300 * MS < s.stamp_ns - hour < 2900 * MS} == {'thermal'}
    back = [s.stamp_ns // MS for s in sets if s.reference == 'camera' and s.stamp_ns > 2900 * MS]
    assert back[0] <= 3700
    assert back[-1] == 7900
    assert sync.time_jumps == 1


def test_a_set_leaves_when_the_sensor_that_it_waits_for_falls_silent() -> None:
    """Long before the deadline, and although nothing else arrives: a poll at that time does it."""
    sync = make(deadline_s=2.0, keys=('camera', 'lidar'), lidar=SensorConfig(max_age_s=0.5))
    lidar = stream('lidar', 0, 1001, 400, offset_ms=10)
    results = timed(sync, [*stream('camera', 0, 1001, 200), *lidar])
    last = [when for when, o in results if isinstance(o, SyncedSet) and o.stamp_ns == 1000 * MS]
    assert last == [800 * MS + LATENCY + 500 * MS]


def test_who_takes_the_lead_goes_back_no_further_than_its_maximal_age() -> None:
    """The camera is slow, so it is missed late; what the other saw until then is old news."""
    ages = {'camera': SensorConfig(max_age_s=5.0), 'thermal': SensorConfig(max_age_s=0.1)}
    sync = make(keys=ages, **ages)
    arrivals = [*stream('camera', 0, 4001, 1000), *stream('thermal', 0, 7000, 50)]
    results = timed(sync, arrivals)
    led = [(when, o.stamp_ns) for when, o in results if getattr(o, 'reference', '') == 'thermal']
    takeover = min(when for when, _ in led)
    assert 5000 * MS < takeover < 6000 * MS
    assert takeover - min(stamp for _, stamp in led) <= 100 * MS + LATENCY


def test_rogue_stamp_in_the_future_is_survived() -> None:
    arrivals = [*all_streams(), (2050 * MS, 'camera', 900 * S)]
    sync = make()
    stamps = [s.stamp_ns // MS for s in sets_of(sync, arrivals) if s.reference == 'camera']
    assert set(range(100, 4100, 100)) <= set(stamps)
    assert sync.time_jumps == 1


def test_slow_replay_keeps_its_leader() -> None:
    """At a tenth of the speed on a wall clock the rhythm of the arrivals counts."""
    slowed = [(10 * now, key, stamp) for now, key, stamp in all_streams()]
    slow = SensorConfig(max_age_s=5.0)
    sets = sets_of(make(**dict.fromkeys(KEYS, slow)), slowed)
    assert [s.stamp_ns // MS for s in sets if s.reference == 'camera'] == [*range(100, 4100, 100)]
    assert {s.reference for s in sets if s.stamp_ns <= 4000 * MS} == {'camera'}


@pytest.mark.parametrize('now', [2**62, 2**63, 2**64 - 5_000_000])
def test_an_arrival_at_the_end_of_time_ends(now: int) -> None:
    sync = make(keys=('camera', 'thermal'))
    timed(sync, stream('camera', 0, 500) + stream('thermal', 0, 500))
    out = sync.add('camera', 600 * MS, 0, now) + sync.poll(now + 1) + sync.flush()
    assert [o.stamp_ns for o in out] == [600 * MS]


def test_memory_is_bounded() -> None:
    """No reference ever comes; then one comes after many frames of another sensor."""
    sensors = {'camera': SensorConfig(max_age_s=1e6), 'thermal': SensorConfig(queue_size=20)}
    sync: Synchronizer[str, object] = Synchronizer(sensors, ['camera'])
    for i in range(10_000):
        sync.add('thermal', i * MS, object(), i * MS)
    counts = sync.counters
    assert counts['thermal', 'overflow'] == 10_000 - 20
    (bundle,) = sync.add('camera', 9_990 * MS, None, 10_000 * MS)
    assert isinstance(bundle, SyncedSet)
    assert bundle.items['thermal'][0] == 9_990 * MS


def test_waiting_references_are_bounded() -> None:
    """With a deadline of minutes, the oldest reference leaves when the queue is full."""
    sync = make(600.0, ('camera', 'thermal'), camera=SensorConfig(queue_size=5))
    sync.add('thermal', 0, 0, 0)
    out = [o for i in range(1, 40) for o in sync.add('camera', i * MS, i, i * MS)]
    assert [o.stamp_ns // MS for o in out] == list(range(1, 35))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: make().add('radar', 0, 0, 0), "one of .*camera.* got 'radar'"),
        (lambda: Synchronizer({'a': SensorConfig()}, ['b']), r"priority names \['b'\]"),
        (lambda: Synchronizer({'a': SensorConfig(enabled=False)}, ['a']), 'no enabled sensor'),
    ],
)
def test_wrong_use_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_configuration_of_the_live_sensors() -> None:
    config = SynchronizerConfig()
    assert config.sensors[Modality.LIDAR].sweep_stamp == 'auto'
    assert not config.sensors[Modality.DEPTH].enabled
    changed = build(SynchronizerConfig, {'thermal.offset_s': 0.059, 'reference': ['thermal']})
    assert changed.thermal.offset_s == 0.059
    sync: Synchronizer[Modality, None] = make_synchronizer(changed)
    (bundle,) = [*sync.add(Modality.THERMAL, 59 * MS, None, 0), *sync.flush()]
    assert (bundle.reference, bundle.stamp_ns) == (Modality.THERMAL, 0)
    for wrong in ({'reference': ['camera', 'camera']}, {'lidar.sweep_stamp': 'first'}):
        with pytest.raises(ParameterError):
            build(SynchronizerConfig, wrong)
    assert all(leaf.description for leaf in leaves(SynchronizerConfig).values())
