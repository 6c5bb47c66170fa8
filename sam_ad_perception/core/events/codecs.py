"""Byte formats of event cameras: kernels between packed words and columns of events.

Facts of the formats (bit layouts, word codes, counter widths):
    evt3: Prophesee EVT 3.0, little-endian 16-bit words, the upper 4 bits are the code. Time has
        24 bits of microseconds in two words of 12, so it wraps every 16.777216 s.
    libcaer: iniVation polarity events, little-endian pairs of uint32: data (valid bit 0, polarity
        bit 1, y bits 2-16, x bits 17-31), then microseconds in 31 bits.
    mono: `event_camera_msgs`, 64-bit words: dt in bits 0-31 (ns), x 32-47, y 48-62, polarity 63.
    event array: CDR of a sequence of {uint16 x, uint16 y, int32 s, uint32 ns, bool polarity},
        each aligned to its own size: 16 bytes from one event to the next, where only the first
        has its x two bytes later than that.

Every kernel is single-threaded, releases the interpreter lock and is cached on disk. Columns are
x, y (uint16), polarity (bool), t (int64). Times never decrease within one call: a sensor that
steps back a little (evt3 may, by design of its counter) is held at the last time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

EVT3_WRAP_US = 1 << 24
"""Period of the evt3 sensor clock, microseconds."""

LIBCAER_WRAP_US = 1 << 31
"""Period of the low part of the libcaer sensor clock, microseconds."""

Columns = tuple[
    NDArray[np.uint16], NDArray[np.uint16], NDArray[np.bool_], NDArray[np.int64]
]  # x, y, polarity, t

# evt3 word codes
_ADDR_Y, _ADDR_X, _VECT_BASE_X, _VECT_12, _VECT_8 = 0x0, 0x2, 0x3, 0x4, 0x5
_TIME_LOW, _CONTINUED_4, _TIME_HIGH, _PADDING = 0x6, 0x7, 0x8, 0x9
_EXT_TRIGGER, _OTHERS, _CONTINUED_12 = 0xA, 0xE, 0xF

# slots of the evt3 state, which persists between packets
TIME_KNOWN, TIME_HIGH, TIME_LOW, ROW, BASE_X, BASE_POLARITY = range(6)
LAST_TIME, SKIPPED, OUTSIDE = range(6, 9)
UNKNOWN = -1


def new_evt3_state() -> NDArray[np.int64]:
    """State of a decoder that has seen nothing: time, row and vector base unknown."""
    state = np.zeros(9, np.int64)
    state[ROW] = UNKNOWN
    state[LAST_TIME] = UNKNOWN
    return state


def new_columns(capacity: int) -> Columns:
    """Room for `capacity` events: x, y (uint16), polarity (bool), t (int64), not initialised."""
    return (
        np.empty(capacity, np.uint16),
        np.empty(capacity, np.uint16),
        np.empty(capacity, np.bool_),
        np.empty(capacity, np.int64),
    )


@njit(nogil=True, cache=True)
def evt3_capacity(words: NDArray[np.uint16]) -> int:
    """At most this many events are in (N,) uint16 evt3 words."""
    total = 0
    for i in range(words.size):
        code = words[i] >> 12
        total += (code == _ADDR_X) + 12 * (code == _VECT_12) + 8 * (code == _VECT_8)
    return total


@njit(nogil=True, cache=True)
def decode_evt3(
    words: NDArray[np.uint16], state: NDArray[np.int64], width: int, height: int, columns: Columns
) -> int:
    """Decode evt3 words.

    Events before the first full time (high, then low word) and before the first row are skipped
    and counted in `state[SKIPPED]`; those outside the sensor in `state[OUTSIDE]`.

    Args:
        words: (N,) uint16.
        state: From `new_evt3_state`; changed only when the whole packet is sound.
        width: Sensor width, pixels.
        height: Sensor height, pixels.
        columns: Out, at least `evt3_capacity(words)` long; times of the sensor clock,
            continued across rollovers, microseconds.

    Returns:
        Number of events, or `-1 - i` where word `i` has a code that evt3 does not define.
    """
    known, high, low, row, base, base_on, last, skipped, outside = state
    x, y, polarity, t_us = columns
    n = 0
    for i in range(words.size):
        word = np.int64(words[i])
        code = word >> 12
        u, bits, on = base, np.int64(0), base_on  # events at u, u + 1, ... whose bit is set
        # A word sets time, row or column, or holds events.
        if code == _ADDR_X:
            u, bits, on = word & 0x7FF, np.int64(1), word >> 11 & 1
        elif code == _TIME_LOW:
            low = word & 0xFFF
            if known >= 1:
                known, last = 2, max(last, high | low)
        elif code == _ADDR_Y:
            row = word & 0x7FF
        elif code == _TIME_HIGH:
            known, high, low, last = _raise_time(known, high, low, last, (word & 0xFFF) << 12)
        elif code == _VECT_BASE_X:
            base, base_on = word & 0x7FF, word >> 11 & 1
        elif code == _VECT_12:
            bits, base = word & 0xFFF, base + 12
        elif code == _VECT_8:
            bits, base = word & 0xFF, base + 8
        elif code not in (_EXT_TRIGGER, _OTHERS, _CONTINUED_4, _CONTINUED_12, _PADDING):
            return -1 - i
        # One event for each bit that is set, from column u on.
        while bits:
            if bits & 1:
                if known < 2 or row < 0:
                    skipped += 1
                elif u < width and row < height:
                    x[n], y[n], polarity[n], t_us[n] = u, row, on != 0, last
                    n += 1
                else:
                    outside += 1
            bits >>= 1
            u += 1
    state[:] = np.array((known, high, low, row, base, base_on, last, skipped, outside))
    return n


@njit(nogil=True, cache=True)
def _raise_time(known, high, low, last, bits):  # type: ignore[no-untyped-def]
    """Take the upper 12 bits of the evt3 time; the first four values as they are then."""
    raised = high
    if known >= 1 and (high & 0xFFF000) - bits > EVT3_WRAP_US // 2:
        raised += EVT3_WRAP_US
    raised = (raised & ~0xFFFFFF) | bits
    if known == 2 and raised != high:
        low = 0  # the old low word belongs to the old high word
        last = max(last, raised)
    return max(known, 1), raised, low, last


@njit(nogil=True, cache=True)
def decode_libcaer(
    words: NDArray[np.uint32],
    width: int,
    height: int,
    columns: Columns,
) -> tuple[int, int, int]:
    """Decode libcaer polarity events.

    Args:
        words: (2 N,) uint32, data and time in turn.
        width: Sensor width, pixels.
        height: Sensor height, pixels.
        columns: Out, at least N long; times relative to the packet's time base,
            continued across a rollover, microseconds.

    Returns:
        Number of events, number dropped (invalid or outside the sensor), number of rollovers.
    """
    x, y, polarity, t_us = columns
    n, dropped, rollovers = 0, 0, 0
    high, previous, last = np.int64(0), np.int64(-1), np.int64(-1)
    for i in range(words.size // 2):
        data = np.int64(words[2 * i])
        low = np.int64(words[2 * i + 1]) & 0x7FFFFFFF
        if previous - low > LIBCAER_WRAP_US // 2:
            high += LIBCAER_WRAP_US
            rollovers += 1
        previous = low
        last = max(last, high + low)
        u, v = data >> 17, data >> 2 & 0x7FFF
        if data & 1 and u < width and v < height:
            x[n], y[n], polarity[n], t_us[n] = u, v, (data & 2) != 0, last
            n += 1
        else:
            dropped += 1
    return n, dropped, rollovers


@njit(nogil=True, cache=True)
def decode_mono(
    words: NDArray[np.uint64],
    width: int,
    height: int,
    columns: Columns,
) -> tuple[int, int]:
    """Decode mono events.

    Args:
        words: (N,) uint64 in the byte order of this machine.
        width: Sensor width, pixels.
        height: Sensor height, pixels.
        columns: Out, at least N long; times relative to the packet's time base, nanoseconds,
            in the order of the message.

    Returns:
        Number of events, number dropped because they lie outside the sensor.
    """
    x, y, polarity, t_ns = columns
    n, dropped = 0, 0
    for i in range(words.size):
        word = words[i]
        t = np.int64(word & np.uint64(0xFFFFFFFF))
        u = np.int64(word >> np.uint64(32) & np.uint64(0xFFFF))
        v = np.int64(word >> np.uint64(48) & np.uint64(0x7FFF))
        if u < width and v < height:
            x[n], y[n], polarity[n], t_ns[n] = u, v, (word >> np.uint64(63)) != 0, t
            n += 1
        else:
            dropped += 1
    return n, dropped


@njit(nogil=True, cache=True)
def encode_evt3(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    polarity: NDArray[np.bool_],
    t_ns: NDArray[np.int64],
    words: NDArray[np.uint16],
) -> int:
    """Encode events as evt3 words that decode without any earlier packet.

    Args:
        x: (N,) uint16, below 2048; so is `y`.
        y: (N,) uint16.
        polarity: (N,) bool.
        t_ns: (N,) int64, not decreasing; cut to whole microseconds modulo 2^24.
        words: Out, at least 4 N long.

    Returns:
        Number of words written.
    """
    n = 0
    high, low, row = np.int64(-1), np.int64(-1), np.int64(-1)
    for i in range(x.size):
        t = t_ns[i] // 1000
        if t >> 12 & 0xFFF != high:
            high = t >> 12 & 0xFFF
            low = np.int64(-1)
            words[n] = _TIME_HIGH << 12 | high
            n += 1
        if t & 0xFFF != low:
            low = t & 0xFFF
            words[n] = _TIME_LOW << 12 | low
            n += 1
        if np.int64(y[i]) != row:
            row = np.int64(y[i])
            words[n] = _ADDR_Y << 12 | row
            n += 1
        words[n] = _ADDR_X << 12 | (0x800 if polarity[i] else 0) | np.int64(x[i])
        n += 1
    return n


def evt3_time_words(t_us: int) -> tuple[int, int]:
    """The two evt3 words that set the time, from microseconds."""
    return _TIME_HIGH << 12 | (t_us >> 12 & 0xFFF), _TIME_LOW << 12 | (t_us & 0xFFF)


@njit(nogil=True, cache=True)
def decode_event_array(
    data: NDArray[np.uint8],
    is_bigendian: bool,
    width: int,
    height: int,
    columns: Columns,
) -> tuple[int, int]:
    """Decode the events of an event array (`dvs_msgs/EventArray`), as CDR lays them out.

    Args:
        data: (16 N - 3,) uint8, from the first event on.
        is_bigendian: Byte order.
        width: Sensor width, pixels.
        height: Sensor height, pixels.
        columns: Out, at least N long; times and order as in the message, nanoseconds.

    Returns:
        Number of events, number dropped because they lie outside the sensor.
    """
    x, y, polarity, t_ns = columns
    n, dropped = 0, 0
    for start in range(0, data.size, 16):
        at = start if start == 0 else start - 2  # only the first pair is aligned to four bytes
        u, v = _uint16(data, at, is_bigendian), _uint16(data, at + 2, is_bigendian)
        seconds = np.int32(_uint32(data, start + 4, is_bigendian))
        t = np.int64(seconds) * 1_000_000_000 + _uint32(data, start + 8, is_bigendian)
        if u < width and v < height:
            x[n], y[n], polarity[n], t_ns[n] = u, v, data[start + 12] != 0, t
            n += 1
        else:
            dropped += 1
    return n, dropped


@njit(inline='always')
def _uint16(data, i, is_bigendian):  # type: ignore[no-untyped-def]
    """Read two bytes at `i`."""
    low, high = np.int64(data[i]), np.int64(data[i + 1])
    return low << 8 | high if is_bigendian else high << 8 | low


@njit(inline='always')
def _uint32(data, i, is_bigendian):  # type: ignore[no-untyped-def]
    """Read four bytes at `i`."""
    first, second = _uint16(data, i, is_bigendian), _uint16(data, i + 2, is_bigendian)
    return first << 16 | second if is_bigendian else second << 16 | first
