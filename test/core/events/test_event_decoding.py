"""Event packets: hand-built words, a slow reference decoder, round trips, clocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam_ad_perception.core.events.decoding import (
    EventDecodeError,
    EventDecoder,
    EventPacket,
    empty_events,
)
from sam_ad_perception.core.events.encoding import encode_packet, warm_up
from sam_ad_perception.core.sensors import Events

SIZE = (480, 640)
US, MS, S = 1_000, 1_000_000, 1_000_000_000
EVT3_WRAP = 16_777_216 * US


def make_events(t_ns: list[int], size: tuple[int, int] = SIZE, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    n = len(t_ns)
    return Events(
        rng.integers(0, size[1], n).astype(np.uint16),
        rng.integers(0, size[0], n).astype(np.uint16),
        rng.random(n) < 0.5,
        np.array(t_ns, np.int64),
        size,
    )


def evt3_packet(words: list[int], stamp_ns: int = 0, seq: int = 0) -> EventPacket:
    return EventPacket(
        stamp_ns, SIZE, 'evt3', np.array(words, np.dtype('<u2')).view(np.uint8), seq
    )


def assert_same(got: Events, wanted: Events, t_ns: NDArray[np.int64] | None = None) -> None:
    np.testing.assert_array_equal(got.x, wanted.x)
    np.testing.assert_array_equal(got.y, wanted.y)
    np.testing.assert_array_equal(got.polarity, wanted.polarity)
    np.testing.assert_array_equal(got.t_ns, wanted.t_ns if t_ns is None else t_ns)


@given(
    steps=st.lists(st.integers(0, 40 * MS), max_size=80),
    start=st.integers(0, 1 << 61),
    encoding=st.sampled_from(['evt3', 'mono']),
    seed=st.integers(0, 1000),
)
def test_round_trip(steps: list[int], start: int, encoding: str, seed: int) -> None:
    t_ns = [start + t for t in np.cumsum(steps, dtype=np.int64).tolist()]
    events = make_events(t_ns, seed=seed)
    end_ns = (t_ns[-1] if t_ns else start) + 5
    packet = encode_packet(events, encoding, end_ns=end_ns)
    decoder = EventDecoder()
    got = decoder.decode(packet)
    if encoding == 'mono':
        assert_same(got, events)
    else:  # whole microseconds of sensor time, placed so that the packet's end meets its stamp
        wanted = events.t_ns // US * US + end_ns - end_ns // US * US
        assert_same(got, events, wanted)
        assert np.all(np.abs(got.t_ns - events.t_ns) < US)


def test_round_trip_over_many_packets_and_rollovers() -> None:
    decoder = EventDecoder()
    sent, got = [], []
    for seq in range(500):
        first = 1_700_000_000 * S + seq * 100 * MS
        events = make_events(list(range(first, first + 100 * MS, 7 * MS)), seed=seq)
        sent.append(events)
        got.append(decoder.decode(encode_packet(events, 'evt3', seq=seq, end_ns=first + 100 * MS)))
    for one, other in zip(sent, got, strict=True):
        assert_same(other, one)
    assert decoder.counters['rollovers'] in (2, 3)
    assert decoder.end_ns == 1_700_000_000 * S + 500 * 100 * MS


def slow_evt3(words: list[int], width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Decode evt3 as its description reads, one word at a time: (t_us, x, y, polarity)."""
    events: list[tuple[int, int, int, int]] = []
    high = low = row = base = base_polarity = None
    epoch, latest = 0, 0
    for word in words:
        code, payload = word >> 12, word & 0xFFF
        if code == 0x8:
            if high is not None and high - payload > 2048:
                epoch += 1
            if payload != high:
                low = 0 if low is not None else None
            high = payload
        elif code == 0x6:
            low = payload if high is not None else None
        elif code == 0x0:
            row = payload & 0x7FF
        elif code == 0x3:
            base, base_polarity = payload & 0x7FF, payload >> 11
        time = None if low is None else (epoch << 24) + (high << 12) + low
        latest = max(latest, time or 0)
        columns: list[tuple[int, int]] = []
        if code == 0x2:
            columns = [(payload & 0x7FF, payload >> 11)]
        elif code in (0x4, 0x5) and base is not None:
            count = 12 if code == 0x4 else 8
            columns = [(base + i, base_polarity) for i in range(count) if payload >> i & 1]
            base += count
        for x, polarity in columns:
            if time is not None and row is not None and x < width and row < height:
                events.append((latest, x, row, polarity))
    return events


