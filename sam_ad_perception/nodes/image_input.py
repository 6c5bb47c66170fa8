"""One image topic, raw or compressed, whichever there is."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from sam_ad_perception.nodes.ros import Callback, subscribe

_KINDS = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}


class ImageInput:
    """Subscribes `<topic>` as Image, `<topic>/compressed` as CompressedImage, or both.

    With `auto` both are subscribed while neither is published, so that the first frame of either
    is seen; then only the one that is there, the raw one where there are both.
    """

    def __init__(
        self, node: Node, topic: str, transport: str, qos: QoSProfile, callback: Callback
    ) -> None:
        """Subscribe.

        Args:
            node: Its executor runs the callback.
            topic: Relative name of the raw topic.
            transport: `raw`, `compressed` or `auto`.
            qos: Of both subscriptions.
            callback: Takes an Image or a CompressedImage.
        """
        self._node = node
        self._transport = transport
        self._qos = qos
        self._callback = callback
        self._topics = {'raw': topic, 'compressed': f'{topic}/compressed'}
        self._subscriptions: dict[str, Subscription] = {}
        self._set(['raw', 'compressed'] if transport == 'auto' else [transport])

    @property
    def transports(self) -> tuple[str, ...]:
        """What is subscribed now."""
        return tuple(self._subscriptions)

    def choose(self) -> None:
        """Look which topics are published, and subscribe accordingly; call it now and then."""
        if self._transport != 'auto':
            return
        for transport, topic in self._topics.items():
            name = self._node.resolve_topic_name(topic)
            if self._node.count_publishers(name):
                self._set([transport])
                return
        self._set(list(self._topics))

    def destroy(self) -> None:
        """Unsubscribe."""
        self._set([])

    def _set(self, transports: list[str]) -> None:
        """Subscribe these and no others; what stays is left alone."""
        for transport in transports:
            if transport not in self._subscriptions:
                self._subscriptions[transport] = subscribe(
                    self._node,
                    _KINDS[transport],
                    self._topics[transport],
                    self._callback,
                    self._qos,
                )
        for transport in set(self._subscriptions) - set(transports):
            self._node.destroy_subscription(self._subscriptions.pop(transport))
