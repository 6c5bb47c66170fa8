"""Rays against solids: intersection, tile binning, and the hit buffers of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.simulation.raycasting.solids import (
    BOX,
    COS,
    CX,
    CY,
    CYLINDER,
    CZ,
    ELLIPSOID,
    HX,
    HY,
    HZ,
    SIN,
    TX,
    TY,
    Primitives,
)

SKY_HIT, GROUND_HIT, TREELINE_HIT = -1, -2, -3
"""What a ray hits that hits no solid: nothing, the ground, the trees on the horizon."""
FAR = 150.0
"""Beyond this distance (m) the ground gives way to the trees on the horizon."""
TILE = 16
NEAR = 0.05


@dataclass(frozen=True, eq=False)
class Hits:
    """What each pixel of one image sees.

    Attributes:
        index: (H, W) int32, solid, or one of the `*_HIT` codes.
        depth: (H, W) float64, z in the camera's frame, metres; inf where nothing is.
    """

    index: NDArray[np.int32]
    depth: NDArray[np.float64]


@njit(cache=True, nogil=True, fastmath=False)
def intersect(
    kind: int,
    g: NDArray[np.float64],
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
) -> float:
    """Parameter of the ray's first entry into a solid; inf if it misses or starts inside."""
    c, s = g[COS], g[SIN]
    px, py, pz = ox - g[CX], oy - g[CY], oz - g[CZ]
    x, y, z = c * px + s * py, c * py - s * px, pz
    u, v, w = c * dx + s * dy, c * dy - s * dx, dz
    if kind == BOX:
        return _intersect_box(g, x, y, z, u, v, w)
    if kind == ELLIPSOID:
        x, y, z = x / g[HX], y / g[HY], z / g[HZ]
        u, v, w = u / g[HX], v / g[HY], w / g[HZ]
        a = u * u + v * v + w * w
        b = x * u + y * v + z * w
        disc = b * b - a * (x * x + y * y + z * z - 1.0)
        if disc < 0.0:
            return np.inf
        t = (-b - np.sqrt(disc)) / a
        return t if t > 0.0 else np.inf
    if kind == CYLINDER:
        return _intersect_tube(x, y, z, u, v, w, g[HX], g[HZ])
    return _intersect_tube(x, z, y, u, w, v, g[HX], g[HY])


@njit(cache=True, nogil=True, inline='always')
def passes(
    geometry: NDArray[np.float64],
    i: int,
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
    square: float,
) -> bool:
    """Whether a ray stays clear of the sphere around solid `i`, so that it cannot meet the solid.

    `square` is the squared length of the direction. Cheaper than `intersect`, and never wrong.
    """
    px, py, pz = geometry[i, CX] - ox, geometry[i, CY] - oy, geometry[i, CZ] - oz
    # A negative taper makes a box wider at the top.
    hx, hy = (
        max(geometry[i, HX], geometry[i, HX] - geometry[i, TX]),
        max(geometry[i, HY], geometry[i, HY] - geometry[i, TY]),
    )
    radius = 1.000001 * (hx * hx + hy * hy + geometry[i, HZ] * geometry[i, HZ]) + 1e-9
    away = px * px + py * py + pz * pz - radius
    if away <= 0.0:
        return False
    along = px * dx + py * dy + pz * dz
    return along <= 0.0 or away * square > along * along


@njit(cache=True, nogil=True)
def _intersect_box(
    g: NDArray[np.float64], x: float, y: float, z: float, u: float, v: float, w: float
) -> float:
    enter, leave = 0.0, np.inf
    kx, ky = g[TX] / (2.0 * g[HZ]), g[TY] / (2.0 * g[HZ])
    for plane in range(6):
        if plane < 2:
            sign = 1.0 - 2.0 * plane
            slope, inside = sign * u + kx * w, g[HX] - kx * g[HZ] - sign * x - kx * z
        elif plane < 4:
            sign = 5.0 - 2.0 * plane
            slope, inside = sign * v + ky * w, g[HY] - ky * g[HZ] - sign * y - ky * z
        else:
            sign = 9.0 - 2.0 * plane
            slope, inside = sign * w, g[HZ] - sign * z
        # The ray is in this half space while t * slope <= inside.
        if slope > 1e-12:
            leave = min(leave, inside / slope)
        elif slope < -1e-12:
            enter = max(enter, inside / slope)
        elif inside < 0.0:
            return np.inf
        if enter > leave:
            return np.inf
    return enter if enter > 0.0 else np.inf


