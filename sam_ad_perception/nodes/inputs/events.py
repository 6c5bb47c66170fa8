"""The event topic, whatever its driver publishes there: packets, arrays or rendered pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from sam_ad_perception.core.events.packets import EVENT_ARRAY_TYPES
from sam_ad_perception.nodes.ros.rclpy_helpers import Callback, message_type, subscribe

PACKET_TYPE = 'event_camera_msgs/msg/EventPacket'
IMAGE_TYPE = 'sensor_msgs/msg/Image'
EVENT_TYPES = (PACKET_TYPE, *EVENT_ARRAY_TYPES, IMAGE_TYPE)
"""What the event topic may carry, best first."""
AT_ONCE = 64
"""So many messages are taken in one round of the executor."""


class EventInput:
    """Subscribes the event topic with the type that is published there.

    ROS lets a node subscribe a topic with one type only. While nothing is published it is
    `EventPacket`, so that the first packet is seen. Event arrays are handed on as the bytes that
    came: to turn each event into an object takes longer than to segment the image.

    An executor takes one message of each topic per round. Drivers send up to a thousand packets
    per second, so that on a busy machine they would lag further and further behind the images:
    whatever waits is taken together.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        qos: QoSProfile,
        callbacks: Mapping[str, Callback],
        tell: Callable[[str], object],
    ) -> None:
        """Subscribe.

        Args:
            node: Its executor runs the callbacks.
            topic: Relative name.
            qos: Of the subscription.
            callbacks: For each of `EVENT_TYPES`, takes the message; for event arrays `bytes`.
            tell: Told in words, on every `choose`, of a type that is published but not usable.
        """
        self._node = node
        self._topic = topic
        self._qos = qos
        self._callbacks = callbacks
        self._tell = tell
        self._subscription: Subscription | None = None
        self.kind = ''
        self._subscribe(PACKET_TYPE)
        self.choose()

    def choose(self) -> None:
        """Look what is published, and subscribe accordingly; call it now and then."""
        name = self._node.resolve_topic_name(self._topic)
        found = {each.topic_type for each in self._node.get_publishers_info_by_topic(name)}
        for kind in EVENT_TYPES:
            if kind in found:
                self._subscribe(kind)
                return
        if found:
            self._tell(
                f'{name} carries {", ".join(sorted(found))}, expected one of '
                f'{", ".join(EVENT_TYPES)}'
            )

    def destroy(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _subscribe(self, kind: str) -> None:
        """Subscribe one type and no other; where it is subscribed already, leave it."""
        if kind == self.kind:
            return
        try:
            message_type(kind)
        except (ModuleNotFoundError, AttributeError):
            self._tell(f'the event topic carries {kind}, whose package is not installed')
            return
        self.destroy()
        self.kind = kind
        handle = self._callbacks[kind]

        def take(first: Any, info: Any) -> None:
            handle(first, info)
            for _ in range(AT_ONCE - 1):
                with subscription.handle:
                    taken = subscription.handle.take_message(
                        subscription.msg_type, subscription.raw
                    )
                if taken is None:
                    return
                handle(*taken)

        subscription = self._subscription = subscribe(
            self._node, kind, self._topic, take, self._qos, raw=kind in EVENT_ARRAY_TYPES
        )