@st.composite
def evt3_words(draw: st.DrawFn) -> list[int]:
    """Words of every defined code; the clock only moves on, with a rollover now and then."""
    words: list[int] = []
    clock = draw(st.integers(0, (1 << 24) - 1))
    for code in draw(st.lists(st.sampled_from([0, 2, 2, 2, 3, 4, 5, 6, 8, 0xA, 0xE, 9, 7, 0xF]))):
        payload = draw(st.integers(0, 0xFFF))
        if code == 6:
            clock += draw(st.integers(0, 5_000_000))
            words.append(0x8000 | (clock >> 12 & 0xFFF))
            payload = clock & 0xFFF
        elif code == 8:
            payload = clock >> 12 & 0xFFF
        elif code == 3:
            payload &= 0xBFF
        words.append(code << 12 | payload)
    return words


@given(words=evt3_words(), cut=st.integers(0, 100))
def test_evt3_against_slow_decoder_over_two_packets(words: list[int], cut: int) -> None:
    # A vector word before any base is not evt3; the slow decoder would have nothing to say.
    words = [0x3000, *words]
    decoder = EventDecoder()
    parts = [words[:cut], words[cut:]]
    got = [decoder.decode(evt3_packet(part, seq=i)) for i, part in enumerate(parts)]
    wanted = slow_evt3(words, SIZE[1], SIZE[0])
    assert [(x, y, p) for _, x, y, p in wanted] == [
        (int(x), int(y), int(p))
        for events in got
        for x, y, p in zip(events.x, events.y, events.polarity, strict=True)
    ]
    if not words[cut:]:  # in one packet, one offset: differences of the times are the sensor's
        differences = np.diff([t for t, *_ in wanted]) * US
        np.testing.assert_array_equal(np.diff(got[0].t_ns), differences)


def test_evt3_vectors_by_hand() -> None:
    words = [0x8001, 0x6002, 0x0007, 0x3800 | 10, 0x4000 | 0b100000000001, 0x5000 | 0b10000001]
    events = EventDecoder().decode(evt3_packet(words, stamp_ns=5 * S))
    assert events.x.tolist() == [10, 21, 22, 29]
    assert events.y.tolist() == [7] * 4
    assert events.polarity.all()
    assert events.t_ns.tolist() == [5 * S] * 4


def test_evt3_skips_what_it_cannot_place() -> None:
    decoder = EventDecoder()
    words = [0x2001, 0x8000, 0x2002, 0x6000, 0x2003, 0x0001, 0x2004, 0x2000 | 640, 0x01FF, 0x2005]
    assert decoder.decode(evt3_packet(words)).x.tolist() == [4]
    assert decoder.counters['skipped_events'] == 3  # no time, half a time, no row
    assert decoder.counters['dropped_events'] == 2  # column 640, row 511


def test_lost_packets_are_counted_and_wraps_in_them_found() -> None:
    decoder = EventDecoder()
    start = 1_700_000_000 * S
    for seq, after in ((10, 0), (11, S), (25, S + 3 * EVT3_WRAP), (26, 2 * S + 3 * EVT3_WRAP)):
        events = make_events([start + after + i * MS for i in range(5)])
        assert_same(decoder.decode(encode_packet(events, 'evt3', seq=seq)), events)
    assert decoder.counters['lost_packets'] == 13
    assert decoder.counters['rollovers'] == 3


def test_after_lost_packets_nothing_is_placed_by_what_was_lost() -> None:
    decoder = EventDecoder()
    decoder.decode(evt3_packet([0x8000, 0x6000, 0x0005, 0x2001], seq=1))
    assert decoder.decode(evt3_packet([0x6001, 0x2002], seq=2)).y.tolist() == [5]
    assert decoder.decode(evt3_packet([0x6002, 0x2003], seq=4)).y.size == 0
    assert decoder.counters['skipped_events'] == 1


