"""Lidar sweeps as depth images in the camera's view (REP 118), without any network.

Stamps are the sweep's. The segmentation node publishes the same topics with the stamps of its
masks: start this node on its own, or under other names.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node

from sam_ad_perception.core.calibration import load_calibration
from sam_ad_perception.core.conversions import (
    array_to_image,
    camera_from_message,
    camera_to_message,
    cloud_from_message,
    frame_of,
    stamp_of,
)
from sam_ad_perception.core.depth import project_depth
from sam_ad_perception.core.sensors import CameraModel, Modality
from sam_ad_perception.core.transforms import TransformTree, transform_points
from sam_ad_perception.nodes import topics
from sam_ad_perception.nodes.configuration import DepthProjectionConfig
from sam_ad_perception.nodes.health import TopicMonitor
from sam_ad_perception.nodes.parameters import NodeParameters
from sam_ad_perception.nodes.process import run_node
from sam_ad_perception.nodes.ros import (
    OUTPUT_QOS,
    STEADY,
    DiagnosticsPublisher,
    TransformInput,
    guard,
    message_type,
    sensor_qos,
)


class DepthProjectionNode(Node):
    """See the module's text; parameters are those of `DepthProjectionConfig`."""

    def __init__(self, **options: Any) -> None:
        """Subscribe and advertise.

        Args:
            **options: Of `rclpy.node.Node`.

        Raises:
            ValueError: A parameter is refused, or the calibration file is malformed.
            OSError: The calibration file cannot be read.
        """
        super().__init__('depth_projection', **options)
        self.config = NodeParameters(self, DepthProjectionConfig).config
        self._camera: CameraModel | None = None
        tree = TransformTree()
        if self.config.calibration:
            calibration = load_calibration(Path(self.config.calibration))
            calibration.fill(tree)
            self._camera = calibration.cameras.get(Modality.CAMERA)
        _warm_up()
        self._diagnostics = DiagnosticsPublisher(self)
        self._depth = self.create_publisher(
            message_type('sensor_msgs/msg/Image'),
            topics.depth_topic(self.config.rectified),
            OUTPUT_QOS,
        )
        self._info = self.create_publisher(
            message_type('sensor_msgs/msg/CameraInfo'), topics.DEPTH_INFO, OUTPUT_QOS
        )
        self._transforms = TransformInput(self, tree)
        self._monitors = [TopicMonitor('lidar', 1.0), TopicMonitor('camera_info/camera', 1e9)]
        qos = sensor_qos(self.config.qos)
        self.create_subscription(
            message_type('sensor_msgs/msg/CameraInfo'),
            topics.CAMERA_INFO,
            guard(self, self._monitors[1], self._take_info),
            qos,
        )
        self.create_subscription(
            message_type('sensor_msgs/msg/PointCloud2'),
            topics.POINTS,
            guard(self, self._monitors[0], self._take_cloud),
            qos,
        )
        self.create_timer(self.config.diagnostics_period_s, self._diagnose, clock=STEADY)

    def _take_info(self, message: Any) -> None:
        self._camera = camera_from_message(
            message, rectified=self.config.rectified, own_centre=self.config.own_centre
        )

    def _take_cloud(self, message: Any) -> None:
        wanted = self._depth.get_subscription_count(), self._info.get_subscription_count()
        if not any(wanted):
            return
        camera = self._camera
        if camera is None:
            raise ValueError('no camera geometry: no camera_info came')
        stamp_ns = stamp_of(message)
        cloud, _ = cloud_from_message(message)
        T_camera_lidar = self._transforms.tree.lookup(camera.frame_id, frame_of(message), stamp_ns)
        depth = project_depth(transform_points(T_camera_lidar, cloud.points), camera)
        self._info.publish(camera_to_message(message_type, camera, stamp_ns))
        self._depth.publish(
            array_to_image(message_type, depth, '32FC1', stamp_ns, camera.frame_id)
        )

    def _diagnose(self) -> None:
        now = time.monotonic()
        monitors = [*self._monitors, self._transforms.monitor]
        self._diagnostics.publish([monitor.diagnose(now) for monitor in monitors])


def _warm_up() -> None:
    """Compile the kernels, or load them, before the first sweep."""
    camera = CameraModel(8, 8, np.array([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]))
    points = np.ones((1, 3), np.float32)
    project_depth(transform_points(np.eye(4), points), camera)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node.

    Args:
        args: Command line without the program's name; the process's own by default.

    Returns:
        The exit code.
    """
    return run_node(DepthProjectionNode, args)


if __name__ == '__main__':
    sys.exit(main())
