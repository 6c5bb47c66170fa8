"""Pixels of PNG files of one byte a pixel: labels are stored so, and Pillow takes twice as long.

The row filters are those of the PNG specification (W3C, third edition, section 9).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

PNG = b'\x89PNG\r\n\x1a\n'
_GREY, _PALETTE = 0, 3
_HEADER_END = 33


@dataclass(frozen=True, eq=False)
class PngPixels:
    """What a file holds.

    Attributes:
        values: (H, W) uint8, grey values or indices of the palette.
        palette: (N, 3) uint8 RGB, N up to 256; None of a grey picture.
    """

    values: NDArray[np.uint8]
    palette: NDArray[np.uint8] | None


def unpack_png(content: bytes) -> PngPixels | None:
    """Take the pixels out of a PNG file whose chunks are whole.

    Args:
        content: The file, its size checked by `image_files.read_content`.

    Returns:
        The pixels; None of a file that is no PNG, has other than 8 bits and one channel, is
        interlaced, or whose data are not as its header says: another decoder has to tell.
    """
    if not content.startswith(PNG) or len(content) < _HEADER_END:
        return None
    width, height = (int.from_bytes(content[at : at + 4], 'big') for at in (16, 20))
    depth, colour, *coding = content[24:29]
    if (
        0 in (width, height)
        or depth != 8
        or colour not in (_GREY, _PALETTE)
        or coding != [0, 0, 0]
    ):
        return None
    coded, palette = bytearray(), None
    place = _HEADER_END
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], 'big')
        kind = content[place + 4 : place + 8]
        body = memoryview(content)[place + 8 : place + 8 + length]
        if kind == b'IDAT':
            coded += body
        elif kind == b'PLTE' and length % 3 == 0:
            palette = np.frombuffer(body, np.uint8).reshape(-1, 3)
        place += 12 + length
    if (palette is None) == (colour == _PALETTE):
        return None
    expected = height * (width + 1)
    stream = zlib.decompressobj()
    try:
        filtered = stream.decompress(coded, expected + 1)
    except zlib.error:
        return None
    if len(filtered) != expected or not stream.eof:
        return None
    values = np.empty((height, width), np.uint8)
    rows = np.frombuffer(filtered, np.uint8).reshape(height, width + 1)
    return PngPixels(values, palette) if _undo_filters(rows, values) else None


@njit(cache=True, nogil=True, error_model='numpy')
def _undo_filters(rows, values):  # type: ignore[no-untyped-def]
    """Undo the filter that each row begins with; False where one has an unknown filter."""
    height, width = values.shape
    above = np.zeros(width, np.uint8)
    for v in range(height):
        kind, row, out = rows[v, 0], rows[v, 1:], values[v]
        left = 0
        if kind == 0:
            out[:] = row
        elif kind == 1:
            for u in range(width):
                left = (left + row[u]) & 255
                out[u] = left
        elif kind == 2:
            for u in range(width):
                out[u] = (row[u] + above[u]) & 255
        elif kind == 3:
            for u in range(width):
                left = (row[u] + ((left + above[u]) >> 1)) & 255
                out[u] = left
        elif kind == 4:
            corner = 0
            for u in range(width):
                up = int(above[u])
                if up == corner:  # within a class: the predictor is the left neighbour
                    left = (row[u] + left) & 255
                else:
                    left = (row[u] + _predict(left, up, corner)) & 255
                out[u] = left
                corner = up
        else:
            return False
        above = out
    return True


@njit(cache=True, nogil=True, error_model='numpy')
def _predict(left, up, corner):  # type: ignore[no-untyped-def]
    """Paeth's predictor: the neighbour that is nearest to left + up - corner."""
    to_left, to_up = abs(up - corner), abs(left - corner)
    to_corner = abs(left + up - 2 * corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner
