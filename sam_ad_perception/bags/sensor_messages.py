"""From a recorded message of any sensor type to what the bundler takes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from sam_ad_perception.bags.formats.message_types import IMAGE_TYPES, VIDEO_TYPES
from sam_ad_perception.bags.formats.video import VideoTopic, codec_of_message
from sam_ad_perception.bags.reader import BagMessage, BagReader
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import (
    EVENT_ARRAY_TYPES,
    EVENT_PACKET_TYPES,
    EventDecodeError,
    EventPacket,
    packet_from_event_array,
    packet_from_message,
)
from sam_ad_perception.core.images.lazy_image import check_megapixels
from sam_ad_perception.core.messages.from_ros import (
    frame_from_message,
)
from sam_ad_perception.core.messages.image_size import image_size_of
from sam_ad_perception.core.messages.livox import LIVOX_TYPES, sweep_from_livox
from sam_ad_perception.core.plausibility.pixels import ImageChecks
from sam_ad_perception.core.sensors import Events, Modality, SensorFrame
from sam_ad_perception.core.synchronization.results import BundleResult, DroppedFrame

Decoded = Sequence[SensorFrame | EventPacket]
"""What a message holds."""


@dataclass(frozen=True)
class Unreadable:
    """Messages of one topic that could not be used.

    Attributes:
        count: How many.
        reason: What was wrong with the first of them.
    """

    count: int
    reason: str


class RefusedMessages:
    """Counts messages that cannot be used, and puts refused reference frames among the results.

    Attributes:
        by_topic: Counts and reasons.
    """

    def __init__(self) -> None:
        self.by_topic: dict[str, Unreadable] = {}
        self._frames: list[DroppedFrame] = []

    def add(self, topic: str, why: str) -> None:
        """Count one message.

        Args:
            topic: Its topic.
            why: What was wrong.
        """
        known = self.by_topic.get(topic, Unreadable(0, why))
        self.by_topic[topic] = Unreadable(known.count + 1, known.reason)

    def add_frame(self, frame: DroppedFrame) -> None:
        """Note the outcome of a reference frame that cannot be read."""
        self._frames.append(frame)

    def among(
        self, results: Sequence[BundleResult], *, to_the_end: bool = False
    ) -> list[BundleResult]:
        """Put the frames that could not be read among the results, by their stamps.

        Args:
            results: In the order of their stamps.
            to_the_end: Whether no result follows.
        """
        merged: list[BundleResult] = []
        for each in results:
            while self._frames and self._frames[0].stamp_ns <= each.stamp_ns:
                merged.append(self._frames.pop(0))
            merged.append(each)
        if to_the_end:
            merged += self._frames
            self._frames = []
        return merged


class SharedEventDecoder(EventDecoder):
    """Decodes the packets of one sensor; a packet that several views take at once only once."""

    def __init__(self) -> None:
        super().__init__()
        self._packet: EventPacket | None = None
        self._events: Events | EventDecodeError | None = None

    def decode(self, packet: EventPacket) -> Events:
        """Decode one packet, see `EventDecoder.decode`."""
        if packet is not self._packet:
            self._packet = packet
            try:
                self._events = super().decode(packet)
            except EventDecodeError as err:
                self._events = err
        if isinstance(self._events, EventDecodeError):
            raise self._events
        assert self._events is not None
        return self._events


class MessageDecoder:
    """Decodes the messages of a recording's sensors; a topic of video is decoded in its order.

    A message that several camera views take one after the other is decoded once, unless it is an
    image: images are decoded where they are used, and checked against what their view saw before.

    Args:
        reader: The recording, open.
        max_megapixels: A larger image is refused before it is decoded; None for any size.
    """

    def __init__(self, reader: BagReader, max_megapixels: float | None = None) -> None:
        self._reader = reader
        self._max_megapixels = max_megapixels
        self._videos: dict[str, VideoTopic] = {}
        self._events: dict[Hashable, SharedEventDecoder] = {}
        self._last: dict[tuple[str, Modality], tuple[BagMessage, Decoded | ValueError]] = {}

    def event_decoder(self, stream: Hashable) -> EventDecoder:
        """Find the decoder of a stream of packets, which views have in common.

        Args:
            stream: The same for views that take the same packets in the same order.
        """
        return self._events.setdefault(stream, SharedEventDecoder())

    def decode(
        self, message: BagMessage, modality: Modality, checks: ImageChecks | None = None
    ) -> Decoded:
        """Decode a message.

        Args:
            message: One of the recording.
            modality: The sensor that its topic is.
            checks: See `core.messages.from_ros.read_image`.

        Returns:
            What it holds: one frame or packet, or (video) those that are complete now.

        Raises:
            ValueError: It is damaged, or of a kind that is not read.
        """
        last = self._last.get((message.topic, modality))
        if last is None or last[0] is not message:
            decoded: Decoded | ValueError
            try:
                decoded = self._decode(message, modality, checks)
            except ValueError as err:
                decoded = err
            last = message, decoded
            if message.type not in IMAGE_TYPES or message.topic in self._videos:
                self._last[message.topic, modality] = last
        if isinstance(last[1], ValueError):
            raise last[1]
        return last[1]

    def _decode(
        self, message: BagMessage, modality: Modality, checks: ImageChecks | None
    ) -> Decoded:
        """Decode a message that was not decoded for another view just before."""
        kind = message.type
        if kind in EVENT_ARRAY_TYPES:
            self._reader.check_type(message)
            return [packet_from_event_array(message.data)]
        if kind in LIVOX_TYPES:
            self._reader.check_type(message)
            return [sweep_from_livox(message.data)]
        content = self._reader.deserialize(message)
        if kind in EVENT_PACKET_TYPES:
            return [packet_from_message(content)]
        if kind in (*IMAGE_TYPES, *VIDEO_TYPES) and codec_of_message(content):
            video = self._videos.setdefault(message.topic, VideoTopic(self._max_megapixels))
            return video.read(content, modality)
        if kind in IMAGE_TYPES and (size := image_size_of(content)) is not None:
            self._check_size(size)
        return [frame_from_message(content, modality, checks=checks)]

    def _check_size(self, size: tuple[int, int]) -> None:
        if self._max_megapixels is not None:
            check_megapixels('image', size, self._max_megapixels)
