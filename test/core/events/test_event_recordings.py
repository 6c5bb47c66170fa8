"""Recorded event packets: their counts and sums are known from elsewhere."""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import (
    EventDecodeError,
    EventPacket,
    packet_from_message,
)

MS, S = 1_000_000, 1_000_000_000
MESSAGE = """
std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""


def recorded_packets(database: Path) -> Iterator[EventPacket]:
    """The event packets of a rosbag2 database, in the order of their arrival."""
    name = 'event_camera_msgs/msg/EventPacket'
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(MESSAGE, name))
    with sqlite3.connect(f'file:{database}?immutable=1', uri=True) as connection:
        for (raw,) in connection.execute('SELECT data FROM messages ORDER BY timestamp'):
            yield packet_from_message(store.deserialize_cdr(raw, name))


@pytest.mark.data
def test_recorded_evt3_counts(sample_data: Path) -> None:
    decoder = EventDecoder()
    packets = list(recorded_packets(sample_data / 'events/test_events_1/test_events_1.db3'))
    decoded = [decoder.decode(packet) for packet in packets]
    on = sum(int(events.polarity.sum()) for events in decoded)
    off = sum(int((~events.polarity).sum()) for events in decoded)
    assert (off, on) == (218_291, 125_183)
    assert 'lost_packets' not in decoder.counters
    assert decoder.counters['events'] == 343_474
    times = np.concatenate([events.t_ns for events in decoded])
    assert np.all(np.diff(times) >= 0)
    # The host cannot receive an event before it happened, nor does the driver hold one for long.
    delays = np.array([p.stamp_ns - e.t_ns[-1] for p, e in zip(packets, decoded, strict=True)])
    assert delays.min() >= 0
    assert delays.max() < 10 * MS


@pytest.mark.data
def test_recorded_libcaer_rollover_counts(sample_data: Path) -> None:
    decoder = EventDecoder()
    folder = sample_data / 'events/test_data_libcaer_rollover'
    packets = list(recorded_packets(folder / 'libcaer_rollover_0.db3'))
    decoded = [decoder.decode(packet) for packet in packets]
    sums = [
        sum(int(column.sum()) for column in columns)
        for columns in zip(*((e.x, e.y, e.polarity) for e in decoded), strict=True)
    ]
    assert sum(e.x.size for e in decoded) == 334_331
    assert sums == [111_651_612, 82_801_007, 181_908]
    assert packets[0].time_base_ns != packets[-1].time_base_ns, 'the sensor clock wraps in here'
    times = np.concatenate([e.t_ns for e in decoded])
    assert np.all(np.diff(times) >= 0)
    assert np.diff(times).max() < MS, 'no gap at the rollover'
    assert times[-1] - times[0] == pytest.approx(2 * S, rel=0.01)


@pytest.mark.data
def test_libcaer_cmp_without_its_decoder_says_what_to_install(
    sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'event_camera_py', None)  # import fails as where it is absent
    with BagReader(sample_data / 'events/test_events_2') as reader:
        packet = packet_from_message(reader.deserialize(next(reader.messages())))
    assert packet.encoding == 'libcaer_cmp'
    decoder = EventDecoder()
    with pytest.raises(EventDecodeError, match=r'libcaer_cmp needs .*\(apt install'):
        decoder.decode(packet)


@pytest.mark.data
def test_recorded_libcaer_cmp(sample_data: Path) -> None:
    pytest.importorskip('event_camera_py', reason='event_camera_py is not installed')
    decoder = EventDecoder()
    with BagReader(sample_data / 'events/test_events_2') as reader:
        packets = [packet_from_message(reader.deserialize(m)) for m in reader.messages()]
    decoded = [decoder.decode(packet) for packet in packets]
    assert sum(e.x.size for e in decoded) == 571_266
    assert sum(int(e.polarity.sum()) for e in decoded) == 211_043
    assert max(int(e.x.max()) for e in decoded) < 346
    assert max(int(e.y.max()) for e in decoded) < 260
    times = np.concatenate([e.t_ns for e in decoded])
    assert np.all(np.diff(times) >= 0)
    # Packets state the sensor time of their first event: differences agree.
    starts = np.array([e.t_ns[0] for e in decoded])
    bases = np.array([p.time_base_ns for p in packets])
    assert np.abs((starts - starts[0]) - (bases - bases[0])).max() < MS
    delays = np.array([p.stamp_ns - e.t_ns[-1] for p, e in zip(packets, decoded, strict=True)])
    assert delays.min() >= 0
    assert delays.max() < 10 * MS
    assert 'rollovers' not in +Counter(decoder.counters)


@pytest.mark.data
@pytest.mark.parametrize('name', ['test_events_1', 'test_data_libcaer_rollover'])
def test_decoded_as_by_the_drivers_own_package(name: str, sample_data: Path) -> None:
    package = pytest.importorskip('event_camera_py', reason='event_camera_py is not installed')
    theirs, ours = package.Decoder(), EventDecoder()
    with BagReader(sample_data / 'events' / name) as reader:
        packets = [packet_from_message(reader.deserialize(m)) for m in reader.messages()]
    alike = []
    for packet in packets:
        height, width = packet.size
        theirs.decode_bytes(
            packet.encoding, width, height, packet.time_base_ns, packet.data.tobytes()
        )
        wanted, got = theirs.get_cd_events(), ours.decode(packet)
        np.testing.assert_array_equal(got.x, wanted['x'])
        np.testing.assert_array_equal(got.y, wanted['y'])
        np.testing.assert_array_equal(got.polarity, wanted['p'] == 1)
        steps = np.maximum(np.diff(wanted['t'].astype(np.int64)), 0)
        scale = 1000 if packet.encoding == 'evt3' else 1  # it takes libcaer's for nanoseconds
        alike.append(np.array_equal(np.diff(got.t_ns), scale * steps))
    # In the others the host clock was found to be nearer, and the first events were held.
    assert np.mean(alike) > 0.95
