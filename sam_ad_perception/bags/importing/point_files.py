"""Files of points as structured arrays: `.bin`, `.npy`, `.pcd` and `.ply`, all fields kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.bags.importing.plan import CLOUD_TYPE, ImportDataError, PlannedMessage
from sam_ad_perception.core.messages.to_ros import cloud_to_message

Points = NDArray[np.void]
POINT_SUFFIXES = ('.bin', '.npy', '.pcd', '.ply')
_COLUMNS = ('x', 'y', 'z', 'intensity', 'ring')
_PLY_TYPES = {
    **{'char': 'i1', 'uchar': 'u1', 'short': 'i2', 'ushort': 'u2', 'int': 'i4', 'uint': 'u4'},
    **{'float': 'f4', 'double': 'f8', 'int8': 'i1', 'uint8': 'u1', 'int16': 'i2'},
    **{'uint16': 'u2', 'int32': 'i4', 'uint32': 'u4', 'float32': 'f4', 'float64': 'f8'},
}


def plan_cloud(
    topic: str,
    path: Path,
    stamp_ns: int,
    frame_id: str,
    columns: int = 4,
    received_ns: int | None = None,
) -> PlannedMessage:
    """Plan the message of a file of points.

    Args:
        topic: Its topic.
        path: The file; it is read when the message is made.
        stamp_ns: Time of the sweep, nanoseconds.
        frame_id: Frame of the points.
        columns: See `read_points`.
        received_ns: Time under which it is recorded, nanoseconds; the stamp by default.
    """
    return PlannedMessage(
        topic,
        CLOUD_TYPE,
        stamp_ns if received_ns is None else received_ns,
        lambda types: cloud_to_message(types, read_points(path, columns), stamp_ns, frame_id),
    )


def read_points(path: Path, columns: int = 4) -> Points:
    """Read the points of a file.

    Args:
        path: `.bin` (float32 rows), `.npy`, `.pcd` (ascii, binary, binary_compressed) or `.ply`.
        columns: Numbers for each point of a `.bin` file: x, y, z, intensity, ring; `.pcd.bin` has
            5 as in nuScenes.

    Returns:
        (N,) structured array, little-endian: x, y, z in metres and all other fields of the file.

    Raises:
        ImportDataError: The file is damaged or of another format; names what came.
        OSError: The file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in POINT_SUFFIXES:
        raise ImportDataError(f'{path}: expected one of {", ".join(POINT_SUFFIXES)}')
    try:
        if suffix == '.bin':
            points = _read_bin(path, 5 if path.name.endswith('.pcd.bin') else columns)
        elif suffix == '.npy':
            points = _read_npy(path)
        else:
            readers: dict[str, Callable[[bytes], Points]] = {'.pcd': _read_pcd, '.ply': _read_ply}
            points = readers[suffix](path.read_bytes())
        return _for_messages(points)
    except ImportDataError as err:
        raise ImportDataError(f'{path}: {err}') from err


def _read_bin(path: Path, columns: int) -> Points:
    """Read float32 rows."""
    data = path.read_bytes()
    if data.startswith(b'version https://git-lfs'):
        raise ImportDataError('is a Git LFS pointer, `git lfs pull` fetches the points')
    if not 3 <= columns <= len(_COLUMNS):
        raise ImportDataError(f'columns must be 3 to {len(_COLUMNS)}, got {columns}')
    if len(data) % (4 * columns):
        others = [n for n in (3, 4, 5) if len(data) % (4 * n) == 0]
        raise ImportDataError(
            f'{len(data)} bytes are not rows of {columns} float32'
            + (f'; rows of {" or ".join(map(str, others))} would fit' if others else '')
        )
    return _from_rows(np.frombuffer(data, '<f4').reshape(-1, columns))


