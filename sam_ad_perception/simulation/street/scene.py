"""The street of one seed: its fixed solids, its moving objects, its weather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.simulation.raycasting.solids import (
    CX,
    CY,
    HX,
    HY,
    Primitives,
    pack,
    place,
)
from sam_ad_perception.simulation.street.full_layout import enrich
from sam_ad_perception.simulation.street.layout import lay_out
from sam_ad_perception.simulation.street.plan import Actor, Item, Tunnel
from sam_ad_perception.simulation.street.road import Road
from sam_ad_perception.simulation.street.tunnel import dig
from sam_ad_perception.simulation.weather.daylight import Weather

BIG, SMALL = 90.0, 70.0
"""Solids beyond this distance (m) are not seen: those of buildings and trees, and all others."""
_BIG_LABELS = (2, 8)
STREET, FULL, TUNNEL = 'street', 'full', 'tunnel'
SCENES = (STREET, FULL, TUNNEL)
"""Kinds of streets: the plain one; the one with all 19 classes of Cityscapes, tighter curves and
crossing roads; the plain one through a tunnel."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Trajectories of M moving objects in road coordinates.

    Attributes:
        along: (M,) place along the road at time 0, metres.
        along_speed: (M,) m/s.
        lateral: (M,) offset to the left at time 0, metres.
        lateral_speed: (M,) m/s.
        heading: (M,) yaw relative to the road, radians.
        lateral_limit: (M,) largest absolute offset, metres.
    """

    along: NDArray[np.float64]
    along_speed: NDArray[np.float64]
    lateral: NDArray[np.float64]
    lateral_speed: NDArray[np.float64]
    heading: NDArray[np.float64]
    lateral_limit: NDArray[np.float64]

    def poses(self, road: Road, t: float) -> NDArray[np.float64]:
        """(M, 3) x, y and yaw at time `t` (s)."""
        limit = self.lateral_limit
        lateral = np.clip(self.lateral + self.lateral_speed * t, -limit, limit)
        poses = road.poses(self.along + self.along_speed * t, lateral)
        poses[:, 2] += self.heading
        return poses


class Scene:
    """Everything that exists in the drive of one seed.

    Attributes:
        road: The road.
        weather: Sun, sky, air.
        tunnel: Where a tunnel is; None without one.
    """

    def __init__(self, seed: int, length: float, speed: float, kind: str = STREET) -> None:
        """Lays the street out.

        Args:
            seed: Decides everything.
            length: Distance that the ego vehicle drives, metres.
            speed: Its mean speed, m/s.
            kind: One of `SCENES`.
        """
        rng = np.random.default_rng([seed, 0])
        plan = lay_out(rng, length, speed)
        if kind == FULL:
            plan = enrich(plan, np.random.default_rng([seed, 9]), length, speed)
        if kind == TUNNEL:
            plan = dig(plan, np.random.default_rng([seed, 12]), length)
        self.road: Road = plan.road
        self.weather: Weather = plan.weather
        self.tunnel: Tunnel | None = plan.tunnel
        self._static = _pack_items(plan.items, plan.road, rng)
        actors = plan.actors
        parts = [p for a in actors for p in a.parts]
        self._owner = np.repeat(np.arange(len(actors)), [len(a.parts) for a in actors])
        self._moving = pack(parts, rng.integers(0, 1 << 20, len(parts)).tolist())
        self._swing = np.array([p.swing for p in parts])
        self._motion = _motion(actors)
        both = Primitives.concatenate([self._static, self._moving])
        radius = np.hypot(both.geometry[:, HX], both.geometry[:, HY])
        self._reach = np.where(np.isin(both.label, _BIG_LABELS), BIG, SMALL) + radius

    def primitives(self, t: float, x: float, y: float, later: float | None = None) -> Primitives:
        """The solids near a place at a time.

        Args:
            t: Time since the start of the drive, seconds.
            x: The place, world, metres.
            y: See `x`.
            later: If given, the same solids are returned where they are at this time.

        Returns:
            Solids in the world, each with its velocity.
        """
        everything = self._everything(t)
        geometry = everything.geometry
        distance = np.hypot(geometry[:, CX] - x, geometry[:, CY] - y)
        if later is not None:
            everything = self._everything(later)
        return everything.select(distance < self._reach)

    def _everything(self, t: float) -> Primitives:
        moving = self._moving.geometry.copy()
        amplitude, pace, phase = self._swing.T
        moving[:, CX] += amplitude * np.sin(pace * t + phase)
        step = 1e-3
        poses = self._motion.poses(self.road, t)
        velocity = (self._motion.poses(self.road, t + step) - poses)[:, :2] / step
        moving = place(moving, poses[self._owner], velocity[self._owner])
        return Primitives.concatenate([self._static, self._moving.with_geometry(moving)])


def _pack_items(items: list[Item], road: Road, rng: np.random.Generator) -> Primitives:
    parts = [p for item in items for p in item.parts]
    owner = np.repeat(np.arange(len(items)), [len(item.parts) for item in items])
    texture = np.repeat(rng.integers(0, 1 << 20, len(items)), [len(i.parts) for i in items])
    local = pack(parts, texture.tolist())
    poses = road.poses(np.array([i.along for i in items]), np.array([i.lateral for i in items]))
    poses[:, 2] += [i.heading for i in items]
    return local.with_geometry(place(local.geometry, poses[owner], np.zeros((len(parts), 2))))


def _motion(actors: list[Actor]) -> Motion:
    columns = np.array(
        [
            [a.along, a.along_speed, a.lateral, a.lateral_speed, a.heading, a.lateral_limit]
            for a in actors
        ],
        dtype=np.float64,
    )
    return Motion(*columns.T)
