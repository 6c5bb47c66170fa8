"""Shading, exposure and labels of camera images."""

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
from sam_ad_perception.simulation.raycasting.shadows import ShadowMap, is_shadowed
from sam_ad_perception.simulation.raycasting.solids import COS, SIN, WHEEL, Primitives
from sam_ad_perception.simulation.street.lamps import emission, lamp_light
from sam_ad_perception.simulation.street.materials import albedo, ground_albedo, local_hit, noise2
from sam_ad_perception.simulation.street.road import Road, lateral_offset, marking, region
from sam_ad_perception.simulation.weather.conditions import DAY, Condition
from sam_ad_perception.simulation.weather.daylight import Weather

_Triple = tuple[float, float, float]
_VEGETATION, _SKY = 8, 10
_GAMMA_STEPS = 4096
_GAMMA = 255.0 * np.linspace(0.0, 1.0, _GAMMA_STEPS) ** (1.0 / 2.2)


@njit(cache=True, nogil=True)
def _sky(dx: float, dy: float, dz: float, sky: NDArray[np.float64], seed: int) -> _Triple:
    """Sky radiance; `sky` is zenith RGB, horizon RGB, cloud cover, brightness of the clouds."""
    norm = np.sqrt(dx * dx + dy * dy + dz * dz)
    up = max(dz / norm, 0.0)
    blend = np.sqrt(up)
    r = sky[3] + blend * (sky[0] - sky[3])
    g = sky[4] + blend * (sky[1] - sky[4])
    b = sky[5] + blend * (sky[2] - sky[5])
    if up > 0.02:
        x, y = 1.2 * dx / dz, 1.2 * dy / dz
        cloud = 0.65 * noise2(x, y, seed) + 0.35 * noise2(2.3 * x, 2.3 * y, seed + 1)
        cover = min(1.0, max(0.0, (cloud + 0.75 * sky[6] - 0.75) * 4.0)) * min(1.0, up * 8.0)
        white = (0.95 - 0.25 * sky[6]) * sky[7]
        r, g, b = r + cover * (white - r), g + cover * (white - g), b + cover * (white - b)
    return r, g, b


@njit(cache=True, nogil=True)
def _treeline(dx: float, dy: float, dz: float, sky: NDArray[np.float64], seed: int) -> _Triple:
    """Radiance of the trees on the horizon, in haze."""
    gain = (0.12 + 0.06 * noise2(60.0 * np.arctan2(dy, dx), 120.0 * dz, seed)) * sky[7]
    return 0.75 * gain + 0.3 * sky[3], 1.05 * gain + 0.3 * sky[4], 0.7 * gain + 0.3 * sky[5]


@njit(cache=True, nogil=True)
def _ground(
    x: float,
    y: float,
    footprint: float,
    road: NDArray[np.float64],
    crossings: NDArray[np.float64],
    surface: NDArray[np.float64],
    seed: int,
) -> _Triple:
    """Reflectance of the ground; `surface` is snow cover and wetness."""
    lateral = lateral_offset(x, y, road)
    where = region(x, lateral, road)
    paint = marking(x, lateral, road, crossings) if where == 0 else 0.0
    red, green, blue = ground_albedo(where, paint, x, y, footprint, seed)
    dry = 1.0 - 0.45 * surface[1]
    red, green, blue = dry * red, dry * green, dry * blue
    if surface[0] > 0.0:
        # Patches; wheels have cleared tracks.
        patch = 0.6 * noise2(0.5 * x, 0.9 * y, seed + 8) + 0.4 * noise2(3.0 * x, 3.0 * y, seed + 9)
        track = 0.55 if where == 0 and 0.9 < abs(lateral) < 2.7 else 0.0
        cover = min(1.0, max(0.0, (patch + surface[0] - 0.55 - track) * 4.0))
        red, green, blue = _under_snow(red, green, blue, cover)
    return red, green, blue


