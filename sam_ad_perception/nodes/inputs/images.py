"""One image topic, raw, compressed or video, whichever there is."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from sam_ad_perception.bags.formats.message_types import VIDEO_TYPES
from sam_ad_perception.bags.formats.video import INSTALL_VIDEO
from sam_ad_perception.nodes.ros.rclpy_helpers import (
    Callback,
    is_installed,
    published_types,
    subscribe,
)

_KINDS = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}
_VIDEO = 'video'


class ImageInput:
    """Subscribes `<topic>` as Image, `<topic>/compressed` as CompressedImage, or both.

    With `auto` both are subscribed while neither is published, so that the first frame of either
    is seen; then only the one that is there, the raw one where there are both. Where neither is
    there and `<topic>`, or `<topic>/ffmpeg`, is video, that is taken, if its message package and
    PyAV are installed.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        transport: str,
        qos: QoSProfile,
        callback: Callback,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        """Subscribe.

        Args:
            node: Its executor runs the callback.
            topic: Relative name of the raw topic.
            transport: `raw`, `compressed` or `auto`.
            qos: Of all subscriptions.
            callback: Takes an Image, a CompressedImage or, where `tell` is given, a message of
                video.
            tell: Told, on every `choose`, why what is published cannot be taken; '' for nothing.
                None where no video is to be taken.
        """
        self._node = node
        self._transport = transport
        self._qos = qos
        self._callback = callback
        self._tell = tell
        self._topics = {'raw': topic, 'compressed': f'{topic}/compressed'}
        self._subscriptions: dict[str, Subscription] = {}
        self._set(self._all())

    @property
    def transports(self) -> tuple[str, ...]:
        """What is subscribed now."""
        return tuple(self._subscriptions)

    def choose(self) -> None:
        """Look which topics are published, and subscribe accordingly; call it now and then."""
        found = {topic: self._published(topic) for topic in self._topics.values()}
        images = [t for t, topic in self._topics.items() if found[topic] - set(VIDEO_TYPES)]
        wanted = images if self._transport == 'auto' else [t for t in images if t in self._all()]
        if wanted or self._tell is None:
            self._set(wanted[:1] if wanted and self._transport == 'auto' else self._all())
            if self._tell is not None:
                self._tell('')
            return
        self._choose_video()

    def destroy(self) -> None:
        """Unsubscribe."""
        self._set([])

    def _all(self) -> list[str]:
        """What is subscribed while nothing is published."""
        return ['raw', 'compressed'] if self._transport == 'auto' else [self._transport]

    def _published(self, topic: str) -> set[str]:
        return published_types(self._node, self._node.resolve_topic_name(topic))

    def _choose_video(self) -> None:
        """Take a topic of video, or tell why not; there is no image."""
        assert self._tell is not None
        raw = self._topics['raw']
        for topic in (raw, f'{raw}/ffmpeg'):
            kind = next((k for k in VIDEO_TYPES if k in self._published(topic)), '')
            if not kind:
                continue
            reason = self._obstacle(kind)
            if reason:
                name = self._node.resolve_topic_name(topic)
                self._tell(f'{name} carries {kind}, {reason}')
                self._set(self._all())
                return
            self._tell('')
            self._set([f'{_VIDEO} {topic} {kind}'])
            return
        self._tell('')
        self._set(self._all())

    def _obstacle(self, kind: str) -> str:
        """Why video cannot be taken; '' where it can."""
        if self._transport != 'auto':
            return f'and its transport is {self._transport}: auto takes video'
        if not is_installed(kind):
            return 'whose message package is not installed'
        if importlib.util.find_spec('av') is None:
            return f'and video needs PyAV: {INSTALL_VIDEO}'
        return ''

    def _set(self, transports: list[str]) -> None:
        """Subscribe these and no others; what stays is left alone."""
        for transport in set(self._subscriptions) - set(transports):
            self._node.destroy_subscription(self._subscriptions.pop(transport))
        for transport in transports:
            if transport not in self._subscriptions:
                if transport in _KINDS:
                    kind, topic = _KINDS[transport], self._topics[transport]
                else:
                    _, topic, kind = transport.split()
                self._subscriptions[transport] = subscribe(
                    self._node, kind, topic, self._callback, self._qos
                )
