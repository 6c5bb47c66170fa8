"""EVT 2.0 and EVT 2.1, packed here by their published layouts with plain integers."""

from __future__ import annotations

import numpy as np
import pytest

from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import EventDecodeError, EventPacket

SIZE = (480, 640)
STAMP = 1_700_000_000_000_000_000


def make_events(rng, count=500, start_us=5_000_000, size=SIZE):
    t = np.sort(rng.integers(start_us, start_us + 8_000, count))
    x, y = rng.integers(0, size[1], count), rng.integers(0, size[0], count)
    return [tuple(map(int, row)) for row in zip(t, x, y, rng.integers(0, 2, count), strict=True)]


def pack(events, encoding):
    """Words of the sensor: a time word where the upper bits change, then the event."""
    words, high, bits = [], None, 32 if encoding == 'evt2' else 64
    for t, x, y, p in events:
        if t >> 6 != high:
            high = t >> 6
            words.append((0x8 << 28 | high & 0xFFFFFFF) << (bits - 32))
        word = p << 28 | (t & 63) << 22
        if encoding == 'evt2':
            words.append(word | x << 11 | y)
        else:  # a vector of 32 pixels, which begins at a multiple of 32
            words.append((word | (x // 32 * 32) << 11 | y) << 32 | 1 << x % 32)
    words.append((0xA << 28) << (bits - 32))  # a trigger, which is no event
    return np.array(words, f'<u{bits // 8}').tobytes()


def packet(data, encoding, k=0, size=SIZE):
    stamp = STAMP + k * 10_000_000
    return EventPacket(stamp, size, encoding, np.frombuffer(data, np.uint8), seq=k)


@pytest.mark.parametrize('encoding', ['evt2', 'evt21'])
@pytest.mark.parametrize('start_us', [64, 5_000_000, (1 << 34) - 4_000])
def test_events_come_back_with_their_times(encoding, start_us, rng):
    decoder, got, sent = EventDecoder(), [], []
    for k in range(3):
        events = make_events(rng, start_us=start_us + k * 10_000)
        wrapped = [(t % (1 << 34), x, y, p) for t, x, y, p in events]
        made = decoder.decode(packet(pack(wrapped, encoding), encoding, k))
        got += zip(made.t_ns, made.x, made.y, made.polarity, strict=True)
        sent += events
    assert [tuple(map(int, row[1:])) for row in got] == [row[1:] for row in sent]
    times = np.array([int(row[0]) for row in got]) // 1000
    times -= times[0]
    wanted = np.array([row[0] for row in sent]) - sent[0][0]
    for k in range(3):  # exact in a packet; where packets meet, the clocks are matched to 10 us
        here = slice(500 * k, 500 * k + 500)
        assert np.ptp(times[here] - wanted[here]) <= 1
    assert np.abs(times - wanted).max() < 200
    assert decoder.counters['events'] == 1500


def test_a_vector_holds_all_its_pixels():
    word = (1 << 28 | 5 << 22 | 64 << 11 | 7) << 32 | 0b1000_0000_0000_0000_0000_0000_0000_0101
    data = np.array([0x8 << 60, word], '<u8').tobytes()
    events = EventDecoder().decode(packet(data, 'evt21'))
    assert events.x.tolist() == [64, 66, 95]
    assert set(events.y.tolist()) == {7}
    assert events.polarity.all()


@pytest.mark.parametrize('encoding', ['evt2', 'evt21'])
def test_events_without_a_time_and_outside_the_sensor_are_counted(encoding, rng):
    whole = pack(make_events(rng, 50), encoding)
    step = 4 if encoding == 'evt2' else 8
    decoder = EventDecoder()
    assert decoder.decode(packet(whole[step : 2 * step], encoding)).x.size == 0
    assert decoder.counters['skipped_events'] == 1
    decoder = EventDecoder()
    decoder.decode(packet(whole, encoding, size=(10, 10)))
    assert decoder.counters['dropped_events'] > 40
    with pytest.raises(EventDecodeError, match='expected a multiple of'):
        decoder.decode(packet(whole[:-1], encoding, 1))
    strange = np.array([0x5 << (8 * step - 4)], f'<u{step}').tobytes()
    with pytest.raises(EventDecodeError, match='has the type 0x5, which is not defined'):
        decoder.decode(packet(strange, encoding, 2))
