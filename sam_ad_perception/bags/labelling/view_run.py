"""The masks of one camera view of a recording: made, written, counted."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from sam_ad_perception.bags.bundles import BagFeed
from sam_ad_perception.bags.labelling.result_topics import ResultWriter
from sam_ad_perception.bags.reader import UnreadTopic
from sam_ad_perception.bags.sensor_messages import Unreadable
from sam_ad_perception.bags.topics import TopicMapping
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.geometry.transform_tree import MOST_NAMES
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.plausibility.monitor import FindingCount
from sam_ad_perception.core.selections.config import SelectionConfig, resolve
from sam_ad_perception.core.sensors import CameraModel, Modality, Segmentation, SensorBundle
from sam_ad_perception.core.status import FrameStatus, ReasonTally, summarize_segmentation
from sam_ad_perception.core.synchronization.bundler import BundlerConfig, BundleResult
from sam_ad_perception.core.synchronization.config import to_ns


class BundleSegmenter(Protocol):
    """What labelling asks of `modeling.inference.segmenter.Segmenter`."""

    def segment(self, bundles: Sequence[SensorBundle]) -> list[Segmentation]:
        """Segment bundles; raises ValueError, with the reason, where there is no mask."""
        ...

    def warm_up(self, camera: CameraModel) -> None:
        """Make the first frame as fast as the others."""
        ...

    def reset(self) -> None:
        """Forget the streams of another recording."""
        ...

    def fresh(self) -> BundleSegmenter:
        """Another one of the same networks, which has seen nothing: for another camera view."""
        ...


@dataclass(frozen=True)
class LabelOptions:
    """What is written, and how sensors are synchronized.

    Attributes:
        bundler: As for the node.
        calibration: Transforms and camera geometry that the bag lacks.
        copy_inputs: Whether the recorded messages are copied beside the results.
        color: Whether `semantic/color` is written.
        points: Whether `semantic/points` is written.
        own_centre: See `core.geometry.cameras.camera_model_from_info`.
        plausibility: What is checked before a sensor's data is used.
        selections: What is written of chosen classes, by name.
    """

    bundler: BundlerConfig = field(default_factory=BundlerConfig)
    calibration: Calibration = field(default_factory=Calibration)
    copy_inputs: bool = True
    color: bool = True
    points: bool = True
    own_centre: bool = False
    plausibility: PlausibilityConfig = field(default_factory=PlausibilityConfig)
    selections: Mapping[str, SelectionConfig] = field(default_factory=dict)


@dataclass(frozen=True)
class Percentiles:
    """How long a stage took, milliseconds."""

    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True)
class LabelReport:
    """What came out.

    Attributes:
        frames: Masks written.
        dropped: Reference frames without a mask, by reason (see `status.ReasonTally`).
        used: Masks by the sensors that made them, for example `camera+lidar`.
        latency_ms: Per stage, and `total`.
        unreadable: By topic.
        not_copied: Topics whose type nobody defines, so that a copy would be unreadable.
        counters: Of the bundler.
        missing: Masks without a sensor that was recorded, by sensor and reason.
        unread: Messages of the recording that nothing here reads, by topic and reason.
        remarks: What is missing of the recording, or damaged.
        findings: What could not be right about the sensors' data.
        transform_notes: What transforms changed on the way, and how sweeps tell their times, in
            words, and how often.
        views: What came out of each camera, by the name of its view; empty for a single camera.
    """

    frames: int
    dropped: Mapping[str, int]
    used: Mapping[str, int]
    latency_ms: Mapping[str, Percentiles]
    unreadable: Mapping[str, Unreadable]
    not_copied: tuple[str, ...]
    counters: Mapping[str, int]
    missing: Mapping[str, int]
    unread: tuple[UnreadTopic, ...] = ()
    remarks: tuple[str, ...] = ()
    findings: tuple[FindingCount, ...] = ()
    transform_notes: Mapping[str, int] = field(default_factory=dict)
    views: Mapping[str, LabelReport] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one reference frame.

    Attributes:
        status: What is told of it.
        mask: The bundle with its result; None where there is none.
    """

    status: FrameStatus
    mask: tuple[SensorBundle, Segmentation] | None = None


