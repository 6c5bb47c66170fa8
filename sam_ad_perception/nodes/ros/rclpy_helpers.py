"""Shared rclpy helpers: message classes, QoS, guarded callbacks, tf."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast

from rclpy.clock import Clock, ClockType, ROSClock
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.messages.from_ros import (
    diagnostic_to_message,
    make,
)
from sam_ad_perception.core.messages.transforms import TransformFeed, namespace_of
from sam_ad_perception.nodes.ros.configuration import QosConfig
from sam_ad_perception.nodes.ros.diagnostics import Diagnosis, ReasonCounter, TopicMonitor

Handler = Callable[[Any], None]
"""Works on one message."""
Callback = Callable[[Any, Any], None]
"""Takes a message and what the middleware tells of it, as rclpy calls it."""

HARDWARE_ID = 'sam_ad_perception'
"""`hardware_id` of each entry on `/diagnostics`: what `sam_ad doctor` knows the nodes by."""
STEADY = Clock(clock_type=ClockType.STEADY_TIME)
"""For timers that must tick while ROS time stands still (a paused bag)."""

_UNNUMBERED = {'publication_sequence_number': None}
INFO_LOOK_S = 0.25
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


def is_installed(name: str) -> bool:
    """Whether the package of a type of messages is installed.

    Args:
        name: For example `livox_ros_driver2/msg/CustomMsg`.
    """
    try:
        message_type(name)
    except (ImportError, AttributeError):
        return False
    return True


def published_types(node: Node, name: str) -> set[str]:
    """List the types with which a topic is published.

    Args:
        node: Knows the graph.
        name: The topic, absolute.
    """
    return {each.topic_type for each in node.get_publishers_info_by_topic(name)}


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
    node: Node,
    kind: str,
    topic: str,
    callback: Callback,
    qos: QoSProfile,
    *,
    raw: bool = False,
    quiet: bool = False,
) -> Subscription:
    """Subscribe a topic.

    Args:
        node: Its executor runs the callback.
        kind: Type of the messages, for example `sensor_msgs/msg/Image`.
        topic: Name of the topic.
        callback: Takes each message; `guard` makes one.
        qos: Of the subscription.
        raw: Whether messages come as the bytes that were sent.
        quiet: Whether publishers of another quality of service are nothing to warn of.

    Returns:
        The subscription.

    Raises:
        ModuleNotFoundError: The package of the messages is not installed.
    """
    # rclpy looks how many arguments a callback takes; its hint knows of one only.
    plain = cast(Callable[[Any], None], callback)
    events = SubscriptionEventCallbacks(use_default_callbacks=False) if quiet else None
    return node.create_subscription(
        message_type(kind), topic, plain, qos, raw=raw, event_callbacks=events
    )


class InfoSubscription:
    """Subscribes a camera_info, whether its driver repeats it or publishes it once.

    What was published once, transient local, reaches only who asks for it; who asks for it of a
    driver that does not keep it gets nothing, and both of them log a warning. So it is asked for
    as soon as somebody offers it, and not before.

    Args:
        node: Its executor runs the callbacks.
        topic: Name of the topic.
        monitor: Counts messages.
        take: Works on each message; one that comes twice changes nothing.
        qos: Of the sensors' topics.
        raw: Whether messages come as the bytes that were sent.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        monitor: TopicMonitor,
        take: Handler,
        qos: QosConfig,
        *,
        raw: bool = False,
    ) -> None:
        self._node, self._topic, self._raw = node, topic, raw
        monitor.topics['topic'] = node.resolve_topic_name(topic)
        self._callback = guard(node, monitor, take)
        kind = 'sensor_msgs/msg/CameraInfo'
        self._live = subscribe(node, kind, topic, self._callback, sensor_qos(qos), raw=raw)
        self._kept: Subscription | None = None
        self._timer = node.create_timer(INFO_LOOK_S, self.choose, clock=STEADY)
        self.choose()

    def choose(self) -> None:
        """Ask for what was published before, if somebody keeps it."""
        offered = self._node.get_publishers_info_by_topic(self._live.topic_name)
        keeps = any(
            each.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in offered
        )
        if keeps and self._kept is None:
            kind = 'sensor_msgs/msg/CameraInfo'
            self._kept = subscribe(
                self._node, kind, self._topic, self._take, LATCHED_QOS, raw=self._raw, quiet=True
            )
        elif not keeps and offered and self._kept is not None:
            self._node.destroy_subscription(self._kept)
            self._kept = None

    def destroy(self) -> None:
        """Listen no more."""
        self._node.destroy_timer(self._timer)
        for each in (self._live, self._kept):
            if each is not None:
                self._node.destroy_subscription(each)
        self._kept = None

    def _take(self, message: Any, _: Any) -> None:
        self._callback(message, _UNNUMBERED)  # its numbers are those of the other subscription


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
        self._node = node
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

    def destroy(self) -> None:
        """Give the timer back to the node."""
        self._node.destroy_timer(self._timer)

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
    """Feeds `tf` and `tf_static` into a tree: those of the root and of the sensors' namespaces.

    Attributes:
        tree: The tree.
        monitor: Counts messages and refused transforms.
    """

    def __init__(self, node: Node, tree: TransformTree, sensors: Sequence[str] = ()) -> None:
        """Subscribe.

        Args:
            node: Its executor runs the callbacks.
            tree: Filled from the topics.
            sensors: Topics of the sensors that the tree places, as the node names them.
        """
        self.tree = tree
        self.monitor = TopicMonitor('tf', float('inf'))
        names = [node.resolve_topic_name(name) for name in sensors]
        self._feed = TransformFeed(tree, names)
        self._notes = ReasonCounter(period=60.0)
        self._node = node
        self._subscriptions: list[Subscription] = []
        namespaces = {''}
        for relative, name in zip(sensors, names, strict=True):
            # `camera` of `camera/image_rect` is the sensor, no vehicle
            inside = f'/{relative}'
            name = name.removesuffix(inside) + '/' if name.endswith(inside) else name
            while name := namespace_of(name):
                namespaces.add(name)
        taken = set()
        for namespace in sorted(namespaces):
            for kind in ('tf_static', 'tf'):
                topic = node.resolve_topic_name(f'{namespace}/{kind}')
                if topic not in taken:
                    taken.add(topic)
                    self._subscribe(f'{namespace}/{kind}', topic, static=kind == 'tf_static')

    def _subscribe(self, name: str, topic: str, *, static: bool) -> None:
        """Subscribe one topic."""
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        if static:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        take = guard(self._node, self.monitor, partial(self._take, topic=topic, static=static))
        self._subscriptions.append(
            subscribe(self._node, 'tf2_msgs/msg/TFMessage', name, take, qos)
        )

    def _take(self, message: Any, *, topic: str, static: bool) -> None:
        report = self._feed.take(message, topic, static=static)
        for why in report.refused:
            if self.monitor.refuse(why):
                self._node.get_logger().warning(f'{topic}: {why}')
        for note in (*report.notes, *self.tree.doubts.values()):
            if self._notes.add(note):
                self._node.get_logger().warning(f'{topic}: {note}')

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
                entry.told,
                hardware_id=HARDWARE_ID,
            )
            for entry in entries
        ]
        self._publisher.publish(array)
