"""Turn a recording into bundles, as the segmentation node does live with the same messages.

Messages go through the same `Bundler` as on the vehicle, but in the order of their own times and
as if each had arrived at its time: when and in which order a recorder wrote them has no effect.
Each reference frame gets the best partners of the whole recording.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sam_ad_perception.bags.measurement_order import TimedMessage
from sam_ad_perception.bags.reader import BagMessage, BagReader
from sam_ad_perception.bags.recorded_rhythm import (
    parts_of,
    period_s,
    recorded_bundler,
)
from sam_ad_perception.bags.sensor_messages import RefusedMessages, Unreadable
from sam_ad_perception.bags.shared_reading import (
    BundleOptions,
    Due,
    SharedReading,
    read_ahead,
    read_feeds,
    share_reading,
)
from sam_ad_perception.bags.topics import TopicMapping
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import EventPacket
from sam_ad_perception.core.messages.from_ros import (
    read_camera_info,
    stamp_of,
    twist_from_message,
)
from sam_ad_perception.core.messages.transforms import TransformFeed
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.sensors import Modality, PointCloud, SensorBundle, SensorFrame
from sam_ad_perception.core.synchronization.bundler import BundleResult
from sam_ad_perception.core.synchronization.config import to_ns
from sam_ad_perception.core.synchronization.measured_times import describe_sweep_times
from sam_ad_perception.core.synchronization.results import DroppedFrame
from sam_ad_perception.core.synchronization.sensor_track import NEVER_SEEN

__all__ = ['BagFeed', 'BundleOptions', 'open_feeds', 'read_bundles']


class BagFeed:
    """Gives a recording's messages to a bundler.

    Camera infos and static transforms are read ahead: each holds from its own time on, whenever
    it was recorded.

    Attributes:
        bundler: What the messages are given to.
        notes: What transforms changed on the way, and how sweeps tell their times, in words, and
            how often.
        checks: Tells what cannot be right about the sensors' data.
        delay_ns: Median of when frames of the leading sensor were recorded minus their time, in
            the part of the recording that is read.
        times: When its messages were measured.
        geometry_topics: Topics of CameraInfo, which are read ahead.
        fixed_topics: Topics of fixed transforms, likewise.

    Args:
        reader: The recording, open.
        mapping: Which topic is which sensor.
        options: How the sensors come together.
        shared: What other views of the recording have read already; see `open_feeds`.
    """

    def __init__(
        self,
        reader: BagReader,
        mapping: TopicMapping,
        options: BundleOptions | None = None,
        shared: SharedReading | None = None,
    ) -> None:
        self._options = options or BundleOptions()
        self.notes: Counter[str] = Counter()
        self._described: set[str] = set()
        self._reader = reader
        self._refused = RefusedMessages()
        self._mapping = mapping
        own = shared or share_reading(reader, [mapping], self._options.bundler)[0]
        self._clock, self.times, self._decoder = own.clock, own.times, own.decoder
        self._data, self._infos = self._clock.data, self._clock.infos
        self.geometry_topics, self.fixed_topics = tuple(self._infos), mapping.tf_static
        offsets_ns = {m: self._clock.offset_ns(m) for m in self._options.bundler.sync.sensors}
        self.checks = PlausibilityMonitor(self._options.plausibility, offsets_ns)
        self.checks.tell(s.finding for s in mapping.sensors.values() if s.finding is not None)
        parted = bool(getattr(reader, 'parts', ()))
        self.times.separate(parts_of(self.times, self._data, pauses=not parted))
        self._parts = 1 + max((int(p[-1]) for p in self.times.parts.values() if len(p)), default=0)
        if self._parts > 1:
            self.notes[f'time begins anew {self._parts - 1} times: parts are read one by one'] = 1
        self._past: Counter[str] = Counter()
        self._corrected: set[str] = set()
        for part in range(self._parts):
            self._check_clocks(part)
        self._correct_clocks()
        self._begin(0)
        if shared is None:
            read_ahead(reader, [self])

    def read(
        self, topics: Collection[str] | None = ()
    ) -> Iterator[tuple[BagMessage | None, list[BundleResult]]]:
        """Read the recording.

        Args:
            topics: Topics that are read besides those of the sensors; None for all.

        Yields:
            Each message in the order of the recording, with the bundles that are complete then;
            after the last one the rest, without a message. Bundles come in the order of their
            stamps, part after part where time begins anew. A message that cannot be used is
            counted.
        """
        for message, due in read_feeds(self._reader, [self], topics):
            yield message, [each.result for each in due]

    def take_due(self, due: TimedMessage) -> list[Due]:
        """Take one message at its own time; where a part begins, what is left of the one before.

        Args:
            due: The next in the order of measurement.

        Returns:
            What is due then.
        """
        rest: list[Due] = []
        if due.part != self._part:
            rest = self.finish()
            self._past.update(self.bundler.counters)
            known = dict(self._refused.by_topic), self.notes.copy()
            self._begin(due.part)
            read_ahead(self._reader, [self])
            self._refused.by_topic, self.notes = known  # told of once
        self._now_ns = due.time_ns
        results = self._refused.among(self.take(due.message))
        return rest + [Due(each, self.delay_ns) for each in results]

    def finish(self) -> list[Due]:
        """Give out what waits: the recording, or a part of it, is read."""
        rest = self._refused.among(self._checked(self.bundler.flush()), to_the_end=True)
        self._count_events()  # those after the last frame, too
        return [Due(each, self.delay_ns) for each in rest]

    def read_geometry(self, message: BagMessage) -> None:
        """Take a CameraInfo or fixed transforms ahead of their time; none of other views."""
        topic = message.topic
        if topic in self.fixed_topics:
            self._handle(message)
        elif topic in self._infos:
            here = self.times.parts[topic] == self._part
            if here[self._seen[topic]] or not here.any():
                self._handle(message)
            self._seen[topic] += 1

    def take(self, message: BagMessage) -> list[BundleResult]:
        """Take one message of the recording; one that cannot be used is counted.

        Args:
            message: The next in the order of measurement.

        Returns:
            The bundles that are due.
        """
        if message.topic in self._infos:
            return []  # read ahead
        return self._checked(self._handle(message))

    @property
    def counters(self) -> dict[str, int]:
        """Those of the bundler; `time_jumps` in the order of the recording."""
        jump_ns = to_ns(self._options.bundler.sync.time_jump_s)
        times = [
            self.times.times_ns[topic] for topic in self._data if topic in self.times.times_ns
        ]
        back = [int(np.sum(np.diff(each) < -jump_ns)) for each in times]
        counted = Counter(self.bundler.counters)
        counted.update(self._past)
        return dict(counted) | {'time_jumps': max(back, default=0)}

    @property
    def unreadable(self) -> dict[str, Unreadable]:
        """Messages, and transforms within them, that could not be used, by topic."""
        return self._refused.by_topic

    @property
    def start_ns(self) -> int:
        """The first time that a sensor tells, nanoseconds; 0 where there is none."""
        data = [self.times.times_ns[topic] for topic in self._data if topic in self.times.times_ns]
        return min((int(times.min()) for times in data if len(times)), default=0)

    def _median_delay_ns(self) -> int:
        """See `delay_ns`; 0 where there is no frame of a leading sensor."""
        for name in self._options.bundler.sync.reference:
            for topic, modality in self._data.items():
                if modality == name and len(times := self.times.times_in(topic, self._part)):
                    here = self.times.parts[topic] == self._part
                    return int(np.median(self.times.received_ns[topic][here] - times))
        return 0

    def _check_clocks(self, part: int) -> None:
        """Hold all stamps of a part against their arrival, before the first is used."""
        self.checks.begin_part(part)
        for topic, modality in self._data.items():
            if topic not in self.times.times_ns:
                continue
            stamps = (self.times.times_in(topic, part) + self._clock.offset_ns(modality)).tolist()
            inside = self.times.parts[topic] == part
            received = self.times.received_ns[topic][inside].tolist()
            self.checks.observe_all(modality, zip(stamps, received, strict=True))
        self.checks.read_ahead_done()

    def _correct_clocks(self) -> None:
        """Put corrected stamps in place of those of clocks that are to be corrected."""
        for topic, modality in self._data.items():
            times_ns = self.times.times_ns.get(topic)
            if times_ns is None or self._options.plausibility.clock != 'correct':
                continue
            fixed = times_ns.copy()
            for k, part in enumerate(self.times.parts[topic].tolist()):
                self.checks.begin_part(part)
                fixed[k] = self.checks.corrected_stamp(modality, int(times_ns[k]))
            if not np.array_equal(fixed, times_ns):
                self._corrected.add(topic)
            self.times.shift(topic, fixed)

    def _begin(self, part: int) -> None:
        """Begin a part of the recording: with a bundler of its own."""
        self._part = part
        self.checks.begin_part(part)
        periods = {
            m: period_s(self.times.times_in(topic, part))
            for topic, m in self._data.items()
            if self.checks.admit(m) is None
        }
        events = self._event_decoder(part)
        self.bundler = recorded_bundler(self._options.bundler, periods, events)
        self._transforms = TransformFeed(self.bundler.transforms, self._mapping.sensor_names)
        self._now_ns = 0
        self._seen: Counter[str] = Counter()
        self.delay_ns = self._median_delay_ns()
        self._options.calibration.fill(self.bundler.transforms)
        for modality, camera in self._options.calibration.cameras.items():
            self.bundler.set_camera(modality, camera)

    def _event_decoder(self, part: int) -> EventDecoder | None:
        """Decoder of the events, in common with views that take the same packets; None: an own."""
        topic = next((t for t, m in self._data.items() if m is Modality.EVENT), '')
        if topic not in self.times.keys or topic in self._corrected:
            return None
        order = self.times.keys[topic].tobytes(), self.times.parts[topic].tobytes()
        return self._decoder.event_decoder((topic, part, hash(order)))

    def _count_events(self) -> None:
        if Modality.EVENT in self._data.values():
            self.checks.count_events(self.bundler.counters, self.bundler.event_size)

    def _checked(self, results: list[BundleResult]) -> list[BundleResult]:
        """Take out of bundles what cannot be right."""
        if results:
            self._count_events()
        return [
            self.checks.check_bundle(each) if isinstance(each, SensorBundle) else each
            for each in results
        ]

    def explain(self, bundle: SensorBundle) -> SensorBundle:
        """Say of a sensor that was never seen whether something of it was recorded.

        Args:
            bundle: A bundle of this feed.

        Returns:
            The same; where messages came and none could be read, or were of a type that is not
            read, that is the reason.
        """
        missing = dict(bundle.missing)
        for modality, why in bundle.missing.items():
            if why != NEVER_SEEN:
                continue
            topics = self._mapping.sensors.get(modality)
            refused = self.unreadable.get(topics.data) if topics else None
            if refused is not None:
                missing[modality] = f'none of its messages can be read: {refused.reason}'
            elif reason := self._mapping.reason_for_none(modality):
                missing[modality] = f'not read: {reason}'
        return replace(bundle, missing=missing)

    def _handle(self, message: BagMessage) -> list[BundleResult]:
        """Give a message to the bundler; one that cannot be used is counted."""
        try:
            return self._feed(message)
        except ValueError as err:
            self._refused.add(message.topic, str(err))
            self._note_refused(message, str(err))
            return []

    def _note_refused(self, message: BagMessage, reason: str) -> None:
        """Note the outcome of a frame of the first leading sensor that cannot be read."""
        sync = self._options.bundler.sync
        leading = next((m for m in sync.reference if m in self._data.values()), None)
        modality = self._data.get(message.topic)
        told = None if modality is None or modality != leading else self._clock.time_of(message)
        if told is not None and modality is not None:
            self._refused.add_frame(DroppedFrame(told[0], f'unreadable: {reason}', modality))

    def _feed(self, message: BagMessage) -> list[BundleResult]:
        # Transforms and odometry: where the sensors are.
        topic, now_ns = message.topic, self._now_ns
        if topic in self._mapping.tf or topic in self._mapping.tf_static:
            static = topic in self._mapping.tf_static
            report = self._transforms.take(
                self._read(message), topic, static=static, received_ns=message.received_ns
            )
            for why in report.refused:
                self._refused.add(topic, why)
            self.notes.update(f'{topic}: {note}' for note in report.notes)
            return []
        if topic == self._mapping.odometry:
            self.bundler.ego_motion.add_twist(*twist_from_message(self._read(message)))
            return []
        # Geometry of a camera.
        if topic in self._infos:
            modality = self._infos[topic]
            info = self._read(message)
            camera = read_camera_info(
                info,
                rectified=self._mapping.sensors[modality].rectified,
                own_centre=self._options.own_centre,
            )
            return self.bundler.set_camera(modality, camera, stamp_of(info))
        # Data: refused before it is decoded where its clock or size cannot be.
        if topic not in self._data:
            return []
        modality = self._data[topic]
        if self.checks.admit(modality) is not None:
            return []
        told = self._clock.time_of(message)
        stamp_ns = None if told is None else told[0] + self._clock.offset_ns(modality)
        if (odd := self.checks.admit(modality, stamp_ns)) is not None:
            raise ValueError(odd.text)
        # Decoded, with its stamp corrected, it may complete bundles.
        results: list[BundleResult] = []
        for each in self._decoder.decode(message, modality, self.checks.checks(modality)):
            stamp_ns = self.checks.corrected_stamp(modality, each.stamp_ns)
            if isinstance(each, EventPacket):
                same = stamp_ns == each.stamp_ns  # other views know the packet again
                packet = each if same else replace(each, stamp_ns=stamp_ns)
                results += self.bundler.add_event_packet(packet, now_ns)
            else:
                self._describe(topic, each)
                frame = self.checks.check_frame(each, message.received_ns)
                results += self.bundler.add_frame(replace(frame, stamp_ns=stamp_ns), now_ns)
        return results

    def _describe(self, topic: str, frame: SensorFrame) -> None:
        """Note, once per topic, how sweeps tell when they were measured."""
        if isinstance(frame.data, PointCloud) and topic not in self._described:
            self._described.add(topic)
            convention = self._options.bundler.sync.sensors[frame.modality].sweep_stamp
            self.notes[f'{topic}: {describe_sweep_times(frame.data, convention)}'] += 1

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
    for _, results in feed.read():
        yield from results


def open_feeds(
    reader: BagReader, mappings: Sequence[TopicMapping], options: BundleOptions | None = None
) -> list[BagFeed]:
    """Prepare the views of several cameras; the recording is read through once for all of them.

    Args:
        reader: The recording, open.
        mappings: Which topic is which sensor, for each view.
        options: How the sensors come together.

    Returns:
        The feed of each view, for `read_feeds`.
    """
    options = options or BundleOptions()
    shared = share_reading(reader, mappings, options.bundler)
    feeds = [
        BagFeed(reader, mapping, options, own)
        for mapping, own in zip(mappings, shared, strict=True)
    ]
    read_ahead(reader, feeds)
    return feeds
