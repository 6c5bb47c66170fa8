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


def lens_picture(
    rng: np.random.Generator,
    size: tuple[int, int],
    K: NDArray[np.float64],
    D: NDArray[np.float64],
    lines: int = 40,
) -> NDArray[np.uint8]:
    """Draw straight lines of the world as a lens shows them, by OpenCV's model.

    Args:
        rng: Source of randomness.
        size: `(H, W)`, pixels.
        K: (3, 3), pixels.
        D: (5,) of plumb_bob; zeros for a rectified picture.
        lines: How many.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    image = np.full((*size, 3), 100, np.uint8)
    reach = np.array([size[1] / K[0, 0], size[0] / K[1, 1]]) * 0.46
    for _ in range(lines):
        middle, angle = rng.uniform(-reach, reach), rng.uniform(0, np.pi)
        along = np.linspace(-0.32, 0.32, 60)[:, None]
        xy = middle + along * np.array([np.cos(angle), np.sin(angle)])
        rays = np.column_stack([xy, np.ones(len(xy))])
        uv, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, D)
        points = np.rint(uv.reshape(-1, 2) * 16).astype(np.int32)
        colour = [int(c) for c in rng.integers(0, 255, 3)]
        cv2.polylines(image, [points], False, colour, 3, cv2.LINE_AA, shift=4)
    noisy = cv2.GaussianBlur(image, (0, 0), 0.8) + rng.normal(0, 2, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
