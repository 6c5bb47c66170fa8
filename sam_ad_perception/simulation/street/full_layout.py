"""The full street: tighter curves, crossing roads with their traffic, motorcycles and trams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.simulation.street import objects as build
from sam_ad_perception.simulation.street.plan import AHEAD, BEHIND, EGO_LATERAL, Actor, Item, Plan
from sam_ad_perception.simulation.street.road import A1, A2, CROSSROAD_HALF, LANE_WIDTH, Road
from sam_ad_perception.simulation.street.vehicles import (
    build_motorcycle,
    build_motorcyclist,
    build_tram,
)

_AFTER_ZEBRA = 8.0
"""A crossing road lies this far behind every second zebra crossing, metres."""


def enrich(plan: Plan, rng: np.random.Generator, length: float, speed: float) -> Plan:
    """Makes the full street of a plain one.

    Args:
        plan: The plain street.
        rng: The source of all further choices.
        length: Distance that the ego vehicle drives along x from 0, metres.
        speed: Its mean speed, m/s.

    Returns:
        The plan with all 19 classes of Cityscapes.
    """
    first = int(rng.integers(2))
    crossroads = plan.road.crossings[first::2] + _AFTER_ZEBRA
    road = _bend(plan.road, rng, crossroads)
    items = [item for item in plan.items if not _blocks(item, crossroads)]
    items += _parked_motorcycles(rng, road, length, crossroads)
    actors = _mix_traffic(plan.actors, rng) + _cross_traffic(rng, crossroads, speed)
    return Plan(road, plan.weather, items, actors)


def _bend(road: Road, rng: np.random.Generator, crossroads: NDArray[np.float64]) -> Road:
    parameters = road.parameters.copy()
    parameters[A1] = rng.choice([-1.0, 1.0]) * rng.uniform(7.0, 12.0)
    parameters[A2] = rng.uniform(0.5, 1.2)
    return Road(np.concatenate([parameters, crossroads]), road.crossings)


def _blocks(item: Item, crossroads: NDArray[np.float64]) -> bool:
    """Whether an object stands on a crossing road."""
    c, s = abs(np.cos(item.heading)), abs(np.sin(item.heading))
    reach = max(
        c * (abs(part.center[0]) + part.half[0]) + s * (abs(part.center[1]) + part.half[1])
        for part in item.parts
    )
    return bool(np.any(np.abs(crossroads - item.along) < CROSSROAD_HALF + 0.3 + reach))


def _parked_motorcycles(
    rng: np.random.Generator, road: Road, length: float, crossroads: NDArray[np.float64]
) -> list[Item]:
    items = []
    for side in (1, -1):
        along = -BEHIND + float(rng.uniform(0, 12))
        while along < length + AHEAD:
            heading = float(rng.choice([0.0, np.pi]) + rng.normal(0, 0.3))
            lateral = side * (road.walk_start(side) + float(rng.uniform(1.7, 2.2)))
            item = Item(build_motorcycle(rng, False), along, lateral, heading)
            if not _blocks(item, crossroads):
                items.append(item)
            along += float(rng.uniform(11, 22))
    return items


def _mix_traffic(actors: list[Actor], rng: np.random.Generator) -> list[Actor]:
    """Turns some cars of both lanes into trams and motorcycles; the gaps stay."""
    mixed, oncoming, ahead = [], int(rng.integers(3)), int(rng.integers(2))
    for actor in actors:
        is_car = actor.parts[0].label == build.CAR
        if is_car and actor.lateral == LANE_WIDTH / 2:
            oncoming += 1
            if oncoming % 3 == 0:
                actor = replace(actor, parts=build_tram(rng))
            elif oncoming % 3 == 1:
                actor = replace(actor, parts=build_motorcyclist(rng))
        elif is_car and actor.lateral == EGO_LATERAL:
            ahead += 1
            if ahead % 2 == 0:
                actor = replace(actor, parts=build_motorcyclist(rng))
        mixed.append(actor)
    return mixed


def _cross_traffic(
    rng: np.random.Generator, crossroads: NDArray[np.float64], speed: float
) -> list[Actor]:
    """On each crossing road one vehicle that passes before the ego vehicle, and one that waits."""
    actors: list[Actor] = []
    kinds = (build.build_car, build.build_truck, build.build_car)
    for x in crossroads:
        side = int(rng.choice([-1, 1]))
        lane = float(x) + side * CROSSROAD_HALF / 2
        # The vehicle before the ego vehicle is at least 22 m ahead.
        clear = float(x) / speed - float(rng.uniform(1.5, 1.9))
        pace = side * float(rng.uniform(7.0, 8.5))
        turn = side * float(np.pi) / 2
        crosser = build_motorcyclist(rng) if rng.random() < 0.4 else build.build_car(rng, True)
        actors.append(Actor(crosser, lane, 0.0, EGO_LATERAL - pace * clear, turn, pace, 300.0))
        waiting = kinds[int(rng.integers(3))](rng, True)
        away = -side * float(rng.uniform(13.5, 15.0))
        actors.append(Actor(waiting, lane, 0.0, away, turn))
    return actors
