"""Label a recording: the work of the segmentation node, without ROS and without a clock.

Messages go through the same `Bundler` and the same `Segmenter` as on the vehicle (see `BagFeed`),
so the same bag gives the same masks, on any machine, at any speed. Reading, segmenting and writing
overlap (see `pipeline`); what is written, and in which order, does not depend on that. All cameras
are labelled in one run: what their views have in common is read and decoded once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sam_ad_perception.bags.bundles import BundleOptions, open_feeds
from sam_ad_perception.bags.camera_views import choose_views
from sam_ad_perception.bags.labelling.pipeline import read_ahead, write_behind
from sam_ad_perception.bags.labelling.view_run import (
    BundleSegmenter,
    LabelOptions,
    LabelReport,
    Outcome,
    ViewRun,
    percentiles,
)
from sam_ad_perception.bags.reader import BagError, BagMessage, BagReader
from sam_ad_perception.bags.sensor_messages import Unreadable
from sam_ad_perception.bags.shared_reading import Due, read_feeds
from sam_ad_perception.bags.topics import TopicMapping
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.sensors import Modality, Segmentation, SensorBundle

__all__ = ['BundleSegmenter', 'LabelOptions', 'LabelReport', 'check_sensors', 'label_bag']

AHEAD = 2
"""So many steps wait between reading and segmenting, and between segmenting and writing."""
STEP_MESSAGES = 500
STEP_BYTES = 16 << 20
"""A step ends with the message that makes a bundle due, or at so many messages or bytes."""


def label_bag(
    bag: Path,
    out: Path,
    segmenter: BundleSegmenter,
    space: LabelSpace,
    *,
    mapping: TopicMapping | None = None,
    views: Mapping[str, TopicMapping] | None = None,
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
        mapping: Which topic is which sensor, for a single camera.
        views: The same for each of several cameras, by the name of its view, which stands in
            front of the topics of its results. Where both are None, every camera is labelled, see
            `camera_views.choose_views`.
        options: What is written, and how.
        overwrite: Whether an existing recording `out` may be replaced.
        note: Kept in the metadata of `out`, see `BagWriter.note`.
        progress: Called with messages done and messages in all.
        on_mask: Called with each bundle and its result.

    Returns:
        What came out.

    Raises:
        BagError: The bag is unreadable, has no camera geometry, or no sensor; or `out` exists.
        ValueError: A selection names a class that the label space does not have.
    """
    options = options or LabelOptions()
    with BagReader(bag) as reader:
        chosen = views or ({'': mapping} if mapping is not None else choose_views(reader).mappings)
        for each in chosen.values():
            check_sensors(reader, each, options.calibration)
        with BagWriter(out, overwrite=overwrite) as writer:
            writer.note = note
            segmenter.reset()
            run = _Run(reader, writer, segmenter, space, chosen, options)
            run.prepare()
            with (
                closing(read_ahead(run.read(), AHEAD)) as steps,
                write_behind(run.write, AHEAD) as behind,
            ):
                for step in steps:
                    outcomes = [(due, run.views[due.view].segment(due.result)) for due in step.due]
                    behind.put(_Written(step, outcomes))
                    for _, outcome in outcomes:
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
        BagError: It has no sensor, or neither an image nor the geometry of the camera.
    """
    listed = ', '.join(f'{t.name} ({t.type})' for t in reader.topics)
    listed += ''.join(f'; {name}: {why}' for name, _, why in mapping.left_out())
    if not any(topics.data for topics in mapping.sensors.values()):
        raise BagError(
            f'{reader.path} has no camera and no other sensor that is known here: {listed}'
        )
    camera = mapping.sensors.get(Modality.CAMERA)
    if camera is None and Modality.CAMERA not in calibration.cameras:
        raise BagError(f'{reader.path} has no camera: neither an image nor a CameraInfo: {listed}')


@dataclass(frozen=True, eq=False)
class _Step:
    """A part of the recording.

    Attributes:
        copies: Messages that are copied.
        due: What came due with the last of its messages.
        done: Messages read so far.
    """

    copies: list[BagMessage]
    due: list[Due]
    done: int


@dataclass(frozen=True, eq=False)
class _Written:
    """What is written of a step."""

    step: _Step
    outcomes: list[tuple[Due, Outcome]]


class _Run:
    """One labelling: `read`, `segment` of its views and `write` may each have their own thread."""

    def __init__(
        self,
        reader: BagReader,
        writer: BagWriter,
        segmenter: BundleSegmenter,
        space: LabelSpace,
        views: Mapping[str, TopicMapping],
        options: LabelOptions,
    ) -> None:
        mappings = list(views.values())
        self._feeds = open_feeds(
            reader,
            mappings,
            BundleOptions(
                options.bundler, options.calibration, options.own_centre, options.plausibility
            ),
        )
        self._reader = reader
        self._writer = writer
        self._copy_inputs = options.copy_inputs
        self._names = tuple(views)
        self.views = [
            ViewRun(
                name, feed, writer, segmenter.fresh() if k else segmenter, space, mapping, options
            )
            for k, (name, mapping, feed) in enumerate(
                zip(views, mappings, self._feeds, strict=True)
            )
        ]
        used = {name for mapping in mappings for name in mapping.names}
        wanted = None if options.copy_inputs else used
        self.total = sum(t.count for t in reader.topics if wanted is None or t.name in wanted)
        self._wanted = wanted
        self._copied: set[str] = set()
        self._not_copied: list[str] = []

    def prepare(self) -> None:
        """Announce the topics."""
        for view in self.views:
            start_ns = view.start_ns
            if self._copy_inputs:
                start_ns = min(start_ns, self._reader.start_ns)
            view.announce(start_ns)
        results = {name for view in self.views for name in view.topics}
        for topic in self._reader.topics if self._copy_inputs else ():
            if topic.name in results:
                continue  # the result of an earlier labelling gives way
            if self._writer.copy_topic(topic):
                self._copied.add(topic.name)
            else:
                self._not_copied.append(topic.name)

    def read(self) -> Iterator[_Step]:
        """Read the recording in steps."""
        copies: list[BagMessage] = []
        done = begun = size = 0
        for message, due in read_feeds(self._reader, self._feeds, self._wanted):
            if message is not None:
                done += 1
                if message.topic in self._copied:
                    copies.append(message)
                    size += len(message.data)
            if due or message is None or size > STEP_BYTES or done - begun >= STEP_MESSAGES:
                yield _Step(copies, due, done)
                copies, begun, size = [], done, 0

    def write(self, written: _Written) -> None:
        """Write what a step has copied and made."""
        for message in written.step.copies:
            self._writer.copy(message)
        for due, outcome in written.outcomes:
            self.views[due.view].write(outcome, due.delay_ns)

    def report(self) -> LabelReport:
        """Sum up."""
        told = self._not_copied, self._reader.unread, self._reader.remarks
        reports = {
            name: view.report(*told) for name, view in zip(self._names, self.views, strict=True)
        }
        if self._names == ('',):
            return reports['']
        latency: dict[str, list[float]] = defaultdict(list)
        for view in self.views:
            for stage, values in view.latency_ms.items():
                latency[stage] += values
        return merge_reports(reports, latency)


def merge_reports(
    reports: Mapping[str, LabelReport], latency_ms: Mapping[str, Sequence[float]]
) -> LabelReport:
    """Sum up what came out of all views of a recording.

    Args:
        reports: Of each view, by its name.
        latency_ms: Of each mask of any view, by stage, milliseconds.

    Returns:
        Counts are sums over the views, reasons begin with the name of theirs; what is told of a
        topic stands once.
    """
    dropped, used, counters, missing = (Counter[str]() for _ in range(4))
    unreadable: dict[str, Unreadable] = {}
    notes: dict[str, int] = {}
    for name, each in reports.items():
        dropped.update({f'{name}: {why}': n for why, n in each.dropped.items()})
        missing.update({f'{name}: {why}': n for why, n in each.missing.items()})
        used.update(each.used)
        counters.update(each.counters)
        unreadable |= each.unreadable
        notes |= each.transform_notes
    first = next(iter(reports.values()))
    findings = {
        (f.finding.code, f.finding.sensor, f.finding.text): f
        for each in reports.values()
        for f in each.findings
    }
    return LabelReport(
        sum(each.frames for each in reports.values()),
        dict(dropped),
        dict(used.most_common()),
        percentiles(latency_ms),
        unreadable,
        first.not_copied,
        dict(counters),
        dict(missing),
        first.unread,
        first.remarks,
        tuple(findings.values()),
        notes,
        dict(reports),
    )
