"""Clocks: each kind of wrong clock gets its name and figure; late messages are no wrong clock."""

from __future__ import annotations

import numpy as np
import pytest

from sam_ad_perception.core.plausibility.clock import ClockModel
from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.sensors import Modality

START = 1_700_000_000.0
CAMERA, LIDAR, THERMAL, EVENT = Modality.CAMERA, Modality.LIDAR, Modality.THERMAL, Modality.EVENT


def times(count=50, period=0.1):
    return START + period * np.arange(count)


def pairs(stamps, arrivals):
    return [(round(s * 1e9), round(a * 1e9)) for s, a in zip(stamps, arrivals, strict=True)]


def judge(config=None, offsets=None, **sensors):
    """Judge a recording: for each sensor its stamps and arrivals, seconds."""
    monitor = PlausibilityMonitor(config, offsets)
    for name, (stamps, arrivals) in sensors.items():
        monitor.observe_all(Modality(name), pairs(stamps, arrivals))
    monitor.read_ahead_done()
    return monitor


def found(monitor):
    return {str(m): f for m, f in monitor.clock_findings.items()}


@pytest.mark.parametrize('sensor', [LIDAR, THERMAL, EVENT])
@pytest.mark.parametrize('ahead', [0.05, 0.3, 2.0, 5.5, 120.25])
def test_a_clock_ahead_of_arrival_is_out_with_the_offset_to_paste(sensor, ahead):
    t = times()
    wrong = {str(sensor): (t + ahead, t + 0.012)}
    told = judge(camera=(t, t + 0.012), **wrong)
    (finding,) = found(told).values()
    assert (finding.code, finding.sensor, finding.out) == ('clock.ahead', str(sensor), True)
    assert finding.figure == pytest.approx(ahead - 0.012, abs=1e-6)
    assert f'bundler.sync.{sensor}.offset_s: {ahead}' in finding.remedy
    assert told.admit(sensor) is finding
    assert told.admit(CAMERA) is None
    pasted = judge(offsets={sensor: round(ahead * 1e9)}, camera=(t, t + 0.012), **wrong)
    assert found(pasted) == {}


@pytest.mark.parametrize(
    ('off', 'word', 'paste'),
    [
        (37.0, 'TAI', '37.0'),
        (18.0, 'GPS time', '18.0'),
        (7200.0, 'time zone', '7200.0'),
        (-19800.0, 'time zone', '-19800.0'),
        (-60.0, 'earlier', '-60.0'),
    ],
)
def test_well_known_offsets_are_named_exactly(off, word, paste):
    t = times()
    told = judge(camera=(t, t + 0.02), lidar=(t + off, t + 0.085))
    (finding,) = found(told).values()
    assert word in finding.text
    assert f'offset_s: {paste},' in finding.remedy or f'offset_s: {paste[:-2]}.' in finding.remedy


def test_a_camera_clock_ahead_takes_out_the_camera_not_the_lidar():
    t = times()
    told = judge(camera=(t + 1.0, t + 0.01), lidar=(t, t + 0.09))
    assert list(found(told)) == ['camera']


def test_stamps_of_zero_and_of_an_uptime():
    t = times()
    told = judge(camera=(t, t + 0.01), lidar=(0 * t, t + 0.05), thermal=(t - START + 4, t + 0.02))
    assert found(told)['lidar'].code == 'clock.none'
    assert found(told)['thermal'].code == 'clock.uptime'
    assert all(each.out for each in found(told).values())


@pytest.mark.parametrize('ppm', [1000, 300, -800])
def test_drift_is_told_in_ppm_with_both_ends(ppm, rng):
    t = times(1500)
    way = 0.01 + rng.exponential(0.003, t.size)
    told = judge(camera=(t, t + way), lidar=(t + ppm * 1e-6 * (t - START), t + way))
    finding = found(told)['lidar']
    assert finding.code == 'clock.drift'
    assert finding.figure == pytest.approx(ppm, rel=0.03)
    assert f'{abs(finding.figure):.0f} ppm' in finding.text


def test_drift_and_offset_are_corrected_where_the_parameter_says_so(rng):
    t = times(600)
    lidar = t + 2.0 + 500e-6 * (t - START)
    config = PlausibilityConfig(clock='correct')
    told = judge(config, camera=(t, t + 0.01), lidar=(lidar, t + 0.01))
    assert told.admit(LIDAR) is None
    fixed = [told.corrected_stamp(LIDAR, round(s * 1e9)) * 1e-9 for s in lidar]
    assert np.abs(np.array(fixed) - t).max() < 2e-3
    assert 'corrected by' in found(told)['lidar'].text


