"""The topics of a labelled recording, and how one result is written to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.conversions import (
    array_to_image,
    camera_to_message,
    cloud_to_message,
    label_info_to_message,
    labelled_points,
    status_to_message,
)
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.rendering import colorize, label_sweep
from sam_ad_perception.core.sensors import Modality, PointCloud, Segmentation, SensorBundle
from sam_ad_perception.core.status import FrameStatus

_IMAGE = 'sensor_msgs/msg/Image'


class ResultWriter:
    """Writes masks and what belongs to them, on the topics that the segmentation node publishes.

    Attributes:
        topics: Topic names and types.
    """

    def __init__(
        self,
        writer: BagWriter,
        space: LabelSpace,
        *,
        rectified: bool,
        color: bool = True,
        points: bool = True,
    ) -> None:
        """Announce the topics.

        Args:
            writer: The open recording.
            space: Label space of the masks.
            rectified: Whether the camera's image is rectified; the depth image is named like it.
            color: Whether `semantic/color` is written.
            points: Whether `semantic/points` is written.
        """
        self._writer = writer
        self._space = space
        self._color = color
        self._points = points
        self._depth = f'/depth_registered/{"image_rect" if rectified else "image_raw"}'
        self.topics = {
            '/semantic/image': _IMAGE,
            '/semantic/confidence': _IMAGE,
            '/semantic/status': 'diagnostic_msgs/msg/DiagnosticArray',
            '/semantic/label_info': 'vision_msgs/msg/LabelInfo',
            self._depth: _IMAGE,
            '/depth_registered/camera_info': 'sensor_msgs/msg/CameraInfo',
        }
        if color:
            self.topics['/semantic/color'] = _IMAGE
        if points:
            self.topics['/semantic/points'] = 'sensor_msgs/msg/PointCloud2'
        for name, kind in self.topics.items():
            writer.add_topic(name, kind, latched=name == '/semantic/label_info')

    def write_label_info(self, now_ns: int) -> None:
        """Write what the ids mean, latched.

        Args:
            now_ns: Time under which it is recorded, and its stamp, nanoseconds.
        """
        info = label_info_to_message(self._writer.types, self._space, now_ns, '')
        self._put('/semantic/label_info', info, now_ns)

    def write_status(self, status: FrameStatus, now_ns: int) -> None:
        """Write the outcome of one reference frame.

        Args:
            status: The outcome.
            now_ns: Time under which it is recorded, nanoseconds.
        """
        message = status_to_message(self._writer.types, status)
        self._put('/semantic/status', message, now_ns)

    def write_result(self, bundle: SensorBundle, result: Segmentation, now_ns: int) -> None:
        """Write a mask, its confidence, the depth image and the labelled sweep.

        Args:
            bundle: What was segmented.
            result: The result.
            now_ns: Time under which it is recorded, nanoseconds.
        """
        types, stamp_ns, view = self._writer.types, result.stamp_ns, result.camera
        if Modality.CAMERA in bundle.frames:  # where the two differ, the image's own name holds
            view = replace(view, frame_id=bundle.frames[Modality.CAMERA].frame_id)
        images: dict[str, tuple[NDArray[Any], str]] = {
            '/semantic/image': (result.mask, 'mono8'),
            '/semantic/confidence': (result.confidence, 'mono8'),
        }
        if self._color:
            images['/semantic/color'] = (colorize(result.mask, self._space), 'rgb8')
        if result.depth is not None:
            images[self._depth] = (result.depth, '32FC1')
            info = camera_to_message(types, view, stamp_ns)
            self._put('/depth_registered/camera_info', info, now_ns)
        for name, (pixels, encoding) in images.items():
            message = array_to_image(types, pixels, encoding, stamp_ns, view.frame_id)
            self._put(name, message, now_ns)
        labels = label_sweep(bundle, result) if self._points else None
        if labels is not None:
            sweep = bundle.frames[Modality.LIDAR]
            assert isinstance(sweep.data, PointCloud)
            joined = labelled_points(sweep.data.points, labels, self._space)
            cloud = cloud_to_message(types, joined, sweep.stamp_ns, sweep.frame_id)
            self._put('/semantic/points', cloud, now_ns)

    def _put(self, topic: str, message: Any, now_ns: int) -> None:
        self._writer.write(topic, message, now_ns)
