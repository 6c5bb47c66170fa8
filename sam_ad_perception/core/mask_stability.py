"""How steady masks are from frame to frame, once the motion of the picture is taken out.

The mask before is carried along the optical flow into the view of the mask now. A pixel that
has another class there has changed beyond motion: an object that flickers, or a border that
trembles. Pixels that only one of the two pictures sees say nothing and are left out.

TC is the mean IoU of the carried mask and the mask now (Liu et al., "Efficient Semantic Video
Segmentation with Per-frame Inference", ECCV 2020, there over pairs of frames of all sequences).
A mask that never changes is steady too: stability is told beside accuracy, not in its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import UNLABELED
from sam_ad_perception.core.metrics import ConfusionMatrix

WIDEST = 640
"""Flow is estimated on pictures of at most so many pixels on the longer side."""

SLACK = 0.5
SLACK_SHARE = 0.01
"""A pixel is seen in both pictures where the flow there and back ends within
`sqrt(SLACK + SLACK_SHARE * (length there^2 + length back^2))` pixels of its start (Sundaram et
al., "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow", 2010)."""

SAME_SCENE = 0.3
"""With fewer pixels seen in both pictures they are not of one scene: a cut, or a gap."""


@dataclass(frozen=True, eq=False)
class Motion:
    """How a picture came out of the one before.

    Attributes:
        flow: (H, W, 2) float32, pixels (u, v): where each pixel of the picture now was in the
            picture before, relative to itself.
        visible: (H, W) bool: both pictures see it.
    """

    flow: NDArray[np.float32]
    visible: NDArray[np.bool_]

    @property
    def is_same_scene(self) -> bool:
        """Whether the two pictures show enough of the same to be compared."""
        return bool(self.visible.mean() >= SAME_SCENE)


def estimate_motion(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> Motion:
    """Estimate the motion between two pictures by DIS optical flow, there and back.

    Args:
        before: (H, W) or (H, W, 3) uint8 RGB.
        now: The same shape and type, of the next frame.

    Returns:
        The motion.

    Raises:
        ValueError: Another type, or the shapes differ.
    """
    first, second = _grey('before', before), _grey('now', now)
    if first.shape != second.shape:
        raise ValueError(f'before {before.shape} and now {now.shape} differ in shape')
    height, width = second.shape
    scale = min(1.0, WIDEST / max(height, width))
    small = max(1, round(width * scale)), max(1, round(height * scale))
    if scale < 1:
        first, second = (
            np.asarray(cv2.resize(each, small, interpolation=cv2.INTER_AREA), np.uint8)
            for each in (first, second)
        )
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back, there = (
        np.asarray(search.calc(*pair, np.zeros((*second.shape, 2), np.float32)), np.float32)
        for pair in ((second, first), (first, second))
    )
    visible = _returns(back, there)
    if scale < 1:
        stretch = np.array([width / small[0], height / small[1]], np.float32)
        back = np.asarray(cv2.resize(back, (width, height)) * stretch, np.float32)
        whole = cv2.resize(visible.astype(np.uint8), (width, height))
        visible = np.asarray(whole > 0)
    return Motion(back, visible)


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
    u, v = _targets(motion.flow)
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


def _grey(name: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    is_colour = picture.ndim == 3 and picture.shape[2] == 3
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or is_colour) or not picture.size:
        raise ValueError(
            f'{name} must be (H, W) or (H, W, 3) uint8, got {picture.shape} {picture.dtype}'
        )
    if is_colour:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.ascontiguousarray(picture)


def _targets(flow: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each pixel comes from: u and v, each (H, W) float32 pixels."""
    v, u = np.indices(flow.shape[:2], dtype=np.float32)
    return np.add(u, flow[..., 0]), np.add(v, flow[..., 1])


def _returns(back: NDArray[np.float32], there: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each pixel comes back to itself, and its place before lies in the picture."""
    height, width = back.shape[:2]
    u, v = _targets(back)
    forward = cv2.remap(there, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = ((back + forward) ** 2).sum(axis=2)
    length = (back**2).sum(axis=2) + (forward**2).sum(axis=2)
    inside = (u >= -0.5) & (v >= -0.5) & (u <= width - 0.5) & (v <= height - 0.5)
    return np.asarray(inside & (error <= SLACK + SLACK_SHARE * length))
