"""A timeline of a drive as inline SVG: which sensor was used when, quality and latency below."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sam_ad_perception.core.status import FrameStatus, total_latency_ms
from sam_ad_perception.reporting.drive_log import FrameLog

WIDTH = 960
LABEL_WIDTH = 120
ROW_HEIGHT = 22
CURVE_HEIGHT = 70
USED = '#2e7d32'
MISSING = '#c62828'
NOT_SEEN = '#bdbdbd'


@dataclass(frozen=True)
class _Axis:
    """Maps stamps to horizontal positions."""

    start_ns: int
    end_ns: int

    def position(self, stamp_ns: int) -> float:
        """Pixel column of a stamp."""
        span = max(self.end_ns - self.start_ns, 1)
        return LABEL_WIDTH + (WIDTH - LABEL_WIDTH - 10) * (stamp_ns - self.start_ns) / span


def draw_timeline(frames: Sequence[FrameLog], sensors: Sequence[str]) -> str:
    """Draws one row per sensor, then mIoU (where truth is known) and latency over time.

    Args:
        frames: Time-ordered log of the reference frames.
        sensors: Rows, in this order.

    Returns:
        An `<svg>` element; every bar carries its reason as a tooltip.

    Raises:
        ValueError: There are no frames.
    """
    if not frames:
        raise ValueError('a timeline needs at least one frame, got none')
    period_ns = _median_period(frames)
    axis = _Axis(frames[0].status.stamp_ns, frames[-1].status.stamp_ns + period_ns)
    parts: list[str] = []
    y = 4
    for sensor in sensors:
        parts.append(_label(sensor, y + 15))
        parts.extend(_sensor_bars(frames, sensor, axis, period_ns, y))
        y += ROW_HEIGHT
    miou = [(f.status.stamp_ns, f.miou * 100) for f in frames if f.miou is not None]
    if miou:
        y += 8
        parts.append(_curve('mIoU %', miou, axis, y, 100.0, '#1565c0'))
        y += CURVE_HEIGHT
    latency = [
        (f.status.stamp_ns, total_latency_ms(f.status.latency_ms))
        for f in frames
        if f.status.dropped is None
    ]
    if latency:
        y += 8
        top = max(value for _, value in latency) * 1.1
        parts.append(_curve('latency ms', latency, axis, y, top, '#6a1b9a'))
        y += CURVE_HEIGHT
    parts.append(_seconds(axis, y))
    height = y + 24
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="timeline of the sensors">'
        + ''.join(parts)
        + '</svg>'
    )


def _median_period(frames: Sequence[FrameLog]) -> int:
    gaps = sorted(b.status.stamp_ns - a.status.stamp_ns for a, b in itertools.pairwise(frames))
    return gaps[len(gaps) // 2] if gaps else 100_000_000


def _label(text: str, y: float) -> str:
    return f'<text x="0" y="{y:.0f}" class="row">{escape(text)}</text>'


def _sensor_bars(
    frames: Sequence[FrameLog], sensor: str, axis: _Axis, period_ns: int, y: float
) -> list[str]:
    """Merges equal neighbours into one bar, so that a long drive stays a small picture."""
    bars: list[str] = []
    start = 0
    stamps = [frame.status.stamp_ns for frame in frames]
    states = [_state(frame.status, sensor) for frame in frames]
    for i in range(1, len(frames) + 1):
        if i < len(frames) and states[i] == states[start]:
            continue
        end_ns = stamps[i] if i < len(frames) else stamps[-1] + period_ns
        x0, x1 = axis.position(stamps[start]), axis.position(end_ns)
        color, why = states[start]
        bars.append(
            f'<rect x="{x0:.1f}" y="{y}" width="{max(x1 - x0, 0.5):.1f}" '
            f'height="{ROW_HEIGHT - 4}" fill="{color}"><title>{escape(sensor)}: {escape(why)}'
            '</title></rect>'
        )
        start = i
    return bars


def _state(status: FrameStatus, sensor: str) -> tuple[str, str]:
    if sensor in status.used:
        return USED, 'used'
    if status.dropped is not None:
        return MISSING, f'no mask: {status.dropped}'
    if sensor in status.missing:
        return MISSING, status.missing[sensor]
    return NOT_SEEN, 'not part of this run'


def _curve(
    name: str,
    values: Sequence[tuple[int, float]],
    axis: _Axis,
    y: float,
    top: float,
    color: str,
) -> str:
    base = y + CURVE_HEIGHT - 6
    scale = (CURVE_HEIGHT - 12) / max(top, 1e-9)
    points = ' '.join(
        f'{axis.position(stamp):.1f},{base - value * scale:.1f}' for stamp, value in values
    )
    right = WIDTH - 10
    return (
        _label(name, y + 14)
        + f'<text x="{LABEL_WIDTH - 4}" y="{base - top * scale + 8:.1f}" class="tick" '
        f'text-anchor="end">{top:.0f}</text>'
        + f'<text x="{LABEL_WIDTH - 4}" y="{base:.1f}" class="tick" text-anchor="end">0</text>'
        + f'<line x1="{LABEL_WIDTH}" x2="{right}" y1="{base:.1f}" y2="{base:.1f}" class="axis"/>'
        + f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>'
    )


def _seconds(axis: _Axis, y: float) -> str:
    span_s = (axis.end_ns - axis.start_ns) / 1e9
    step = next(s for s in (1, 2, 5, 10, 30, 60, 300, 1800, 7200, 86400) if span_s / s <= 14)
    ticks: list[str] = []
    for second in range(0, int(span_s) + 1, step):
        x = axis.position(axis.start_ns + second * 1_000_000_000)
        ticks.append(
            f'<text x="{x:.1f}" y="{y + 16:.0f}" class="tick" text-anchor="middle">'
            f'{second} s</text>'
        )
    return ''.join(ticks)
