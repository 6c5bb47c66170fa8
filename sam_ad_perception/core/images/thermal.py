"""Thermal images from counts to [0, 1]: a fixed range, a range that follows slowly, or per frame.

A camera that measures (radiometric) delivers 16-bit counts that stand for temperature; one with
automatic gain control (AGC) delivers 8 bits whose meaning changes from frame to frame. A network
must see on the vehicle what it saw in training, so the mode belongs to the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

CELSIUS_ZERO = 273.15
"""0 degrees Celsius in kelvin."""
UNITS = ('counts', 'kelvin', 'celsius')
"""What the ends of a fixed range may be given in."""
_LEVELS = 1 << 16
_AGC_LEVELS = 256
_STEP_BACK_NS = 1_000_000_000  # frames of one stream in other order are less than this apart
_STREAMS_KEPT = 64


@dataclass(frozen=True)
class PlanckConstants:
    """Calibration of a FLIR camera: what its raw counts say about an ideal black surface.

    `T = B / ln(R1 / (R2 (counts + O)) + F)` kelvin; the five numbers are in the camera's own
    files (tags PlanckR1 ... PlanckR2). Emissivity, reflection and air are left out, as TLinear
    output of the cameras leaves them out by default.

    Attributes:
        r1: R1.
        b: B, kelvin.
        f: F.
        o: O, counts.
        r2: R2.

    Raises:
        ValueError: A constant is out of range.
    """

    r1: float
    b: float
    f: float
    o: float
    r2: float

    def __post_init__(self) -> None:
        for name in ('r1', 'b', 'f', 'r2'):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f'{name} must be positive and finite, got {getattr(self, name)}')
        if not math.isfinite(self.o):
            raise ValueError(f'o must be finite, got {self.o}')


@dataclass(frozen=True)
class FixedRange:
    """The same temperatures (or counts) are always the same brightness.

    Attributes:
        low: What becomes 0, in `unit`.
        high: What becomes 1, in `unit`.
        unit: `counts`, `kelvin` or `celsius`.
        kelvin_per_count: Of a linear camera: 0.01 in the high-gain TLinear mode of FLIR, Boson
            and Lepton cameras, 0.04 (0.1 on a Lepton) in low gain.
        kelvin_at_zero: Temperature of count 0 of a linear camera, kelvin.
        planck: Calibration of a camera whose counts are not linear; goes before the two above.
        float_unit: What a float image (`32FC1`) holds, where `unit` is a temperature: `kelvin`
            or `celsius`. With `unit: counts` a float image is taken as it is.

    Raises:
        ValueError: A field is out of range.
    """

    low: float
    high: float
    unit: str = 'kelvin'
    kelvin_per_count: float = 0.01
    kelvin_at_zero: float = 0.0
    planck: PlanckConstants | None = None
    float_unit: str = 'celsius'

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f'low must be below high, got {self.low} and {self.high}')
        if self.unit not in UNITS:
            raise ValueError(f'unit must be one of {UNITS}, got {self.unit!r}')
        if self.float_unit not in UNITS[1:]:
            raise ValueError(f'float_unit must be one of {UNITS[1:]}, got {self.float_unit!r}')
        if not self.kelvin_per_count > 0:
            raise ValueError(f'kelvin_per_count must be positive, got {self.kelvin_per_count}')

    def ends_kelvin(self) -> tuple[float, float]:
        """Both ends in kelvin; `unit` must be a temperature."""
        shift = CELSIUS_ZERO if self.unit == 'celsius' else 0.0
        return self.low + shift, self.high + shift


@dataclass(frozen=True)
class RunningRange:
    """Percentiles of the stream rather than of the frame, so that a hot object does not flicker.

    The ends follow each frame's percentiles with a time constant, and by no more than a share of
    the range per frame, which bounds the step in brightness of every unchanged pixel to that
    share.

    Attributes:
        low: Percentile that becomes 0.
        high: Percentile that becomes 1.
        time_constant_s: Of the smoothing, seconds, by the stamps.
        max_step: Neither end moves by more than this share of the range per frame.
        gap_s: After a pause of this length the range begins anew, seconds.

    Raises:
        ValueError: A field is out of range.
    """

    low: float = 1.0
    high: float = 99.0
    time_constant_s: float = 2.0
    max_step: float = 0.015
    gap_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ValueError(
                f'low and high must be percentiles, 0 to 100, low first, '
                f'got {self.low} and {self.high}'
            )
        for name in ('time_constant_s', 'max_step', 'gap_s'):
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} must be positive, got {getattr(self, name)}')
        if self.max_step >= 0.5:
            raise ValueError(f'max_step must be below 0.5, got {self.max_step}')


def is_gain_controlled(image: NDArray[np.generic]) -> bool:
    """Whether an image has 8 bits only, also inside 16: AGC by the camera, or by its driver.

    Args:
        image: (H, W) uint8, uint16 or float32.
    """
    if image.dtype == np.uint8:
        return True
    return image.dtype == np.uint16 and bool(image[::4, ::4].max(initial=0) < _AGC_LEVELS)


def to_kelvin(counts: NDArray[np.floating], fixed: FixedRange) -> NDArray[np.float64]:
    """Convert counts by the camera's calibration.

    Args:
        counts: Any shape, counts.
        fixed: Holds the calibration.

    Returns:
        The shape of `counts`, float64 kelvin; -inf where Planck's formula has no solution.
    """
    values = np.asarray(counts, dtype=np.float64)
    if fixed.planck is None:
        return values * fixed.kelvin_per_count + fixed.kelvin_at_zero
    p = fixed.planck
    signal = p.r2 * (values + p.o)
    with np.errstate(divide='ignore', invalid='ignore'):
        exponent = np.log(p.r1 / signal + p.f)
        return np.where((signal > 0) & (exponent > 0), p.b / exponent, -np.inf)


def apply_fixed_range(image: NDArray[np.generic], fixed: FixedRange) -> NDArray[np.float32]:
    """Scale an image by a fixed range.

    Args:
        image: (H, W) uint8 or uint16 counts, or float32, see `FixedRange.float_unit`.
        fixed: The range.

    Returns:
        (H, W) float32 in [0, 1], 0 for NaN.

    Raises:
        ValueError: The image has another dtype or is not (H, W).
    """
    low, high = fixed.low, fixed.high
    if fixed.unit == 'counts':
        return apply_range(image, low, high)
    low, high = fixed.ends_kelvin()
    if image.dtype == np.float32:
        shift = CELSIUS_ZERO if fixed.float_unit == 'celsius' else 0.0
        return apply_range(image, low - shift, high - shift)
    if fixed.planck is None:
        zero, scale = fixed.kelvin_at_zero, fixed.kelvin_per_count
        return apply_range(image, (low - zero) / scale, (high - zero) / scale)
    _check_image(image)
    return _planck_table(fixed)[image]


def apply_range(image: NDArray[np.generic], low: float, high: float) -> NDArray[np.float32]:
    """Scale an image between two values of its own unit.

    Args:
        image: (H, W) uint8, uint16 or float32.
        low: What becomes 0.
        high: What becomes 1, above `low`.

    Returns:
        (H, W) float32 in [0, 1], 0 for NaN.

    Raises:
        ValueError: The image has another dtype or is not (H, W), or `high` is not above `low`.
    """
    _check_image(image)
    if not low < high:
        raise ValueError(f'low must be below high, got {low} and {high}')
    out = np.empty(image.shape, np.float32)
    _scale(image, np.float32(low), np.float32(1 / (high - low)), out)
    return out


def measure_range(
    image: NDArray[np.generic], low: float, high: float, step: int = 4
) -> tuple[float, float]:
    """Two percentiles of every `step`-th pixel in both directions.

    Equal to `numpy.percentile(image[::step, ::step], (low, high))`; by a histogram where the
    image holds integers.

    Args:
        image: (H, W) uint8, uint16 or float32; NaN is left out.
        low: Percentile, 0 to 100.
        high: Percentile, 0 to 100.
        step: Spacing of the pixels that count.

    Returns:
        Both, in the image's unit.

    Raises:
        ValueError: The image has another dtype or shape, or has no finite pixel.
    """
    _check_image(image)
    sample = image[::step, ::step]
    if image.dtype == np.float32:
        finite = sample[np.isfinite(sample)]
        if finite.size == 0:
            raise ValueError('thermal image has no finite pixel')
        ends = np.percentile(finite, (low, high))
        return float(ends[0]), float(ends[1])
    histogram = np.zeros(_LEVELS if image.dtype == np.uint16 else _AGC_LEVELS, np.int64)
    _count(sample, histogram)
    return _order(histogram, low, sample.size), _order(histogram, high, sample.size)


@dataclass(frozen=True)
class _Held:
    """The range of one stream after a frame."""

    stamp_ns: int
    low: float
    high: float


class ThermalRanges:
    """The running ranges of all streams of a process, each by its name and way to follow.

    What it returns depends on the frames of that stream alone, so a bag gives the same images
    again. A stamp that is set back (a bag loops) or a long pause begins anew by itself, and so
    does a frame that lies wholly outside the range (another gain state of the camera): there a
    step does less harm than a black or white image.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, RunningRange], _Held] = {}

    def follow(
        self, stream: str, stamp_ns: int, image: NDArray[np.generic], running: RunningRange
    ) -> tuple[float, float]:
        """The range of a frame, after those before it.

        A frame that was there already (one thermal frame beside several camera frames) changes
        nothing, nor does one that comes up to a second late.

        Args:
            stream: Name of the stream, for example the sensor's frame.
            stamp_ns: Stamp of the frame, nanoseconds.
            image: (H, W) uint8, uint16 or float32.
            running: How to follow.

        Returns:
            What becomes 0 and what becomes 1, in the image's unit.

        Raises:
            ValueError: The image is uniform, or is none; the range stays as it was.
        """
        held = self._held.get((stream, running))
        if held is not None and 0 <= held.stamp_ns - stamp_ns < _STEP_BACK_NS:
            return held.low, held.high
        low, high = measure_range(image, running.low, running.high)
        if high <= low:
            raise ValueError(f'thermal image is uniform at {low:g}')
        if held is not None and self._goes_on(held, stamp_ns, low, high, running):
            low, high = _approach(held, stamp_ns, low, high, running)
        elif held is None and len(self._held) >= _STREAMS_KEPT:
            self._held.pop(next(iter(self._held)))
        self._held[stream, running] = _Held(stamp_ns, low, high)
        return low, high

    @staticmethod
    def _goes_on(
        held: _Held, stamp_ns: int, low: float, high: float, running: RunningRange
    ) -> bool:
        elapsed_ns = stamp_ns - held.stamp_ns
        overlaps = low < held.high and high > held.low
        return 0 < elapsed_ns < running.gap_s * 1e9 and overlaps


