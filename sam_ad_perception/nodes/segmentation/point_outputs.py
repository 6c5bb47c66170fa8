"""What the mask says of each point: images as long as the sweep, and a cloud as large as the mask.

A costmap wants a class for each point, not for each pixel: `semantic/points/mask` and
`semantic/points/confidence` have header, height and width of the sweep that they belong to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rclpy.publisher import Publisher

from sam_ad_perception.core.labels import UNLABELED
from sam_ad_perception.core.lidar.visibility import SweepView, read_pixels
from sam_ad_perception.core.messages.labelled_cloud import points_image
from sam_ad_perception.core.messages.registered_cloud import registered_cloud
from sam_ad_perception.core.sensors import Segmentation
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type
from sam_ad_perception.nodes.segmentation.result_headers import ResultHeaders


class PointOutputs:
    """Publishers of what belongs to points; may be used from any thread."""

    def __init__(self, advertise: Callable[[str, str], Publisher]) -> None:
        """Advertise the topics.

        Args:
            advertise: Makes a publisher of a message type and a relative topic.
        """
        self._mask = advertise('sensor_msgs/msg/Image', topics.POINTS_MASK)
        self._confidence = advertise('sensor_msgs/msg/Image', topics.POINTS_CONFIDENCE)
        self._registered = advertise('sensor_msgs/msg/PointCloud2', topics.POINTS_REGISTERED)

    @property
    def wanted(self) -> bool:
        """Whether anybody listens to any of them; all are made of the lidar's depth."""
        every = (self._mask, self._confidence, self._registered)
        return any(each.get_subscription_count() for each in every)

    @property
    def confidence_wanted(self) -> bool:
        """Whether anybody listens to the confidence."""
        return bool(self._confidence.get_subscription_count())

    def publish(self, result: Segmentation, sweep: SweepView, headers: ResultHeaders) -> None:
        """Publish what somebody listens to.

        Args:
            result: What the network made.
            sweep: Where its camera sees the points of the sweep.
            headers: Of the messages.
        """
        if result.depth is not None and self._registered.get_subscription_count():
            view = replace(result.camera, frame_id=headers.frame_id)
            cloud = registered_cloud(message_type, result.depth, view, headers.stamp_ns)
            self._registered.publish(cloud)

        def send(publisher: Publisher, image: NDArray[np.uint8], unseen: int) -> None:
            if sweep.frame is None or not image.size or not publisher.get_subscription_count():
                return
            values = read_pixels(image, sweep.pixels, unseen)
            publisher.publish(
                points_image(
                    message_type,
                    sweep.cloud,
                    values,
                    unseen,
                    headers.cloud_stamp_ns,
                    sweep.frame.frame_id,
                )
            )

        send(self._confidence, result.confidence, 0)
        send(self._mask, result.mask, UNLABELED)
