"""Damage to sweeps: fog, snow, dirt, what is hidden, lost or moved, written from the outside.

Sweeps are (N, 3) float32 in metres, in the lidar's frame. Functions take `(points, severity,
rng)`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Rng = np.random.Generator
PULSE_S, LIGHT_M_S = 20e-9, 299_792_458.0
"""Half-power width of the pulse that Hahner et al. assume, and the speed of light."""
FAINTEST = 1e-4
"""A hard target is lost below this share of the echo of the same one at 1 m."""


def _level(severity: int, *levels: Any) -> Any:
    return levels[severity - 1]


def _azimuth(points: Points) -> NDArray[np.floating]:
    return np.degrees(np.arctan2(points[:, 1], points[:, 0]))


def _elevation(points: Points) -> NDArray[np.floating]:
    return np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))


def _at_range(points: Points, distance: NDArray[np.floating]) -> Points:
    """The same rays, other ranges."""
    now = np.linalg.norm(points, axis=1)
    scaled = points * (distance / np.maximum(now, 1e-6))[:, None]
    return scaled.astype(np.float32)


# Weather


def fog(points: Points, severity: int, rng: Rng) -> Points:
    """Fog of 60, 30, 15 m visibility.

    Hahner et al., "Fog Simulation on Real LiDAR Point Clouds for 3D Object Detection in Adverse
    Weather", ICCV 2021: the echo of a hard target falls by exp(-2 alpha R) / R^2; that of the fog
    is the pulse, sin^2 of 20 ns, folded with exp(-2 alpha r) / r^2 up to the target; the stronger
    one is returned. Alpha and beta follow from the visibility (ln 20 / MOR, 0.046 / MOR); the
    reflectivity of the targets, which the recordings lack, is drawn for each point.
    """
    visibility = _level(severity, 60.0, 30.0, 15.0)
    alpha, beta = np.log(20.0) / visibility, 0.046 / visibility
    distance = np.linalg.norm(points, axis=1).astype(np.float64)
    reflectivity = rng.uniform(0.05, 0.6, len(points)) / np.pi
    hard = reflectivity * np.exp(-2 * alpha * distance) / np.maximum(distance, 0.5) ** 2
    ranges, echo = _fog_echo(float(alpha))
    strongest = np.maximum.accumulate(echo)
    peak = np.minimum(np.searchsorted(ranges, distance) - 1, int(np.argmax(echo))).clip(0)
    soft = beta * strongest[peak]
    # Density of the droplets varies along the ray: the place of the echo scatters behind the peak.
    place = ranges[peak] + rng.exponential(0.5 / alpha, len(points))
    scattered = soft > hard
    moved = np.where(scattered, np.minimum(place, distance), distance)
    kept = scattered | (hard > FAINTEST * np.median(reflectivity))
    return _at_range(points, moved)[kept]


@cache
def _fog_echo(alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Echo of fog alone over the range from which it seems to come."""
    ranges = np.arange(0.5, 25.0, 0.1)
    t = np.linspace(0.0, 2 * PULSE_S, 400)
    pulse = np.sin(np.pi * t / (2 * PULSE_S)) ** 2
    r = ranges[:, None] - LIGHT_M_S * t / 2
    overlap = np.clip((r - 0.9) / 0.1, 0.0, 1.0)  # of beam and receiver: none before 0.9 m
    inside = np.where(r > 0.9, r, 1.0)
    echo = pulse * overlap * np.exp(-2 * alpha * inside) / inside**2
    return ranges, echo.sum(axis=1) * (t[1] - t[0]) * LIGHT_M_S / 2


def snow(points: Points, severity: int, rng: Rng) -> Points:
    """Flakes return 10, 25, 50 % of the rays, 1 to 12 m away, before what is behind them."""
    hit = rng.random(len(points)) < _level(severity, 0.1, 0.25, 0.5)
    distance = np.linalg.norm(points, axis=1)
    flake = 1.0 + rng.gamma(2.0, 2.0, len(points))
    return _at_range(points, np.where(hit & (flake < distance), flake, distance))


def dirt(points: Points, severity: int, rng: Rng) -> Points:
    """Dirt on the window returns 30, 90, 180 degrees of the rays at 1 m."""
    width = _level(severity, 30.0, 90.0, 180.0)
    start = rng.uniform(-180, 180)
    inside = (_azimuth(points) - start) % 360 < width
    distance = np.linalg.norm(points, axis=1)
    return _at_range(points, np.where(inside, rng.normal(1.0, 0.02, len(points)), distance))


