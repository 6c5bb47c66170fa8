"""Pixels under the names that camera drivers use beside `sensor_msgs`: 10 to 14 bits, and YUV.

`sensor_msgs/image_encodings` has none of them. Drivers of GenICam cameras hand on the name of the
pixel format (`Mono12p`, `BayerRG12Packed`), others write `mono12` or `bayer_rggb12` for values in
the low bits of 16. Bits lie as GenICam's pixel format naming convention has them: `p` is one
stream from the least significant bit on; `Packed`, of GigE Vision, holds the upper bits of two
pixels in two bytes and what is left of both in the byte between them. `p32` is a pixel in the low
bits of four bytes. Components follow one another as the name lists them, `UYYVYY` as `RGB`.
YUV is converted by BT.601 as OpenCV does; `YCbCr` without a standard's number and `YCbCr709` are
of another range or matrix, and stay unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.messages.image_encodings import ConversionError

_NAME = re.compile(
    r'(?:(mono)|bayer_?(rggb|bggr|gbrg|grbg|rg|bg|gb|gr))_?(8|10|12|14|16)(p|_?packed)?'
)
_COLOUR = re.compile(r'((?:rgb|bgr)a?)(10|12|14)(p)?')
_WORDS = ('rgb10p32', 'rgb10v2packed')
"""One layout under the names of PFNC and of GigE Vision."""
_ORDERS = {'rg': 'rggb', 'bg': 'bggr', 'gb': 'gbrg', 'gr': 'grbg'}
_OTHERS: Mapping[str, str] = MappingProxyType(
    {
        **{f'{name}8packed': f'{name}8' for name in ('rgb', 'bgr', 'rgba', 'bgra')},
        **{f'{name}8': f'{name}8' for name in ('rgb', 'bgr', 'rgba', 'bgra')},
        'yuv422_8': 'yuyv',
        'yuv422_8_uyvy': 'uyvy',
        'yuv422packed': 'uyvy',
        'ycbcr601_422_8': 'yuyv',
        'ycbcr601_422_8_cbycry': 'uyvy',
    }
)
_CHROMA: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(('yuv411packed', 'yuv411_8_uyyvyy', 'ycbcr601_411_8_cbyycryy'), 'uyyvyy'),
        **dict.fromkeys(('yuv444packed', 'yuv8_uyv', 'ycbcr601_8_cbycr'), 'uyv'),
    }
)
"""YUV that `sensor_msgs` has no name for -> order of its bytes."""
_LOW, _STREAM, _PAIRS, _WORD = '', 'p', 'packed', 'p32'
_NAMES = {1: 'Mono', 3: 'RGB', 4: 'RGBa'}


@dataclass(frozen=True)
class Packing:
    """How pixels of one encoding lie in memory.

    Attributes:
        encoding: What they are once they are read: `mono16`, `bayer_rggb16`, `rgb16`.
        bits: Of a component.
        kind: `` for the low bits of two bytes, `p` for one stream of bits, `packed` for pairs of
            pixels in three bytes, `p32` for a pixel in four bytes.
        channels: Components of a pixel.
    """

    encoding: str
    bits: int
    kind: str
    channels: int = 1


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
        encoding: For example `Mono12p`, `mono12`, `BayerRG10Packed` or `RGB12p`.

    Returns:
        The packing; None for every other encoding.
    """
    if encoding.lower() in _WORDS:
        return Packing('rgb16', 10, _WORD, 3)
    if (colour := _COLOUR.fullmatch(encoding.lower())) is not None:
        return Packing(f'{colour[1]}16', int(colour[2]), colour[3] or '', len(colour[1]))
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
        (H, W), or (H, W, C) of colours, uint16 over the full range, the value in the upper bits,
        as drivers that unpack them publish `mono16`.

    Raises:
        ConversionError: The size is zero, or the data does not hold it.
    """
    wide = width * packing.channels
    if packing.kind == _LOW and width > 0 and step < 2 * wide:
        name = f'{_NAMES[packing.channels]}{packing.bits}'
        pairs = f' or {name}Packed does' if packing.channels == 1 else ' does'
        raise ConversionError(
            f'Image.step is {step}, expected at least {2 * wide} for {width} pixels of '
            f'{packing.bits} bits in two bytes each; of packed ones the encoding tells how, as '
            f'{name}p{pairs}'
        )
    lines = _lines_of(data, height, width, step, lambda pixels: _length(packing, pixels))
    values = _READERS[packing.kind](lines, packing.bits, is_bigendian)
    kept: NDArray[np.uint16] = values[:, : height * wide // len(lines)]
    shape = (height, width) if packing.channels == 1 else (height, width, packing.channels)
    return np.left_shift(kept, np.uint16(16 - packing.bits)).reshape(shape)


def chroma_of(encoding: str) -> str:
    """Look up the order of bytes of an encoding of YUV that `sensor_msgs` has no name for.

    Args:
        encoding: For example `YUV411Packed`.

    Returns:
        `uyyvyy` or `uyv`; '' for every other encoding.
    """
    return _CHROMA.get(encoding.lower(), '')


def unpack_chroma(
    data: Any, order: str, height: int, width: int, step: int
) -> tuple[NDArray[np.uint8], str]:
    """Read YUV of 4:1:1 or 4:4:4 as an encoding that `sensor_msgs` has, without loss.

    Args:
        data: The message's `data`: any object with the buffer protocol.
        order: See `chroma_of`.
        height: Rows of the image.
        width: Columns; a multiple of four for `uyyvyy`.
        step: As for `unpack_pixels`.

    Returns:
        (H, W, 2) uint8 `uyvy`, or (3 * H, W) uint8 `nv24` as `view_pixels` has it; and that name.

    Raises:
        ConversionError: The size is zero or does not suit, or the data does not hold it.
    """
    if order == 'uyyvyy' and width % 4:
        raise ConversionError(f'Image.width is {width}, YUV 4:1:1 needs a multiple of 4')
    bits = 12 if order == 'uyyvyy' else 24
    lines = _lines_of(data, height, width, step, lambda pixels: pixels * bits // 8)
    if order == 'uyv':
        pixels = lines.reshape(height, width, 3)
        chroma = np.ascontiguousarray(pixels[..., ::2]).reshape(2 * height, width)
        return np.concatenate([pixels[..., 1], chroma]), 'nv24'
    groups = lines.reshape(height, width // 4, 6)
    wide = groups[..., [0, 1, 3, 2, 0, 4, 3, 5]]  # each U and V stands for four pixels
    return np.ascontiguousarray(wide).reshape(height, width, 2), 'uyvy'


def _lines_of(
    data: Any, height: int, width: int, step: int, length: Callable[[int], int]
) -> NDArray[np.uint8]:
    """See the rows of an image, or all of it as one where rows do not fit into the step.

    Args:
        data: The message's `data`.
        height: Rows.
        width: Columns.
        step: Bytes from one row to the next.
        length: Bytes that so many pixels take.
    """
    if height <= 0 or width <= 0:
        raise ConversionError(f'Image.height x width is {height} x {width}, expected pixels')
    content = np.frombuffer(memoryview(data).cast('B') if len(data) else b'', np.uint8)
    rows, row = height, length(width)
    if step < row:
        rows, row = 1, length(height * width)
        step = row
    expected = (rows - 1) * step + row
    if len(content) < expected:
        raise ConversionError(
            f'Image.data is truncated: {len(content)} bytes, expected {expected} for {rows} rows '
            f'of step {step}'
        )
    return np.lib.stride_tricks.as_strided(content, (rows, row), (step, 1), writeable=False)


def _base(found: re.Match[str]) -> str:
    """The first part of a name of `sensor_msgs`."""
    return 'mono' if found[1] else f'bayer_{_ORDERS.get(found[2], found[2])}'


def _length(packing: Packing, pixels: int) -> int:
    """Bytes that so many pixels take."""
    if packing.kind == _WORD:
        return 4 * pixels
    pixels *= packing.channels
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


def _read_words(lines: NDArray[np.uint8], bits: int, is_bigendian: bool) -> NDArray[np.uint16]:
    """Three components in the low bits of four bytes, the first lowest."""
    words = np.ascontiguousarray(lines).view('<u4')[..., None]
    starts = np.arange(3, dtype=np.uint32) * np.uint32(bits)
    values = words >> starts & np.uint32((1 << bits) - 1)
    return values.astype(np.uint16).reshape(len(lines), -1)


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


_READERS = {_LOW: _read_low, _PAIRS: _read_pairs, _STREAM: _read_stream, _WORD: _read_words}
