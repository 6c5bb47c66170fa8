"""A tunnel over the street: its walls, roof and lamps, what is inside it, and the light there.

Daylight does not reach the inside: it is shaded a second time, by its lamps and the headlights
alone, and each pixel takes the light of the place that it sees. Sun and rain stay outside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import UNLABELED
from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.simulation.assemblies import BUILDING, FENCE, VEGETATION, WALL, Parts
from sam_ad_perception.simulation.conditions import Condition, blend
from sam_ad_perception.simulation.layout import Item, Plan, Weather
from sam_ad_perception.simulation.materials import LANTERN, PLAIN, STONE
from sam_ad_perception.simulation.primitives import BOX, Part
from sam_ad_perception.simulation.raycast import Hits
from sam_ad_perception.simulation.road import Road

HEIGHT, THICKNESS, FACADE = 5.0, 0.7, 7.6
"""Clear height, thickness of walls and roof, height of the portals, metres."""
START_SHARE, END_SHARE = 0.36, 0.66
"""Where on the way the tunnel starts and ends."""
_SEGMENT, _LAMP_SPACING, _WING = 5.0, 10.0, 12.0
_RAMP_M = 5.0
"""Over this distance around a portal the cameras get used to the other light."""
_CONCRETE = (0.34, 0.33, 0.32)


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


def dig(plan: Plan, rng: np.random.Generator, length: float) -> Plan:
    """Puts a tunnel over a part of a street.

    Args:
        plan: The street.
        rng: The source of all further choices.
        length: Distance that the ego vehicle drives along x from 0, metres.

    Returns:
        The street with the tunnel; what would stand in its way is gone.
    """
    road = plan.road
    tunnel = Tunnel(
        START_SHARE * length, END_SHARE * length, road.walk_end(1) + 0.3, road.walk_end(-1) + 0.3
    )
    items = [item for item in plan.items if not _blocks(item, tunnel)]
    items += _build(tunnel, float(rng.uniform(0.85, 1.1)))
    return replace(plan, items=items, tunnel=tunnel)


def _blocks(item: Item, tunnel: Tunnel) -> bool:
    """Whether an object stands where the tunnel is, or its portals."""
    reach = max(abs(part.center[0]) + part.half[0] for part in item.parts)
    if not tunnel.start - reach - 1.0 < item.along < tunnel.end + reach + 1.0:
        return False
    tall = max(part.center[2] + part.half[2] for part in item.parts)
    solid = item.parts[0].label in (BUILDING, WALL, FENCE, VEGETATION)
    return solid or tall > HEIGHT - 0.5


def _build(tunnel: Tunnel, tint: float) -> list[Item]:
    """Walls, roof and lamps segment by segment along the curved road, and the portals."""
    middle, half = (tunnel.left - tunnel.right) / 2, (tunnel.left + tunnel.right) / 2
    red, green, blue = (tint * value for value in _CONCRETE)
    count = max(1, round((tunnel.end - tunnel.start) / _SEGMENT))
    pitch = (tunnel.end - tunnel.start) / count
    items = []

    def slab(along: float, lateral: float, z: float, size: tuple[float, float, float]) -> Item:
        # A tunnel is no class of Cityscapes' evaluation: its truth is void.
        part = Part(BOX, UNLABELED, STONE, (0.0, 0.0, z), size, (red, green, blue), 2.0, 0.4)
        return Item((part,), along, lateral)

    long = pitch / 2 + 0.15  # segments overlap, where the road curves
    for i in range(count):
        along = tunnel.start + (i + 0.5) * pitch
        for side, wall in ((1, tunnel.left), (-1, tunnel.right)):
            place = side * (wall + THICKNESS / 2)
            items.append(slab(along, place, HEIGHT / 2, (long, THICKNESS / 2, HEIGHT / 2)))
        roof = long, half + THICKNESS, THICKNESS / 2
        items.append(slab(along, middle, HEIGHT + THICKNESS / 2, roof))
    for along in (tunnel.start + 0.4, tunnel.end - 0.4):
        top = (FACADE - HEIGHT) / 2
        items.append(slab(along, middle, HEIGHT + top, (0.4, half + THICKNESS, top)))
        for side, wall in ((1, tunnel.left), (-1, tunnel.right)):
            place = side * (wall + _WING / 2)
            items.append(slab(along, place, FACADE / 2, (0.4, _WING / 2, FACADE / 2)))
    for along in np.arange(tunnel.start + 4.0, tunnel.end, _LAMP_SPACING):
        items += [Item(_lamp(), float(along), lateral) for lateral in (-2.6, 2.6)]
    return items


def _lamp() -> Parts:
    """A luminaire below the roof."""
    housing = Part(
        BOX, UNLABELED, PLAIN, (0.0, 0.0, HEIGHT - 0.06), (0.75, 0.2, 0.06), (0.4, 0.4, 0.4)
    )
    light = Part(
        BOX, UNLABELED, LANTERN, (0.0, 0.0, HEIGHT - 0.17), (0.7, 0.15, 0.05), (0.5, 0.5, 0.5)
    )
    return housing, light


def condition_inside(outside: Condition, share: float) -> Condition:
    """What the sensors of a vehicle in a tunnel work under.

    Args:
        outside: Light and weather outside.
        share: How far inside the vehicle is, see `Tunnel.share`.

    Returns:
        Exposure and noise of a dark place, without rain, snow or fog.
    """
    inside = replace(
        outside, extinction=0.0, rain=0.0, snow=0.0, glare=0.0, shutter_s=0.020, grain=0.007,
        shot=0.0012, event_noise_hz=max(1.5, outside.event_noise_hz),
    )  # fmt: skip
    return blend(outside, inside, share)


def weather_inside(weather: Weather) -> Weather:
    """The light that a tunnel has from outside: next to none."""
    dark = (0.004, 0.004, 0.004)
    return replace(weather, sun_strength=0.0, sky_strength=0.012, zenith=dark, horizon=dark)
