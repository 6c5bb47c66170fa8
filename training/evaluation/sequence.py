"""Frames that follow each other: how the picture moved, so that masks can be compared in time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.stability.mask_stability import MaskStability
from sam_ad_perception.core.stability.picture_motion import Motion, estimate_motion
from training.frames.frame import LabelledFrame


class SequenceFollower:
    """Watches the frames of a data set that were recorded one after the other.

    Args:
        space: The data set's classes.

    Attributes:
        truth: How steady the labels themselves are: what no network need surpass.
    """

    def __init__(self, space: LabelSpace) -> None:
        self.truth = MaskStability(len(space), space.ignore_id)
        self._before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def follow(self, frame: LabelledFrame) -> Motion | None:
        """Take the next frame.

        Args:
            frame: The frame.

        Returns:
            The motion since the frame before; None for the first one, and where either lacks its
            camera picture.
        """
        picture = _picture(frame)
        before, self._before = self._before, None
        if picture is None:
            return None
        self._before = picture, frame.labels
        if before is None or before[0].shape[:2] != picture.shape[:2]:
            return None
        motion = estimate_motion(before[0], picture)
        self.truth.update(before[1], frame.labels, motion)
        return motion


def _picture(frame: LabelledFrame) -> NDArray[np.uint8] | None:
    """The camera's picture at the size of the labels."""
    shown = frame.bundle.frames.get(Modality.CAMERA)
    if shown is None:
        return None
    picture = np.asarray(shown.data)
    if picture.dtype != np.uint8:
        return None
    height, width = frame.labels.shape
    if picture.shape[:2] != (height, width):
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
    return np.asarray(picture, np.uint8)
