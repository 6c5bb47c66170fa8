"""Check a recording: read parts of it as `label` would, tell what is there and what is wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam_ad_perception.bags.bundles import BundleOptions, open_feeds
from sam_ad_perception.bags.camera_views import CameraViews, choose_views
from sam_ad_perception.bags.checking.judgement import judge_views
from sam_ad_perception.bags.checking.sampled_reader import Part, SampledReader, choose_parts
from sam_ad_perception.bags.checking.sensor_check import SensorCheck
from sam_ad_perception.bags.checking.view_check import ViewCheck, ViewLook
from sam_ad_perception.bags.shared_reading import read_feeds
from sam_ad_perception.bags.topics import TopicMapping
from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensors import Modality, SensorBundle

TIME_S = 10.0
"""So long bundles are read; what was seen by then is told."""
WHOLE_S = 16.0
"""So long all of a check may take, opening and reading of times included."""
_LEAST_BUNDLES = 5
"""Of each view, however long they take: what is wrong with one frame is no finding."""
_GRACE_S = 2.0
"""So much longer a view is waited for that does not come."""
_EDGE_NS = 300_000_000


@dataclass(frozen=True, eq=False)
class RecordingCheck:
    """What a recording holds, and what is wrong with it.

    Attributes:
        path: The recording.
        duration_s: Its length, seconds.
        read_s: How much of it was read, seconds.
        views: What was seen of each of its cameras, by the name of the view; one without name
            for a single camera, or none.
        left_out: What looks like a sensor and is not read: topic, number of messages, why.
        findings: What is wrong; `out` where a sensor, or everything, is not used for it.
    """

    path: Path
    duration_s: float
    read_s: float
    views: Mapping[str, ViewCheck]
    left_out: tuple[tuple[str, str, str], ...]
    findings: tuple[Finding, ...]

    @property
    def first(self) -> ViewCheck:
        """The first view."""
        return next(iter(self.views.values()))

    @property
    def mapping(self) -> TopicMapping:
        """Which topic is which sensor, for the first view."""
        return self.first.mapping

    @property
    def sensors(self) -> tuple[SensorCheck, ...]:
        """Each sensor that was found, as the first view has it."""
        return self.first.sensors

    @property
    def bundles(self) -> int:
        """Reference frames of all views that were looked at and gave a bundle."""
        return sum(view.bundles for view in self.views.values())

    @property
    def dropped(self) -> Mapping[str, int]:
        """Reference frames of all views that gave none, by reason."""
        counted: Counter[str] = Counter()
        for view in self.views.values():
            counted.update(view.dropped)
        return dict(counted)

    @property
    def example(self) -> SensorBundle | None:
        """The bundle of the first view with most sensors; None where there is none."""
        return self.first.example

    @property
    def doubts(self) -> list[str]:
        """What was chosen although another choice is possible, one sentence each."""
        told = [doubt for view in self.views.values() for doubt in view.mapping.doubts()]
        return list(dict.fromkeys(told))


def check_recording(
    bag: Path,
    overrides: Mapping[str, str] | None = None,
    rectified: Mapping[Modality, bool] | None = None,
    options: BundleOptions | None = None,
    progress: Callable[[float, str], object] | None = None,
    *,
    wanted: Mapping[str, str] | None = None,
    views: CameraViews | None = None,
    time_s: float = TIME_S,
) -> RecordingCheck:
    """Check every camera of a recording of any length, with its other sensors, by parts of it.

    Args:
        bag: A rosbag2 recording, MCAP or SQLite.
        overrides: As for `choose_topics`.
        rectified: As for `choose_topics`.
        options: How the sensors come together.
        progress: Called with the share that is done, in [0, 1], and what is being done.
        wanted: Cameras that are looked at, as for `choose_views`; None for every one.
        views: The cameras, where they are chosen already.
        time_s: So long bundles are read, seconds.

    Returns:
        What was found.

    Raises:
        BagError: The recording cannot be read, or an override cannot be followed.
    """
    begin = time.monotonic()
    show = progress or (lambda share, what: None)
    show(0.0, 'opening')
    with SampledReader(bag) as reader:
        show(0.05, 'reading a message of each topic')
        # Which topics are sensors, and which parts of the recording are read.
        views = views or choose_views(reader, overrides, rectified, wanted)
        mappings = list(views.mappings.values())
        named = [s.data for each in mappings for s in each.sensors.values() if s.data]
        topics = list(dict.fromkeys(named))
        parts = _choose_parts(reader, topics)
        reader.limit(parts, topics)
        show(0.15, 'reading times')
        # Bundles of each view, as labelling makes them, until enough was seen.
        feeds = open_feeds(reader, mappings, options)
        looks = [ViewLook(name, reader, each) for name, each in views.mappings.items()]
        read = {topic: len(n) for feed in feeds for topic, n in feed.times.times_ns.items()}
        total = max(1, sum(read.get(topic, 0) for topic in topics))
        show(0.3, 'looking at what the sensors saw')
        start = time.monotonic()
        limit_s = min(time_s, max(0.0, begin + WHOLE_S - start))
        done = 0
        for message, due in read_feeds(reader, feeds):
            done += message is not None and message.topic in topics
            for each in due:
                result = each.result
                if not _is_inside(result.stamp_ns + each.delay_ns, parts):
                    continue
                if isinstance(result, SensorBundle):
                    result = feeds[each.view].explain(result)
                looks[each.view].add(result)
            if due:
                show(0.3 + 0.7 * min(1.0, done / total), 'looking at what the sensors saw')
            if _is_enough(time.monotonic() - start, limit_s, looks):
                break
        # Findings, by view and over all.
        show(1.0, 'done')
        found = [look.result(feed, parts) for look, feed in zip(looks, feeds, strict=True)]
        return RecordingCheck(
            bag,
            reader.duration_s,
            sum(1e-9 * (part.stop_ns - part.start_ns) for part in parts),
            {view.name: view for view in found},
            views.left_out,
            judge_views(found, feeds, reader),
        )


def _is_inside(time_ns: int, parts: tuple[Part, ...]) -> bool:
    """Whether a time is not at the edge of one of several parts, where partners are not read."""
    edge = _EDGE_NS if len(parts) > 1 else 0
    return not edge or any(p.holds(time_ns - edge) and p.holds(time_ns + edge) for p in parts)


def _is_enough(spent_s: float, time_s: float, looks: Sequence[ViewLook]) -> bool:
    """Whether to stop: each view was seen, or one was and the others do not come."""
    seen = [look.bundles >= _LEAST_BUNDLES for look in looks]
    return (spent_s > time_s and all(seen)) or (spent_s > time_s + _GRACE_S and any(seen))


def _choose_parts(reader: SampledReader, topics: Sequence[str]) -> tuple[Part, ...]:
    """Choose what is read: all, or parts of the time in which all sensors were recorded."""
    per_s = reader.size_bytes / max(1e-3, reader.duration_s)
    parts = choose_parts(reader.start_ns, reader.end_ns, per_s)
    spans = [reader.span(topic) for topic in topics]
    if parts[0].holds(reader.end_ns) or not spans:
        return parts
    first, last = max(s[0] for s in spans), min(s[1] for s in spans)
    if first >= last:  # never at one time: what leads is looked at
        first, last = reader.span(topics[0])
    return choose_parts(first, last, per_s)
