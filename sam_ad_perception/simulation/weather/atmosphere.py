"""Fog, rain and snow in camera images."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.simulation.raycasting.rays import (
    FAR,
    SKY_HIT,
    TREELINE_HIT,
    Hits,
    pixel_ray,
)
from sam_ad_perception.simulation.weather.conditions import Condition
from sam_ad_perception.simulation.weather.daylight import Weather

LAYER = 60.0
"""Height of a layer of fog, metres."""
_LAMP_HAZE = (0.035, 0.031, 0.025)
"""Light of lamps that fog scatters to the camera at night."""
_STREAK_DEPTH, _FLAKE_DEPTH = 2.5, 5.0
"""Farther drops and flakes are narrower than a pixel, and part of the extinction, metres."""


@njit(cache=True, nogil=True)
def path_lengths(
    index: NDArray[np.int32],
    depth: NDArray[np.float64],
    K: NDArray[np.float64],
    T: NDArray[np.float64],
    layer: float,
) -> NDArray[np.float32]:
    """How far the light of each pixel came through a layer of air, metres.

    Args:
        index: (H, W) int32, see `Hits`.
        depth: (H, W) float64, see `Hits`.
        K: (3, 3) intrinsics.
        T: (4, 4) `T_world_camera`.
        layer: Height of the layer, metres, which bounds the way to the sky.

    Returns:
        (H, W) float32.
    """
    out = np.empty(index.shape, dtype=np.float32)
    for v in range(index.shape[0]):
        for u in range(index.shape[1]):
            dx, dy, dz = pixel_ray(u, v, K, T)
            length = np.sqrt(dx * dx + dy * dy + dz * dz)
            if index[v, u] == SKY_HIT:
                out[v, u] = layer / max(dz / length, 0.01)
            elif index[v, u] == TREELINE_HIT:
                out[v, u] = FAR
            else:
                out[v, u] = depth[v, u] * length
    return out


@njit(cache=True, nogil=True)
def _veil(
    linear: NDArray[np.float32],
    path: NDArray[np.float32],
    extinction: float,
    air: NDArray[np.float64],
) -> None:
    for v in range(linear.shape[0]):
        for u in range(linear.shape[1]):
            clear = np.exp(-extinction * path[v, u])
            for c in range(3):
                linear[v, u, c] = clear * linear[v, u, c] + (1.0 - clear) * air[c]


def add_fog(
    linear: NDArray[np.float32],
    hits: Hits,
    weather: Weather,
    condition: Condition,
    camera: CameraModel,
    T_world_camera: NDArray[np.float64],
) -> None:
    """Dims a picture by extinction and adds airlight, in place.

    Koschmieder (1924): L = L0 exp(-b d) + A (1 - exp(-b d)), with the extinction b of fog, rain
    and snow, and the radiance A of the horizon.

    Args:
        linear: (H, W, 3) float32 linear RGB.
        hits: What each pixel sees.
        weather: Light, under the condition.
        condition: What floats in the air.
        camera: The view.
        T_world_camera: (4, 4) its pose.
    """
    extinction = condition.visible_extinction
    if extinction <= 0.0:
        return
    T = np.ascontiguousarray(T_world_camera)
    path = path_lengths(hits.index, hits.depth, camera.K, T, LAYER)
    _veil(linear, path, extinction, _airlight(weather, condition))


def _airlight(weather: Weather, condition: Condition) -> NDArray[np.float64]:
    lamps = condition.lamps * np.array(_LAMP_HAZE)
    return np.asarray(weather.exposure * (np.array(weather.horizon) + lamps))


def _places(
    rng: np.random.Generator, density: float, reach: float, camera: CameraModel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels (N, 2) and depths (N,) of particles of a density (1/m^3) nearer than `reach`."""
    f, (height, width) = camera.K[0, 0], camera.size
    volume = width * height / (f * f) * reach**3 / 3.0
    count = int(rng.poisson(density * volume))
    depth = reach * rng.random(count) ** (1.0 / 3.0)
    return rng.random((count, 2)) * (width, height), np.maximum(depth, 0.25)


