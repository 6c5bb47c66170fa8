"""Label a recording: the work of the segmentation node, without ROS and without a clock.

Messages go through the same `Bundler` and the same `Segmenter` as on the vehicle (see `BagFeed`),
so the same bag gives the same masks, on any machine, at any speed. Reading, segmenting and writing
overlap (see `pipeline`); what is written, and in which order, does not depend on that.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np

from sam_ad_perception.bags.bundles import BagFeed, BundleOptions, Unreadable
from sam_ad_perception.bags.pipeline import read_ahead, write_behind
from sam_ad_perception.bags.reader import BagError, BagMessage, BagReader
from sam_ad_perception.bags.results import ResultWriter
from sam_ad_perception.bags.topics import TopicMapping, guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.bundler import BundlerConfig, BundleResult
from sam_ad_perception.core.calibration import Calibration
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.sensors import CameraModel, Modality, Segmentation, SensorBundle
from sam_ad_perception.core.status import FrameStatus, summarize_segmentation, without_figures
from sam_ad_perception.core.synchronizer_config import to_ns

AHEAD = 2
"""So many steps wait between reading and segmenting, and between segmenting and writing."""
STEP_MESSAGES = 500
STEP_BYTES = 16 << 20
"""A step ends with the message that makes a bundle due, or at so many messages or bytes."""


class BundleSegmenter(Protocol):
    """What labelling asks of `modeling.segmenter.Segmenter`."""

    def segment(self, bundles: Sequence[SensorBundle]) -> list[Segmentation]:
        """Segment bundles; raises ValueError, with the reason, where there is no mask."""
        ...

    def warm_up(self, camera: CameraModel) -> None:
        """Make the first frame as fast as the others."""
        ...

    def reset(self) -> None:
        """Forget the streams of another recording."""
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
        own_centre: See `core.geometry.camera_model_from_info`.
    """

    bundler: BundlerConfig = field(default_factory=BundlerConfig)
    calibration: Calibration = field(default_factory=Calibration)
    copy_inputs: bool = True
    color: bool = True
    points: bool = True
    own_centre: bool = False


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
        dropped: Reference frames without a mask, by reason (`status.without_figures`).
        used: Masks by the sensors that made them, for example `camera+lidar`.
        latency_ms: Per stage, and `total`.
        unreadable: By topic.
        not_copied: Topics whose type nobody defines, so that a copy would be unreadable.
        counters: Of the bundler.
        missing: Masks without a sensor that was recorded, by sensor and reason.
    """

    frames: int
    dropped: Mapping[str, int]
    used: Mapping[str, int]
    latency_ms: Mapping[str, Percentiles]
    unreadable: Mapping[str, Unreadable]
    not_copied: tuple[str, ...]
    counters: Mapping[str, int]
    missing: Mapping[str, int]


def label_bag(
    bag: Path,
    out: Path,
    segmenter: BundleSegmenter,
    space: LabelSpace,
    *,
    mapping: TopicMapping | None = None,
    options: LabelOptions | None = None,
    overwrite: bool = False,
    note: str = '',
    progress: Callable[[int, int], object] | None = None,
    on_mask: Callable[[SensorBundle, Segmentation], object] | None = None,
) -> LabelReport:
    """Label a recording.

    Args:
        bag: A rosbag2 recording, MCAP or SQLite.
        out: Folder of the labelled recording (MCAP).
        segmenter: Makes the masks, in the calling thread.
        space: Label space of its masks.
        mapping: Which topic is which sensor; guessed where None.
        options: What is written, and how.
        overwrite: Whether an existing recording `out` may be replaced.
        note: Kept in the metadata of `out`, see `BagWriter.note`.
        progress: Called with messages done and messages in all.
        on_mask: Called with each bundle and its result.

    Returns:
        What came out.

    Raises:
        BagError: The bag is unreadable, has no camera geometry, or no sensor; or `out` exists.
    """
    options = options or LabelOptions()
    with BagReader(bag) as reader:
        mapping = mapping or guess_topics(reader.topics)
        check_sensors(reader, mapping, options.calibration)
        with BagWriter(out, overwrite=overwrite) as writer:
            writer.note = note
            segmenter.reset()
            run = _Run(reader, writer, segmenter, space, mapping, options)
            run.prepare()
            with (
                closing(read_ahead(run.read(), AHEAD)) as steps,
                write_behind(run.write, AHEAD) as behind,
            ):
                for step in steps:
                    outcomes = [run.segment(result) for result in step.due]
                    behind.put(_Written(step, outcomes))
                    for outcome in outcomes:
                        if on_mask is not None and outcome.mask is not None:
                            on_mask(*outcome.mask)
                    if progress is not None:
                        progress(step.done, run.total)
    return run.report()


def check_sensors(reader: BagReader, mapping: TopicMapping, calibration: Calibration) -> None:
    """Refuse a recording from which no mask can come.

    Args:
        reader: The recording.
        mapping: Its sensors.
        calibration: Camera geometry that the bag lacks.

    Raises:
        BagError: It has no sensor, or no geometry of the camera.
    """
    listed = ', '.join(f'{t.name} ({t.type})' for t in reader.topics)
    if not any(topics.data for topics in mapping.sensors.values()):
        raise BagError(
            f'{reader.path} has no camera and no other sensor that is known here: {listed}'
        )
    camera = mapping.sensors.get(Modality.CAMERA)
    if Modality.CAMERA in calibration.cameras or (camera and camera.info):
        return
    if camera is None:
        raise BagError(f'{reader.path} has no camera: neither an image nor a CameraInfo: {listed}')
    raise BagError(
        f'{reader.path} has no CameraInfo for {camera.data}; without the geometry of the camera '
        'there is no mask (name the topic, or give a calibration file)'
    )


@dataclass(frozen=True, eq=False)
class _Step:
    """A part of the recording.

    Attributes:
        copies: Messages that are copied.
        due: What came due with the last of its messages.
        now_ns: Time under which that is recorded.
        done: Messages read so far.
    """

    copies: list[BagMessage]
    due: list[BundleResult]
    now_ns: int
    done: int


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What became of one reference frame; `mask` is the bundle with its result, or None."""

    status: FrameStatus
    mask: tuple[SensorBundle, Segmentation] | None = None


