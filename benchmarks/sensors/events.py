"""How fast events are decoded and made into images, on one core, beside other packages.

Run from the repository root: `python -m benchmarks.sensors.events [--packet-ms 1000]`. The events
are a stream of short runs along image rows; times are of the processor, the best of up to 30
rounds. Other packages are measured where they are installed: expelliarmus, tonic and dv-processing
(PyPI), event_camera_py (ROS). They may lie in a folder of their own that PYTHONPATH names. Each
does the same work on the same events; where one does less, `event_peers.py` says so.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.result_files import compare, save_results
from benchmarks.sensors import event_peers as peers
from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.core.events.buffer import EventBuffer
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.encoding import encode_packet, warm_up
from sam_ad_perception.core.events.packets import EventPacket, packet_from_event_array
from sam_ad_perception.core.events.representations import (
    accumulate_counts,
    event_image,
    time_surface,
    voxel_grid,
)
from sam_ad_perception.core.sensors import Events

MS = 1_000_000
SIZE = (480, 640)
ARRAY_TYPE, EVENT_TYPE = 'dvs_msgs/msg/EventArray', 'dvs_msgs/msg/Event'


def stream(count: int, duration_ms: int) -> Events:
    """Events in runs of three of a row, as moving edges give them."""
    rng = np.random.default_rng(0)
    runs = count // 3
    x = rng.integers(0, SIZE[1] - 2, runs).repeat(3) + np.tile(np.arange(3), runs)
    y = rng.integers(0, SIZE[0], runs).repeat(3)
    t_ns = np.sort(rng.integers(0, duration_ms * MS, runs)).repeat(3)
    polarity = (rng.random(runs) < 0.5).repeat(3)
    return Events(x.astype(np.uint16), y.astype(np.uint16), polarity, t_ns, SIZE)


def as_libcaer(events: Events, seq: int) -> EventPacket:
    """The same events in the format that has no encoder of its own."""
    words = np.empty((events.x.size, 2), np.dtype('<u4'))
    words[:, 0] = events.x.astype(np.uint32) << 17 | events.y.astype(np.uint32) << 2
    words[:, 0] |= events.polarity.astype(np.uint32) << 1 | 1
    words[:, 1] = events.t_ns // 1000
    data = words.reshape(-1).view(np.uint8)
    return EventPacket(int(events.t_ns[-1]), SIZE, 'libcaer', data, seq)


def as_event_array(events: Events) -> bytes:
    """The same events as a serialized `dvs_msgs/EventArray`."""
    types = make_typestore()
    seconds, nanoseconds = np.divmod(events.t_ns, 1_000_000_000)
    time_type, event_type = types.types['builtin_interfaces/msg/Time'], types.types[EVENT_TYPE]
    columns = (events.x, events.y, seconds, nanoseconds, events.polarity)
    made = [
        event_type(x=x, y=y, ts=time_type(sec, nanosec), polarity=on)
        for x, y, sec, nanosec, on in zip(*(c.tolist() for c in columns), strict=True)
    ]
    stamp = time_type(int(seconds[-1]), int(nanoseconds[-1]))
    header = types.types['std_msgs/msg/Header'](stamp=stamp, frame_id='event')
    message = types.types[ARRAY_TYPE](header=header, height=SIZE[0], width=SIZE[1], events=made)
    return bytes(types.serialize_cdr(message, ARRAY_TYPE))


def best_seconds(work: Callable[[], object], budget_s: float) -> float:
    """Shortest processor time of one call, all threads, seconds."""
    times: list[int] = []
    begin = time.perf_counter()
    while len(times) < 2 or (len(times) < 30 and time.perf_counter() - begin < budget_s):
        start = time.process_time_ns()
        work()
        times.append(time.process_time_ns() - start)
    return min(times) / 1e9


@dataclass(frozen=True)
class Step:
    """One thing that is measured.

    Attributes:
        name: What it is.
        count: Events per call.
        own: Our work; its result tells what was done.
        peers: Package name to the maker of its work.
    """

    name: str
    count: int
    own: peers.Work
    peers: Mapping[str, Callable[[], peers.Work]]


def decode_steps(events: Events, parts: Sequence[Events]) -> Iterator[Step]:
    """Decoding of every encoding that can be made here."""
    packets = {
        encoding: [encode_packet(part, encoding, seq=i + 1) for i, part in enumerate(parts)]
        for encoding in ('evt3', 'mono')
    }
    packets['libcaer'] = [as_libcaer(part, i + 1) for i, part in enumerate(parts)]

    def decode(encoding: str) -> float:
        decoder = EventDecoder()
        return float(sum(decoder.decode(packet).x.size for packet in packets[encoding]))

    for encoding, sent in packets.items():
        others = {'event_camera_py': partial(peers.event_camera_py_decode, sent)}
        if encoding == 'evt3':
            others['expelliarmus'] = partial(peers.expelliarmus_evt3, sent)
        yield Step(f'decode {encoding}', events.x.size, partial(decode, encoding), others)
    few = cut(events, 0, 30_000)
    data = as_event_array(few)
    yield Step(
        'decode event array',
        few.x.size,
        lambda: float(EventDecoder().decode(packet_from_event_array(data)).x.size),
        {'rosbags': partial(peers.rosbags_objects, data, ARRAY_TYPE)},
    )


def image_steps(events: Events, title: str) -> Iterator[Step]:
    """Every representation."""
    first, last, count = int(events.t_ns[0]), int(events.t_ns[-1]), events.x.size
    yield Step(
        f'counts {title}',
        count,
        lambda: float(accumulate_counts(events).sum()),
        {
            'numpy': partial(peers.numpy_counts, events),
            'tonic': partial(peers.tonic_counts, events),
            'dv_processing': partial(peers.dv_accumulator, events),
        },
    )
    yield Step(
        f'voxel grid {title}',
        count,
        lambda: float(voxel_grid(events, peers.BINS, first, last).sum(dtype=np.float64)),
        {
            'numpy': partial(peers.numpy_voxels, events),
            'tonic': partial(peers.tonic_voxels, events),
        },
    )
    yield Step(
        f'time surface {title}',
        count,
        lambda: float(time_surface(events, last, peers.TAU_NS).sum(dtype=np.float64)),
        {
            'numpy': partial(peers.numpy_surface, events),
            'tonic': partial(peers.tonic_surface, events),
            'dv_processing': partial(peers.dv_surface, events),
        },
    )
    yield Step(f'image {title}', count, lambda: float(event_image(events)[0, 0, 0]), {})


def cut(events: Events, first: int, last: int) -> Events:
    """Some of the events."""
    columns = (events.x, events.y, events.polarity, events.t_ns)
    return Events(*(column[first:last] for column in columns), SIZE)


def measure(step: Step, budget_s: float) -> Iterator[dict[str, Any]]:
    """Time a step and its peers; one row for each."""
    result = step.own()
    own = step.count / best_seconds(step.own, budget_s) / 1e6
    unit = 'million events/s'
    for peer, make in step.peers.items():
        try:
            work = make()
        except ImportError:
            yield compare(step.name, unit, own) | {'peer': peer}
        else:
            theirs = work()
            if not math.isnan(theirs) and abs(theirs - result) > 1e-3 * abs(result) + 1:
                raise RuntimeError(f'{peer} does not do the same: {theirs} instead of {result}')
            rate = step.count / best_seconds(work, budget_s) / 1e6
            yield compare(step.name, unit, own, peer, rate)
    if not step.peers:
        yield compare(step.name, unit, own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=3_000_000, help='events in all')
    parser.add_argument('--packet-ms', type=int, default=1000, help='length of a packet')
    parser.add_argument('--budget', type=float, default=0.7, help='seconds for each measurement')
    arguments = parser.parse_args()
    warm_up()
    events = stream(arguments.count, 1000)
    last = np.arange(0, 1000, arguments.packet_ms) + arguments.packet_ms
    cuts = [0, *np.searchsorted(events.t_ns, last[:-1] * MS), events.x.size]
    parts = [cut(events, first, end) for first, end in pairwise(cuts)]
    buffer = EventBuffer()
    for part in parts:
        buffer.add(part)
    window = Step(
        'cut a 30 ms window',
        events.x.size * 30 // 1000,
        lambda: float(buffer.window(1000 * MS, 30 * MS).x.size),
        {},
    )
    recent = buffer.window(1000 * MS, 30 * MS)
    assert recent is not None
    table = Table('step', 'million events/s', 'peer', 'million events/s', 'times faster')
    steps = [
        *decode_steps(events, parts),
        *image_steps(events, f'of {events.x.size / 1e6:.1f} M'),
        *image_steps(recent, f'of 30 ms, {recent.x.size / 1e3:.0f} k'),
        window,
    ]
    rows: list[dict[str, Any]] = []
    for step in steps:
        for row in measure(step, arguments.budget):
            rows.append(row)
            theirs = ('',) * 2 if 'peer' not in row else ('not installed', '')
            if 'theirs' in row:
                theirs = (f'{row["theirs"]:.3g}', f'{row["ratio"]:.3g}')
            table.add_row(row['what'], f'{row["ours"]:.0f}', row.get('peer', ''), *theirs)
        table.add_section()
    Console(width=100).print(table)
    save_results('events', rows)


if __name__ == '__main__':
    main()
