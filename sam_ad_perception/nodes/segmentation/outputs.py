"""What the segmentation node publishes for each reference frame."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile

from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.messages.from_ros import (
    array_to_compressed,
    array_to_image,
    camera_to_message,
    label_info_to_message,
    status_to_message,
)
from sam_ad_perception.core.sensors import Segmentation
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.configuration import InsideConfig
from sam_ad_perception.nodes.ros.rclpy_helpers import (
    LATCHED_QOS,
    OUTPUT_QOS,
    STATUS_QOS,
    message_type,
)
from sam_ad_perception.nodes.segmentation.consumer_outputs import ConsumerOutputs
from sam_ad_perception.nodes.segmentation.picture_outputs import PictureOutputs
from sam_ad_perception.nodes.segmentation.point_outputs import PointOutputs
from sam_ad_perception.nodes.segmentation.selection_outputs import SelectionOutputs

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


class SegmentationOutputs:
    """Publishers of the segmentation node; may be used from any thread.

    Attributes:
        selections: The topics of chosen classes.
        points: The topics of what the mask says of each point.
        consumers: The topics in forms of single consumers.
        pictures: The topics for people, where they are made here.
    """

    def __init__(
        self,
        node: Node,
        *,
        rectified: bool,
        view: str = '',
        selections: Iterable[str] = (),
        compressed: bool = True,
        inside: InsideConfig | None = None,
    ) -> None:
        """Advertise the topics.

        Args:
            node: The node.
            rectified: Whether the camera image is, which names the depth topic.
            view: In front of each topic.
            selections: Names of the selections.
            compressed: Whether mask and confidence are also offered as PNG.
            inside: Whether, and how, the visualization is made here; None for not.
        """
        self._node = node
        self._publishers: list[Publisher] = []

        def advertise(kind: str, topic: str, qos: QoSProfile = OUTPUT_QOS) -> Publisher:
            name = topics.in_view(view, topic)
            self._publishers.append(node.create_publisher(message_type(kind), name, qos))
            return self._publishers[-1]

        self._clock = node.get_clock()
        self._mask = advertise(IMAGE, topics.MASK)
        self._confidence = advertise(IMAGE, topics.CONFIDENCE)
        self._compressed, self._confidence_compressed = (
            advertise(COMPRESSED, topic) if compressed else None
            for topic in (topics.MASK_COMPRESSED, topics.CONFIDENCE_COMPRESSED)
        )
        self._depth = advertise(IMAGE, topics.depth_topic(rectified))
        self._measured = advertise(IMAGE, topics.DEPTH_MEASURED)
        self._depth_info = advertise('sensor_msgs/msg/CameraInfo', topics.DEPTH_INFO)
        self._mask_info = advertise('sensor_msgs/msg/CameraInfo', topics.MASK_INFO)
        self._status = advertise('diagnostic_msgs/msg/DiagnosticArray', topics.STATUS, STATUS_QOS)
        self._label_info = advertise('vision_msgs/msg/LabelInfo', topics.LABEL_INFO, LATCHED_QOS)
        self.selections = SelectionOutputs(selections, advertise)
        self.points = PointOutputs(advertise)
        self.consumers = ConsumerOutputs(advertise, self.selections)
        self.pictures = PictureOutputs(inside or InsideConfig(), advertise)

    def destroy(self) -> None:
        """Take the topics back."""
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)
        self._publishers.clear()

    @property
    def wanted(self) -> bool:
        """Whether anybody listens to what only the network can tell."""
        listened = (
            self._mask,
            self._mask_info,
            self._compressed,
            self._confidence,
            self._confidence_compressed,
            self._status,
        )
        return (
            self.depth_wanted
            or self.selections.wanted
            or self.consumers.wanted
            or self.pictures.wanted
            or any(_listened(publisher) for publisher in listened)
        )

    @property
    def depth_wanted(self) -> bool:
        """Whether anybody listens to the depth image or what is made of it."""
        listened = (self._depth, self._measured, self._depth_info)
        made_of_it = (
            self.selections.depth_wanted,
            self.points.wanted,
            self.consumers.depth_wanted,
            self.pictures.depth_wanted,
        )
        return any(made_of_it) or any(_listened(each) for each in listened)

    @property
    def confidence_wanted(self) -> bool:
        """Whether anybody listens to the confidence."""
        pixels = _listened(self._confidence) or _listened(self._confidence_compressed)
        return pixels or self.points.confidence_wanted or self.consumers.depth_wanted

    def publish_labels(self, labels: LabelSpace) -> None:
        """Publish the names of the ids, latched.

        Args:
            labels: The classes of the masks.
        """
        self.consumers.set_labels(labels)
        self.pictures.set_labels(labels)
        now_ns = int(self._clock.now().nanoseconds)
        self._label_info.publish(label_info_to_message(message_type, labels, now_ns, ''))

    def publish_images(self, result: Segmentation, stamp_ns: int, frame_id: str) -> None:
        """Publish mask, confidence and depth, each only where somebody listens.

        Args:
            result: What the network made.
            stamp_ns: Header stamp of the reference frame, nanoseconds.
            frame_id: Frame of the camera image.
        """
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
        for publisher, there in (
            (self._depth_info, result.depth is not None),
            (self._mask_info, result.mask.size > 0),
        ):
            if there and _listened(publisher):
                info = camera_to_message(message_type, result.camera, stamp_ns)
                info.header.frame_id = frame_id
                publisher.publish(info)
        for publisher, pixels in (
            (self._confidence, result.confidence),
            (self._mask, result.mask),
        ):
            if pixels.size and _listened(publisher):
                publisher.publish(
                    array_to_image(message_type, pixels, 'mono8', stamp_ns, frame_id)
                )
        for encoded, pixels in (
            (self._confidence_compressed, result.confidence),
            (self._compressed, result.mask),
        ):
            if encoded is not None and pixels.size and _listened(encoded):
                encoded.publish(
                    array_to_compressed(message_type, pixels, 'mono8', stamp_ns, frame_id)
                )

    def publish_status(self, status: FrameStatus, frame_id: str = '') -> None:
        """Publish the outcome of one reference frame.

        Args:
            status: The outcome; its stamp is the header stamp of the reference frame.
            frame_id: Frame of the mask, where there is one.
        """
        self._status.publish(status_to_message(message_type, status, frame_id))


def _listened(publisher: Publisher | None) -> bool:
    return publisher is not None and bool(publisher.get_subscription_count())
