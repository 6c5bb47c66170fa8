"""Softmax temperatures that calibrate confidence, by set of sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LOWEST, HIGHEST = 0.05, 20.0
"""A temperature outside says that something else is wrong."""


@dataclass(frozen=True)
class Temperature:
    """What the logits are divided by before the softmax; the mask does not depend on it.

    `python -m training.calibrate` measures it (Guo et al., "On Calibration of Modern Neural
    Networks", 2017).

    Attributes:
        subset: Sensors that the network is given.
        temperature: Over all conditions; above 1 the network is too sure by itself.
        conditions: In what the camera takes for day or for night, where that was measured apart.

    Raises:
        ValueError: The subset is empty or repeats itself, or a temperature is out of range.
    """

    subset: tuple[str, ...]
    temperature: float
    conditions: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.subset or len(set(self.subset)) != len(self.subset):
            raise ValueError(f'subset must name sensors, each once, got {list(self.subset)}')
        for name, value in {'temperature': self.temperature, **self.conditions}.items():
            if not LOWEST <= value <= HIGHEST:
                raise ValueError(f'{name} must be from {LOWEST} to {HIGHEST}, got {value}')


def find_temperature(
    rows: Sequence[Temperature], subset: Sequence[str], condition: str = ''
) -> float:
    """Look a temperature up.

    Args:
        rows: Those of a network.
        subset: Sensors that it is given.
        condition: What the camera takes the surroundings for; empty where that is not known.

    Returns:
        That of the set in the condition, else that of the set, else 1.
    """
    for row in rows:
        if set(row.subset) == set(subset):
            return row.conditions.get(condition, row.temperature)
    return 1.0
