"""The point clouds of one or several views: a topic that they share is taken and decoded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from sam_ad_perception.bags.formats.message_types import CLOUD_TYPES, unread_reason
from sam_ad_perception.core.messages.from_ros import (
    ConversionError,
    cloud_from_message,
    frame_of,
    stamp_of,
)
from sam_ad_perception.core.messages.livox import LIVOX_TYPES, sweep_from_livox
from sam_ad_perception.core.sensors import Modality, PointCloud, SensorFrame
from sam_ad_perception.nodes.ros.diagnostics import TopicMonitor
from sam_ad_perception.nodes.ros.rclpy_helpers import (
    Callback,
    guard,
    is_installed,
    published_types,
    subscribe,
)

Sweep = Callable[[], SensorFrame]
"""Gives the sweep of a message; whoever asks first decodes it."""


class CloudInput:
    """Subscribes topics of point clouds for all views of a node.

    ROS lets a node subscribe a topic with one type only. While nothing is published it is
    PointCloud2, so that the first sweep is seen. A Livox `CustomMsg` is taken as the bytes that
    came, where its package is installed.

    Args:
        node: Its executor runs the callbacks.
        qos: Of the subscriptions.
    """

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        self._node = node
        self._qos = qos
        self._listeners: dict[str, dict[TopicMonitor, Callback]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._kinds: dict[str, str] = {}
        self._topics: dict[str, str] = {}

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
        self._topics[name] = topic
        if name not in self._subscriptions:
            self._subscribe(name, CLOUD_TYPES[0])

    def choose(self) -> None:
        """Look what is published, and subscribe accordingly; call it now and then."""
        for name in list(self._subscriptions):
            found = published_types(self._node, name)
            kind = next((kind for kind in CLOUD_TYPES if kind in found), '')
            reason = ''
            if kind and is_installed(kind):
                self._subscribe(name, kind)
            elif kind:
                reason = f'{name} carries {kind}, whose message package is not installed'
            elif found:
                told = next(filter(None, map(unread_reason, sorted(found))), '')
                told = told or f'expected one of {", ".join(CLOUD_TYPES)}'
                reason = f'{name} carries {", ".join(sorted(found))}, {told}'
            for monitor in self._listeners[name]:
                if monitor.withhold(reason):
                    self._node.get_logger().warning(f'{monitor.name}: {reason}')

    def _subscribe(self, name: str, kind: str) -> None:
        """Subscribe a topic with one type and no other; where it is so already, leave it."""
        if self._kinds.get(name) == kind and name in self._subscriptions:
            return
        if name in self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop(name))
        self._kinds[name] = kind
        raw = kind in LIVOX_TYPES
        read = read_livox if raw else read_sweep
        take = partial(self._hand_out, self._listeners[name], read)
        topic = self._topics[name]
        self._subscriptions[name] = subscribe(self._node, kind, topic, take, self._qos, raw=raw)

    def remove(self, monitor: TopicMonitor) -> None:
        """Unsubscribe for one view.

        Args:
            monitor: Of the view.
        """
        for name, listeners in self._listeners.items():
            if listeners.pop(monitor, None) and not listeners:
                self._node.destroy_subscription(self._subscriptions.pop(name))

    @staticmethod
    def _hand_out(
        listeners: dict[TopicMonitor, Callback],
        read: Callable[[Any], SensorFrame],
        message: Any,
        info: Any,
    ) -> None:
        sweep = cache(partial(read, message))
        for take in list(listeners.values()):
            take(sweep, info)


def read_livox(data: bytes) -> SensorFrame:
    """Read a Livox `CustomMsg` from its bytes as a frame of the lidar.

    Args:
        data: The serialized message.

    Returns:
        The frame, stamped as its driver stamped it.

    Raises:
        ConversionError: The message is damaged, or holds no usable point.
    """
    frame = sweep_from_livox(data)
    if not isinstance(frame.data, PointCloud) or len(frame.data.points) == 0:
        raise ConversionError('CustomMsg holds no usable point')
    return frame


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
