"""Lens and sensor effects: bloom, glare, drops, motion blur, noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.simulation.raycasting.rays import SKY_HIT, Hits
from sam_ad_perception.simulation.weather.conditions import Condition
from sam_ad_perception.simulation.weather.daylight import Weather

Image = NDArray[np.float32]
BLUR_TAPS = 7
_DROP_LIFE_S = 2.5
_DROPS = 16


def blur_motion(linear: Image, flow: NDArray[np.float32]) -> Image:
    """Averages a picture along the motion of its pixels during the exposure.

    Args:
        linear: (H, W, 3) float32, at the middle of the exposure.
        flow: (H, W, 2) float32, motion during the exposure, pixels; NaN: none.

    Returns:
        (H, W, 3) float32.
    """
    motion = np.nan_to_num(flow)
    reach = np.float32(0.1 * linear.shape[1])  # what is very near cannot smear over the picture
    motion = np.clip(motion, -reach, reach)
    height, width = linear.shape[:2]
    u, v = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    total = np.zeros_like(linear)
    for tap in np.linspace(-0.5, 0.5, BLUR_TAPS, dtype=np.float32):
        x, y = u + tap * motion[..., 0], v + tap * motion[..., 1]
        total += cv2.remap(linear, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(total / np.float32(BLUR_TAPS))


def add_bloom(linear: Image) -> Image:
    """Lets light above full exposure scatter around: lamps get a halo.

    Args:
        linear: (H, W, 3) float32.

    Returns:
        (H, W, 3) float32.
    """
    height, width = linear.shape[:2]
    excess = np.maximum(linear - 1.0, 0.0)
    small = cv2.resize(excess, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    near = cv2.GaussianBlur(small, (0, 0), max(0.003 * width, 0.5))
    coarse = cv2.resize(excess, (max(width // 8, 1), max(height // 8, 1)),
                        interpolation=cv2.INTER_AREA)  # fmt: skip
    far = cv2.GaussianBlur(coarse, (0, 0), max(0.006 * width, 0.5))
    halo = 0.35 * cv2.resize(near, (width, height)) + 0.45 * cv2.resize(far, (width, height))
    return np.asarray(linear + halo, dtype=np.float32)


def add_glare(
    linear: Image,
    hits: Hits,
    weather: Weather,
    condition: Condition,
    camera: CameraModel,
    T_world_camera: NDArray[np.float64],
) -> Image:
    """The sun's disc and the veil that the lens scatters from it.

    Stiles and Holladay's law of disability glare (CIE 146:2002), L = 10 E / theta^2 with theta in
    degrees; for the windscreen and the lens three tenths of what an eye
    scatters, and a veil over all. It is weaker the
    more of the disc something hides.

    Args:
        linear: (H, W, 3) float32.
        hits: What each pixel sees.
        weather: The sun, under the condition.
        condition: How much glare.
        camera: The view.
        T_world_camera: (4, 4) its pose.

    Returns:
        (H, W, 3) float32.
    """
    if condition.glare <= 0.0:
        return linear
    sun = T_world_camera[:3, :3].T @ np.array(weather.sun)
    if sun[2] <= 0.1:
        return linear
    K, (height, width) = camera.K, camera.size
    place = np.array([K[0, 0] * sun[0] / sun[2] + K[0, 2], K[1, 1] * sun[1] / sun[2] + K[1, 2]])
    free = _free_share(hits, place)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)
    cosine = (rays @ sun) / np.linalg.norm(rays, axis=-1)
    angle = np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0)))
    strength = condition.glare * weather.exposure * weather.sun_strength * (0.1 + 0.9 * free)
    veil = strength * (0.3 * 10.0 * np.pi / (angle**2 + 4.0) + 0.1 * np.exp(-angle / 14.0))
    disc = 20.0 * strength * (angle < 0.6) * (hits.index == SKY_HIT)
    color = np.array([1.0, 0.95, 0.85], dtype=np.float32)
    return np.asarray(linear + (veil + disc).astype(np.float32)[..., None] * color)


def _free_share(hits: Hits, place: NDArray[np.float64]) -> float:
    """How much of the sun's surroundings is sky; outside of the picture, half."""
    u, v = np.rint(place).astype(int)
    r = max(1, hits.index.shape[1] // 160)
    window = hits.index[max(v - r, 0) : max(v + r + 1, 0), max(u - r, 0) : max(u + r + 1, 0)]
    return float(np.mean(window == SKY_HIT)) if window.size else 0.5


def add_drops(linear: Image, condition: Condition, seed: int, elapsed_s: float) -> Image:
    """Water drops on the lens: each shows a turned, unsharp picture of the scene.

    Args:
        linear: (H, W, 3) float32.
        condition: How many there are.
        seed: Of the drive.
        elapsed_s: Time since its start, seconds; a drop stays for some seconds.

    Returns:
        (H, W, 3) float32.
    """
    count = round(_DROPS * condition.drops)
    if count == 0:
        return linear
    height, width = linear.shape[:2]
    mask = np.zeros((height, width), dtype=np.uint8)
    for slot in range(count):
        turn = int(np.floor(elapsed_s / _DROP_LIFE_S + slot / count)) + 1000
        rng = np.random.default_rng([seed, 77, slot, turn])
        x, y = rng.random(2) * (width, height)
        radius = width * rng.uniform(0.006, 0.022)
        axes = max(1, round(radius)), max(1, round(radius * rng.uniform(1.0, 1.5)))
        cv2.ellipse(mask, (round(x), round(y)), axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.003 * width, 0.5)).astype(np.float32) / 255.0
    small = cv2.resize(linear, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(cv2.GaussianBlur(small[::-1], (0, 0), 0.01 * width), (width, height))
    inside = 0.6 * blurred + 0.4 * cv2.GaussianBlur(linear, (0, 0), 0.012 * width)
    return np.asarray(linear + 0.85 * soft[..., None] * (inside - linear), dtype=np.float32)


def add_photon_noise(linear: Image, condition: Condition, rng: np.random.Generator) -> Image:
    """Shot and read noise before gamma, as in the EMVA 1288 camera model: variance a L + b^2.

    Args:
        linear: (H, W, 3) float32.
        condition: Its `shot` (a) and `grain` (b).
        rng: Source of the noise.

    Returns:
        (H, W, 3) float32.
    """
    if condition.shot <= 0.0 and condition.grain <= 0.0:
        return linear
    deviation = np.sqrt(condition.shot * np.maximum(linear, 0.0) + condition.grain**2)
    grain = rng.standard_normal(linear.shape, dtype=np.float32)
    return np.asarray(linear + deviation * grain, dtype=np.float32)
