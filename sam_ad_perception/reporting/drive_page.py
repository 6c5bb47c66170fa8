"""Writes the report of a run: the recording that went in, the bag that came out, one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.bundles import BundleOptions, read_bundles
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import TopicMapping, choose_topics
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.messages.labelled_cloud import read_labelled_points
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.stability.mask_stability import MaskStability
from sam_ad_perception.core.stability.picture_motion import estimate_motion
from sam_ad_perception.core.synchronization.config import to_ns
from sam_ad_perception.core.transaction import write_file
from sam_ad_perception.reporting.dashboard import Dashboard, FrameView, fit_tile
from sam_ad_perception.reporting.drawing import palette
from sam_ad_perception.reporting.drawing.pictures import Video, encode_jpeg
from sam_ad_perception.reporting.drive_log import (
    MASK_TOPIC,
    TRUE_MASK_TOPIC,
    DriveLog,
    FrameLog,
    of_view,
    read_drive_log,
    read_pixels,
)
from sam_ad_perception.reporting.fault_table import rate_faults
from sam_ad_perception.reporting.glossary import GLOSSARY
from sam_ad_perception.reporting.outages import find_outages, judged_share, say_summary
from sam_ad_perception.reporting.page import Moment, Report, render_page, render_views
from sam_ad_perception.reporting.run_rates import RunRate, head_rates, say_rate
from sam_ad_perception.reporting.stamped_stream import StampedStream, find_topics
from sam_ad_perception.reporting.summary_figures import (
    headline,
    make_legend,
    rate_conditions,
    rate_latency,
)
from sam_ad_perception.reporting.timeline import draw_timeline

PAGE_NAME, VIDEO_NAME = 'report.html', 'overlay.webm'
VIDEO_FRAMES_AT_MOST = 400
"""Of longer drives the video, which is in the page, shows every second frame, or every third."""
MOMENTS_AT_MOST = 8
OUTAGES_SHOWN = 40
"""So many outages have a picture each."""
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
        left_out: Topics that look like a sensor's and were not read: name, messages, why.
        warning: What a reader must know of the networks.
        runs: How fast the drive was run, where that was measured; the page shows the first.
    """

    title: str
    subtitle: str = ''
    facts: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[tuple[str, str, str]] = ()
    warning: str = ''
    runs: Sequence[RunRate] = ()


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
    tell: Callable[[str], object] = lambda line: None,
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
        tell: Called with the first line of the page.

    Returns:
        The page.

    Raises:
        BagError: A bag is unreadable or holds no status.
        OSError: The page or the video cannot be written.
    """
    view = View('', mapping, options or BundleOptions())
    run = Run(inputs, outputs, folder, space, without or {}, tell)
    return _write(folder, _draw_view(run, view, text, progress))


def write_views_page(
    inputs: Path,
    outputs: Path,
    folder: Path,
    space: LabelSpace,
    text: PageText,
    views: Mapping[str, TopicMapping],
    *,
    options: BundleOptions | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], object] = lambda line: None,
) -> Path:
    """Write one `report.html` for all camera views of a run, and a video for each.

    Args:
        inputs: See `write_drive_page`.
        outputs: See `write_drive_page`.
        folder: See `write_drive_page`.
        space: See `write_drive_page`.
        text: See `write_drive_page`.
        views: Which topic of the recording is which sensor, by the name of each view.
        options: See `write_drive_page`.
        progress: See `write_drive_page`.
        tell: Called with the first line of each view.

    Returns:
        The page.

    Raises:
        BagError: A bag is unreadable or holds no status.
        OSError: The page or a video cannot be written.
    """
    run = Run(inputs, outputs, folder, space, {}, tell)
    options = options or BundleOptions()
    pages = {
        name: _draw_view(
            run,
            View(name, mapping, options),
            replace(text, title=f'{text.title}: {name}' if name else text.title),
            progress,
        )
        for name, mapping in views.items()
    }
    if len(pages) == 1:
        return _write(folder, next(iter(pages.values())))
    return _write(folder, render_views(text.title, pages))


@dataclass(frozen=True)
class Run:
    """A run, and where its page goes: see the arguments of `write_drive_page`."""

    inputs: Path
    outputs: Path
    folder: Path
    space: LabelSpace
    without: Mapping[int, ConfusionMatrix]
    tell: Callable[[str], object]


@dataclass(frozen=True)
class View:
    """A camera view: name, which topic is which sensor (None: guessed), how they meet."""

    name: str
    mapping: TopicMapping | None
    options: BundleOptions


def _write(folder: Path, content: str) -> Path:
    """Write the page as a whole or not at all."""
    page = folder / PAGE_NAME
    with write_file(page) as stream:
        stream.write(content.encode())
    return page


def _draw_view(run: Run, view: View, text: PageText, progress: Callable[[int, int], None]) -> str:
    """Draw the page of one view."""
    # What happened, by frame, and which sensors the drive has.
    log = read_drive_log(run.inputs, run.outputs, run.space, view.name)
    with BagReader(run.inputs) as bag:
        mapping = view.mapping or choose_topics(bag)
    sensors = [m for m in Modality if m in mapping.sensors and mapping.sensors[m].data]
    board = Dashboard(
        run.space,
        sensors,
        log.confusion is not None,
        Modality.RANGING in sensors,
        fit_tile(_mask_size(run.outputs, view.name), len(sensors)),
    )
    # Second reading of both recordings: pictures and the video.
    film = f'{view.name}_{VIDEO_NAME}' if view.name else VIDEO_NAME
    names = [m.value for m in sensors]
    outages = find_outages(log.frames, names, run.without)
    shown = {each.middle_ns for each in outages[:OUTAGES_SHOWN]}
    video = Video(run.folder / film, _video_rate_hz(log))
    stability = MaskStability(len(run.space), run.space.ignore_id)
    pictures = _Pictures(log, board, video, view.name, shown, stability)
    pictures.draw(run.inputs, run.outputs, mapping, view.options, progress)
    # Figures of the page, and the drive in one sentence.
    statuses = [frame.status for frame in log.frames]
    faults, latency = rate_faults(log.frames, run.without or None), rate_latency(statuses)
    summary = say_summary(log, outages)
    figures = headline(log, faults, latency, stability)
    if text.runs:  # a number of masks without the pace at which they came would be half the truth
        told = '; '.join(map(say_rate, text.runs))
        summary = f'{summary} {told[0].upper()}{told[1:]}.'
        figures = head_rates(text.runs) | {k: v for k, v in figures.items() if k != 'masks'}
    run.tell(f'{view.name}: {summary}' if view.name else summary)
    report = Report(
        title=text.title,
        subtitle=text.subtitle,
        headline=figures,
        video=pictures.video.close(),
        video_seconds=pictures.seconds,
        timeline=draw_timeline(log.frames, names),
        sensors={m.value: palette.SENSORS[m] for m in sensors},
        faults=faults,
        moments=pictures.moments,
        quality=rate_conditions(log.frames, run.space),
        latency=latency,
        legend=make_legend(run.space, log.confusion),
        facts=text.facts,
        left_out=text.left_out,
        summary=summary,
        warning=text.warning,
        outages=outages,
        judged=judged_share(log.frames),
        glossary=GLOSSARY,
        runs=text.runs,
    )
    return render_page(report)


class _Pictures:
    """Draws the video and the moments while both bags are read once from front to back."""

    def __init__(
        self,
        log: DriveLog,
        board: Dashboard,
        video: Video,
        view: str,
        shown: set[int],
        stability: MaskStability,
    ) -> None:
        self.video = video
        self._view = view
        self.seconds: list[float] = []
        self.moments: list[Moment] = []
        self._board = board
        self._frames = {frame.status.stamp_ns: frame for frame in log.frames}
        self._start_ns = log.frames[0].status.stamp_ns
        self._chosen = choose_moments(log.frames) | shown
        self._stride = _stride(log)
        self._stability = stability
        self._last: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None

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

            def name(topic: str) -> str:
                return of_view(self._view, topic)

            masks = stream(outputs, name(MASK_TOPIC), read_pixels)
            depths = stream(outputs, [name(each) for each in _DEPTH_TOPICS], read_pixels)
            clouds = stream(outputs, name(_POINTS_TOPIC), read_labelled_points)
            truths = stream(inputs, name(TRUE_MASK_TOPIC), read_pixels)
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
                self._compare(bundle, masks.at(stamp_ns), pair=done % self._stride < 2)
                if done % self._stride == 0 or stamp_ns in self._chosen:
                    used = Modality.RANGING in frame.status.used
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

    def _compare(
        self, bundle: SensorBundle, mask: NDArray[np.uint8] | None, *, pair: bool
    ) -> None:
        """Hold a mask against the one before it, where one of the two is in the video."""
        before, self._last = self._last, None
        shown = bundle.frames.get(Modality.VIEW)
        if mask is None or shown is None or not pair:
            return
        picture = np.asarray(shown.data)
        if picture.dtype != np.uint8 or picture.shape[:2] != mask.shape:
            return
        self._last = picture, mask
        if before is not None and before[0].shape == picture.shape:
            self._stability.update(before[1], mask, estimate_motion(before[0], picture))

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
            status = view.frame.status
            self.moments.append(Moment(title, status.message, pictures, status.stamp_ns))


def _mask_size(outputs: Path, view: str) -> tuple[int, int]:
    """`(H, W)` of the first mask, pixels; that of a common camera where there is none."""
    with BagReader(outputs) as bag:
        for message in bag.messages(find_topics(bag, of_view(view, MASK_TOPIC))):
            mask = bag.deserialize(message)
            return read_pixels(mask).shape[:2]
    return 400, 640


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
