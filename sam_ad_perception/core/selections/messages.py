"""What is published, or written into a recording, of each selection: one code for both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from sam_ad_perception.core.lidar.visibility import SweepView, visible_pixels
from sam_ad_perception.core.messages.from_ros import array_to_image, camera_to_message
from sam_ad_perception.core.messages.to_ros import MessageTypes
from sam_ad_perception.core.selections.clouds import filter_cloud, select_points
from sam_ad_perception.core.selections.config import Selection
from sam_ad_perception.core.selections.pixels import select_depth, select_pixels
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    Segmentation,
    SensorFrame,
)

MASK, INFO, DEPTH, POINTS = 'mask', 'camera_info', 'depth', 'points'
PARTS: Mapping[str, str] = MappingProxyType(
    {
        INFO: 'sensor_msgs/msg/CameraInfo',
        DEPTH: 'sensor_msgs/msg/Image',
        POINTS: 'sensor_msgs/msg/PointCloud2',
        MASK: 'sensor_msgs/msg/Image',
    }
)
"""Topics of a selection below its name, with their types. The mask is the last: whoever has it,
has what belongs to it already."""
FROM_LIDAR = frozenset({DEPTH, POINTS})


def selection_topic(name: str, part: str) -> str:
    """Name a topic of a selection.

    Args:
        name: The selection.
        part: One of `PARTS`.

    Returns:
        The relative topic.
    """
    return f'semantic/{name}/{part}'


class FrameSelector:
    """Makes the messages of one frame, and nothing that nobody wants.

    Args:
        types: Where message classes come from.
        result: The result, with its depth image where depth or points are wanted.
        sweep: Where its camera sees the points of the sweep.
        view: Camera of the result, with the frame that the headers name.
        stamp_ns: Header stamp of the mask, nanoseconds.
        cloud_stamp_ns: Header stamp of the sweep, nanoseconds.
    """

    def __init__(
        self,
        types: MessageTypes,
        result: Segmentation,
        sweep: SweepView,
        *,
        view: CameraModel,
        stamp_ns: int,
        cloud_stamp_ns: int,
    ) -> None:
        self._types = types
        self._result = result
        self._sweep = sweep
        self._view = view
        self._stamp_ns = stamp_ns
        self._cloud_stamp_ns = cloud_stamp_ns

    def messages(self, selection: Selection, wanted: Collection[str]) -> Iterator[tuple[str, Any]]:
        """Make what is wanted of one selection.

        Args:
            selection: The selection.
            wanted: Of `PARTS`.

        Yields:
            Part and message. Without a sweep there is neither depth nor cloud.
        """
        types, stamp_ns, frame_id = self._types, self._stamp_ns, self._view.frame_id
        if INFO in wanted:
            yield INFO, camera_to_message(types, self._view, stamp_ns)
        if not {MASK, DEPTH, POINTS} & set(wanted):
            return
        selected = select_pixels(self._result.mask, selection)
        if DEPTH in wanted and self._result.depth is not None:
            depth = select_depth(self._result.depth, selected, keep=selection.keep)
            yield DEPTH, array_to_image(types, depth, '32FC1', stamp_ns, frame_id)
        if POINTS in wanted and self._sweep.frame is not None:
            hit = select_points(self._sweep.pixels, selected)
            yield (
                POINTS,
                filter_cloud(
                    types,
                    self._sweep.cloud,
                    hit if selection.keep else ~hit,
                    self._cloud_stamp_ns,
                    self._sweep.frame.frame_id,
                    organized=selection.organized,
                ),
            )
        if MASK in wanted:
            yield MASK, array_to_image(types, selected, 'mono8', stamp_ns, frame_id)


def warm_up() -> None:
    """Compile the kernels, or load them, before the first frame comes."""
    camera = CameraModel(8, 8, np.array([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]))
    depth = np.ones(camera.size, np.float32)
    select_depth(depth, np.zeros(camera.size, np.uint8), keep=True)
    cloud = PointCloud(np.ones((2, 3), np.float32))
    visible_pixels(SensorFrame(Modality.RANGING, 0, '', cloud), np.eye(4), camera, depth)