def libcaer_packet(t_us: list[int], time_base_ns: int, stamp_ns: int, seq: int) -> EventPacket:
    words = np.array([(1 | 2 | 3 << 2 | 4 << 17, t) for t in t_us], np.dtype('<u4'))
    return EventPacket(
        stamp_ns, SIZE, 'libcaer', words.reshape(-1).view(np.uint8), seq, time_base_ns
    )


def test_libcaer_rollover_inside_a_packet() -> None:
    wrap = 1 << 31
    decoder = EventDecoder()
    end = 1_700_000_000 * S
    base = end - (wrap + 20) * US
    events = decoder.decode(libcaer_packet([wrap - 20, wrap - 1, 0, 20], base, end, 0))
    assert (end - events.t_ns).tolist() == [40 * US, 21 * US, 20 * US, 0]
    assert (events.x.tolist(), events.y.tolist()) == ([4] * 4, [3] * 4)
    assert decoder.counters['rollovers'] == 1
    following = libcaer_packet([30], base + wrap * US, end + 10 * US, 1)
    assert decoder.decode(following).t_ns.tolist() == [end + 10 * US]


def test_libcaer_drops_events_marked_invalid() -> None:
    words = np.array([4 << 17, 5, 4 << 17 | 1, 6], np.dtype('<u4'))
    decoder = EventDecoder()
    events = decoder.decode(EventPacket(0, SIZE, 'libcaer', words.view(np.uint8)))
    assert events.x.tolist() == [4]
    assert decoder.counters['dropped_events'] == 1


def test_mono_in_big_endian() -> None:
    events = make_events([0, 5, 900])
    packet = encode_packet(events, 'mono')
    swapped = packet.data.view('<u8').astype('>u8').view(np.uint8)
    big = EventPacket(packet.stamp_ns, SIZE, 'mono', swapped, is_bigendian=True)
    assert_same(EventDecoder().decode(big), events)


def test_held_up_packet_does_not_move_its_events() -> None:
    """The clock offset comes from the packets that travelled fastest."""
    decoder = EventDecoder()
    rng = np.random.default_rng(0)
    errors = []
    for seq in range(400):
        true_ns = 1_700_000_000 * S + seq * 10 * MS
        sensor = make_events([true_ns - MS, true_ns])
        late_ns = int(rng.exponential(5 * MS))
        packet = encode_packet(sensor, 'evt3', seq=seq, end_ns=true_ns)
        held_up = EventPacket(true_ns + late_ns, SIZE, 'evt3', packet.data, seq)
        errors.append(int(decoder.decode(held_up).t_ns[-1]) - true_ns)
    assert max(errors[100:]) < MS
    assert min(errors) >= 0


def test_drifting_sensor_clock_is_followed() -> None:
    for drift in (-1e-4, 1e-4):
        decoder = EventDecoder()
        for seq in range(200):
            host_ns = 1_700_000_000 * S + seq * S
            sensor_ns = host_ns + int(seq * S * drift)
            data = encode_packet(make_events([sensor_ns]), 'evt3', seq=seq).data
            events = decoder.decode(EventPacket(host_ns, SIZE, 'evt3', data, seq))
            assert abs(int(events.t_ns[0]) - host_ns) < 0.2 * MS
        assert 'restarts' not in decoder.counters


@pytest.mark.parametrize('encoding', ['evt3', 'mono'])
def test_bag_loop_and_driver_restart(encoding: str) -> None:
    decoder = EventDecoder()
    start = 1_700_000_000 * S
    loop = [
        encode_packet(make_events([start + i * S, start + i * S + MS]), encoding, seq=i)
        for i in range(5)
    ]
    for _ in range(3):
        for i, packet in enumerate(loop):
            assert decoder.decode(packet).t_ns.tolist() == [start + i * S, start + i * S + MS]
    assert decoder.counters['restarts'] == 2
    # A driver that starts again counts from zero, while time goes on.
    later = encode_packet(make_events([start + 60 * S]), encoding, seq=0)
    assert decoder.decode(later).t_ns.tolist() == [start + 60 * S]
    assert decoder.counters['restarts'] == 3


