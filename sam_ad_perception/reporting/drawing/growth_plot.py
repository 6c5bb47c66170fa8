"""Curves over a size that grows, on two logarithmic axes, as SVG of a fixed size.

It is drawn as wide as a narrow screen and is never scaled, so that its texts keep their size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 330, 268
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 22, 26, 44
_DECADES = 3.5
"""So much of the value axis is shown below the largest value."""
COLORS = ('#5f8fc9', '#d98324', '#4f9e58', '#d65f5f', '#a678a8', '#8a8f98', '#2f9c9c', '#b08a3e')
"""One per curve; each can be told from the light page and from the dark one."""


def curve_colors(names: Sequence[str]) -> dict[str, str]:
    """Give each curve its colour.

    Args:
        names: Of the curves.

    Returns:
        Name -> `#rrggbb`.
    """
    return {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}


def draw_growth(
    size: str,
    value: str,
    sizes: Sequence[float],
    curves: Mapping[str, Sequence[float | None]],
    colors: Mapping[str, str],
) -> str:
    """Draw curves over a size.

    Args:
        size: Name of the horizontal axis, with its unit.
        value: Name of the vertical axis, with its unit.
        sizes: Ascending, above 0; two or more.
        curves: Name -> a value above 0 for each size; None where there is none.
        colors: Name -> `#rrggbb`.

    Returns:
        SVG.

    Raises:
        ValueError: There are less than two sizes, or no value.
    """
    known = [v for curve in curves.values() for v in curve if v is not None and v > 0]
    if len(sizes) < 2 or not known:
        raise ValueError(f'expected two or more sizes and a value, got {len(sizes)} and {known}')
    columns = [float(each) for each in np.log10(sizes)]
    high = float(np.log10(max(known)))
    low = max(high - _DECADES, float(np.floor(np.log10(min(known)))))
    across, down = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def x_of(column: float) -> float:
        return _LEFT + across * (column - columns[0]) / (columns[-1] - columns[0])

    def y_of(amount: float) -> float:
        share = float(np.clip((np.log10(max(amount, 1e-9)) - low) / (high - low or 1), 0, 1))
        return _TOP + down * (1 - share)

    parts = [_text(4, 14, value, 'start'), _text(WIDTH - _RIGHT, HEIGHT - 6, size, 'end')]
    for decade in range(int(np.ceil(low)), int(np.floor(high)) + 1):
        y = y_of(10.0**decade)
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="axis"/>'
        )
        parts.append(_text(_LEFT - 6, y + 4, f'{10.0**decade:g}', 'end'))
    parts += [_text(x_of(c), HEIGHT - 26, _short(s), 'middle') for c, s in _apart(columns, sizes)]
    for name, amounts in curves.items():
        pairs = zip(columns, amounts, strict=True)
        points = [(x_of(c), y_of(a)) for c, a in pairs if a is not None]
        line = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
        dots = ''.join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points)
        parts.append(
            f'<g fill="{colors[name]}"><title>{escape(name)}</title><polyline points="{line}" '
            f'fill="none" stroke="{colors[name]}" stroke-width="2"/>{dots}</g>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(value)} over {escape(size)}">{"".join(parts)}</svg>'
    )


def _apart(columns: Sequence[float], sizes: Sequence[float]) -> list[tuple[float, float]]:
    """The sizes that have room for their text, the last one always among them."""
    room = 42 / (WIDTH - _LEFT - _RIGHT) * (columns[-1] - columns[0])
    kept: list[tuple[float, float]] = []
    for column, size in reversed(list(zip(columns, sizes, strict=True))):
        if not kept or kept[-1][0] - column >= room:
            kept.append((float(column), size))
    return kept


def _short(size: float) -> str:
    """A size in at most four digits, never in powers of ten."""
    return f'{size:.3g}' if size < 1000 else f'{size:.0f}'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="tick" text-anchor="{anchor}">{escape(text)}</text>'
    )
