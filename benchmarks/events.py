"""How fast event packets are decoded and events counted, on one core.

Run from the repository root: `python -m benchmarks.events [--packet-ms 1000]`. The events are a
stream of short runs along image rows; times are of the processor, the best of 30 rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from sam_ad_perception.core.event_buffer import EventBuffer
from sam_ad_perception.core.event_encoding import encode_packet, warm_up
from sam_ad_perception.core.event_packets import EventPacket
from sam_ad_perception.core.event_representations import accumulate_counts
from sam_ad_perception.core.events import EventDecoder
from sam_ad_perception.core.sensors import Events

MS = 1_000_000
SIZE = (480, 640)


def stream(count: int, duration_ms: int) -> Events:
    """Events in runs of three of a row, as moving edges give them."""
    rng = np.random.default_rng(0)
    runs = count // 3
    x = rng.integers(0, SIZE[1] - 2, runs).repeat(3) + np.tile(np.arange(3), runs)
    y = rng.integers(0, SIZE[0], runs).repeat(3)
    t_ns = np.sort(rng.integers(0, duration_ms * MS, runs)).repeat(3)
    polarity = (rng.random(runs) < 0.5).repeat(3)
    return Events(x.astype(np.uint16), y.astype(np.uint16), polarity, t_ns, SIZE)


def as_libcaer(events: Events) -> EventPacket:
    """The same events in the format that has no encoder of its own."""
    words = np.empty((events.x.size, 2), np.dtype('<u4'))
    words[:, 0] = events.x.astype(np.uint32) << 17 | events.y.astype(np.uint32) << 2
    words[:, 0] |= events.polarity.astype(np.uint32) << 1 | 1
    words[:, 1] = events.t_ns // 1000
    return EventPacket(int(events.t_ns[-1]), SIZE, 'libcaer', words.reshape(-1).view(np.uint8))


def best_seconds(work: Callable[[], object], rounds: int = 30) -> float:
    """Shortest processor time of one call, seconds."""
    times = []
    for _ in range(rounds):
        start = time.thread_time_ns()
        work()
        times.append(time.thread_time_ns() - start)
    return min(times) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=3_000_000, help='events in all')
    parser.add_argument('--packet-ms', type=int, default=1000, help='length of a packet')
    arguments = parser.parse_args()
    warm_up()
    events = stream(arguments.count, 1000)
    last = np.arange(0, 1000, arguments.packet_ms) + arguments.packet_ms
    cuts = np.searchsorted(events.t_ns, last[:-1] * MS)
    columns = [np.split(c, cuts) for c in (events.x, events.y, events.polarity, events.t_ns)]
    parts = [Events(*each, SIZE) for each in zip(*columns, strict=True)]
    packets = {
        encoding: [encode_packet(part, encoding, seq=i + 1) for i, part in enumerate(parts)]
        for encoding in ('evt3', 'mono')
    }
    packets['libcaer'] = [as_libcaer(part) for part in parts]

    def decode(encoding: str) -> int:
        decoder = EventDecoder()
        return sum(decoder.decode(packet).x.size for packet in packets[encoding])

    buffer = EventBuffer()
    for part in parts:
        buffer.add(part)
    steps: dict[str, tuple[int, Callable[[], object]]] = {
        f'decode {encoding}': (events.x.size, partial(decode, encoding)) for encoding in packets
    }
    steps['count into (2, 480, 640)'] = (events.x.size, partial(accumulate_counts, events))
    window = partial(buffer.window, 1000 * MS, 30 * MS)
    steps['cut a 30 ms window'] = (events.x.size * 30 // 1000, window)
    table = Table('step', 'million events/s')
    for name, (count, work) in steps.items():
        table.add_row(name, f'{count / best_seconds(work) / 1e6:.0f}')
    Console().print(table)


if __name__ == '__main__':
    main()
