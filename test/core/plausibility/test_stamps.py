"""Damaged stamps and restarts: told from the order of recording, and not from late recorders."""

import numpy as np
import pytest

from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.plausibility.stamps import find_odd_stamps, find_restarts
from sam_ad_perception.core.sensors import Modality

S, MS = 1_000_000_000, 1_000_000
START = 1_700_000_000 * S
CAMERA, LIDAR = Modality.CAMERA, Modality.LIDAR


def stamps(count=100, period_s=0.1, start_ns=START):
    return start_ns + np.arange(count) * round(period_s * S)


@pytest.mark.parametrize('at', [0, 1, 3, 50, 98, 99])
@pytest.mark.parametrize('off_s', [4.0, -4.0, -1.5, 400e6, -1.7e9])
def test_a_single_odd_stamp_is_found_wherever_it_is(at, off_s):
    sent = stamps()
    sent[at] += round(off_s * S)
    assert np.flatnonzero(find_odd_stamps(sent, stamps() + 10 * MS)).tolist() == [at]


def test_gaps_steps_drift_and_late_recording_are_no_odd_stamps(rng):
    sent = stamps()
    gap, step, drift = sent.copy(), sent.copy(), sent + np.arange(100) * MS
    gap[50:] += 3 * S
    step[50:] -= 7 * S
    for each, received in ((gap, gap), (step, sent), (drift, sent)):
        assert not find_odd_stamps(each, received + 10 * MS).any()
    for _ in range(50):
        received = sent + rng.integers(0, 2 * S, 100)
        order = np.argsort(received)
        assert not find_odd_stamps(sent[order], received[order]).any()
        assert find_restarts({'a': (sent[order], received[order])}) == {'a': []}
    assert not find_odd_stamps(sent, np.full(100, START)).any()


def loops(first, second, apart_s):
    """Two runs of one sensor, recorded one behind the other."""
    received = np.concatenate([stamps(len(first)), stamps(len(second)) + round(apart_s * S)])
    return np.concatenate([first, second]), received + 10 * MS


@pytest.mark.parametrize(
    ('shift_s', 'apart_s'),
    [(0.0, 12.0), (-3600.0, 12.0), (86400.0, 12.0), (86400.0, 86400.0)],
    ids=['a bag in a loop', 'an earlier bag', 'a later bag', 'a day between'],
)
def test_restarts_of_all_sensors_are_found(shift_s, apart_s):
    again = stamps() + round(shift_s * S)
    streams = {
        'camera': loops(stamps(), again, apart_s),
        'lidar': loops(stamps(), again + 2 * S, apart_s),
    }
    assert find_restarts(streams) == {'camera': [100], 'lidar': [100]}
    kept = {'camera': streams['camera'], 'lidar': loops(stamps(), stamps() + 12 * S, 12.0)}
    if apart_s == 12.0:
        assert find_restarts(kept) == {'camera': [], 'lidar': []}, 'one clock that is set'


def test_a_sensor_without_stamps_or_that_ends_before_it_hinders_no_restart():
    camera = loops(stamps(), stamps(), 12.0)
    streams = {
        'camera': camera,
        'thermal': (stamps(), stamps() + 10 * MS),
        'lidar': (np.zeros(200, np.int64), camera[1]),
    }
    assert find_restarts(streams) == {'camera': [100], 'thermal': [100], 'lidar': [100]}


@pytest.mark.parametrize('count', [8, 40])
@pytest.mark.parametrize('odd', [{0: -START}, {3: 900 * S}, {1: -5 * S, 4: 50 * S}])
def test_damaged_stamps_among_the_first_leave_a_clock_judged(count, odd):
    sent = stamps(count) + 37 * S
    for k, off in odd.items():
        sent[k] += off if off != -START else -int(sent[k])
    if len(odd) > 0.2 * count:
        pytest.skip('more than a few')
    for recorded in (True, False):
        monitor = PlausibilityMonitor(PlausibilityConfig())
        received = stamps(count) + 10 * MS
        pairs = list(zip(sent.tolist(), received.tolist(), strict=True))
        right = list(zip(stamps(count).tolist(), received.tolist(), strict=True))
        if recorded:
            monitor.observe_all(CAMERA, right)
            monitor.observe_all(LIDAR, pairs)
            monitor.read_ahead_done()
        else:
            for of_camera, of_lidar in zip(right, pairs, strict=True):
                monitor.observe(CAMERA, *of_camera)
                monitor.observe(LIDAR, *of_lidar)
            monitor.observe(CAMERA, received[-1] + S, received[-1] + S)
        (finding,) = monitor.clock_findings.values()
        assert (finding.code, finding.sensor) == ('clock.ahead', 'lidar')
        assert 'bundler.sync.lidar.offset_s: 37.0' in finding.remedy


def test_one_odd_stamp_is_left_out_live_and_the_clock_stays():
    monitor = PlausibilityMonitor(PlausibilityConfig())
    used = []
    for k, stamp in enumerate(stamps(60).tolist()):
        sent = stamp + 4 * S if k == 30 else stamp
        monitor.observe(LIDAR, sent, stamp + 10 * MS)
        used.append(monitor.admit(LIDAR, sent) is None)
    assert [k for k, each in enumerate(used) if not each] == [30]
    assert [(f.finding.code, f.count) for f in monitor.findings()] == [('clock.stamp', 1)]
