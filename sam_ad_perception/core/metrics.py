"""Confusion matrix and intersection over union (IoU, mIoU)."""

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
