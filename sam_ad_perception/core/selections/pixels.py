"""Pixels of chosen classes: binary masks, and depth images with or without them."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.selections.config import Selection

_FEW_RUNS = 4
"""A few ranges of ids are compared faster than every pixel is looked up."""


def select_pixels(mask: NDArray[np.uint8], selection: Selection) -> NDArray[np.uint8]:
    """Find the pixels of chosen classes.

    Args:
        mask: (H, W) uint8 ids.
        selection: The classes; the area grows by a square of `2 * dilate_px + 1` pixels.

    Returns:
        (H, W) uint8, 255 where a chosen class is, else 0.
    """
    runs = _runs(selection.chosen)
    selected: NDArray[np.uint8] = np.zeros_like(mask)
    if 0 < len(runs) <= _FEW_RUNS:
        (low, high), *others = runs
        cv2.inRange(mask, low, high, selected)
        for low, high in others:
            cv2.bitwise_or(selected, cv2.inRange(mask, low, high), selected)
    elif runs:
        cv2.LUT(mask, selection.chosen, selected)
    if selection.dilate_px and runs:
        side = 2 * selection.dilate_px + 1
        cv2.dilate(selected, cv2.getStructuringElement(cv2.MORPH_RECT, (side, side)), selected)
    return selected


def select_depth(
    depth: NDArray[np.float32], selected: NDArray[np.uint8], *, keep: bool
) -> NDArray[np.float32]:
    """Take pixels out of a depth image.

    Args:
        depth: (H, W) float32, metres, NaN where unknown.
        selected: (H, W) uint8, of `select_pixels`.
        keep: Whether the selected pixels stay and the others go, or the other way round.

    Returns:
        (H, W) float32, metres, NaN also where a pixel was taken out.
    """
    left = np.empty_like(depth)
    _take_out(depth, selected, np.uint8(0 if keep else 255), left)
    return left


def _runs(chosen: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Chosen ids as ranges, first and last."""
    edges = np.flatnonzero(np.diff(chosen > 0, prepend=False, append=False))
    return [(int(low), int(high) - 1) for low, high in edges.reshape(-1, 2)]


@njit(cache=True, nogil=True)
def _take_out(depth, selected, out, left):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for row in range(height):
        for column in range(width):
            gone = selected[row, column] == out
            left[row, column] = np.float32(np.nan) if gone else depth[row, column]