def crosstalk(points: Points, severity: int, rng: Rng) -> Points:
    """Another lidar's pulses: 5, 15, 40 % of the rays return from any range up to 80 m."""
    hit = rng.random(len(points)) < _level(severity, 0.05, 0.15, 0.4)
    distance = np.linalg.norm(points, axis=1)
    return _at_range(points, np.where(hit, rng.uniform(1, 80, len(points)), distance))


# What is hidden or lost


def front_blocked(points: Points, severity: int, rng: Rng) -> Points:
    """The front 45, 90, 180 degrees return nothing."""
    width = _level(severity, 45.0, 90.0, 180.0)
    return points[np.abs(_azimuth(points)) > width / 2]


def left_blocked(points: Points, severity: int, rng: Rng) -> Points:
    """The left 30, 60, 120 degrees lose 95 % of their returns: ice, or a load on the roof."""
    width = _level(severity, 30.0, 60.0, 120.0)
    inside = np.abs(_azimuth(points) - 90.0) < width / 2
    return points[~inside | (rng.random(len(points)) < 0.05)]


def packets_lost(points: Points, severity: int, rng: Rng) -> Points:
    """15, 30, 50 % of the packets, each 2 degrees of azimuth, are lost at random."""
    lost = rng.random(180) < _level(severity, 0.15, 0.3, 0.5)
    return points[~lost[(_azimuth(points) // 2).astype(int) % 180]]


def slices_lost(points: Points, severity: int, rng: Rng) -> Points:
    """Every tenth, fourth, second slice of 5 degrees is lost: a stride in the driver."""
    step = _level(severity, 10, 4, 2)
    return points[(_azimuth(points) // 5).astype(int) % step != 0]


def rings_dead(points: Points, severity: int, rng: Rng) -> Points:
    """3, 8, 24 of 64 rings at random are dead: bands of elevation, as wide as their spacing."""
    rings = _ring_of(points)
    dead = rng.choice(np.arange(8, 64), _level(severity, 3, 8, 24), replace=False)
    return points[~np.isin(rings, dead)]


def ring_block_dead(points: Points, severity: int, rng: Rng) -> Points:
    """A block of 4, 8, 16 of 64 neighbouring rings is dead: a board of lasers."""
    first = int(rng.integers(12, 48))
    rings = _ring_of(points)
    return points[(rings < first) | (rings >= first + _level(severity, 4, 8, 16))]


def _ring_of(points: Points) -> NDArray[np.int64]:
    """64 bands of elevation with about as many returns each, as the rings of a sweep have."""
    elevation = _elevation(points)
    edges = np.quantile(elevation, np.linspace(0, 1, 65)[1:-1])
    return np.searchsorted(edges, elevation)


# What is moved


def mirrored(points: Points, severity: int, rng: Rng) -> Points:
    """Left is right; of severity 1 ahead is behind."""
    return points * np.array([-1, 1, 1] if severity == 1 else [1, -1, 1], np.float32)


def turned(points: Points, severity: int, rng: Rng) -> Points:
    """Turned about the vertical axis by 60, 90, 180 degrees."""
    return _turn(points, _level(severity, 60.0, 90.0, 180.0), 2)


def pitched(points: Points, severity: int, rng: Rng) -> Points:
    """The mount is bent: 3, 6, 10 degrees about the y axis."""
    return _turn(points, _level(severity, 3.0, 6.0, 10.0), 1)


def rolled(points: Points, severity: int, rng: Rng) -> Points:
    """The mount is bent: 3, 6, 10 degrees about the x axis."""
    return _turn(points, _level(severity, 3.0, 6.0, 10.0), 0)


def _turn(points: Points, degrees: float, axis: int) -> Points:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out = points.copy()
    out[:, a] = c * points[:, a] - s * points[:, b]
    out[:, b] = s * points[:, a] + c * points[:, b]
    return out


def raised(points: Points, severity: int, rng: Rng) -> Points:
    """Points stand 0.4, 0.8, 1.5 m too low: the mount's height is that of another vehicle."""
    return points - np.array([0, 0, _level(severity, 0.4, 0.8, 1.5)], np.float32)


def millimetres(points: Points, severity: int, rng: Rng) -> Points:
    """Coordinates in decimetres, centimetres, millimetres."""
    return points * np.float32(_level(severity, 10, 100, 1000))
