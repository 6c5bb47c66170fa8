"""Sun shadows: solids sorted by where their shadows fall, and the test of one point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.simulation.raycasting.rays import bin_rectangles, corners, intersect, passes
from sam_ad_perception.simulation.raycasting.solids import Primitives

CELL = 1.5
"""Edge of a cell of the shadow map, metres."""
HALF_CELLS = 56


@dataclass(frozen=True, eq=False)
class ShadowMap:
    """For each cell of the ground, the solids whose shadow touches it.

    Attributes:
        origin: (2,) world x, y of the map's corner, metres.
        start: Start of each cell's list.
        items: The lists one after another.
    """

    origin: NDArray[np.float64]
    start: NDArray[np.int64]
    items: NDArray[np.int64]


@njit(cache=True, nogil=True)
def _shadow_cells(
    geometry: NDArray[np.float64], sun: NDArray[np.float64], origin: NDArray[np.float64]
) -> NDArray[np.int64]:
    n = geometry.shape[0]
    cells = np.zeros((n, 4), dtype=np.int64)
    corner = np.empty((8, 3))
    side = 2 * HALF_CELLS
    for i in range(n):
        corners(geometry[i], corner)
        x0, y0, x1, y1 = np.inf, np.inf, -np.inf, -np.inf
        for j in range(8):
            x = (corner[j, 0] - corner[j, 2] * sun[0] / sun[2] - origin[0]) / CELL
            y = (corner[j, 1] - corner[j, 2] * sun[1] / sun[2] - origin[1]) / CELL
            x0, y0, x1, y1 = min(x0, x), min(y0, y), max(x1, x), max(y1, y)
        if x1 < 0.0 or y1 < 0.0 or x0 >= side or y0 >= side:
            continue
        cells[i, 0], cells[i, 1] = int(max(x0, 0.0)), int(max(y0, 0.0))
        cells[i, 2], cells[i, 3] = int(min(x1, side - 1.0)) + 1, int(min(y1, side - 1.0)) + 1
    return cells


def map_shadows(primitives: Primitives, sun: NDArray[np.float64], x: float, y: float) -> ShadowMap:
    """Sorts solids by the ground that their shadows cover, around a place.

    Args:
        primitives: N solids, world.
        sun: (3,) unit vector towards the sun.
        x: Centre of the map, world, metres.
        y: See `x`.

    Returns:
        The map, 168 m wide.
    """
    # The grid is anchored in the world: the same cells whatever the place.
    origin = (np.floor(np.array([x, y]) / CELL) - HALF_CELLS) * CELL
    cells = _shadow_cells(primitives.geometry, sun, origin)
    order = np.arange(len(primitives))
    start, items = bin_rectangles(order, cells, 2 * HALF_CELLS, 2 * HALF_CELLS)
    return ShadowMap(origin, start, items)


@njit(cache=True, nogil=True)
def is_shadowed(
    geometry: NDArray[np.float64],
    kind: NDArray[np.int64],
    sun: NDArray[np.float64],
    origin: NDArray[np.float64],
    start: NDArray[np.int64],
    items: NDArray[np.int64],
    x: float,
    y: float,
    z: float,
) -> bool:
    """Whether a solid stands between a point (world, metres) and the sun."""
    u = int(np.floor((x - z * sun[0] / sun[2] - origin[0]) / CELL))
    v = int(np.floor((y - z * sun[1] / sun[2] - origin[1]) / CELL))
    side = 2 * HALF_CELLS
    if u < 0 or v < 0 or u >= side or v >= side:
        return False
    cell = v * side + u
    for k in range(start[cell], start[cell + 1]):
        i = items[k]
        if passes(geometry, i, x, y, z, sun[0], sun[1], sun[2], 1.0 + 1e-12):
            continue
        if intersect(kind[i], geometry[i], x, y, z, sun[0], sun[1], sun[2]) < np.inf:
            return True
    return False
