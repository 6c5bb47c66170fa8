"""Lags between motions that are known exactly, and motions that can tell none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_ad_perception.core.clock_offsets.motion_matching import LagEstimate, estimate_lags
from sam_ad_perception.core.clock_offsets.motion_track import MotionTrack
from sam_ad_perception.core.clock_offsets.stamp_timing import measure_timing

Angle = Callable[[np.ndarray], np.ndarray]


def bumps(t: np.ndarray) -> np.ndarray:
    """Pitch of a car on a street: two bands that never repeat, and a slow hill."""
    return (
        0.004 * np.sin(8.2 * t + 0.3 * np.sin(0.7 * t))
        + 0.002 * np.sin(5.1 * t + 1.0)
        + 0.02 * np.sin(0.2 * t)
    )


def track(
    angle: Angle, period: float, start: float, ahead: float = 0.0, noise: float = 0.0
) -> MotionTrack:
    """30 s of increments; stamps run ahead by `ahead`."""
    rng = np.random.default_rng(round(1e6 * period))
    times = np.arange(start, 30.0, period) + rng.uniform(
        -0.002, 0.002, len(np.arange(start, 30, period))
    )
    increments = np.diff(angle(times)) + rng.normal(0, noise, len(times) - 1)
    return MotionTrack(('pitch',), times + ahead, np.zeros(1), increments[:, None])


def only(found: list[LagEstimate]) -> LagEstimate:
    (one,) = found
    return one


@settings(max_examples=25, deadline=None)
@given(
    lag_ms=st.integers(-200, 200),
    periods=st.tuples(*2 * [st.sampled_from([0.05, 0.066, 0.1])]),
    phase=st.floats(0, 0.09),
    gain=st.sampled_from([-0.6, 1.0, 2.5]),
)
def test_any_rates_phases_and_mountings(
    lag_ms: int, periods: tuple[float, float], phase: float, gain: float
) -> None:
    one = track(bumps, periods[0], 0.0)
    other = track(lambda t: gain * bumps(t), periods[1], phase, 1e-3 * lag_ms)
    found = only(estimate_lags(one, other))
    assert found.reason == ''
    assert found.lag_s == pytest.approx(1e-3 * lag_ms, abs=5e-4)
    assert found.explained > 0.98


def test_standard_error_tells_the_spread() -> None:
    """20 drives with noise: the error that is claimed is the one that is made."""
    lags, claimed = [], []
    for i in range(20):
        rng = np.random.default_rng(i)
        tracks = []
        for ahead in (0.0, 0.059):
            clean = track(bumps, 0.1, 0.0, ahead)
            noisy = clean.increments + rng.normal(0, 3e-4, clean.increments.shape)
            tracks.append(MotionTrack(('pitch',), clean.times_s, np.zeros(1), noisy))
        found = only(estimate_lags(*tracks))
        lags.append(found.lag_s)
        claimed.append(found.standard_error_s)
    assert np.mean(lags) == pytest.approx(0.059, abs=5e-4)
    assert 0.5 < np.median(claimed) / np.std(lags) < 2.0


def test_times_within_a_sweep_and_other_axes_are_respected() -> None:
    """A lidar tells of pitch 40 ms before its stamp, and looks at it along turned axes."""
    camera = track(bumps, 0.1, 0.0)
    times = np.arange(0.05, 30.0, 0.1)
    roll = np.sin(3.3 * times) * 0.01
    pitch = bumps(times - 0.04)
    increments = np.diff(
        np.column_stack([0.8 * pitch + 0.6 * roll, 0.8 * roll - 0.6 * pitch]), axis=0
    )
    lidar = MotionTrack(('x', 'y'), times + 0.1, np.array([-0.04, -0.04]), increments)
    assert only(estimate_lags(camera, lidar)).lag_s == pytest.approx(0.1, abs=1e-3)


def test_gaps_and_outliers_do_no_harm() -> None:
    one, other = track(bumps, 0.1, 0.0), track(bumps, 0.1, 0.03, 0.08)
    broken = other.increments.copy()
    broken[50:60] = np.nan
    broken[100::30] += 0.02
    found = only(estimate_lags(one, MotionTrack(('pitch',), other.times_s, np.zeros(1), broken)))
    assert found.lag_s == pytest.approx(0.08, abs=1.5e-3)


@pytest.mark.parametrize(
    ('motion', 'reason'),
    [
        (lambda t: 0.02 * t, 'the motion varies too little'),  # a constant turn
        (lambda t: 0.01 * np.sin(2 * np.pi * 3.1 * t), 'several lags fit about as well'),
        (lambda t: 0.0 * t, 'moved in no way'),
    ],
)
def test_what_cannot_be_told_is_said_to_be_so(motion: Angle, reason: str) -> None:
    one = track(motion, 0.05, 0.0, noise=1e-3)
    other = track(motion, 0.05, 0.01)
    found = only(estimate_lags(one, other))
    assert reason in found.reason
    assert found.standard_error_s == float('inf')


def test_strangers_are_not_matched() -> None:
    one = track(bumps, 0.1, 0.0)
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 1e-3, one.increments.shape)
    found = only(estimate_lags(one, MotionTrack(('x',), one.times_s, np.zeros(1), noise)))
    assert found.reason
    assert found.standard_error_s == float('inf')


def test_short_drives_and_wrong_use_are_refused() -> None:
    one = track(bumps, 0.1, 28.0)
    assert 'too few frames' in only(estimate_lags(one, one)).reason
    long = track(bumps, 0.1, 0.0)
    assert 'intervals are seen by both' in only(estimate_lags(one, long)).reason
    with pytest.raises(ValueError, match='max_lag_s must be at least'):
        estimate_lags(long, long, 0.0)
    with pytest.raises(ValueError, match='times_s must rise'):
        MotionTrack(('x',), np.array([1.0, 1.0]), np.zeros(1), np.zeros((1, 1)))
    with pytest.raises(ValueError, match='increments must be'):
        MotionTrack(('x',), np.array([1.0, 2.0]), np.zeros(1), np.zeros((2, 1)))


def test_timing_of_a_known_rhythm() -> None:
    """A clock that is 1 % fast, 2 ms of jitter, four frames lost, one that comes late."""
    rng = np.random.default_rng(0)
    beats = np.delete(np.arange(500), [100, 101, 300, 400])
    jitter = rng.normal(0, 2e6, len(beats))
    stamps = (beats * 101e6 + jitter).astype(np.int64) + 1_700_000_000_000_000_000
    received = stamps + 12_000_000 + rng.integers(-3_000_000, 3_000_000, len(stamps))
    order = np.arange(len(stamps))
    order[[200, 201]] = [201, 200]
    timing = measure_timing(stamps[order], received[order])
    assert timing.count == 496
    assert timing.missing == 4
    assert timing.disordered == 1
    assert timing.period_s == pytest.approx(0.101, abs=5e-4)
    assert timing.jitter_s == pytest.approx(0.002, rel=0.1)
    assert timing.delay_s == pytest.approx(0.012, abs=5e-4)
    assert timing.delay_spread_s == pytest.approx(0.0027, rel=0.1)


def test_timing_of_a_single_frame_and_of_none() -> None:
    timing = measure_timing(np.array([5]), np.array([8]))
    assert (timing.count, timing.missing) == (1, 0)
    assert np.isnan(timing.period_s)
    with pytest.raises(ValueError, match='at least 1'):
        measure_timing(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
