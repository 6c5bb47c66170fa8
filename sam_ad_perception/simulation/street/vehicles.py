"""Motorcycles and trams, which the plain street does not have."""

from __future__ import annotations

import numpy as np

from sam_ad_perception.simulation.raycasting.solids import BOX, CYLINDER, ELLIPSOID, WHEEL, Part
from sam_ad_perception.simulation.street.materials import (
    BUS_BODY,
    CLOTH,
    METAL,
    PLAIN,
    SPOKES,
    TYRE,
)
from sam_ad_perception.simulation.street.objects import BLACK, CLOTHES, RIDER, SKIN, Color, Parts

TRAIN, MOTORCYCLE = 16, 17
_PAINTS: tuple[Color, ...] = (
    (0.55, 0.03, 0.03), (0.03, 0.1, 0.4), (0.05, 0.05, 0.06), (0.65, 0.35, 0.03),
    (0.1, 0.35, 0.12),
)  # fmt: skip


def _pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[int(rng.integers(len(colors)))]


def build_motorcycle(rng: np.random.Generator, running: bool) -> Parts:
    """A motorcycle of 2.1 m: two fat wheels, engine, tank, seat, fork, exhaust."""
    color = _pick(rng, _PAINTS)
    engine, tyres = (30.0, 12.0) if running else (3.0, 0.5)
    wheels = tuple(
        Part(WHEEL, MOTORCYCLE, TYRE, (x, 0, 0.32), (0.32, 0.075, 0.32), BLACK, tyres, 0.1)
        for x in (-0.7, 0.72)
    )
    return (
        *wheels,
        Part(BOX, MOTORCYCLE, METAL, (0.0, 0, 0.42), (0.3, 0.17, 0.2), (0.22, 0.22, 0.23), engine,
             0.4),
        Part(ELLIPSOID, MOTORCYCLE, PLAIN, (0.2, 0, 0.8), (0.3, 0.17, 0.17), color, 5.0, 0.5),
        Part(BOX, MOTORCYCLE, CLOTH, (-0.35, 0, 0.76), (0.35, 0.15, 0.07), BLACK, 2.0, 0.3),
        Part(BOX, MOTORCYCLE, PLAIN, (-0.75, 0, 0.68), (0.12, 0.1, 0.12), color, 0.0, 0.6),
        Part(CYLINDER, MOTORCYCLE, METAL, (0.62, 0, 0.7), (0.05, 0.05, 0.35), (0.4, 0.4, 0.42),
             1.0, 0.6),
        Part(BOX, MOTORCYCLE, METAL, (0.5, 0, 1.05), (0.05, 0.34, 0.04), BLACK, 0.0, 0.4),
        Part(BOX, MOTORCYCLE, PLAIN, (0.7, 0, 0.92), (0.08, 0.14, 0.13), (0.8, 0.8, 0.75), 4.0,
             0.8),
        Part(BOX, MOTORCYCLE, METAL, (-0.4, -0.2, 0.38), (0.4, 0.05, 0.05), (0.5, 0.5, 0.5),
             2 * engine, 0.6),
    )  # fmt: skip


def build_motorcyclist(rng: np.random.Generator) -> Parts:
    """A rider with a full helmet on a running motorcycle."""
    jacket, legs = _pick(rng, CLOTHES), _pick(rng, CLOTHES)
    helmet = _pick(rng, ((0.75, 0.75, 0.75), (0.05, 0.05, 0.06), (0.65, 0.05, 0.05)))
    leg = tuple(
        Part(BOX, RIDER, CLOTH, (-0.05, y, 0.72), (0.3, 0.08, 0.22), legs, 9.0, 0.4)
        for y in (-0.22, 0.22)
    )
    return (
        *build_motorcycle(rng, True),
        *leg,
        Part(BOX, RIDER, CLOTH, (-0.25, 0, 1.15), (0.2, 0.24, 0.33), jacket, 10.0, 0.4,
             taper=(0.04, 0.0)),
        Part(BOX, RIDER, CLOTH, (0.15, 0, 1.2), (0.28, 0.3, 0.06), jacket, 9.0, 0.4),
        Part(ELLIPSOID, RIDER, PLAIN, (-0.1, 0, 1.64), (0.17, 0.14, 0.17), helmet, 5.0, 0.6),
        Part(ELLIPSOID, RIDER, PLAIN, (0.03, 0, 1.62), (0.06, 0.09, 0.06), SKIN, 13.0, 0.4),
    )  # fmt: skip


def build_tram(rng: np.random.Generator) -> Parts:
    """Two cars of a tram, 16 m, with bogies in the place of tyres and a pantograph."""
    color = _pick(rng, ((0.62, 0.06, 0.05), (0.7, 0.6, 0.1), (0.06, 0.3, 0.3), (0.1, 0.15, 0.45)))
    white: Color = (0.72, 0.72, 0.7)
    cars = tuple(
        Part(BOX, TRAIN, BUS_BODY, (x, 0, 1.95), (3.85, 1.2, 1.5), color, 6.5, 0.5,
             taper=(0.1, 0.08))
        for x in (-4.1, 4.1)
    )  # fmt: skip
    skirts = tuple(
        Part(BOX, TRAIN, PLAIN, (x, 0, 0.55), (3.8, 1.22, 0.28), white, 3.0, 0.5)
        for x in (-4.1, 4.1)
    )
    bogies = tuple(
        Part(WHEEL, TRAIN, SPOKES, (x, y, 0.3), (0.3, 0.06, 0.3), BLACK, 10.0, 0.4)
        for x in (-6.4, -1.8, 1.8, 6.4)
        for y in (-1.0, 1.0)
    )
    return (
        *cars,
        *skirts,
        *bogies,
        Part(BOX, TRAIN, CLOTH, (0, 0, 1.9), (0.35, 1.05, 1.35), BLACK, 2.0, 0.3),
        Part(BOX, TRAIN, METAL, (3.0, 0, 4.1), (0.5, 0.6, 0.04), (0.2, 0.2, 0.2), 4.0, 0.5),
        Part(
            CYLINDER, TRAIN, METAL, (3.0, 0, 3.75), (0.05, 0.05, 0.35), (0.2, 0.2, 0.2), 2.0, 0.5
        ),
    )
