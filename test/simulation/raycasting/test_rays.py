"""Intersection against solids that are defined a second time, and binning against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel, Modality
from sam_ad_perception.simulation.drives.drive import Drive
from sam_ad_perception.simulation.raycasting.rays import cast, intersect
from sam_ad_perception.simulation.raycasting.shadows import is_shadowed, map_shadows
from sam_ad_perception.simulation.raycasting.solids import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    WHEEL,
    Part,
    Primitives,
    pack,
)
from sam_ad_perception.simulation.street.materials import local_hit


def contains(part: Part, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (N, 3) lie in a solid, from its definition."""
    c, s = np.cos(part.yaw), np.sin(part.yaw)
    x, y, z = ((points - part.center) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])).T
    hx, hy, hz = part.half
    if part.kind == BOX:
        up = (z + hz) / (2 * hz)
        inside = (abs(x) <= hx - up * part.taper[0]) & (abs(y) <= hy - up * part.taper[1])
        return inside & (abs(z) <= hz)
    if part.kind == ELLIPSOID:
        return (x / hx) ** 2 + (y / hy) ** 2 + (z / hz) ** 2 <= 1
    if part.kind == CYLINDER:
        return (np.hypot(x, y) <= hx) & (abs(z) <= hz)
    return (np.hypot(x, z) <= hx) & (abs(y) <= hy)


def random_part(rng: np.random.Generator, kind: int) -> Part:
    hx, hy, hz = rng.uniform(0.3, 2.0, 3)
    if kind == CYLINDER:
        hy = hx
    if kind == WHEEL:
        hz = hx
    center = tuple(float(v) for v in rng.uniform(-2, 2, 3))
    taper = (float(rng.uniform(0, hx)), float(rng.uniform(0, hy))) if kind == BOX else (0.0, 0.0)
    return Part(
        kind, 0, 0, (center[0], center[1], center[2]), (hx, hy, hz), (1, 1, 1),
        yaw=float(rng.uniform(-3, 3)), taper=taper,
    )  # fmt: skip


@pytest.mark.parametrize('kind', [BOX, ELLIPSOID, CYLINDER, WHEEL])
def test_ray_enters_solid_where_its_definition_says(kind: int, rng: np.random.Generator) -> None:
    hits = 0
    steps = np.linspace(0, 24, 24001)
    for _ in range(60):
        part = random_part(rng, kind)
        origin = rng.normal(size=3)
        origin *= 8 / np.linalg.norm(origin)
        aim = np.array(part.center) + rng.uniform(-1.2, 1.2, 3) - origin
        aim /= np.linalg.norm(aim)
        inside = contains(part, origin + steps[:, None] * aim)
        t = intersect(kind, pack([part], [0]).geometry[0], *origin, *aim)
        if inside.any():
            assert t == pytest.approx(steps[inside.argmax()], abs=2e-3)
            hits += 1
        elif np.isfinite(t):
            # A chord shorter than the march's step.
            near = origin + np.linspace(t, t + 2e-3, 50)[:, None] * aim
            assert contains(part, near + 1e-9 * aim).any()
    assert hits > 20


@pytest.mark.parametrize('kind', [BOX, ELLIPSOID, CYLINDER, WHEEL])
def test_normal_points_out_of_the_surface(kind: int, rng: np.random.Generator) -> None:
    checked = 0
    for _ in range(60):
        part = random_part(rng, kind)
        row = pack([part], [0]).geometry[0]
        origin = rng.normal(size=3)
        origin *= 9 / np.linalg.norm(origin)
        aim = np.array(part.center) - origin + rng.uniform(-0.3, 0.3, 3)
        aim /= np.linalg.norm(aim)
        t = intersect(kind, row, *origin, *aim)
        if not np.isfinite(t):
            continue
        point = origin + t * aim
        normal = np.array(local_hit(kind, row, *point)[3:])
        c, s = np.cos(part.yaw), np.sin(part.yaw)
        normal = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ normal
        assert np.linalg.norm(normal) == pytest.approx(1.0)
        assert normal @ aim < 0
        sides = contains(part, point + np.array([[1e-5], [-1e-5]]) * normal)
        assert sides.tolist() == [False, True]
        checked += 1
    assert checked > 30


def scene_of(drive: Drive, stamp: int) -> tuple[Primitives, CameraModel, NDArray[np.float64]]:
    T = drive.pose(stamp) @ drive.T_base[Modality.CAMERA]
    t = (stamp - drive.config.start_ns) * 1e-9
    return drive.scene.primitives(t, *T[:2, 3]), drive.cameras[Modality.CAMERA], T


def test_tiles_lose_nothing(drive: Drive, stamp: int, rng: np.random.Generator) -> None:
    primitives, camera, T = scene_of(drive, stamp)
    hits = cast(primitives, camera, T)
    for _ in range(300):
        v, u = int(rng.integers(camera.height)), int(rng.integers(camera.width))
        ray = T[:3, :3] @ np.linalg.inv(camera.K) @ [u, v, 1]
        all_t = [
            intersect(k, g, *T[:3, 3], *ray)
            for k, g in zip(primitives.kind, primitives.geometry, strict=True)
        ]
        ground = -T[2, 3] / ray[2] if ray[2] < 0 else np.inf
        nearest = min(min(all_t), ground if ground < 150 else np.inf)
        assert hits.depth[v, u] == pytest.approx(nearest, rel=1e-9)
        if nearest < ground and np.isfinite(nearest):
            assert all_t[hits.index[v, u]] == nearest


def test_shadow_map_loses_nothing(drive: Drive, stamp: int, rng: np.random.Generator) -> None:
    primitives, _, T = scene_of(drive, stamp)
    sun = np.array(drive.scene.weather.sun)
    shadows = map_shadows(primitives, sun, T[0, 3], T[1, 3])
    found = 0
    for _ in range(400):
        x, y = T[:2, 3] + rng.uniform(-25, 45, 2) * [1, 0.3]
        z = rng.uniform(0, 3)
        brute = any(
            np.isfinite(intersect(k, g, x, y, z, *sun))
            for k, g in zip(primitives.kind, primitives.geometry, strict=True)
        )
        fast = is_shadowed(
            primitives.geometry, primitives.kind, sun, shadows.origin, shadows.start,
            shadows.items, x, y, z,
        )  # fmt: skip
        assert fast == brute
        found += brute
    assert 10 < found < 390
