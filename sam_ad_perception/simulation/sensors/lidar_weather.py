"""What fog, rain and snow do to a lidar sweep: lost echoes, dimmer ones, and clutter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import PointCloud
from sam_ad_perception.simulation.sensors.lidar import AZIMUTH, BEAMS, COLUMNS, ELEVATION, Sweep
from sam_ad_perception.simulation.weather.conditions import (
    Condition,
    rain_extinction,
    snow_extinction,
)

UNLABELED = 255
"""True class of echoes from the air."""
THRESHOLD = 0.1 / 100.0**2
"""Weakest echo that is detected, reflectivity / m^2: 10 % at 100 m in clear air."""
LIDAR_RATIO = 18.0
"""Extinction over backscatter of water drops at near infrared, sr (O'Connor, Illingworth and
Hogan, J. Atmos. Oceanic Technol. 21, 2004: 18.8 for drops of clouds)."""
PULSE = 0.5
"""Length of air that echoes at once, half a pulse, metres."""
SOFT = 20.0
"""How much stronger than the weakest hard target the long, flat echo of fog must be."""


def echo_strength(
    reflectivity: NDArray[np.float64], distance: NDArray[np.float64], extinction: float
) -> NDArray[np.float64]:
    """Received power of hard targets, reflectivity / m^2.

    The lidar equation with Beer and Lambert's law on both ways: rho exp(-2 b r) / r^2
    (Rasshofer, Spies and Spies, Adv. Radio Sci. 9, 2011).

    Args:
        reflectivity: (N,) of the targets, 0 to 1.
        distance: (N,) metres.
        extinction: 1/m.

    Returns:
        (N,) float64.
    """
    return np.asarray(reflectivity * np.exp(-2.0 * extinction * distance) / distance**2)


def weather_sweep(
    sweep: Sweep, offset_ns: NDArray[np.int64], condition: Condition, rng: np.random.Generator
) -> Sweep:
    """The sweep that a lidar with one return per ray would have made in this weather.

    A ray returns the stronger of its hard target and the particles in its way, if it is above
    the threshold. Wet surfaces mirror light away from the lidar.

    Args:
        sweep: In clear air.
        offset_ns: (900,) int64, time of each column, see `measure_lidar`.
        condition: What is in the air.
        rng: Source of chance.

    Returns:
        The sweep with fewer, dimmer and new points in the order of time; those of the air carry
        the label 255. In clear air it is the same.
    """
    extinction = condition.visible_extinction
    if extinction <= 0.0 and condition.wetness <= 0.0:
        return sweep
    intensity, time_ns = sweep.cloud.intensity, sweep.cloud.time_offset_ns
    assert intensity is not None
    assert time_ns is not None
    column = np.searchsorted(offset_ns, time_ns)
    distance = np.linalg.norm(sweep.cloud.points.astype(np.float64), axis=1)
    ground = np.isin(sweep.label, (0, 1, 9))
    reflectivity = intensity * (1.0 - condition.wetness * np.where(ground, 0.55, 0.2))
    hard = echo_strength(reflectivity, distance, extinction)
    found = hard > THRESHOLD * rng.uniform(0.5, 1.5, len(hard))
    # All rays as a grid: what a hard target echoes, and where the air before it echoes more.
    strength, reach = np.zeros((COLUMNS, BEAMS)), np.full((COLUMNS, BEAMS), np.inf)
    strength[column[found], sweep.ring[found]] = hard[found]
    reach[column, sweep.ring] = distance
    near, power = air_echoes(condition, rng)
    clutter = (power > strength) & (near < reach)
    kept = found & ~clutter[column, sweep.ring]
    dimmed = (reflectivity * np.exp(-2.0 * extinction * distance)).astype(np.float32)
    air_column, air_ring = np.nonzero(clutter)
    air_points, air_intensity = _place(air_column, air_ring, near[clutter], power[clutter])
    order = np.argsort(np.concatenate([column[kept], air_column]), kind='stable')
    label = np.concatenate([sweep.label[kept], np.full(len(air_ring), UNLABELED, np.uint8)])
    cloud = PointCloud(
        np.concatenate([sweep.cloud.points[kept], air_points])[order],
        np.concatenate([dimmed[kept], air_intensity])[order],
        np.concatenate([time_ns[kept], offset_ns[air_column]])[order],
    )
    rings = np.concatenate([sweep.ring[kept], air_ring.astype(np.uint16)])
    return Sweep(cloud, rings[order], label[order])


def air_echoes(
    condition: Condition, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The strongest echo of the air in each ray.

    Fog echoes with the backscatter of its drops over half a pulse (Hahner et al., "Fog Simulation
    on Real LiDAR Point Clouds", ICCV 2021), times an exponential fluctuation. Single drops and
    flakes are few and strong (Hahner et al., "LiDAR Snowfall Simulation", CVPR 2022): the more
    light they take, the more rays meet one near the lidar.

    Args:
        condition: What is in the air.
        rng: Source of chance.

    Returns:
        Distance (900, 64), metres, and power (900, 64), reflectivity / m^2, of each ray's echo;
        power 0 where it is too weak.
    """
    shape = COLUMNS, BEAMS
    extinction = condition.visible_extinction
    distance = 1.0 + rng.exponential(4.0, shape)
    backscatter = np.pi * condition.extinction / LIDAR_RATIO * PULSE
    power = backscatter * rng.exponential(1.0, shape)
    drops, flakes = rain_extinction(condition.rain), snow_extinction(condition.snow)
    met = rng.random(shape) < 1.0 - np.exp(-6.0 * (drops + flakes))
    bright = np.where(rng.random(shape) * (drops + flakes) < drops, 0.1, 0.4)
    power = np.where(met, bright * rng.uniform(0.2, 1.0, shape), power)
    power = echo_strength(power, distance, extinction)
    return distance, np.where(power > np.where(met, 1.0, SOFT) * THRESHOLD, power, 0.0)


def _place(
    column: NDArray[np.int64],
    ring: NDArray[np.int64],
    distance: NDArray[np.float64],
    power: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points (N, 3) and intensities (N,) of echoes on known rays."""
    azimuth, elevation = AZIMUTH[column], ELEVATION[ring]
    flat = distance * np.cos(elevation)
    points = np.stack(
        [flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.sin(elevation)], axis=1
    )
    intensity = np.clip(power * distance**2, 0.0, 1.0)
    return points.astype(np.float32), intensity.astype(np.float32)
