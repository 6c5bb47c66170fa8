"""Check of one camera view of a recording, with the sensors that it shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sam_ad_perception.bags.bundles import BagFeed
from sam_ad_perception.bags.checking.sampled_reader import Part
from sam_ad_perception.bags.checking.sensor_check import SensorCheck, SensorLook, time_parts
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import TopicMapping
from sam_ad_perception.core.sensor_kinds import POINTS
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.status import ReasonTally
from sam_ad_perception.core.synchronization.bundler import BundleResult


@dataclass(frozen=True, eq=False)
class ViewCheck:
    """What was seen of one camera view.

    Attributes:
        name: Of the view; '' for a single camera.
        mapping: Which topic is which sensor.
        sensors: Each sensor that was found.
        bundles: Reference frames that were looked at and gave a bundle.
        dropped: Reference frames that gave none, by reason.
        example: The bundle with most sensors; None where there is none.
    """

    name: str
    mapping: TopicMapping
    sensors: tuple[SensorCheck, ...]
    bundles: int
    dropped: Mapping[str, int]
    example: SensorBundle | None

    @property
    def camera(self) -> SensorCheck | None:
        """Its camera; None where there is none."""
        return next((s for s in self.sensors if s.modality is Modality.CAMERA), None)


class ViewLook:
    """Gathers what bundles show of one view.

    Args:
        name: Of the view.
        reader: The recording, open.
        mapping: Which topic is which sensor.
    """

    def __init__(self, name: str, reader: BagReader, mapping: TopicMapping) -> None:
        self._name = name
        self._mapping = mapping
        self._looks = _make_looks(reader, mapping)
        self._bundles = 0
        self._dropped = ReasonTally()
        self._example: SensorBundle | None = None

    @property
    def bundles(self) -> int:
        """How many bundles there were."""
        return self._bundles

    def add(self, result: BundleResult) -> None:
        """Take a bundle, or a frame without one."""
        if not isinstance(result, SensorBundle):
            self._dropped.add(result.reason)
            return
        self._bundles += 1
        for look in self._looks.values():
            look.add(result)
        if self._example is None or len(result.frames) > len(self._example.frames):
            self._example = result

    def result(self, feed: BagFeed, parts: Sequence[Part]) -> ViewCheck:
        """Sum up.

        Args:
            feed: What gave the bundles.
            parts: What was read.
        """
        timings = {}
        for modality, look in self._looks.items():
            topic = look.topic
            if topic in feed.times.times_ns:
                times, received = feed.times.times_ns[topic], feed.times.received_ns[topic]
                timings[modality] = time_parts(times, received, parts)
        camera = timings.get(Modality.CAMERA)
        delay = camera.delay_s if camera is not None else math.nan
        sensors = [look.result(timings.get(m), delay) for m, look in self._looks.items()]
        shares = [s.in_view for s in sensors if s.modality.record.form == POINTS]
        for k, each in enumerate(sensors):
            if each.modality is Modality.CAMERA and shares:
                sensors[k] = replace(each, in_view=shares[0])
        return ViewCheck(
            self._name,
            self._mapping,
            tuple(sensors),
            self._bundles,
            self._dropped.counts,
            self._example,
        )


def _make_looks(reader: BagReader, mapping: TopicMapping) -> dict[Modality, SensorLook]:
    """Begin with what the choice of topics tells."""
    counts = {t.name: t.count for t in reader.topics}
    camera = mapping.sensors.get(Modality.CAMERA)
    leading = Modality.CAMERA if camera is not None and camera.data else None
    looks = {}
    for modality, topics in mapping.sensors.items():
        chosen = next((c for c in mapping.candidates if c.name == topics.data), None)
        others = tuple(
            (c.name, c.reason or f'{topics.data} ranks before it')
            for c in mapping.candidates
            if not c.chosen and c.role is modality
        )
        known = SensorCheck(
            modality,
            topics.data,
            chosen.reason if chosen else '',
            others,
            topics.info,
            counts.get(topics.data, 0),
            chosen.sample.coverage if chosen and chosen.sample else 1.0,
            rectified=topics.rectified if modality.info_topic else None,
        )
        beside = None if modality is Modality.CAMERA else leading
        looks[modality] = SensorLook(known, chosen, beside)
    return looks
