"""A timeline of a drive as inline SVG: conditions, faults, sensors, network, gate, mIoU, latency.

Above each other, so that one look down tells what a fault did.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from sam_ad_perception.core.status import FrameStatus, total_latency_ms, without_figures
from sam_ad_perception.reporting.drawing import palette
from sam_ad_perception.reporting.drawing.chart import (
    LEFT,
    RIGHT,
    WIDTH,
    Axis,
    Bar,
    along,
    draw_bars,
    draw_clip,
    draw_curve,
    draw_label,
    draw_scale,
    draw_seconds,
    draw_stack,
)
from sam_ad_perception.reporting.drive_log import FrameLog, merge_confusions

ROW, BAR, GAP = 22, 17, 14
SCALE = 46
"""Room for the values of a scale, pixels."""
GATE_HEIGHT, MIOU_HEIGHT, LATENCY_HEIGHT = 70, 80, 60
SMOOTHED_FRAMES = 5
"""The bold curve of mIoU is that of so many frames before and after, together."""

_Look = Callable[[FrameLog], tuple[str, str, str] | None]
"""Colour, tooltip and text of a frame in a row; None: nothing there."""


def draw_timeline(frames: Sequence[FrameLog], sensors: Sequence[str]) -> str:
    """Draw a run.

    Args:
        frames: Time-ordered log of the reference frames.
        sensors: One row each, in this order.

    Returns:
        An `<svg>` element; every bar carries its reason as a tooltip.

    Raises:
        ValueError: There are no frames.
    """
    if not frames:
        raise ValueError('a timeline needs at least one frame, got none')
    axis = _axis(frames)
    rows: list[tuple[str, _Look]] = []
    if any(frame.condition for frame in frames):
        rows.append(('condition', _condition))
    if any(frame.faults for frame in frames):
        rows.append(('fault', _fault))
    rows += [(sensor, _sensor(sensor)) for sensor in sensors]
    networks = list(dict.fromkeys(f.status.expert for f in frames if f.status.expert))
    rows.append(('network', _network(networks)))
    y, parts = 6.0, []
    for name, look in rows:
        bars = draw_bars(_bars(frames, look, axis), axis, y, BAR)
        parts += [draw_label(name, y + 13), along(bars)]
        y += ROW
    curves, y = _curves(frames, sensors, axis, y)
    height = y + 26
    return (
        f'<svg id="timeline" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="timeline of the drive" data-left="{LEFT}" data-right="{WIDTH - RIGHT}" '
        f'data-span="{axis.span_s:.3f}">'
        + draw_clip(y + 26)
        + along(draw_seconds(axis, y, 2))
        + ''.join(parts + curves)
        + f'<line id="playhead" x1="{LEFT}" x2="{LEFT}" y1="0" y2="{y:.0f}"/></svg>'
    )


def _axis(frames: Sequence[FrameLog]) -> Axis:
    gaps = sorted(b.status.stamp_ns - a.status.stamp_ns for a, b in itertools.pairwise(frames))
    period_ns = gaps[len(gaps) // 2] if gaps else 100_000_000
    return Axis(frames[0].status.stamp_ns, frames[-1].status.stamp_ns + period_ns)


def _bars(frames: Sequence[FrameLog], look: _Look, axis: Axis) -> list[Bar]:
    """Equal neighbours become one bar, so that a long drive stays a small picture."""
    bars, start = [], 0
    looks = [look(frame) for frame in frames]
    same = [seen and (seen[0], without_figures(seen[1]), seen[2]) for seen in looks]
    stamps = [frame.status.stamp_ns for frame in frames]
    for i in range(1, len(frames) + 1):
        if i < len(frames) and same[i] == same[start]:
            continue
        seen = looks[start]
        if seen is not None:
            end_ns = stamps[i] if i < len(frames) else axis.end_ns
            bars.append(Bar(stamps[start], end_ns, *seen))
        start = i
    return bars


def _condition(frame: FrameLog) -> tuple[str, str, str] | None:
    if not frame.condition:
        return None
    return palette.condition_color(frame.condition), frame.condition, frame.condition


def _fault(frame: FrameLog) -> tuple[str, str, str] | None:
    if not frame.faults:
        return None
    # `event_burst` of the event camera is its burst
    each = (f'{s} {kind.removeprefix(s + "_")}' for s, kind in frame.faults.items())
    text = ', '.join(each).replace('_', ' ')
    return palette.MISSING, text, text


def _sensor(sensor: str) -> _Look:
    def look(frame: FrameLog) -> tuple[str, str, str]:
        color, why = _state(frame.status, sensor)
        return color, f'{sensor}: {why}', ''

    return look


def _state(status: FrameStatus, sensor: str) -> tuple[str, str]:
    if sensor in status.used:
        if sensor in status.notes:
            return palette.NOTED, f'used, but {status.notes[sensor]}'
        return palette.SENSORS.get(sensor, palette.UNKNOWN), 'used'
    if status.dropped is not None:
        return palette.MISSING, f'no mask: {status.dropped}'
    if sensor in status.missing:
        return palette.MISSING, status.missing[sensor]
    return palette.UNKNOWN, f'not used: {status.reason or "not part of this run"}'


def _network(networks: Sequence[str]) -> _Look:
    def look(frame: FrameLog) -> tuple[str, str, str]:
        if frame.status.dropped is not None:
            return palette.MISSING, f'no mask: {frame.status.dropped}', 'no mask'
        expert = frame.status.expert
        color = palette.NETWORKS[networks.index(expert) % len(palette.NETWORKS)]
        return color, expert, expert

    return look


def _curves(
    frames: Sequence[FrameLog], sensors: Sequence[str], axis: Axis, y: float
) -> tuple[list[str], float]:
    """Gate, mIoU and latency, each where there is something to show, and where they end."""
    parts: list[str] = []
    masked = [frame for frame in frames if frame.status.dropped is None]

    def open_chart(name: str, height: float, top: float, unit: str) -> None:
        parts.append(draw_label(name, y + height / 2 + 4, SCALE))
        parts.append(draw_scale(y, height, top, unit))

    gates = [(frame.status.stamp_ns, frame.status.gate) for frame in masked]
    if any(gate for _, gate in gates):
        y += GAP
        colors = {s: palette.SENSORS.get(s, palette.UNKNOWN) for s in sensors}
        open_chart('gate', GATE_HEIGHT, 100, ' %')
        parts.append(along(draw_stack(gates, colors, axis, y, GATE_HEIGHT)))
        y += GATE_HEIGHT
    single = [
        (f.status.stamp_ns, 100 * f.confusion.miou_of_present()) for f in frames if f.confusion
    ]
    if single:
        y += GAP
        open_chart('mIoU', MIOU_HEIGHT, 100, ' %')
        for values, color, width in (
            (single, 'var(--curve-soft)', 1.0),
            (_smoothed(frames), 'var(--curve)', 2.2),
        ):
            parts.append(along(draw_curve(values, axis, y, MIOU_HEIGHT, 100, color, width)))
        y += MIOU_HEIGHT
    latency = [(f.status.stamp_ns, total_latency_ms(f.status.latency_ms)) for f in masked]
    if latency:
        y += GAP
        top = _round_up(max(value for _, value in latency))
        open_chart('latency', LATENCY_HEIGHT, top, ' ms')
        curve = draw_curve(latency, axis, y, LATENCY_HEIGHT, top, 'var(--latency)', 1.4)
        parts.append(along(curve))
        y += LATENCY_HEIGHT
    return parts, y


def _smoothed(frames: Sequence[FrameLog]) -> list[tuple[int, float]]:
    """Mean IoU over the pixels of neighbouring frames together, percent."""
    values = []
    for i, frame in enumerate(frames):
        if frame.confusion is None:
            continue
        window = frames[max(i - SMOOTHED_FRAMES, 0) : i + SMOOTHED_FRAMES + 1]
        merged = merge_confusions(each.confusion for each in window)
        assert merged is not None, 'the window holds the frame itself'
        values.append((frame.status.stamp_ns, 100 * merged.miou_of_present()))
    return values


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 and so on."""
    scale = 1.0
    while True:
        for step in (1.0, 2.0, 5.0):
            if value <= step * scale:
                return step * scale
        scale *= 10.0
