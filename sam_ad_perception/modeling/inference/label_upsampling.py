"""Logits of a small grid to a mask of the camera's size, where nobody wants the confidence.

It is made cell by cell of the grid: no class rises above its highest corner, so that few can be
the best in a cell, mostly one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sam_ad_perception.modeling.inference.upsampling import taps


@njit(cache=True, nogil=True)
def _runs(low, high):  # type: ignore[no-untyped-def]
    """Where output positions between the next two points of the grid begin; at last their end."""
    starts = np.empty(len(low) + 1, np.int64)
    count = 0
    for i in range(len(low)):
        if i == 0 or low[i] != low[i - 1] or high[i] != high[i - 1]:
            starts[count] = i
            count += 1
    starts[count] = len(low)
    return starts[: count + 1]


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy')
def _select_in_cell(corners, lowest, highest, candidates):  # type: ignore[no-untyped-def]
    """List the classes that may be best within a cell: above the lowest corner of every other."""
    a, b, c, d = corners
    for k in range(len(a)):
        lowest[k] = min(min(a[k], b[k]), min(c[k], d[k]))
        highest[k] = max(max(a[k], b[k]), max(c[k], d[k]))
    floor = lowest.max()
    count = 0
    for k in range(len(a)):
        if highest[k] >= floor:
            candidates[count] = k
            count += 1
    return count


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy')
def _fill_cell(corners, candidates, row_weight, col_weight, best, label, mask):  # type: ignore[no-untyped-def]
    """Fill the pixels of one cell with the best of the candidates."""
    a, b, c, d = corners
    height, width = mask.shape
    for v in range(height):
        t = row_weight[v]
        for i, k in enumerate(candidates):
            first = a[k] + (c[k] - a[k]) * t
            change = b[k] + (d[k] - b[k]) * t - first
            if i == 0:
                for j in range(width):
                    best[j] = first + change * col_weight[j]
                    label[j] = k
            else:
                for j in range(width):
                    value = first + change * col_weight[j]
                    better = value > best[j]
                    label[j] = k if better else label[j]
                    best[j] = value if better else best[j]
        for j in range(width):
            mask[v, j] = label[j]


@njit(cache=True, nogil=True)
def upsample_labels(logits, mask):  # type: ignore[no-untyped-def]
    """Fill a mask alone, cell by cell of the grid: most cells hold one class only.

    Args:
        logits: (classes, h, w) float32.
        mask: (H, W) uint8, filled with the best class.
    """
    classes, in_height, in_width = logits.shape
    grid = np.ascontiguousarray(logits.transpose(1, 2, 0))
    row_low, row_high, row_weight = taps(mask.shape[0], in_height)
    col_low, col_high, col_weight = taps(mask.shape[1], in_width)
    rows, columns = _runs(row_low, row_high), _runs(col_low, col_high)
    lowest, highest = np.empty(classes, np.float32), np.empty(classes, np.float32)
    candidates = np.zeros(classes, np.int64)
    best, label = np.empty(mask.shape[1], np.float32), np.empty(mask.shape[1], np.int32)
    for y in range(len(rows) - 1):
        begin, end = rows[y], rows[y + 1]
        top, bottom = row_low[begin], row_high[begin]
        for x in range(len(columns) - 1):
            left, right = columns[x], columns[x + 1]
            low, high = col_low[left], col_high[left]
            corners = (grid[top, low], grid[top, high], grid[bottom, low], grid[bottom, high])
            count = _select_in_cell(corners, lowest, highest, candidates)
            cell = mask[begin:end, left:right]
            if count < 2:  # none, where nothing is a number
                cell[:] = candidates[0]
            else:
                _fill_cell(
                    corners, candidates[:count], row_weight[begin:end], col_weight[left:right],
                    best, label, cell,
                )  # fmt: skip
