"""What the segmentation node publishes for each reference frame."""

from __future__ import annotations

import time

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile

from sam_ad_perception.core.conversions import (
    array_to_compressed,
    array_to_image,
    camera_to_message,
    label_info_to_message,
    status_to_message,
)
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.sensors import Segmentation
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.nodes import topics
from sam_ad_perception.nodes.ros import LATCHED_QOS, OUTPUT_QOS, STATUS_QOS, message_type

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


class SegmentationOutputs:
    """Publishers of the segmentation node; may be used from any thread."""

    def __init__(self, node: Node, *, rectified: bool, view: str = '') -> None:
        """Advertise the topics.

        Args:
            node: The node.
            rectified: Whether the camera image is, which names the depth topic.
            view: In front of each topic.
        """

        def advertise(kind: str, topic: str, qos: QoSProfile = OUTPUT_QOS) -> Publisher:
            return node.create_publisher(message_type(kind), topics.in_view(view, topic), qos)

        self._clock = node.get_clock()
        self._mask = advertise(IMAGE, topics.MASK)
        self._compressed = advertise(COMPRESSED, topics.MASK_COMPRESSED)
        self._confidence = advertise(IMAGE, topics.CONFIDENCE)
        self._depth = advertise(IMAGE, topics.depth_topic(rectified))
        self._measured = advertise(IMAGE, topics.DEPTH_MEASURED)
        self._depth_info = advertise('sensor_msgs/msg/CameraInfo', topics.DEPTH_INFO)
        self._status = advertise('diagnostic_msgs/msg/DiagnosticArray', topics.STATUS, STATUS_QOS)
        self._label_info = advertise('vision_msgs/msg/LabelInfo', topics.LABEL_INFO, LATCHED_QOS)

    @property
    def wanted(self) -> bool:
        """Whether anybody listens to what only the network can tell."""
        listened = (self._mask, self._compressed, self._confidence, self._status)
        return self.depth_wanted or any(_listened(publisher) for publisher in listened)

    @property
    def depth_wanted(self) -> bool:
        """Whether anybody listens to the depth image or what belongs to it."""
        return any(_listened(each) for each in (self._depth, self._measured, self._depth_info))

    @property
    def confidence_wanted(self) -> bool:
        """Whether anybody listens to the confidence."""
        return _listened(self._confidence)

    def publish_labels(self, labels: LabelSpace) -> None:
        """Publish the names of the ids, latched.

        Args:
            labels: The classes of the masks.
        """
        now_ns = int(self._clock.now().nanoseconds)
        self._label_info.publish(label_info_to_message(message_type, labels, now_ns, ''))

    def publish_images(self, result: Segmentation, stamp_ns: int, frame_id: str) -> float:
        """Publish mask, confidence and depth, each only where somebody listens.

        Args:
            result: What the network made.
            stamp_ns: Header stamp of the reference frame, nanoseconds.
            frame_id: Frame of the camera image.

        Returns:
            Seconds that it took.
        """
        begin = time.perf_counter()
        # The mask last: whoever has it, has what belongs to it already.
        if result.depth is not None and _listened(self._depth):
            self._depth.publish(
                array_to_image(message_type, result.depth, '32FC1', stamp_ns, frame_id)
            )
        if result.depth_measured is not None and _listened(self._measured):
            measured = 255 * result.depth_measured.view(np.uint8)
            self._measured.publish(
                array_to_image(message_type, measured, 'mono8', stamp_ns, frame_id)
            )
        if result.depth is not None and _listened(self._depth_info):
            info = camera_to_message(message_type, result.camera, stamp_ns)
            info.header.frame_id = frame_id
            self._depth_info.publish(info)
        for publisher, pixels in (
            (self._confidence, result.confidence),
            (self._mask, result.mask),
        ):
            if pixels.size and _listened(publisher):
                publisher.publish(
                    array_to_image(message_type, pixels, 'mono8', stamp_ns, frame_id)
                )
        if _listened(self._compressed):
            self._compressed.publish(
                array_to_compressed(message_type, result.mask, 'mono8', stamp_ns, frame_id)
            )
        return time.perf_counter() - begin

    def publish_status(self, status: FrameStatus, frame_id: str = '') -> None:
        """Publish the outcome of one reference frame.

        Args:
            status: The outcome; its stamp is the header stamp of the reference frame.
            frame_id: Frame of the mask, where there is one.
        """
        self._status.publish(status_to_message(message_type, status, frame_id))


def _listened(publisher: Publisher) -> bool:
    return bool(publisher.get_subscription_count())
