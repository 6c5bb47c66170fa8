"""Colour changes of 8-bit pictures: brightness, contrast, saturation and hue.

What the functions of `torchvision.transforms.v2` do one after the other, by tables and OpenCV: on
a CPU, where pictures are read, theirs take some ten times as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

GREY = np.array([[0.2989, 0.587, 0.114]])
"""Weights of R, G, B in the brightness of a pixel (ITU-R BT.601, as in torchvision)."""


@dataclass(frozen=True)
class ColourChange:
    """One change of the colours of a picture, in this order.

    Attributes:
        brightness: Factor of all values.
        contrast: Factor of the distance from the picture's mean brightness.
        saturation: Factor of the distance from the pixel's own brightness.
        hue: Turn of the colour circle, in turns, -0.5 to 0.5.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


def change_colours(image: NDArray[np.uint8], change: ColourChange) -> NDArray[np.uint8]:
    """Change the colours of a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        change: What is changed.

    Returns:
        A new picture of the same shape.
    """
    values = np.arange(256, dtype=np.float32)
    bright = np.clip(values * change.brightness, 0, 255)
    histograms = [cv2.calcHist([image], [channel], None, [256], [0, 256]) for channel in range(3)]
    means = [float(h.reshape(-1) @ bright) / max(1, image[..., 0].size) for h in histograms]
    middle = float(GREY[0] @ means)
    table = np.clip(middle + (bright - middle) * change.contrast, 0, 255)
    changed = cv2.LUT(image, np.rint(table).astype(np.uint8))
    if change.saturation != 1:
        own = change.saturation * np.eye(3) + (1 - change.saturation) * np.repeat(GREY, 3, axis=0)
        changed = cv2.transform(changed, own)
    if change.hue:
        hsv = cv2.cvtColor(np.asarray(changed, np.uint8), cv2.COLOR_RGB2HSV_FULL)
        turned = (np.arange(256) + round(256 * change.hue)) % 256
        hsv[..., 0] = cv2.LUT(hsv[..., 0], turned.astype(np.uint8))
        changed = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    return np.asarray(changed, np.uint8)
