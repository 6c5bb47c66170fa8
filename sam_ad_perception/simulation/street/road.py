"""The road: its centre line and what lies beside it, shared by layout, motion and rendering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

ROAD, SIDEWALK, TERRAIN = 0, 1, 9
LANE_WIDTH = 3.5
PLAIN_KERB, PARKING_KERB = 4.9, 7.1
"""Distance of a kerb from the centre line, without and with a parking lane, metres."""

# Columns of the parameter vector that the kernels take.
A1, W1, P1, A2, W2, P2, HALF_LEFT, HALF_RIGHT, VERGE_LEFT, VERGE_RIGHT, WALK, CROSSROADS = range(
    12
)
CROSSROAD_HALF = 3.6
"""Half the width of a crossing road, metres."""


@dataclass(frozen=True, eq=False)
class Road:
    """A two-lane street along y = f(x) with verges and pavements.

    Attributes:
        parameters: (11 + m,) float64: two sines (amplitude m, wave number rad/m, phase rad) of the
            centre line, distance of the left and the right kerb from it, width of the grass verge
            left and right (0: none), width of the pavements, x of the m crossing roads; metres.
        crossings: (n,) float64, x of the zebra crossings, metres.
    """

    parameters: NDArray[np.float64]
    crossings: NDArray[np.float64]

    def kerb(self, side: int) -> float:
        """Distance of the kerb from the centre line, metres; side +1 is left, -1 right."""
        return float(self.parameters[HALF_LEFT if side > 0 else HALF_RIGHT])

    def has_parking(self, side: int) -> bool:
        """Whether there is room for a parking lane."""
        return self.kerb(side) > PARKING_KERB - 0.1

    def walk_start(self, side: int) -> float:
        """Distance of the pavement's inner edge from the centre line, metres; side +1 is left."""
        return self.kerb(side) + float(self.parameters[VERGE_LEFT if side > 0 else VERGE_RIGHT])

    def walk_end(self, side: int) -> float:
        """Distance of the pavement's outer edge from the centre line, metres."""
        return self.walk_start(side) + float(self.parameters[WALK])

    def poses(
        self, along: NDArray[np.float64], lateral: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """World poses of road coordinates.

        Args:
            along: (N,) x of the foot point on the centre line, metres.
            lateral: (N,) offset to the left of it, metres.

        Returns:
            (N, 3) x, y (m) and yaw of the road (rad).
        """
        a1, w1, p1, a2, w2, p2 = self.parameters[:6]
        y = a1 * np.sin(w1 * along + p1) + a2 * np.sin(w2 * along + p2)
        slope = a1 * w1 * np.cos(w1 * along + p1) + a2 * w2 * np.cos(w2 * along + p2)
        yaw = np.arctan(slope)
        return np.stack([along - lateral * np.sin(yaw), y + lateral * np.cos(yaw), yaw], axis=1)


@njit(cache=True, nogil=True, inline='always')
def lateral_offset(x: float, y: float, road: NDArray[np.float64]) -> float:
    """Signed distance of a ground point to the left of the centre line, metres."""
    f = road[A1] * np.sin(road[W1] * x + road[P1]) + road[A2] * np.sin(road[W2] * x + road[P2])
    slope = road[A1] * road[W1] * np.cos(road[W1] * x + road[P1]) + road[A2] * road[W2] * np.cos(
        road[W2] * x + road[P2]
    )
    return (y - f) / np.sqrt(1.0 + slope * slope)


@njit(cache=True, nogil=True, inline='always')
def region(x: float, lateral: float, road: NDArray[np.float64]) -> int:
    """Label of the ground at a place of the road: road, pavement or terrain."""
    distance = abs(lateral)
    for i in range(CROSSROADS, road.size):
        if abs(x - road[i]) < CROSSROAD_HALF:
            return ROAD
    half = road[HALF_LEFT] if lateral > 0 else road[HALF_RIGHT]
    if distance < half:
        return ROAD
    verge = road[VERGE_LEFT] if lateral > 0 else road[VERGE_RIGHT]
    if distance < half + verge:
        return TERRAIN
    if distance < half + verge + road[WALK]:
        return SIDEWALK
    return TERRAIN


@njit(cache=True, nogil=True, inline='always')
def marking(x: float, lateral: float, road: NDArray[np.float64], crossings: NDArray) -> float:
    """How much of the road's surface here is white paint, 0 or 1."""
    distance = abs(lateral)
    for i in range(CROSSROADS, road.size):
        gap = abs(x - road[i])
        if gap < CROSSROAD_HALF:
            far = road[HALF_LEFT] if lateral > 0 else road[HALF_RIGHT]
            return 1.0 if gap < 0.09 and distance > far + 1.0 and (distance % 9.0) < 4.0 else 0.0
    if distance < 0.09 and (x % 9.0) < 4.0:
        return 1.0
    if abs(distance - LANE_WIDTH) < 0.08:
        return 1.0
    half = road[HALF_LEFT] if lateral > 0 else road[HALF_RIGHT]
    for i in range(crossings.size):
        if abs(x - crossings[i]) < 1.6 and distance < half - 0.4 and (lateral % 1.1) < 0.55:
            return 1.0
    return 0.0
