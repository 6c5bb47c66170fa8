"""The base of checks over time: one watch per sensor, which learns from healthy frames.

A sensor's record names its watch. The monitor asks it about every new frame, beside the figures of
the frame itself, and lets it learn how the sensor usually is once all is judged.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.health.judgement import HealthFinding, Severity
from sam_ad_perception.core.health.measures import ImageStatistics
from sam_ad_perception.core.registry import resolve
from sam_ad_perception.core.sensors import Modality, SensorFrame


@dataclass(frozen=True, eq=False)
class Circumstances:
    """What is known beside a frame when it is judged.

    Attributes:
        elapsed_s: Since the frame before; 0 for the first.
        moving: Whether the camera sees motion; None where no camera can tell.
        T_camera: (4, 4) maps points of the sensor's frame into that of the camera, metres; None
            where that is not known.
    """

    elapsed_s: float = 0.0
    moving: bool | None = None
    T_camera: NDArray[np.float64] | None = None
    image: ImageStatistics | None = None
    kinds: frozenset[str] = frozenset()


class Watch(Protocol):
    """Checks of one sensor that need more than one frame, or another look at it."""

    @staticmethod
    def warm_up() -> None:
        """Compile what frames need, or load it, so that none waits for it."""

    def look(
        self, frame: SensorFrame, around: Circumstances, thresholds: Any
    ) -> list[HealthFinding]:
        """Judge a frame.

        Args:
            frame: The frame, later than those before.
            around: What else is known.
            thresholds: Those of the sensor.

        Returns:
            What is wrong with it.
        """

    def learn(self, weight: float) -> None:
        """Take the frame that was looked at last into the running levels.

        Args:
            weight: Its weight; small where the frame was refused.
        """


@cache
def warm_up_watches() -> None:
    """Compile what the watches of all sensors need, or load it; once per process."""
    for modality in Modality:
        if modality.kind is modality and modality.record.watch is not None:
            resolve(modality.record.watch).warm_up()


class RunningLevels:
    """Running means of figures, numbers or arrays, by name."""

    def __init__(self) -> None:
        self._levels: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._levels

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        level: NDArray[np.float64] = self._levels[name]
        return level

    def get(self, name: str, default: NDArray[np.float64]) -> NDArray[np.float64]:
        """The level of an array.

        Args:
            name: Of the figure.
            default: What is told where there is none.
        """
        level: NDArray[np.float64] = self._levels.get(name, default)
        return level

    def number(self, name: str, default: float) -> float:
        """The level of a number.

        Args:
            name: Of the figure.
            default: What is told where there is none.
        """
        return float(self._levels[name]) if name in self._levels else default

    def forget(self, *names: str) -> None:
        """Let levels begin anew.

        Args:
            names: Which ones; those that are not known are no fault.
        """
        for name in names:
            self._levels.pop(name, None)

    def move(self, name: str, value: Any, weight: float) -> None:
        """Move a level towards a value; the first value is the level.

        Args:
            name: Of the figure.
            value: A number or an array of one shape.
            weight: From 0 to 1.
        """
        before = self._levels.get(name)
        if isinstance(value, float) and isinstance(before, float):
            self._levels[name] = before + weight * (value - before)
            return
        if not isinstance(value, float):
            value = np.asarray(value, np.float64)
        if before is None or np.shape(before) != np.shape(value):
            self._levels[name] = value
        else:
            self._levels[name] = before + weight * (value - before)


@dataclass
class Standing:
    """Since when each finding stands, so that its sentence can say so."""

    _since_ns: dict[str, int] = field(default_factory=dict)

    def since(self, kind: str, stamp_ns: int) -> str:
        """The end of a sentence: ` since 3 s`; empty in the first second.

        Args:
            kind: Of the finding.
            stamp_ns: Of the frame, nanoseconds.
        """
        elapsed = (stamp_ns - self._since_ns.setdefault(kind, stamp_ns)) * 1e-9
        return f' since {elapsed:.0f} s' if elapsed >= 1.0 else ''

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands."""
        return not self._since_ns

    def keep(self, kinds: Collection[str]) -> None:
        """Forget what stands no more.

        Args:
            kinds: Those that were found in the last frame.
        """
        self._since_ns = {kind: t for kind, t in self._since_ns.items() if kind in kinds}


def make_finding(
    kind: str, reason: str, value: float, threshold: float, severity: Severity = Severity.DEGRADED
) -> HealthFinding:
    """A finding; noted where nothing else is said.

    Args:
        kind: What.
        reason: In words, with the figures.
        value: What was measured.
        threshold: What it was held against.
        severity: Whether the frame is used nevertheless.
    """
    return HealthFinding(kind, reason, severity, float(value), float(threshold))


def longest_run(flags: NDArray[np.bool_], *, closed: bool = False) -> tuple[int, int]:
    """Find the longest run of True.

    Args:
        flags: (N,) bool.
        closed: Whether the last is followed by the first, as on a circle.

    Returns:
        Its start and length; of a closed row the start may be followed past the end.
    """
    best = (0, 0)
    for start, length in find_runs(flags, closed=closed):
        if length > best[1]:
            best = (start, length)
    return best


def find_runs(flags: NDArray[np.bool_], *, closed: bool = False) -> list[tuple[int, int]]:
    """Find the runs of True.

    Args:
        flags: (N,) bool.
        closed: Whether the last is followed by the first.

    Returns:
        Start and length of each.
    """
    if flags.all():
        return [(0, len(flags))] if len(flags) else []
    turn = int(np.flatnonzero(~flags)[0]) if closed else 0
    edges = np.flatnonzero(np.diff(np.roll(flags, -turn).astype(np.int8), prepend=0, append=0))
    return [
        ((int(a) + turn) % len(flags), int(b - a))
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    ]
