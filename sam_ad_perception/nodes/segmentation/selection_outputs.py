"""Topics of the selections of one camera view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from rclpy.publisher import Publisher

from sam_ad_perception.core.lidar.visibility import SweepView
from sam_ad_perception.core.selections.config import Selection
from sam_ad_perception.core.selections.messages import (
    FROM_LIDAR,
    PARTS,
    FrameSelector,
    selection_topic,
)
from sam_ad_perception.core.sensors import Segmentation
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type
from sam_ad_perception.nodes.segmentation.result_headers import ResultHeaders


class SelectionOutputs:
    """Publishers of masks, depth and clouds of chosen classes; may be used from any thread.

    Attributes:
        selections: By name; replaced as a whole where parameters change. Empty until the label
            space is known.
    """

    def __init__(self, names: Iterable[str], advertise: Callable[[str, str], Publisher]) -> None:
        """Advertise the topics.

        Args:
            names: Of the selections.
            advertise: Makes a publisher of a message type and a relative topic.
        """
        self.selections: Mapping[str, Selection] = {}
        self._publishers = {
            name: {
                part: advertise(kind, selection_topic(name, part)) for part, kind in PARTS.items()
            }
            for name in names
        }

    @property
    def wanted(self) -> bool:
        """Whether anybody listens to any of them."""
        return any(self._listened(name) for name in self._publishers)

    @property
    def depth_wanted(self) -> bool:
        """Whether anybody listens to what is made of the depth image."""
        return any(self._listened(name) & FROM_LIDAR for name in self._publishers)

    def publish(self, result: Segmentation, sweep: SweepView, headers: ResultHeaders) -> None:
        """Publish what somebody listens to.

        Args:
            result: What the network made.
            sweep: Where its camera sees the points of the sweep.
            headers: Of the messages.
        """
        frame: FrameSelector | None = None
        for name, selection in self.selections.items():
            wanted = self._listened(name)
            if not wanted:
                continue
            frame = frame or FrameSelector(
                message_type,
                result,
                sweep,
                view=replace(result.camera, frame_id=headers.frame_id),
                stamp_ns=headers.stamp_ns,
                cloud_stamp_ns=headers.cloud_stamp_ns,
            )
            for part, message in frame.messages(selection, wanted):
                self._publishers[name][part].publish(message)

    def _listened(self, name: str) -> set[str]:
        """The parts of a selection that somebody listens to."""
        return {
            part
            for part, publisher in self._publishers[name].items()
            if publisher.get_subscription_count()
        }
