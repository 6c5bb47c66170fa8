"""The image of a depth sensor that a network sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.geometry.cameras import scale_camera, unproject_pixels
from sam_ad_perception.core.geometry.transforms import transform_points
from sam_ad_perception.core.lidar.depth_image import project_depth
from sam_ad_perception.modeling.inputs.camera_view import (
    BadFrameError,
    geometry_of,
    image_of,
)
from sam_ad_perception.modeling.inputs.forms import RangeForm, RenderRequest


@dataclass(frozen=True)
class DepthImage(RangeForm):
    """Depth of a depth sensor in the view, log(1 + z) / log(1 + max); zero where there is none.

    Each measured point moves to where the camera sees it, with its depth from there; of several
    on one pixel the nearest stays. A view finer than the sensor's image is filled from a grid as
    coarse as that.
    """

    channels: ClassVar[int] = 1

    def show(self, request: RenderRequest) -> NDArray[np.float32]:
        """See `Form.show`."""
        frame, view, T_view, _ = request
        depth = image_of(frame, ('float32',), 1)
        camera, T = geometry_of(frame, depth.shape, T_view)
        v, u = np.nonzero((depth > 0) & (depth < self.max_range_m))  # False for NaN
        if u.size == 0:
            raise BadFrameError(f'no depth within {self.max_range_m:g} m')
        rays = unproject_pixels(camera, np.column_stack([u, v]).astype(np.float64))
        points = transform_points(T, rays * depth[v, u, None])
        # pixels of the view per pixel of the sensor, with room for the shift of pixel grids
        factor = max(1, math.ceil(1.2 * view.K[0, 0] / camera.K[0, 0] - 0.2))
        size = (math.ceil(view.height / factor), math.ceil(view.width / factor))
        coarse = project_depth(points, scale_camera(view, size))
        if not np.isfinite(coarse).any():
            raise BadFrameError('no depth falls into the view of the camera')
        scaled = np.nan_to_num(np.log1p(coarse) / np.float32(math.log1p(self.max_range_m)))
        whole = (view.width, view.height)
        filled = cv2.resize(scaled, whole, interpolation=cv2.INTER_NEAREST)
        return np.asarray(filled, dtype=np.float32)[None]
