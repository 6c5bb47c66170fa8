"""Daylight of a seed: sun, sky, clouds, haze, exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Weather:
    """Light and air.

    Attributes:
        sun: Unit vector towards the sun, world.
        sun_strength: Its light on a surface that faces it, relative.
        sky_strength: Light from the whole sky, relative.
        zenith: Linear RGB of the sky overhead.
        horizon: Linear RGB of the sky at the horizon, and of haze.
        clouds: Cover, 0 to 1.
        haze_length: Distance over which haze hides all but 37 %, metres.
        exposure: Gain of the camera.
        air: Air temperature, degrees Celsius.
        texture: Seed of ground and sky textures.
    """

    sun: tuple[float, float, float]
    sun_strength: float
    sky_strength: float
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    clouds: float
    haze_length: float
    exposure: float
    air: float
    texture: int


def _draw_weather(rng: np.random.Generator) -> Weather:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(32, 62))
    clouds = float(np.clip(rng.normal(0.35, 0.35), 0.0, 1.0))
    blue = (0.20, 0.40, 0.80)
    grey = (0.62, 0.66, 0.72)
    mixed = [(1 - clouds) * b + clouds * g for b, g in zip(blue, grey, strict=True)]
    return Weather(
        sun=(
            float(np.cos(azimuth) * np.cos(elevation)),
            float(np.sin(azimuth) * np.cos(elevation)),
            float(np.sin(elevation)),
        ),
        sun_strength=1.35 * (1.0 - 0.75 * clouds),
        sky_strength=0.5 + 0.35 * clouds,
        zenith=(mixed[0], mixed[1], mixed[2]),
        horizon=(0.72, 0.77, 0.83),
        clouds=clouds,
        haze_length=float(rng.uniform(250, 700)),
        exposure=float(rng.uniform(0.85, 1.15)),
        air=float(rng.uniform(6.0, 22.0)),
        texture=int(rng.integers(1 << 20)),
    )
