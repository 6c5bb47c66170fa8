"""The plausibility pass of a node: margins as its clock asks for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rclpy.node import Node

from sam_ad_perception.core.messages.camera_info import read_camera_info
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.plausibility.reading_watch import LensReadings
from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.core.synchronization.config import to_ns
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig

TICK_S = 0.25
"""A simulated clock is at most this old when a message arrives."""


def make_checks(node: Node, config: SegmentationConfig) -> PlausibilityMonitor:
    """Make the plausibility pass of one view.

    Args:
        node: With simulated time its clock goes in ticks, so that arrivals lag behind stamps.
        config: Its parameters.

    Returns:
        The monitor, of which nothing is known yet.
    """
    checked = config.plausibility
    if node.get_parameter_or('use_sim_time').value:
        checked = replace(checked, max_ahead_s=max(checked.max_ahead_s, TICK_S))
    sensors = config.bundler.sync.sensors
    return PlausibilityMonitor(checked, {m: to_ns(each.offset_s) for m, each in sensors.items()})


def watch_reading(
    checks: PlausibilityMonitor, message: Any, camera: CameraModel, *, rectified: bool
) -> None:
    """Let the pass see whether the camera's images are read as they are.

    Args:
        checks: The pass.
        message: A camera_info of the camera.
        camera: Its geometry as it is read.
        rectified: Whether that is the one by P.
    """
    other = read_camera_info(message, rectified=not rectified)
    pair = (camera, other) if rectified else (other, camera)
    checks.readings.set_readings(LensReadings(*pair, taken=rectified))
