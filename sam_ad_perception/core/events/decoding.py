"""Event cameras: from packets to events on the host clock.

An event camera has a clock of its own, which drifts, wraps, and shares no origin with the host.
`EventDecoder` puts events on the host clock from what each packet says:

* mono: by its definition an event happened `dt` after the packet's header stamp.
* event arrays: drivers stamp each event with host time. Only where that is over a second from
  the header stamp, it is a sensor clock, and mapped as below.
* evt2, evt21, evt3, libcaer and libcaer_cmp: the header stamp is the time at which the host
  received the data, so no event can be later than it. Each packet bounds `offset = host - sensor`
  from above by `stamp - time of its last event`; the least bound is kept and may grow by
  `MAX_DRIFT`, so that a packet that was held up on its way does not shift its events. What is
  left is the shortest transport delay, a constant that `offset_s` of the synchronizer takes out.

The wraps of the sensor clock (evt3: 16.8 s, libcaer: 35.8 min, libcaer_cmp: 71.6 min, evt2 and
evt21: 4.8 h) are followed inside a packet by the decoder and, where packets are lost, by the
header stamps.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.events import codecs as codecs
from sam_ad_perception.core.events import evt2 as evt2
from sam_ad_perception.core.events.libcaer_cmp import LibcaerCmpDecoder
from sam_ad_perception.core.events.packets import (
    EventDecodeError,
    EventPacket,
    check_packet,
)
from sam_ad_perception.core.sensors import Events

MAX_DRIFT = 2e-4
"""Bound of the relative drift between sensor and host clock (crystals stay within 1e-4)."""

CLOCK_JUMP_NS = 1_000_000_000
"""Host and sensor time that disagree by more than this: one of the clocks was set anew."""

SILENCE_NS = 5_000_000_000
"""After so long without a packet the clock of evt3, of 16.8 s, may have wrapped unseen."""

LEAP_NS = 100_000_000
"""Events this long after the first one of their packet leap, unless packets come as rarely."""

_FEW_EVENTS = 0.4

RESTART_RUN = 3
"""So many late packets in a row: they are not late, the stream started again."""


class EventDecoder:
    """Decodes the packets of one sensor, in their order.

    Attributes:
        end_ns: Host time up to which the sensor has reported (last event or time word of the last
            packet), nanoseconds; None before the first packet.
    """

    def __init__(self) -> None:
        self.end_ns: int | None = None
        self._counters: Counter[str] = Counter()
        self._encoding = ''
        self._state = codecs.new_evt3_state()
        self._evt2_state = evt2.new_evt2_state()
        self._libcaer_cmp: LibcaerCmpDecoder | None = None
        self._stamp_ns: int | None = None
        self._seq = -1
        self._offset_ns: int | None = None
        self._offset_at_ns = 0
        self._end_us: int | None = None
        self._late_run = 0
        self._intervals: deque[int] = deque(maxlen=8)
        self._leap_run = 0

    @property
    def counters(self) -> Mapping[str, int]:
        """What happened so far.

        `packets`, `events`, `lost_packets` (gaps of `seq`), `late_packets` (dropped: out of
        order), `rollovers`, `restarts` (bag loop, driver or clock restart), `skipped_events`
        (before the sensor's time or row is known), `dropped_events` (outside the sensor, or
        marked invalid by it), `unsorted_packets` (whose events were put in the order of time),
        `leaping_events` (cut: their times leap beyond those of the packets around),
        `leaping_packets` (a whole packet that leaps: it ends at its stamp).
        """
        return dict(self._counters)

    def decode(self, packet: EventPacket) -> Events:
        """Decode one packet.

        Args:
            packet: The packet; an out-of-order one is counted and yields no events.

        Returns:
            Its events, times on the host clock, never decreasing from packet to packet until a
            restart.

        Raises:
            EventDecodeError: The encoding is unknown or needs a package that is not installed,
                the size is empty, the data is cut off or holds a word that the encoding does not
                define. The decoder stays usable.
        """
        check_packet(packet)
        if self._is_late(packet):
            self._counters['late_packets'] += 1
            return empty_events(packet.size)
        self._follow(packet)
        self._counters['packets'] += 1
        events, end_ns = getattr(self, f'_decode_{packet.encoding}')(packet)
        if self.end_ns is not None:
            end_ns = max(end_ns, self.end_ns)
            if events.t_ns.size and events.t_ns[0] < self.end_ns:
                np.maximum(events.t_ns, self.end_ns, out=events.t_ns)
        self.end_ns = end_ns
        self._counters['events'] += events.t_ns.size
        return events

    def _is_late(self, packet: EventPacket) -> bool:
        """Whether a packet was overtaken by the one before it (and nothing was restarted)."""
        if self._stamp_ns is None or packet.encoding != self._encoding:
            return False
        behind_ns = self._stamp_ns - packet.stamp_ns
        if packet.seq == self._seq == 0:  # nobody numbers the packets
            late = 0 < behind_ns < CLOCK_JUMP_NS
        else:
            late = packet.seq <= self._seq and 0 <= behind_ns < CLOCK_JUMP_NS
        self._late_run = self._late_run + 1 if late else 0
        return 0 < self._late_run < RESTART_RUN

    def _follow(self, packet: EventPacket) -> None:
        """Take note of a packet's place in the stream: lost packets and restarts."""
        numbered = packet.seq > 0 or self._seq > 0
        if self._stamp_ns is None or packet.encoding != self._encoding:
            self._restart()
        elif (
            self._late_run > 0
            or (numbered and packet.seq <= self._seq)
            or packet.stamp_ns < self._stamp_ns - CLOCK_JUMP_NS
        ):
            self._counters['restarts'] += 1
            self._restart()
        elif packet.seq > self._seq + 1:
            self._counters['lost_packets'] += packet.seq - self._seq - 1
            # Row, vector base and the upper time bits may have changed in what was lost.
            self._state = codecs.new_evt3_state()
            self._evt2_state = evt2.new_evt2_state()
        elif packet.stamp_ns - self._stamp_ns > SILENCE_NS:
            self._state = codecs.new_evt3_state()
        if self._stamp_ns is not None and packet.stamp_ns > self._stamp_ns:
            self._intervals.append(packet.stamp_ns - self._stamp_ns)
        self._encoding = packet.encoding
        self._stamp_ns = packet.stamp_ns
        self._seq = packet.seq

    def _restart(self) -> None:
        """Forget the sensor's clock and place."""
        self._state = codecs.new_evt3_state()
        self._evt2_state = evt2.new_evt2_state()
        self._libcaer_cmp = None
        self._offset_ns = None
        self._end_us = None
        self._late_run = 0
        self.end_ns = None

    def _decode_evt3(self, packet: EventPacket) -> tuple[Events, int]:
        words = _words(packet, '<u2')
        height, width = packet.size
        columns = codecs.new_columns(codecs.evt3_capacity(words))
        before = self._state.copy()
        n = codecs.decode_evt3(words, self._state, width, height, columns)
        if n < 0:
            self._state = codecs.new_evt3_state()  # what follows it is as if it was lost
            word = int(words[-1 - n])
            raise EventDecodeError(
                f'events: word {-1 - n} of an evt3 packet is {word:#06x}, '
                f'and code {word >> 12} is not defined'
            )
        state = self._state
        self._counters['skipped_events'] += int(state[codecs.SKIPPED] - before[codecs.SKIPPED])
        self._counters['dropped_events'] += int(state[codecs.OUTSIDE] - before[codecs.OUTSIDE])
        if state[codecs.TIME_KNOWN] < 2:
            return empty_events(packet.size), packet.stamp_ns
        if before[codecs.TIME_KNOWN] < 2:
            self._find_wrap(packet.stamp_ns, columns[3][:n])
        columns, kept = self._without_leaps(columns, n, 1000)
        if kept < n:  # the clock goes on where it was before the leap
            state[codecs.LAST_TIME] = columns[3][kept - 1]
            state[codecs.TIME_HIGH] = state[codecs.LAST_TIME] & ~0xFFF
            n = kept
        last_us = int(state[codecs.LAST_TIME])
        if self._end_us is not None:
            wraps = last_us // codecs.EVT3_WRAP_US - self._end_us // codecs.EVT3_WRAP_US
            self._counters['rollovers'] += wraps
        self._end_us = last_us
        offset = self._host_offset(packet.stamp_ns, last_us * 1000)
        return _events(columns, n, 1000, offset, packet.size), last_us * 1000 + offset

    def _decode_evt2(self, packet: EventPacket) -> tuple[Events, int]:
        words = _words(packet, '<u4').astype(np.uint64) << np.uint64(32)
        return self._decode_evt2_words(packet, words, False, words.size)

    def _decode_evt21(self, packet: EventPacket) -> tuple[Events, int]:
        words = _words(packet, '<u8').copy()
        return self._decode_evt2_words(packet, words, True, evt2.evt21_capacity(words))

    def _decode_evt2_words(
        self, packet: EventPacket, words: NDArray[np.uint64], is_vector: bool, capacity: int
    ) -> tuple[Events, int]:
        columns = codecs.new_columns(capacity)
        state, before = self._evt2_state, self._evt2_state.copy()
        height, width = packet.size
        n = evt2.decode_evt2(words, is_vector, state, width, height, columns)
        if n < 0:
            self._evt2_state = evt2.new_evt2_state()  # what follows it is as if it was lost
            kind = int(words[-1 - n]) >> 60
            raise EventDecodeError(
                f'events: word {-1 - n} of an {packet.encoding} packet has the type {kind:#x}, '
                'which is not defined'
            )
        self._counters['skipped_events'] += int(state[evt2.SKIPPED] - before[evt2.SKIPPED])
        self._counters['dropped_events'] += int(state[evt2.OUTSIDE] - before[evt2.OUTSIDE])
        if not state[evt2.TIME_KNOWN]:
            return empty_events(packet.size), packet.stamp_ns
        last_ns = int(state[evt2.LAST_TIME]) * 1000
        offset = self._host_offset(packet.stamp_ns, last_ns)
        return _events(columns, n, 1000, offset, packet.size), last_ns + offset

    def _find_wrap(self, stamp_ns: int, t_us: NDArray[np.int64]) -> None:
        """Continue the evt3 clock behind lost packets: the stamp tells how often it wrapped."""
        if self._offset_ns is None:
            return
        expected_us = (stamp_ns - self._offset_ns) // 1000
        last_us = int(self._state[codecs.LAST_TIME])
        shift = round((expected_us - last_us) / codecs.EVT3_WRAP_US) * codecs.EVT3_WRAP_US
        self._state[codecs.TIME_HIGH] += shift
        self._state[codecs.LAST_TIME] += shift
        t_us += shift

    def _decode_libcaer(self, packet: EventPacket) -> tuple[Events, int]:
        words = _words(packet, '<u4')
        height, width = packet.size
        columns = codecs.new_columns(words.size // 2)
        n, dropped, rollovers = codecs.decode_libcaer(words, width, height, columns)
        self._counters['dropped_events'] += dropped
        self._counters['rollovers'] += rollovers
        if n == 0:
            return empty_events(packet.size), packet.stamp_ns
        columns, n = self._without_leaps(columns, n, 1000)
        last_ns = packet.time_base_ns + int(columns[3][n - 1]) * 1000
        offset = self._host_offset(packet.stamp_ns, last_ns)
        events = _events(columns, n, 1000, packet.time_base_ns + offset, packet.size)
        return events, last_ns + offset

    def _decode_mono(self, packet: EventPacket) -> tuple[Events, int]:
        words = _words(packet, '>u8' if packet.is_bigendian else '<u8')
        height, width = packet.size
        columns = codecs.new_columns(words.size)
        n, dropped = codecs.decode_mono(words, width, height, columns)
        self._counters['dropped_events'] += dropped
        columns, n = self._without_leaps(self._ordered(columns, n), n, 1, first=0)
        events = _events(columns, n, 1, packet.stamp_ns, packet.size)
        return events, int(events.t_ns[-1]) if n else packet.stamp_ns

    def _ordered(self, columns: codecs.Columns, n: int) -> codecs.Columns:
        """Put the events of a message in the order of time where its sender did not."""
        t = columns[3][:n]
        if n < 2 or bool(np.all(t[1:] >= t[:-1])):
            return columns
        self._counters['unsorted_packets'] += 1
        order = np.argsort(t, kind='stable')
        x, y, polarity, _ = columns
        return x[order], y[order], polarity[order], t[order]

    def _decode_libcaer_cmp(self, packet: EventPacket) -> tuple[Events, int]:
        if self._libcaer_cmp is None:
            self._libcaer_cmp = LibcaerCmpDecoder()
        columns, rollovers, last_us = self._libcaer_cmp.decode(packet)
        self._counters['rollovers'] += rollovers
        n = columns[0].size
        if n == 0:
            return empty_events(packet.size), packet.stamp_ns
        columns, kept = self._without_leaps(columns, n, 1000)
        if kept < n:
            n, last_us = kept, int(columns[3][kept - 1])
        offset = self._host_offset(packet.stamp_ns, last_us * 1000)
        return _events(columns, n, 1000, offset, packet.size), last_us * 1000 + offset

    def _decode_event_array(self, packet: EventPacket) -> tuple[Events, int]:
        height, width = packet.size
        columns = codecs.new_columns((packet.data.size + 3) // 16)
        data = _words(packet, 'u1')
        n, dropped = codecs.decode_event_array(data, packet.is_bigendian, width, height, columns)
        self._counters['dropped_events'] += dropped
        columns = self._ordered(columns, n)
        if n == 0:
            return empty_events(packet.size), packet.stamp_ns
        columns, n = self._without_leaps(columns, n, 1)
        last_ns = int(columns[3][n - 1])
        foreign = abs(packet.stamp_ns - last_ns) > CLOCK_JUMP_NS
        offset = self._host_offset(packet.stamp_ns, last_ns) if foreign else 0
        return _events(columns, n, 1, offset, packet.size), last_ns + offset

    def _without_leaps(
        self, columns: codecs.Columns, n: int, scale: int, first: int | None = None
    ) -> tuple[codecs.Columns, int]:
        """Cut events that leap beyond the packets around, so that they shift nothing behind them.

        A driver sends what it has at its rhythm: a packet lasts about as long as from stamp to
        stamp.

        Args:
            columns: The events; times in units of `scale` nanoseconds.
            n: How many there are.
            scale: See `columns`.
            first: When the packet began, in the same unit; None for its first event.
        """
        if n == 0:
            return columns, n
        limit = CLOCK_JUMP_NS
        if len(self._intervals) >= 3:
            usual = sorted(self._intervals)[len(self._intervals) // 2]
            limit = max(LEAP_NS, 4 * usual)
        t = columns[3][:n]
        kept = t <= (t[0] if first is None else first) + limit // scale
        if first is None and np.count_nonzero(kept) <= _FEW_EVENTS * n:
            # Its first event is the odd one: the others tell when the packet is of.
            kept = np.abs(t - np.median(t)) <= limit // scale
        count = int(np.count_nonzero(kept))
        if count == n:
            return columns, n
        self._counters['leaping_events'] += n - count
        x, y, polarity, t = columns
        return (x[:n][kept], y[:n][kept], polarity[:n][kept], t[:n][kept]), count

    def _host_offset(self, stamp_ns: int, sensor_ns: int) -> int:
        """Update and return `host - sensor` time from one packet, nanoseconds.

        Args:
            stamp_ns: When the host received the packet.
            sensor_ns: The sensor's time at the end of the packet, wraps undone.
        """
        bound = stamp_ns - sensor_ns
        if self._offset_ns is None:
            self._offset_ns = bound
        elif abs(bound - self._offset_ns) > CLOCK_JUMP_NS:
            self._counters['restarts'] += 1
            self._offset_ns = bound
            self.end_ns = None
        elif self._offset_ns - bound > LEAP_NS and self._leap_run < RESTART_RUN - 1:
            self._leap_run += 1
            self._counters['leaping_packets'] += 1
            return bound  # of this packet alone
        else:
            self._leap_run = 0
            growth = int(MAX_DRIFT * max(stamp_ns - self._offset_at_ns, 0))
            self._offset_ns = min(bound, self._offset_ns + growth)
        self._offset_at_ns = stamp_ns
        return self._offset_ns


def empty_events(size: tuple[int, int]) -> Events:
    """No events of a sensor of this size `(H, W)`."""
    return Events(*codecs.new_columns(0), size)


def _events(
    columns: codecs.Columns, n: int, scale: int, offset_ns: int, size: tuple[int, int]
) -> Events:
    """Cut columns to their `n` events and put their times on the host clock."""
    x, y, polarity, t = columns
    t_ns = t[:n]
    t_ns *= scale
    t_ns += offset_ns
    return Events(x[:n], y[:n], polarity[:n], t_ns, size)


def _words(packet: EventPacket, dtype: str) -> NDArray[Any]:
    """View the packet's data as words of this machine, read-only: one kind of array to compile."""
    words = packet.data.view(np.dtype(dtype))
    words = words.astype(words.dtype.newbyteorder('='), copy=False).view()
    words.flags.writeable = False
    return words
