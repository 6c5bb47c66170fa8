"""Samples of two pictures held against each other: in tiles, and as a whole."""

from __future__ import annotations

import numpy as np
from numba import njit

TILES = (6, 8)
"""Rows and columns of tiles."""


@njit(cache=True, nogil=True, fastmath={'reassoc', 'contract'})
def look_at_tiles(samples, before):  # type: ignore[no-untyped-def]
    """Of each tile: standard deviation, correlation with before, whether all is as it was."""
    deviation, likeness = np.zeros(TILES), np.zeros(TILES)
    unchanged = np.zeros(TILES, np.uint8)
    height, width = samples.shape
    for a in range(TILES[0]):
        for b in range(TILES[1]):
            top, bottom = a * height // TILES[0], (a + 1) * height // TILES[0]
            left, right = b * width // TILES[1], (b + 1) * width // TILES[1]
            n, same = 0, True
            sa, sb, saa, sab, sbb = 0.0, 0.0, 0.0, 0.0, 0.0
            first, other = float(samples[top, left]), float(before[top, left])
            for v in range(top, bottom):
                for u in range(left, right):
                    x, y = float(samples[v, u]) - first, float(before[v, u]) - other
                    sa += x
                    sb += y
                    saa += x * x
                    sab += x * y
                    sbb += y * y
                    n += 1
                    same = same and samples[v, u] == before[v, u]
            n = max(n, 1)
            aa, bb = max(saa - sa * sa / n, 0.0), max(sbb - sb * sb / n, 0.0)
            ab = sab - sa * sb / n
            deviation[a, b] = np.sqrt(aa / max(n, 1))
            likeness[a, b] = ab / np.sqrt(aa * bb) if aa > 0.0 and bb > 0.0 else 0.0
            unchanged[a, b] = same
    return deviation, likeness, unchanged


@njit(cache=True, nogil=True, fastmath={'reassoc', 'contract'})
def regress(samples, before):  # type: ignore[no-untyped-def]
    """Correlation of two pictures, and the factor from the earlier one to the later."""
    n, ma, mb = 0, 0.0, 0.0
    height, width = samples.shape
    for v in range(height):
        for u in range(width):
            ma += samples[v, u]
            mb += before[v, u]
            n += 1
    ma /= max(n, 1)
    mb /= max(n, 1)
    aa, ab, bb = 0.0, 0.0, 0.0
    for v in range(height):
        for u in range(width):
            a, b = samples[v, u] - ma, before[v, u] - mb
            aa += a * a
            ab += a * b
            bb += b * b
    if not (aa > 0.0 and bb > 0.0):
        return 0.0, 1.0
    likeness = ab / np.sqrt(aa * bb)
    # The factor that fits both ways: noise shortens neither.
    return likeness, np.sign(ab) * np.sqrt(aa / bb)


@njit(cache=True, nogil=True, fastmath={'reassoc', 'contract'})
def difference(a, b):  # type: ignore[no-untyped-def]
    """Variance of the difference of two pictures; a common offset is the camera's own drift."""
    total, square, n = 0.0, 0.0, a.size
    height, width = a.shape
    for v in range(height):
        for u in range(width):
            d = float(a[v, u]) - float(b[v, u])
            total += d
            square += d * d
    mean = total / max(n, 1)
    return square / max(n, 1) - mean * mean
