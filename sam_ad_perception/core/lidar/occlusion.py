"""Removal of lidar points that are occluded in the camera view.

A lidar above the camera looks over a car and hits the wall behind it. In the image that point
falls between the sparse points of the car: a z-buffer keeps both, and the car becomes a sieve. A
point is hidden if nearer points surround it. To judge a point by the sectors of its screen-space
neighbourhood is the idea of Pintus, Gobbetti and Agus, Real-time rendering of massive unstructured
raw point clouds using screen-space operators (VAST 2011); what counts as nearer is ours, see
`OcclusionConfig.surface_m`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.settings.thresholds import share

_BLOCKS = 20
"""The view is this many blocks wide where its part that holds points is measured."""
_CELL = 0.8
"""Side of a cell of the coarse z-buffer, in mean distances between points."""


@dataclass(frozen=True)
class OcclusionConfig:
    """When a lidar point counts as hidden from the camera."""

    enabled: bool = parameter(
        True, 'Remove points that the lidar sees past what hides them from the camera.'
    )
    reach: float = parameter(
        2.0,
        'Points so near in the image are neighbours, in mean distances between points.',
        ge=0.5,
        le=10.0,
    )
    free_sectors: int = parameter(
        5,
        'A point is seen if so many of its eight sectors, side by side, hold no nearer neighbour.',
        ge=1,
        le=8,
    )
    relative_gap: float = share(
        0.05, 'Share of its depth by which a neighbour must at least be nearer.'
    )
    surface_m: float = parameter(
        1.0,
        'A plane that passes the camera at this distance or further (the road) hides nothing of '
        'itself.',
        ge=0.1,
        le=100.0,
        unit='m',
    )


def cull_occluded(
    uv: NDArray[np.float64],
    z: NDArray[np.float64],
    camera: CameraModel,
    config: OcclusionConfig,
) -> NDArray[np.bool_]:
    """Find the points that lie behind a surface of which only neighbouring points are known.

    Inverse depth is linear in the pixel on any plane, and on one that passes the camera at the
    distance `h` it changes by at most `1 / (f h)` per pixel. So a neighbour `d` pixels away hides
    a point if its inverse depth is greater by the relative gap and by `d / (f h)`.

    Args:
        uv: (N, 2) float64, pixels, NaN where a point has no pixel; from `project_points`.
        z: (N,) float64, metres along the optical axis.
        camera: The view.
        config: The thresholds; `enabled` is the caller's to heed.

    Returns:
        (N,) bool. False for points outside the view. Linear in N and in the image's size.
    """
    hidden = np.zeros(len(z), np.bool_)
    slope = 1.0 / (min(camera.K[0, 0], camera.K[1, 1]) * config.surface_m)
    _find(
        uv,
        z,
        camera.width,
        camera.height,
        config.reach,
        config.free_sectors,
        1.0 + config.relative_gap,
        slope,
        hidden,
    )
    return hidden


@njit(cache=True, nogil=True)
def _point_spacing(uv, width, height):  # type: ignore[no-untyped-def]
    """Mean distance of neighbours, pixels, over the part of the view that holds points; or 0."""
    side = max(width // _BLOCKS, 8)
    filled = np.zeros((height // side + 1, width // side + 1), np.bool_)
    count = 0
    for i in range(uv.shape[0]):
        u = uv[i, 0] + 0.5
        v = uv[i, 1] + 0.5
        if u >= 0 and u < width and v >= 0 and v < height:  # False for NaN
            filled[np.int64(v) // side, np.int64(u) // side] = True
            count += 1
    if count == 0:
        return 0.0
    return np.sqrt(filled.sum() * side * side / count)


@njit(cache=True, nogil=True)
def _octant(du, dv):  # type: ignore[no-untyped-def]
    """Sector of 45 degrees in which a direction lies, 0 to 7 around the circle."""
    if dv > 0:
        if du > 0:
            return 0 if du > dv else 1
        return 2 if -du <= dv else 3
    if du <= 0:
        return 4 if -du > -dv else 5
    return 6 if du <= -dv else 7


@njit(cache=True, nogil=True)
def _widest_gap(sectors):  # type: ignore[no-untyped-def]
    """Length of the longest run of unset bits of eight on a circle."""
    widest = run = 0
    for k in range(16):
        run = 0 if (sectors >> (k % 8)) & 1 else run + 1
        widest = max(widest, run)
    return min(widest, 8)


@njit(cache=True, nogil=True)
def _find(uv, z, width, height, reach, free, gap, slope, hidden):  # type: ignore[no-untyped-def]
    spacing = _point_spacing(uv, width, height)
    if spacing == 0.0:
        return
    scale = 1.0 / max(_CELL * spacing, 1.0)
    radius = reach * spacing
    span = np.int64(np.ceil(radius * scale))
    # The frame of empty cells saves the bounds check of every neighbourhood.
    rows = np.int64(height * scale) + 1 + 2 * span
    columns = np.int64(width * scale) + 1 + 2 * span
    nearness = np.zeros((rows, columns), np.float32)  # greatest inverse depth of each cell
    place = np.empty((rows, columns, 2), np.float32)
    # The nearest point of each cell of a coarse z-buffer.
    for i in range(z.shape[0]):
        u = uv[i, 0] + 0.5
        v = uv[i, 1] + 0.5
        if u >= 0 and u < width and v >= 0 and v < height:
            r = np.int64(v * scale) + span
            c = np.int64(u * scale) + span
            q = np.float32(1.0 / z[i])
            if q > nearness[r, c]:
                nearness[r, c] = q
                place[r, c, 0] = u
                place[r, c, 1] = v
    for i in range(z.shape[0]):
        u = uv[i, 0] + 0.5
        v = uv[i, 1] + 0.5
        if not (u >= 0 and u < width and v >= 0 and v < height):
            continue
        r = np.int64(v * scale) + span
        c = np.int64(u * scale) + span
        least = np.float32(gap / z[i])
        sectors = 0
        for a in range(r - span, r + span + 1):
            for b in range(c - span, c + span + 1):
                q = nearness[a, b]
                if q <= least:
                    continue
                du = place[a, b, 0] - u
                dv = place[a, b, 1] - v
                distance = np.sqrt(du * du + dv * dv)
                if distance <= radius and q > least + slope * distance:
                    sectors |= 1 << _octant(du, dv)
        hidden[i] = sectors != 0 and _widest_gap(sectors) < free
