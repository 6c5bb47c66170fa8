"""Turn a recording into bundles, as the segmentation node does live.

Messages go through the same `Bundler` as on the vehicle, with the time at which they were recorded
for the time at which they arrive. So the same bag gives the same bundles, on any machine, at any
speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sam_ad_perception.bags.reader import BagMessage, BagReader
from sam_ad_perception.bags.topics import PACKET_TYPE, TopicMapping
from sam_ad_perception.core.bundler import Bundler, BundlerConfig, BundleResult
from sam_ad_perception.core.calibration import Calibration
from sam_ad_perception.core.conversions import (
    camera_from_message,
    frame_from_message,
    packet_from_message,
    transforms_from_message,
    twist_from_message,
)
from sam_ad_perception.core.event_packets import EVENT_ARRAY_TYPES, packet_from_event_array
from sam_ad_perception.core.sensors import Modality


@dataclass(frozen=True)
class BundleOptions:
    """How the sensors of a recording come together.

    Attributes:
        bundler: As for the node.
        calibration: Transforms and camera geometry that the bag lacks.
        own_centre: See `core.geometry.camera_model_from_info`.
    """

    bundler: BundlerConfig = field(default_factory=BundlerConfig)
    calibration: Calibration = field(default_factory=Calibration)
    own_centre: bool = False


@dataclass(frozen=True)
class Unreadable:
    """Messages of one topic that could not be used.

    Attributes:
        count: How many.
        reason: What was wrong with the first of them.
    """

    count: int
    reason: str


class BagFeed:
    """Gives a recording's messages to a bundler.

    Geometry and static transforms hold for the whole drive, so they are read ahead.

    Attributes:
        bundler: What the messages are given to.
        unreadable: Messages that could not be used, by topic.

    Args:
        reader: The recording, open.
        mapping: Which topic is which sensor.
        options: How the sensors come together.
    """

    def __init__(
        self, reader: BagReader, mapping: TopicMapping, options: BundleOptions | None = None
    ) -> None:
        self._options = options or BundleOptions()
        self.bundler = Bundler(self._options.bundler)
        self.unreadable: dict[str, Unreadable] = {}
        self._reader = reader
        self._mapping = mapping
        sync = self._options.bundler.sync.sensors
        self._data = {s.data: m for m, s in mapping.sensors.items() if s.data and sync[m].enabled}
        self._infos = {s.info: m for m, s in mapping.sensors.items() if s.info}
        self._read_ahead()

    def rank(self, message: BagMessage) -> int:
        """Order among messages of one time: what explains a frame first, the camera last."""
        if message.topic in self._mapping.tf or message.topic == self._mapping.odometry:
            return 0
        if message.topic in self._infos:
            return 1
        return 3 if self._data.get(message.topic) is Modality.CAMERA else 2

    def take(self, message: BagMessage) -> list[BundleResult]:
        """Take one message of the recording; one that cannot be used is counted.

        Args:
            message: The next in the order of time and `rank`.

        Returns:
            The bundles that are due.
        """
        if message.topic in self._mapping.tf_static:
            return []
        return self._handle(message)

    def _read_ahead(self) -> None:
        self._options.calibration.fill(self.bundler.transforms)
        for modality, camera in self._options.calibration.cameras.items():
            self.bundler.set_camera(modality, camera)
        for name in self._infos:
            for first in self._reader.messages([name]):
                self._handle(first)
                break
        if self._mapping.tf_static:
            for message in self._reader.messages(self._mapping.tf_static):
                self._handle(message)

    def _handle(self, message: BagMessage) -> list[BundleResult]:
        """Give a message to the bundler; one that cannot be used is counted."""
        try:
            return self._feed(message)
        except ValueError as err:
            known = self.unreadable.get(message.topic, Unreadable(0, str(err)))
            self.unreadable[message.topic] = Unreadable(known.count + 1, known.reason)
            return []

    def _feed(self, message: BagMessage) -> list[BundleResult]:
        topic, now_ns = message.topic, message.received_ns
        if topic in self._mapping.tf or topic in self._mapping.tf_static:
            tree = self.bundler.transforms
            for parent, child, stamp_ns, T in transforms_from_message(self._read(message)):
                if topic in self._mapping.tf_static:
                    tree.set_static(parent, child, T)
                else:
                    tree.add_dynamic(parent, child, stamp_ns, T)
            return []
        if topic == self._mapping.odometry:
            self.bundler.ego_motion.add_twist(*twist_from_message(self._read(message)))
            return []
        if topic in self._infos:
            modality = self._infos[topic]
            camera = camera_from_message(
                self._read(message),
                rectified=self._mapping.sensors[modality].rectified,
                own_centre=self._options.own_centre,
            )
            return self.bundler.set_camera(modality, camera)
        if topic not in self._data:
            return []
        modality = self._data[topic]
        if message.type in EVENT_ARRAY_TYPES:
            self._reader.check_type(message)
            return self.bundler.add_event_packet(packet_from_event_array(message.data), now_ns)
        if message.type == PACKET_TYPE:
            return self.bundler.add_event_packet(packet_from_message(self._read(message)), now_ns)
        return self.bundler.add_frame(frame_from_message(self._read(message), modality), now_ns)

    def _read(self, message: BagMessage) -> Any:
        return self._reader.deserialize(message)


def read_bundles(
    reader: BagReader, mapping: TopicMapping, options: BundleOptions | None = None
) -> Iterator[BundleResult]:
    """Read a recording as bundles.

    Args:
        reader: The recording, open.
        mapping: Which topic is which sensor.
        options: How the sensors come together.

    Yields:
        One bundle, or the reason for none, per reference frame, in order.

    Raises:
        BagError: A file is damaged.
    """
    feed = BagFeed(reader, mapping, options)
    stream = reader.messages(mapping.names)
    for received_ns, group in groupby(stream, key=lambda message: message.received_ns):
        for message in sorted(group, key=feed.rank):
            yield from feed.take(message)
        yield from feed.bundler.poll(received_ns)
    yield from feed.bundler.flush()
