"""Pictures that the tests share: a camera's, as health wants them, and frames of own data."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

OWN_SIZE = (60, 96)


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


def draw_own_frames(
    root: Path, count: int = 20, folder: str = '', size: tuple[int, int] = OWN_SIZE
) -> None:
    """Write pictures whose colours follow five own classes, and their masks.

    Args:
        root: Gets `images` and `masks`.
        count: How many.
        folder: Between `root` and the two.
        size: `(H, W)`, pixels; 60 x 96 or in that proportion.
    """
    rng, scale = np.random.default_rng(count), size[0] // OWN_SIZE[0]
    colours = np.array(
        [(90, 90, 90), (120, 180, 240), (40, 140, 40), (200, 40, 40), (230, 200, 40)]
    )
    for k in range(count):
        ids = np.full(size, 1, np.uint8)
        ids[20 * scale : 30 * scale], ids[30 * scale :] = 2, 0
        for label, width in ((3, 24 * scale), (4, 12 * scale)):
            left = int(rng.integers(0, size[1] - width))
            ids[22 * scale : 45 * scale, left : left + width] = label
        picture = np.clip(colours[ids] + rng.integers(-20, 21, (*size, 3)), 0, 255)
        ids[:2] = 255
        save_picture(root / folder / 'images' / f'{k:03d}.png', picture.astype(np.uint8))
        save_picture(root / folder / 'masks' / f'{k:03d}.png', ids)


def save_picture(path: Path, array: NDArray[np.uint8]) -> None:
    """Write a picture without loss, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
