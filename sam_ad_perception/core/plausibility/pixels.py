"""Values of images that cannot be: exchanged bytes, false colours, bits that are not used.

Each check looks at a few thousand pixels, so that it costs microseconds. What can be mended is,
with a finding that says so; for the rest the finding takes the sensor out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensors import Modality

_ROWS, _COLUMNS = 24, 96
_ORDER_RATIO = 4.0
_SMOOTH = 256
"""Neighbours that differ by less, on the whole, are no exchanged bytes."""
_COLOURFUL, _COLOURFUL_SHARE = 40, 0.2
_FAR_M = 400.0


@dataclass
class PixelMemory:
    """What was seen of one sensor's images so far.

    Attributes:
        highest: Highest value of its 16-bit images.
    """

    highest: int = 0


class ImageChecks:
    """Checks the images of one sensor where they are decoded.

    Safe to use from several threads as long as each image is checked by one.

    Args:
        modality: The sensor.
        black_hot: Whether its thermal images are dark where it is warm: they are inverted.
    """

    def __init__(self, modality: Modality, *, black_hot: bool = False) -> None:
        self._modality = modality
        self._invert = black_hot and modality is Modality.THERMAL
        self._memory = PixelMemory()

    def check_in(
        self, pixels: NDArray[Any], encoding: str, doubt: str = ''
    ) -> tuple[NDArray[Any], tuple[Finding, ...]]:
        """Check pixels as they came.

        Args:
            pixels: See `check_pixels_in`.
            encoding: Their encoding.
            doubt: What the decoder of a compressed image warned of.

        Returns:
            The pixels, mended where that is possible, and what was found.
        """
        pixels, found = check_pixels_in(pixels, encoding, self._modality, self._memory)
        if doubt:
            text = f'its image is damaged, the decoder says {doubt!r}'
            remedy = 'look for packets lost between camera and driver'
            damaged = Finding('image.corrupt', str(self._modality), text, remedy, out=True)
            found = (*found, damaged)
        return pixels, found

    def check_out(self, image: NDArray[Any]) -> tuple[NDArray[Any], tuple[Finding, ...]]:
        """Check what the sensor measured.

        Args:
            image: As `core.messages.from_ros.decode_image` gives it.

        Returns:
            The image, inverted where the sensor's polarity says so, and what was found.
        """
        if self._modality is Modality.DEPTH:
            found = check_depth(image)
            return image, () if found is None else (found,)
        if not self._invert:
            return image, ()
        if image.dtype.kind == 'f':
            return -image, ()
        highest: NDArray[Any] = np.array(np.iinfo(image.dtype).max, image.dtype)
        return highest - image, ()


def check_pixels_in(
    pixels: NDArray[Any], encoding: str, modality: Modality, memory: PixelMemory | None = None
) -> tuple[NDArray[Any], tuple[Finding, ...]]:
    """Check pixels as they came, before they are converted to what the sensor measures.

    Args:
        pixels: (H, W) or (H, W, C) as `core.messages.image_encodings.view_pixels` gives them.
        encoding: Their encoding.
        modality: Their sensor.
        memory: Of this sensor; None for an image of which nothing else is known.

    Returns:
        The pixels, mended where that is possible (a view, or a copy), and what was found.
    """
    found: list[Finding] = []
    if pixels.dtype.itemsize == 2 and pixels.dtype.kind == 'u':
        if is_byte_swapped(pixels):
            pixels = pixels.view(pixels.dtype.newbyteorder('S'))
            found.append(_swapped(encoding, modality))
        if modality is Modality.CAMERA and memory is not None:
            pixels, note = _scale_to_16_bits(pixels, encoding, memory)
            found += note
    elif pixels.dtype.kind == 'f' and is_float_swapped(pixels):
        pixels = pixels.view(pixels.dtype.newbyteorder('S'))
        found.append(_swapped(encoding, modality))
    role = _check_role(pixels, encoding, modality)
    if role is not None:
        found.append(role)
    return pixels, tuple(found)


def check_depth(depth: NDArray[np.float32]) -> Finding | None:
    """Check a depth image for its unit.

    Args:
        depth: (H, W) float32, metres, NaN where there is none.

    Returns:
        What cannot be right, or None.
    """
    samples = _sample(depth)
    samples = samples[np.isfinite(samples)]
    if samples.size < 50:
        return None
    middle = float(np.median(samples))
    if middle < _FAR_M:
        return None
    return Finding(
        'image.depth_unit',
        str(Modality.DEPTH),
        f'half of its depths are beyond {middle:.0f} m, which no depth sensor measures: '
        f'millimetres would be {1e-3 * middle:.3g} m',
        '32FC1 is in metres, 16UC1 in millimetres (REP 118)',
        out=True,
        figure=middle,
    )


def is_byte_swapped(pixels: NDArray[Any]) -> bool:
    """Whether neighbours are far more alike when the two bytes of each pixel are exchanged.

    Args:
        pixels: (H, W) or (H, W, C) of 16 bits, any byte order.

    Returns:
        False too where it cannot be told: even images, 8 bits in either byte.
    """
    rows = np.linspace(0, pixels.shape[0] - 1, min(_ROWS, pixels.shape[0])).astype(int)
    plane = pixels if pixels.ndim == 2 else pixels[:, :, 0]
    start = max(0, (plane.shape[1] - 2 * _COLUMNS) // 2)
    part = plane[rows, start : start + 2 * _COLUMNS]
    values = part.astype(part.dtype.newbyteorder('='))
    if values.shape[1] < 8 or values.size < 64:
        return False
    as_is = np.abs(np.diff(values.astype(np.int32), axis=1)).mean()
    if as_is <= _SMOOTH:
        return False
    low, high = values & 0xFF, values >> 8
    if np.ptp(low) == 0 or (np.ptp(high) == 0 and not low.any()):
        return False  # 8 bits in one of the bytes: either order may be meant
    other = np.abs(np.diff(values.byteswap().astype(np.int32), axis=1)).mean()
    return bool(as_is > _ORDER_RATIO * other)


def is_float_swapped(pixels: NDArray[Any]) -> bool:
    """Whether floating point values are only plausible with their bytes in the other order.

    Args:
        pixels: (H, W) or (H, W, C) float32 or float64, any byte order.

    Returns:
        True where half of the values are beyond any depth or temperature, or as good as nothing,
        and nearly none of them the other way round.
    """
    samples = np.ascontiguousarray(_sample(pixels)).reshape(-1)
    return _implausible(samples) > 0.5 and (
        _implausible(samples.view(samples.dtype.newbyteorder('S'))) < 0.02
    )


def _implausible(values: NDArray[Any]) -> float:
    """Share of values that are neither 0 nor a size that is measured; NaN and inf left out."""
    with np.errstate(invalid='ignore', over='ignore'):
        size = np.abs(values.astype(np.float64))
        size = size[np.isfinite(size) & (size > 0)]
        return float(np.mean((size < 1e-6) | (size > 1e6))) if size.size else 0.0


def _swapped(encoding: str, modality: Modality) -> Finding:
    """The finding of pixels that were read against their flag."""
    return Finding(
        'image.byte_order',
        str(modality),
        f'the bytes of its {encoding} pixels are exchanged: read the other way round',
        'let the driver set is_bigendian',
    )


def _scale_to_16_bits(
    pixels: NDArray[Any], encoding: str, memory: PixelMemory
) -> tuple[NDArray[Any], list[Finding]]:
    """Spread 10, 12 or 14 bits over 16: else they are black when 8 bits are made of them."""
    if memory.highest < 1 << 14:
        memory.highest = max(memory.highest, int(pixels.max()))
    if memory.highest >= 1 << 14 or memory.highest < 1 << 8:
        return pixels, []
    bits = next(b for b in (10, 12, 14) if memory.highest < 1 << b)
    note = Finding(
        'image.bit_depth',
        str(Modality.CAMERA),
        f'its {encoding} pixels use {bits} of 16 bits (the highest is {memory.highest}): '
        'brightened accordingly',
        figure=float(bits),
    )
    native = pixels.astype(np.uint16)
    native <<= 16 - bits
    return native, [note]


def _check_role(pixels: NDArray[Any], encoding: str, modality: Modality) -> Finding | None:
    """Whether an image can be what it is taken for."""
    if modality is Modality.CAMERA and encoding == '16UC1':
        holes = _has_holes(pixels)
        return Finding(
            'image.role',
            str(modality),
            'its images are 16UC1' + (' with holes of 0' if holes else '') + ', as those of depth '
            'sensors are; a camera has mono16',
            'name the topic of the colour image as camera, and this one as depth',
            out=holes,
        )
    if modality is Modality.THERMAL and encoding.startswith('bayer'):
        return Finding(
            'image.role',
            str(modality),
            f'its images are {encoding}, those of a colour camera',
            'name the topic of the thermal camera (mono16)',
            out=True,
        )
    if modality is not Modality.THERMAL or pixels.ndim != 3 or pixels.shape[2] < 3:
        return None
    samples = _sample(pixels).astype(np.int32)[:, :3]
    limit = _COLOURFUL << 8 * (pixels.dtype.itemsize - 1)
    share = float(np.mean(np.ptp(samples, axis=1) > limit)) if len(samples) else 0.0
    if share < _COLOURFUL_SHARE:
        return None
    return Finding(
        'image.false_colour',
        str(modality),
        f'{100 * share:.0f} % of its pixels are colourful: false colours, or no thermal camera; '
        'warmth cannot be read from their grey',
        'name the topic of the raw counts (mono16)',
        out=True,
        figure=share,
    )


def _has_holes(pixels: NDArray[Any]) -> bool:
    """Whether pixels of no value lie among values of hundreds, which light does not do."""
    samples = _sample(pixels).reshape(-1)
    holes = samples == 0
    rest = samples[~holes]
    return bool(rest.size and 0.02 < holes.mean() < 1.0 and np.percentile(rest, 1) > 150)


def _sample(pixels: NDArray[Any]) -> NDArray[Any]:
    """A few thousand pixels: (N,), or (N, C)."""
    rows = max(1, pixels.shape[0] // _ROWS)
    columns = max(1, pixels.shape[1] // _COLUMNS)
    part = pixels[rows // 2 :: rows, columns // 2 :: columns]
    flat: NDArray[Any] = part.reshape(-1, *pixels.shape[2:])
    return flat
