"""Artificial light: street lamps, headlights, lit windows, as lights and as things that shine.

Intensities are in the units of the shading: 1 lights a white surface as the camera's full
exposure. Lamps throw no shadows: those of the own headlights are hidden behind what throws them,
the others are left out.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.simulation.raycasting.solids import (
    COS,
    CX,
    CY,
    CZ,
    HX,
    HY,
    HZ,
    SIN,
    VX,
    VY,
    Primitives,
)
from sam_ad_perception.simulation.street.materials import (
    BRICK,
    BUS_BODY,
    CAR_BODY,
    LAMPS,
    LANTERN,
    PLASTER,
    TRUCK_CAB,
    hash01,
    window,
)

PX, PY, PZ, AX, AY, RED, GREEN, BLUE, REACH = range(9)
"""Columns of a lamp: place (m), horizontal direction of a headlight (0, 0: a lantern that shines
down), colour times intensity, distance beyond which it is not counted (m)."""
_LANTERN = (30.0, 23.0, 13.0)
_HEADLIGHT = (170.0, 163.0, 147.0)
_RUNNING = 5.0
"""Vehicles whose bonnet is warmer than this (K) have their lights on."""
_MOST_VEHICLES = 6


def find_lamps(
    primitives: Primitives, T_world_base: NDArray[np.float64], gain: float
) -> NDArray[np.float64]:
    """The lamps of a scene: lanterns, headlights of others, and the own ones.

    Args:
        primitives: The solids, world.
        T_world_base: (4, 4) pose of the own vehicle.
        gain: Of all intensities; 0: none is lit.

    Returns:
        (N, 9) float64, see the column constants.
    """
    if gain <= 0.0:
        return np.zeros((0, 9))
    g = primitives.geometry
    lanterns = g[primitives.material == LANTERN]
    rows = [(*p[CX : CZ + 1], 0.0, 0.0, *_LANTERN, 22.0) for p in lanterns]
    x, y = T_world_base[:2, 3]
    body = np.isin(primitives.material, (CAR_BODY, BUS_BODY, TRUCK_CAB))
    vehicles = g[body & (primitives.warmth > _RUNNING) & (np.hypot(g[:, VX], g[:, VY]) > 0.5)]
    order = np.argsort(np.hypot(vehicles[:, CX] - x, vehicles[:, CY] - y), kind='stable')
    for v in vehicles[order[:_MOST_VEHICLES]]:
        front = v[CX] + v[COS] * v[HX], v[CY] + v[SIN] * v[HX]
        rows.append((*front, 0.7, v[COS], v[SIN], *_HEADLIGHT, 30.0))
    for side in (-0.65, 0.65):
        place = T_world_base[:3, :3] @ (2.2, side, 0.7) + T_world_base[:3, 3]
        rows.append((*place, *T_world_base[:2, 0], *_HEADLIGHT, 70.0))
    lamps = np.array(rows)
    # Farther behind than they reach, they light nothing ahead.
    behind = (lamps[:, PX : PY + 1] - (x, y)) @ T_world_base[:2, 0]
    lamps = lamps[behind > -lamps[:, REACH]]
    lamps[:, RED : BLUE + 1] *= gain
    return lamps


@njit(cache=True, nogil=True)
def _beam(lamp: NDArray[np.float64], x: float, y: float, z: float, distance: float) -> float:
    """Relative intensity of a lamp towards an offset (m) from it, in front of a headlight.

    A dipped beam (the idea of UN R149, not its table): 20 degrees wide, strongest just below the
    cut-off, a little light above it. A lantern: Lambertian downwards.
    """
    if lamp[AX] == 0.0 and lamp[AY] == 0.0:
        return max(-z / distance, 0.0)
    ahead, left = lamp[AX] * x + lamp[AY] * y, lamp[AX] * y - lamp[AY] * x
    side, rise = left / ahead, z / ahead
    if side * side > 0.6:
        return 0.0
    level = (
        np.exp((rise + 0.008) / 0.07) if rise < -0.008 else max(0.05, 1.0 - 80 * (rise + 0.008))
    )
    return np.exp(-side * side / 0.12) * level


@njit(cache=True, nogil=True)
def lamp_light(
    lamps: NDArray[np.float64], x: float, y: float, z: float, nx: float, ny: float, nz: float
) -> tuple[float, float, float]:
    """Light of all lamps on a surface.

    Args:
        lamps: (N, 9), see the column constants.
        x: The place, world, metres.
        y: See `x`.
        z: See `x`.
        nx: Unit normal, world.
        ny: See `nx`.
        nz: See `nx`.

    Returns:
        Red, green, blue: inverse square law times the cosine of incidence.
    """
    red, green, blue = 0.0, 0.0, 0.0
    for i in range(lamps.shape[0]):
        dx, dy, dz = x - lamps[i, PX], y - lamps[i, PY], z - lamps[i, PZ]
        square = dx * dx + dy * dy + dz * dz
        if square > lamps[i, REACH] * lamps[i, REACH]:
            continue
        lamp = lamps[i]
        facing = -(nx * dx + ny * dy + nz * dz)
        ahead = lamp[AX] * dx + lamp[AY] * dy
        if facing <= 0.0 or (ahead <= 0.0 and (lamp[AX] != 0.0 or lamp[AY] != 0.0)):
            continue
        distance = np.sqrt(square)
        facing /= max(distance, 1e-6)
        # Fades to nothing at its reach, and is no point when near.
        share = _beam(lamp, dx, dy, dz, distance) * facing / (square + 1.0)
        share *= 1.0 - square / (lamp[REACH] * lamp[REACH])
        red, green, blue = (
            red + share * lamp[RED], green + share * lamp[GREEN], blue + share * lamp[BLUE],
        )  # fmt: skip
    return red, green, blue


@njit(cache=True, nogil=True)
def emission(
    material: int,
    seed: int,
    g: NDArray[np.float64],
    warmth: float,
    x: float,
    y: float,
    z: float,
    nx: float,
    nz: float,
) -> tuple[float, float, float]:
    """Radiance that a point of a solid has by itself when lights are on.

    Args:
        material: Its material.
        seed: Its texture seed.
        g: Its geometry row.
        warmth: Kelvin above the air, which tells running vehicles from parked ones.
        x: Local coordinates of the point, metres.
        y: See `x`.
        z: See `x`.
        nx: Local unit normal.
        nz: See `nx`.

    Returns:
        Red, green, blue.
    """
    if material == LANTERN:
        return (9.0, 7.2, 4.6) if nz < -0.5 else (0.5, 0.4, 0.25)
    if material in (PLASTER, BRICK):
        if window(g, seed, x, y, z, nx, nz):
            along = y if abs(nx) > 0.7 else x
            room = hash01(int(np.floor(along / 2.5)), int(np.floor((z + g[HZ]) / 3.0)), 6, seed)
            if room < 0.25:
                return 0.55 - 0.6 * room, 0.42 - 0.6 * room, 0.2
        return 0.0, 0.0, 0.0
    if material == LAMPS and abs(nx) > 0.5 and abs(y) < 0.62 * g[HY]:
        third = int(3.0 * (z + g[HZ]) / (2.0 * g[HZ]))
        if third != seed % 3:
            return 0.0, 0.0, 0.0
        if third == 0:
            return 0.1, 1.5, 0.5
        return (1.7, 0.9, 0.1) if third == 1 else (1.8, 0.1, 0.05)
    if warmth <= _RUNNING or material not in (CAR_BODY, BUS_BODY, TRUCK_CAB):
        return 0.0, 0.0, 0.0
    height = (z + g[HZ]) / (2.0 * g[HZ])
    high = 0.75 if g[HZ] < 0.5 else 0.28
    if abs(nx) > 0.5 and abs(y) > 0.55 * g[HY] and 0.1 < height < high:
        return (7.0, 6.8, 6.0) if nx > 0 else (1.6, 0.06, 0.04)
    if material == BUS_BODY and 0.45 < height < 0.85 and abs(nz) < 0.5:
        return 0.34, 0.33, 0.28
    return 0.0, 0.0, 0.0
