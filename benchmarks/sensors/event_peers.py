"""What other packages and plain numpy do with the same events: the columns of `events.py`.

Every maker takes what it works on, prepares it, and returns the work that is timed; it raises
ImportError where its package is not installed. The work returns a figure by which two of them can
be told to have done the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.events.packets import EventPacket
from sam_ad_perception.core.sensors import Events

Work = Callable[[], float]
BINS = 5
TAU_NS = 10_000_000


def expelliarmus_evt3(packets: Sequence[EventPacket]) -> Work:
    """The EVT 3.0 reader of expelliarmus, which reads files only: from the page cache."""
    from expelliarmus import Wizard

    folder = tempfile.TemporaryDirectory()  # goes with the last reference to it
    file = Path(folder.name) / 'events.raw'
    header = b'% evt 3.0\n% format EVT3\n'
    file.write_bytes(header + b''.join(packet.data.tobytes() for packet in packets))
    wizard = Wizard(encoding='evt3')

    def read() -> float:
        return float(len(wizard.read(Path(folder.name) / file.name)))

    return read


def event_camera_py_decode(packets: Sequence[EventPacket]) -> Work:
    """The decoder of the ROS event camera drivers."""
    from event_camera_py import Decoder

    messages = [(p.encoding, *p.size[::-1], p.time_base_ns, p.data.tobytes()) for p in packets]

    def decode() -> float:
        decoder, total = Decoder(), 0
        for message in messages:
            decoder.decode_bytes(*message)
            total += len(decoder.get_cd_events())
        return float(total)

    return decode


def rosbags_objects(data: bytes, kind: str) -> Work:
    """The usual way to an event array: one object for each event, then columns."""
    from sam_ad_perception.bags.formats.type_store import make_typestore

    store = make_typestore()

    def read() -> float:
        message: Any = store.deserialize_cdr(data, kind)
        rows = [(e.x, e.y, e.ts.sec, e.ts.nanosec, e.polarity) for e in message.events]
        return float(len(np.array(rows, np.int64)))

    return read


def numpy_counts(events: Events) -> Work:
    """Counts with the fastest of numpy's ways, `bincount`."""
    height, width = events.size

    def count() -> float:
        at = (~events.polarity * height + events.y.astype(np.int64)) * width + events.x
        return float(np.bincount(at, minlength=2 * height * width).sum())

    return count


def numpy_voxels(events: Events) -> Work:
    """A voxel grid with two weighted `bincount`."""
    height, width = events.size
    size = height * width

    def sum_up() -> float:
        span = events.t_ns[-1] - events.t_ns[0]
        scaled = (BINS - 1) / span * (events.t_ns - events.t_ns[0])
        low = np.minimum(scaled.astype(np.int64), BINS - 2)
        upper = scaled - low
        sign = np.where(events.polarity, 1.0, -1.0)
        at = (low * height + events.y) * width + events.x
        grid = np.bincount(at, sign * (1 - upper), minlength=BINS * size)
        grid += np.bincount(at + size, sign * upper, minlength=BINS * size)
        return float(grid.astype(np.float32).sum(dtype=np.float64))

    return sum_up


def numpy_surface(events: Events) -> Work:
    """A time surface by assignment, where the last event of a pixel stays."""

    def fade() -> float:
        last = np.full((2, *events.size), -np.inf, np.float32)
        last[1 - events.polarity.astype(np.int64), events.y, events.x] = (
            events.t_ns - events.t_ns[-1]
        )
        last /= TAU_NS
        return float(np.exp(last, out=last).sum(dtype=np.float64))

    return fade


def tonic_counts(events: Events) -> Work:
    """Tonic's frame of one time bin."""
    from tonic.functional import to_frame_numpy

    rows, sensor = _tonic_events(events)
    return lambda: float(to_frame_numpy(rows, sensor, n_time_bins=1).sum(dtype=np.int64))


def tonic_voxels(events: Events) -> Work:
    """Tonic's voxel grid; its time scale has one bin more, so its sum is another."""
    from tonic.functional import to_voxel_grid_numpy

    rows, sensor = _tonic_events(events)
    return lambda: float('nan') * to_voxel_grid_numpy(rows, sensor, BINS).size


def tonic_surface(events: Events) -> Work:
    """Tonic's time surface at the end of one slice."""
    from tonic.functional import to_timesurface_numpy

    rows, sensor = _tonic_events(events)
    span = int(rows['t'][-1])

    def fade() -> float:
        surfaces = to_timesurface_numpy(
            rows, sensor, span, TAU_NS // 1000, include_incomplete=True
        )
        return float(surfaces[0].sum())

    return fade


def dv_accumulator(events: Events) -> Work:
    """dv-processing's accumulator without decay: one channel, clipped."""
    import dv_processing as dv

    store = _dv_events(events)
    decay = dv.Accumulator.Decay.NONE
    size = events.size[::-1]

    def accumulate() -> float:
        accumulator = dv.Accumulator(size, decay, 1.0, False, 1.0, 65535.0, 0.0, 0.0, True)
        accumulator.accept(store)
        return float(accumulator.getPotentialSurface().sum(dtype=np.float64))

    return accumulate


def dv_surface(events: Events) -> Work:
    """dv-processing's time surface: the last times alone, one channel."""
    import dv_processing as dv

    store = _dv_events(events)
    size = events.size[::-1]

    def accept() -> float:
        surface = dv.TimeSurface(size)
        surface.accept(store)
        return float('nan')

    return accept


def _tonic_events(events: Events) -> tuple[NDArray[np.void], tuple[int, int, int]]:
    """Events as tonic takes them: microseconds since the first."""
    rows = np.empty(events.x.size, [('x', 'i8'), ('y', 'i8'), ('t', 'i8'), ('p', 'i8')])
    rows['x'], rows['y'], rows['p'] = events.x, events.y, events.polarity
    rows['t'] = (events.t_ns - events.t_ns[0]) // 1000
    return rows, (events.size[1], events.size[0], 2)


def _dv_events(events: Events) -> Any:
    """Events as dv-processing takes them, one by one."""
    import dv_processing as dv

    store = dv.EventStore()
    columns = (events.t_ns // 1000, events.x, events.y, events.polarity)
    for t, x, y, on in zip(*(column.tolist() for column in columns), strict=True):
        store.push_back(t, x, y, on)
    return store