def add_precipitation(
    linear: NDArray[np.float32],
    weather: Weather,
    condition: Condition,
    camera: CameraModel,
    shutter_s: float,
    speed: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Draws the drops and flakes that are near enough to be seen one by one.

    Rain (Garg and Nayar, IJCV 75(1), 2007): a drop of diameter D covers a pixel for D / v of the
    exposure, and while it does, shows the mean light of a wide view. Density by Marshall and
    Palmer (1948) for drops above 1 mm, speed 6.5 m/s. Snow: flakes of 3 to 9 mm, white, falling
    at 1 m/s (Gunn and Marshall, 1958, for the density, of flakes above 2 mm).

    Args:
        linear: (H, W, 3) float32 linear RGB.
        weather: Light, under the condition.
        condition: Rain and snow rate.
        camera: The view.
        shutter_s: Exposure, seconds.
        speed: Of the vehicle, m/s; flakes and drops come towards the camera.
        rng: Where they are.

    Returns:
        The picture, the same one where nothing falls.
    """
    if condition.rain > 0.0:
        slope = 4.1 * condition.rain**-0.21
        density = 8000.0 / slope * float(np.exp(-slope))
        drawn = _draw(rng, camera, density, _STREAK_DEPTH, (0.001, 0.003), 6.5, speed, shutter_s)
        linear = _cover(linear, drawn, 1.25 * _surrounding(linear, weather, condition))
    if condition.snow > 0.0:
        density = 60.0 * condition.snow**0.6
        drawn = _draw(rng, camera, density, _FLAKE_DEPTH, (0.003, 0.009), 1.0, speed, shutter_s)
        linear = _cover(linear, drawn, 1.1 * _surrounding(linear, weather, condition))
    return linear


def _surrounding(
    linear: NDArray[np.float32], weather: Weather, condition: Condition
) -> NDArray[np.float64]:
    """Light that a drop or flake sends to the camera: of the sky, and of the own headlights."""
    sky = 0.5 * _airlight(weather, condition) + 0.5 * linear.mean(axis=(0, 1))
    return np.asarray(sky + 0.06 * condition.lamps)


def _draw(
    rng: np.random.Generator,
    camera: CameraModel,
    density: float,
    reach: float,
    diameters: tuple[float, float],
    fall: float,
    speed: float,
    shutter_s: float,
) -> NDArray[np.float32]:
    """(H, W) float32, share of each pixel that particles cover."""
    f, (height, width) = camera.K[0, 0], camera.size
    place, depth = _places(rng, density, reach, camera)
    diameter = rng.uniform(*diameters, len(depth))
    thick = f * diameter / depth
    # Down by its fall, outwards by the vehicle's motion.
    centre = np.array([camera.K[0, 2], camera.K[1, 2]])
    motion = (place - centre) * (speed / depth)[:, None]
    motion[:, 1] += f * fall / depth
    motion *= min(shutter_s, 0.02)
    length = np.hypot(*motion.T)
    cover = np.minimum(thick, 1.0) * thick / np.maximum(thick + length, 1e-6)
    half = np.clip(thick, 1.0, width / 60) / 2
    layer = np.zeros((height, width), dtype=np.float32)
    _streak(layer, place - 0.5 * motion, place + 0.5 * motion, half, np.minimum(cover, 0.92))
    return layer


@njit(cache=True, nogil=True)
def _streak(
    layer: NDArray[np.float32],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    half: NDArray[np.float64],
    level: NDArray[np.float64],
) -> None:
    """Draws segments with round ends and soft edges; where they overlap, the strongest holds."""
    height, width = layer.shape
    for i in range(len(half)):
        if level[i] < 0.005:  # one of 255 levels
            continue
        ax, ay, bx, by = start[i, 0], start[i, 1], end[i, 0], end[i, 1]
        dx, dy, reach = bx - ax, by - ay, half[i] + 0.5
        square = max(dx * dx + dy * dy, 1e-9)
        for v in range(
            max(0, int(min(ay, by) - reach)), min(height, int(max(ay, by) + reach) + 2)
        ):
            # Columns that the segment's slope lets this row reach.
            low, high = min(ax, bx), max(ax, bx)
            if abs(dy) > 1.0:
                slack = reach * np.sqrt(square) / abs(dy)
                middle = ax + (v - ay) * dx / dy
                low, high = max(low, middle - slack), min(high, middle + slack)
            for u in range(max(0, int(low - reach)), min(width, int(high + reach) + 2)):
                t = min(1.0, max(0.0, ((u - ax) * dx + (v - ay) * dy) / square))
                gx, gy = u - ax - t * dx, v - ay - t * dy
                share = level[i] * min(1.0, reach - np.sqrt(gx * gx + gy * gy))
                if share > layer[v, u]:
                    layer[v, u] = share


def _cover(
    linear: NDArray[np.float32], share: NDArray[np.float32], light: NDArray[np.float64]
) -> NDArray[np.float32]:
    share = share[..., None]
    return np.asarray(linear * (1.0 - share) + share * light.astype(np.float32))
