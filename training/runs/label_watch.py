"""Checks of label batches: a run without labels ends, a missing class is reported."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from training.runs.batches import DrawnBatch
from training.runs.failures import TrainingError

PATIENCE = 20
"""Batches without one labelled pixel after which a run ends."""
_SHOWN = 20


class LabelWatch:
    """Counts labelled pixels and collects what was left out on the way.

    Args:
        space: The network's classes.
    """

    def __init__(self, space: LabelSpace) -> None:
        self.space = space
        self.pixels: NDArray[np.int64] = np.zeros(256, np.int64)
        self.batches = 0
        self._notes: dict[str, int] = {}

    def take(self, drawn: DrawnBatch) -> list[str]:
        """Count a batch.

        Args:
            drawn: The batch.

        Returns:
            Its notes that were not told yet.
        """
        self.batches += 1
        counts = torch.bincount(drawn.batch.labels.reshape(-1), minlength=256)
        self.pixels += counts.cpu().numpy()[:256]
        fresh = []
        for note in drawn.notes:
            if note not in self._notes and len(self._notes) < _SHOWN:
                fresh.append(note)
            self._notes[note] = self._notes.get(note, 0) + 1
        return fresh

    def check(self, step: int) -> None:
        """End a run in which no pixel has a label.

        Args:
            step: Steps made.

        Raises:
            TrainingError: So it is.
        """
        if self.batches >= PATIENCE and self.pixels.sum() == self.pixels[UNLABELED]:
            raise TrainingError(
                f'no pixel of {self.batches} batches has a label of {self.space.name}, so nothing '
                f'was learned by step {step}; python -m training.prepare shows the labels'
            )

    def summary(self) -> list[str]:
        """Say what was left out, and which classes no pixel had.

        Returns:
            One sentence each.
        """
        told = []
        if self._notes:
            told.append(
                f'{len(self._notes)} frames were left out or lack a sensor, '
                f'{sum(self._notes.values())} times in all'
            )
        absent = [each.name for each in self.space.classes if not self.pixels[each.id]]
        if absent and self.batches:
            told.append(f'no pixel of {self.batches} batches was of {", ".join(absent)}')
        return told
