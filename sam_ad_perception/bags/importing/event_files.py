"""Files of events as `EventPacket`: `.npy`, `.npz`, and text with `t x y p` in each line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.importing.plan import EVENT_TYPE, ImportDataError, PlannedMessage
from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.messages.to_ros import packet_to_message
from sam_ad_perception.core.sensors import Events

EVENT_SUFFIXES = ('.npy', '.npz', '.txt', '.csv')
_NAMES = {
    't': ('t', 'ts', 'time', 'timestamp', 't_ns', 't_us'),
    'x': ('x',),
    'y': ('y',),
    'p': ('p', 'polarity', 'pol'),
}
_NEAR_NS = 60_000_000_000
_UNITS = {'s': 1_000_000_000, 'ms': 1_000_000, 'us': 1_000, 'ns': 1}


def plan_events(
    topic: str, path: Path, stamp_ns: int, frame_id: str, size: tuple[int, int], seq: int
) -> PlannedMessage:
    """Plan the packet of a file of events.

    Args:
        topic: Its topic.
        path: The file; it is read when the message is made.
        stamp_ns: Of the file, nanoseconds: near the times of its events, or their origin.
        frame_id: Optical frame.
        size: `(H, W)` of the sensor, pixels.
        seq: Number of the packet.
    """

    def make(types: Any) -> Any:
        events = read_events(path, stamp_ns, size)
        end_ns = stamp_ns if not events.t_ns.size else int(events.t_ns[-1])
        packet = encode_packet(events, 'evt3', seq=seq, end_ns=end_ns, frame_id=frame_id)
        return packet_to_message(types, packet)

    return PlannedMessage(topic, EVENT_TYPE, stamp_ns, make)


def read_events(path: Path, stamp_ns: int, size: tuple[int, int]) -> Events:
    """Read the events of a file.

    Times are taken in the unit (seconds, ms, us, ns) that puts them within a minute of the stamp.
    Where none does, they count from the stamp: floats in seconds, integers in microseconds.

    Args:
        path: The file: structured `.npy`, `.npz` with columns, or rows `t x y p`.
        stamp_ns: Of the file, nanoseconds.
        size: `(H, W)` of the sensor, pixels.

    Returns:
        The events, ordered by time.

    Raises:
        ImportDataError: The file cannot be used; names it.
        OSError: The file cannot be read.
    """
    try:
        t, x, y, p = _read_columns(path)
        t_ns = _to_ns(t, stamp_ns)
        if t_ns.size and bool(np.any(np.diff(t_ns) < 0)):
            order = np.argsort(t_ns, kind='stable')
            t_ns, x, y, p = t_ns[order], x[order], y[order], p[order]
        if x.size and (min(x.min(), y.min()) < 0 or x.max() >= size[1] or y.max() >= size[0]):
            raise ImportDataError(
                f'events reach x {x.max()}, y {y.max()}, the sensor has {size[1]}x{size[0]} pixels'
            )
        return Events(x.astype(np.uint16), y.astype(np.uint16), p > 0, t_ns, size)
    except ValueError as err:
        raise ImportDataError(f'{path}: {err}') from err


def _read_columns(path: Path) -> tuple[NDArray[Any], ...]:
    """Read t, x, y and p."""
    suffix = path.suffix.lower()
    if suffix == '.npz':
        with np.load(path, allow_pickle=False) as archive:
            return _named({name: archive[name] for name in archive.files})
    if suffix == '.npy':
        array = np.load(path, allow_pickle=False)
        if array.dtype.names:
            return _named({name: array[name] for name in array.dtype.names})
    elif suffix in ('.txt', '.csv'):
        text = path.read_text().replace(',', ' ')
        words = [line.split() for line in text.splitlines() if line[:1].isdigit()]
        wide = [i for i, line in enumerate(words) if len(line) != 4]
        if wide:
            raise ImportDataError(f'has {" ".join(words[wide[0]])!r}, expected lines t x y p')
        columns = list(zip(*words, strict=True)) or [()] * 4
        t = np.array(columns[0], dtype=np.float64 if any('.' in w for w in columns[0]) else int)
        return t, *(np.array(column, dtype=np.int64) for column in columns[1:])
    else:
        raise ImportDataError(f'expected one of {", ".join(EVENT_SUFFIXES)}')
    if array.ndim != 2 or array.shape[1] != 4:
        raise ImportDataError(f'expected (N, 4) t, x, y, p, got {array.shape} {array.dtype}')
    return array[:, 0], *(array[:, i].astype(np.int64) for i in (1, 2, 3))


def _named(columns: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Find the columns by their names."""
    found = []
    for name, known in _NAMES.items():
        fitting = [columns[each] for each in known if each in columns]
        if not fitting:
            raise ImportDataError(f'holds {list(columns)}, expected {name} ({", ".join(known)})')
        found.append(fitting[0].reshape(-1))
    if len({len(column) for column in found}) > 1:
        raise ImportDataError(f'columns have {[len(c) for c in found]} values, expected as many')
    return found[0], *(column.astype(np.int64) for column in found[1:])


def _to_ns(t: NDArray[Any], stamp_ns: int) -> NDArray[np.int64]:
    """Find the unit of times."""
    if not t.size:
        return np.zeros(0, np.int64)
    is_float = t.dtype.kind == 'f'
    if is_float and not np.all(np.isfinite(t)):
        raise ImportDataError('has times that are not finite')
    for scale in _UNITS.values():
        if abs(float(t[0]) * scale - stamp_ns) < _NEAR_NS:
            if is_float and stamp_ns >= scale and float(np.spacing(t[0])) * scale > 1000:
                raise ImportDataError(
                    f'has times as {t.dtype}, which are {np.spacing(t[0]) * scale * 1e-3:.3g} us '
                    'apart there, expected integers or float64 seconds'
                )
            return _scaled(t, scale)
    scale = _UNITS['s'] if is_float else _UNITS['us']
    if float(t.min()) >= 0 and float(t.max()) * scale < _NEAR_NS:
        return stamp_ns + _scaled(t, scale)
    raise ImportDataError(
        f'has times from {t[0]}, in no unit (s, ms, us, ns) within a minute of the stamp '
        f'{stamp_ns} ns, and none that count from it'
    )


def _scaled(t: NDArray[Any], scale: int) -> NDArray[np.int64]:
    """Nanoseconds, without loss for integers."""
    if t.dtype.kind == 'f':
        return np.rint(t.astype(np.float64) * scale).astype(np.int64)
    return t.astype(np.int64) * scale
