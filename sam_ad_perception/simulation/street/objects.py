"""Objects of the street, each a tuple of parts in its own frame (origin on the ground)."""

from __future__ import annotations

import numpy as np

from sam_ad_perception.simulation.raycasting.solids import BOX, CYLINDER, ELLIPSOID, WHEEL, Part
from sam_ad_perception.simulation.street.materials import (
    BARK,
    BOARDS,
    BRICK,
    BUS_BODY,
    CAR_BODY,
    CAR_CABIN,
    CARGO,
    CLOTH,
    FOLIAGE,
    LAMPS,
    LANTERN,
    METAL,
    PLAIN,
    PLASTER,
    SIGN,
    SPOKES,
    STONE,
    TRUCK_CAB,
    TYRE,
)

BUILDING, WALL, FENCE, POLE, LIGHT, TRAFFIC_SIGN, VEGETATION = range(2, 9)
PERSON, RIDER, CAR, TRUCK, BUS, BICYCLE = 11, 12, 13, 14, 15, 18

Color = tuple[float, float, float]
Parts = tuple[Part, ...]

CAR_COLORS: tuple[Color, ...] = (
    (0.75, 0.75, 0.75), (0.03, 0.03, 0.035), (0.35, 0.36, 0.38), (0.45, 0.02, 0.02),
    (0.03, 0.08, 0.35), (0.05, 0.2, 0.08), (0.6, 0.4, 0.05), (0.15, 0.16, 0.18),
)  # fmt: skip
CLOTHES: tuple[Color, ...] = (
    (0.5, 0.05, 0.05), (0.05, 0.07, 0.3), (0.6, 0.55, 0.5), (0.02, 0.02, 0.03),
    (0.1, 0.3, 0.3), (0.5, 0.25, 0.02), (0.3, 0.1, 0.3), (0.35, 0.35, 0.12),
)  # fmt: skip
PLASTERS: tuple[Color, ...] = (
    (0.62, 0.55, 0.42), (0.58, 0.50, 0.48), (0.66, 0.64, 0.60), (0.55, 0.42, 0.30),
    (0.50, 0.52, 0.55), (0.62, 0.48, 0.34),
)  # fmt: skip
BRICKS: tuple[Color, ...] = ((0.36, 0.13, 0.08), (0.42, 0.20, 0.12), (0.28, 0.12, 0.09))
SIGN_COLORS: tuple[Color, ...] = ((0.7, 0.02, 0.03), (0.02, 0.1, 0.6), (0.85, 0.55, 0.02))
SKIN: Color = (0.55, 0.36, 0.27)
BLACK: Color = (0.04, 0.04, 0.04)


def _pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    r, g, b = (
        float(np.clip(c * rng.uniform(0.85, 1.15), 0.0, 1.0))
        for c in colors[int(rng.integers(len(colors)))]
    )
    return r, g, b


def _wheels(
    label: int, places: tuple[tuple[float, float], ...], radius: float, width: float, warmth: float
) -> Parts:
    return tuple(
        Part(
            WHEEL, label, TYRE, (x, side * y, radius), (radius, width, radius),
            (0.03, 0.03, 0.03), warmth, 0.08,
        )
        for x, y in places
        for side in (-1, 1)
    )  # fmt: skip


def build_car(rng: np.random.Generator, running: bool) -> Parts:
    """A passenger car of 4 to 4.8 m: body, cabin, wheels; warm bonnet and tyres if running."""
    color = _pick(rng, CAR_COLORS)
    long, wide = rng.uniform(2.0, 2.4), rng.uniform(0.86, 0.95)
    tall = rng.uniform(0.27, 0.36)
    shift = rng.uniform(-0.45, -0.15)
    warmth, tyres = (9.0, 14.0) if running else (2.0, 0.5)
    gloss = 0.35 + 0.4 * float(np.mean(color))
    return (
        Part(BOX, CAR, CAR_BODY, (0, 0, 0.58), (long, wide, 0.33), color, warmth, gloss,
             taper=(0.12, 0.05)),
        Part(BOX, CAR, CAR_CABIN, (shift, 0, 0.91 + tall), (0.62 * long, 0.92 * wide, tall), color,
             warmth * 0.3, 0.3, taper=(rng.uniform(0.4, 0.65), 0.14)),
        *_wheels(CAR, ((0.62 * long, wide - 0.08), (-0.62 * long, wide - 0.08)), 0.33, 0.11,
                 tyres),
    )  # fmt: skip


