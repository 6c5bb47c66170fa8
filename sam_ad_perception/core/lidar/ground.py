"""The ground in a lidar sweep, and returns that stand on it where the mask says road.

A plane is fitted by RANSAC to the near, low part of the sweep and refined by least squares. What
rises from it by the height of a person or a car cannot be road: geometry contradicts the mask.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from sam_ad_perception.core.geometry.cameras import unproject_pixels
from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.core.settings.parameters import parameter

SAMPLES, HYPOTHESES = 2500, 120
"""Points that vote, and planes that they vote on."""
INLIER_M = 0.12
"""Distance from a plane within which a point belongs to it, metres."""
MAX_TILT_DEG = 25.0
"""The sensor's z axis (up, REP 103) is that far from the road's normal at most."""
MIN_SHARE = 0.08
"""A plane with a smaller share of the voters is no ground."""


@dataclass(frozen=True)
class GroundConfig:
    """When returns above the ground contradict the mask."""

    check: bool = parameter(
        True, 'Count lidar returns that stand above the ground on pixels called road.'
    )
    overrule: bool = parameter(False, 'Give such pixels the id 255 (unlabeled) in the mask.')
    low_m: float = parameter(
        0.5, 'Returns from this height above the ground on count.', ge=0.1, le=5.0, unit='m'
    )
    high_m: float = parameter(
        2.5, 'Returns above this height do not: a bridge may be above a road.', ge=0.5, unit='m'
    )
    reach_m: float = parameter(
        30.0, 'Beyond this distance the ground is no plane.', ge=5.0, le=200.0, unit='m'
    )


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """A plane `normal . x + offset = 0`; the left side is the height above it.

    Attributes:
        normal: (3,) float64 unit vector, upwards.
        offset: Height of the frame's origin above the plane, metres.
        share: Share of the voters that belong to it.
    """

    normal: NDArray[np.float64]
    offset: float
    share: float

    def heights(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """How high points are above the plane.

        Args:
            points: (N, 3) in the plane's frame, metres.

        Returns:
            (N,) float64, metres.
        """
        return points @ self.normal + self.offset

    def transformed(self, T_target_source: ArrayLike) -> GroundPlane:
        """Express the plane in another frame.

        Args:
            T_target_source: (4, 4) maps points of this frame into the other.

        Returns:
            The plane there.
        """
        T = np.asarray(T_target_source, np.float64)
        normal = T[:3, :3] @ self.normal
        return GroundPlane(normal, self.offset - float(normal @ T[:3, 3]), self.share)


def find_ground(points: NDArray[np.floating], reach_m: float = 30.0) -> GroundPlane | None:
    """Find the ground around the sensor.

    Args:
        points: (N, 3) of a sweep in a frame whose z axis points up (REP 103), metres.
        reach_m: Points further away do not vote.

    Returns:
        The plane; None where no plane below the sensor holds enough points.
    """
    stride = max(1, len(points) // (4 * SAMPLES))
    near = np.asarray(points[::stride], np.float64)
    with np.errstate(invalid='ignore'):  # NaN and infinity are not near
        squared = np.einsum('ij,ij->i', near, near)
        near = near[(squared < reach_m**2) & (squared > 1.0)]
    if len(near) < 50:
        return None
    # contiguous: the kernel is compiled for that once
    near = np.ascontiguousarray(near[:: max(1, len(near) // SAMPLES)])
    draws = np.random.default_rng(0).integers(0, len(near), (HYPOTHESES, 3))
    cosine = np.cos(np.deg2rad(MAX_TILT_DEG))
    plane, votes = _vote(near, draws, cosine, INLIER_M)
    if votes < MIN_SHARE * len(near):
        return None
    for _ in range(2):  # least squares over what belongs to it
        inside = np.abs(near @ plane[:3] + plane[3]) < INLIER_M
        members = near[inside]
        centre = members.mean(axis=0)
        _, _, axes = np.linalg.svd(members - centre, full_matrices=False)
        normal = axes[2] * (1.0 if axes[2, 2] >= 0 else -1.0)
        if normal[2] < cosine:
            return None
        plane = np.append(normal, -normal @ centre)
    share = float(np.mean(np.abs(near @ plane[:3] + plane[3]) < INLIER_M))
    return GroundPlane(plane[:3], float(plane[3]), share)


@njit(cache=True, nogil=True)
def _vote(points, draws, cosine, inlier):  # type: ignore[no-untyped-def]
    """The plane through three points that most points belong to, the lowest of equal ones."""
    best, plane = 0, np.zeros(4)
    for k in range(len(draws)):
        a, b, c = points[draws[k, 0]], points[draws[k, 1]], points[draws[k, 2]]
        u, v = b - a, c - a
        normal = np.array(
            [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
        )
        length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
        if length < 1e-3:
            continue
        normal /= length
        if normal[2] < 0:
            normal = -normal
        if normal[2] < cosine:
            continue
        offset = -(normal[0] * a[0] + normal[1] * a[1] + normal[2] * a[2])
        if offset <= 0:  # the ground is below the sensor; a ceiling is not
            continue
        votes, below = 0, 0
        for i in range(len(points)):
            height = (
                normal[0] * points[i, 0]
                + normal[1] * points[i, 1]
                + normal[2] * points[i, 2]
                + offset
            )
            if abs(height) < inlier:
                votes += 1
            elif height < 0:
                below += 1
        # little lies below the ground: a table, a car's roof or a hedge has the street below it
        votes -= below
        if votes > best:
            best = votes
            plane[:3] = normal
            plane[3] = offset
    return plane, best


def find_contradictions(
    depth: NDArray[np.float32],
    mask: NDArray[np.uint8],
    camera: CameraModel,
    ground: GroundPlane,
    ids: Collection[int],
    config: GroundConfig,
) -> NDArray[np.bool_]:
    """Find pixels called road whose lidar return stands above the ground.

    Args:
        depth: (H, W) float32 of measured returns, metres, NaN elsewhere.
        mask: (H, W) uint8 label ids.
        camera: The view of both.
        ground: The ground in the camera's frame.
        ids: Labels that lie on the ground (road, sidewalk).
        config: Heights and reach.

    Returns:
        (H, W) bool.
    """
    table = np.zeros(256, np.bool_)
    table[list(ids)] = True
    found = np.zeros(mask.shape, np.bool_)
    with np.errstate(invalid='ignore'):
        v, u = np.nonzero(table[mask] & (depth < config.reach_m))
    if len(u) == 0:
        return found
    rays = unproject_pixels(camera, np.column_stack([u, v]).astype(np.float64))
    heights = ground.heights(rays * (depth[v, u] / rays[:, 2])[:, None])
    with np.errstate(invalid='ignore'):
        stands = (heights > config.low_m) & (heights < config.high_m)
    found[v[stands], u[stands]] = True
    return found
