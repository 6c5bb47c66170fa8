"""Event arrays: our reading of their bytes against rosbags' own, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import (
    EVENT_ARRAY_TYPES,
    EventDecodeError,
    EventPacket,
    packet_from_event_array,
)

MS, S = 1_000_000, 1_000_000_000
STAMP = 1_700_000_000 * S
STORE = make_typestore()


def serialize(
    events: list[tuple[int, int, int, bool]],
    *,
    stamp_ns: int = STAMP,
    size: tuple[int, int] = (48, 64),
    frame_id: str = 'event_optical',
    kind: str = EVENT_ARRAY_TYPES[0],
    little_endian: bool = True,
) -> bytes:
    """An event array as rosbags writes it, from x, y, time in nanoseconds, polarity."""
    types = STORE.types
    time = types['builtin_interfaces/msg/Time']
    event = types[kind.replace('EventArray', 'Event')]
    header = types['std_msgs/msg/Header'](stamp=time(*divmod(stamp_ns, S)), frame_id=frame_id)
    made = [event(x=x, y=y, ts=time(*divmod(t, S)), polarity=p) for x, y, t, p in events]
    message = types[kind](header=header, height=size[0], width=size[1], events=made)
    return bytes(STORE.serialize_cdr(message, kind, little_endian=little_endian))


SPAN_NS = 200 * MS  # of one message; a longer one is cut, which has tests of its own
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 65535), st.integers(0, 65535), st.integers(0, SPAN_NS), st.booleans()
    ),
    max_size=40,
)


@given(
    drawn=EVENTS,
    frame_id=st.text(max_size=9),
    kind=st.sampled_from(EVENT_ARRAY_TYPES),
    little_endian=st.booleans(),
    padding=st.integers(0, 3),
    size=st.tuples(st.integers(1, 65535), st.integers(1, 65535)),
)
def test_bytes_are_read_as_rosbags_reads_them(
    drawn: list[tuple[int, int, int, bool]],
    frame_id: str,
    kind: str,
    little_endian: bool,
    padding: int,
    size: tuple[int, int],
) -> None:
    frame_id = frame_id.replace('\0', '')
    given_events = [(x, y, STAMP + t - SPAN_NS // 2, p) for x, y, t, p in drawn]
    data = serialize(
        given_events, size=size, frame_id=frame_id, kind=kind, little_endian=little_endian
    )
    packet = packet_from_event_array(data + b'\0' * padding)
    assert (packet.stamp_ns, packet.size, packet.frame_id) == (STAMP, size, frame_id)
    got = EventDecoder().decode(packet)
    read = STORE.deserialize_cdr(data, kind)
    inside = [e for e in read.events if e.x < size[1] and e.y < size[0]]
    inside.sort(key=lambda e: (e.ts.sec, e.ts.nanosec))  # stable, as what came together stays so
    assert got.x.tolist() == [e.x for e in inside]
    assert got.y.tolist() == [e.y for e in inside]
    assert got.polarity.tolist() == [e.polarity for e in inside]
    assert got.t_ns.tolist() == [e.ts.sec * S + e.ts.nanosec for e in inside]


def test_sizes_and_places_are_counted() -> None:
    decoder = EventDecoder()
    data = serialize([(1, 2, STAMP, True), (64, 0, STAMP, True), (0, 48, STAMP, False)])
    assert decoder.decode(packet_from_event_array(data)).x.tolist() == [1]
    assert decoder.counters['dropped_events'] == 2
    assert decoder.end_ns == STAMP


def test_sensor_time_is_put_on_the_host_clock() -> None:
    """Some converters leave the camera's own time, since its start, in the events."""
    decoder = EventDecoder()
    for k in range(20):
        late_ns = (k % 3) * MS
        data = serialize([(1, 2, k * 10 * MS, True)], stamp_ns=STAMP + k * 10 * MS + late_ns)
        got = decoder.decode(packet_from_event_array(data))
        assert abs(int(got.t_ns[0]) - (STAMP + k * 10 * MS)) <= 20_000


def test_loops_and_empty_arrays() -> None:
    decoder = EventDecoder()
    messages = [serialize([(1, 2, STAMP + k * S, True)], stamp_ns=STAMP + k * S) for k in range(3)]
    messages.append(serialize([], stamp_ns=STAMP + 3 * S))
    for _ in range(2):
        sizes = [decoder.decode(packet_from_event_array(m)).x.size for m in messages]
        assert sizes == [1, 1, 1, 0]
        assert decoder.end_ns == STAMP + 3 * S
    assert decoder.counters['restarts'] == 1


GOOD = serialize([(1, 2, STAMP, True), (3, 4, STAMP, False)])


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'', 'encapsulation .* is not plain CDR'),
        (b'\0\7' + GOOD[2:], "encapsulation '0007' is not plain CDR"),
        (GOOD[:20], '20 bytes end within the header'),
        (GOOD[:-1], '2 events take 29 bytes, but 28 bytes are left'),
        (GOOD + bytes(8), '2 events take 29 bytes, but 37 bytes are left'),
    ],
)
def test_damaged_arrays_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(EventDecodeError, match=message):
        packet_from_event_array(data)


@given(cut=st.integers(0, len(GOOD)), noise=st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(cut: int, noise: bytes) -> None:
    try:
        EventDecoder().decode(packet_from_event_array(GOOD[:cut] + noise))
    except EventDecodeError:
        return


def test_a_packet_of_a_wrong_length_is_refused() -> None:
    packet = EventPacket(0, (4, 4), 'event_array', np.zeros(14, np.uint8))
    with pytest.raises(EventDecodeError, match='got 14 bytes, expected 16 N - 3'):
        EventDecoder().decode(packet)
