"""Random layout of a street: what stands and moves where, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.simulation.street import objects as build
from sam_ad_perception.simulation.street.objects import Parts
from sam_ad_perception.simulation.street.plan import AHEAD, BEHIND, EGO_LATERAL, Actor, Item, Plan
from sam_ad_perception.simulation.street.road import LANE_WIDTH, PARKING_KERB, PLAIN_KERB, Road
from sam_ad_perception.simulation.weather.daylight import _draw_weather

if TYPE_CHECKING:
    pass


def lay_out(rng: np.random.Generator, length: float, speed: float) -> Plan:
    """Draws a street.

    Args:
        rng: The source of all choices.
        length: Distance that the ego vehicle drives along x from 0, metres.
        speed: Its mean speed, m/s.

    Returns:
        The plan, from 60 m behind the start to 95 m beyond the end.
    """
    weather = _draw_weather(rng)
    road = _draw_road(rng, length)
    items: list[Item] = []
    for side in (1, -1):
        items += _front(rng, road, side, length)
        items += _street_furniture(rng, road, side, length)
        if road.has_parking(side):
            items += _parked(rng, road, side, length)
    actors = _traffic(rng, length, speed) + _walkers(rng, road, length, speed)
    return Plan(road, weather, items, actors)


def _draw_road(rng: np.random.Generator, length: float) -> Road:
    verge = rng.random(2) < 0.55
    widths = rng.uniform(1.4, 2.6, 2)
    parking = ((1, 0), (0, 1), (1, 1))[int(rng.choice(3, p=[0.4, 0.4, 0.2]))]
    kerbs = [PARKING_KERB if p else PLAIN_KERB for p in parking]
    parameters = np.array(
        [
            rng.uniform(3.0, 6.5), 2 * np.pi / rng.uniform(170, 260), rng.uniform(0, 2 * np.pi),
            rng.uniform(0.5, 1.5), 2 * np.pi / rng.uniform(80, 120), rng.uniform(0, 2 * np.pi),
            *kerbs, widths[0] * verge[0], widths[1] * verge[1], rng.uniform(2.8, 4.0),
        ]
    )  # fmt: skip
    crossings = np.arange(rng.uniform(18, 35), length + AHEAD, rng.uniform(55, 75))
    return Road(parameters, crossings)


def _intervals(
    rng: np.random.Generator, length: float, low: float, high: float
) -> NDArray[np.float64]:
    """Places along the road whose spacing is uniform in [low, high]."""
    count = int((length + AHEAD + BEHIND) / low) + 2
    places = -BEHIND + np.cumsum(rng.uniform(low, high, count)) - rng.uniform(0, low)
    return places[places < length + AHEAD]


def _front(rng: np.random.Generator, road: Road, side: int, length: float) -> list[Item]:
    """Buildings, gardens, walls, fences, hedges and parks behind the pavement."""
    items: list[Item] = []
    edge = road.walk_end(side)
    along = -BEHIND
    turn = int(rng.integers(4))
    while along < length + AHEAD:
        size = float(rng.uniform(13, 22))
        middle = along + size / 2
        kind = rng.choice(['house', 'front garden', 'park'], p=[0.4, 0.42, 0.18])
        setback = 0.4 if kind == 'house' else float(rng.uniform(3.0, 5.0))
        if kind != 'park':
            depth = float(rng.uniform(8, 12))
            house = build.build_building(rng, size - float(rng.uniform(0.5, 3.0)), depth)
            items.append(Item(house, middle, side * (edge + setback + depth / 2)))
        if kind != 'house':
            # The barriers take turns so that every street has each of them.
            barrier: Callable[[np.random.Generator, float], Parts] = (
                build.build_wall, build.build_fence, build.build_hedge, build.build_fence,
                build.build_wall,
            )[turn % 5]  # fmt: skip
            turn += 1
            items.append(Item(barrier(rng, size - 1.0), middle, side * (edge + 0.45)))
            for _ in range(int(rng.integers(2, 5)) if kind == 'park' else 1):
                deep = 2.2 if kind != 'park' else float(rng.uniform(2.5, 14))
                place = along + float(rng.uniform(2, size - 2))
                plant = build.build_tree if kind == 'park' else build.build_bush
                items.append(Item(plant(rng), place, side * (edge + deep)))
        along += size
    return items


def _street_furniture(
    rng: np.random.Generator, road: Road, side: int, length: float
) -> list[Item]:
    """Trees, lamp posts, signs and signals along the kerb, parked bicycles on the pavement."""
    kerb = road.kerb(side)
    start = road.walk_start(side)
    row = side * (kerb + 0.6)
    turn = 0.0 if side < 0 else float(np.pi)
    items = [
        Item(build.build_tree(rng), float(s), row, float(rng.uniform(0, 6)))
        for s in _intervals(rng, length, 14, 30)
    ]
    items += [
        Item(build.build_lamp_post(rng), float(s), row, turn)
        for s in _intervals(rng, length, 20, 28)
    ]
    items += [
        Item(build.build_sign(rng), float(s), side * (kerb + 0.55))
        for s in _intervals(rng, length, 15, 26)
    ]
    items += [
        Item(build.build_traffic_light(rng), float(x + 2.4), side * (kerb + 0.5))
        for x in road.crossings
    ]
    items += [
        Item(
            build.build_bicycle(rng),
            float(s),
            side * (start + 0.9 + (0.8 if start == kerb else 0.0)),
            float(rng.choice([0.0, np.pi]) + rng.normal(0, 0.25)),
        )
        for s in _intervals(rng, length, 14, 26)
    ]
    return items


def _parked(rng: np.random.Generator, road: Road, side: int, length: float) -> list[Item]:
    """Vehicles in the parking lane, none on a crossing."""
    items: list[Item] = []
    heading = 0.0 if side < 0 else float(np.pi)
    lateral = side * (road.kerb(side) - 1.15)
    density = float(rng.uniform(0.3, 0.7))
    since_truck = int(rng.integers(5))
    along = -BEHIND + float(rng.uniform(0, 6))
    while along < length + AHEAD:
        truck = since_truck >= 6
        half = 4.3 if truck else 2.6
        free = np.all(np.abs(road.crossings - along - half) > 3.5 + half)
        if free and rng.random() < density:
            parts = build.build_truck(rng, False) if truck else build.build_car(rng, False)
            items.append(Item(parts, along + half, lateral, heading + rng.normal(0, 0.02)))
            since_truck = 0 if truck else since_truck + 1
        along += 2 * half + float(rng.uniform(0.6, 1.6))
    return items


def _traffic(rng: np.random.Generator, length: float, speed: float) -> list[Actor]:
    """Vehicles in both lanes, each lane at one speed, and cyclists beside the lanes."""
    actors: list[Actor] = []
    oncoming = float(rng.uniform(6.0, 9.0))
    car, bus, truck = build.build_car, build.build_bus, build.build_truck
    kinds = [car, bus, car, truck, car, car]
    turn = int(rng.integers(6))
    along = float(rng.uniform(5, 25))
    while along < 2.2 * length + AHEAD:
        parts = kinds[turn % 6](rng, True)
        actors.append(Actor(parts, along, -oncoming, LANE_WIDTH / 2, float(np.pi)))
        turn += 1
        along += float(rng.uniform(22, 40))
    gap = float(rng.uniform(22, 34))
    while gap < AHEAD:
        parts = kinds[int(rng.integers(6))](rng, True)
        actors.append(Actor(parts, gap, speed, EGO_LATERAL, 0.0))
        gap += float(rng.uniform(24, 40))
    for side in (1, -1):
        pace = float(rng.uniform(3.5, 5.0)) * -side
        for place in _intervals(rng, length * (1.0 - 0.5 * pace / speed), 16, 34):
            heading = 0.0 if side < 0 else float(np.pi)
            actors.append(
                Actor(build.build_cyclist(rng), float(place), pace, side * 4.25, heading)
            )
    return actors


def _walkers(rng: np.random.Generator, road: Road, length: float, speed: float) -> list[Actor]:
    """Pedestrians on the pavements and on the zebra crossings."""
    actors: list[Actor] = []
    for side in (1, -1):
        low, high = road.walk_start(side) + 0.5, road.walk_end(side) - 0.4
        for place in _intervals(rng, length, 5, 13):
            direction = float(rng.choice([-1.0, 1.0]))
            pace = direction * float(rng.uniform(0.9, 1.6))
            heading = 0.0 if direction > 0 else float(np.pi)
            lateral = side * float(rng.uniform(low, high))
            actors.append(
                Actor(build.build_person(rng, True), float(place), pace, lateral, heading)
            )
    limit = max(road.walk_start(1), road.walk_start(-1)) + 1.2
    for x in road.crossings:
        # They cross in time to be off the ego lane well before the ego vehicle is there.
        arrival = float(x) / speed
        for _ in range(int(rng.integers(1, 4))):
            side = int(rng.choice([-1, 1]))
            pace = -side * float(rng.uniform(1.1, 1.5))
            clear = arrival - float(rng.uniform(2.2, 3.0))
            lateral = EGO_LATERAL - pace * clear
            actors.append(
                Actor(
                    build.build_person(rng, True), float(x) + rng.uniform(-1.2, 1.2), 0.0, lateral,
                    -side * float(np.pi) / 2, pace, limit,
                )
            )  # fmt: skip
    return actors