def build_truck(rng: np.random.Generator, running: bool) -> Parts:
    """A lorry of 8 m: cab, cargo box, frame, six wheels."""
    cab = _pick(rng, ((0.5, 0.03, 0.03), (0.03, 0.12, 0.45), (0.6, 0.6, 0.6), (0.6, 0.3, 0.02)))
    box = _pick(rng, ((0.7, 0.7, 0.68), (0.6, 0.62, 0.66), (0.66, 0.55, 0.3), (0.3, 0.4, 0.3)))
    warmth, tyres = (13.0, 15.0) if running else (2.0, 0.5)
    return (
        Part(BOX, TRUCK, TRUCK_CAB, (2.9, 0, 1.65), (0.95, 1.1, 1.15), cab, warmth, 0.4,
             taper=(0.1, 0.03)),
        Part(BOX, TRUCK, CARGO, (-0.9, 0, 2.15), (2.7, 1.2, 1.3), box, 0.0, 0.6),
        Part(BOX, TRUCK, PLAIN, (-0.4, 0, 0.7), (3.1, 0.5, 0.15), BLACK, warmth, 0.15),
        *_wheels(TRUCK, ((2.9, 0.95), (-1.4, 0.95), (-2.7, 0.95)), 0.48, 0.15, tyres),
    )  # fmt: skip


def build_bus(rng: np.random.Generator, running: bool) -> Parts:
    """A city bus of 11 m with a row of windows."""
    color = _pick(rng, ((0.7, 0.45, 0.03), (0.62, 0.06, 0.04), (0.05, 0.35, 0.2)))
    warmth, tyres = (7.0, 15.0) if running else (2.0, 0.5)
    return (
        Part(BOX, BUS, BUS_BODY, (0, 0, 1.75), (5.4, 1.25, 1.4), color, warmth, 0.5,
             taper=(0.08, 0.05)),
        *_wheels(BUS, ((3.4, 1.12), (-2.9, 1.12)), 0.48, 0.15, tyres),
    )  # fmt: skip


def build_person(rng: np.random.Generator, walking: bool, warmth: float = 11.0) -> Parts:
    """A pedestrian of 1.55 to 1.85 m whose legs swing when walking."""
    s = rng.uniform(0.9, 1.06)
    top, trousers = _pick(rng, CLOTHES), _pick(rng, CLOTHES)
    amplitude = 0.17 if walking else 0.0
    phase, pace = rng.uniform(0, 6.28), rng.uniform(5.5, 7.0)

    def limb(y: float, z: float, radius: float, half: float, color: Color, shift: float) -> Part:
        return Part(CYLINDER, PERSON, CLOTH, (0, y * s, z * s), (radius, radius, half * s), color,
                    warmth - 2.0, 0.4, swing=(amplitude, pace, phase + shift))  # fmt: skip

    return (
        limb(0.1, 0.42, 0.095, 0.42, trousers, 0.0),
        limb(-0.1, 0.42, 0.095, 0.42, trousers, 3.14),
        limb(0.28, 1.1, 0.06, 0.3, top, 3.14),
        limb(-0.28, 1.1, 0.06, 0.3, top, 0.0),
        Part(BOX, PERSON, CLOTH, (0, 0, 1.13 * s), (0.14, 0.21, 0.31 * s), top, warmth, 0.4,
             taper=(0.02, -0.03)),
        Part(ELLIPSOID, PERSON, PLAIN, (0.01, 0, 1.6 * s), (0.12, 0.11, 0.15),
             SKIN if rng.random() < 0.6 else (0.2, 0.11, 0.07), warmth + 4.0, 0.45),
    )  # fmt: skip


