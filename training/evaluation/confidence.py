"""Calibration of confidence: expected error, and how well it tells wrong pixels.

A confidence is a byte, so that two histograms of 256 levels hold all that any number of frames
say of it: the figures are exact, the memory is the same after one frame and after a million.

The figures are those of the BRAVO benchmark (Vu et al., "The BRAVO Semantic Segmentation Challenge
Results in UNCV2024", 2024): a pixel is positive where the mask is right, and its score is the
confidence; for AUPR-Error it is positive where the mask is wrong, and its score the doubt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVELS = 256
"""Values of a byte: a confidence is a probability times 255."""

BINS = 15
"""Bins of the calibration error, as the papers have them."""

SHARE_FOUND = 0.95
"""FPR95 is told where so many of the right pixels are kept."""


@dataclass(frozen=True)
class Trust:
    """What the confidence of some pixels is worth.

    Attributes:
        ece: Expected calibration error (Guo et al., 2017), 0 to 1: by how much confidence and
            accuracy differ, mean over the pixels.
        auroc: Area under the ROC curve, 0 to 1: how probable it is that a right pixel has more
            confidence than a wrong one; 0.5 for a confidence that says nothing.
        fpr95: Share of the wrong pixels that stay where a threshold keeps 95 % of the right ones.
        aupr_success: Area under the precision-recall curve of the right pixels.
        aupr_error: The same of the wrong pixels.

    A figure that needs right and wrong pixels is NaN where one of them is absent.
    """

    ece: float
    auroc: float
    fpr95: float
    aupr_success: float
    aupr_error: float


class ConfidenceHistogram:
    """Right and wrong pixels by their confidence, over any number of images.

    Attributes:
        counts: (2, 256) int64, row 0 the wrong pixels, row 1 the right ones, by confidence.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((2, LEVELS), np.int64)

    def update(self, confidence: NDArray[np.uint8], correct: NDArray[np.bool_]) -> None:
        """Count pixels.

        Args:
            confidence: Any shape, uint8, probability times 255.
            correct: Same shape, bool: the prediction was right.

        Raises:
            ValueError: The shapes or types differ.
        """
        if confidence.dtype != np.uint8 or correct.dtype != np.bool_:
            raise ValueError(
                f'confidence must be uint8 and correct bool, got {confidence.dtype} and '
                f'{correct.dtype}'
            )
        if confidence.shape != correct.shape:
            raise ValueError(
                f'confidence {confidence.shape} and correct {correct.shape} differ in shape'
            )
        codes = correct.ravel().astype(np.uint16) << 8 | confidence.ravel()
        self.counts += np.bincount(codes, minlength=2 * LEVELS).reshape(2, LEVELS)

    def merge(self, other: ConfidenceHistogram) -> None:
        """Add the counts of another one.

        Args:
            other: Of other pixels.
        """
        self.counts += other.counts

    def accuracy(self) -> float:
        """Share of the pixels that are right, NaN without pixels."""
        total = self.counts.sum()
        return float(self.counts[1].sum() / total) if total else float('nan')

    def mean(self) -> float:
        """Mean confidence, 0 to 1, NaN without pixels."""
        total = self.counts.sum()
        weighted = self.counts.sum(axis=0) @ np.arange(LEVELS) / (LEVELS - 1)
        return float(weighted / total) if total else float('nan')

    def bins(self, num_bins: int = BINS) -> NDArray[np.float64]:
        """What a reliability diagram shows.

        Args:
            num_bins: Bins of equal width over [0, 1], from 1 to 255.

        Returns:
            (num_bins, 3) float64: pixels, their mean confidence, the share of them that is right;
            NaN for a bin without pixels.

        Raises:
            ValueError: There are no or too many bins.
        """
        if not 1 <= num_bins < LEVELS:
            raise ValueError(f'num_bins must be from 1 to {LEVELS - 1}, got {num_bins}')
        level = np.arange(LEVELS)
        place = np.minimum(level * num_bins // (LEVELS - 1), num_bins - 1)
        every = self.counts.sum(axis=0)
        count, sure, right = (
            np.bincount(place, weights=weights, minlength=num_bins)
            for weights in (every, every * level / (LEVELS - 1), self.counts[1])
        )
        means = (
            np.divide(total, count, out=np.full(num_bins, np.nan), where=count > 0)
            for total in (sure, right)
        )
        return np.stack([count, *means], axis=1)

    def error(self, num_bins: int = BINS) -> float:
        """Expected calibration error, see `Trust`; NaN without pixels.

        Args:
            num_bins: See `bins`.
        """
        count, sure, right = self.bins(num_bins).T
        total = count.sum()
        if not total:
            return float('nan')
        return float(np.nansum(count * np.abs(sure - right)) / total)

    def trust(self) -> Trust:
        """All figures at once, see `Trust`."""
        wrong, right = self.counts
        # from the most confident level down: what lies at or above each
        kept_wrong, kept_right = np.cumsum(wrong[::-1]), np.cumsum(right[::-1])
        ece = self.error()
        if not (kept_wrong[-1] and kept_right[-1]):
            return Trust(ece, *[float('nan')] * 4)
        tpr = np.concatenate([[0.0], kept_right / kept_right[-1]])
        fpr = np.concatenate([[0.0], kept_wrong / kept_wrong[-1]])
        return Trust(
            ece=ece,
            auroc=float(np.trapezoid(tpr, fpr)),
            fpr95=float(fpr[np.searchsorted(tpr, SHARE_FOUND)]),
            aupr_success=_average_precision(right[::-1], wrong[::-1]),
            aupr_error=_average_precision(wrong, right),
        )


def _average_precision(positive: NDArray[np.int64], negative: NDArray[np.int64]) -> float:
    """Mean of the precision over the positive pixels.

    Args:
        positive: Pixels at each level, from the level that is the most likely positive.
        negative: Likewise.
    """
    found, kept = np.cumsum(positive), np.cumsum(positive + negative)
    precision = np.divide(found, kept, out=np.ones(len(kept)), where=kept > 0)
    return float((positive * precision).sum() / found[-1])