def test_a_step_is_told_with_its_time_and_size():
    t = times(100)
    stamps = np.where(t - START > 4.95, t + 1.5, t)
    told = judge(camera=(t, t + 0.01), lidar=(stamps, t + 0.05))
    finding = found(told)['lidar']
    assert finding.code == 'clock.step'
    assert finding.figure == pytest.approx(1.5, abs=1e-6)
    assert '5.0 s after the start' in finding.text
    assert finding.out


def test_one_odd_stamp_is_no_step():
    t = times(60)
    stamps = t.copy()
    stamps[30] -= 0.7
    model = ClockModel()
    for stamp_ns, arrival_ns in pairs(stamps, t + 0.01):
        model.add(stamp_ns, arrival_ns)
    assert not model.steps


LATE = {
    'a slow way': lambda t, rng: t + 0.3,
    'any delay up to 2 s': lambda t, rng: t + rng.uniform(0, 2, t.size),
    'bursts': lambda t, rng: START + 0.5 * np.ceil((t - START) / 0.5 + 1e-9),
    'all at once': lambda t, rng: 0 * t + START,
    'within a millisecond': lambda t, rng: START + 1e-5 * np.arange(t.size),
    'in any order': lambda t, rng: rng.permutation(t),
    'rewritten from the stamps': lambda t, rng: t,
    'one second late': lambda t, rng: t + 1.0,
}


@pytest.mark.parametrize('kind', LATE)
@pytest.mark.parametrize('both', [False, True])
def test_log_times_that_are_late_or_no_arrivals_blame_no_clock(kind, both, rng):
    t = times(60)
    late = LATE[kind](t, rng)
    order = np.argsort(late, kind='stable')
    told = judge(
        camera=(t[order], late[order]) if both else (t, t + 0.01), lidar=(t[order], late[order])
    )
    assert found(told) == {}


@pytest.mark.parametrize('shift', [-START, 1e6, -86400 * 400])
def test_a_simulators_time_in_a_recording_blames_only_who_differs(shift):
    t = times()
    all_off = judge(camera=(t + shift, t + 0.01), lidar=(t + shift, t + 0.09))
    assert found(all_off) == {}
    one = judge(
        camera=(t + shift, t + 0.01), lidar=(t + shift + 2, t + 0.09), thermal=(t + shift, t)
    )
    (finding,) = found(one).values()
    assert (finding.sensor, finding.out) == ('lidar', True)


def test_live_the_same_is_told_after_a_few_messages():
    monitor = PlausibilityMonitor()
    refused = []
    for i in range(20):
        now = round((START + 0.1 * i) * 1e9)
        monitor.observe(CAMERA, now, now + 10_000_000)
        monitor.observe(LIDAR, now + 300_000_000, now + 10_000_000)
        refused.append(monitor.admit(LIDAR) is not None)
    assert not any(refused[:2])
    assert all(refused[5:])
    monitor.reset()
    assert monitor.admit(LIDAR) is None


def test_the_model_stays_small_over_a_long_drive():
    model = ClockModel()
    for i in range(20_000):
        model.add(i * 10_000_000, i * 10_000_000 + 5_000_000 + i * 2000)
    assert len(model._blocks) < 600
    told = model.estimate()
    assert told is not None
    assert told.drift_ppm == pytest.approx(-200.0, rel=0.01)


@pytest.mark.parametrize('wild_ns', [0, 5, 2**31 * 10**9, -(10**9)])
@pytest.mark.parametrize('at', [2, 7, 15, 30, 31])
def test_single_damaged_stamps_are_no_step_and_shift_nothing(wild_ns, at):
    """One message in thirty carries any stamp; the clock is right all the time."""
    model, start = ClockModel(), 1_700_000_000_000_000_000
    for k in range(300):
        stamp = start + k * 100_000_000
        odd = k % 30 == at % 30
        model.add(wild_ns if odd else stamp, stamp + 20_000_000 + (k % 3) * 1_000_000)
    estimate = model.estimate()
    assert not model.steps
    assert estimate is not None
    assert estimate.least_s == pytest.approx(0.02, abs=0.002)
    assert estimate.drift_ppm == 0
    if at == 15:  # the clock is known when the first damaged stamp comes
        assert estimate.follows
