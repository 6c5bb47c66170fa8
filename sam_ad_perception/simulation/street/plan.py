"""What stands and moves in a street, and where: records that the layout fills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.simulation.raycasting.rays import Hits
from sam_ad_perception.simulation.street.objects import Parts
from sam_ad_perception.simulation.street.road import LANE_WIDTH, Road
from sam_ad_perception.simulation.weather.daylight import Weather

EGO_LATERAL = -LANE_WIDTH / 2
BEHIND, AHEAD = 60.0, 95.0


@dataclass(frozen=True)
class Item:
    """An object that stands still: its parts and its place in road coordinates."""

    parts: Parts
    along: float
    lateral: float
    heading: float = 0.0


@dataclass(frozen=True)
class Actor:
    """An object that moves at constant speed in road coordinates, see `scene.Motion`."""

    parts: Parts
    along: float
    along_speed: float
    lateral: float
    heading: float
    lateral_speed: float = 0.0
    lateral_limit: float = 1e9


@dataclass(frozen=True, eq=False)
class Plan:
    """The whole street."""

    road: Road
    weather: Weather
    items: list[Item]
    actors: list[Actor]
    tunnel: Tunnel | None = None


HEIGHT, THICKNESS, FACADE = 5.0, 0.7, 7.6
"""Clear height, thickness of walls and roof, height of the portals, metres."""


_RAMP_M = 5.0
"""Over this distance around a portal the cameras get used to the other light."""


@dataclass(frozen=True)
class Tunnel:
    """Where a tunnel is, in road coordinates.

    Attributes:
        start: Of its entrance, metres along the road.
        end: Of its exit, metres along the road.
        left: Distance of the inner side of the left wall from the centre line, metres.
        right: Of the right wall.
    """

    start: float
    end: float
    left: float
    right: float

    def share(self, along: float) -> float:
        """How far inside a vehicle is, from 0 (outside) to 1, changing around the portals."""
        deep = min(along - self.start, self.end - along)
        return float(np.clip(deep / _RAMP_M + 0.5, 0.0, 1.0))

    def contains(
        self, hits: Hits, camera: CameraModel, T_world_camera: NDArray[np.float64], road: Road
    ) -> NDArray[np.bool_]:
        """Which pixels see a place inside.

        Args:
            hits: What each pixel sees.
            camera: The view.
            T_world_camera: (4, 4) its pose, metres.
            road: The street.

        Returns:
            (H, W) bool.
        """
        v, u = np.mgrid[: camera.height, : camera.width]
        rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera.K).T
        seen = np.isfinite(hits.depth)
        depth = np.where(seen, hits.depth, 0.0)
        places = depth[..., None] * (rays @ T_world_camera[:3, :3].T) + T_world_camera[:3, 3]
        centre = road.poses(places[..., 0].ravel(), np.zeros(places[..., 0].size))
        centre = centre.reshape(*places.shape[:2], 3)
        lateral = (places[..., 1] - centre[..., 1]) * np.cos(centre[..., 2])
        along = places[..., 0] + lateral * np.sin(centre[..., 2])
        return np.asarray(
            seen
            & (along > self.start) & (along < self.end)
            & (lateral < self.left + 0.1) & (lateral > -self.right - 0.1)
            & (places[..., 2] < HEIGHT + 0.1)
        )  # fmt: skip
