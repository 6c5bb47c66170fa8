"""Publishers in the formats of Autoware and elevation_mapping_cupy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.publisher import Publisher

from sam_ad_perception.core.consumers.autoware import autoware_ids, encode_mask
from sam_ad_perception.core.consumers.channels import channel_cloud
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.lidar.visibility import SweepView
from sam_ad_perception.core.sensors import Segmentation
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type
from sam_ad_perception.nodes.segmentation.result_headers import ResultHeaders
from sam_ad_perception.nodes.segmentation.selection_outputs import SelectionOutputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ConsumerOutputs:
    """Publishers of `core.consumers`; may be used from any thread."""

    def __init__(
        self, advertise: Callable[[str, str], Publisher], selections: SelectionOutputs
    ) -> None:
        """Advertise the topics.

        Args:
            advertise: Makes a publisher of a message type and a relative topic.
            selections: Those of the node, which are the channels of the cloud.
        """
        self._selections = selections
        self._autoware = advertise('sensor_msgs/msg/Image', topics.AUTOWARE_MASK)
        self._channels = advertise('sensor_msgs/msg/PointCloud2', topics.POINTS_CHANNELS)
        self._autoware_ids: NDArray[np.uint8] | None = None

    def set_labels(self, labels: LabelSpace) -> None:
        """Take over the classes of the masks.

        Args:
            labels: Where nothing relates them to Autoware's, its mask is not made.
        """
        try:
            self._autoware_ids = autoware_ids(labels)
        except ValueError:
            self._autoware_ids = None

    @property
    def wanted(self) -> bool:
        """Whether anybody listens to any of them."""
        return self.depth_wanted or bool(self._autoware.get_subscription_count())

    @property
    def depth_wanted(self) -> bool:
        """Whether anybody listens to what is made of the lidar, with the mask's confidence."""
        return bool(self._channels.get_subscription_count())

    def publish(self, result: Segmentation, sweep: SweepView, headers: ResultHeaders) -> None:
        """Publish what somebody listens to.

        Args:
            result: What the network made.
            sweep: Where its camera sees the points of the sweep.
            headers: Of the messages.
        """
        if self._autoware_ids is not None and self._autoware.get_subscription_count():
            mask, stamp_ns = result.mask, headers.stamp_ns
            self._autoware.publish(
                encode_mask(message_type, mask, self._autoware_ids, stamp_ns, headers.frame_id)
            )
        if self.depth_wanted and sweep.frame is not None:
            selections = self._selections.selections
            cloud = channel_cloud(message_type, result, sweep, selections, headers.cloud_stamp_ns)
            self._channels.publish(cloud)
