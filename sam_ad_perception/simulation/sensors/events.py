"""Event streams from the brightness changes between two renderings."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Events
from sam_ad_perception.simulation.street.materials import hash01

CONTRAST = 0.22
"""Change of the log intensity that makes one event."""
DARK = 0.02
"""Linear intensity that is added before the logarithm, the pixel's dark current."""
NOISE_RATE = 0.2
"""Spurious events per pixel and second."""
_MOST = 12
_LUMA = (0.2126, 0.7152, 0.0722)


def log_intensity(linear: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a pixel of an event camera measures.

    Args:
        linear: (H, W, 3) float32 linear RGB.

    Returns:
        (H, W) float64 natural logarithm of the blurred luminance plus the dark current.
    """
    luma = linear @ np.array(_LUMA, dtype=np.float32)
    blurred = cv2.GaussianBlur(luma, (3, 3), 0.6)
    return np.log(np.clip(blurred, 0.0, 1.5).astype(np.float64) + DARK)


@njit(cache=True, nogil=True)
def _cross_levels(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    duration_ns: int,
    threshold: float,
    refractory_ns: int,
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    polarity: NDArray[np.bool_],
    t: NDArray[np.int64],
) -> int:
    """Writes the events of one interval, returns their number.

    A pixel fires whenever its log intensity crosses a level of its own ladder, whose rungs are
    one contrast threshold apart. The ladder does not move, so an interval can be computed
    without the ones before it. Crossings within the refractory time after an event of the same
    interval are lost.
    """
    n = 0
    for v in range(before.shape[0]):
        for u in range(before.shape[1]):
            phase = hash01(u, v, 0, 77)
            low, high = before[v, u] / threshold + phase, after[v, u] / threshold + phase
            first, last = np.floor(low), np.floor(high)
            count = int(min(abs(last - first), _MOST))
            rising = high > low
            ready = 0
            for k in range(count):
                rung = first + 1.0 + k if rising else first - k
                share = (rung - low) / (high - low)
                if share * duration_ns < ready:
                    continue
                ready = int(share * duration_ns) + refractory_ns
                # Whole microseconds, as the sensors' own formats have them.
                t[n] = min(int(share * duration_ns), duration_ns - 1) // 1000 * 1000
                x[n], y[n], polarity[n] = u, v, rising
                n += 1
    return n


def detect_events(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    start_ns: int,
    duration_ns: int,
    rng: np.random.Generator,
    threshold: float = CONTRAST,
    refractory_ns: int = 0,
    noise_hz: float = NOISE_RATE,
) -> Events:
    """Events of one interval, with a little noise.

    The pixel model is that of ESIM (Rebecq, Gehrig and Scaramuzza, CoRL 2018); refractory time
    and a noise rate that rises in the dark are those of v2e (Hu, Liu and Delbruck, CVPRW 2021).

    Args:
        before: (H, W) log intensity at the start.
        after: (H, W) log intensity at the end.
        start_ns: Start of the interval, nanoseconds.
        duration_ns: Its length, nanoseconds.
        rng: Source of the noise.
        threshold: Change of the log intensity that makes one event.
        refractory_ns: Time after an event in which its pixel is blind, nanoseconds.
        noise_hz: Spurious events per pixel and second.

    Returns:
        Events in [start, start + duration), ordered by time.
    """
    height, width = before.shape
    noise = int(rng.poisson(noise_hz * height * width * duration_ns * 1e-9))
    steps = np.abs(after - before) / threshold
    room = int(np.sum(np.minimum(np.ceil(steps), _MOST))) + noise
    x, y = np.empty(room, np.uint16), np.empty(room, np.uint16)
    polarity, t = np.empty(room, np.bool_), np.empty(room, np.int64)
    n = _cross_levels(before, after, duration_ns, threshold, refractory_ns, x, y, polarity, t)
    end = n + noise
    x[n:end] = rng.integers(0, width, noise)
    y[n:end] = rng.integers(0, height, noise)
    polarity[n:end] = rng.random(noise) < 0.5
    t[n:end] = rng.integers(0, duration_ns, noise) // 1000 * 1000
    order = np.argsort(t[:end], kind='stable')
    return Events(x[order], y[order], polarity[order], t[order] + start_ns, (height, width))


def join(parts: list[Events], start_ns: int, end_ns: int, size: tuple[int, int]) -> Events:
    """Events of consecutive intervals with start <= t < end."""
    if not parts:
        none = np.empty(0, np.uint16)
        return Events(none, none, np.empty(0, np.bool_), np.empty(0, np.int64), size)
    t = np.concatenate([p.t_ns for p in parts])
    a, b = np.searchsorted(t, [start_ns, end_ns])
    return Events(
        np.concatenate([p.x for p in parts])[a:b],
        np.concatenate([p.y for p in parts])[a:b],
        np.concatenate([p.polarity for p in parts])[a:b],
        t[a:b],
        size,
    )
