"""Thermal images: the temperature of each pixel as 16-bit counts."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.simulation.raycasting.rays import (
    GROUND_HIT,
    SKY_HIT,
    TREELINE_HIT,
    Hits,
    pixel_ray,
)
from sam_ad_perception.simulation.raycasting.solids import COS, HX, SIN, Primitives
from sam_ad_perception.simulation.street.materials import (
    BRICK,
    CAR_BODY,
    CAR_CABIN,
    FOLIAGE,
    PLASTER,
    local_hit,
    noise2,
    window,
)
from sam_ad_perception.simulation.street.road import Road, lateral_offset, marking, region
from sam_ad_perception.simulation.weather.atmosphere import LAYER, path_lengths
from sam_ad_perception.simulation.weather.conditions import (
    DAY,
    Condition,
    rain_extinction,
    snow_extinction,
)
from sam_ad_perception.simulation.weather.daylight import Weather

COUNTS_PER_KELVIN = 100.0
"""A count is 10 mK above absolute zero: 20 degrees Celsius is 29315."""
CELSIUS = 273.15
FOG_SHARE = 0.35
"""Extinction of fog at 10 um over that of visible light."""


@njit(cache=True, nogil=True)
def _solid_warmth(
    material: int,
    seed: int,
    kind: int,
    g: NDArray[np.float64],
    warmth: float,
    x: float,
    y: float,
    z: float,
    sun: NDArray[np.float64],
    sun_warmth: float,
) -> float:
    """Kelvin above the air of a point of a solid."""
    lx, ly, lz, mx, my, mz = local_hit(kind, g, x, y, z)
    nx, ny = g[COS] * mx - g[SIN] * my, g[SIN] * mx + g[COS] * my
    facing = max(0.0, nx * sun[0] + ny * sun[1] + mz * sun[2])
    if material in (PLASTER, BRICK):
        if window(g, seed, lx, ly, lz, mx, mz):
            return -3.0
        warmth += 0.8 * (noise2(0.7 * (lx + ly), 0.7 * lz, seed) - 0.5)
    elif material == CAR_BODY:
        # The engine is in front.
        warmth *= 1.0 if lx > 0.3 * g[HX] else 0.3
    elif material == CAR_CABIN:
        return -2.5 if mz < 0.9 else warmth
    elif material == FOLIAGE:
        return warmth + 1.6 * (noise2(1.5 * (lx + ly), 1.5 * lz, seed) - 0.5)
    return warmth + sun_warmth * facing


@njit(cache=True, nogil=True)
def _ground_warmth(
    x: float, y: float, road: NDArray[np.float64], crossings: NDArray[np.float64], seed: int
) -> float:
    lateral = lateral_offset(x, y, road)
    kind = region(x, lateral, road)
    patch = noise2(0.4 * x, 0.4 * y, seed + 5) - 0.5
    if kind == 0:
        return 6.0 + 0.7 * patch - 1.5 * marking(x, lateral, road, crossings)
    if kind == 1:
        return 3.0 + 0.7 * patch
    return 0.6 + 1.8 * (noise2(2.5 * x, 2.5 * y, seed + 6) - 0.5)


@njit(cache=True, nogil=True)
def _warmth(
    geometry: NDArray[np.float64],
    kind: NDArray[np.int64],
    material: NDArray[np.int64],
    warmth: NDArray[np.float64],
    texture: NDArray[np.int64],
    index: NDArray[np.int32],
    depth: NDArray[np.float64],
    K: NDArray[np.float64],
    T: NDArray[np.float64],
    road: NDArray[np.float64],
    crossings: NDArray[np.float64],
    sun: NDArray[np.float64],
    sun_warmth: float,
    clouds: float,
    seed: int,
    out: NDArray[np.float32],
) -> None:
    for v in range(index.shape[0]):
        for u in range(index.shape[1]):
            dx, dy, dz = pixel_ray(u, v, K, T)
            hit, t = index[v, u], depth[v, u]
            length = np.sqrt(dx * dx + dy * dy + dz * dz)
            if hit == SKY_HIT:
                up = max(dz / length, 0.0)
                out[v, u] = -10.0 - (34.0 - 18.0 * clouds) * np.sqrt(up)
                continue
            if hit == TREELINE_HIT:
                out[v, u] = -1.5
                continue
            x, y, z = T[0, 3] + t * dx, T[1, 3] + t * dy, T[2, 3] + t * dz
            if hit == GROUND_HIT:
                value = _ground_warmth(x, y, road, crossings, seed)
            else:
                value = _solid_warmth(
                    material[hit], texture[hit], kind[hit], geometry[hit], warmth[hit],
                    x, y, z, sun, sun_warmth,
                )  # fmt: skip
            out[v, u] = value * np.exp(-t * length / 500.0)


def _weather(
    warmth: NDArray[np.float32],
    hits: Hits,
    condition: Condition,
    camera: CameraModel,
    T_world_camera: NDArray[np.float64],
) -> None:
    """What night, water and fog leave of temperature differences, in place.

    Night takes the warmth that things had from the sun; bodies and engines keep theirs. A film
    of water has nearly the same temperature everywhere (Vollmer and Moellmann, "Infrared Thermal
    Imaging", 2018, on wet surfaces). Air between takes on its own temperature: Beer-Lambert with
    the share of the visible extinction that is left at 10 um, in fog of small drops and in rain
    (Beier and Gemperlein, Infrared Phys. Technol. 46, 2004).
    """
    if condition == DAY:
        return
    warmth[hits.index == GROUND_HIT] *= np.float32(1.0 - 0.45 * condition.cooling)
    warmth *= np.float32(1.0 - 0.45 * condition.wetness)
    extinction = FOG_SHARE * condition.extinction + rain_extinction(condition.rain)
    extinction += snow_extinction(condition.snow)
    if extinction > 0.0:
        T = np.ascontiguousarray(T_world_camera)
        path = path_lengths(hits.index, hits.depth, camera.K, T, LAYER)
        warmth *= np.exp(np.float32(-extinction) * path)


def measure_thermal(
    hits: Hits,
    primitives: Primitives,
    road: Road,
    weather: Weather,
    camera: CameraModel,
    T_world_camera: NDArray[np.float64],
    rng: np.random.Generator,
    condition: Condition = DAY,
) -> NDArray[np.uint16]:
    """Apparent temperature with the camera's blur and noise.

    Args:
        hits: What each pixel sees.
        primitives: The solids that `hits` was cast against.
        road: The ground.
        weather: Sun and air, see `weather_under`.
        camera: The view.
        T_world_camera: (4, 4) its pose.
        rng: Source of the noise.
        condition: Light and weather.

    Returns:
        (H, W) uint16, counts of 10 mK above absolute zero.
    """
    warmth = np.empty(camera.size, dtype=np.float32)
    _warmth(
        primitives.geometry,
        primitives.kind,
        primitives.material,
        primitives.warmth,
        primitives.texture,
        hits.index,
        hits.depth,
        camera.K,
        np.ascontiguousarray(T_world_camera),
        road.parameters,
        road.crossings,
        np.array(weather.sun),
        2.5 * weather.sun_strength,
        weather.clouds,
        weather.texture,
        warmth,
    )
    _weather(warmth, hits, condition, camera, T_world_camera)
    noise = np.float32(0.08) * rng.standard_normal(warmth.shape, dtype=np.float32)
    blurred = cv2.GaussianBlur(warmth, (5, 5), 0.7) + noise
    counts = (blurred + np.float32(weather.air + CELSIUS)) * np.float32(COUNTS_PER_KELVIN)
    return np.asarray(np.clip(np.rint(counts), 0, 65535).astype(np.uint16))
