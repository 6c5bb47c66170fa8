"""Damaged times within a stream of events change nothing but the events that carry them."""

from dataclasses import replace

import numpy as np
import pytest

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.events.packets import EventPacket, packet_from_message
from sam_ad_perception.core.sensors import Events

START, PERIOD, COUNT, AT = 1_700_000_000_000_000_000, 10_000_000, 50, 20
FORWARD_NS, BACK_NS = 4_200_000_000, -3_000_000_000
ODD = {
    'first': slice(0, 1),
    'one inside': slice(17, 18),
    'some inside': slice(20, 30),
    'the last': slice(45, 50),
}


def packet_of(encoding, number, t_ns, stamp_ns):
    """A packet of events in row 3, the column counts them."""
    x = np.arange(t_ns.size).astype(np.uint16)
    if encoding == 'event_array':
        # As CDR lays them out: x of each event but the first lies behind the one before it.
        rows = np.zeros(t_ns.size, [('y', '<u2'), ('gap', '<u2'), ('s', '<i4'), ('n', '<u4'),
                                    ('p', 'u1'), ('pad', 'u1'), ('x', '<u2')])  # fmt: skip
        rows['s'], rows['n'], rows['p'] = t_ns // 10**9, t_ns % 10**9, 1
        rows['x'][:-1] = x[1:]
        data = np.frombuffer(rows.tobytes()[:-3], np.uint8)
        return EventPacket(int(stamp_ns), (30, 60), encoding, data)
    if encoding == 'mono':
        words = (np.uint64(1) << np.uint64(63)) | (x.astype(np.uint64) << np.uint64(32))
        words |= (t_ns - t_ns.min()).astype(np.uint64)
        data = words.view(np.uint8)
        return EventPacket(int(stamp_ns), (30, 60), encoding, data, seq=number + 1)
    events = Events(x, x * 0, x < 60, t_ns - START + 10**9, (30, 60))
    return replace(encode_packet(events, 'evt3', seq=number + 1), stamp_ns=int(stamp_ns))


@pytest.mark.parametrize('odd', ODD)
@pytest.mark.parametrize('leap_ns', [FORWARD_NS, BACK_NS, None])
def test_odd_times_in_an_event_array_cost_those_events(odd, leap_ns):
    """Forward, back, or set to zero: in packet 20 of 60."""
    decoder = EventDecoder()
    for number in range(60):
        true = START + number * PERIOD + np.arange(COUNT) * 200_000
        sent, kept = true.copy(), np.ones(COUNT, bool)
        if number == AT:
            sent[ODD[odd]] = 0 if leap_ns is None else sent[ODD[odd]] + leap_ns
            kept[ODD[odd]] = False
        events = decoder.decode(packet_of('event_array', number, sent, true[0]))
        np.testing.assert_array_equal(events.t_ns, true[kept], f'packet {number}')
        np.testing.assert_array_equal(events.x, np.flatnonzero(kept))


def test_an_event_without_time_in_every_array_costs_one_each():
    decoder = EventDecoder()
    for number in range(60):
        true = START + number * PERIOD + np.arange(COUNT) * 200_000
        sent = true.copy()
        sent[5] = 0
        events = decoder.decode(packet_of('event_array', number, sent, true[0]))
        np.testing.assert_array_equal(events.t_ns, np.delete(true, 5))
    assert decoder.counters['leaping_events'] == 60


@pytest.mark.parametrize('encoding', ['event_array', 'mono', 'evt3'])
def test_a_packet_that_leaps_shifts_nothing_behind_it(encoding):
    """Packet 20 of 600 is stamped 4.2 s ahead, and so are its events."""
    decoder = EventDecoder()
    for number in range(600):
        true = START + number * PERIOD + np.arange(COUNT) * 200_000
        sent = true + FORWARD_NS if number == AT else true
        stamp_ns = sent[-1] if encoding == 'evt3' else sent[0]
        events = decoder.decode(packet_of(encoding, number, sent, stamp_ns))
        if number > AT + 3:
            np.testing.assert_allclose(events.t_ns - START, true - START, rtol=0, atol=5000)


@pytest.mark.data
@pytest.mark.parametrize('share', [0.1, 0.5])
@pytest.mark.parametrize('bit', [20, 22, 29])
def test_flipped_bits_in_a_recorded_libcaer_packet(sample_data, bit, share):
    """1.05, 4.2 and 537 s ahead: the last events of one packet of a real camera."""
    with BagReader(sample_data / 'events/test_data_libcaer_rollover') as reader:
        packets = [packet_from_message(reader.deserialize(m)) for m in reader.messages()]
    at = 40
    words = packets[at].data.view('<u4').copy()
    first = round(words.size // 2 * (1 - share))
    words[2 * first + 1 :: 2] ^= np.uint32(1 << bit)
    damaged = replace(packets[at], data=words.view(np.uint8))
    plain, decoder = EventDecoder(), EventDecoder()
    for number, packet in enumerate(packets):
        wanted = plain.decode(packet)
        got = decoder.decode(damaged if number == at else packet)
        if number != at:
            np.testing.assert_array_equal(got.t_ns, wanted.t_ns, f'packet {number}')
        else:  # where the bit was set, it goes back: such events are held at the one before
            np.testing.assert_array_equal(got.t_ns[:first], wanted.t_ns[:first])
            assert got.t_ns.size == 0 or got.t_ns[-1] <= wanted.t_ns[-1]
