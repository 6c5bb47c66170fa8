"""Noise on the picture of one sensor, as MLE-SAM's paper measures it.

The paper (arXiv 2412.04220) adds N(0, 1) * 50 or U[-100, 100] to pictures of 0-255 and clips. Here
the network's own picture of a sensor is brought to 0-255 and back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.modeling.inputs.camera_view import PictureForm, Representation

GAUSSIAN, UNIFORM = 'gaussian', 'uniform'
KINDS = (GAUSSIAN, UNIFORM)
SIGMA = 50.0
HALF_WIDTH = 100.0


def add_noise(
    image: NDArray[np.float32], form: Representation, kind: str, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Spoil the picture of a sensor.

    Args:
        image: (C, H, W) float32 as the network takes it.
        form: What made it. 0 and 255 are those of the picture's own bytes, whatever the frame
            shows; of a form that is no picture, the lowest and the highest value of each channel
            of the frame.
        kind: One of `KINDS`.
        rng: Source of noise.

    Returns:
        New (C, H, W) float32; a channel of one value of a form that is no picture is left as it
        is.

    Raises:
        ValueError: The kind is unknown.
    """
    if kind == GAUSSIAN:
        noise = SIGMA * rng.standard_normal(image.shape, dtype=np.float32)
    elif kind == UNIFORM:
        noise = rng.uniform(-HALF_WIDTH, HALF_WIDTH, image.shape).astype(np.float32)
    else:
        raise ValueError(f'noise must be one of {KINDS}, got {kind!r}')
    low, high = _ends(image, form)
    step = (high - low) / 255
    levels = np.divide(image - low, step, out=np.zeros_like(image), where=step > 0)
    return np.asarray(low + step * np.clip(levels + noise, 0, 255), np.float32)


def _ends(
    image: NDArray[np.float32], form: Representation
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Values (C, 1, 1) of each channel that a display would show as 0 and as 255."""
    if isinstance(form, PictureForm):
        low, high = (np.asarray(v, np.float32)[:, None, None] for v in form.byte_ends)
        return low, high
    return image.min(axis=(1, 2), keepdims=True), image.max(axis=(1, 2), keepdims=True)
