"""Pictures that the health checks take for a camera's: pure noise counts as a broken one."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def camera_picture(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw patches of many colours with the noise of a good sensor.

    Args:
        rng: Source of randomness.
        size: `(H, W)`, pixels.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    coarse = rng.integers(20, 236, (max(2, size[0] // 8), max(2, size[1] // 8), 3))
    patches = cv2.resize(coarse.astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST)
    return np.clip(patches + rng.normal(0, 2, patches.shape), 0, 255).astype(np.uint8)
