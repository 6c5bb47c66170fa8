"""How steady masks are from frame to frame, once the motion of the picture is taken out.

The mask before is carried along the optical flow into the view of the mask now. A pixel that
has another class there has changed beyond motion: an object that flickers, or a border that
trembles. Pixels that only one of the two pictures sees say nothing and are left out.

TC is the mean IoU of the carried mask and the mask now (Liu et al., "Efficient Semantic Video
Segmentation with Per-frame Inference", ECCV 2020, there over pairs of frames of all sequences).
A mask that never changes is steady too: stability is told beside accuracy, not in its place.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import UNLABELED
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.stability.picture_motion import Motion


def carry_mask(mask: NDArray[np.uint8], motion: Motion) -> NDArray[np.uint8]:
    """Carry the mask of the frame before into the frame now.

    Args:
        mask: (H, W) uint8 ids of the frame before.
        motion: From it to the frame now.

    Returns:
        (H, W) uint8 ids; 255 where only one of the frames sees the pixel.

    Raises:
        ValueError: The mask has another size than the pictures.
    """
    if mask.shape != motion.visible.shape:
        raise ValueError(f'mask {mask.shape} and motion {motion.visible.shape} differ in size')
    u, v = motion.sources
    outside = cv2.BORDER_CONSTANT
    carried = cv2.remap(
        mask, u, v, cv2.INTER_NEAREST, borderMode=outside, borderValue=(UNLABELED,)
    )
    return np.where(motion.visible, carried, np.uint8(UNLABELED)).astype(np.uint8)


class MaskStability:
    """How steady the masks of one or several sequences are.

    Args:
        num_classes: Of the masks.
        ignore_id: Id of pixels without a class; they say nothing.

    Attributes:
        pairs: Pairs of frames that were compared.
        matrix: Pixels by the class of the carried mask (row) and of the mask now (column).
    """

    def __init__(self, num_classes: int, ignore_id: int = UNLABELED) -> None:
        self.pairs = 0
        self.matrix = ConfusionMatrix(num_classes, ignore_id)
        self._sums = 0.0

    def update(
        self, before: NDArray[np.uint8], now: NDArray[np.uint8], motion: Motion | None
    ) -> None:
        """Compare two masks that follow each other.

        Args:
            before: (H, W) uint8 ids.
            now: (H, W) uint8 ids of the next frame.
            motion: Between their pictures; None, or one of two scenes, counts nothing.

        Raises:
            ValueError: Sizes differ, or an id is neither a class nor the ignore id.
        """
        if motion is None or not motion.is_same_scene:
            return
        carried = carry_mask(before, motion)
        ignore = self.matrix.ignore_id
        known = (carried != UNLABELED) & (carried != ignore) & (now != ignore)
        pair = ConfusionMatrix(self.matrix.num_classes, ignore)
        pair.update(now, np.where(known, carried, np.uint8(ignore)).astype(np.uint8))
        if not pair.counts.any():
            return
        self.pairs += 1
        self.matrix.merge(pair)
        self._sums += pair.miou()

    def merge(self, other: MaskStability) -> None:
        """Add what another one counted.

        Args:
            other: Of the same classes.

        Raises:
            ValueError: The classes differ.
        """
        self.matrix.merge(other.matrix)
        self.pairs += other.pairs
        self._sums += other._sums

    @property
    def changed(self) -> float:
        """Share of the pixels seen in both frames that have another class; NaN for none."""
        return 1.0 - self.matrix.accuracy()

    @property
    def consistency(self) -> float:
        """mTC, 0 to 1: mean over the pairs of the mean IoU of both masks; NaN for none."""
        return self._sums / self.pairs if self.pairs else float('nan')
