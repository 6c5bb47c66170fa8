"""Materials: procedural albedo, window patterns and noise, as numba kernels."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.simulation.raycasting.solids import (
    BOX,
    COS,
    CX,
    CY,
    CZ,
    ELLIPSOID,
    HX,
    HY,
    HZ,
    SIN,
    TX,
    TY,
    WHEEL,
)

(
    PLAIN,
    PLASTER,
    BRICK,
    STONE,
    BOARDS,
    METAL,
    LAMPS,
    SIGN,
    FOLIAGE,
    BARK,
    CAR_BODY,
    CAR_CABIN,
    TYRE,
    BUS_BODY,
    CARGO,
    CLOTH,
    SPOKES,
    TRUCK_CAB,
    LANTERN,
) = range(19)
"""Materials of solids."""


@njit(cache=True, nogil=True, inline='always')
def hash01(x: int, y: int, z: int, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the arguments."""
    h = np.uint32(x) * np.uint32(374761393) + np.uint32(y) * np.uint32(668265263)
    h = np.uint32(
        h + np.uint32(z) * np.uint32(2147483647) + np.uint32(seed) * np.uint32(974634777)
    )
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(2246822519))
    return np.float64(h >> np.uint32(8)) / 16777216.0


@njit(cache=True, nogil=True)
def noise2(x: float, y: float, seed: int) -> float:
    """Smooth noise in [0, 1] on a unit grid."""
    fx, fy = np.floor(x), np.floor(y)
    ix, iy = int(fx), int(fy)
    a, b = x - fx, y - fy
    a, b = a * a * (3.0 - 2.0 * a), b * b * (3.0 - 2.0 * b)
    low = hash01(ix, iy, 0, seed) * (1.0 - a) + hash01(ix + 1, iy, 0, seed) * a
    high = hash01(ix, iy + 1, 0, seed) * (1.0 - a) + hash01(ix + 1, iy + 1, 0, seed) * a
    return low * (1.0 - b) + high * b


@njit(cache=True, nogil=True, inline='always')
def visible(footprint: float, period: float) -> float:
    """How much of a pattern survives when one pixel covers `footprint` metres of it, 0 to 1."""
    return min(1.0, max(0.0, 1.5 - 2.0 * footprint / period))


@njit(cache=True, nogil=True)
def local_hit(
    kind: int, g: NDArray[np.float64], x: float, y: float, z: float
) -> tuple[float, float, float, float, float, float]:
    """A hit point and the outward normal there, both in the solid's own frame.

    Args:
        kind: Kind of solid.
        g: Its geometry row.
        x: World coordinates of a point on its surface, metres.
        y: See `x`.
        z: See `x`.

    Returns:
        Local point (3) and unit normal (3).
    """
    px, py, pz = x - g[CX], y - g[CY], z - g[CZ]
    px, py = g[COS] * px + g[SIN] * py, g[COS] * py - g[SIN] * px
    nx, ny, nz = 0.0, 0.0, 0.0
    if kind == BOX:
        kx, ky = g[TX] / (2.0 * g[HZ]), g[TY] / (2.0 * g[HZ])
        gap_x = g[HX] - kx * (pz + g[HZ]) - abs(px)
        gap_y = g[HY] - ky * (pz + g[HZ]) - abs(py)
        gap_z = g[HZ] - abs(pz)
        if gap_z <= gap_x and gap_z <= gap_y:
            nz = 1.0 if pz > 0 else -1.0
        elif gap_x <= gap_y:
            nx, nz = (1.0 if px > 0 else -1.0), kx
        else:
            ny, nz = (1.0 if py > 0 else -1.0), ky
    elif kind == ELLIPSOID:
        nx, ny, nz = px / (g[HX] * g[HX]), py / (g[HY] * g[HY]), pz / (g[HZ] * g[HZ])
    elif kind == WHEEL:
        if g[HY] - abs(py) < 1e-4:
            ny = 1.0 if py > 0 else -1.0
        else:
            nx, nz = px, pz
    elif g[HZ] - abs(pz) < 1e-4:
        nz = 1.0 if pz > 0 else -1.0
    else:
        nx, ny = px, py
    norm = np.sqrt(nx * nx + ny * ny + nz * nz)
    return px, py, pz, nx / norm, ny / norm, nz / norm


@njit(cache=True, nogil=True)
def window(
    g: NDArray[np.float64], seed: int, x: float, y: float, z: float, nx: float, nz: float
) -> bool:
    """Whether a point of a building's wall lies in a window (or the door row's shop window)."""
    if abs(nz) > 0.5:
        return False
    along = y if abs(nx) > 0.7 else x
    half = g[HY] if abs(nx) > 0.7 else g[HX]
    height = z + g[HZ]
    if height > 2.0 * g[HZ] - 0.6 or abs(along) > half - 0.5:
        return False
    period = 2.2 + 1.0 * hash01(seed, 1, 0, 7)
    storey = 2.8 + 0.5 * hash01(seed, 2, 0, 7)
    share = 0.42 + 0.22 * hash01(seed, 3, 0, 7)
    a = (along + half) / period
    b = height / storey
    a, b = a - np.floor(a), b - np.floor(b)
    return abs(a - 0.5) < 0.5 * share and 0.32 < b < 0.82


