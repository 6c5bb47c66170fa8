"""The seams to rclpy that several nodes share: message classes, QoS, guarded callbacks, tf."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from sam_ad_perception.core.conversions import diagnostic_to_message, make, transforms_from_message
from sam_ad_perception.core.transforms import TransformTree
from sam_ad_perception.nodes.configuration import QosConfig
from sam_ad_perception.nodes.health import Diagnosis, TopicMonitor

Callback = Callable[[Any], None]

STEADY = Clock(clock_type=ClockType.STEADY_TIME)
"""For timers that must tick while ROS time stands still (a paused bag)."""

OUTPUT_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE
)
LATCHED_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
STATUS_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE
)


@cache
def message_type(name: str) -> type:
    """Get a message class of rclpy.

    Args:
        name: For example `sensor_msgs/msg/Image`.

    Returns:
        The class.

    Raises:
        ModuleNotFoundError: Its package is not installed.
        AttributeError: The package has no such message.
    """
    package, kind, message = name.split('/')
    found: type = getattr(importlib.import_module(f'{package}.{kind}'), message)
    return found


def sensor_qos(config: QosConfig, depth: int | None = None) -> QoSProfile:
    """Make the QoS of a sensor's topic.

    Args:
        config: What the user chose.
        depth: Messages held, where it is not `config.depth`.

    Returns:
        The profile.
    """
    reliable = config.reliability == 'reliable'
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth or config.depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
    )


def guard(node: Node, monitor: TopicMonitor, handle: Callback) -> Callback:
    """Wrap a callback so that no message can end the node.

    Args:
        node: Its logger is used.
        monitor: Counts messages and, by reason, those that `handle` refused.
        handle: Works on one message; raises ValueError for a message that cannot be read.

    Returns:
        The callback.
    """

    def callback(message: Any) -> None:
        monitor.tick(time.monotonic())
        try:
            handle(message)
        except Exception as err:
            refuse(node, monitor, err)

    return callback


def refuse(node: Node, monitor: TopicMonitor, err: Exception) -> None:
    """Count a message that could not be read and, now and then, log it; any thread.

    Args:
        node: Its logger is used.
        monitor: Of the message's topic.
        err: Why: a ValueError is the message's fault, anything else is ours.
    """
    if isinstance(err, ValueError):
        if monitor.refuse(str(err)):
            node.get_logger().warning(f'{monitor.name}: message not used: {err}')
    elif monitor.refuse(f'{type(err).__name__}: {err}'):
        node.get_logger().error(f'{monitor.name}: {type(err).__name__}: {err}')


class TransformInput:
    """Feeds `/tf` and `/tf_static` into a tree.

    Attributes:
        tree: The tree.
        monitor: Counts messages and refused transforms.
    """

    def __init__(self, node: Node, tree: TransformTree) -> None:
        """Subscribe.

        Args:
            node: Its executor runs the callbacks.
            tree: Filled from the topics.
        """
        self.tree = tree
        self.monitor = TopicMonitor('tf', float('inf'))
        kind = message_type('tf2_msgs/msg/TFMessage')
        moving = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        static = QoSProfile(
            depth=100,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        self._node = node
        self._subscriptions = [
            node.create_subscription(
                kind, '/tf_static', guard(node, self.monitor, self._take_static), static
            ),
            node.create_subscription(
                kind, '/tf', guard(node, self.monitor, self._take_moving), moving
            ),
        ]

    def _take_static(self, message: Any) -> None:
        for parent, child, _, T_parent_child in transforms_from_message(message):
            self.tree.set_static(parent, child, T_parent_child)

    def _take_moving(self, message: Any) -> None:
        for parent, child, stamp_ns, T_parent_child in transforms_from_message(message):
            self.tree.add_dynamic(parent, child, stamp_ns, T_parent_child)

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []


class DiagnosticsPublisher:
    """Publishes entries on `/diagnostics`; may be used from any thread."""

    def __init__(self, node: Node) -> None:
        """Advertise the topic.

        Args:
            node: Whose name the entries carry.
        """
        self._node = node
        self._prefix = node.get_fully_qualified_name().lstrip('/')
        kind = message_type('diagnostic_msgs/msg/DiagnosticArray')
        self._publisher = node.create_publisher(kind, '/diagnostics', STATUS_QOS)

    def publish(self, entries: list[Diagnosis]) -> None:
        """Publish entries, stamped now.

        Args:
            entries: What to tell.
        """
        array = make(message_type, 'diagnostic_msgs/msg/DiagnosticArray')
        array.header.stamp = self._node.get_clock().now().to_msg()
        array.status = [
            diagnostic_to_message(
                message_type,
                f'{self._prefix}: {entry.name}',
                entry.level,
                entry.message,
                entry.values,
                hardware_id='sam_ad_perception',
            )
            for entry in entries
        ]
        self._publisher.publish(array)
