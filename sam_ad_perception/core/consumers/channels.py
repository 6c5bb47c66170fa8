"""Clouds with one number for each selection, as elevation_mapping_cupy takes classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.lidar.visibility import UNSEEN, SweepView, read_pixels
from sam_ad_perception.core.messages.to_ros import MessageTypes, cloud_to_message
from sam_ad_perception.core.selections.config import Selection
from sam_ad_perception.core.selections.pixels import select_pixels
from sam_ad_perception.core.sensors import Segmentation


def channel_cloud(
    types: MessageTypes,
    result: Segmentation,
    sweep: SweepView,
    selections: Mapping[str, Selection],
    stamp_ns: int,
) -> Any:
    """Make a cloud of the points that the camera sees, with a field for each selection.

    Args:
        types: Where message classes come from.
        result: The result; its confidence, where it has one, is the number.
        sweep: Where its camera sees the points; with a frame.
        selections: By name, which is that of the field.
        stamp_ns: Stamp of the sweep, nanoseconds.

    Returns:
        The `sensor_msgs/PointCloud2`: x, y, z in metres, then float32 fields: the confidence of
        the mask (0 to 1) where the point is of the selection, else 0.
    """
    assert sweep.frame is not None
    seen = np.flatnonzero(sweep.pixels != UNSEEN)
    pixels = sweep.pixels[seen]
    names = [*'xyz', *selections]
    points = np.empty(len(seen), [(name, '<f4') for name in names])
    for axis, name in enumerate('xyz'):
        points[name] = sweep.cloud.points[seen, axis]
    sure: NDArray[np.floating] = np.ones(len(seen), np.float32)
    if result.confidence.size:
        sure = read_pixels(result.confidence, pixels, 0) / np.float32(255)
    for name, selection in selections.items():
        hit = read_pixels(select_pixels(result.mask, selection), pixels, 0) > 0
        points[name] = np.where(hit, sure, np.float32(0))
    return cloud_to_message(types, points, stamp_ns, sweep.frame.frame_id)