def _read_npy(path: Path) -> Points:
    """Read an (N, C) or structured array."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as err:
        raise ImportDataError(f'is no array of numbers ({err})') from err
    if array.dtype.names:
        return array.reshape(-1)
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in 'f':
        raise ImportDataError(
            f'expected (N, 3) x, y, z, (N, 4) with intensity, (N, 5) with ring, or a structured '
            f'array, as floats in metres; got {array.shape} {array.dtype}'
        )
    return _from_rows(array)


def _from_rows(rows: NDArray[Any]) -> Points:
    """Name the columns; a fifth column of whole numbers is the ring."""
    kind = rows.dtype.str.replace('f2', 'f4')
    names = [*_COLUMNS, *(f'column_{i}' for i in range(len(_COLUMNS), rows.shape[1]))]
    names = names[: rows.shape[1]]
    kinds = dict.fromkeys(names, kind)
    if len(names) >= 5:
        ring = rows[:, 4]
        whole = bool(np.all((ring >= 0) & (ring < 65536) & (ring == np.floor(ring))))
        if whole:
            kinds['ring'] = '<u2'
        else:
            names[4] = 'column_4'
            kinds = {('column_4' if n == 'ring' else n): k for n, k in kinds.items()}
    points = np.empty(len(rows), dtype=list(kinds.items()))
    for i, name in enumerate(names):
        points[name] = rows[:, i]
    return points


def _header_end(data: bytes, word: bytes, what: str) -> tuple[list[list[str]], int]:
    """Split header lines up to the one that begins with a word; and where the data begin."""
    lines: list[list[str]] = []
    at = 0
    while at < len(data) and at < 100_000:
        end = data.find(b'\n', at)
        if end < 0:
            break
        line = data[at:end].strip()
        at = end + 1
        if line and not line.startswith(b'#'):
            lines.append(line.decode('latin1').split())
        if line.lower().startswith(word):
            return lines, at
    raise ImportDataError(f'begins with {data[:16]!r}, expected the header of a {what} file')


def _read_pcd(data: bytes) -> Points:
    """Read a PCD file, version 0.7 and older."""
    lines, at = _header_end(data, b'data', 'PCD')
    header = {line[0].upper(): line[1:] for line in lines}
    names = header.get('FIELDS', [])
    try:
        sizes = [int(n) for n in header['SIZE']]
        counts = [int(n) for n in header.get('COUNT', ['1'] * len(names))]
        kinds = [t.lower() for t in header['TYPE']]
        height = int(header.get('HEIGHT', ['1'])[0])
        number = (
            int(header['POINTS'][0]) if 'POINTS' in header else int(header['WIDTH'][0]) * height
        )
        fields = [
            (_padding(name, i), f'<{kind}{size}', (count,))
            for i, (name, kind, size, count) in enumerate(
                zip(names, kinds, sizes, counts, strict=True)
            )
        ]
        dtype = np.dtype(fields)
    except (KeyError, ValueError, TypeError, IndexError) as err:
        raise ImportDataError(f'the PCD header is not whole: {err!r}') from err
    form = ''.join(header['DATA']).lower()
    if form == 'ascii':
        points = _read_text(data[at:], dtype, number)
    elif form == 'binary':
        _check_length(data, at, number * dtype.itemsize)
        points = np.frombuffer(data, dtype, number, at)
    elif form == 'binary_compressed':
        points = _read_compressed(data, at, dtype, number)
    else:
        raise ImportDataError(f'DATA is {form!r}, expected ascii, binary or binary_compressed')
    return _flatten(points)


def _padding(name: str, index: int) -> str:
    """Give bytes without meaning, called `_`, a name of their own."""
    return f'_{index}' if name == '_' else name


def _read_compressed(data: bytes, at: int, dtype: np.dtype[Any], number: int) -> Points:
    """Read the fields one after the other out of an LZF stream."""
    _check_length(data, at, 8)
    packed, whole = (int(n) for n in np.frombuffer(data, '<u4', 2, at))
    _check_length(data, at + 8, packed)
    if whole != number * dtype.itemsize:
        raise ImportDataError(
            f'{whole} bytes are compressed, expected {number} points of {dtype.itemsize}'
        )
    out = np.empty(whole, np.uint8)
    if _decompress_lzf(np.frombuffer(data, np.uint8, packed, at + 8), out) != whole:
        raise ImportDataError('the compressed points are damaged')
    points = np.empty(number, dtype)
    start = 0
    for name in dtype.names or ():
        size = dtype[name].itemsize * number
        points[name] = out[start : start + size].view(dtype[name].base).reshape(points[name].shape)
        start += size
    return points


@njit(cache=True, nogil=True)
def _decompress_lzf(data, out):  # type: ignore[no-untyped-def]
    """Undo LZF; returns the bytes written, -1 where the stream is damaged."""
    i: Any = 0
    o: Any = 0
    while i < data.size:
        control = np.int64(data[i])
        i += 1
        if control < 32:
            length = control + 1
            if i + length > data.size or o + length > out.size:
                return -1
            out[o : o + length] = data[i : i + length]
            i += length
            o += length
            continue
        length = control >> 5
        if length == 7:
            if i >= data.size:
                return -1
            length += np.int64(data[i])
            i += 1
        if i >= data.size:
            return -1
        source = o - ((control & 31) << 8) - np.int64(data[i]) - 1
        i += 1
        length += 2
        if source < 0 or o + length > out.size:
            return -1
        for _ in range(length):  # the two may overlap: byte by byte
            out[o] = out[source]
            o += 1
            source += 1
    return o


def _read_ply(data: bytes) -> Points:
    """Read the vertices of a PLY file."""
    if not data.startswith(b'ply'):
        raise ImportDataError(f'begins with {data[:8]!r}, expected the header of a PLY file')
    lines, at = _header_end(data, b'end_header', 'PLY')
    form = next((line[1] for line in lines if line[0] == 'format' and len(line) > 1), '')
    order = {'ascii': '<', 'binary_little_endian': '<', 'binary_big_endian': '>'}.get(form)
    elements = [line for line in lines if line[0] == 'element']
    if order is None or not elements or elements[0][1:2] != ['vertex'] or len(elements[0]) != 3:
        raise ImportDataError(
            f'format is {form!r} with the elements {[e[1:] for e in elements]}, expected ascii, '
            'binary_little_endian or binary_big_endian with vertex first'
        )
    first = lines.index(elements[0]) + 1
    last = lines.index(elements[1]) if len(elements) > 1 else len(lines)
    fields = []
    for line in lines[first:last]:
        if line[0] != 'property':
            continue
        if len(line) != 3 or line[1] not in _PLY_TYPES:
            raise ImportDataError(f'vertex has {" ".join(line)!r}, expected properties of numbers')
        fields.append((line[2], order + _PLY_TYPES[line[1]]))
    try:
        number, dtype = int(elements[0][2]), np.dtype(fields)
    except ValueError as err:
        raise ImportDataError(f'the PLY header is not right: {err}') from err
    if form == 'ascii':
        return _read_text(data[at:], dtype, number)
    _check_length(data, at, number * dtype.itemsize)
    return np.frombuffer(data, dtype, number, at)


def _read_text(data: bytes, dtype: np.dtype[Any], number: int) -> Points:
    """Read points written as words, of which each number keeps all its digits."""
    words = data.split()
    places = [max(1, int(np.prod(dtype[name].shape))) for name in dtype.names or ()]
    width = sum(places)
    if len(words) < number * width:
        raise ImportDataError(
            f'holds {len(words)} numbers, expected {number} points of {width}: it was cut'
        )
    rows = np.array(words[: number * width], dtype='S').reshape(number, width)
    points = np.empty(number, dtype)
    start = 0
    try:
        for name, count in zip(dtype.names or (), places, strict=True):
            kind = dtype[name].base
            column = rows[:, start : start + count]
            points[name] = column.astype(kind).reshape(points[name].shape)
            start += count
    except ValueError as err:
        raise ImportDataError(f'field {name!r} is not {kind}: {err}') from err
    return points


def _check_length(data: bytes, at: int, needed: int) -> None:
    """Refuse a file that was cut."""
    if len(data) - at < needed:
        raise ImportDataError(f'holds {len(data) - at} bytes of points, expected {needed}: cut')


def _flatten(points: Points) -> Points:
    """Make a field of each value of fields that hold several; drop the padding."""
    columns: dict[str, NDArray[Any]] = {}
    for name in points.dtype.names or ():
        if name.startswith('_') and name[1:].isdigit():
            continue
        values = points[name].reshape(len(points), -1)
        for i in range(values.shape[1]):
            columns[name if values.shape[1] == 1 else f'{name}_{i}'] = values[:, i]
    return _join(columns, len(points))


def _for_messages(points: Points) -> Points:
    """Check the coordinates; little-endian types that PointCloud2 knows."""
    names = points.dtype.names or ()
    missing = [axis for axis in 'xyz' if axis not in names]
    if missing:
        raise ImportDataError(f'has the fields {list(names)}, expected x, y and z among them')
    columns = {}
    for name in names:
        values = points[name]
        if values.ndim != 1 or values.dtype.kind not in 'fiub':
            raise ImportDataError(f'field {name!r} is {values.dtype} {values.shape[1:]}, '
                                  'expected one number for each point')  # fmt: skip
        columns[name] = _known_type(name, values)
        if name in 'xyz' and values.dtype.kind != 'f':
            raise ImportDataError(f'{name} is {values.dtype}, expected floats in metres')
    return _join(columns, len(points))


def _known_type(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Convert to a type of PointField without loss."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == 'b':
        return values.astype('u1')
    if kind == 'f' and size == 2:
        return values.astype('<f4')
    if size <= 4 or (kind == 'f' and size == 8):
        return values.astype(values.dtype.newbyteorder('<'))
    for narrower in ('<u4', '<i4', '<f8'):  # PointCloud2 has no integers of 64 bits
        made = values.astype(narrower)
        if np.array_equal(made.astype(values.dtype), values):
            return made
    if kind in 'iu':  # stamps in nanoseconds: seconds in float64 keep 0.2 us
        return 1e-9 * values.astype('<f8') if 'time' in name or name == 't' else _refuse(values)
    return values.astype('<f8')


def _refuse(values: NDArray[Any]) -> NDArray[Any]:
    raise ImportDataError(f'holds {values.dtype} values that no field of PointCloud2 can hold')


def _join(columns: dict[str, NDArray[Any]], number: int) -> Points:
    """Put columns into one array."""
    points = np.empty(number, dtype=[(name, c.dtype) for name, c in columns.items()])
    for name, column in columns.items():
        points[name] = column
    return points
