"""The point clouds of one or several views: a topic that they share is taken and decoded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from sam_ad_perception.core.conversions import (
    ConversionError,
    cloud_from_message,
    frame_of,
    stamp_of,
)
from sam_ad_perception.core.sensors import Modality, SensorFrame
from sam_ad_perception.nodes.diagnostics import TopicMonitor
from sam_ad_perception.nodes.ros import Callback, guard, subscribe

Sweep = Callable[[], SensorFrame]
"""Gives the sweep of a message; whoever asks first decodes it."""


class CloudInput:
    """Subscribes topics of point clouds for all views of a node.

    Args:
        node: Its executor runs the callbacks.
        qos: Of the subscriptions.
    """

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        self._node = node
        self._qos = qos
        self._listeners: dict[str, dict[TopicMonitor, Callback]] = {}
        self._subscriptions: dict[str, Subscription] = {}

    def add(self, topic: str, monitor: TopicMonitor, take: Callable[[Sweep], None]) -> None:
        """Subscribe for one view.

        Args:
            topic: Relative name; views whose names resolve to one topic share it.
            monitor: Of the view.
            take: Takes each sweep; raises ValueError for one that it cannot use.
        """
        name = self._node.resolve_topic_name(topic)
        listeners = self._listeners.setdefault(name, {})
        listeners[monitor] = guard(self._node, monitor, take)
        if name not in self._subscriptions:
            self._subscriptions[name] = subscribe(
                self._node,
                'sensor_msgs/msg/PointCloud2',
                topic,
                partial(self._hand_out, listeners),
                self._qos,
            )

    def remove(self, monitor: TopicMonitor) -> None:
        """Unsubscribe for one view.

        Args:
            monitor: Of the view.
        """
        for name, listeners in self._listeners.items():
            if listeners.pop(monitor, None) and not listeners:
                self._node.destroy_subscription(self._subscriptions.pop(name))

    @staticmethod
    def _hand_out(listeners: dict[TopicMonitor, Callback], message: Any, info: Any) -> None:
        sweep = cache(partial(read_sweep, message))
        for take in list(listeners.values()):
            take(sweep, info)


def read_sweep(message: Any) -> SensorFrame:
    """Read a `sensor_msgs/PointCloud2` as a frame of the lidar.

    Args:
        message: The cloud.

    Returns:
        The frame, stamped as its driver stamped it.

    Raises:
        ConversionError: The cloud is malformed, or holds no usable point.
    """
    cloud, removed = cloud_from_message(message)
    if len(cloud.points) == 0:
        raise ConversionError(
            f'PointCloud2 holds no usable point: {removed} are NaN, infinite or at the origin'
        )
    return SensorFrame(Modality.LIDAR, stamp_of(message), frame_of(message), cloud)
