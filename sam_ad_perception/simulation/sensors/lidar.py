"""A spinning lidar of 64 beams: every ray is cast from where the vehicle was at its time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import PointCloud
from sam_ad_perception.simulation.raycasting.rays import (
    GROUND_HIT,
    SKY_HIT,
    bin_rectangles,
    intersect,
    passes,
)
from sam_ad_perception.simulation.raycasting.solids import (
    COS,
    CX,
    CY,
    HX,
    HY,
    SIN,
    VX,
    VY,
    Primitives,
)
from sam_ad_perception.simulation.street.materials import (
    BRICK,
    CAR_CABIN,
    PLASTER,
    local_hit,
    window,
)
from sam_ad_perception.simulation.street.road import Road, lateral_offset, marking, region

BEAMS, COLUMNS = 64, 900
ELEVATION = np.deg2rad(np.linspace(5.0, -20.0, BEAMS))
"""(64,) elevation of each ring, radians, from the top."""
AZIMUTH = np.pi / 4 + 2 * np.pi * (np.arange(COLUMNS) + 1.0) / COLUMNS
"""(900,) azimuth of each column in the order of time, radians, counter-clockwise: a sweep begins
and ends at the left edge of the forward view, so that what lies ahead is scanned last."""
SHORTEST, LONGEST = 0.9, 100.0
NOISE = 0.012
"""Standard deviation of a range, metres."""
_SECTORS = 180
_REFLECTIVITY = np.array([0.13, 0.30, 0.62, 0.42])
"""Of road, pavement, paint, grass."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """One turn of the lidar with what only a simulator knows.

    Attributes:
        cloud: N points in the lidar's frame at each point's own time, intensity 0 to 1.
        ring: (N,) uint16, beam, 0 is the uppermost.
        label: (N,) uint8, Cityscapes train id of what each point lies on.
    """

    cloud: PointCloud
    ring: NDArray[np.uint16]
    label: NDArray[np.uint8]


def ring_of(points: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Beam of each point of a sweep.

    Args:
        points: (N, 3) float32, the lidar's frame, metres.

    Returns:
        (N,) uint16; 0 is the uppermost.
    """
    elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    step = ELEVATION[1] - ELEVATION[0]
    return np.asarray(np.rint((elevation - ELEVATION[0]) / step).astype(np.uint16))


