"""Masks for people, made where the image is: colours, the overlay, and labelled points.

What the visualization node makes, without images between two processes. Each is made only where
somebody listens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.publisher import Publisher

from sam_ad_perception.core.images.rendering import colorize, overlay
from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from sam_ad_perception.core.lidar.visibility import SweepView, read_pixels
from sam_ad_perception.core.messages.from_ros import array_to_image
from sam_ad_perception.core.messages.labelled_cloud import labelled_cloud
from sam_ad_perception.core.sensors import Modality, Segmentation, SensorBundle
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.configuration import InsideConfig
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type
from sam_ad_perception.nodes.segmentation.result_headers import ResultHeaders


class PictureOutputs:
    """Publishers of the visualization inside the segmentation node; may be used from any thread.

    Args:
        config: Whether they are there at all, and the weight of the colours.
        advertise: Makes a publisher of a message type and a relative topic.
    """

    def __init__(self, config: InsideConfig, advertise: Callable[[str, str], Publisher]) -> None:
        self._alpha = config.alpha
        self._labels: LabelSpace | None = None
        kinds = {
            topics.COLOR: 'sensor_msgs/msg/Image',
            topics.OVERLAY: 'sensor_msgs/msg/Image',
            topics.LABELLED_POINTS: 'sensor_msgs/msg/PointCloud2',
        }
        self._publishers = {
            topic: advertise(kind, topic) for topic, kind in kinds.items() if config.enabled
        }

    @property
    def wanted(self) -> bool:
        """Whether anybody listens to any of them."""
        return any(map(self._listened, self._publishers))

    @property
    def depth_wanted(self) -> bool:
        """Whether anybody listens to the points, which the depth image hides from the camera."""
        return self._listened(topics.LABELLED_POINTS)

    def set_labels(self, labels: LabelSpace) -> None:
        """Take over the classes of the masks.

        Args:
            labels: They give the colours.
        """
        self._labels = labels

    def publish(
        self,
        result: Segmentation,
        bundle: SensorBundle,
        sweep: SweepView,
        headers: ResultHeaders,
    ) -> None:
        """Publish what somebody listens to.

        Args:
            result: What the network made.
            bundle: What it was made of; without a camera image there is no overlay.
            sweep: Where its camera sees the points of the sweep.
            headers: Of the messages.

        Raises:
            ValueError: Image and mask differ in size.
        """
        labels, mask = self._labels, result.mask
        if labels is None or not mask.size:
            return

        def send(topic: str, picture: NDArray[np.uint8]) -> None:
            message: Any = array_to_image(
                message_type, picture, 'rgb8', headers.stamp_ns, headers.frame_id
            )
            self._publishers[topic].publish(message)

        if self._listened(topics.COLOR):
            send(topics.COLOR, colorize(mask, labels))
        camera = bundle.frames.get(Modality.CAMERA)
        if camera is not None and self._listened(topics.OVERLAY):
            send(topics.OVERLAY, overlay(np.asarray(camera.data), mask, labels, self._alpha))
        if sweep.frame is not None and self._listened(topics.LABELLED_POINTS):
            ids = read_pixels(mask, sweep.pixels, UNLABELED)
            self._publishers[topics.LABELLED_POINTS].publish(
                labelled_cloud(
                    message_type,
                    sweep.cloud,
                    ids,
                    labels,
                    headers.cloud_stamp_ns,
                    sweep.frame.frame_id,
                )
            )

    def _listened(self, topic: str) -> bool:
        publisher = self._publishers.get(topic)
        return publisher is not None and bool(publisher.get_subscription_count())
