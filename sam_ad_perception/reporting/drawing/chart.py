"""Pieces of an SVG chart over time: bars, stacked areas, curves, the axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from sam_ad_perception.reporting.drawing.palette import text_on

WIDTH, LEFT, RIGHT = 1120, 104, 12
_LETTER = 6.6
"""Width of a letter of a bar's text, pixels."""
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True)
class Axis:
    """Maps stamps to horizontal positions."""

    start_ns: int
    end_ns: int

    def position(self, stamp_ns: int) -> float:
        """Pixel column of a stamp."""
        span = max(self.end_ns - self.start_ns, 1)
        return LEFT + (WIDTH - LEFT - RIGHT) * (stamp_ns - self.start_ns) / span

    @property
    def span_s(self) -> float:
        """Its length, seconds."""
        return 1e-9 * (self.end_ns - self.start_ns)


@dataclass(frozen=True)
class Bar:
    """A time in which something holds.

    Attributes:
        start_ns: From when.
        end_ns: Until when.
        color: `#rrggbb`.
        why: Tooltip.
        text: Written into the bar where it fits.
    """

    start_ns: int
    end_ns: int
    color: str
    why: str
    text: str = ''


def draw_label(text: str, y: float, room: float = 10.0) -> str:
    """The name of a row, left of it and of so much room (pixels)."""
    x = LEFT - room
    return f'<text x="{x:.0f}" y="{y:.0f}" class="row" text-anchor="end">{escape(text)}</text>'


def draw_clip(height: float) -> str:
    """The part of the drawing in which time runs; `along` keeps to it."""
    return (
        f'<clipPath id="times"><rect x="{LEFT - 24}" y="0" width="{WIDTH - LEFT + 24}" '
        f'height="{height:.0f}"/></clipPath>'
    )


def along(content: str) -> str:
    """Mark what lies along the time: the page moves it when it zooms."""
    return f'<g clip-path="url(#times)"><g class="along">{content}</g></g>'


def draw_bars(bars: Sequence[Bar], axis: Axis, y: float, height: float) -> str:
    """Draw bars side by side.

    Args:
        bars: Any.
        axis: Where times are.
        y: Top, pixels.
        height: Pixels.

    Returns:
        SVG.
    """
    parts = []
    for bar in bars:
        x0, x1 = axis.position(bar.start_ns), axis.position(bar.end_ns)
        text = ''
        if bar.text and (x1 - x0) > _LETTER * len(bar.text) + 8:
            text = (
                f'<text x="{(x0 + x1) / 2:.1f}" y="{y + height / 2 + 4:.1f}" class="in" '
                f'text-anchor="middle" fill="{text_on(bar.color)}">{escape(bar.text)}</text>'
            )
        parts.append(
            f'<g><rect x="{x0:.1f}" y="{y:.1f}" width="{max(x1 - x0, 0.8):.1f}" '
            f'height="{height:.1f}" fill="{bar.color}"/>{text}'
            f'<title>{escape(bar.why)}</title></g>'
        )
    return ''.join(parts)


def draw_stack(
    values: Sequence[tuple[int, Mapping[str, float]]],
    colors: Mapping[str, str],
    axis: Axis,
    y: float,
    height: float,
) -> str:
    """Draw shares over time as areas on top of each other.

    Args:
        values: Stamp (ns) and the share of each name, 0 to 1; ascending.
        colors: The names from bottom to top, with their colours.
        axis: Where times are.
        y: Top, pixels.
        height: Of a share of 1, pixels.

    Returns:
        SVG: one polygon per name, named in its tooltip.
    """
    parts = []
    below = [0.0] * len(values)
    xs = [axis.position(stamp_ns) for stamp_ns, _ in values]
    for name, color in colors.items():
        above = [b + share.get(name, 0.0) for b, (_, share) in zip(below, values, strict=True)]
        upper = [f'{x:.1f},{y + height * (1 - v):.1f}' for x, v in zip(xs, above, strict=True)]
        lower = [f'{x:.1f},{y + height * (1 - v):.1f}' for x, v in zip(xs, below, strict=True)]
        parts.append(
            f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{color}">'
            f'<title>{escape(name)}</title></polygon>'
        )
        below = above
    return ''.join(parts)


def draw_curve(
    values: Sequence[tuple[int, float]],
    axis: Axis,
    y: float,
    height: float,
    top: float,
    color: str,
    width: float = 1.8,
) -> str:
    """Draw a curve from 0 at the bottom to `top` at the top.

    Args:
        values: Stamp (ns) and value, ascending.
        axis: Where times are.
        y: Top, pixels.
        height: Pixels.
        top: Value at the top.
        color: `#rrggbb`, or a variable of the page.
        width: Of the line, pixels.

    Returns:
        SVG.
    """
    scale = height / max(top, 1e-9)
    points = ' '.join(
        f'{axis.position(stamp):.1f},{y + height - value * scale:.1f}' for stamp, value in values
    )
    return (
        f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}" '
        'stroke-linejoin="round"/>'
    )


def draw_scale(y: float, height: float, top: float, unit: str) -> str:
    """Draw the horizontal lines of 0, half and `top`, with their values."""
    parts = []
    for share in (0.0, 0.5, 1.0):
        level = y + height * (1 - share)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}" '
            f'class="axis"/><text x="{LEFT - 6}" y="{level + 4:.1f}" class="tick" '
            f'text-anchor="end">{top * share:.0f}{unit if share == 1.0 else ""}</text>'
        )
    return ''.join(parts)


def draw_seconds(axis: Axis, y: float, top: float) -> str:
    """Draw the axis of time at `y`, and its lines up to `top`."""
    step = next((s for s in _STEPS_S if axis.span_s / s <= 20), _STEPS_S[-1])
    parts = []
    for i in range(int(axis.span_s / step + 1e-6) + 1):
        x = axis.position(axis.start_ns + round(i * step * 1e9))
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{y + 4:.1f}" class="axis"/>'
            f'<text x="{x:.1f}" y="{y + 18:.1f}" class="tick" text-anchor="middle">'
            f'{i * step:g} s</text>'
        )
    return ''.join(parts)
