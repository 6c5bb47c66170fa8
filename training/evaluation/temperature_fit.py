"""Finds the temperature at which a network's confidence comes true, in one pass over frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.modeling.zoo.temperatures import Temperature
from training.evaluation.confidence import LEVELS, ConfidenceHistogram

TRIED: NDArray[np.float64] = np.exp(np.linspace(np.log(0.4), np.log(6.0), 45))
"""Temperatures that are tried, 6 % apart."""

FEWEST = 4
"""Frames of which a condition's own temperature is made."""


class TemperatureFit:
    """Right and wrong pixels by their confidence, at every temperature that is tried.

    Attributes:
        counts: (T, 2, 256) int64, as of `ConfidenceHistogram.counts`, for each of `TRIED`.
        frames: Frames counted.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((len(TRIED), 2, LEVELS), np.int64)
        self.frames = 0

    def update(self, logits: NDArray[np.float32], right: NDArray[np.bool_]) -> None:
        """Count the pixels of one frame.

        Args:
            logits: (classes, N) float32.
            right: (N,) bool: the best class of each is the true one.

        Raises:
            ValueError: The shapes differ.
        """
        if logits.ndim != 2 or right.shape != logits.shape[1:]:
            raise ValueError(f'logits {logits.shape} and right {right.shape} differ in shape')
        below = logits - logits.max(axis=0)
        for index, temperature in enumerate(TRIED):
            share = 1 / np.exp(below / np.float32(temperature)).sum(axis=0)
            histogram = ConfidenceHistogram()
            histogram.update(np.rint(255 * share).astype(np.uint8), right)
            self.counts[index] += histogram.counts
        self.frames += 1

    def merge(self, other: TemperatureFit) -> None:
        """Add what another one counted.

        Args:
            other: Of other frames.
        """
        self.counts += other.counts
        self.frames += other.frames

    def at(self, temperature: float) -> ConfidenceHistogram:
        """The pixels at the temperature that was tried nearest to one."""
        histogram = ConfidenceHistogram()
        histogram.counts += self.counts[int(np.abs(np.log(TRIED / temperature)).argmin())]
        return histogram

    def best(self) -> float:
        """The temperature with the smallest calibration error, to two digits.

        Raises:
            ValueError: Nothing was counted.
        """
        if not self.frames:
            raise ValueError('a temperature needs at least one frame, got none')
        errors = [self.at(each).error() for each in TRIED]
        return round(float(TRIED[int(np.nanargmin(errors))]), 2)


@dataclass(frozen=True, eq=False)
class FittedSet:
    """What was found for one set of sensors.

    Attributes:
        row: Its temperatures.
        fit: The pixels of all conditions.
    """

    row: Temperature
    fit: TemperatureFit


def fit_set(subset: tuple[str, ...], groups: dict[str, TemperatureFit]) -> FittedSet:
    """Find the temperatures of one set of sensors.

    Args:
        subset: The sensors.
        groups: Pixels by what the camera takes the surroundings for; '' where that is not known.

    Returns:
        Its row; a condition of few frames has none of its own.

    Raises:
        ValueError: There are no pixels.
    """
    whole = TemperatureFit()
    for fit in groups.values():
        whole.merge(fit)
    conditions = {
        name: fit.best() for name, fit in groups.items() if name and fit.frames >= FEWEST
    }
    return FittedSet(Temperature(subset, whole.best(), conditions), whole)
