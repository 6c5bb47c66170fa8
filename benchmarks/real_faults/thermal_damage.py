"""Damage to thermal pictures from the outside: lost bytes and rows, covers, freezes, gain.

Pictures are (H, W) uint16 counts or uint8. Functions of one picture take `(image, severity,
rng)`, those of a stream `(before, frames, severity, rng)`, see `faults`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
Frames = Sequence[Image]
Rng = np.random.Generator


def _level(severity: int, *levels: Any) -> Any:
    return levels[severity - 1]


def _as(image: Image, values: NDArray[Any]) -> Image:
    """Round and clip to the dtype of a picture."""
    highest = np.iinfo(image.dtype).max
    return np.clip(np.rint(values), 0, highest).astype(image.dtype)


def _noise(image: Image) -> float:
    """Standard deviation of what changes from pixel to pixel."""
    steps = np.diff(image.astype(np.float64), axis=1)
    return float(max(np.median(np.abs(steps)) / 0.954, 0.5))


# Bytes and rows


def swapped_bytes(image: Image, severity: int, rng: Rng) -> Image:
    """The two bytes of a pixel are exchanged, in the lower 30, 60, 100 % of the rows."""
    out = image.copy()
    start = round(image.shape[0] * (1 - _level(severity, 0.3, 0.6, 1.0)))
    out[start:] = out[start:].byteswap()
    return out


def zeros(image: Image, severity: int, rng: Rng) -> Image:
    """20, 50, 80 % of the pixels are zero, at random."""
    return np.where(rng.random(image.shape) < _level(severity, 0.2, 0.5, 0.8), 0, image).astype(
        image.dtype
    )


def zero_region(image: Image, severity: int, rng: Rng) -> Image:
    """The lower 20, 50, 80 % of the rows are zero: the transfer ended early."""
    out = image.copy()
    out[round(image.shape[0] * (1 - _level(severity, 0.2, 0.5, 0.8))) :] = 0
    return out


def rows_lost(image: Image, severity: int, rng: Rng) -> Image:
    """3, 10, 30 % of the rows are zero."""
    out = image.copy()
    out[_some(image.shape[0], _level(severity, 0.03, 0.1, 0.3), rng)] = 0
    return out


def rows_repeated(image: Image, severity: int, rng: Rng) -> Image:
    """5, 15, 40 % of the rows show the row above: lost packets, concealed."""
    out = image.copy()
    for row in sorted(_some(image.shape[0], _level(severity, 0.05, 0.15, 0.4), rng)):
        out[row] = out[max(row - 1, 0)]
    return out


def columns_stuck(image: Image, severity: int, rng: Rng) -> Image:
    """3, 10, 30 % of the columns hold one high value: the readout of columns is dead."""
    out = image.copy()
    out[:, _some(image.shape[1], _level(severity, 0.03, 0.1, 0.3), rng)] = image.max()
    return out


def _some(length: int, share: float, rng: Rng) -> NDArray[np.int64]:
    return rng.choice(length, max(1, round(share * length)), replace=False)


# Covers


def covered(image: Image, severity: int, rng: Rng) -> Image:
    """The left 25, 45, 60 % show something warm and even before the lens, with noise."""
    out = image.astype(np.float64)
    width = round(image.shape[1] * _level(severity, 0.25, 0.45, 0.6))
    level = np.percentile(image, 90)
    out[:, :width] = rng.normal(level, _noise(image), (image.shape[0], width))
    return _as(image, out)


def wet_window(image: Image, severity: int, rng: Rng) -> Image:
    """Water on 30, 50, 80 % of the window is opaque to heat: blobs of its own warmth."""
    field = cv2.resize(
        rng.standard_normal((5, 7)), image.shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    share = _level(severity, 0.3, 0.5, 0.8)
    limit = np.quantile(field, 1 - share)
    cover = np.clip((field - limit) / (0.2 * field.std()) + 0.5, 0, 1)
    drift = cv2.resize(rng.standard_normal((3, 4)), image.shape[::-1])
    own = np.percentile(image, 30) + 0.05 * image.std() * drift
    noise = rng.normal(0, _noise(image), image.shape)
    return _as(image, cover * (own + noise) + (1 - cover) * image)


# Levels


def inverted(image: Image, severity: int, rng: Rng) -> Image:
    """Black-hot instead of white-hot; lighter severities with the contrast of 50 and 75 %."""
    low, high = np.percentile(image, (1, 99))
    gain = _level(severity, 0.5, 0.75, 1.0)
    middle = (low + high) / 2
    return _as(image, middle - gain * (image - middle))


def stuck_gain(image: Image, severity: int, rng: Rng) -> Image:
    """The gain is 0.5, 3, 8 times what it was, about the middle; 8-bit pictures clip."""
    middle = np.median(image.astype(np.float64))
    return _as(image, middle + _level(severity, 0.5, 3.0, 8.0) * (image - middle))


# Freezes


def frozen_with_noise(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """The same picture with fresh noise: 0.5, 1, 2 times the camera's own."""
    held = before[-1] if before else frames[0]
    sigma = max(0.5, _level(severity, 0.5, 1.0, 2.0) * _noise(held))
    return [_as(held, held + rng.normal(0, sigma, held.shape)) for _ in frames]


def frozen_part(before: Frames, frames: Frames, severity: int, rng: Rng) -> list[Image]:
    """The lower 40, 60, 90 % stay as they were, to the bit."""
    held = before[-1] if before else frames[0]
    start = round(held.shape[0] * (1 - _level(severity, 0.4, 0.6, 0.9)))
    out = [frame.copy() for frame in frames]
    for frame in out:
        frame[start:] = held[start:]
    return out
