"""How good is a mask: confusion matrix, intersection over union, calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import UNLABELED


class ConfusionMatrix:
    """Counts of pixels by true and predicted class, over any number of images.

    A prediction of the ignore id is a wrong answer, as in the Cityscapes benchmark: it takes part
    in the union of the true class. A truth of the ignore id takes no part at all.

    Attributes:
        counts: (C, C + 1) int64, row = truth, column = prediction; the last column counts the
            pixels predicted as unlabeled.
    """

    def __init__(self, num_classes: int, ignore_id: int = UNLABELED) -> None:
        if not 0 < num_classes < 256 or not num_classes <= ignore_id < 256:
            raise ValueError(
                f'need 0 < num_classes <= ignore_id < 256, got {num_classes} and {ignore_id}'
            )
        self.num_classes = num_classes
        self.ignore_id = ignore_id
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes + 1), dtype=np.int64)

    def update(self, prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Count one image.

        Args:
            prediction: (H, W) uint8 ids.
            truth: (H, W) uint8 ids.

        Raises:
            ValueError: The shapes or types differ, or an id is neither a class nor the ignore id.
        """
        for name, mask in (('prediction', prediction), ('truth', truth)):
            if mask.dtype != np.uint8:
                raise ValueError(f'{name} must be uint8, got {mask.dtype}')
        if prediction.shape != truth.shape:
            raise ValueError(
                f'prediction {prediction.shape} and truth {truth.shape} differ in shape'
            )
        # All 256 x 256 pairs at once: two passes over the pixels, none of them boolean indexing.
        codes = truth.astype(np.uint16) << 8 | prediction
        pairs = np.bincount(codes.ravel(), minlength=65536).reshape(256, 256)
        valid = [*range(self.num_classes), self.ignore_id]
        for name, axis in (('prediction', 0), ('truth', 1)):
            strange = np.setdiff1d(np.flatnonzero(pairs.sum(axis=axis)), valid)
            if strange.size:
                raise ValueError(
                    f'{name} holds the ids {strange.tolist()}, expected 0 to '
                    f'{self.num_classes - 1} or {self.ignore_id}'
                )
        self.counts += pairs[np.ix_(valid[:-1], valid)]

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix.

        Args:
            other: A matrix of the same classes.

        Raises:
            ValueError: The classes differ.
        """
        if (self.num_classes, self.ignore_id) != (other.num_classes, other.ignore_id):
            raise ValueError(
                f'cannot merge confusion matrices of {self.num_classes} and '
                f'{other.num_classes} classes'
            )
        self.counts += other.counts

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union.

        Returns:
            (C,) float64; NaN for a class that occurs neither in truth nor in prediction.
        """
        hits = np.diagonal(self.counts)
        union = self.counts.sum(axis=1) + self.counts[:, : self.num_classes].sum(axis=0) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    def miou(self) -> float:
        """Mean IoU over the classes with a union, NaN where there is none."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float('nan')

    def miou_of_present(self) -> float:
        """Mean IoU over the classes that occur in the truth, NaN where there is none.

        The usual mean also counts a class that is answered without occurring, as 0: a handful of
        such pixels would take a 17th of all. This one has the same classes for whatever is
        compared on the same truth.
        """
        iou = self.iou()[self.present()]
        return float(iou.mean()) if iou.size else float('nan')

    def accuracy(self) -> float:
        """Share of the labelled pixels that are right, NaN where there is none."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float('nan')

    def present(self) -> NDArray[np.bool_]:
        """(C,) bool, classes that occur in the truth."""
        return np.asarray(self.counts.sum(axis=1) > 0)


class Calibration:
    """Does a confidence of 80 % come true 80 % of the time? Over any number of images."""

    def __init__(self, num_bins: int = 15) -> None:
        if num_bins < 1:
            raise ValueError(f'num_bins must be at least 1, got {num_bins}')
        self.num_bins = num_bins
        self._count = np.zeros(num_bins)
        self._confidence = np.zeros(num_bins)
        self._correct = np.zeros(num_bins)

    def update(self, confidence: NDArray[np.generic], correct: NDArray[np.bool_]) -> None:
        """Count pixels.

        Args:
            confidence: Any shape; uint8 (probability times 255) or float in [0, 1].
            correct: Same shape, bool: the prediction was right.

        Raises:
            ValueError: The shapes differ, or a confidence is not in [0, 1].
        """
        if confidence.shape != correct.shape:
            raise ValueError(
                f'confidence {confidence.shape} and correct {correct.shape} differ in shape'
            )
        scale = 255.0 if confidence.dtype == np.uint8 else 1.0
        probability = confidence.ravel().astype(np.float64) / scale
        if probability.size and not (probability.min() >= 0 and probability.max() <= 1):
            raise ValueError('confidence must lie in [0, 1]')
        bins = np.minimum((probability * self.num_bins).astype(np.intp), self.num_bins - 1)
        hits = np.asarray(correct, dtype=np.float64).ravel()
        self._count += np.bincount(bins, minlength=self.num_bins)
        self._confidence += np.bincount(bins, weights=probability, minlength=self.num_bins)
        self._correct += np.bincount(bins, weights=hits, minlength=self.num_bins)

    def merge(self, other: Calibration) -> None:
        """Add the counts of another one.

        Args:
            other: One with as many bins.

        Raises:
            ValueError: It has another number of bins.
        """
        if self.num_bins != other.num_bins:
            raise ValueError(f'num_bins must be {self.num_bins}, got {other.num_bins}')
        self._count += other._count
        self._confidence += other._confidence
        self._correct += other._correct

    def bins(self) -> NDArray[np.float64]:
        """What a reliability diagram shows.

        Returns:
            (num_bins, 3) float64: pixels, their mean confidence, the share of them that is right;
            NaN for a bin without pixels.
        """
        empty = np.full(self.num_bins, np.nan)
        means = (
            np.divide(total, self._count, out=empty.copy(), where=self._count > 0)
            for total in (self._confidence, self._correct)
        )
        return np.stack([self._count, *means], axis=1)

    def error(self) -> float:
        """Expected calibration error (Guo et al., 2017).

        Returns:
            Mean over the pixels of |accuracy - confidence| of the pixel's bin; NaN without pixels.
        """
        total = self._count.sum()
        if not total:
            return float('nan')
        return float(np.abs(self._correct - self._confidence).sum() / total)


def calibration_error(
    confidence: NDArray[np.generic], correct: NDArray[np.bool_], num_bins: int = 15
) -> float:
    """Expected calibration error of one set of pixels, see `Calibration`.

    Args:
        confidence: Any shape; uint8 (probability times 255) or float in [0, 1].
        correct: Same shape, bool.
        num_bins: Bins of equal width over [0, 1].

    Returns:
        The error in [0, 1].
    """
    calibration = Calibration(num_bins)
    calibration.update(confidence, correct)
    return calibration.error()