def _approach(
    held: _Held, stamp_ns: int, low: float, high: float, running: RunningRange
) -> tuple[float, float]:
    """Move the held ends towards a frame's own, each by less than half the range."""
    share = -math.expm1(-(stamp_ns - held.stamp_ns) * 1e-9 / running.time_constant_s)
    step = running.max_step * (held.high - held.low)
    new_low = held.low + max(-step, min(step, share * (low - held.low)))
    new_high = held.high + max(-step, min(step, share * (high - held.high)))
    return new_low, new_high


def _check_image(image: NDArray[np.generic]) -> None:
    if image.dtype not in (np.uint8, np.uint16, np.float32) or image.ndim != 2:
        raise ValueError(
            f'thermal image must be (H, W) uint8, uint16 or float32, '
            f'got {image.shape} {image.dtype}'
        )


@lru_cache(maxsize=8)
def _planck_table(fixed: FixedRange) -> NDArray[np.float32]:
    low, high = fixed.ends_kelvin()
    kelvin = to_kelvin(np.arange(_LEVELS, dtype=np.float64), fixed)
    return np.clip((kelvin - low) / (high - low), 0, 1).astype(np.float32)


def _order(histogram: NDArray[np.int64], percentile: float, size: int) -> float:
    """Percentile from counts per value, linear between the two order statistics."""
    if size == 0:
        raise ValueError('thermal image has zero size')
    position = percentile / 100 * (size - 1)
    below = int(position)
    total = np.cumsum(histogram)
    first, second = np.searchsorted(total, (below, min(below + 1, size - 1)), side='right')
    return float(first + (position - below) * (int(second) - int(first)))


@njit(cache=True, nogil=True)
def _count(sample, histogram):  # type: ignore[no-untyped-def]
    for v in range(sample.shape[0]):
        for u in range(sample.shape[1]):
            histogram[sample[v, u]] += 1


@njit(cache=True, nogil=True)
def _scale(image, low, scale, out):  # type: ignore[no-untyped-def]
    for v in range(image.shape[0]):
        for u in range(image.shape[1]):
            value = (np.float32(image[v, u]) - low) * scale
            # the first comparison is False for NaN
            out[v, u] = min(value, np.float32(1)) if value > 0 else np.float32(0)
