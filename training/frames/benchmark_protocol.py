"""How the official evaluator of a dataset makes its mean IoU: only such figures compare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.metrics import ConfusionMatrix

LEFT_OUT, ZERO, IN_TRUTH = 'left out', 'zero', 'of the truth'
ABSENT = (LEFT_OUT, ZERO, IN_TRUTH)


@dataclass(frozen=True)
class BenchmarkProtocol:
    """An official evaluation.

    All of these take one matrix over all frames, and every published figure beside them is of one
    scale without mirroring.

    Attributes:
        evaluator: Where its arithmetic stands.
        absent: What becomes of classes without a pixel: `left out` of the mean those that occur
            neither in truth nor in prediction; `zero`, they count as IoU 0; `of the truth`, only
            classes that occur in the truth count.
        size: Size `(H, W)` to which picture and truth are brought; None for the camera's.
        centre: Size `(H, W)` of the middle that counts, pixels; None for all.

    Raises:
        ValueError: Such a rule is not known.
    """

    evaluator: str
    absent: str = LEFT_OUT
    size: tuple[int, int] | None = None
    centre: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.absent not in ABSENT:
            raise ValueError(f'absent must be one of {ABSENT}, got {self.absent!r}')

    def mean_iou(self, matrix: ConfusionMatrix) -> float:
        """Make the mean as the evaluator does.

        Args:
            matrix: Pixels of all frames.

        Returns:
            0..1; NaN where no class counts.
        """
        if self.absent == IN_TRUTH:
            return matrix.miou_of_present()
        if self.absent == ZERO:
            return float(np.nan_to_num(matrix.iou()).mean())
        return matrix.miou()

    def crop(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut out what counts.

        Args:
            labels: (H, W) uint8 ids.

        Returns:
            The middle of `centre`, where the picture is larger.
        """
        if self.centre is None:
            return labels
        top, left = (
            max(0, (whole - part) // 2)
            for whole, part in zip(labels.shape, self.centre, strict=True)
        )
        return labels[top : top + self.centre[0], left : left + self.centre[1]]

    def describe(self) -> str:
        """In words, for a table."""
        where = "the camera's size" if self.size is None else f'{self.size[0]}x{self.size[1]}'
        if self.centre is not None:
            where = f'the middle {self.centre[0]}x{self.centre[1]}'
        means = {
            LEFT_OUT: 'classes without a pixel left out',
            ZERO: 'classes without a pixel count 0',
            IN_TRUTH: 'over the classes of the truth',
        }
        return f'at {where}, {means[self.absent]}'
