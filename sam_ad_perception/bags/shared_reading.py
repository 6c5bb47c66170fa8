"""Data that all camera views of a recording share: times, geometry, messages, sweeps."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from sam_ad_perception.bags.measurement_order import (
    MeasuredTimes,
    MessageTime,
    TimedMessage,
    read_in_order,
    read_times,
)
from sam_ad_perception.bags.reader import BagMessage, BagReader
from sam_ad_perception.bags.recorded_rhythm import first_stamp_ns
from sam_ad_perception.bags.sensor_messages import MessageDecoder
from sam_ad_perception.bags.topic_mapping import TopicMapping
from sam_ad_perception.core.events.packets import EVENT_PACKET_TYPES, packet_number
from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.messages.serialized_stamp import read_stamp
from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.synchronization.bundler import BundlerConfig, BundleResult
from sam_ad_perception.core.synchronization.config import SynchronizerConfig, to_ns

MOTION_AHEAD_NS = 1_000_000_000
"""Transforms and twists are read so long before their time: motion is then known on both sides."""


@dataclass(frozen=True)
class BundleOptions:
    """How the sensors of a recording come together.

    Attributes:
        bundler: As for the node.
        calibration: Transforms and camera geometry that the bag lacks.
        own_centre: See `core.geometry.cameras.camera_model_from_info`.
        plausibility: What is checked before a sensor's data is used.
    """

    bundler: BundlerConfig = field(default_factory=BundlerConfig)
    calibration: Calibration = field(default_factory=Calibration)
    own_centre: bool = False
    plausibility: PlausibilityConfig = field(default_factory=PlausibilityConfig)


class MessageClock:
    """Tells when what each message of one view tells of was measured.

    Attributes:
        data: Topic of each sensor's measurements that takes part -> the sensor.
        infos: Topic of each sensor's geometry -> the sensor.
        topics: All topics that have a place in the order of time.

    Args:
        mapping: Which topic is which sensor.
        config: How they are synchronized; a sensor that is switched off is left out.
    """

    def __init__(self, mapping: TopicMapping, config: SynchronizerConfig) -> None:
        given = {s.data: m for m, s in mapping.sensors.items() if s.data}
        self.data = {topic: m for topic, m in given.items() if config.sensors[m].enabled}
        self.infos = {s.info: m for m, s in mapping.sensors.items() if s.info}
        off = set(given) - set(self.data)
        self.topics = frozenset(mapping.names) - set(mapping.tf_static) - off
        self._tf, self._odometry = frozenset(mapping.tf), mapping.odometry
        self._offsets_ns = {m: to_ns(each.offset_s) for m, each in config.sensors.items()}

    def offset_ns(self, modality: Modality) -> int:
        """How far the clock of a sensor runs ahead, nanoseconds, as it is configured."""
        return self._offsets_ns[modality]

    def time_of(self, message: BagMessage) -> MessageTime | None:
        """Tell the time of a message, and its place among those of one time.

        What explains a frame comes before it, the camera comes last.

        Args:
            message: Of one of `topics`.

        Returns:
            The time; None for a message without: it comes first.
        """
        topic, data = message.topic, message.data
        try:
            if topic in self._tf:
                first_ns = first_stamp_ns(data)
                return None if first_ns is None else (first_ns - MOTION_AHEAD_NS, 0, 0)
            stamp_ns = read_stamp(data)
            if topic == self._odometry:
                return stamp_ns - MOTION_AHEAD_NS, 0, 0
            if topic in self.infos:
                return stamp_ns - self.offset_ns(self.infos[topic]), 1, 0
            modality = self.data[topic]
            number = packet_number(data) if message.type in EVENT_PACKET_TYPES else 0
            rank = 3 if modality is Modality.CAMERA else 2
            return stamp_ns - self.offset_ns(modality), rank, number
        except (ValueError, struct.error):  # told of where the message is read
            return None


@dataclass(frozen=True)
class SharedReading:
    """What a view of a recording needs that all views read together.

    Attributes:
        clock: Tells the times of the view's messages.
        times: Those times, of the whole recording.
        decoder: Decodes what several views take once.
    """

    clock: MessageClock
    times: MeasuredTimes
    decoder: MessageDecoder


@dataclass(frozen=True, eq=False)
class Due:
    """What came due of a view.

    Attributes:
        result: A bundle, or why there is none.
        delay_ns: How long after their time the frames of the leading sensor were recorded in this
            part of the recording, nanoseconds.
        view: Number of the view.
    """

    result: BundleResult
    delay_ns: int
    view: int = 0


class Feed(Protocol):
    """What is asked of a view here, see `bundles.BagFeed`.

    Attributes:
        times: When its messages were measured.
        geometry_topics: Topics of CameraInfo.
        fixed_topics: Topics of fixed transforms.
    """

    times: MeasuredTimes
    geometry_topics: tuple[str, ...]
    fixed_topics: tuple[str, ...]

    def read_geometry(self, message: BagMessage) -> None:
        """Take a message of either."""
        ...

    def take_due(self, due: TimedMessage) -> list[Due]:
        """Take a message in the order of time."""
        ...

    def finish(self) -> list[Due]:
        """Give out what waits."""
        ...


def share_reading(
    reader: BagReader, mappings: Sequence[TopicMapping], config: BundlerConfig
) -> list[SharedReading]:
    """Read a recording through once for what all its views need.

    Args:
        reader: The recording, open.
        mappings: Which topic is which sensor, for each view.
        config: How the sensors come together.

    Returns:
        That of each view.
    """
    clocks = [MessageClock(mapping, config.sync) for mapping in mappings]
    decoder = MessageDecoder(reader, config.max_megapixels)
    times = read_times(reader, clocks)
    return [SharedReading(c, own, decoder) for c, own in zip(clocks, times, strict=True)]


def read_ahead(reader: BagReader, feeds: Sequence[Feed]) -> None:
    """Read geometry and fixed transforms, which hold from their own time on, whenever recorded.

    Args:
        reader: The recording, open.
        feeds: Those of all views.
    """
    infos = {topic for feed in feeds for topic in feed.geometry_topics}
    for message in reader.messages(infos) if infos else ():
        for feed in feeds:
            feed.read_geometry(message)
    static = {topic for feed in feeds for topic in feed.fixed_topics}
    fixed = list(reader.messages(static)) if static else []
    for message in sorted(fixed, key=lambda each: first_stamp_ns(each.data) or 0):
        for feed in feeds:
            feed.read_geometry(message)


def read_feeds(
    reader: BagReader, feeds: Sequence[Feed], topics: Collection[str] | None = ()
) -> Iterator[tuple[BagMessage | None, list[Due]]]:
    """Read a recording once for the feeds of all its views.

    Args:
        reader: The recording, open.
        feeds: As `bundles.open_feeds` made them.
        topics: Topics that are read besides those of the sensors; None for all.

    Yields:
        Each message in the order of the recording, with what came due then; after the last
        message the rest, without a message.
    """
    for message, timed in read_in_order(reader, [feed.times for feed in feeds], topics):
        due: list[Due] = []
        for each in timed:
            due += (replace(d, view=each.view) for d in feeds[each.view].take_due(each))
        yield message, due
    yield None, [replace(d, view=view) for view, f in enumerate(feeds) for d in f.finish()]
