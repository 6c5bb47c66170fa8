"""The seams to rclpy that several nodes share: message classes, QoS, guarded callbacks, tf."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import cache
from typing import Any, cast

from rclpy.clock import Clock, ClockType, ROSClock
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from sam_ad_perception.core.conversions import diagnostic_to_message, make, transforms_from_message
from sam_ad_perception.core.transforms import TransformTree
from sam_ad_perception.nodes.configuration import QosConfig
from sam_ad_perception.nodes.diagnostics import Diagnosis, TopicMonitor

Handler = Callable[[Any], None]
"""Works on one message."""
Callback = Callable[[Any, Any], None]
"""Takes a message and what the middleware tells of it, as rclpy calls it."""

STEADY = Clock(clock_type=ClockType.STEADY_TIME)
"""For timers that must tick while ROS time stands still (a paused bag)."""

SHORTEST_WAIT_S, SIMULATED_WAIT_S, LONGEST_WAIT_S = 0.001, 0.005, 0.1

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


def subscribe(
    node: Node, kind: str, topic: str, callback: Callback, qos: QoSProfile, *, raw: bool = False
) -> Subscription:
    """Subscribe a topic.

    Args:
        node: Its executor runs the callback.
        kind: Type of the messages, for example `sensor_msgs/msg/Image`.
        topic: Name of the topic.
        callback: Takes each message; `guard` makes one.
        qos: Of the subscription.
        raw: Whether messages come as the bytes that were sent.

    Returns:
        The subscription.

    Raises:
        ModuleNotFoundError: The package of the messages is not installed.
    """
    # rclpy looks how many arguments a callback takes; its hint knows of one only.
    plain = cast(Callable[[Any], None], callback)
    return node.create_subscription(message_type(kind), topic, plain, qos, raw=raw)


def guard(node: Node, monitor: TopicMonitor, handle: Handler) -> Callback:
    """Make a callback through which no message can end the node.

    Args:
        node: Its logger is used.
        monitor: Counts messages, those that got lost, and by reason those that `handle` refused.
        handle: Works on one message; raises ValueError for a message that cannot be read.

    Returns:
        The callback.
    """

    def callback(message: Any, info: Any) -> None:
        monitor.tick(time.monotonic(), info['publication_sequence_number'])
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


class DeadlineTimer:
    """Lets an executor wake up when something is due, and not before: each round of it costs.

    Deadlines are in ROS time, the timer is steady: where ROS time is simulated it looks often.

    Args:
        node: Its executor runs the timer.
        next_deadline_ns: Tells when something is due, ROS time, nanoseconds; None for nothing.
        poll: Called when it is.
    """

    def __init__(
        self,
        node: Node,
        next_deadline_ns: Callable[[], int | None],
        poll: Callable[[], object],
    ) -> None:
        self._clock = node.get_clock()
        self._next_deadline_ns = next_deadline_ns
        self._poll = poll
        self._due_ns: int | None = None
        self._timer = node.create_timer(LONGEST_WAIT_S, self._fire, clock=STEADY)
        self._timer.cancel()

    def arm(self) -> None:
        """Take note that something else may be due first."""
        deadline_ns = self._next_deadline_ns()
        if deadline_ns is not None and (self._due_ns is None or deadline_ns < self._due_ns):
            self._set(deadline_ns)

    def stop(self) -> None:
        """Wait for nothing any more, until `arm`."""
        self._due_ns = None
        self._timer.cancel()

    def _set(self, deadline_ns: int) -> None:
        self._due_ns = deadline_ns
        wait_s = 1e-9 * (deadline_ns - self._clock.now().nanoseconds)
        simulated = isinstance(self._clock, ROSClock) and self._clock.ros_time_is_active
        longest_s = SIMULATED_WAIT_S if simulated else LONGEST_WAIT_S
        self._timer.timer_period_ns = int(1e9 * min(max(wait_s, SHORTEST_WAIT_S), longest_s))
        self._timer.reset()

    def _fire(self) -> None:
        self.stop()
        deadline_ns = self._next_deadline_ns()
        if deadline_ns is not None and self._clock.now().nanoseconds >= deadline_ns:
            self._poll()
        self.arm()


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
        kind = 'tf2_msgs/msg/TFMessage'
        moving = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        static = QoSProfile(
            depth=100,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        self._node = node
        self._subscriptions = [
            subscribe(
                node, kind, '/tf_static', guard(node, self.monitor, self._take_static), static
            ),
            subscribe(node, kind, '/tf', guard(node, self.monitor, self._take_moving), moving),
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
