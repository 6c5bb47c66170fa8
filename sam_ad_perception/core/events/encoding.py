"""Events to packets: what the simulator and the tests write, in the formats that sensors send."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.events import codecs as codecs
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import EVENT_ARRAY, EventPacket
from sam_ad_perception.core.sensors import Events


def encode_packet(
    events: Events, encoding: str, *, seq: int = 0, end_ns: int | None = None, frame_id: str = ''
) -> EventPacket:
    """Encode events as a sensor would, stamped so that `EventDecoder` recovers their times.

    Args:
        events: Ordered by time; for evt3 columns and rows below 2048, for mono at most 4.29 s.
        encoding: `evt3` (times are cut to whole microseconds) or `mono` (nanoseconds).
        seq: Number of the packet, one more than the previous one's.
        end_ns: When the packet was complete, at least the last event's time; that time by
            default. An evt3 packet is stamped with it, a mono packet with its first event.
        frame_id: Frame of the sensor.

    Returns:
        The packet; each decodes without the ones before it.

    Raises:
        ValueError: The encoding has no encoder, the events do not fit it or are not ordered, or
            there are no events and no `end_ns`.
    """
    t_ns = events.t_ns
    if end_ns is None:
        if t_ns.size == 0:
            raise ValueError('end_ns is needed for a packet without events')
        end_ns = int(t_ns[-1])
    if t_ns.size and (np.any(np.diff(t_ns) < 0) or t_ns[-1] > end_ns):
        raise ValueError(f'events must be ordered by time and not later than end_ns {end_ns}')
    if encoding == 'evt3':
        data, stamp_ns = _encode_evt3(events, end_ns), end_ns
    elif encoding == 'mono':
        stamp_ns = int(t_ns[0]) if t_ns.size else end_ns
        data = _encode_mono(events, stamp_ns)
    else:
        raise ValueError(f'encoding must be evt3 or mono to encode, got {encoding!r}')
    return EventPacket(stamp_ns, events.size, encoding, data, seq, 0, False, frame_id)


def warm_up() -> None:
    """Compile (or load from numba's cache) every decoder, so that the first packet is fast."""
    size = (4, 4)
    one = np.zeros(1, np.uint16)
    events = Events(one, one, np.ones(1, np.bool_), np.zeros(1, np.int64), size)
    for encoding in ('evt3', 'mono'):
        EventDecoder().decode(encode_packet(events, encoding))
    for encoding, length in (('libcaer', 8), (EVENT_ARRAY, 13)):
        EventDecoder().decode(EventPacket(0, size, encoding, np.zeros(length, np.uint8)))


def _encode_evt3(events: Events, end_ns: int) -> NDArray[np.uint8]:
    """Encode as evt3; two last time words say up to when the packet reports."""
    if events.x.size and max(int(events.x.max()), int(events.y.max())) > 0x7FF:
        raise ValueError('evt3 holds columns and rows up to 2047')
    words = np.empty(4 * events.x.size + 2, np.dtype('<u2'))
    n = codecs.encode_evt3(events.x, events.y, events.polarity, events.t_ns, words)
    words[n : n + 2] = codecs.evt3_time_words(end_ns // 1000)
    return words[: n + 2].view(np.uint8)


def _encode_mono(events: Events, stamp_ns: int) -> NDArray[np.uint8]:
    """Encode as mono, relative to the header stamp."""
    dt = events.t_ns - stamp_ns
    if dt.size and dt[-1] > 0xFFFFFFFF:
        raise ValueError(f'mono holds 4.29 s of events in a packet, got {dt[-1] / 1e9:.2f} s')
    words = dt.astype(np.uint64)
    words |= events.x.astype(np.uint64) << np.uint64(32)
    words |= events.y.astype(np.uint64) << np.uint64(48)
    words |= events.polarity.astype(np.uint64) << np.uint64(63)
    return words.astype(np.dtype('<u8'), copy=False).view(np.uint8)
