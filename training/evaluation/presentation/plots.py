"""Pictures of measurements, as inline SVG: no plotting library is needed to make or see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.reporting.drawing.palette import text_on

COLORS = ('#7d8fa3', '#d98324', '#5b7fd0', '#a9a13c', '#1f9aa6', '#b05cc6', '#a47a5c', '#d9534f')
"""First that of all frames, then one per condition; each shows on light and dark pages."""
_TEXT = 'class="tick"'
_EMPTY, _FULL = (255, 255, 255), (13, 71, 161)
"""Colours of a cell of 0 and of 100 percent."""


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str]) -> str:
    """Draw a confusion matrix: of the pixels of each true class, the share of each answer.

    Args:
        counts: (C, C + 1) as of `ConfusionMatrix.counts`.
        names: Of the classes.

    Returns:
        SVG of the classes that occur.
    """
    present = np.flatnonzero(counts.sum(axis=1))
    answered = np.flatnonzero(counts.sum(axis=0))
    columns = [int(c) for c in sorted({*present.tolist(), *answered.tolist()})]
    shares = counts[present] / counts[present].sum(axis=1, keepdims=True)
    cell, left, top = 34, 120, 122
    width = max(left + cell * len(columns) + 66, 330)
    height = top + cell * len(present) + 30
    labels = [*names, 'no answer']
    parts = [
        f'<text {_TEXT} transform="translate({left + cell * (i + 0.6):.0f},{top - 6}) '
        f'rotate(-55)">{escape(labels[column])}</text>'
        for i, column in enumerate(columns)
    ]
    for row, truth in enumerate(present):
        y = top + cell * row
        parts.append(
            f'<text {_TEXT} x="{left - 6}" y="{y + 21}" text-anchor="end">'
            f'{escape(labels[truth])}</text>'
        )
        for i, column in enumerate(columns):
            parts.append(_cell(left + cell * i, y, cell, float(shares[row, column])))
    parts.append(
        f'<text {_TEXT} x="4" y="{height - 8}">percent of the pixels of the true class</text>'
        f'<text {_TEXT} x="{left - 6}" y="{top - 8}" text-anchor="end">truth</text>'
        f'<text {_TEXT} x="{left}" y="14">answer of the network</text>'
    )
    return _svg(width, height, parts)


def draw_reliability(bins: NDArray[np.float64]) -> str:
    """Draw how often a confidence comes true.

    Args:
        bins: (N, 3) as of `ConfidenceHistogram.bins`.

    Returns:
        SVG: the share that is right over the confidence, and below it how many pixels have it.
    """
    side, left, top = 250, 50, 30
    width, height = left + side + 24, top + side + 124
    total = max(bins[:, 0].sum(), 1)
    step = side / len(bins)
    parts = [
        f'<g><rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" '
        'stroke="#8a8f98"/>',
        f'<line x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}" stroke="#8a8f98" '
        'stroke-dasharray="4 4"/>',
    ]
    base = top + side + 94
    for index, (count, confidence, right) in enumerate(bins):
        x = left + step * index
        tall = 50 * float(count / total)
        parts.append(
            f'<rect x="{x:.1f}" y="{base - tall:.1f}" width="{step - 1:.1f}" '
            f'height="{tall:.1f}" fill="#8a8f98"/>'
        )
        if count:
            parts.append(
                f'<rect x="{x:.1f}" y="{top + side * (1 - right):.1f}" width="{step - 1:.1f}" '
                f'height="{side * right:.1f}" fill="#5b7fd0"><title>'
                f'confidence {confidence:.3f}, right {right:.3f}, {int(count)} pixels</title>'
                '</rect>'
            )
    parts.append('</g>')
    for tick in (0, 0.5, 1):
        y = top + side * (1 - tick) + 4
        parts.append(f'<text {_TEXT} x="{left - 6}" y="{y:.0f}" text-anchor="end">{tick}</text>')
        x = left + side * tick
        parts.append(
            f'<text {_TEXT} x="{x:.0f}" y="{top + side + 16}" text-anchor="middle">{tick}</text>'
        )
    parts.append(
        f'<text {_TEXT} x="4" y="16">share of the pixels that are right</text>'
        f'<text {_TEXT} x="{left + side}" y="{top + side + 34}" text-anchor="end">'
        'confidence</text>'
        f'<text {_TEXT} x="{left}" y="{base + 18}">below: how many pixels have it</text>'
    )
    return _svg(width, height, parts)


def draw_subsets(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Draw mIoU against the set of sensors: one bar for all frames, one dot per condition.

    Args:
        rows: Name of the subset to the percent of each condition; the first one is that of all
            frames.

    Returns:
        SVG.
    """
    left, side, line = 210, 420, 20
    groups = list(dict.fromkeys(name for values in rows.values() for name in values))
    width, height = left + side + 60, 34 + line * len(rows) + 34
    parts = [f'<text {_TEXT} x="{left - 8}" y="20" text-anchor="end">mIoU, percent</text>', '<g>']
    for tick in range(0, 101, 20):
        x = left + side * tick / 100
        parts.append(f'<line x1="{x}" x2="{x}" y1="26" y2="{height - 34}" class="axis"/>')
        parts.append(f'<text {_TEXT} x="{x}" y="20" text-anchor="middle">{tick}</text>')
    for index, (name, values) in enumerate(rows.items()):
        y = 34 + line * index
        parts.append(
            f'<text {_TEXT} x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
        )
        for group, value in values.items():
            parts.append(_mark(left, side * value / 100, y, groups.index(group), group, value))
    parts.append('</g>')
    x = left
    for index, group in enumerate(groups):
        parts.append(
            f'<circle cx="{x}" cy="{height - 14}" r="4" fill="{_color(index)}"/>'
            f'<text {_TEXT} x="{x + 8}" y="{height - 10}">{escape(group)}</text>'
        )
        x += 26 + 8 * len(group)
    return _svg(max(width, x), height, parts)


def _mark(left: float, length: float, y: float, index: int, group: str, value: float) -> str:
    """A bar for the first group, a dot for the others."""
    title = f'<title>{escape(group)}: {value:.1f}</title>'
    if index == 0:
        return (
            f'<g><rect x="{left}" y="{y + 2}" width="{length:.1f}" height="12" '
            f'fill="{_color(0)}">{title}</rect></g><text {_TEXT} x="{left + 428}" y="{y + 11}">'
            f'{value:.1f}</text>'
        )
    return (
        f'<circle cx="{left + length:.1f}" cy="{y + 8}" r="4" fill="{_color(index)}">{title}'
        '</circle>'
    )


def _cell(x: float, y: float, size: int, share: float) -> str:
    pairs = zip(_EMPTY, _FULL, strict=True)
    color = '#{:02x}{:02x}{:02x}'.format(*(round(e + share * (f - e)) for e, f in pairs))
    text = (
        f'<text x="{x + size / 2}" y="{y + size / 2 + 4}" text-anchor="middle" class="in" '
        f'fill="{text_on(color)}">{100 * share:.0f}</text>'
        if share >= 0.005
        else ''
    )
    return (
        f'<g><rect x="{x}" y="{y}" width="{size - 1}" height="{size - 1}" fill="{color}"/>{text}'
        '</g>'
    )


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">{"".join(parts)}</svg>'
    )
