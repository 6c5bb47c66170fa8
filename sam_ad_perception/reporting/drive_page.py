"""Writes the report of a run: the recording that went in, the bag that came out, one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.bundles import BundleOptions, read_bundles
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import TopicMapping, guess_topics
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.messages import LABELLED_POINT
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.synchronizer_config import to_ns
from sam_ad_perception.reporting import palette
from sam_ad_perception.reporting.dashboard import Dashboard, FrameView, fit_tile
from sam_ad_perception.reporting.drive_log import (
    MASK_TOPIC,
    TRUE_MASK_TOPIC,
    DriveLog,
    FrameLog,
    read_drive_log,
    read_pixels,
)
from sam_ad_perception.reporting.fault_table import rate_faults
from sam_ad_perception.reporting.figures import (
    headline,
    make_legend,
    rate_conditions,
    rate_latency,
)
from sam_ad_perception.reporting.page import Moment, Report, render_page
from sam_ad_perception.reporting.pictures import Video, encode_jpeg
from sam_ad_perception.reporting.stamped_stream import StampedStream, find_topics
from sam_ad_perception.reporting.timeline import draw_timeline

PAGE_NAME, VIDEO_NAME = 'report.html', 'overlay.webm'
VIDEO_FRAMES_AT_MOST = 400
"""Of longer drives the video, which is in the page, shows every second frame, or every third."""
MOMENTS_AT_MOST = 8
_DEPTH_TOPICS = ('depth_registered/image_rect', 'depth_registered/image_raw')
_POINTS_TOPIC = 'semantic/points'
_SWEEP_REACH_NS = 60_000_000
"""A sweep belongs to a mask if their stamps differ by less than about half its period."""


@dataclass(frozen=True)
class PageText:
    """What the page says besides its figures.

    Attributes:
        title: Heading.
        subtitle: One or two sentences below it.
        facts: Short facts at the end of the page.
    """

    title: str
    subtitle: str = ''
    facts: Mapping[str, str] = field(default_factory=dict)


def write_drive_page(
    inputs: Path,
    outputs: Path,
    folder: Path,
    space: LabelSpace,
    text: PageText,
    *,
    mapping: TopicMapping | None = None,
    options: BundleOptions | None = None,
    without: Mapping[int, ConfusionMatrix] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write `report.html` and `overlay.webm` for a run.

    Args:
        inputs: The recording that was labelled or replayed.
        outputs: The bag with the masks and statuses.
        folder: Where the page and the video go; it exists.
        space: Label space of the masks.
        text: Heading and facts.
        mapping: Which topic of the recording is which sensor; guessed where None.
        options: How its sensors come together, as when it was labelled.
        without: See `fault_table.rate_faults`.
        progress: Called with frames drawn and frames in all.

    Returns:
        The page.

    Raises:
        BagError: A bag is unreadable or holds no status.
        OSError: The page or the video cannot be written.
    """
    log = read_drive_log(inputs, outputs, space)
    with BagReader(inputs) as bag:
        mapping = mapping or guess_topics(bag.topics)
    sensors = [m for m in Modality if m in mapping.sensors and mapping.sensors[m].data]
    board = Dashboard(
        space,
        sensors,
        log.confusion is not None,
        Modality.LIDAR in sensors,
        fit_tile(_mask_size(outputs), len(sensors)),
    )
    pictures = _Pictures(log, board, Video(folder / VIDEO_NAME, _video_rate_hz(log)))
    pictures.draw(inputs, outputs, mapping, options or BundleOptions(), progress)
    statuses = [frame.status for frame in log.frames]
    faults, latency = rate_faults(log.frames, without), rate_latency(statuses)
    report = Report(
        title=text.title,
        subtitle=text.subtitle,
        headline=headline(log, faults, latency),
        video=pictures.video.close(),
        video_seconds=pictures.seconds,
        timeline=draw_timeline(log.frames, [m.value for m in sensors]),
        sensors={m.value: palette.SENSORS[m] for m in sensors},
        faults=faults,
        moments=pictures.moments,
        quality=rate_conditions(log.frames, space),
        latency=latency,
        legend=make_legend(space, log.confusion),
        facts=text.facts,
    )
    page = folder / PAGE_NAME
    scratch = page.with_suffix('.part')  # written whole or not at all
    scratch.write_text(render_page(report), encoding='utf-8')
    scratch.replace(page)
    return page