@dataclass(frozen=True, eq=False)
class _Written:
    """What is written of a step."""

    step: _Step
    outcomes: list[_Outcome]


class _Run:
    """One labelling: `read`, `segment` and `write` may each have a thread of their own."""

    def __init__(
        self,
        reader: BagReader,
        writer: BagWriter,
        segmenter: BundleSegmenter,
        space: LabelSpace,
        mapping: TopicMapping,
        options: LabelOptions,
    ) -> None:
        self.feed = BagFeed(
            reader,
            mapping,
            BundleOptions(options.bundler, options.calibration, options.own_centre),
        )
        self._reader = reader
        self._writer = writer
        self._segmenter = segmenter
        self._options = options
        camera = mapping.sensors.get(Modality.CAMERA)
        self._results = ResultWriter(
            writer,
            space,
            rectified=camera is None or camera.rectified,
            color=options.color,
            points=options.points,
        )
        wanted = None if options.copy_inputs else set(mapping.names)
        self.total = sum(t.count for t in reader.topics if wanted is None or t.name in wanted)
        self._wanted = wanted
        self._copied: set[str] = set()
        self._not_copied: list[str] = []
        self._warm = False
        self._frames = 0
        self._dropped: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._recorded = {m for m, topics in mapping.sensors.items() if topics.data}
        self._latency: dict[str, list[float]] = defaultdict(list)

    def prepare(self) -> None:
        """Announce the topics."""
        self._results.write_label_info(self._reader.start_ns)
        for topic in self._reader.topics if self._options.copy_inputs else ():
            if topic.name in self._results.topics:
                continue  # the result of an earlier labelling gives way
            if self._writer.copy_topic(topic):
                self._copied.add(topic.name)
            else:
                self._not_copied.append(topic.name)

    def read(self) -> Iterator[_Step]:
        """Read the recording in steps."""
        copies: list[BagMessage] = []
        done = begun = size = 0
        stream = self._reader.messages(self._wanted)
        for received_ns, group in groupby(stream, key=lambda message: message.received_ns):
            for message in sorted(group, key=self.feed.rank):
                if message.topic in self._copied:
                    copies.append(message)
                    size += len(message.data)
                due = self.feed.take(message)
                done += 1
                if due or size > STEP_BYTES or done - begun >= STEP_MESSAGES:
                    yield _Step(copies, due, received_ns, done)
                    copies, begun, size = [], done, 0
            if due := self.feed.bundler.poll(received_ns):
                yield _Step(copies, due, received_ns, done)
                copies, begun, size = [], done, 0
        yield _Step(copies, self.feed.bundler.flush(), self._reader.end_ns, done)

    def segment(self, result: BundleResult) -> _Outcome:
        """Make a mask, or say why there is none."""
        if isinstance(result, SensorBundle):
            outcome = self._segment(result)
        else:
            stamp_ns = self._header_stamp(result.stamp_ns, result.reference)
            outcome = _Outcome(FrameStatus(stamp_ns, dropped=result.reason))
        if outcome.status.dropped is not None:
            self._dropped[without_figures(outcome.status.dropped)] += 1
        return outcome

    def write(self, written: _Written) -> None:
        """Write what a step has copied and made."""
        for message in written.step.copies:
            self._writer.copy(message)
        for outcome in written.outcomes:
            if outcome.mask is not None:
                self._results.write_result(*outcome.mask, written.step.now_ns)
            self._results.write_status(outcome.status, written.step.now_ns)

    def report(self) -> LabelReport:
        """Sum up."""
        latency = {}
        for stage, values in self._latency.items():
            p50, p95, p99 = (float(v) for v in np.percentile(values, (50, 95, 99)))
            latency[stage] = Percentiles(p50, p95, p99, max(values))
        return LabelReport(
            self._frames,
            dict(self._dropped.most_common()),
            dict(self._used.most_common()),
            latency,
            dict(self.feed.unreadable),
            tuple(self._not_copied),
            self.feed.bundler.counters,
            dict(self._missing.most_common()),
        )

    def _segment(self, bundle: SensorBundle) -> _Outcome:
        """Make one mask."""
        if not self._warm:
            self._segmenter.warm_up(bundle.camera)
            self._warm = True
        stamp_ns = self._header_stamp(bundle.stamp_ns, bundle.reference)
        start = time.perf_counter()
        try:
            (result,) = self._segmenter.segment([bundle])
        except ValueError as err:
            return _Outcome(FrameStatus(stamp_ns, dropped=str(err)))
        self._latency['total'].append(1e3 * (time.perf_counter() - start))
        for stage, seconds in result.latency_s.items():
            self._latency[stage].append(1e3 * seconds)
        self._frames += 1
        self._used['+'.join(result.used)] += 1
        for modality, why in result.missing.items():
            if modality in self._recorded:
                self._missing[f'{modality}: {without_figures(why)}'] += 1
        result = replace(result, stamp_ns=stamp_ns)
        return _Outcome(summarize_segmentation(result), (bundle, result))

    def _header_stamp(self, stamp_ns: int, reference: Modality) -> int:
        """The stamp that the reference frame came with, to which its mask must be equal."""
        return stamp_ns + to_ns(getattr(self._options.bundler.sync, reference).offset_s)