@njit(cache=True, nogil=True)
def _intersect_tube(
    x: float,
    y: float,
    z: float,
    u: float,
    v: float,
    w: float,
    radius: float,
    half: float,
) -> float:
    """Cylinder of `radius` about z, capped at +-half."""
    a = u * u + v * v
    enter, leave = 0.0, np.inf
    c = x * x + y * y - radius * radius
    if a > 1e-12:
        b = x * u + y * v
        disc = b * b - a * c
        if disc < 0.0:
            return np.inf
        root = np.sqrt(disc)
        enter, leave = max(enter, (-b - root) / a), (-b + root) / a
    elif c > 0.0:
        return np.inf
    if abs(w) > 1e-12:
        t0, t1 = (-half - z) / w, (half - z) / w
        enter, leave = max(enter, min(t0, t1)), min(leave, max(t0, t1))
    elif abs(z) > half:
        return np.inf
    return enter if 0.0 < enter <= leave else np.inf


@njit(cache=True, nogil=True)
def corners(g: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Writes the (8, 3) corners of the solid's bounding box, world, metres."""
    for i in range(8):
        x = g[HX] if i & 1 else -g[HX]
        y = g[HY] if i & 2 else -g[HY]
        out[i, 0] = g[CX] + g[COS] * x - g[SIN] * y
        out[i, 1] = g[CY] + g[SIN] * x + g[COS] * y
        out[i, 2] = g[CZ] + (g[HZ] if i & 4 else -g[HZ])


@njit(cache=True, nogil=True)
def _screen_bounds(
    corner: NDArray[np.float64], K: NDArray[np.float64]
) -> tuple[float, float, float, float, float]:
    """Nearest z and bounds (u0, v0, u1, v1) of a box given by its corners in the camera frame."""
    nearest = np.inf
    u0, v0, u1, v1 = np.inf, np.inf, -np.inf, -np.inf
    for i in range(8):
        nearest = min(nearest, corner[i, 2])
        for bit in range(-1, 3):
            x, y, z = corner[i, 0], corner[i, 1], corner[i, 2]
            if bit >= 0:
                # The point where an edge of the box passes through the near plane.
                j = i ^ (1 << bit)
                if j < i or (z > NEAR) == (corner[j, 2] > NEAR):
                    continue
                f = (NEAR - z) / (corner[j, 2] - z)
                x, y, z = x + f * (corner[j, 0] - x), y + f * (corner[j, 1] - y), NEAR
            elif z <= NEAR:
                continue
            u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
            u0, v0, u1, v1 = min(u0, u), min(v0, v), max(u1, u), max(v1, v)
    return nearest, u0, v0, u1, v1


@njit(cache=True, nogil=True)
def _tile_bounds(
    geometry: NDArray[np.float64],
    K: NDArray[np.float64],
    T: NDArray[np.float64],
    width: int,
    height: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Nearest z (N,) and tile rectangle (N, 4) of each solid; empty where it is not in view."""
    n = geometry.shape[0]
    nearest = np.empty(n)
    tiles = np.zeros((n, 4), dtype=np.int64)
    corner, seen = np.empty((8, 3)), np.empty((8, 3))
    for i in range(n):
        corners(geometry[i], corner)
        for j in range(8):
            # T maps camera points to the world; its rotation's transpose goes back.
            x, y, z = corner[j, 0] - T[0, 3], corner[j, 1] - T[1, 3], corner[j, 2] - T[2, 3]
            for axis in range(3):
                seen[j, axis] = T[0, axis] * x + T[1, axis] * y + T[2, axis] * z
        nearest[i], u0, v0, u1, v1 = _screen_bounds(seen, K)
        if u1 < -0.5 or v1 < -0.5 or u0 > width or v0 > height or u0 > u1:
            continue
        tiles[i, 0] = int(max(u0, 0.0)) // TILE
        tiles[i, 1] = int(max(v0, 0.0)) // TILE
        tiles[i, 2] = int(min(u1 + 1.0, width - 1.0)) // TILE + 1
        tiles[i, 3] = int(min(v1 + 1.0, height - 1.0)) // TILE + 1
    return nearest, tiles


@njit(cache=True, nogil=True)
def bin_rectangles(
    order: NDArray[np.int64], tiles: NDArray[np.int64], columns: int, rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lists, for each cell of a grid, the items whose rectangle covers it, in `order`.

    Args:
        order: (N,) items.
        tiles: (N, 4) first column, first row, end column, end row of each item.
        columns: Number of columns of the grid.
        rows: Number of rows.

    Returns:
        Start of each cell's list, (columns * rows + 1,), and the lists one after another.
    """
    start = np.zeros(columns * rows + 1, dtype=np.int64)
    for i in order:
        for r in range(tiles[i, 1], tiles[i, 3]):
            for c in range(tiles[i, 0], tiles[i, 2]):
                start[r * columns + c + 1] += 1
    for cell in range(columns * rows):
        start[cell + 1] += start[cell]
    fill = start[:-1].copy()
    items = np.empty(start[-1], dtype=np.int64)
    for i in order:
        for r in range(tiles[i, 1], tiles[i, 3]):
            for c in range(tiles[i, 0], tiles[i, 2]):
                items[fill[r * columns + c]] = i
                fill[r * columns + c] += 1
    return start, items


@njit(cache=True, nogil=True)
def treeline(dx: float, dy: float, dz: float) -> bool:
    """Whether a ray that meets nothing ends in the trees on the horizon."""
    rise = dz / np.sqrt(dx * dx + dy * dy)
    if rise > 0.06:
        return False
    a = np.arctan2(dy, dx)
    return rise < 0.032 + 0.012 * np.sin(9.0 * a) + 0.008 * np.sin(31.0 * a + 1.0)


@njit(cache=True, nogil=True)
def pixel_ray(
    u: int, v: int, K: NDArray[np.float64], T: NDArray[np.float64]
) -> tuple[float, float, float]:
    """World direction of a pixel's ray, scaled so that its parameter is the depth."""
    a, b = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    return (
        T[0, 0] * a + T[0, 1] * b + T[0, 2],
        T[1, 0] * a + T[1, 1] * b + T[1, 2],
        T[2, 0] * a + T[2, 1] * b + T[2, 2],
    )


@njit(cache=True, nogil=True)
def _cast(
    geometry: NDArray[np.float64],
    kind: NDArray[np.int64],
    nearest: NDArray[np.float64],
    start: NDArray[np.int64],
    items: NDArray[np.int64],
    K: NDArray[np.float64],
    T: NDArray[np.float64],
    index: NDArray[np.int32],
    depth: NDArray[np.float64],
) -> None:
    height, width = index.shape
    columns = (width + TILE - 1) // TILE
    ox, oy, oz = T[0, 3], T[1, 3], T[2, 3]
    for v in range(height):
        for u in range(width):
            dx, dy, dz = pixel_ray(u, v, K, T)
            best, hit = np.inf, SKY_HIT
            if dz < 0.0 and -oz / dz < FAR:
                best, hit = -oz / dz, GROUND_HIT
            square = dx * dx + dy * dy + dz * dz
            cell = (v // TILE) * columns + u // TILE
            for k in range(start[cell], start[cell + 1]):
                i = items[k]
                if nearest[i] >= best:
                    break
                if passes(geometry, i, ox, oy, oz, dx, dy, dz, square):
                    continue
                t = intersect(kind[i], geometry[i], ox, oy, oz, dx, dy, dz)
                if t < best:
                    best, hit = t, i
            if hit == SKY_HIT and treeline(dx, dy, dz):
                hit = TREELINE_HIT
            index[v, u], depth[v, u] = hit, best


def cast(primitives: Primitives, camera: CameraModel, T_world_camera: NDArray[np.float64]) -> Hits:
    """Finds what each pixel of an undistorted camera sees.

    Args:
        primitives: The solids in the world.
        camera: The view; pixel (u, v) is the ray through the centre of that pixel.
        T_world_camera: (4, 4) float64.

    Returns:
        The hits, `camera.size`.
    """
    height, width = camera.size
    nearest, tiles = _tile_bounds(primitives.geometry, camera.K, T_world_camera, width, height)
    order = np.argsort(nearest, kind='stable')
    columns, rows = -(-width // TILE), -(-height // TILE)
    start, items = bin_rectangles(order, tiles, columns, rows)
    index = np.empty((height, width), dtype=np.int32)
    depth = np.empty((height, width))
    _cast(
        primitives.geometry,
        primitives.kind,
        nearest,
        start,
        items,
        camera.K,
        np.ascontiguousarray(T_world_camera),
        index,
        depth,
    )
    return Hits(index, depth)
