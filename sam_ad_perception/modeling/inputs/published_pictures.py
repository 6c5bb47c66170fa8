"""The form of sensors that a data set published as finished pictures in the camera's view."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.modeling.inputs.camera_view import image_of
from sam_ad_perception.modeling.inputs.forms import (
    NormalizedPicture,
    RenderRequest,
    check_positive,
)


@dataclass(frozen=True)
class PrerenderedImage(NormalizedPicture):
    """A picture of three channels that is in the camera's view already, resized and normalised.

    For networks that are trained on what a data set rendered: HHA depth and lidar of DELIVER,
    projections of MUSES, polarisation of MCubeS. Pixels of 8 and 16 bits become 0..1, floats
    stay as they are. No node makes such pictures: on a vehicle the sensor is missing, unless its
    driver delivers them.

    Attributes:
        mean: Subtracted per channel.
        std: Divided by then.
        nearest: Whether the nearest pixel is picked, for sparse pictures; else they are averaged
            or interpolated.

    Raises:
        ValueError: A std is not positive.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    nearest: bool = False

    def __post_init__(self) -> None:
        check_positive(std=min(self.std))

    def show(self, request: RenderRequest) -> NDArray[np.float32]:
        """See `Form.show`."""
        frame, view = request.frame, request.view
        picture = image_of(frame, ('uint8', 'uint16', 'float32'), 3)
        scale = 1.0 if picture.dtype == np.float32 else 1.0 / np.iinfo(picture.dtype).max
        shrink = picture.shape[0] > view.height or picture.shape[1] > view.width
        smooth = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        resized = cv2.resize(
            picture.astype(np.float32) * np.float32(scale),
            (view.width, view.height),
            interpolation=cv2.INTER_NEAREST if self.nearest else smooth,
        )
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        normal = (np.asarray(resized, np.float32) - mean) / std
        return np.ascontiguousarray(normal.transpose(2, 0, 1), dtype=np.float32)
