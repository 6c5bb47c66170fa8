"""The HTML page of a report: one self-contained file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from sam_ad_perception.reporting.drawing import palette
from sam_ad_perception.reporting.fault_table import FaultRow
from sam_ad_perception.reporting.outages import Outage
from sam_ad_perception.reporting.run_rates import RunRate


@dataclass(frozen=True)
class Moment:
    """One instant of the drive, as pictures.

    Attributes:
        title: When, and what was special.
        text: What the node said of it.
        pictures: Caption -> PNG or JPEG bytes, in display order.
        stamp_ns: Of its reference frame; the table of outages leads there.
    """

    title: str
    text: str
    pictures: Mapping[str, bytes]
    stamp_ns: int = 0


@dataclass(frozen=True)
class QualityRow:
    """Quality of some masks of the drive.

    Attributes:
        name: Which masks, e.g. `rain, no fault`.
        miou: Mean IoU over the classes that occur in the truth, in [0, 1].
        iou: Class name -> IoU in [0, 1], or None where the class does not occur.
        frames: Number of masks that were compared.
        expected: Number of reference frames that should have given a mask.
        judged: Share of the pixels of those masks that have a truth; None where it is not known.
    """

    name: str
    miou: float
    iou: Mapping[str, float | None]
    frames: int
    expected: int
    judged: float | None = None


@dataclass(frozen=True)
class LatencyRow:
    """Percentiles of one stage, milliseconds."""

    stage: str
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Report:
    """Everything that the page shows; what is empty is left out.

    Attributes:
        title: Heading.
        subtitle: Below it.
        headline: Caption -> figure, in large type.
        timeline: Inline SVG, see `timeline.draw_timeline`.
        video: WebM bytes, or None.
        video_seconds: Time in the drive of each picture of the video, seconds.
        sensors: Name -> `#rrggbb` in the timeline.
        faults: What each fault did.
        moments: Pictures side by side.
        quality: Quality by condition; the first row is the whole drive.
        latency: Percentiles per stage.
        legend: Class name -> `#rrggbb`.
        facts: Name -> short fact, at the end.
        left_out: Topics of the recording that look like a sensor's and were not read: name,
            number of messages, why.
        summary: How the run went, in one sentence.
        warning: What a reader must know of the networks; '' for nothing.
        outages: When a sensor was not used.
        judged: Share of the pixels that the truth says something about; None without truth.
        glossary: Word -> what it means.
        runs: The same drive run in several ways.
    """

    title: str
    timeline: str
    subtitle: str = ''
    headline: Mapping[str, str] = field(default_factory=dict)
    video: bytes | None = None
    video_seconds: Sequence[float] = ()
    sensors: Mapping[str, str] = field(default_factory=dict)
    faults: Sequence[FaultRow] = ()
    moments: Sequence[Moment] = ()
    quality: Sequence[QualityRow] = ()
    latency: Sequence[LatencyRow] = ()
    legend: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[tuple[str, str, str]] = ()
    summary: str = ''
    warning: str = ''
    outages: Sequence[Outage] = ()
    judged: float | None = None
    glossary: Mapping[str, str] = field(default_factory=dict)
    runs: Sequence[RunRate] = ()


def render_page(report: Report) -> str:
    """Renders the report as one self-contained HTML page.

    Args:
        report: Its contents.

    Returns:
        HTML with pictures and video as data URIs; it loads nothing from elsewhere.
    """
    return template_environment().get_template('page.html.j2').render(report=report)


def render_views(title: str, pages: Mapping[str, str]) -> str:
    """Put the pages of several camera views into one.

    Args:
        title: Heading.
        pages: Name of each view -> what `render_page` made of it.

    Returns:
        HTML; one page is shown at a time.
    """
    template = template_environment().get_template('views.html.j2')
    return template.render(title=title, pages=dict(pages))


def template_environment() -> jinja2.Environment:
    """What the templates of this folder may use: filters for pictures, percent, times."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['image_uri'] = image_uri
    environment.filters['video_uri'] = lambda data: _data_uri(data, 'video/webm')
    environment.filters['percent'] = lambda x: '\u2013' if x is None else f'{100 * x:.1f}'
    environment.filters['ms'] = lambda x: '\u2013' if x is None else f'{x:.0f} ms'
    environment.filters['words'] = lambda text: text.replace('_', ' ')
    environment.globals.update(missing=palette.MISSING, noted=palette.NOTED)
    return environment


def image_uri(data: bytes) -> str:
    """Write a PNG or JPEG file as a data URI."""
    return _data_uri(data, 'image/png' if data[:4] == b'\x89PNG' else 'image/jpeg')


def _data_uri(data: bytes, kind: str) -> str:
    return f'data:{kind};base64,{base64.b64encode(data).decode("ascii")}'