@njit(cache=True, nogil=True)
def _sectors(
    geometry: NDArray[np.float64], x: float, y: float, slack: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance to each solid (N,), and the sectors that it may appear in, (N, 4).

    `slack` is how far the solid and the sensor may move against each other in half a sweep.
    """
    n = geometry.shape[0]
    near = np.empty(n)
    cells = np.zeros((n, 4), dtype=np.int64)
    step = 2.0 * np.pi / _SECTORS
    for i in range(n):
        g = geometry[i]
        px, py = x - g[CX], y - g[CY]
        lx, ly = g[COS] * px + g[SIN] * py, g[COS] * py - g[SIN] * px
        gap_x, gap_y = max(abs(lx) - g[HX], 0.0), max(abs(ly) - g[HY], 0.0)
        gap = np.sqrt(gap_x * gap_x + gap_y * gap_y)
        near[i] = max(gap - slack[i], 0.0)
        cells[i, 3] = 1
        if gap < 1.5 * slack[i] + 0.1:
            cells[i, 2] = _SECTORS
            continue
        middle = np.arctan2(-py, -px)
        low, high = 0.0, 0.0
        for k in range(4):
            u = g[HX] if k & 1 else -g[HX]
            v = g[HY] if k & 2 else -g[HY]
            a = np.arctan2(g[SIN] * u + g[COS] * v - py, g[COS] * u - g[SIN] * v - px) - middle
            a -= 2.0 * np.pi * np.floor(a / (2.0 * np.pi) + 0.5)
            low, high = min(low, a), max(high, a)
        margin = np.arcsin(min(slack[i] / gap, 1.0)) + 0.3 * step
        first = int(np.floor((middle + low - margin) / step))
        last = int(np.floor((middle + high + margin) / step))
        cells[i, 0] = first % _SECTORS
        cells[i, 2] = cells[i, 0] + min(last - first + 1, _SECTORS)
    return near, cells


@njit(cache=True, nogil=True)
def _echo(
    hit: int,
    g: NDArray[np.float64],
    kind: int,
    material: int,
    seed: int,
    reflectivity: float,
    x: float,
    y: float,
    z: float,
    dx: float,
    dy: float,
    dz: float,
    road: NDArray[np.float64],
    crossings: NDArray[np.float64],
) -> tuple[float, bool]:
    """Echo strength of a hit, and whether it is on glass."""
    if hit < 0:
        lateral = lateral_offset(x, y, road)
        where = region(x, lateral, road)
        index = 0 if where == 0 else (1 if where == 1 else 3)
        if where == 0 and marking(x, lateral, road, crossings) > 0.0:
            index = 2
        return _REFLECTIVITY[index] * (0.55 + 0.45 * min(1.0, 3.0 * -dz)), False
    lx, ly, lz, mx, my, mz = local_hit(kind, g, x, y, z)
    nx, ny = g[COS] * mx - g[SIN] * my, g[SIN] * mx + g[COS] * my
    facing = abs(nx * dx + ny * dy + mz * dz)
    glass = (material == CAR_CABIN and mz < 0.9) or (
        (material in (PLASTER, BRICK)) and window(g, seed, lx, ly, lz, mx, mz)
    )
    strength = 0.08 if glass else reflectivity
    return strength * (0.4 + 0.6 * facing), glass


@njit(cache=True, nogil=True)
def _loss(distance: float, echo: float, glass: bool) -> float:
    """Probability that an echo is not found."""
    faint = max(0.0, distance - 40.0) / 60.0 * (1.0 - min(1.0, 2.0 * echo))
    return 0.02 + 0.55 * glass + faint


@njit(cache=True, nogil=True)
def _first_hit(
    geometry: NDArray[np.float64],
    kind: NDArray[np.int64],
    near: NDArray[np.float64],
    start: NDArray[np.int64],
    items: NDArray[np.int64],
    sector: int,
    offset_s: float,
    origin: NDArray[np.float64],
    dx: float,
    dy: float,
    dz: float,
) -> tuple[float, int]:
    """Range and solid (or one of the `*_HIT` codes) that a ray meets, `offset_s` after the end."""
    ox, oy, oz = origin[0], origin[1], origin[2]
    best, hit = LONGEST, SKY_HIT
    if dz < 0.0 and -oz / dz < best:
        best, hit = -oz / dz, GROUND_HIT
    # A list that wraps around the circle goes on in the second turn.
    for turn in range(2):
        cell = sector + turn * _SECTORS
        for k in range(start[cell], start[cell + 1]):
            i = items[k]
            if near[i] >= best:
                break
            # The solid is where it was at the time of the ray.
            x, y = ox - geometry[i, VX] * offset_s, oy - geometry[i, VY] * offset_s
            if passes(geometry, i, x, y, oz, dx, dy, dz, 1.000001):
                continue
            t = intersect(kind[i], geometry[i], x, y, oz, dx, dy, dz)
            if t < best:
                best, hit = t, i
    return best, hit


@njit(cache=True, nogil=True)
def _sweep(
    geometry: NDArray[np.float64],
    kind: NDArray[np.int64],
    label: NDArray[np.uint8],
    material: NDArray[np.int64],
    reflectivity: NDArray[np.float64],
    texture: NDArray[np.int64],
    near: NDArray[np.float64],
    start: NDArray[np.int64],
    items: NDArray[np.int64],
    T: NDArray[np.float64],
    offset_s: NDArray[np.float64],
    road: NDArray[np.float64],
    crossings: NDArray[np.float64],
    noise: NDArray[np.float32],
    chance: NDArray[np.float32],
    points: NDArray[np.float32],
    intensity: NDArray[np.float32],
    out_label: NDArray[np.uint8],
    ring: NDArray[np.uint16],
    column: NDArray[np.int64],
) -> int:
    """Casts all rays, column by column; returns the number of points."""
    n = 0
    step = 2.0 * np.pi / _SECTORS
    for c in range(COLUMNS):
        ca, sa = np.cos(AZIMUTH[c]), np.sin(AZIMUTH[c])
        heading = np.arctan2(T[c, 1, 0] * ca + T[c, 1, 1] * sa, T[c, 0, 0] * ca + T[c, 0, 1] * sa)
        sector = int(np.floor(heading / step)) % _SECTORS
        for b in range(BEAMS):
            ce, z0 = np.cos(ELEVATION[b]), np.sin(ELEVATION[b])
            x0, y0 = ca * ce, sa * ce
            dx = T[c, 0, 0] * x0 + T[c, 0, 1] * y0 + T[c, 0, 2] * z0
            dy = T[c, 1, 0] * x0 + T[c, 1, 1] * y0 + T[c, 1, 2] * z0
            dz = T[c, 2, 0] * x0 + T[c, 2, 1] * y0 + T[c, 2, 2] * z0
            # What the beam hits first, and where that was when it did.
            best, hit = _first_hit(
                geometry, kind, near, start, items, sector, offset_s[c], T[c, :3, 3], dx, dy, dz
            )
            if hit == SKY_HIT or best < SHORTEST:
                continue
            solid = max(hit, 0)
            g = geometry[solid]
            moved_s = offset_s[c] if hit >= 0 else 0.0
            x = T[c, 0, 3] + best * dx - g[VX] * moved_s
            y = T[c, 1, 3] + best * dy - g[VY] * moved_s
            z = T[c, 2, 3] + best * dz
            # How much comes back; chance decides whether it is seen.
            echo, glass = _echo(
                hit, g, kind[solid], material[solid], texture[solid], reflectivity[solid],
                x, y, z, dx, dy, dz, road, crossings,
            )  # fmt: skip
            if chance[c, b] < _loss(best, echo, glass):
                continue
            # The return, with noise, in the lidar's own frame.
            distance = best + NOISE * noise[c, b, 0]
            points[n, 0], points[n, 1], points[n, 2] = distance * x0, distance * y0, distance * z0
            intensity[n] = min(max(echo * (1.0 + 0.08 * noise[c, b, 1]), 0.0), 1.0)
            out_label[n] = (
                label[solid] if hit >= 0 else region(x, lateral_offset(x, y, road), road)
            )
            ring[n], column[n] = b, c
            n += 1
    return n


def measure_lidar(
    primitives: Primitives,
    road: Road,
    T_world_lidar: NDArray[np.float64],
    offset_ns: NDArray[np.int64],
    rng: np.random.Generator,
) -> Sweep:
    """One sweep.

    Args:
        primitives: The solids at the end of the sweep, with their velocities.
        road: The ground.
        T_world_lidar: (900, 4, 4) float64, pose of the lidar at the time of each column.
        offset_ns: (900,) int64, time of each column minus the end of the sweep, <= 0.
        rng: Source of noise and dropouts.

    Returns:
        The sweep, its points in the order of time.
    """
    geometry = primitives.geometry
    offset_s = np.asarray(offset_ns, dtype=np.float64) * 1e-9
    # Solids sorted into sectors around the lidar: a beam asks those of its own.
    middle = T_world_lidar[COLUMNS // 2, :3, 3]
    ends = T_world_lidar[[0, -1], :3, 3]
    travel = float(np.max(np.hypot(*(ends - middle)[:, :2].T)))
    speed = np.hypot(geometry[:, VX], geometry[:, VY])
    # The solids are given at the end of the sweep, so they differ by up to the whole of it.
    slack = travel + speed * -float(offset_s[0]) + 0.05
    near, cells = _sectors(geometry, middle[0], middle[1], slack)
    start, items = bin_rectangles(np.argsort(near, kind='stable'), cells, 2 * _SECTORS, 1)
    # Room for every beam; the kernel fills as much as comes back.
    room = COLUMNS * BEAMS
    points, intensity = np.empty((room, 3), np.float32), np.empty(room, np.float32)
    label, ring = np.empty(room, np.uint8), np.empty(room, np.uint16)
    column = np.empty(room, np.int64)
    n = _sweep(
        geometry,
        primitives.kind,
        primitives.label,
        primitives.material,
        primitives.reflectivity,
        primitives.texture,
        near,
        start,
        items,
        np.ascontiguousarray(T_world_lidar),
        offset_s,
        road.parameters,
        road.crossings,
        rng.standard_normal((COLUMNS, BEAMS, 2), dtype=np.float32),
        rng.random((COLUMNS, BEAMS), dtype=np.float32),
        points,
        intensity,
        label,
        ring,
        column,
    )
    cloud = PointCloud(points[:n], intensity[:n], offset_ns[column[:n]])
    return Sweep(cloud, ring[:n], label[:n])