@pytest.mark.parametrize('silence_s', [3, 6, 9, 10, 13, 16, 17, 40])
def test_a_silence_in_which_the_clock_of_evt3_may_wrap(silence_s: int) -> None:
    """A driver that was stopped goes on counting; the sensor's 24 bits went on, too."""
    decoder = EventDecoder()
    start = 1_700_000_000 * S
    times = [start + i * 30 * MS for i in range(3)]
    times += [times[-1] + silence_s * S + i * 30 * MS for i in range(3)]
    for seq, t_ns in enumerate(times):
        packet = encode_packet(make_events([t_ns - MS, t_ns]), 'evt3', seq=seq)
        assert decoder.decode(packet).t_ns.tolist() == [t_ns - MS, t_ns]
    assert 'restarts' not in decoder.counters


def test_short_bag_loop() -> None:
    """The stamps go back by less than a jump: some packets look late, then the rest comes."""
    decoder = EventDecoder()
    loop = [encode_packet(make_events([i * MS]), 'evt3', seq=i + 1) for i in range(20)]
    counts = [decoder.decode(packet).x.size for _ in range(3) for packet in loop]
    assert counts == [1] * 20 + ([0, 0] + [1] * 18) * 2
    assert decoder.counters['restarts'] == 2


def test_stream_without_numbers() -> None:
    decoder = EventDecoder()
    times = [decoder.decode(encode_packet(make_events([i * MS]), 'evt3')).t_ns for i in range(5)]
    assert [t.tolist() for t in times] == [[i * MS] for i in range(5)]
    assert 'restarts' not in decoder.counters
    assert decoder.decode(encode_packet(make_events([MS]), 'evt3')).x.size == 0
    assert decoder.counters['late_packets'] == 1


def test_out_of_order_packet_is_dropped_and_counted() -> None:
    decoder = EventDecoder()
    packets = [encode_packet(make_events([i * MS]), 'evt3', seq=i) for i in range(1, 4)]
    sizes = [decoder.decode(packets[i]).x.size for i in (0, 2, 1, 2)]
    assert sizes == [1, 1, 0, 0]
    assert decoder.counters['late_packets'] == 2


def test_clock_that_was_set_is_followed() -> None:
    decoder = EventDecoder()
    data = [encode_packet(make_events([i * MS]), 'evt3').data for i in range(3)]
    for seq, stamp in enumerate((0, MS, 3600 * S)):
        decoder.decode(EventPacket(stamp, SIZE, 'evt3', data[seq], seq))
    assert decoder.end_ns == 3600 * S
    assert decoder.counters['restarts'] == 1


@pytest.mark.parametrize(
    ('packet', 'message'),
    [
        (EventPacket(0, SIZE, 'evt4', np.zeros(2, np.uint8)), 'encoding must be one of .*evt4'),
        (EventPacket(0, SIZE, 'evt3', np.zeros(3, np.uint8)), 'got 3 bytes, .*multiple of 2'),
        (EventPacket(0, SIZE, 'mono', np.zeros(12, np.uint8)), 'got 12 bytes, .*multiple of 8'),
        (EventPacket(0, SIZE, 'libcaer', np.zeros(4, np.uint8)), 'got 4 bytes'),
        (EventPacket(0, (0, 640), 'evt3', np.zeros(2, np.uint8)), 'height 0, width 640'),
        (EventPacket(0, SIZE, 'evt3', np.zeros(2, np.int8)), 'must be a row of uint8, got int8'),
        (
            evt3_packet([0x8000, 0x6000, 0xB123], seq=1),
            'word 2 .* 0xb123, and code 11 is not defined',
        ),
    ],
)
def test_bad_packets_are_refused_in_one_sentence(packet: EventPacket, message: str) -> None:
    decoder = EventDecoder()
    good = encode_packet(make_events([MS]), 'evt3', seq=0)
    decoder.decode(good)
    with pytest.raises(EventDecodeError, match=message):
        decoder.decode(packet)
    following = encode_packet(make_events([2 * MS]), 'evt3', seq=2)
    assert decoder.decode(following).t_ns.tolist() == [2 * MS]


