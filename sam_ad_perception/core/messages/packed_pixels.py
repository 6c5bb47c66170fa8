"""Pixels of 10, 12 and 14 bits under the names that camera drivers use beside `sensor_msgs`.

`sensor_msgs/image_encodings` has none of them. Drivers of GenICam cameras hand on the name of the
pixel format (`Mono12p`, `BayerRG12Packed`), others write `mono12` or `bayer_rggb12` for values in
the low bits of 16. Bits lie as GenICam's pixel format naming convention has them: `p` is one
stream from the least significant bit on; `Packed`, of GigE Vision, holds the upper bits of two
pixels in two bytes and what is left of both in the byte between them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.messages.image_encodings import ConversionError

_NAME = re.compile(
    r'(?:(mono)|bayer_?(rggb|bggr|gbrg|grbg|rg|bg|gb|gr))_?(8|10|12|14|16)(p|_?packed)?'
)
_ORDERS = {'rg': 'rggb', 'bg': 'bggr', 'gb': 'gbrg', 'gr': 'grbg'}
_OTHERS: Mapping[str, str] = MappingProxyType(
    {
        **{f'{name}8packed': f'{name}8' for name in ('rgb', 'bgr', 'rgba', 'bgra')},
        **{f'{name}8': f'{name}8' for name in ('rgb', 'bgr', 'rgba', 'bgra')},
        'yuv422_8': 'yuyv',
        'yuv422_8_uyvy': 'uyvy',
        'yuv422packed': 'uyvy',
    }
)
_LOW, _STREAM, _PAIRS = '', 'p', 'packed'


@dataclass(frozen=True)
class Packing:
    """How pixels of one encoding lie in memory.

    Attributes:
        encoding: What they are once they are read: `mono16`, `bayer_rggb16`.
        bits: Of a pixel.
        kind: `` for the low bits of two bytes, `p` for one stream of bits, `packed` for pairs of
            pixels in three bytes.
    """

    encoding: str
    bits: int
    kind: str


def plain_encoding(encoding: str) -> str:
    """Name an encoding as `sensor_msgs` does, where a driver writes GenICam's name of it.

    Args:
        encoding: For example `BayerRG8`, `Mono16` or `RGB8Packed`.

    Returns:
        `bayer_rggb8`, `mono16`, `rgb8`; any other name as it came.
    """
    name = encoding.lower()
    found = _NAME.fullmatch(name)
    if found and found[3] in ('8', '16') and not found[4]:
        return f'{_base(found)}{found[3]}'
    return _OTHERS.get(name, encoding)


def packing_of(encoding: str) -> Packing | None:
    """Look up how an encoding of 10, 12 or 14 bits packs its pixels.

    Args:
        encoding: For example `Mono12p`, `mono12` or `BayerRG10Packed`.

    Returns:
        The packing; None for every other encoding.
    """
    found = _NAME.fullmatch(encoding.lower())
    if found is None or found[3] in ('8', '16'):
        return None
    bits, kind = int(found[3]), (found[4] or '').lstrip('_')
    if kind == _PAIRS and bits == 14:
        return None
    return Packing(f'{_base(found)}16', bits, kind)


def unpack_pixels(
    data: Any, packing: Packing, height: int, width: int, step: int, is_bigendian: bool
) -> NDArray[np.uint16]:
    """Read packed pixels.

    Args:
        data: The message's `data`: any object with the buffer protocol.
        packing: How they lie.
        height: Rows of the image.
        width: Columns.
        step: Bytes from one row to the next; where a row does not fit into them, rows follow one
            another without a gap.
        is_bigendian: Byte order of pixels of two bytes.

    Returns:
        (H, W) uint16 over the full range, the value in the upper bits, as drivers that unpack
        them publish `mono16`.

    Raises:
        ConversionError: The size is zero, or the data does not hold it.
    """
    if height <= 0 or width <= 0:
        raise ConversionError(f'Image.height x width is {height} x {width}, expected pixels')
    content = np.frombuffer(memoryview(data).cast('B') if len(data) else b'', np.uint8)
    if packing.kind == _LOW and step < 2 * width:
        raise ConversionError(
            f'Image.step is {step}, expected at least {2 * width} for {width} pixels of '
            f'{packing.bits} bits in two bytes each; of packed ones the encoding tells how, as '
            f'Mono{packing.bits}p or Mono{packing.bits}Packed does'
        )
    if step < _length(packing, width):
        rows, row = 1, _length(packing, height * width)
        step = row
    else:
        rows, row = height, _length(packing, width)
    expected = (rows - 1) * step + row
    if len(content) < expected:
        raise ConversionError(
            f'Image.data is truncated: {len(content)} bytes, expected {expected} for {rows} rows '
            f'of step {step}'
        )
    lines = np.lib.stride_tricks.as_strided(content, (rows, row), (step, 1), writeable=False)
    values = _READERS[packing.kind](lines, packing.bits, is_bigendian)
    kept: NDArray[np.uint16] = values[:, : height * width // rows]
    return np.left_shift(kept, np.uint16(16 - packing.bits)).reshape(height, width)


def _base(found: re.Match[str]) -> str:
    """The first part of a name of `sensor_msgs`."""
    return 'mono' if found[1] else f'bayer_{_ORDERS.get(found[2], found[2])}'


def _length(packing: Packing, pixels: int) -> int:
    """Bytes that so many pixels take."""
    if packing.kind == _LOW:
        return 2 * pixels
    if packing.kind == _PAIRS:
        return (3 * pixels + 1) // 2
    return (packing.bits * pixels + 7) // 8


def _read_low(lines: NDArray[np.uint8], bits: int, is_bigendian: bool) -> NDArray[np.uint16]:
    """The low bits of two bytes."""
    values = np.ascontiguousarray(lines).view('>u2' if is_bigendian else '<u2')
    return values.astype(np.uint16) & np.uint16((1 << bits) - 1)


def _read_pairs(lines: NDArray[np.uint8], bits: int, is_bigendian: bool) -> NDArray[np.uint16]:
    """Two pixels in three bytes: high bits of the first, low bits of both, high of the second."""
    triples = _grouped(lines, 3).astype(np.uint16)
    low, mask = bits - 8, np.uint16((1 << (bits - 8)) - 1)
    first = triples[..., 0] << low | (triples[..., 1] & mask)
    second = triples[..., 2] << low | (triples[..., 1] >> 4 & mask)
    return np.stack((first, second), 2).reshape(len(lines), -1)


def _read_stream(lines: NDArray[np.uint8], bits: int, is_bigendian: bool) -> NDArray[np.uint16]:
    """One stream of bits: four pixels start at a byte again."""
    groups = _grouped(lines, bits // 2).astype(np.uint64)
    shifts = np.arange(0, 4 * bits, 8, dtype=np.uint64)
    whole = np.bitwise_or.reduce(groups << shifts, axis=2)
    starts = np.arange(4, dtype=np.uint64) * np.uint64(bits)
    values = whole[..., None] >> starts & np.uint64((1 << bits) - 1)
    return values.astype(np.uint16).reshape(len(lines), -1)


def _grouped(lines: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(H, N, size) bytes, with zeros behind the last."""
    short = -lines.shape[1] % size
    whole = np.pad(lines, ((0, 0), (0, short))) if short else np.ascontiguousarray(lines)
    return whole.reshape(len(lines), -1, size)


_READERS = {_LOW: _read_low, _PAIRS: _read_pairs, _STREAM: _read_stream}
