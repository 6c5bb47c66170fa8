"""Clock offset of two sensors from their rotation rates.

The increments of the reference over its own intervals are explained by those of the other sensor
over the same intervals moved by a lag: gains for all its channels (which take up how it is
mounted), and slow terms for what drifts. The lag that leaves the least is the offset. That is the
maximum-likelihood estimate of a delay in white noise (Knapp and Carter 1976), for samples that are
neither simultaneous nor even, with outliers weighted down. Its uncertainty comes from leaving out
each eighth of the drive (jackknife), which also sees errors that last for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.clock_offsets.motion_track import MotionTrack

MINIMUM_INTERVALS = 40
MINIMUM_EXPLAINED = 0.8
"""What is left of a poorer fit is more than noise, and may lean either way."""
_TREND_PERIOD_S = 4.0
_GRID_S = 0.01
_BLOCKS = 8
_SPIKE = 5.0


@dataclass(frozen=True)
class LagEstimate:
    """By how much one sensor's stamps run ahead of another's.

    Attributes:
        channel: Channel of the reference that told it.
        lag_s: Stamp of the sensor minus stamp of the reference for one moment, seconds.
        standard_error_s: Its uncertainty, seconds; infinite where it cannot be told.
        explained: Share of the reference's motion (without its slow part) that the sensor
            explains, 0 to 1.
        reason: Why it cannot be told, in words; '' where it can.
    """

    channel: str
    lag_s: float
    standard_error_s: float
    explained: float
    reason: str = ''


def estimate_lags(
    reference: MotionTrack, other: MotionTrack, max_lag_s: float = 0.25
) -> list[LagEstimate]:
    """Estimate the lag of a sensor, from each channel of the reference on its own.

    Args:
        reference: Motion of the reference.
        other: Motion of the sensor, of any rate.
        max_lag_s: The lag is looked for within this, seconds.

    Returns:
        One estimate for each channel, the most certain first.

    Raises:
        ValueError: `max_lag_s` is not at least 0.02.
    """
    if not max_lag_s >= 2 * _GRID_S:
        raise ValueError(f'max_lag_s must be at least {2 * _GRID_S}, got {max_lag_s}')
    curves = [_Curve.of(other, k) for k in range(len(other.channels))]
    usable = [curve for curve in curves if curve is not None]
    found = []
    for k, name in enumerate(reference.channels):
        if not usable:
            few = len(other.increments) < MINIMUM_INTERVALS
            why = 'too few frames' if few else 'the sensor moved in no way that could be followed'
            found.append(_unknown(name, why))
            continue
        found.append(_Fit(reference, k, usable, max_lag_s).solve())
    return sorted(found, key=lambda each: each.standard_error_s)


def _unknown(channel: str, reason: str, explained: float = 0.0) -> LagEstimate:
    return LagEstimate(channel, float('nan'), float('inf'), explained, reason)


@dataclass(frozen=True, eq=False)
class _Curve:
    """One channel of a sensor, summed up, as a natural cubic spline through its frames.

    Attributes:
        times: (N,) seconds.
        values: (N,) sum of the increments up to each frame.
        bends: (N,) second derivatives.
        gaps: (N,) how many increments up to each frame are unknown; they are bridged evenly.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float64]
    bends: NDArray[np.float64]
    gaps: NDArray[np.int64]

    @classmethod
    def of(cls, track: MotionTrack, channel: int) -> _Curve | None:
        """Make the curve of a channel; None where too little of it is known, or all is still."""
        increments = _clean(track, channel)
        known = np.isfinite(increments)
        if np.count_nonzero(known) < MINIMUM_INTERVALS or not np.ptp(increments[known]) > 0:
            return None
        times = track.times_s + track.shifts_s[channel]
        rate = np.median(increments[known] / np.diff(times)[known])
        bridged = np.where(known, increments, rate * np.diff(times))
        values = np.concatenate([[0.0], np.cumsum(bridged)])
        gaps = np.concatenate([[0], np.cumsum(~known)])
        return cls(times, values, _bend(times, values), gaps)

    def increment(
        self, start: NDArray[np.float64], end: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(M,) increments between (M,) times; NaN outside the drive and across gaps."""
        inside = (start >= self.times[0]) & (end <= self.times[-1])
        first = np.clip(np.searchsorted(self.times, start, 'right') - 1, 0, None)
        last = np.clip(np.searchsorted(self.times, end), None, len(self.times) - 1)
        inside &= self.gaps[last] == self.gaps[first]
        return np.where(inside, self._at(end) - self._at(start), np.nan)

    def _at(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        t = self.times
        i = np.clip(np.searchsorted(t, x) - 1, 0, len(t) - 2)
        h = t[i + 1] - t[i]
        a, b = (t[i + 1] - x) / h, (x - t[i]) / h
        bent = (a**3 - a) * self.bends[i] + (b**3 - b) * self.bends[i + 1]
        return np.asarray(a * self.values[i] + b * self.values[i + 1] + bent * h * h / 6)


def _bend(times: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second derivatives of the natural cubic spline, by elimination (Thomas)."""
    h = np.diff(times)
    right = 6.0 * np.diff(np.diff(values) / h)
    middle = 2.0 * (h[:-1] + h[1:])
    for i in range(1, len(right)):
        factor = h[i] / middle[i - 1]
        middle[i] -= factor * h[i]
        right[i] -= factor * right[i - 1]
    bends = np.zeros(len(times))
    for i in range(len(right) - 1, -1, -1):
        bends[i + 1] = (right[i] - (h[i + 1] * bends[i + 2] if i + 2 < len(bends) else 0.0)) / (
            middle[i]
        )
    return bends


def _without_spikes(track: MotionTrack, channel: int) -> NDArray[np.float64]:
    """(N,) increments, NaN where one is far off both its neighbours: vehicles have inertia."""
    increments = track.increments[:, channel].copy()
    rates = increments / np.diff(track.times_s)
    if np.count_nonzero(np.isfinite(rates)) < MINIMUM_INTERVALS:
        return increments
    median = np.median(np.stack([rates[:-2], rates[1:-1], rates[2:]]), axis=0)
    apart = np.abs(rates[1:-1] - median)
    with np.errstate(invalid='ignore'):
        usual = np.ptp(np.nanpercentile(rates, (5, 95))) + _SPIKE * np.nanpercentile(apart, 80)
        spikes = apart > usual
    increments[1:-1][spikes] = np.nan
    return increments


def _clean(track: MotionTrack, channel: int) -> NDArray[np.float64]:
    """(N,) increments without spikes, smoothed over three intervals; NaN beside unknown ones.

    Interpolation averages the noise of its neighbours, most half way between two frames, and so
    would make lags of half a period look better than they are. What is smooth already is spared.
    """
    durations = np.diff(track.times_s)
    rates = _without_spikes(track, channel) / durations
    smooth = np.full_like(rates, np.nan)
    smooth[1:-1] = 0.25 * rates[:-2] + 0.5 * rates[1:-1] + 0.25 * rates[2:]
    return np.asarray(smooth * durations)


class _Fit:
    """Explains one channel of the reference by a sensor that lags."""

    def __init__(
        self, reference: MotionTrack, channel: int, curves: list[_Curve], max_lag_s: float
    ) -> None:
        times = reference.times_s + reference.shifts_s[channel]
        self._channel = reference.channels[channel]
        start, end, y = times[:-1], times[1:], _clean(reference, channel)
        known = np.isfinite(y)
        for curve in curves:  # whatever the lag, there must be a counterpart
            known &= (start - max_lag_s >= curve.times[0]) & (end + max_lag_s <= curve.times[-1])
        self._start, self._end, self._y = start[known], end[known], y[known]
        self._curves = curves
        self._max_lag_s = max_lag_s
        self._trend = self._slow_terms()
        self._weights = np.ones(len(self._y))

    def solve(self) -> LagEstimate:
        """Find the lag and how sure it is."""
        count, terms = len(self._y), self._trend.shape[1] + len(self._curves)
        if count < max(MINIMUM_INTERVALS, 2 * terms):
            return _unknown(self._channel, f'only {count} intervals are seen by both')
        steps = round(self._max_lag_s / _GRID_S)
        grid = _GRID_S * np.arange(-steps, steps + 1)
        costs = np.zeros(0)
        for _ in range(4):
            costs = np.array([self._cost(lag) for lag in grid])
            left = self._left(float(grid[np.argmin(costs)]))
            scale = 2.5 * 1.4826 * float(np.nanmedian(np.abs(left))) + 1e-12
            self._weights = 1.0 / (1.0 + (np.nan_to_num(left) / scale) ** 2)
        still = self._cost(None)
        best = int(np.argmin(costs))
        explained = float(1.0 - costs[best] / max(still, 1e-300))
        if best in (0, len(grid) - 1):
            return _unknown(
                self._channel, f'no lag within {self._max_lag_s:g} s fits best', explained
            )
        # Two lags that differ by chance alone differ by about this in the cost.
        noise = 1.0 + 12.0 / max(self._weights.sum() - terms, 1.0)
        if costs[best] * noise > min(still, float(np.median(costs))):
            return _unknown(self._channel, 'the motion varies too little', explained)
        valleys = (costs[1:-1] < costs[:-2]) & (costs[1:-1] <= costs[2:])
        rivals = [int(i) + 1 for i in np.flatnonzero(valleys) if abs(i + 1 - best) > 2]
        bottom = self._cost(self._refine(float(grid[best])))
        if any(self._cost(self._refine(float(grid[i]))) < bottom * noise for i in rivals):
            return _unknown(self._channel, 'several lags fit about as well', explained)
        if explained < MINIMUM_EXPLAINED:
            return _unknown(
                self._channel,
                f'only {explained:.0%} of the motion is explained, {MINIMUM_EXPLAINED:.0%} needed',
                explained,
            )
        lag = self._refine(float(grid[best]))
        error = self._jackknife(lag)
        return LagEstimate(self._channel, lag, error, explained)

    def _slow_terms(self) -> NDArray[np.float64]:
        """(M, K) increments of cosines down to `_TREND_PERIOD_S`, a constant drift included."""
        if not len(self._start):
            return np.zeros((0, 1))
        middle = 0.5 * (self._start + self._end)
        length = max(float(np.ptp(middle)), 1e-9)
        waves = np.arange(int(2 * length / _TREND_PERIOD_S) + 1)
        phase = np.pi * (middle - middle[0]) / length
        return np.asarray(np.cos(phase[:, None] * waves) * (self._end - self._start)[:, None])

    def _left(
        self, lag: float | None, keep: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """What the sensor leaves unexplained at a lag (None: without it); NaN where it is unknown.

        Only the intervals in `keep` enter the fit; the others are NaN, too.
        """
        terms = [self._trend]
        if lag is not None:
            moved = [c.increment(self._start + lag, self._end + lag) for c in self._curves]
            terms.append(np.column_stack(moved))
        A = np.hstack(terms)
        used = np.isfinite(A).all(axis=1)
        if keep is not None:
            used &= keep
        roots = np.sqrt(self._weights[used])
        gains = np.linalg.lstsq(A[used] * roots[:, None], self._y[used] * roots, rcond=None)[0]
        left = np.full(len(self._y), np.nan)
        left[used] = self._y[used] - A[used] @ gains
        return left

    def _cost(self, lag: float | None, keep: NDArray[np.bool_] | None = None) -> float:
        """Weighted mean square of what is left."""
        left = self._left(lag, keep)
        used = np.isfinite(left)
        total = float(self._weights[used].sum())
        return float(np.sum(self._weights[used] * left[used] ** 2)) / max(total, 1e-9)

    def _refine(self, lag: float, keep: NDArray[np.bool_] | None = None) -> float:
        """Slide to the bottom of the valley, by parabolas of half a grid step."""
        step = 0.5 * _GRID_S
        for _ in range(6):
            low, here, high = (self._cost(lag + s, keep) for s in (-step, 0.0, step))
            bend = low - 2.0 * here + high
            move = step * (low - high) / (2.0 * bend) if bend > 0 else 0.0
            lag += float(np.clip(move, -step, step))
            if abs(move) < 1e-5:
                break
        return lag

    def _jackknife(self, lag: float) -> float:
        """Standard error of the lag, seconds, by leaving out each block in turn."""
        block = np.arange(len(self._y)) * _BLOCKS // len(self._y)
        lags = np.array([self._refine(lag, block != k) for k in range(_BLOCKS)])
        return float(np.sqrt((_BLOCKS - 1) / _BLOCKS * np.sum((lags - lags.mean()) ** 2)))
