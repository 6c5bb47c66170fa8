"""Masks as lengths of runs: those of COCO, of CVAT, and the bit stream of Label Studio.

Facts: the mask API of the COCO data set (column by column, first the run of zeros; as text six
bits a character, differences to the run before the last); CVAT's documented format of masks (row
by row within a box, first the run of zeros); thi.ng/rle-pack, in which Label Studio keeps RGBA.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SIZES = (3, 4, 8, 16)
"""Bits of a run's length that a brush stream may choose from, shortest first."""
_WORD = 8
_CHANNELS = 4


def encode_runs(flat: NDArray[np.bool_]) -> list[int]:
    """Count runs, the first of zeros (0 long where the first element is one).

    Args:
        flat: (N,) bool.

    Returns:
        Lengths; their sum is N.
    """
    if not flat.size:
        return []
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat[0] else lengths


def decode_runs(counts: Sequence[int], size: int) -> NDArray[np.bool_]:
    """Draw runs, the first of zeros.

    Args:
        counts: Lengths.
        size: What they must add up to.

    Returns:
        (size,) bool.

    Raises:
        ValueError: A length is negative, or they add up to something else.
    """
    lengths = np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != size:
        raise ValueError(f'run lengths add up to {int(lengths.sum())}, expected {size}')
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def encode_coco(mask: NDArray[np.bool_]) -> list[int]:
    """Encode an (H, W) bool mask as COCO's counts: runs down the columns."""
    return encode_runs(mask.T.reshape(-1))


def decode_coco(counts: Sequence[int] | str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode COCO's counts.

    Args:
        counts: As numbers, or as the text that COCO's tools write.
        size: `(H, W)`, pixels.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: They do not fit the size, or the text is cut.
    """
    numbers = parse_coco_text(counts) if isinstance(counts, str) else counts
    return decode_runs(numbers, size[0] * size[1]).reshape(size[1], size[0]).T


def parse_coco_text(text: str) -> list[int]:
    """Read counts out of COCO's text: six bits a character, five of them digits, signed.

    Args:
        text: ASCII.

    Returns:
        The counts.

    Raises:
        ValueError: The text ends within a number, or holds other characters.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text.encode('ascii'):
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError(f'{chr(character)!r} is no character of run lengths')
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # the sign
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError('the text of run lengths ends within a number')
    return counts


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask as Label Studio's brush: RGBA, all four channels 255 where it is drawn.

    Args:
        mask: (H, W) bool.

    Returns:
        The bytes of the stream.
    """
    lengths = encode_runs(mask.reshape(-1))
    bits = [_bits(mask.size * _CHANNELS, 32), _bits(_WORD - 1, 5)]
    bits += [_bits(size - 1, 4) for size in _SIZES]
    longest = 1 << _SIZES[-1]
    for place, length in enumerate(lengths):
        word = _bits(255 if place % 2 else 0, _WORD)
        left = length * _CHANNELS
        while left:
            run = min(left, longest)
            kind = next(k for k, size in enumerate(_SIZES) if run <= 1 << size)
            bits.append('1' + _bits(kind, 2) + _bits(run - 1, _SIZES[kind]) + word)
            left -= run
    text = ''.join(bits)
    packed = np.packbits(np.frombuffer(text.encode(), np.uint8) - ord('0'))
    values: list[int] = packed.tolist()
    return values


def decode_brush(content: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode Label Studio's brush; a pixel is drawn where its alpha is not 0.

    Args:
        content: The bytes of the stream.
        size: `(H, W)`, pixels.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: It is of another size, or cut.
    """
    stream = _BitStream(bytes(content))
    count, word = stream.take(32), stream.take(5) + 1
    sizes = [stream.take(4) + 1 for _ in range(4)]
    expected = size[0] * size[1] * _CHANNELS
    if count != expected:
        raise ValueError(f'the brush has {count} values, expected {expected} for {size}')
    values = np.zeros(count, np.uint8)
    place = 0
    while place < count:
        is_run = stream.take(1)
        length = stream.take(sizes[stream.take(2)]) + 1
        if place + length > count:
            raise ValueError(f'a run of the brush ends at {place + length}, behind {count}')
        if is_run:
            values[place : place + length] = stream.take(word) & 255
        else:
            values[place : place + length] = [stream.take(word) & 255 for _ in range(length)]
        place += length
    return values.reshape(*size, _CHANNELS)[..., 3] > 0


class _BitStream:
    """Reads numbers of any number of bits, the highest bit first."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def take(self, bits: int) -> int:
        first, end = self._place >> 3, self._place + bits
        last = (end + 7) >> 3
        if last > len(self._content):
            raise ValueError(f'the brush ends after {len(self._content)} bytes')
        number = int.from_bytes(self._content[first:last], 'big') >> (8 * last - end)
        self._place = end
        return number & ((1 << bits) - 1)


def _bits(value: int, count: int) -> str:
    return format(value, f'0{count}b')