def build_bicycle(rng: np.random.Generator) -> Parts:
    """A bicycle with a rack bag."""
    color = _pick(rng, ((0.5, 0.03, 0.03), (0.02, 0.25, 0.4), (0.02, 0.02, 0.02), (0.1, 0.4, 0.1)))
    bag = _pick(rng, CLOTHES)
    wheel = tuple(
        Part(
            WHEEL, BICYCLE, SPOKES, (x, 0, 0.35), (0.35, 0.035, 0.35), (0.03, 0.03, 0.03), 0.0, 0.2
        )
        for x in (-0.52, 0.52)
    )
    return (
        *wheel,
        Part(BOX, BICYCLE, PLAIN, (0, 0, 0.62), (0.45, 0.03, 0.05), color, 0.0, 0.5),
        Part(BOX, BICYCLE, PLAIN, (0.03, 0, 0.42), (0.3, 0.03, 0.05), color, 0.0, 0.5),
        Part(BOX, BICYCLE, METAL, (0.42, 0, 1.0), (0.04, 0.28, 0.03), (0.1, 0.1, 0.1), 0.0, 0.5),
        Part(
            CYLINDER, BICYCLE, METAL, (0.45, 0, 0.8), (0.03, 0.03, 0.2), (0.1, 0.1, 0.1), 0.0, 0.5
        ),
        Part(BOX, BICYCLE, CLOTH, (-0.5, 0, 0.72), (0.2, 0.2, 0.15), bag, 0.0, 0.4),
    )


def build_cyclist(rng: np.random.Generator) -> Parts:
    """A rider with a helmet on a bicycle."""
    top = _pick(rng, ((0.75, 0.7, 0.02), (0.7, 0.15, 0.02), (0.02, 0.45, 0.5), (0.6, 0.05, 0.3)))
    legs = _pick(rng, CLOTHES)
    helmet = _pick(rng, ((0.8, 0.8, 0.8), (0.7, 0.05, 0.05), (0.05, 0.2, 0.6)))
    phase = rng.uniform(0, 6.28)
    leg = tuple(
        Part(CYLINDER, RIDER, CLOTH, (0.05, y, 0.68), (0.1, 0.1, 0.34), legs, 10.0, 0.4,
             swing=(0.12, 7.0, phase + (3.14 if y > 0 else 0.0)))
        for y in (-0.12, 0.12)
    )  # fmt: skip
    return (
        *build_bicycle(rng),
        *leg,
        Part(BOX, RIDER, CLOTH, (0.0, 0, 1.27), (0.2, 0.22, 0.3), top, 12.0, 0.5, taper=(0.05, 0)),
        Part(BOX, RIDER, CLOTH, (0.28, 0, 1.25), (0.2, 0.26, 0.06), top, 11.0, 0.5),
        Part(ELLIPSOID, RIDER, PLAIN, (0.12, 0, 1.68), (0.12, 0.11, 0.14), SKIN, 15.0, 0.45),
        Part(ELLIPSOID, RIDER, PLAIN, (0.1, 0, 1.75), (0.15, 0.13, 0.1), helmet, 6.0, 0.5),
    )


def build_tree(rng: np.random.Generator) -> Parts:
    """A broadleaf tree of 5 to 8 m."""
    tint = rng.uniform(0.75, 1.2)
    leaf = (0.045 * tint * rng.uniform(0.7, 1.5), 0.12 * tint, 0.03 * tint)
    height, size = rng.uniform(2.3, 3.2), rng.uniform(1.2, 1.9)
    crown = []
    for _ in range(int(rng.integers(4, 7))):
        x, y = rng.normal(0, 0.45 * size, 2)
        z = height + size * rng.uniform(0.3, 1.5)
        half = tuple(float(v) for v in size * rng.uniform(0.6, 0.95, 3))
        crown.append(
            Part(ELLIPSOID, VEGETATION, FOLIAGE, (x, y, z), (half[0], half[1], half[2]), leaf,
                 -1.0, 0.5)
        )  # fmt: skip
    radius = rng.uniform(0.14, 0.24)
    trunk = Part(CYLINDER, VEGETATION, BARK, (0, 0, 0.5 * height + 0.2),
                 (radius, radius, 0.5 * height + 0.2), (0.12, 0.075, 0.045), 0.0,
                 0.35)  # fmt: skip
    return (trunk, *crown)


def build_bush(rng: np.random.Generator) -> Parts:
    """A bush of about one metre."""
    tint = rng.uniform(0.8, 1.3)
    return tuple(
        Part(ELLIPSOID, VEGETATION, FOLIAGE, (rng.normal(0, 0.5), rng.normal(0, 0.35), 0.45),
             (rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.8), rng.uniform(0.55, 0.9)),
             (0.05 * tint, 0.13 * tint, 0.035 * tint), -1.0, 0.5)
        for _ in range(3)
    )  # fmt: skip


def build_hedge(rng: np.random.Generator, length: float) -> Parts:
    """A clipped hedge along x."""
    height = rng.uniform(0.5, 0.8)
    return (Part(BOX, VEGETATION, FOLIAGE, (0, 0, height), (length / 2, 0.45, height),
                 (0.04, 0.11, 0.03), -1.0, 0.5),)  # fmt: skip


