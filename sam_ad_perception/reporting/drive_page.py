"""Writes the report of a run: the recording that went in, the bag that came out, one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sam_ad_perception.bags.bundles import read_bundles
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.reporting.drive_log import DriveLog, read_drive_log, read_truth
from sam_ad_perception.reporting.drive_report import (
    draw_drive,
    make_legend,
    rate_latency,
    rate_quality,
    write_page,
)
from sam_ad_perception.reporting.page import QualityRow, Report, render_page
from sam_ad_perception.reporting.pictures import Video
from sam_ad_perception.reporting.timeline import draw_timeline

PAGE_NAME, VIDEO_NAME = 'report.html', 'overlay.webm'


@dataclass(frozen=True)
class PageText:
    """What the page says besides its figures.

    Attributes:
        title: Heading.
        facts: Short facts below it.
        next_steps: Caption -> command.
    """

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    next_steps: Mapping[str, str] = field(default_factory=dict)


def write_drive_page(
    inputs: Path,
    outputs: Path,
    folder: Path,
    space: LabelSpace,
    text: PageText,
    *,
    quality: Sequence[QualityRow] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write `report.html` and `overlay.webm` for a run.

    Args:
        inputs: The recording that was labelled or replayed.
        outputs: The bag with the masks and statuses.
        folder: Where the page and the video go; it exists.
        space: Label space of the masks.
        text: Heading, facts, next steps.
        quality: Rows of the table of quality; where the recording has a truth, a row for the
            run itself is added.
        progress: Called with frames drawn and frames in all.

    Returns:
        The page.

    Raises:
        BagError: A bag is unreadable or holds no status.
    """
    truth = read_truth(inputs)
    log = read_drive_log(outputs, space, truth)
    video = Video(folder / VIDEO_NAME, _rate_hz(log))
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, len(log.frames))

    with BagReader(inputs) as bag:
        bundles = (
            result
            for result in read_bundles(bag, guess_topics(bag.topics))
            if isinstance(result, SensorBundle)
        )
        moments = draw_drive(bundles, log, truth, space, video, advance)
    statuses = [frame.status for frame in log.frames]
    rows = list(quality)
    if truth:
        rows.append(rate_quality('this run', log.confusion, space, log.published, len(truth)))
    report = Report(
        title=text.title,
        facts={**text.facts, 'masks': f'{log.published} of {len(statuses)} reference frames'},
        timeline=draw_timeline(log.frames, _sensors(log)),
        moments=moments,
        quality=rows,
        latency=rate_latency(statuses),
        legend=make_legend(space, log.confusion) if truth else _whole_legend(space),
        next_steps=text.next_steps,
        video=video.close(),
    )
    write_page(folder / PAGE_NAME, render_page(report))
    return folder / PAGE_NAME


def _rate_hz(log: DriveLog) -> float:
    stamps = [frame.status.stamp_ns for frame in log.frames]
    if len(stamps) < 2 or stamps[-1] == stamps[0]:
        return 10.0
    return (len(stamps) - 1) * 1e9 / (stamps[-1] - stamps[0])


def _sensors(log: DriveLog) -> list[str]:
    """The sensors that any frame names, in the order of `Modality`."""
    named = {s for frame in log.frames for s in (*frame.status.used, *frame.status.missing)}
    return [m.value for m in Modality if m in named]


def _whole_legend(space: LabelSpace) -> dict[str, str]:
    return {c.name: '#{:02x}{:02x}{:02x}'.format(*c.color) for c in space.classes}
