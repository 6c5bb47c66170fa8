"""How many masks a second several ways of running the same drive gave, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunRate:
    """One run of a drive.

    Attributes:
        name: `lockstep`, `live` or `offline`.
        how: What that means, in a sentence.
        frames: Reference frames that were sent.
        masks: Masks that came of them.
        wall_s: From the first frame to the last mask, seconds of wall-clock time.
        gap_ms: Longest time between two masks, milliseconds of bag time; None with less than two.
        round_trip_ms: Median from frame to mask, milliseconds of wall-clock time; None where it
            was not measured.
    """

    name: str
    how: str
    frames: int
    masks: int
    wall_s: float
    gap_ms: float | None = None
    round_trip_ms: float | None = None

    @property
    def rate_hz(self) -> float:
        """Masks per second of wall-clock time."""
        return self.masks / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def dropped(self) -> float:
        """Share of the frames that got no mask, 0 to 1."""
        return 1 - self.masks / self.frames if self.frames else 0.0


def read_rate(name: str, how: str, figures: Mapping[str, Any]) -> RunRate:
    """Read what `sam_ad replay --json` wrote.

    Args:
        name: See `RunRate`.
        how: Likewise.
        figures: The content of the file.

    Returns:
        The run.

    Raises:
        KeyError: It is no such file.
    """
    return RunRate(
        name,
        how,
        int(figures['frames']),
        int(figures['masks']),
        float(figures['wall_s']),
        figures['gap_ms'],
        figures['round_trip_ms'],
    )


def say_rate(run: RunRate) -> str:
    """Say how a run went.

    Args:
        run: Any.

    Returns:
        A clause: masks, rate, what was dropped, the longest gap.
    """
    told = [
        f'{run.name}: {run.masks} of {run.frames} masks',
        f'{run.rate_hz:.1f} per second of wall-clock time',
        f'{100 * run.dropped:.0f} % of the frames dropped',
    ]
    if run.gap_ms is not None:
        told.append(f'longest gap {run.gap_ms:.0f} ms of bag time')
    return ', '.join(told)


def head_rates(runs: Sequence[RunRate]) -> dict[str, str]:
    """The figures of runs in large type.

    Args:
        runs: Any.

    Returns:
        Caption -> figure with its unit, two for each run.
    """
    figures = {}
    for run in runs:
        figures[f'masks, {run.name}'] = f'{run.masks} / {run.frames}'
        figures[f'{run.name}, wall clock'] = f'{run.rate_hz:.1f} per s'
    return figures
