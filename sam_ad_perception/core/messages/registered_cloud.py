"""A depth image as an organised cloud: a point for each pixel, NaN where depth is unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.geometry.cameras import unproject_pixels
from sam_ad_perception.core.messages.to_ros import MessageTypes, make, make_header
from sam_ad_perception.core.sensors import CameraModel

_FLOAT32 = 7
_STEP = 16


def registered_cloud(
    types: MessageTypes, depth: NDArray[np.float32], camera: CameraModel, stamp_ns: int
) -> Any:
    """Make a cloud of the image's size, point by point as the pixels lie.

    Args:
        types: Where message classes come from.
        depth: (H, W) float32, metres along the optical axis, NaN where unknown.
        camera: The view, with the frame of the header; its lens distortion is undone.
        stamp_ns: Stamp, nanoseconds.

    Returns:
        The `sensor_msgs/PointCloud2` with the fields x, y, z, metres in the camera's frame.

    Raises:
        ValueError: The depth image is not of the camera's size.
    """
    if depth.shape != camera.size:
        raise ValueError(f'depth must be {camera.size} like its camera, got {depth.shape}')
    height, width = depth.shape
    points = np.full((height, width, _STEP // 4), np.nan, '<f4')
    v, u = np.nonzero(np.isfinite(depth))
    rays = unproject_pixels(camera, np.column_stack([u, v]).astype(np.float64))
    points[v, u, :3] = rays * depth[v, u, None]
    points[..., 3] = 0.0
    return make(
        types,
        'sensor_msgs/msg/PointCloud2',
        header=make_header(types, stamp_ns, camera.frame_id),
        height=height,
        width=width,
        fields=[
            make(
                types,
                'sensor_msgs/msg/PointField',
                name=name,
                offset=4 * i,
                datatype=_FLOAT32,
                count=1,
            )
            for i, name in enumerate('xyz')
        ],
        is_bigendian=False,
        point_step=_STEP,
        row_step=_STEP * width,
        data=points.reshape(-1).view(np.uint8),
        is_dense=False,
    )
