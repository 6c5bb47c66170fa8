"""Read any `sensor_msgs/PointCloud2` layout without copying, and find each point's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.plausibility import clouds, point_times
from sam_ad_perception.core.sensors import CloudSource, PointCloud

DATATYPES: Mapping[int, str] = MappingProxyType(
    {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
)
"""`sensor_msgs/PointField` datatype numbers as numpy type codes without byte order."""

INTENSITY_FIELDS = ('intensity', 'i', 'reflectivity', 'reflectance')
TIME_FIELDS = ('t', 'time', 'timestamp', 'time_stamp', 'offset_time', 'time_offset')

_LARGEST = np.finfo(np.float32).max
_LONGEST_SWEEP_NS = 1_000_000_000
_SHORTEST_SWEEP_NS = 1_000_000
_FEW_POINTS = 20
_UNITS = (('s', 1_000_000_000), ('ms', 1_000_000), ('us', 1_000), ('ns', 1))


@dataclass(frozen=True)
class PointField:
    """One field of a `PointCloud2`, named as in `sensor_msgs/PointField`.

    Attributes:
        name: Field name.
        offset: Bytes from the start of a point.
        datatype: 1 to 8, see `DATATYPES`.
        count: Elements per point; 0, which some drivers send, means 1.
    """

    name: str
    offset: int
    datatype: int
    count: int = 1


def read_fields(
    data: Any,
    fields: Sequence[PointField],
    point_step: int,
    row_step: int,
    height: int,
    width: int,
    is_bigendian: bool,
    names: Sequence[str],
) -> dict[str, NDArray[Any]]:
    """View the named fields of a cloud inside its bytes, whatever its layout.

    Args:
        data: The message's `data`: any object with the buffer protocol.
        fields: The message's field descriptions.
        point_step: Bytes from one point to the next.
        row_step: Bytes from one row to the next; may be larger than `width * point_step`. It
            says nothing where there is one row, see `effective_row_step`.
        height: Rows; 1 for an unorganised cloud.
        width: Points per row.
        is_bigendian: Byte order of the fields.
        names: Fields to view; each must be there.

    Returns:
        Per name a view of `data`: (height, width), or (height, width, count) for a field of
        several elements. It may be unaligned and of foreign byte order.

    Raises:
        ValueError: A field is missing, of an unknown type or reaches beyond the point; or the
            steps and the length of the data contradict each other.
    """
    content = memoryview(data)
    buffer = np.frombuffer(content, np.uint8) if content.nbytes else np.zeros(0, np.uint8)
    row_step = effective_row_step(len(buffer), point_step, row_step, height, width)
    _check_layout(len(buffer), point_step, row_step, height, width)
    by_name = {field.name: field for field in fields}
    views = {}
    for name in names:
        if name not in by_name:
            raise ValueError(f'cloud has no field {name!r}, only {sorted(by_name)}')
        field = by_name[name]
        if field.datatype not in DATATYPES:
            raise ValueError(f'field {name!r} has datatype {field.datatype}, expected 1 to 8')
        dtype = np.dtype(('>' if is_bigendian else '<') + DATATYPES[field.datatype])
        count = max(field.count, 1)
        if field.offset < 0 or field.offset + count * dtype.itemsize > point_step:
            raise ValueError(
                f'field {name!r} covers bytes {field.offset} to '
                f'{field.offset + count * dtype.itemsize} of a point of {point_step} bytes'
            )
        shape: tuple[int, ...] = (height, width, count)
        strides: tuple[int, ...] = (row_step, point_step, dtype.itemsize)
        if count == 1:
            shape, strides = shape[:2], strides[:2]
        if height * width == 0:
            views[name] = np.zeros(shape, dtype)
        else:
            views[name] = np.ndarray(shape, dtype, buffer, field.offset, strides)
    return views


def effective_row_step(
    length: int, point_step: int, row_step: int, height: int, width: int
) -> int:
    """Find the step from one row to the next.

    Drivers that filter points leave `row_step` 0 or stale. Of one row it says nothing, and rows
    of which the data holds just the points leave no choice.

    Args:
        length: Bytes of the data.
        point_step: Bytes.
        row_step: Bytes, as the message has it.
        height: Rows.
        width: Points per row.

    Returns:
        Bytes from one row to the next.
    """
    tight = width * point_step
    return tight if height == 1 or (row_step < tight and length == height * tight) else row_step


def decode_point_cloud(
    data: Any,
    fields: Sequence[PointField],
    point_step: int,
    row_step: int,
    height: int,
    width: int,
    is_bigendian: bool,
    stamp_ns: int,
    is_dense: bool = False,
) -> tuple[PointCloud, int]:
    """Turn the contents of a `PointCloud2` into a `PointCloud` without unusable points.

    Removed are points with a non-finite coordinate, and points at exactly (0, 0, 0): the sensor
    itself, which is how Ouster and others write "no return" into an organised cloud.

    Args:
        data: As for `read_fields`, like the following five.
        fields: Needs x, y and z as float32 or float64. Intensity is taken from the first of
            `INTENSITY_FIELDS`, time as `point_time_offsets` says.
        point_step: Bytes.
        row_step: Bytes.
        height: Rows.
        width: Points per row.
        is_bigendian: Byte order.
        stamp_ns: The message's stamp, nanoseconds, on the sensor's own clock (before any
            configured offset is taken off).
        is_dense: What the message says; it is kept, not used.

    Returns:
        The cloud, in the order of the message, row by row, its coordinates in float64 where one
        of them came so; and the number of points removed.

    Raises:
        ValueError: The layout is not a cloud of x, y and z, or contradicts itself.
    """
    # Fields as views of the message's bytes, exchanged where their order is wrong.
    by_name = _check_axes(fields)
    intensity_name = next((name for name in INTENSITY_FIELDS if name in by_name), None)
    time_name = next((name for name in TIME_FIELDS if name in by_name), None)
    names = ['x', 'y', 'z', *(name for name in (intensity_name, time_name) if name)]
    views = read_fields(data, fields, point_step, row_step, height, width, is_bigendian, names)
    findings: list[Finding] = []
    exchanged = clouds.exchanges_bytes([views[axis] for axis in 'xyz'])
    if exchanged:
        findings.append(clouds.bytes_exchanged(is_bigendian))
        views = {n: view.view(view.dtype.newbyteorder('S')) for n, view in views.items()}
    # Points that are finite, with their intensity and time.
    points, usable, found = _take_usable(views)
    findings += found
    columns = {name: view.reshape(-1) for name, view in views.items() if view.ndim == 2}
    if len(usable) < height * width:
        columns = {name: columns[name].take(usable) for name in names[3:] if name in columns}
    intensity = offsets = usual = None
    if intensity_name in columns:
        with np.errstate(over='ignore'):
            intensity = columns[intensity_name].astype(np.float32)
    if time_name in columns:
        offsets, note, found, usual = _read_times(time_name, columns[time_name], stamp_ns)
        findings += found
    elif time_name is not None:
        note = f'{time_name} is not used: it has several values per point'
    else:
        note = f'no field of time, one of {", ".join(TIME_FIELDS)}, among {", ".join(by_name)}'
    if usual is not None:
        usable, points = usable[usual], points[usual]
        intensity = None if intensity is None else intensity[usual]
    # The bytes as they came, for those who give the cloud on.
    dropped = height * width - len(usable)
    content = memoryview(data).cast('B') if height * width else b''
    source = CloudSource(
        np.frombuffer(content, np.uint8),
        tuple((f.name, f.offset, f.datatype, f.count) for f in fields),
        point_step,
        effective_row_step(len(content), point_step, row_step, height, width),
        height,
        width,
        is_bigendian != exchanged,
        is_dense,
        usable if dropped else None,
    )
    return PointCloud(points, intensity, offsets, note, source, tuple(findings)), dropped


def _check_axes(fields: Sequence[PointField]) -> dict[str, PointField]:
    """Give the fields by name; refuse a cloud without coordinates."""
    by_name = {field.name: field for field in fields}
    missing = [axis for axis in 'xyz' if axis not in by_name]
    if missing:
        raise ValueError(f'cloud needs x, y and z, lacks {missing}; it has {sorted(by_name)}')
    for axis in 'xyz':
        if by_name[axis].datatype not in (7, 8) or by_name[axis].count > 1:
            raise ValueError(f'field {axis!r} must be one float32 or float64, got {by_name[axis]}')
    return by_name


def _take_usable(
    views: Mapping[str, NDArray[Any]],
) -> tuple[NDArray[Any], NDArray[np.int64], list[Finding]]:
    """Copy the coordinates of the points that are returns.

    Returns:
        (N, 3) coordinates, float64 where one of them came so; (N,) the place of each point in
        the message; and what was found.
    """
    height, width = views['x'].shape
    double = any(views[axis].dtype.itemsize == 8 for axis in 'xyz')  # of a map: float32 is 0.5 m
    points = np.empty((height * width, 3), dtype=np.float64 if double else np.float32)
    for column, axis in enumerate('xyz'):
        points[:, column].reshape(height, width)[...] = views[axis]
    usable = np.flatnonzero(_usable(points))  # taken by index: rows by a mask cost four times that
    if len(usable) < height * width:
        points = points.take(usable, axis=0)
    repeated = clouds.find_repeated(points)
    if repeated is None:
        return points, usable, []
    found = clouds.no_return(int(repeated.sum()), points[repeated][0])
    return points[~repeated], usable[~repeated], [found]


def _read_times(
    name: str, values: NDArray[Any], stamp_ns: int
) -> tuple[NDArray[np.int64] | None, str, list[Finding], NDArray[np.bool_] | None]:
    """Find each point's time, as `point_time_offsets` does, from fields that cannot be right too.

    Returns:
        (M,) int64 as from `point_time_offsets`, or None; the sentence; what was found; and (N,)
        True for the M points that are kept, or None for all.
    """
    raw = values.astype(values.dtype.newbyteorder('='), copy=False)
    offsets, note = point_time_offsets(name, raw, stamp_ns)
    if raw.size < _FEW_POINTS:
        return offsets, note, [], None
    label = f'{name} ({raw.dtype.name})'
    if raw[0] == raw[-1] and np.all(raw == raw[0]):
        note = f'{label} is {raw[0]} for all points'
        return None, note, [point_times.constant(note)], None
    if offsets is not None:
        return offsets, note, [], None
    found: list[Finding] = []
    usual = point_times.find_usual(raw)
    if usual is not None:
        found.append(point_times.outliers(int(np.count_nonzero(~usual)), raw.size))
        raw = raw[usual]
        offsets, told = point_time_offsets(name, raw, stamp_ns)
    if offsets is None:
        offsets, told = _span_of_times(label, raw, stamp_ns)
        if 'another clock' in told:
            found.append(point_times.other_clock(told))
    return (offsets, told, found, usual) if offsets is not None else (None, note, [], None)


def _span_of_times(
    label: str, raw: NDArray[Any], stamp_ns: int
) -> tuple[NDArray[np.int64] | None, str]:
    """Read times for their span, in the only unit in which it is that of a sweep."""
    low, high = raw.min().item(), raw.max().item()
    for unit, scale in _UNITS:
        span = (high - low) * scale
        if _SHORTEST_SWEEP_NS <= span <= _LONGEST_SWEEP_NS:
            told = f'{label}: relative time in {unit}'
            if raw.dtype.kind == 'f' and low * scale >= 0 and high * scale <= _LONGEST_SWEEP_NS:
                return _scaled_offset(raw, scale, 0), f'{told}, {1e-6 * span:.1f} ms'
            off = f'{low * scale * 1e-9 - (0 if low * scale < 1e17 else stamp_ns * 1e-9):.1f} s'
            told = f'{label} starts {off} off the stamp, another clock: their span is used'
            return _scaled_offset(raw, scale, round(low * scale)), told
    return None, ''


def point_time_offsets(
    name: str, values: NDArray[Any], stamp_ns: int
) -> tuple[NDArray[np.int64] | None, str]:
    """Find each point's time relative to the message stamp, by the type and value of its field.

    Relative times: integers are nanoseconds (Ouster `t`, Autoware `time_stamp`), floats are
    seconds (Velodyne `time`). Absolute times (Hesai and Robosense `timestamp` in float64
    seconds, Livox `timestamp` in float64 nanoseconds, 64-bit integers) are known by lying within
    one second of the stamp in some unit. Times more than one second off the stamp either way
    are from another clock, or wrong, and are not used.

    Args:
        name: Name of the field, one of `TIME_FIELDS`.
        values: (N,), its value for each usable point, any numeric type and byte order.
        stamp_ns: The message's stamp, nanoseconds, the clock of the cloud's driver.

    Returns:
        (N,) int64, nanoseconds, point time minus stamp, or None; and a sentence that says what
        was decided.
    """
    raw = values.astype(values.dtype.newbyteorder('='), copy=False)
    label = f'{name} ({raw.dtype.name})'
    if raw.size == 0:
        return np.zeros(0, np.int64), f'{label} of an empty cloud'
    low, high = raw.min().item(), raw.max().item()
    candidates = [('relative', _UNITS[0] if raw.dtype.kind == 'f' else _UNITS[-1], 0)]
    if raw.dtype.itemsize == 8:  # 32 bits hold no absolute time
        candidates += [('absolute', unit, stamp_ns) for unit in _UNITS]
    for kind, (unit, scale), origin in candidates:
        first, last = low * scale - origin, high * scale - origin
        if first >= -_LONGEST_SWEEP_NS and last <= _LONGEST_SWEEP_NS:  # False for NaN
            span = f'{first / 1e6:.1f} to {last / 1e6:.1f} ms from the stamp'
            return _scaled_offset(raw, scale, origin), f'{label}: {kind} time in {unit}, {span}'
    return None, (
        f'{label} is not used: it runs from {low} to {high}, over 1 s off the stamp '
        f'{stamp_ns} ns in every unit'
    )


def _check_layout(length: int, point_step: int, row_step: int, height: int, width: int) -> None:
    if height < 0 or width < 0:
        raise ValueError(f'cloud size must not be negative, got {height} x {width}')
    if height * width == 0:
        return
    if point_step <= 0 or row_step < width * point_step:
        raise ValueError(
            f'row_step must be at least width x point_step = {width} x {point_step}, '
            f'got {row_step}'
        )
    if length < height * row_step:
        raise ValueError(
            f'cloud data is truncated: {length} bytes, expected height x row_step = '
            f'{height} x {row_step} = {height * row_step}'
        )


def _usable(points: NDArray[np.floating]) -> NDArray[np.bool_]:
    x, y, z = np.abs(points.T)  # by column: anything over an axis of three is ten times slower
    size = np.maximum(np.maximum(x, y), z)  # hands NaN on
    keep: NDArray[np.bool_] = (size > 0) & (size <= _LARGEST)
    return keep


def _scaled_offset(raw: NDArray[Any], scale: int, origin: int) -> NDArray[np.int64]:
    """`raw * scale - origin` without losing the nanoseconds that float64 cannot hold at 1e18."""
    if raw.dtype.kind in 'iu':
        return raw.astype(np.int64) * scale - origin
    # whole units first: their difference is exact in float64, and only a small number is scaled
    whole, rest = divmod(origin, scale)
    scaled = raw.astype(np.float64)
    scaled -= whole
    scaled *= scale
    offsets = np.rint(scaled, out=scaled).astype(np.int64)
    offsets -= rest
    return offsets
