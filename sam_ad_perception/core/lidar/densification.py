"""Dense depth from sparse returns: the gaps between lidar points filled, never beyond a radius."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

_SAME_SURFACE = 0.05
"""Depths that differ by less than this share belong to one surface, and may be averaged."""
_GUIDE_SIGMA = 12.0
"""Difference of brightness, of 255, at which a return counts exp(-1/2)."""


def fill_nearest(depth: NDArray[np.float32], radius_px: float) -> NDArray[np.float32]:
    """Give each empty pixel the depth of the nearest measured one.

    Args:
        depth: (H, W) float32, metres, NaN where nothing was measured.
        radius_px: Pixels further than this from every measured one stay empty. Distances are
            OpenCV's (`distanceTransformWithLabels` with a mask of 5), 2 % off at most.

    Returns:
        (H, W) float32, metres, NaN where empty.

    Raises:
        ValueError: `depth` is not (H, W) float32, or the radius is negative.
    """
    _check(depth, radius_px)
    empty = np.isnan(depth)
    if empty.all() or not empty.any():
        return depth.copy()
    distance, labels = cv2.distanceTransformWithLabels(
        empty.view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.empty(int(labels.max()) + 1, np.float32)
    by_label[labels[~empty]] = depth[~empty]
    filled = by_label[labels]
    filled[distance > radius_px] = np.nan
    return np.asarray(filled, dtype=np.float32)


def fill_edge_aware(
    depth: NDArray[np.float32], radius_px: int, guide: NDArray[np.uint8] | None = None
) -> NDArray[np.float32]:
    """Fill each empty pixel from the surface to which it most likely belongs.

    The weights are those of the joint bilateral upsampling filter (Kopf et al., SIGGRAPH 2007):
    nearness, and likeness of the guide. Averaged are only returns of one surface, that of the
    return with the greatest weight, so no depth is made up between foreground and background.

    Args:
        depth: (H, W) float32, metres, NaN where nothing was measured.
        radius_px: Returns further than this from a pixel do not count, pixels; at least 1.
        guide: (H, W) uint8 grey or (H, W, 3) uint8 RGB image of the same view; None for nearness
            alone.

    Returns:
        (H, W) float32, metres, NaN where there is no return within the radius. Measured pixels
        keep their depth.

    Raises:
        ValueError: A wrong shape or dtype, or a radius below 1.
    """
    _check(depth, radius_px - 1)
    if guide is None:
        grey = np.zeros(depth.shape, np.uint8)
    else:
        image = cv2.cvtColor(guide, cv2.COLOR_RGB2GRAY) if guide.ndim == 3 else guide
        grey = np.ascontiguousarray(image, dtype=np.uint8)
    if grey.shape != depth.shape:
        raise ValueError(f'guide must be {depth.shape} like the depth, got {grey.shape}')
    rows, columns = np.nonzero(~np.isnan(depth))
    out = depth.copy()
    if len(rows) == 0:
        return out
    cell = int(radius_px)
    cells_across = out.shape[1] // cell + 1
    cells = rows // cell * cells_across + columns // cell
    order = np.argsort(cells, kind='stable')
    rows, columns = rows[order], columns[order]
    count = (out.shape[0] // cell + 1) * cells_across
    start = np.searchsorted(cells[order], np.arange(count + 1))
    step = np.arange(256, dtype=np.float32) / np.float32(_GUIDE_SIGMA)
    # never zero: among returns that all look different the nearest still counts most
    alike = np.maximum(np.exp(-0.5 * step * step), np.float32(1e-20))
    reach = np.arange(cell * cell + 1, dtype=np.float32) / np.float32(0.5 * cell) ** 2
    near = np.exp(-0.5 * reach)
    _fill(depth, grey, rows, columns, start, cell, cells_across, near, alike, out)
    return out


def _check(depth: NDArray[np.float32], radius: float) -> None:
    if depth.ndim != 2 or depth.dtype != np.float32:
        raise ValueError(f'depth must be (H, W) float32, got {depth.shape} {depth.dtype}')
    if radius < 0:
        raise ValueError('the radius is too small')


@njit(cache=True, nogil=True)
def _fill(depth, grey, rows, columns, start, cell, across, near, alike, out):  # type: ignore[no-untyped-def]
    """Write the empty pixels of `out`; `start` indexes the returns by cell."""
    height, width = depth.shape
    limit = cell * cell
    for v in range(height):
        top, bottom = max(v // cell - 1, 0), min(v // cell + 1, (height - 1) // cell)
        for u in range(width):
            if not np.isnan(depth[v, u]):
                continue
            left, right = max(u // cell - 1, 0), min(u // cell + 1, (width - 1) // cell)
            best, surface = np.float32(-1), np.float32(0)
            for row in range(top, bottom + 1):
                for k in range(start[row * across + left], start[row * across + right + 1]):
                    du, dv = columns[k] - u, rows[k] - v
                    distance = du * du + dv * dv
                    if distance > limit:
                        continue
                    likeness = alike[abs(np.int64(grey[rows[k], columns[k]]) - grey[v, u])]
                    weight = near[distance] * likeness
                    if weight > best:
                        best, surface = weight, depth[rows[k], columns[k]]
            if best < 0:
                continue
            total, value = np.float32(0), np.float32(0)
            for row in range(top, bottom + 1):
                for k in range(start[row * across + left], start[row * across + right + 1]):
                    du, dv = columns[k] - u, rows[k] - v
                    distance = du * du + dv * dv
                    z = depth[rows[k], columns[k]]
                    if distance > limit or abs(z - surface) > _SAME_SURFACE * surface:
                        continue
                    likeness = alike[abs(np.int64(grey[rows[k], columns[k]]) - grey[v, u])]
                    weight = near[distance] * likeness
                    total += weight
                    value += weight * z
            if total > 0:  # a depth that is not finite is nobody's surface
                out[v, u] = value / total
