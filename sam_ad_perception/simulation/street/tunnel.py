"""A tunnel over the street: its walls, roof and lamps, what is inside it, and the light there.

Daylight does not reach the inside: it is shaded a second time, by its lamps and the headlights
alone, and each pixel takes the light of the place that it sees. Sun and rain stay outside.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sam_ad_perception.core.labels import UNLABELED
from sam_ad_perception.simulation.raycasting.solids import BOX, Part
from sam_ad_perception.simulation.street.materials import LANTERN, PLAIN, STONE
from sam_ad_perception.simulation.street.objects import BUILDING, FENCE, VEGETATION, WALL, Parts
from sam_ad_perception.simulation.street.plan import (
    FACADE,
    HEIGHT,
    THICKNESS,
    Item,
    Plan,
    Tunnel,
)
from sam_ad_perception.simulation.weather.conditions import Condition, blend
from sam_ad_perception.simulation.weather.daylight import Weather

START_SHARE, END_SHARE = 0.36, 0.66
"""Where on the way the tunnel starts and ends."""
_SEGMENT, _LAMP_SPACING, _WING = 5.0, 10.0, 12.0
_CONCRETE = (0.34, 0.33, 0.32)


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