def build_building(rng: np.random.Generator, length: float, depth: float) -> Parts:
    """A house along x, centred, with windows and a pitched or flat roof."""
    storeys = int(rng.integers(2, 5))
    height = 3.0 * storeys + rng.uniform(0.3, 1.0)
    material = BRICK if rng.random() < 0.4 else PLASTER
    color = _pick(rng, BRICKS if material == BRICK else PLASTERS)
    warmth, echo = rng.uniform(2.0, 5.0), rng.uniform(0.25, 0.5)
    body = Part(BOX, BUILDING, material, (0, 0, height / 2), (length / 2, depth / 2, height / 2),
                color, warmth, echo)  # fmt: skip
    rise = rng.uniform(1.2, 2.0) if rng.random() < 0.7 else 0.15
    roof = Part(BOX, BUILDING, PLAIN, (0, 0, height + rise),
                (length / 2 + 0.2, depth / 2 + 0.3, rise),
                _pick(rng, ((0.28, 0.09, 0.06), (0.1, 0.1, 0.11), (0.2, 0.13, 0.1))), 4.0, 0.25,
                taper=(0.1, depth / 2 if rise > 0.5 else 0.0))  # fmt: skip
    return body, roof


def build_wall(rng: np.random.Generator, length: float) -> Parts:
    """A garden wall of stone blocks along x."""
    height = rng.uniform(0.8, 1.1)
    grey = rng.uniform(0.28, 0.42)
    return (Part(BOX, WALL, STONE, (0, 0, height), (length / 2, 0.16, height),
                 (grey, grey, grey * 1.02), 3.5, 0.42),)  # fmt: skip


def build_fence(rng: np.random.Generator, length: float) -> Parts:
    """A fence of upright boards along x."""
    height = rng.uniform(0.55, 0.8)
    color = _pick(rng, ((0.42, 0.26, 0.12), (0.32, 0.17, 0.07), (0.5, 0.33, 0.17)))
    return (Part(BOX, FENCE, BOARDS, (0, 0, height), (length / 2, 0.06, height), color, 0.5,
                 0.28),)  # fmt: skip


def build_lamp_post(rng: np.random.Generator) -> Parts:
    """A street lamp of 5.5 to 7 m whose arm reaches to +y."""
    height, radius = rng.uniform(5.5, 7.0), rng.uniform(0.08, 0.12)
    grey = rng.uniform(0.12, 0.22)
    color = (grey * 0.9, grey, grey * 0.98)
    return (
        Part(
            CYLINDER,
            POLE,
            METAL,
            (0, 0, height / 2),
            (radius, radius, height / 2),
            color,
            -5.0,
            0.6,
        ),
        Part(BOX, POLE, METAL, (0, 0.8, height), (0.06, 0.8, 0.06), color, -5.0, 0.6),
        Part(
            BOX,
            POLE,
            LANTERN,
            (0, 1.5, height - 0.02),
            (0.12, 0.35, 0.08),
            (0.5, 0.5, 0.5),
            -3.0,
            0.6,
        ),
    )


def build_traffic_light(rng: np.random.Generator) -> Parts:
    """A signal on a post, facing -x."""
    grey = rng.uniform(0.12, 0.2)
    return (
        Part(
            CYLINDER,
            POLE,
            METAL,
            (0, 0, 1.65),
            (0.085, 0.085, 1.65),
            (grey, grey, grey),
            -5.0,
            0.6,
        ),
        Part(
            BOX, LIGHT, LAMPS, (-0.2, 0, 2.85), (0.18, 0.27, 0.56), (0.03, 0.035, 0.03), 6.0, 0.2
        ),
    )


def build_sign(rng: np.random.Generator) -> Parts:
    """A plate of 0.6 to 0.9 m on a post, facing along x."""
    half = rng.uniform(0.32, 0.45)
    color = _pick(rng, SIGN_COLORS)
    height = rng.uniform(2.1, 2.5)
    return (
        Part(CYLINDER, POLE, METAL, (0.08, 0, height / 2 + 0.2), (0.075, 0.075, height / 2 + 0.2),
             (0.2, 0.2, 0.21), -5.0, 0.6),
        Part(BOX, TRAFFIC_SIGN, SIGN, (-0.03, 0, height), (0.03, half, half), color, -4.0, 1.0),
    )  # fmt: skip
