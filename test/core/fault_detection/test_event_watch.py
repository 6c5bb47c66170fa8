"""Windows of made events and of recordings, spoilt here by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import packet_from_message
from sam_ad_perception.core.health.config import HealthConfig
from sam_ad_perception.core.health.monitor import HealthMonitor
from sam_ad_perception.core.sensors import (
    EVENT_WINDOW_NS,
    CameraModel,
    Events,
    Modality,
    SensorBundle,
    SensorFrame,
)

EVENT = Modality.EVENT
SIZE = (120, 160)
VIEW = CameraModel(160, 120, np.diag([150.0, 150.0, 1.0]), frame_id='view')
START_NS = 1_000_000_000_000


def window(rng, end_ns, count=2500):
    """Noise everywhere, and an edge that moves through the middle; a third is ON."""
    height, width = SIZE
    x = rng.integers(0, width, count)
    edge = rng.random(count) < 0.5
    x[edge] = np.clip(rng.normal(width * ((end_ns // EVENT_WINDOW_NS) % 20) / 20, 4, edge.sum()),
                      0, width - 1)  # fmt: skip
    t = np.sort(rng.integers(end_ns - EVENT_WINDOW_NS + 1, end_ns, count))
    return Events(
        x.astype(np.uint16), rng.integers(0, height, count).astype(np.uint16),
        rng.random(count) < 0.35, t, SIZE,
    )  # fmt: skip


def keep(events, kept):
    columns = (events.x, events.y, events.polarity, events.t_ns)
    return Events(*(column[kept] for column in columns), events.size)


def add(events, x, y, rng):
    t = rng.integers(events.t_ns[0], events.t_ns[-1], len(x))
    order = np.argsort(np.concatenate([events.t_ns, t]), kind='stable')
    return Events(
        np.concatenate([events.x, x]).astype(np.uint16)[order],
        np.concatenate([events.y, y]).astype(np.uint16)[order],
        np.concatenate([events.polarity, rng.random(len(x)) < 0.5])[order],
        np.concatenate([events.t_ns, t])[order], events.size,
    )  # fmt: skip


class Watched:
    """Feeds a monitor one window after the other, without gaps."""

    def __init__(self):
        self.monitor = HealthMonitor(HealthConfig(recovery_frames=1))
        self.stamp_ns = START_NS

    def feed(self, events):
        frame = SensorFrame(EVENT, self.stamp_ns, 'event', events, VIEW)
        self.checked = self.monitor.check(SensorBundle(self.stamp_ns, EVENT, VIEW, {EVENT: frame}))
        self.stamp_ns += EVENT_WINDOW_NS
        self.found = self.checked.findings.get(EVENT, ())
        return {str(finding.kind) for finding in self.found}


def hot(events, rng):
    place = np.arange(40)
    u, v = np.repeat(4 * place % 157, 25), np.repeat(7 * place % 113, 25)
    return add(events, u, v, rng)


def stuck_row(events, rng):
    return add(events, np.tile(np.arange(160), 6), np.full(960, 61), rng)


def some_packets(events, rng):
    packet = (events.t_ns - events.t_ns[0]) // 1_000_000
    return keep(events, packet % 3 == 0)


DAMAGES = {
    'one_polarity': lambda events, rng: keep(events, ~events.polarity),
    'hot_pixels': hot,
    'stuck_lines': stuck_row,
    'dead_lines': lambda events, rng: keep(events, ~np.isin(events.y, np.arange(3, 118, 10))),
    'dead_region': lambda events, rng: keep(events, events.x < 100),
    'rate_collapse': lambda events, rng: keep(events, rng.random(len(events.x)) < 0.06),
    'lost_packets': some_packets,
}


@pytest.mark.parametrize('kind', DAMAGES)
def test_a_fault_that_sets_in_is_named_until_it_ends(kind, rng):
    watched, count = Watched(), 700 if kind == 'stuck_lines' else 2500
    for _ in range(40):
        assert watched.feed(window(rng, watched.stamp_ns, count)) == set()
    said = [
        watched.feed(DAMAGES[kind](window(rng, watched.stamp_ns, count), rng)) for _ in range(40)
    ]
    assert sum(kind in found for found in said) >= 28, said
    assert set().union(*said) == {kind}
    assert any(sign.isdigit() for sign in next(f for f in watched.found if f.kind == kind).reason)
    assert EVENT in watched.checked.bundle.frames
    for _ in range(12):
        watched.feed(window(rng, watched.stamp_ns, count))
    assert watched.feed(window(rng, watched.stamp_ns, count)) == set()


def test_a_rate_that_falls_and_rises_with_the_motion_is_no_fault(rng):
    watched = Watched()
    counts = [*np.linspace(2500, 400, 30), *np.full(20, 400), *np.linspace(400, 9000, 20)]
    for count in counts:
        assert watched.feed(window(rng, watched.stamp_ns, int(count))) == set()


def test_a_flash_of_one_polarity_is_no_fault(rng):
    watched = Watched()
    for number in range(40):
        events = window(rng, watched.stamp_ns)
        if 22 <= number < 24:
            events = Events(events.x, events.y, events.polarity | True, events.t_ns, SIZE)
        assert watched.feed(events) == set()


def test_what_comes_after_a_flood_is_usual(rng):
    watched = Watched()
    said = []
    for number in range(48):
        flood = number % 12 >= 7
        said.append(
            (flood, watched.feed(window(rng, watched.stamp_ns, 60_000 if flood else 2500)))
        )
    assert all(found == ({'burst'} if flood else set()) for flood, found in said), said


def test_pixels_that_were_always_hot_are_usual(rng):
    watched = Watched()
    for _ in range(30):
        assert watched.feed(hot(window(rng, watched.stamp_ns), rng)) == set()


@pytest.mark.data
def test_a_recording_is_healthy_and_spoilt_it_is_not(sample_data: Path, rng):
    decoder = EventDecoder()
    with BagReader(sample_data / 'events/test_data_libcaer_rollover') as reader:
        names = [topic.name for topic in reader.topics if topic.type.endswith('EventPacket')]
        messages = map(reader.deserialize, reader.messages(names))
        parts = [decoder.decode(packet_from_message(message)) for message in messages]
    whole = [np.concatenate([getattr(p, n) for p in parts]) for n in ('x', 'y', 'polarity')]
    t = np.concatenate([part.t_ns for part in parts])
    t = t - t[0] + START_NS - EVENT_WINDOW_NS + 1
    healthy = [
        Events(*(column[first:last] for column in whole), t[first:last], parts[0].size)
        for first, last in (
            np.searchsorted(t, (end - EVENT_WINDOW_NS, end), side='right')
            for end in START_NS + EVENT_WINDOW_NS * np.arange(64)
        )
    ]
    watched = Watched()
    assert set().union(*map(watched.feed, healthy)) == set()
    for kind in ('one_polarity', 'dead_region', 'dead_lines', 'rate_collapse', 'lost_packets'):
        watched = Watched()
        for events in healthy[:34]:
            watched.feed(events)
        said = [watched.feed(DAMAGES[kind](events, rng)) for events in healthy[34:]]
        assert sum(kind in found for found in said) >= 15, (kind, said)