@njit(cache=True, nogil=True)
def _under_snow(red: float, green: float, blue: float, cover: float) -> _Triple:
    return (
        red + cover * (0.68 - red), green + cover * (0.70 - green), blue + cover * (0.74 - blue),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _wet_mirror(cosine: float) -> float:
    """Share of the sky that wet ground mirrors: Schlick's Fresnel term of water, roughened."""
    return 0.7 * (0.02 + 0.98 * (1.0 - cosine) ** 5)


@njit(cache=True, nogil=True, inline='always')
def _solid(
    kind: int,
    material: int,
    seed: int,
    g: NDArray[np.float64],
    color: NDArray[np.float64],
    warmth: float,
    x: float,
    y: float,
    z: float,
    dx: float,
    dy: float,
    dz: float,
    pixel: float,
    lights: float,
    snow: float,
) -> tuple[_Triple, _Triple, _Triple]:
    """Reflectance, radiance by itself and unit normal; `pixel` is the metres that one spans."""
    lx, ly, lz, mx, my, nz = local_hit(kind, g, x, y, z)
    nx, ny = g[COS] * mx - g[SIN] * my, g[SIN] * mx + g[COS] * my
    facing = -(nx * dx + ny * dy + nz * dz) / np.sqrt(dx * dx + dy * dy + dz * dz)
    footprint = pixel / max(facing, 0.1)
    red, green, blue = albedo(material, seed, g, color, lx, ly, lz, mx, my, nz, footprint)
    own_r, own_g, own_b = 0.0, 0.0, 0.0
    if lights > 0.0:
        own_r, own_g, own_b = emission(material, seed, g, warmth, lx, ly, lz, mx, nz)
        own_r, own_g, own_b = lights * own_r, lights * own_g, lights * own_b
    if snow > 0.0 and nz > 0.3 and kind != WHEEL:
        red, green, blue = _under_snow(red, green, blue, snow * min(1.0, 1.5 * (nz - 0.3)))
    return (red, green, blue), (own_r, own_g, own_b), (nx, ny, nz)


@njit(cache=True, nogil=True)
def _shade(
    geometry: NDArray[np.float64],
    kind: NDArray[np.int64],
    material: NDArray[np.int64],
    color: NDArray[np.float64],
    warmth: NDArray[np.float64],
    texture: NDArray[np.int64],
    index: NDArray[np.int32],
    depth: NDArray[np.float64],
    K: NDArray[np.float64],
    T: NDArray[np.float64],
    road: NDArray[np.float64],
    crossings: NDArray[np.float64],
    sun: NDArray[np.float64],
    light: NDArray[np.float64],
    sky: NDArray[np.float64],
    surface: NDArray[np.float64],
    lamps: NDArray[np.float64],
    seed: int,
    origin: NDArray[np.float64],
    start: NDArray[np.int64],
    items: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """`light` is sun strength, sky strength, 1 / haze length, exposure, lights switched on.

    Light comes from the sun, from the sky, and a little from the ground onto what faces it.
    """
    for v in range(index.shape[0]):
        for u in range(index.shape[1]):
            dx, dy, dz = pixel_ray(u, v, K, T)
            hit, t = index[v, u], depth[v, u]
            if hit == SKY_HIT:
                red, green, blue = _sky(dx, dy, dz, sky, seed)
            elif hit == TREELINE_HIT:
                red, green, blue = _treeline(dx, dy, dz, sky, seed)
            else:
                length = np.sqrt(dx * dx + dy * dy + dz * dz)
                x, y, z = T[0, 3] + t * dx, T[1, 3] + t * dy, T[2, 3] + t * dz
                if hit == GROUND_HIT:
                    nx, ny, nz, z = 0.0, 0.0, 1.0, 0.0
                    footprint = t / K[0, 0] * min(length / -dz, 40.0)
                    red, green, blue = _ground(x, y, footprint, road, crossings, surface, seed)
                    mirror = _wet_mirror(-dz / length) * surface[1]
                    own_r, own_g, own_b = mirror * sky[3], mirror * sky[4], mirror * sky[5]
                else:
                    (red, green, blue), (own_r, own_g, own_b), (nx, ny, nz) = _solid(
                        kind[hit], material[hit], texture[hit], geometry[hit], color[hit],
                        warmth[hit], x, y, z, dx, dy, dz, t / K[0, 0], light[4], surface[0],
                    )  # fmt: skip
                direct = nx * sun[0] + ny * sun[1] + nz * sun[2]
                if light[0] > 0.0 and direct > 0.0 and is_shadowed(
                    geometry, kind, sun, origin, start, items,
                    x + 0.012 * nx, y + 0.012 * ny, z + 0.012 * nz,
                ):  # fmt: skip
                    direct = 0.0
                power = light[0] * max(direct, 0.0) + light[1] * (0.65 + 0.35 * nz)
                lamp_r, lamp_g, lamp_b = lamp_light(lamps, x, y, z, nx, ny, nz)
                clear = np.exp(-t * length * light[2])
                red = clear * (power + lamp_r) * red + clear * own_r + (1.0 - clear) * sky[3]
                green = clear * (power + lamp_g) * green + clear * own_g + (1.0 - clear) * sky[4]
                blue = clear * (power + lamp_b) * blue + clear * own_b + (1.0 - clear) * sky[5]
            out[v, u, 0], out[v, u, 1] = light[3] * red, light[3] * green
            out[v, u, 2] = light[3] * blue


def shade(
    hits: Hits,
    primitives: Primitives,
    shadows: ShadowMap,
    road: Road,
    weather: Weather,
    camera: CameraModel,
    T_world_camera: NDArray[np.float64],
    condition: Condition = DAY,
    lamps: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """The light that reaches each pixel.

    Args:
        hits: What each pixel sees.
        primitives: The solids that `hits` was cast against.
        shadows: Their shadows.
        road: The ground.
        weather: Light and air, see `weather_under`.
        camera: The view.
        T_world_camera: (4, 4) its pose.
        condition: What covers the ground, and how much brighter lamps are than by day.
        lamps: (N, 9) float64, see `lamps.find_lamps`.

    Returns:
        (H, W, 3) float32 linear RGB; 1 is white in full exposure.
    """
    out = np.empty((*camera.size, 3), dtype=np.float32)
    w, c = weather, condition
    strength = np.array([w.sun_strength, w.sky_strength, 1.0 / w.haze_length, w.exposure, c.lamps])
    _shade(
        primitives.geometry,
        primitives.kind,
        primitives.material,
        primitives.color,
        primitives.warmth,
        primitives.texture,
        hits.index,
        hits.depth,
        camera.K,
        np.ascontiguousarray(T_world_camera),
        road.parameters,
        road.crossings,
        np.array(w.sun),
        strength,
        np.array([*w.zenith, *w.horizon, w.clouds, c.sky]),
        np.array([c.snow_cover, c.wetness]),
        np.zeros((0, 9)) if lamps is None else lamps,
        w.texture,
        shadows.origin,
        shadows.start,
        shadows.items,
        out,
    )
    return out


@njit(cache=True, nogil=True)
def _develop(
    linear: NDArray[np.float32], noise: NDArray[np.float32], gamma: NDArray[np.float64]
) -> NDArray[np.uint8]:
    out = np.empty(linear.shape, dtype=np.uint8)
    steps = gamma.size - 1
    for v in range(linear.shape[0]):
        for u in range(linear.shape[1]):
            for c in range(3):
                value = min(max(linear[v, u, c], 0.0), 1.0)
                level = gamma[int(value * steps)] + noise[v, u, c]
                out[v, u, c] = np.uint8(min(max(level + 0.5, 0.0), 255.0))
    return out


def develop(
    linear: NDArray[np.float32], rng: np.random.Generator, noise: float = 2.5
) -> NDArray[np.uint8]:
    """Lens blur, gamma and sensor noise.

    Args:
        linear: (H, W, 3) float32 linear RGB.
        rng: Source of the noise.
        noise: Standard deviation, grey levels of 255.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    blurred = np.asarray(cv2.GaussianBlur(linear, (3, 3), 0.55), dtype=np.float32)
    grain = rng.standard_normal(linear.shape, dtype=np.float32)
    grain *= np.float32(noise)
    return np.asarray(_develop(blurred, grain, _GAMMA), dtype=np.uint8)


@njit(cache=True, nogil=True)
def _label(
    label: NDArray[np.uint8],
    index: NDArray[np.int32],
    depth: NDArray[np.float64],
    K: NDArray[np.float64],
    T: NDArray[np.float64],
    road: NDArray[np.float64],
    out: NDArray[np.uint8],
) -> None:
    for v in range(index.shape[0]):
        for u in range(index.shape[1]):
            hit, t = index[v, u], depth[v, u]
            if hit >= 0:
                out[v, u] = label[hit]
            elif hit == SKY_HIT:
                out[v, u] = _SKY
            elif hit == TREELINE_HIT:
                out[v, u] = _VEGETATION
            else:
                dx, dy, _ = pixel_ray(u, v, K, T)
                x, y = T[0, 3] + t * dx, T[1, 3] + t * dy
                out[v, u] = region(x, lateral_offset(x, y, road), road)


def label(
    hits: Hits,
    primitives: Primitives,
    road: Road,
    camera: CameraModel,
    T_world_camera: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """True classes of an image.

    Args:
        hits: What each pixel sees.
        primitives: The solids that `hits` was cast against.
        road: The ground.
        camera: The view.
        T_world_camera: (4, 4) its pose.

    Returns:
        (H, W) uint8 Cityscapes train ids.
    """
    out = np.empty(camera.size, dtype=np.uint8)
    T = np.ascontiguousarray(T_world_camera)
    _label(primitives.label, hits.index, hits.depth, camera.K, T, road.parameters, out)
    return out
