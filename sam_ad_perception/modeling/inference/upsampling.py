"""Logits of a small grid to mask and confidence of the camera's size, without upsampled logits.

`label_upsampling` makes the mask alone, which takes less. Between two rows of the grid each class
changes linearly along a column of the picture. So the terms of the softmax are geometric series,
one multiplication per pixel and class; the class that is best at both ends is best in between;
and where it changes, a class that is nowhere above the best of one end cannot be the best. Inner
loops run along contiguous rows, so that they vectorise.

The softmax may have a temperature: its exponents are multiplied by `sharpness`, one over it. Which
class is best does not depend on that.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CHUNK = 64
"""Columns that are worked on together: what they need stays in the first cache."""

MANY_ROWS = 8
"""From so many rows of the picture between two of the grid on it pays to work by bands."""

SMALLEST = np.float32(-30)
"""A series may begin with a logit this far below the best; below it `_exp` is too coarse."""

NEGLIGIBLE = np.float32(-13)
"""So far below the best, 253 classes together are less than one in 1000."""


@njit(cache=True, nogil=True)
def taps(out_size, in_size):  # type: ignore[no-untyped-def]
    """Lower and upper index, and the weight of the upper one, for each output position."""
    low = np.empty(out_size, np.int64)
    high = np.empty(out_size, np.int64)
    weight = np.empty(out_size, np.float32)
    for i in range(out_size):
        position = max((i + 0.5) * in_size / out_size - 0.5, 0.0)
        low[i] = min(int(position), in_size - 1)
        # Before the first centre nothing changes, as behind the last one.
        high[i] = low[i] if position == 0.0 else min(low[i] + 1, in_size - 1)
        weight[i] = position - low[i]
    return low, high, weight


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy', inline='always')
def _exp(x):  # type: ignore[no-untyped-def]
    """Powers of e for float32 from -64 to 0, to 0.6 % at -40, 2e-5 from -5; it vectorises."""
    y = max(x, np.float32(-64)) * np.float32(1 / 256)
    e = np.float32(1) + y * (np.float32(1) + y * (np.float32(0.5) + y * np.float32(0.16666667)))
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    return e


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy')
def _expand_row(logits, row, low, high, weight, line, best, label):  # type: ignore[no-untyped-def]
    """Interpolate one grid row to all columns, and find the best class of each."""
    classes, width = line.shape
    for c in range(classes):
        for u in range(width):
            left = logits[c, row, low[u]]
            line[c, u] = left + (logits[c, row, high[u]] - left) * weight[u]
    for u in range(width):
        best[u] = line[0, u]
        label[u] = 0
    for c in range(1, classes):
        for u in range(width):
            better = line[c, u] > best[u]
            label[u] = c if better else label[u]
            best[u] = line[c, u] if better else best[u]


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy')
def _select(  # type: ignore[no-untyped-def]
    top,
    bottom,
    tops,
    bottoms,
    top_label,
    bottom_label,
    left,
    right,
    sharpness,
    ends,
    candidates,
    active,
):
    """List the classes that may be best in a chunk, and those that count in its softmax.

    Returns how many there are of each, and the lowest exponent of the second.
    """
    columns = right - left
    for j in range(columns):
        u = left + j
        ends[0, j] = bottom[top_label[u], u]  # where the best of one end is at the other
        ends[1, j] = top[bottom_label[u], u]
    possible = counted = 0
    lowest = np.float32(0)
    for c in range(len(top)):
        lead = share = np.float32(-1e30)
        low = np.float32(0)
        for j in range(columns):
            above, below = top[c, left + j], bottom[c, left + j]
            from_top = (above - tops[left + j], below - ends[0, j])
            from_bottom = (above - ends[1, j], below - bottoms[left + j])
            lead = max(lead, min(from_top[1], from_bottom[0]))
            share = max(share, min(max(from_top[0], from_top[1]), max(*from_bottom)))
            low = min(low, min(from_top[0], from_bottom[1]))
        if lead >= 0:
            candidates[possible] = c
            possible += 1
        if share * sharpness > NEGLIGIBLE:
            active[counted] = c
            counted += 1
            lowest = min(lowest, low * sharpness)
    if possible == 0:  # only where nothing is a number: the first class stands for none
        candidates[0] = 0
        possible = 1
    return possible, counted, lowest


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy')
def _begin_series(  # type: ignore[no-untyped-def]
    top, bottom, tops, bottoms, left, right, sharpness, first, step, active, term, ratio
):
    """Make the terms of the first row and their ratio from row to row.

    A term is e to the power of a logit less the line between the best of both ends, which no
    logit exceeds.
    """
    for i, c in enumerate(active):
        for j in range(right - left):
            above = (top[c, left + j] - tops[left + j]) * sharpness
            change = (bottom[c, left + j] - bottoms[left + j]) * sharpness - above
            term[i, j] = _exp(above + change * first)
            ratio[i, j] = change * step
        for j in range(right - left):
            quick = _exp(-abs(ratio[i, j]))
            inverse = np.float32(1) / quick
            ratio[i, j] = inverse if ratio[i, j] > 0 else quick


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy')
def _sum_terms(term, ratio, count, columns, total):  # type: ignore[no-untyped-def]
    """Add up the terms of one row, and go on to the next."""
    for j in range(columns):
        total[j] = np.float32(0)
    for i in range(count):
        for j in range(columns):
            total[j] += term[i, j]
            term[i, j] *= ratio[i, j]


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy')
def _sum_exactly(top, bottom, left, columns, t, sharpness, active, best, total):  # type: ignore[no-untyped-def]
    """Add up the terms of one row, each by itself."""
    for j in range(columns):
        total[j] = np.float32(0)
    for c in active:
        for j in range(columns):
            value = top[c, left + j] + (bottom[c, left + j] - top[c, left + j]) * t
            total[j] += _exp((value - best[j]) * sharpness)


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy')
def _choose(top, bottom, left, columns, t, candidates, best, label):  # type: ignore[no-untyped-def]
    """Find the best of the candidates in one row."""
    c = candidates[0]
    for j in range(columns):
        best[j] = top[c, left + j] + (bottom[c, left + j] - top[c, left + j]) * t
        label[j] = c
    for c in candidates[1:]:
        for j in range(columns):
            value = top[c, left + j] + (bottom[c, left + j] - top[c, left + j]) * t
            better = value > best[j]
            label[j] = c if better else label[j]
            best[j] = value if better else best[j]


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy')
def _fill(  # type: ignore[no-untyped-def]
    top,
    bottom,
    tops,
    bottoms,
    labels,
    left,
    right,
    weights,
    begin,
    end,
    sharpness,
    buffers,
    mask,
    confidence,
):
    """Fill the rows from `begin` to `end`, columns from `left` to `right`, of one band."""
    term, ratio, ends, total, best, label, candidates, active = buffers
    columns, first = right - left, weights[begin]
    # Which classes may win here, and which count in the sum of the softmax.
    possible, count, lowest = _select(
        top,
        bottom,
        tops,
        bottoms,
        labels[0],
        labels[1],
        left,
        right,
        sharpness,
        ends,
        candidates,
        active,
    )
    # Terms as geometric series, where float32 holds the smallest of them.
    is_series = lowest > SMALLEST
    if is_series:
        step = weights[begin + 1] - first if end - begin > 1 else np.float32(0)
        _begin_series(
            top,
            bottom,
            tops,
            bottoms,
            left,
            right,
            sharpness,
            first,
            step,
            active[:count],
            term,
            ratio,
        )
    for v in range(begin, end):
        t = weights[v]
        # The best class of each pixel, then its share of the sum of all.
        _choose(top, bottom, left, columns, t, candidates[:possible], best, label)
        if is_series:
            _sum_terms(term, ratio, count, columns, total)
            for j in range(columns):
                line = tops[left + j] + (bottoms[left + j] - tops[left + j]) * t
                best[j] = np.float32(255) * _exp((best[j] - line) * sharpness)
        else:
            _sum_exactly(top, bottom, left, columns, t, sharpness, active[:count], best, total)
            for j in range(columns):
                best[j] = np.float32(255)
        for j in range(columns):
            mask[v, left + j] = label[j]
            confidence[v, left + j] = int(
                min(best[j] / total[j], np.float32(255)) + np.float32(0.5)
            )


@njit(cache=True, nogil=True, fastmath=True, error_model='numpy')
def _upsample_by_rows(logits, sharpness, mask, confidence):  # type: ignore[no-untyped-def]
    """Fill one row of the picture after the other: for grids that are nearly as fine as it."""
    classes, in_height, in_width = logits.shape
    height, width = mask.shape
    row_low, row_high, row_weight = taps(height, in_height)
    col_low, col_high, col_weight = taps(width, in_width)
    column = np.empty(in_width, np.float32)
    line = np.empty((classes, width), np.float32)
    best = np.empty(width, np.float32)
    label = np.empty(width, np.int32)
    total = np.empty(width, np.float32)
    for v in range(height):
        a, b, t = row_low[v], row_high[v], row_weight[v]
        for c in range(classes):
            for x in range(in_width):
                column[x] = logits[c, a, x] + (logits[c, b, x] - logits[c, a, x]) * t
            for u in range(width):
                left = column[col_low[u]]
                line[c, u] = left + (column[col_high[u]] - left) * col_weight[u]
        for u in range(width):
            best[u] = line[0, u]
            label[u] = 0
            total[u] = np.float32(0)
        for c in range(1, classes):
            for u in range(width):
                better = line[c, u] > best[u]
                label[u] = c if better else label[u]
                best[u] = line[c, u] if better else best[u]
        for c in range(classes):
            for u in range(width):
                total[u] += _exp((line[c, u] - best[u]) * sharpness)
        for u in range(width):
            mask[v, u] = label[u]
            confidence[v, u] = int(np.float32(255) / total[u] + np.float32(0.5))


@njit(cache=True, nogil=True)
def _upsample_by_bands(logits, sharpness, mask, confidence):  # type: ignore[no-untyped-def]
    """Fill all rows between two rows of the grid, then the next: for coarse grids."""
    classes, in_height, in_width = logits.shape
    height, width = mask.shape
    row_low, row_high, row_weight = taps(height, in_height)
    col_low, col_high, col_weight = taps(width, in_width)
    # Row i of the grid is held in place i % 2, so that two neighbours fit.
    lines = (np.empty((classes, width), np.float32), np.empty((classes, width), np.float32))
    best = (np.empty(width, np.float32), np.empty(width, np.float32))
    label = (np.empty(width, np.int32), np.empty(width, np.int32))
    held = np.full(2, -1)
    buffers = (
        np.empty((classes, CHUNK), np.float32),
        np.empty((classes, CHUNK), np.float32),
        np.empty((2, CHUNK), np.float32),
        np.empty(CHUNK, np.float32),
        np.empty(CHUNK, np.float32),
        np.empty(CHUNK, np.int32),
        np.empty(classes, np.int64),
        np.empty(classes, np.int64),
    )
    begin = 0
    while begin < height:
        # A band: all rows of the picture between the same two rows of the grid.
        end = begin + 1
        low, high = row_low[begin], row_high[begin]
        while end < height and row_low[end] == low and row_high[end] == high:
            end += 1
        for row in (low, high):
            at = row % 2
            if held[at] != row:
                _expand_row(
                    logits, row, col_low, col_high, col_weight, lines[at], best[at], label[at]
                )
                held[at] = row
        a, b = low % 2, high % 2
        for left in range(0, width, CHUNK):
            _fill(
                lines[a], lines[b], best[a], best[b], (label[a], label[b]),
                left, min(left + CHUNK, width), row_weight, begin, end,
                sharpness, buffers, mask, confidence,
            )  # fmt: skip
        begin = end


@njit(cache=True, nogil=True)
def upsample_argmax(logits, sharpness, mask, confidence):  # type: ignore[no-untyped-def]
    """Fill mask and confidence by bilinear interpolation, argmax and softmax.

    Args:
        logits: (classes, h, w) float32.
        sharpness: float32, of the softmax: one over its temperature.
        mask: (H, W) uint8, filled with the best class.
        confidence: (H, W) uint8, filled with its probability times 255, rounded.
    """
    if len(mask) < MANY_ROWS * logits.shape[1]:
        _upsample_by_rows(logits, sharpness, mask, confidence)
    else:
        _upsample_by_bands(logits, sharpness, mask, confidence)
