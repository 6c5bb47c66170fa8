"""Optical flow: where what each pixel sees will be seen at another time; rolling shutters."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.simulation.raycasting.rays import GROUND_HIT, NEAR, Hits, pixel_ray
from sam_ad_perception.simulation.raycasting.solids import COS, CX, CY, CZ, SIN


@njit(cache=True, nogil=True)
def _flow(
    now: NDArray[np.float64],
    later: NDArray[np.float64],
    index: NDArray[np.int32],
    depth: NDArray[np.float64],
    K: NDArray[np.float64],
    T_now: NDArray[np.float64],
    T_later: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    for v in range(index.shape[0]):
        for u in range(index.shape[1]):
            dx, dy, dz = pixel_ray(u, v, K, T_now)
            hit, t = index[v, u], depth[v, u]
            if hit >= 0 or hit == GROUND_HIT:
                x, y, z = T_now[0, 3] + t * dx, T_now[1, 3] + t * dy, T_now[2, 3] + t * dz
                if hit >= 0:
                    a, b = now[hit], later[hit]
                    px, py = x - a[CX], y - a[CY]
                    lx, ly = a[COS] * px + a[SIN] * py, a[COS] * py - a[SIN] * px
                    x, y = b[CX] + b[COS] * lx - b[SIN] * ly, b[CY] + b[SIN] * lx + b[COS] * ly
                    z += b[CZ] - a[CZ]
                dx, dy, dz = x - T_later[0, 3], y - T_later[1, 3], z - T_later[2, 3]
            # Sky and trees on the horizon are infinitely far: only rotation moves them.
            cx = T_later[0, 0] * dx + T_later[1, 0] * dy + T_later[2, 0] * dz
            cy = T_later[0, 1] * dx + T_later[1, 1] * dy + T_later[2, 1] * dz
            cz = T_later[0, 2] * dx + T_later[1, 2] * dy + T_later[2, 2] * dz
            if cz < NEAR:
                out[v, u, 0], out[v, u, 1] = np.nan, np.nan
            else:
                out[v, u, 0] = K[0, 0] * cx / cz + K[0, 2] - u
                out[v, u, 1] = K[1, 1] * cy / cz + K[1, 2] - v


def measure_flow(
    hits: Hits,
    now: NDArray[np.float64],
    later: NDArray[np.float64],
    camera: CameraModel,
    T_world_now: NDArray[np.float64],
    T_world_later: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Motion of the scene in the image of an undistorted camera.

    Args:
        hits: What each pixel sees now.
        now: (N, 12) geometry of the solids that `hits` was cast against.
        later: (N, 12) geometry of the same solids at the other time.
        camera: The view.
        T_world_now: (4, 4) its pose now.
        T_world_later: (4, 4) its pose at the other time.

    Returns:
        (H, W, 2) float32, (u, v) at the other time minus (u, v) now, pixels, whether or not
        something hides it then; NaN where it is behind the camera then.
    """
    out = np.empty((*camera.size, 2), dtype=np.float32)
    poses = np.ascontiguousarray(T_world_now), np.ascontiguousarray(T_world_later)
    _flow(now, later, hits.index, hits.depth, camera.K, *poses, out)
    return out


def roll_shutter(
    image: NDArray[Any], flow: NDArray[np.float32], interpolation: int
) -> NDArray[Any]:
    """What a camera that reads row by row makes of an image of one time.

    Each row shows the scene at its own time: pixels are taken from where they came from, with the
    velocity of what is seen there, twice refined. What comes into sight between the time of the
    image and that of the row cannot be known; edges are wrong by that much.

    Args:
        image: (H, W) or (H, W, C), at the time of the middle row.
        flow: (H, W, 2) float32, motion of its pixels until the time of the last row.
        interpolation: OpenCV's constant.

    Returns:
        The same shape and type.
    """
    height, width = image.shape[:2]
    u, v = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    share = 2.0 * v / np.float32(max(height - 1, 1)) - 1.0
    motion = np.clip(np.nan_to_num(flow), -0.2 * width, 0.2 * width).astype(np.float32)
    there = motion
    for _ in range(2):
        x, y = u - share * there[..., 0], v - share * there[..., 1]
        there = np.asarray(cv2.remap(motion, x, y, cv2.INTER_NEAREST,
                                     borderMode=cv2.BORDER_REPLICATE))  # fmt: skip
    x, y = u - share * there[..., 0], v - share * there[..., 1]
    return np.asarray(cv2.remap(image, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE))