class _Pictures:
    """Draws the video and the moments while both bags are read once from front to back."""

    def __init__(self, log: DriveLog, board: Dashboard, video: Video) -> None:
        self.video = video
        self.seconds: list[float] = []
        self.moments: list[Moment] = []
        self._board = board
        self._frames = {frame.status.stamp_ns: frame for frame in log.frames}
        self._start_ns = log.frames[0].status.stamp_ns
        self._chosen = choose_moments(log.frames)
        self._stride = _stride(log)

    def draw(
        self,
        inputs: Path,
        outputs: Path,
        mapping: TopicMapping,
        options: BundleOptions,
        progress: Callable[[int, int], None],
    ) -> None:
        """Draw every frame that the video or the moments need."""
        with ExitStack() as stack:

            def stream(path: Path, names: Any, read: Callable[[Any], Any]) -> StampedStream[Any]:
                return StampedStream(stack.enter_context(BagReader(path)), names, read)

            masks = stream(outputs, MASK_TOPIC, read_pixels)
            depths = stream(outputs, _DEPTH_TOPICS, read_pixels)
            clouds = stream(outputs, _POINTS_TOPIC, _read_cloud)
            truths = stream(inputs, TRUE_MASK_TOPIC, read_pixels)
            bag = stack.enter_context(BagReader(inputs))
            done = 0
            for bundle in read_bundles(bag, mapping, options):
                if not isinstance(bundle, SensorBundle):
                    continue
                offset_s = getattr(options.bundler.sync, bundle.reference).offset_s
                stamp_ns = bundle.stamp_ns + to_ns(offset_s)
                frame = self._frames.get(stamp_ns)
                if frame is None:
                    continue
                if done % self._stride == 0 or stamp_ns in self._chosen:
                    used = Modality.LIDAR in frame.status.used
                    view = FrameView(
                        frame,
                        1e-9 * (stamp_ns - self._start_ns),
                        bundle,
                        masks.at(stamp_ns),
                        depths.at(stamp_ns),
                        clouds.nearest(stamp_ns, _SWEEP_REACH_NS) if used else None,
                        truths.at(stamp_ns),
                    )
                    self._add(view, film=done % self._stride == 0)
                done += 1
                progress(done, len(self._frames))

    def _add(self, view: FrameView, *, film: bool) -> None:
        if film:
            self.video.add(self._board.compose(view))
            self.seconds.append(round(view.seconds, 3))
        if view.frame.status.stamp_ns in self._chosen:
            tiles = self._board.tiles(view)
            pictures = {t.caption: encode_jpeg(t.picture) for t in tiles if t.picture is not None}
            title = f'{view.seconds:.1f} s'
            if view.frame.condition:
                title += f', {view.frame.condition}'
            for sensor, kind in view.frame.faults.items():
                title += f', {sensor}: {kind.replace("_", " ")}'
            self.moments.append(Moment(title, view.frame.status.message, pictures))


def _mask_size(outputs: Path) -> tuple[int, int]:
    """`(H, W)` of the first mask, pixels; that of a common camera where there is none."""
    with BagReader(outputs) as bag:
        for message in bag.messages(find_topics(bag, MASK_TOPIC)):
            mask = bag.deserialize(message)
            return read_pixels(mask).shape[:2]
    return 400, 640


def _read_cloud(message: Any) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Points and labels of a `semantic/points`, as this package writes it."""
    joined = np.frombuffer(bytes(message.data), LABELLED_POINT)
    points = np.stack([joined['x'], joined['y'], joined['z']], axis=1)
    return points, joined['label'].astype(np.uint8)


def choose_moments(frames: tuple[FrameLog, ...]) -> set[int]:
    """Choose stamps worth showing: the middle of each stretch in which nothing changes.

    Args:
        frames: Ordered by stamp.

    Returns:
        At most `MOMENTS_AT_MOST` stamps, longest stretches first; the same sensors in the same
        condition with the same faults are not shown again.
    """
    stretches: list[list[FrameLog]] = []
    for frame in frames:
        if not stretches or _situation(stretches[-1][-1]) != _situation(frame):
            stretches.append([])
        stretches[-1].append(frame)
    chosen: dict[tuple[Any, ...], int] = {}
    for stretch in sorted(stretches, key=len, reverse=True):
        middle = stretch[len(stretch) // 2]
        if len(chosen) < MOMENTS_AT_MOST:
            chosen.setdefault(_situation(middle), middle.status.stamp_ns)
    return set(chosen.values())


def _situation(frame: FrameLog) -> tuple[Any, ...]:
    return frame.status.used, frame.condition, tuple(frame.faults.items())


def _stride(log: DriveLog) -> int:
    return -(-len(log.frames) // VIDEO_FRAMES_AT_MOST)


def _video_rate_hz(log: DriveLog) -> float:
    """The rate of the masks; a video that leaves frames out runs faster than the drive."""
    stamps = [frame.status.stamp_ns for frame in log.frames]
    if len(stamps) < 2 or stamps[-1] == stamps[0]:
        return 10.0
    return (len(stamps) - 1) * 1e9 / (stamps[-1] - stamps[0])