@njit(cache=True, nogil=True)
def _wall_albedo(
    material: int,
    seed: int,
    g: NDArray[np.float64],
    x: float,
    y: float,
    z: float,
    nx: float,
    nz: float,
    footprint: float,
) -> tuple[float, float, float, float]:
    """Gain and replacement grey-blue of a building's wall: (gain, window weight, shade, tint)."""
    if window(g, seed, x, y, z, nx, nz):
        along = y if abs(nx) > 0.7 else x
        lit = hash01(int(np.floor(along / 2.5)), int(np.floor((z + g[HZ]) / 3.0)), 5, seed)
        return 0.0, 1.0, 0.05 + 0.10 * lit, 1.35
    along = y if abs(nx) > 0.7 else x
    gain = 0.92 + 0.16 * noise2(along * 0.8, z * 0.8, seed)
    if material == BRICK:
        row = np.floor(z / 0.22)
        a = along / 0.5 + 0.5 * (row % 2.0)
        mortar = (z / 0.22 - row) < 0.16 or (a - np.floor(a)) < 0.08
        brick = 0.8 + 0.35 * hash01(int(np.floor(a)), int(row), 2, seed)
        fine = visible(footprint, 0.25)
        gain *= 1.0 + fine * ((1.45 if mortar else brick) - 1.0)
    return gain, 0.0, 0.0, 0.0


@njit(cache=True, nogil=True)
def _barrier_gain(material: int, seed: int, along: float, z: float, footprint: float) -> float:
    """Brightness pattern of stone walls and board fences."""
    if material == STONE:
        row = np.floor(z / 0.4)
        a = along / 0.8 + 0.5 * (row % 2.0)
        joint = (z / 0.4 - row) < 0.12 or (a - np.floor(a)) < 0.06
        block = 0.75 + 0.4 * hash01(int(np.floor(a)), int(row), 3, seed)
        return 1.0 + visible(footprint, 0.4) * ((0.45 if joint else block) - 1.0)
    a = along / 0.28
    gap = (a - np.floor(a)) < 0.22
    board = 0.85 + 0.3 * hash01(int(np.floor(a)), 0, 4, seed)
    fine = visible(footprint, 0.28)
    return 0.8 * (1.0 - fine) + fine * (0.22 if gap else board)


@njit(cache=True, nogil=True)
def _vehicle_albedo(
    material: int,
    g: NDArray[np.float64],
    r: float,
    gr: float,
    b: float,
    x: float,
    y: float,
    z: float,
    nx: float,
    ny: float,
    nz: float,
) -> tuple[float, float, float]:
    """Bodies with lamps, number plates and windows."""
    if material == CAR_CABIN:
        pillar = abs(ny) > 0.5 and (abs(x) < 0.05 * g[HX] or abs(x) > 0.8 * g[HX])
        if nz > 0.9 or pillar:
            return r, gr, b
        sky = 0.06 + 0.12 * max(nz, 0.0)
        return sky, sky * 1.15, sky * 1.3
    height = (z + g[HZ]) / (2.0 * g[HZ])
    if material in (BUS_BODY, TRUCK_CAB):
        low, high = (0.45, 0.85) if material == BUS_BODY else (0.52, 0.9)
        side = abs(ny) > 0.5 or nx > 0.5 or material == BUS_BODY
        frame = abs(ny) > 0.5 and (x + 50.0) % 1.5 < 0.12
        if side and low < height < high and not frame and abs(nz) < 0.5:
            return 0.05, 0.06, 0.075
    if abs(nx) > 0.5 and abs(y) > 0.55 * g[HY] and 0.1 < height < (0.75 if g[HZ] < 0.5 else 0.28):
        if nx > 0:
            return 0.95, 0.93, 0.85
        return 0.75, 0.03, 0.03
    if material == CAR_BODY and abs(nx) > 0.5 and abs(y) < 0.3 and 0.3 < height < 0.6:
        return 0.7, 0.7, 0.65
    if material == CARGO and abs(ny) > 0.5:
        rib = (x + 50.0) % 0.6 < 0.06
        if rib:
            return 0.7 * r, 0.7 * gr, 0.7 * b
    return r, gr, b


@njit(cache=True, nogil=True)
def _sign_albedo(
    seed: int, g: NDArray[np.float64], r: float, gr: float, b: float, y: float, z: float
) -> tuple[float, float, float]:
    a, c = y / g[HY], z / g[HZ]
    rim = max(abs(a), abs(c)) > 0.82
    if seed % 3 == 0:  # a coloured rim around white
        return (r, gr, b) if rim else (0.9, 0.9, 0.88)
    if rim:
        return 0.9, 0.9, 0.9
    if abs(c) < 0.2 or (seed % 3 == 1 and abs(a) < 0.2):
        return 0.88, 0.88, 0.88
    return r, gr, b


