"""Read any `sensor_msgs/PointCloud2` layout without copying, and find each point's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import PointCloud

DATATYPES: Mapping[int, str] = MappingProxyType(
    {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}
)
"""`sensor_msgs/PointField` datatype numbers as numpy type codes without byte order."""

INTENSITY_FIELDS = ('intensity', 'i', 'reflectivity', 'reflectance')
TIME_FIELDS = ('t', 'time', 'timestamp', 'time_stamp', 'offset_time', 'time_offset')

_LONGEST_SWEEP_NS = 1_000_000_000
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
        row_step: Bytes from one row to the next; may be larger than `width * point_step`.
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


def decode_point_cloud(
    data: Any,
    fields: Sequence[PointField],
    point_step: int,
    row_step: int,
    height: int,
    width: int,
    is_bigendian: bool,
    stamp_ns: int,
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

    Returns:
        The cloud, in the order of the message, row by row; and the number of points removed.

    Raises:
        ValueError: The layout is not a cloud of x, y and z, or contradicts itself.
    """
    by_name = {field.name: field for field in fields}
    missing = [axis for axis in 'xyz' if axis not in by_name]
    if missing:
        raise ValueError(f'cloud needs x, y and z, lacks {missing}; it has {sorted(by_name)}')
    for axis in 'xyz':
        if by_name[axis].datatype not in (7, 8) or by_name[axis].count > 1:
            raise ValueError(f'field {axis!r} must be one float32 or float64, got {by_name[axis]}')
    intensity_name = next((name for name in INTENSITY_FIELDS if name in by_name), None)
    time_name = next((name for name in TIME_FIELDS if name in by_name), None)
    names = ['x', 'y', 'z', *(name for name in (intensity_name, time_name) if name)]
    views = read_fields(data, fields, point_step, row_step, height, width, is_bigendian, names)
    count = height * width
    points = np.empty((count, 3), dtype=np.float32)
    with np.errstate(over='ignore'):  # a float64 beyond float32 becomes inf, and is dropped
        for column, axis in enumerate('xyz'):
            points[:, column].reshape(height, width)[...] = views[axis]
    usable = np.flatnonzero(_usable(points))  # taken by index: rows by a mask cost four times that
    dropped = count - len(usable)
    points = points.take(usable, axis=0) if dropped else points
    columns = {name: view.reshape(-1) for name, view in views.items() if view.ndim == 2}
    if dropped:
        columns = {name: columns[name].take(usable) for name in names[3:] if name in columns}
    intensity = offsets = None
    if intensity_name in columns:
        with np.errstate(over='ignore'):
            intensity = columns[intensity_name].astype(np.float32)
    if time_name in columns:
        offsets, note = point_time_offsets(time_name, columns[time_name], stamp_ns)
    elif time_name is not None:
        note = f'{time_name} is not used: it has several values per point'
    else:
        note = f'no field of time, one of {", ".join(TIME_FIELDS)}, among {", ".join(by_name)}'
    return PointCloud(points, intensity, offsets, note), dropped


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


def _usable(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    x, y, z = np.abs(points.T)  # by column: anything over an axis of three is ten times slower
    with np.errstate(over='ignore'):
        size = np.maximum(np.maximum(x, y), z)  # hands NaN on
    keep: NDArray[np.bool_] = (size > 0) & (size < np.inf)
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