class ViewRun:
    """Labels one camera view: `segment` and `write` may each have a thread of their own.

    Attributes:
        topics: Topics that are written, and their types.

    Args:
        name: In front of its topics; '' for the only camera.
        feed: Gives the bundles.
        writer: The labelled recording, open.
        segmenter: Makes the masks.
        space: Label space of the masks.
        mapping: Which topic is which sensor.
        options: What is written, and how.
    """

    def __init__(
        self,
        name: str,
        feed: BagFeed,
        writer: BagWriter,
        segmenter: BundleSegmenter,
        space: LabelSpace,
        mapping: TopicMapping,
        options: LabelOptions,
    ) -> None:
        self._feed = feed
        # Results lie among copied messages where they came about; alone, at their own time.
        self._delay_ns = max(feed.delay_ns, 0) if options.copy_inputs else 0
        # Where time begins anew, what follows still lies behind what came before.
        self._moved_ns = feed.delay_ns - self._delay_ns
        self._segmenter = segmenter
        self._sync = options.bundler.sync
        camera = mapping.sensors.get(Modality.VIEW)
        self._results = ResultWriter(
            writer,
            space,
            rectified=camera is None or camera.rectified,
            color=options.color,
            points=options.points,
            selections=resolve(options.selections, space),
            view=name,
        )
        self.topics = self._results.topics
        self._warm = False
        self._frames = 0
        self._dropped = ReasonTally()
        self._used: Counter[str] = Counter()
        self._missing = ReasonTally()
        self._recorded = {m for m, topics in mapping.sensors.items() if topics.data}
        self._latency: dict[str, list[float]] = defaultdict(list)

    @property
    def start_ns(self) -> int:
        """When its first result may be written, nanoseconds."""
        return self._feed.start_ns + self._delay_ns

    def announce(self, now_ns: int) -> None:
        """Write what the ids of the masks mean.

        Args:
            now_ns: Time under which it is recorded, nanoseconds.
        """
        self._results.write_label_info(now_ns)

    def segment(self, result: BundleResult) -> Outcome:
        """Make a mask, or say why there is none.

        Args:
            result: What became due of the view.

        Returns:
            The outcome of its reference frame.
        """
        if isinstance(result, SensorBundle):
            outcome = self._segment(result)
        else:
            stamp_ns = self._header_stamp(result.stamp_ns, result.reference)
            outcome = Outcome(FrameStatus(stamp_ns, dropped=result.reason))
        if outcome.status.dropped is not None:
            self._dropped.add(outcome.status.dropped)
        return outcome

    def write(self, outcome: Outcome, delay_ns: int) -> None:
        """Write the outcome of a reference frame.

        Args:
            outcome: What `segment` returned.
            delay_ns: See `Due`.
        """
        now_ns = outcome.status.stamp_ns + delay_ns - self._moved_ns
        if outcome.mask is not None:
            offset_ns = self._header_stamp(0, Modality.RANGING)
            self._results.write_result(*outcome.mask, now_ns, offset_ns)
        self._results.write_status(outcome.status, now_ns)

    def report(
        self,
        not_copied: Sequence[str],
        unread: tuple[UnreadTopic, ...],
        remarks: tuple[str, ...],
    ) -> LabelReport:
        """Sum up.

        Args:
            not_copied: See `LabelReport`.
            unread: See `LabelReport`.
            remarks: See `LabelReport`.
        """
        return LabelReport(
            self._frames,
            self._dropped.counts,
            dict(self._used.most_common()),
            percentiles(self._latency),
            dict(self._feed.unreadable),
            tuple(not_copied),
            self._feed.counters,
            self._missing.counts,
            unread,
            remarks,
            self._feed.checks.findings(),
            dict(self._feed.notes.most_common(MOST_NAMES)),
        )

    @property
    def latency_ms(self) -> Mapping[str, Sequence[float]]:
        """What each mask took, by stage, milliseconds."""
        return self._latency

    def _segment(self, bundle: SensorBundle) -> Outcome:
        """Make one mask."""
        bundle = self._feed.explain(bundle)
        if not self._warm:
            self._segmenter.warm_up(bundle.camera)
            self._warm = True
        stamp_ns = self._header_stamp(bundle.stamp_ns, bundle.reference)
        start = time.perf_counter()
        try:
            (result,) = self._segmenter.segment([bundle])
        except ValueError as err:
            return Outcome(FrameStatus(stamp_ns, dropped=str(err)))
        self._latency['total'].append(1e3 * (time.perf_counter() - start))
        for stage, seconds in result.latency_s.items():
            self._latency[stage].append(1e3 * seconds)
        self._frames += 1
        self._used['+'.join(result.used)] += 1
        for modality, why in result.missing.items():
            if modality in self._recorded:
                self._missing.add(f'{modality}: {why}')
        result = replace(result, stamp_ns=stamp_ns)
        return Outcome(summarize_segmentation(result), (bundle, result))

    def _header_stamp(self, stamp_ns: int, reference: Modality) -> int:
        """The stamp that the reference frame came with, to which its mask must be equal."""
        return stamp_ns + to_ns(getattr(self._sync, reference).offset_s)


def percentiles(latency_ms: Mapping[str, Sequence[float]]) -> dict[str, Percentiles]:
    """Sum up what each stage took.

    Args:
        latency_ms: Of each mask, by stage, milliseconds.

    Returns:
        By stage.
    """
    found = {}
    for stage, values in latency_ms.items():
        p50, p95, p99 = (float(v) for v in np.percentile(values, (50, 95, 99)))
        found[stage] = Percentiles(p50, p95, p99, max(values))
    return found
