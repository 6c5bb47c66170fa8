"""What a fault is to the benchmark: its half, its right causes, and how it befalls a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

Half = Literal['looked_at', 'measured_only']
SEVERITIES = (1, 2, 3)
"""Light, plain, strong."""
Damage = Callable[[Sequence[Any], Sequence[Any], int, np.random.Generator], list[Any]]
"""`(healthy frames before, frames to be damaged, severity 1 to 3, random) -> damaged frames`."""
FrameDamage = Callable[[Any, int, np.random.Generator], Any]
"""`(frame, severity 1 to 3, random) -> damaged frame`."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: Unique within its sensor; where the damage is another package's, `package:name`.
        half: Whether it may be looked at while checks are built, or only measures them.
        causes: Kinds of finding that name it rightly.
        damage: How it befalls a stream.
        used: Whether the frames are still good, so that they must not be taken out.
        needs: Packages that it needs.
    """

    name: str
    half: Half
    causes: frozenset[str]
    damage: Damage
    used: bool = False
    needs: tuple[str, ...] = ()

    @property
    def absent(self) -> str:
        """The first package that it needs and that is not installed; empty where all are."""
        return next((name for name in self.needs if find_spec(name) is None), '')


def each(damage: FrameDamage) -> Damage:
    """Damage every frame by itself, with new random numbers: noise, rain."""

    def apply(
        before: Sequence[Any], frames: Sequence[Any], severity: int, rng: np.random.Generator
    ) -> list[Any]:
        return [damage(frame, severity, rng) for frame in frames]

    return apply


def steady(damage: FrameDamage) -> Damage:
    """Damage every frame with the same random numbers: dirt, dead pixels, a wrong setting."""

    def apply(
        before: Sequence[Any], frames: Sequence[Any], severity: int, rng: np.random.Generator
    ) -> list[Any]:
        seed = int(rng.integers(1 << 31))
        return [damage(frame, severity, np.random.default_rng(seed)) for frame in frames]

    return apply