@njit(cache=True, nogil=True)
def albedo(
    material: int,
    seed: int,
    g: NDArray[np.float64],
    color: NDArray[np.float64],
    x: float,
    y: float,
    z: float,
    nx: float,
    ny: float,
    nz: float,
    footprint: float,
) -> tuple[float, float, float]:
    """Linear RGB reflectance of a point of a solid.

    Args:
        material: Its material.
        seed: Its texture seed.
        g: Its geometry row.
        color: (3,) its base colour.
        x: Local coordinates of the point, metres.
        y: See `x`.
        z: See `x`.
        nx: Local unit normal.
        ny: See `nx`.
        nz: See `nx`.
        footprint: Metres of surface that one pixel covers; finer patterns fade out.

    Returns:
        Red, green, blue, each 0 to 1.
    """
    r, gr, b = color[0], color[1], color[2]
    if material in (PLASTER, BRICK):
        gain, glass, shade, tint = _wall_albedo(material, seed, g, x, y, z, nx, nz, footprint)
        if glass > 0.0:
            return shade, shade * 1.1, shade * tint
        return r * gain, gr * gain, b * gain
    if material == FOLIAGE:
        leaf = noise2(6.0 * (x + y), 6.0 * z + 3.0 * (x - y), seed) - 0.5
        clump = noise2(1.7 * (x - y), 1.7 * (z + x), seed + 1) - 0.5
        gain = 1.0 + 1.3 * visible(footprint, 0.3) * leaf + 0.8 * visible(footprint, 1.0) * clump
        return r * gain, gr * gain, b * gain
    if material in (STONE, BOARDS):
        gain = _barrier_gain(material, seed, y if abs(nx) > 0.7 else x, z + g[HZ], footprint)
        return r * gain, gr * gain, b * gain
    if material == SIGN and abs(nx) > 0.5:
        return _sign_albedo(seed, g, r, gr, b, y, z)
    if material == LAMPS and abs(nx) > 0.5 and abs(y) < 0.62 * g[HY]:
        third = int(3.0 * (z + g[HZ]) / (2.0 * g[HZ]))
        if third == seed % 3:
            return (
                (0.1, 1.6, 0.5)
                if third == 0
                else ((1.8, 1.0, 0.1) if third == 1 else (1.9, 0.1, 0.05))
            )
        return 0.06, 0.06, 0.06
    if material in (CAR_BODY, CAR_CABIN, BUS_BODY, CARGO, TRUCK_CAB):
        return _vehicle_albedo(material, g, r, gr, b, x, y, z, nx, ny, nz)
    if material == TYRE and abs(ny) > 0.5 and x * x + z * z < 0.36 * g[HX] * g[HX]:
        return 0.45, 0.45, 0.47
    if material == SPOKES and abs(ny) > 0.5 and x * x + z * z < 0.7 * g[HX] * g[HX]:
        return 0.42, 0.42, 0.44
    if material == BARK:
        gain = 0.7 + 0.6 * noise2(20.0 * np.arctan2(y, x), 3.0 * z, seed)
        return r * gain, gr * gain, b * gain
    if material == CLOTH:
        gain = 0.85 + 0.3 * noise2(9.0 * (x + y), 9.0 * z, seed)
        return r * gain, gr * gain, b * gain
    return r, gr, b


@njit(cache=True, nogil=True)
def ground_albedo(
    region: int, paint: float, x: float, y: float, footprint: float, seed: int
) -> tuple[float, float, float]:
    """Linear RGB reflectance of the ground: asphalt with paint, paving stones, or grass.

    Args:
        region: 0 road, 1 pavement, 9 terrain.
        paint: Share of white paint, 0 to 1.
        x: World coordinates, metres.
        y: See `x`.
        footprint: Metres of ground that one pixel covers.
        seed: Texture seed of the scene.

    Returns:
        Red, green, blue, each 0 to 1.
    """
    patch = noise2(0.35 * x, 0.35 * y, seed) - 0.5
    if region == 0:
        grain = visible(footprint, 0.12) * (noise2(17.0 * x, 17.0 * y, seed + 1) - 0.5)
        base = 0.085 + 0.02 * patch + 0.03 * grain
        base = base * (1.0 - paint) + 0.62 * paint
        return base, base, base * 1.04
    if region == 1:
        tile = 0.88 + 0.24 * hash01(int(np.floor(x / 0.6)), int(np.floor(y / 0.6)), 1, seed)
        joint = (x / 0.6 - np.floor(x / 0.6)) < 0.07 or (y / 0.6 - np.floor(y / 0.6)) < 0.07
        fine = visible(footprint, 0.6)
        gain = 0.96 * (1.0 - fine) + fine * (0.55 if joint else tile)
        warm = 0.03 * hash01(seed, 0, 0, 9)
        return (0.33 + warm) * gain, 0.30 * gain, (0.27 - warm) * gain
    blade = visible(footprint, 0.25) * (noise2(9.0 * x, 9.0 * y, seed + 2) - 0.5)
    dry = 0.5 + 0.9 * patch
    gain = 1.0 + 0.7 * blade
    return (0.13 + 0.10 * dry) * gain, (0.20 + 0.03 * dry) * gain, 0.05 * gain