@given(data=st.binary(max_size=64), encoding=st.sampled_from(['evt3', 'mono', 'libcaer', 'x']))
def test_any_bytes_decode_or_are_refused(data: bytes, encoding: str) -> None:
    packet = EventPacket(0, (48, 64), encoding, np.frombuffer(data, np.uint8))
    try:
        events = EventDecoder().decode(packet)
    except EventDecodeError:
        return
    assert np.all(events.x < 64)
    assert np.all(events.y < 48)
    assert np.all(np.diff(events.t_ns) >= 0)


def test_encoding_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match='evt3 or mono'):
        encode_packet(make_events([0]), 'libcaer')
    with pytest.raises(ValueError, match='end_ns'):
        encode_packet(empty_events(SIZE), 'evt3')
    with pytest.raises(ValueError, match='ordered'):
        encode_packet(make_events([5, 4]), 'evt3')
    with pytest.raises(ValueError, match=r'4\.29 s'):
        encode_packet(make_events([0, 5 * S]), 'mono')
    wide = Events(*(np.array([v]) for v in (3000, 0, True, 0)), size=(10, 4000))
    with pytest.raises(ValueError, match='2047'):
        encode_packet(wide, 'evt3')


def test_packet_without_events_still_tells_the_time() -> None:
    decoder = EventDecoder()
    for encoding in ('evt3', 'mono'):
        packet = encode_packet(empty_events(SIZE), encoding, end_ns=7 * MS)
        assert decoder.decode(packet).t_ns.size == 0
        assert decoder.end_ns == 7 * MS


def test_warm_up_runs_every_kernel() -> None:
    warm_up()


@pytest.mark.parametrize('encoding', ['mono', 'evt3', 'event_array'])
@pytest.mark.parametrize('leap_ns', [400_000_000, 4_200_000_000])
def test_events_that_leap_are_cut_and_shift_nothing_behind_them(encoding, leap_ns):
    """In packet 20 of 600 the last 5 of 50 events lie 0.4 or 4.2 s ahead: a bit was flipped."""
    decoder = EventDecoder()
    period = 10_000_000
    for k in range(600):
        t = 1_700_000_000_000_000_000 + k * period + np.arange(50) * 200_000
        true = t.copy()
        if k == 20:
            t[45:] += leap_ns
        packet = stream_packet(encoding, k, t, t[0] if encoding == 'mono' else true[-1])
        events = decoder.decode(packet)
        expected = true[:45] if k == 20 else true
        np.testing.assert_allclose(events.t_ns - t[0], expected - t[0], rtol=0, atol=5 * US)
    assert decoder.counters['leaping_events'] == 5


def stream_packet(encoding, seq, t_ns, stamp_ns):
    """A packet of events at one pixel; sensor clocks count from the start of the stream."""
    zeros = np.zeros(t_ns.size, np.uint16)
    start = 1_700_000_000_000_000_000
    if encoding == 'event_array':
        rows = np.zeros(t_ns.size, [('x', '<u2'), ('y', '<u2'), ('s', '<i4'), ('n', '<u4'),
                                    ('p', 'u1'), ('gap', 'u1', 3)])  # fmt: skip
        rows['s'], rows['n'], rows['p'] = t_ns // 10**9, t_ns % 10**9, 1
        data = np.frombuffer(rows.tobytes()[:-3], np.uint8)
        return EventPacket(int(stamp_ns), (30, 40), encoding, data, seq=0)
    if encoding == 'mono':
        words = (np.uint64(1) << np.uint64(63)) | (t_ns - stamp_ns).astype(np.uint64)
        return EventPacket(int(stamp_ns), (30, 40), encoding, words.view(np.uint8), seq=seq + 1)
    events = Events(zeros, zeros, np.ones(t_ns.size, np.bool_), t_ns - start, (30, 40))
    return replace(encode_packet(events, 'evt3', seq=seq + 1), stamp_ns=int(stamp_ns))
