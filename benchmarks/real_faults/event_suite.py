"""Windows of events and what befalls them: three recordings, cut without gaps, the faults."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_faults import event_damage as damage
from benchmarks.real_faults.faults import Damage, Fault, Half, each, steady
from benchmarks.real_faults.recordings import START_NS, Recording
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import packet_from_message
from sam_ad_perception.core.sensors import EVENT_WINDOW_NS, Events

RATE_HZ = 1e9 / EVENT_WINDOW_NS


def _fault(half: Half, damaged: Damage, name: str, *causes: str) -> Fault:
    return Fault(name, half, frozenset(causes), damaged)


FAULTS = (
    _fault('looked_at', each(damage.on_lost), 'on_lost', 'one_polarity'),
    _fault('looked_at', steady(damage.hot_pixels), 'hot_pixels', 'hot_pixels'),
    _fault('looked_at', steady(damage.region_dead), 'region_dead', 'dead_region'),
    _fault('looked_at', steady(damage.rows_dead), 'rows_dead', 'dead_lines', 'dead_region'),
    _fault('looked_at', each(damage.events_lost), 'events_lost', 'rate_collapse', 'silent'),
    _fault('measured_only', each(damage.all_on), 'all_on', 'one_polarity'),
    _fault('measured_only', steady(damage.column_stuck), 'column_stuck', 'stuck_lines',
           'burst'),
    _fault('measured_only', steady(damage.left_dead), 'left_dead', 'dead_region'),
    _fault('measured_only', steady(damage.columns_dead), 'columns_dead', 'dead_lines',
           'dead_region'),
    _fault('measured_only', each(damage.packets_lost), 'packets_lost', 'rate_collapse',
           'lost_packets', 'silent'),
)  # fmt: skip

BAGS = (
    ('evt3', 'test_events_1', 40),
    ('libcaer_cmp', 'test_events_2', 15),
    ('libcaer', 'test_data_libcaer_rollover', 35),
)


def faults() -> tuple[Fault, ...]:
    """The faults of windows of events; their half was chosen by name, before any measurement."""
    return FAULTS


def faulty_clips(data: Path) -> list[Recording]:
    """Recordings that faults befall; half of each is healthy.

    Args:
        data: Folder of the sample data.
    """
    return [
        Recording(name, name, RATE_HZ, partial(read_windows, folder), head=head)
        for name, bag, head in BAGS
        if (folder := data / 'events' / bag).is_dir()
        and (name != 'libcaer_cmp' or find_spec('event_camera_py') is not None)
    ]


def healthy_recordings(data: Path) -> list[Recording]:
    """Everything healthy, whole, in which any finding is a false alarm.

    Args:
        data: Folder of the sample data.
    """
    return faulty_clips(data)


def read_windows(path: Path) -> list[Any]:
    """Read the events of a bag and cut them into windows without gaps.

    Args:
        path: Folder of a rosbag2.

    Returns:
        `Events` of `EVENT_WINDOW_NS` each, with the stamps that `bundle_of` gives their frames.
    """
    decoder = EventDecoder()
    with BagReader(path) as reader:
        topics = [topic.name for topic in reader.topics if topic.type.endswith('EventPacket')]
        messages = map(reader.deserialize, reader.messages(topics[:1]))
        parts = [decoder.decode(packet_from_message(each)) for each in messages]
    size = parts[-1].size
    x, y, on, t = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ('x', 'y', 'polarity', 't_ns')
    )
    t = t - t[0]
    windows = []
    for number in range(int(t[-1] // EVENT_WINDOW_NS)):
        # `bundle_of` stamps frame n with START + n / rate, and a window ends at its stamp.
        end = (number + 1) * EVENT_WINDOW_NS
        first, last = np.searchsorted(t, (end - EVENT_WINDOW_NS, end))
        part = slice(first, last)
        shifted = t[part] - end + START_NS + number * EVENT_WINDOW_NS
        windows.append(Events(x[part], y[part], on[part], shifted, size))
    return windows
