"""`sensor_msgs/CameraInfo` as the geometry of an image, as far as it can be used."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_ad_perception.core.geometry.lens import without_lens
from sam_ad_perception.core.messages.from_ros import ConversionError, camera_from_message
from sam_ad_perception.core.sensors import CameraModel


def read_camera_info(message: Any, *, rectified: bool, own_centre: bool = False) -> CameraModel:
    """Read a camera info; one whose lens cannot be used still tells the size and the frame.

    Args:
        message: The camera info.
        rectified: Whether its image is rectified (`image_rect`) rather than raw.
        own_centre: See `camera_model_from_info`.

    Returns:
        The camera; `unknown_lens` names the field that is unset, malformed or not supported.

    Raises:
        ConversionError: It has no size, or a region of interest beyond it.
    """
    try:
        return camera_from_message(message, rectified=rectified, own_centre=own_centre)
    except ConversionError as err:
        if min(int(message.width), int(message.height)) <= 0:
            raise
        return without_lens(camera_from_message(_Sized(message), rectified=False), str(err))


class _Sized:
    """A camera info with its own size and a lens that can be read."""

    def __init__(self, message: Any) -> None:
        self.header, self.roi = message.header, message.roi
        self.width, self.height = message.width, message.height
        self.binning_x, self.binning_y = message.binning_x, message.binning_y
        self.k, self.r, self.p = np.eye(3).ravel(), np.eye(3).ravel(), np.eye(3, 4).ravel()
        self.d, self.distortion_model = np.zeros(0), 'plumb_bob'
