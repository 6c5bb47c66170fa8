"""Lidar sweeps as depth images in the camera's view (REP 118), without any network.

Each sweep is shown as of the camera's latest exposure, which `camera_info` tells, and carries that
stamp. The segmentation node publishes the same topics with the stamps of its masks: start this
node on its own, or under other names.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sam_ad_perception.core.geometry.calibration import load_calibration
from sam_ad_perception.core.geometry.cameras import place_in_view
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import TransformError
from sam_ad_perception.core.lidar.depth_image import render_depth, warm_up
from sam_ad_perception.core.lidar.ego_motion import EgoMotion
from sam_ad_perception.core.messages.from_ros import (
    array_to_image,
    camera_to_message,
    cloud_from_message,
    frame_of,
    read_camera_info,
    stamp_of,
)
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    SensorFrame,
)
from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.configuration import DepthProjectionConfig
from sam_ad_perception.nodes.ros.diagnostics import ReasonCounter, TopicMonitor
from sam_ad_perception.nodes.ros.node import PerceptionNode
from sam_ad_perception.nodes.ros.parameters import NodeParameters
from sam_ad_perception.nodes.ros.process import run_node
from sam_ad_perception.nodes.ros.rclpy_helpers import (
    OUTPUT_QOS,
    STEADY,
    DiagnosticsPublisher,
    InfoSubscription,
    TransformInput,
    guard,
    message_type,
    sensor_qos,
    subscribe,
)


class DepthProjectionNode(PerceptionNode):
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
        self._exposure_ns: int | None = None
        self._skewed = ReasonCounter()
        self._point_times = ReasonCounter(period=3600.0)
        tree = TransformTree()
        if self.config.calibration:
            calibration = load_calibration(Path(self.config.calibration))
            calibration.fill(tree)
            self._camera = calibration.cameras.get(Modality.VIEW)
        warm_up()
        self._diagnostics = DiagnosticsPublisher(self)
        self._depth = self.create_publisher(
            message_type('sensor_msgs/msg/Image'),
            topics.depth_topic(self.config.rectified),
            OUTPUT_QOS,
        )
        self._measured = self.create_publisher(
            message_type('sensor_msgs/msg/Image'), topics.DEPTH_MEASURED, OUTPUT_QOS
        )
        self._info = self.create_publisher(
            message_type('sensor_msgs/msg/CameraInfo'), topics.DEPTH_INFO, OUTPUT_QOS
        )
        self._transforms = TransformInput(self, tree, (topics.CAMERA_INFO, topics.POINTS))
        self._ego_motion = EgoMotion(tree, self.config.fixed_frame)
        self._monitors = [
            TopicMonitor(str(Modality.RANGING), 1.0),
            TopicMonitor('camera_info/camera', 1e9),
        ]
        qos = sensor_qos(self.config.qos)
        InfoSubscription(
            self, topics.CAMERA_INFO, self._monitors[1], self._on_info, self.config.qos
        )
        subscribe(
            self,
            'sensor_msgs/msg/PointCloud2',
            topics.POINTS,
            guard(self, self._monitors[0], self._on_cloud),
            qos,
        )
        self.create_timer(self.config.diagnostics_period_s, self._diagnose, clock=STEADY)

    def _on_info(self, message: Any) -> None:
        self._exposure_ns = stamp_of(message)
        self._camera = read_camera_info(
            message, rectified=self.config.rectified, own_centre=self.config.own_centre
        )

    def _on_cloud(self, message: Any) -> None:
        outputs = (self._depth, self._measured, self._info)
        if not any(publisher.get_subscription_count() for publisher in outputs):
            return
        camera = self._camera
        if camera is None:
            raise ValueError('no camera geometry: no camera_info came')
        cloud, _ = cloud_from_message(message)
        if self._point_times.add(cloud.time_note):
            self.get_logger().info(f'lidar: {cloud.time_note}')
        frame = SensorFrame(Modality.RANGING, stamp_of(message), frame_of(message), cloud)
        stamp_ns = self._reference(frame.stamp_ns)
        frame = self._deskew(frame, stamp_ns)
        T = self._transforms.tree.lookup(camera.frame_id, frame.frame_id, stamp_ns)
        T_camera_lidar = place_in_view(T, camera)
        image = render_depth(frame, T_camera_lidar, camera, self.config.depth)
        self._info.publish(camera_to_message(message_type, camera, stamp_ns))
        measured = 255 * image.measured.view(np.uint8)
        self._measured.publish(
            array_to_image(message_type, measured, 'mono8', stamp_ns, camera.frame_id)
        )
        self._depth.publish(
            array_to_image(message_type, image.depth, '32FC1', stamp_ns, camera.frame_id)
        )

    def _reference(self, sweep_ns: int) -> int:
        """Time that the depth image is to show."""
        exposure_ns = self._exposure_ns
        if exposure_ns is None or abs(exposure_ns - sweep_ns) > 1e9 * self.config.exposure_age_s:
            return sweep_ns
        return exposure_ns

    def _deskew(self, frame: SensorFrame, reference_ns: int) -> SensorFrame:
        """Tell a sweep how its lidar moved; where that is not known, count it and say why."""
        try:
            return replace(frame, motion=self._ego_motion.of_sweep(frame, reference_ns))
        except TransformError as err:
            if self._skewed.add(str(err)):
                self.get_logger().warning(f'lidar: not deskewed: {err}')
            return frame

    def _diagnose(self) -> None:
        now = time.monotonic()
        lidar, camera = self._monitors
        figures = {f'not deskewed: {reason}': n for reason, n in self._skewed.counts.items()}
        self._diagnostics.publish(
            [
                lidar.diagnose(now, figures),
                camera.diagnose(now),
                self._transforms.monitor.diagnose(now),
            ]
        )


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
