"""Prophesee EVT 2.0 and EVT 2.1: kernels from packed words to columns of events.

EVT 2.0 has little-endian words of 32 bits, EVT 2.1 of 64. The upper 4 bits are the type: 0 events
that are darker, 1 brighter, 8 the upper 28 bits of the time in microseconds; triggers and others
hold no events. An event word of both has 6 lower bits of the time, 11 bits of x and 11 bits of y;
one of EVT 2.1 has 32 bits more: bit k is an event at x + k. The time has 34 bits and wraps every
4.8 hours.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.events.codecs import Columns

EVT2_WRAP_US = 1 << 34
"""Period of the sensor clock, microseconds."""

TIME_KNOWN, TIME_HIGH, LAST_TIME, SKIPPED, OUTSIDE = range(5)
_OFF, _ON, _TIME = 0x0, 0x1, 0x8
_KNOWN_TYPES = (_OFF, _ON, _TIME, 0xA, 0xE, 0xF)


def new_evt2_state() -> NDArray[np.int64]:
    """State of a decoder that has seen nothing: the time is unknown."""
    state = np.zeros(5, np.int64)
    state[LAST_TIME] = -1
    return state


def evt21_capacity(words: NDArray[np.uint64]) -> int:
    """At most this many events are in (N,) uint64 words of EVT 2.1."""
    kinds = words >> np.uint64(60)
    valid = words[kinds <= _ON] & np.uint64(0xFFFFFFFF)
    return int(np.bitwise_count(valid).sum())


@njit(nogil=True, cache=True)
def decode_evt2(
    words: NDArray[np.uint64],
    is_vector: bool,
    state: NDArray[np.int64],
    width: int,
    height: int,
    columns: Columns,
) -> int:
    """Decode words of EVT 2.0 or EVT 2.1.

    Events before the first time word are skipped and counted in `state[SKIPPED]`; those outside
    the sensor in `state[OUTSIDE]`.

    Args:
        words: (N,) uint64; those of EVT 2.0 shifted to the upper 32 bits.
        is_vector: Whether the lower 32 bits say which of 32 pixels changed (EVT 2.1).
        state: From `new_evt2_state`; changed only when the whole packet is sound.
        width: Sensor width, pixels.
        height: Sensor height, pixels.
        columns: Out, as long as there are events; times of the sensor clock, continued across
            wraps, microseconds.

    Returns:
        Number of events, or `-1 - i` where word `i` has a type that is not defined.
    """
    known, high, last, skipped, outside = state
    x, y, polarity, t_us = columns
    n = 0
    for i in range(words.size):
        word = words[i]
        kind = np.int64(word >> np.uint64(60))
        if kind == _TIME:
            bits = np.int64(word >> np.uint64(32) & np.uint64(0xFFFFFFF)) << 6
            if known and (high & (EVT2_WRAP_US - 1)) - bits > EVT2_WRAP_US // 2:
                high += EVT2_WRAP_US
            high = (high & ~(EVT2_WRAP_US - 1)) | bits
            known, last = 1, max(last, high)
            continue
        if kind > _ON:
            if kind not in _KNOWN_TYPES:
                return -1 - i
            continue
        low = np.int64(word >> np.uint64(54) & np.uint64(0x3F))
        u = np.int64(word >> np.uint64(43) & np.uint64(0x7FF))
        v = np.int64(word >> np.uint64(32) & np.uint64(0x7FF))
        pixels = np.int64(word & np.uint64(0xFFFFFFFF)) if is_vector else np.int64(1)
        if known:
            last = max(last, high | low)
        while pixels:
            if pixels & 1:
                if not known:
                    skipped += 1
                elif u < width and v < height:
                    x[n], y[n], polarity[n], t_us[n] = u, v, kind == _ON, last
                    n += 1
                else:
                    outside += 1
            pixels >>= 1
            u += 1
    state[:] = np.array((known, high, last, skipped, outside))
    return n
