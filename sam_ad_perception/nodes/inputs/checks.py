"""The plausibility checks of a node, with the margins that its clock needs."""

from __future__ import annotations

from dataclasses import replace

from rclpy.node import Node

from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
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
    simulated = bool(node.get_parameter_or('use_sim_time').value)
    if simulated:
        checked = replace(checked, max_ahead_s=max(checked.max_ahead_s, TICK_S))
    offsets_ns = {m: to_ns(each.offset_s) for m, each in config.bundler.sync.sensors.items()}
    checks = PlausibilityMonitor(checked, offsets_ns)
    checks.readings.at_once = simulated  # a replay in lockstep repeats exactly
    return checks
