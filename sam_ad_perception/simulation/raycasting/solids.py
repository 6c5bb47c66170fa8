"""The solids that a scene is made of: one row of numbers per solid, ready for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

BOX, ELLIPSOID, CYLINDER, WHEEL = range(4)
"""Kinds of solids: (tapered) box, ellipsoid, vertical cylinder, cylinder about its own y axis."""

CX, CY, CZ, COS, SIN, HX, HY, HZ, TX, TY, VX, VY = range(12)
"""Columns of a geometry row: centre (m), cosine and sine of the yaw, half extents (m), taper (m:
how much the half extents in x and y shrink from bottom to top), velocity (m/s, world)."""
GEOMETRY_COLUMNS = 12


@dataclass(frozen=True)
class Part:
    """One solid of an object, in the object's frame (x forward, y left, z up, origin on ground).

    Attributes:
        kind: `BOX`, `ELLIPSOID`, `CYLINDER` or `WHEEL`.
        label: Cityscapes train id.
        material: Material number, see `materials`.
        center: x, y, z in metres.
        half: Half extents in metres.
        color: Linear RGB albedo, 0 to 1.
        warmth: Temperature above the ambient air, kelvin.
        reflectivity: Share of the lidar's light that comes back at normal incidence, 0 to 1.
        yaw: Rotation about z in the object's frame, radians.
        taper: Shrinking of the half extents in x and y from bottom to top, metres.
        swing: Amplitude (m), angular frequency (rad/s) and phase (rad) of a motion along x.
    """

    kind: int
    label: int
    material: int
    center: tuple[float, float, float]
    half: tuple[float, float, float]
    color: tuple[float, float, float]
    warmth: float = 0.0
    reflectivity: float = 0.3
    yaw: float = 0.0
    taper: tuple[float, float] = (0.0, 0.0)
    swing: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Primitives:
    """N solids as arrays.

    Attributes:
        geometry: (N, 12) float64, see the column constants.
        kind: (N,) int64.
        label: (N,) uint8, Cityscapes train ids.
        material: (N,) int64.
        color: (N, 3) float64, linear RGB.
        warmth: (N,) float64, kelvin above ambient.
        reflectivity: (N,) float64.
        texture: (N,) int64, seed of the solid's texture; constant over time.
    """

    geometry: NDArray[np.float64]
    kind: NDArray[np.int64]
    label: NDArray[np.uint8]
    material: NDArray[np.int64]
    color: NDArray[np.float64]
    warmth: NDArray[np.float64]
    reflectivity: NDArray[np.float64]
    texture: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.kind)

    def select(self, which: NDArray[np.bool_]) -> Primitives:
        """The solids for which `which` (N,) is true."""
        return Primitives(*(getattr(self, f.name)[which] for f in fields(self)))

    def with_geometry(self, geometry: NDArray[np.float64]) -> Primitives:
        """The same solids at another place."""
        rest = (getattr(self, f.name) for f in fields(self)[1:])
        return Primitives(geometry, *rest)

    @staticmethod
    def concatenate(parts: Sequence[Primitives]) -> Primitives:
        """All solids of `parts`, in order."""
        names = [f.name for f in fields(Primitives)]
        return Primitives(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


def pack(parts: Sequence[Part], texture: Sequence[int]) -> Primitives:
    """Turns parts, placed in their objects' frames, into arrays.

    Args:
        parts: N solids.
        texture: N texture seeds.

    Returns:
        The N solids, in the frames that they were given in, at rest.
    """
    n = len(parts)
    geometry = np.zeros((n, GEOMETRY_COLUMNS))
    for row, part in zip(geometry, parts, strict=True):
        row[CX : CZ + 1] = part.center
        row[COS], row[SIN] = np.cos(part.yaw), np.sin(part.yaw)
        row[HX : HZ + 1] = part.half
        row[TX : TY + 1] = part.taper
    return Primitives(
        geometry,
        np.array([p.kind for p in parts], dtype=np.int64).reshape(n),
        np.array([p.label for p in parts], dtype=np.uint8).reshape(n),
        np.array([p.material for p in parts], dtype=np.int64).reshape(n),
        np.array([p.color for p in parts], dtype=np.float64).reshape(n, 3),
        np.array([p.warmth for p in parts], dtype=np.float64).reshape(n),
        np.array([p.reflectivity for p in parts], dtype=np.float64).reshape(n),
        np.array(texture, dtype=np.int64).reshape(n),
    )


def place(
    geometry: NDArray[np.float64], poses: NDArray[np.float64], velocity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Moves solids from their objects' frames into the world.

    Args:
        geometry: (N, 12) rows in the objects' frames.
        poses: (N, 3) x, y (m) and yaw (rad) of each solid's object.
        velocity: (N, 2) velocity of each solid's object, m/s.

    Returns:
        (N, 12) rows in the world.
    """
    c, s = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    out = geometry.copy()
    out[:, CX] = poses[:, 0] + c * geometry[:, CX] - s * geometry[:, CY]
    out[:, CY] = poses[:, 1] + s * geometry[:, CX] + c * geometry[:, CY]
    out[:, COS] = c * geometry[:, COS] - s * geometry[:, SIN]
    out[:, SIN] = s * geometry[:, COS] + c * geometry[:, SIN]
    out[:, VX : VY + 1] = velocity
    return out
