"""Pictures of measurements, as inline SVG: no plotting library is needed to make or see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

COLORS = ('#37474f', '#f9a825', '#283593', '#90a4ae', '#00838f', '#8e24aa', '#6d4c41', '#c62828')
"""First that of all frames, then one per condition."""
_TEXT = 'font-family="system-ui,sans-serif" font-size="11" fill="#424242"'


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
    cell, left, top = 34, 110, 100
    width, height = left + cell * len(columns) + 10, top + cell * len(present) + 30
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
        f'<text {_TEXT} x="{left}" y="{height - 8}">rows: truth, columns: answer, percent of the '
        'pixels of the true class</text>'
    )
    return _svg(width, height, parts)


def draw_reliability(bins: NDArray[np.float64]) -> str:
    """Draw how often a confidence comes true.

    Args:
        bins: (N, 3) as of `Calibration.bins`.

    Returns:
        SVG: the share that is right over the confidence, and below it how many pixels have it.
    """
    side, left, top = 300, 46, 14
    width, height = left + side + 16, top + side + 100
    total = max(bins[:, 0].sum(), 1)
    step = side / len(bins)
    parts = [
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" '
        'stroke="#bdbdbd"/>',
        f'<line x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}" stroke="#9e9e9e" '
        'stroke-dasharray="4 4"/>',
    ]
    base = top + side + 80
    for index, (count, confidence, right) in enumerate(bins):
        x = left + step * index
        tall = 50 * float(count / total)
        parts.append(
            f'<rect x="{x:.1f}" y="{base - tall:.1f}" width="{step - 1:.1f}" '
            f'height="{tall:.1f}" fill="#90a4ae"/>'
        )
        if count:
            parts.append(
                f'<rect x="{x:.1f}" y="{top + side * (1 - right):.1f}" width="{step - 1:.1f}" '
                f'height="{side * right:.1f}" fill="#1565c0" fill-opacity="0.55"><title>'
                f'confidence {confidence:.3f}, right {right:.3f}, {int(count)} pixels</title>'
                '</rect>'
            )
    for tick in (0, 0.5, 1):
        y = top + side * (1 - tick) + 4
        parts.append(f'<text {_TEXT} x="{left - 6}" y="{y:.0f}" text-anchor="end">{tick}</text>')
        x = left + side * tick
        parts.append(
            f'<text {_TEXT} x="{x:.0f}" y="{top + side + 16}" text-anchor="middle">{tick}</text>'
        )
    parts.append(
        f'<text {_TEXT} x="{left}" y="{height - 4}">above: share right over confidence; below: '
        'pixels</text>'
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
    parts = []
    for tick in range(0, 101, 20):
        x = left + side * tick / 100
        parts.append(f'<line x1="{x}" x2="{x}" y1="26" y2="{height - 34}" stroke="#eeeeee"/>')
        parts.append(f'<text {_TEXT} x="{x}" y="20" text-anchor="middle">{tick}</text>')
    for index, (name, values) in enumerate(rows.items()):
        y = 34 + line * index
        parts.append(
            f'<text {_TEXT} x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
        )
        for group, value in values.items():
            parts.append(_mark(left, side * value / 100, y, groups.index(group), group, value))
    x = left
    for index, group in enumerate(groups):
        parts.append(
            f'<circle cx="{x}" cy="{height - 14}" r="4" fill="{_color(index)}"/>'
            f'<text {_TEXT} x="{x + 8}" y="{height - 10}">{escape(group)}</text>'
        )
        x += 24 + 7 * len(group)
    return _svg(max(width, x), height, parts)


def _mark(left: float, length: float, y: float, index: int, group: str, value: float) -> str:
    """A bar for the first group, a dot for the others."""
    title = f'<title>{escape(group)}: {value:.1f}</title>'
    if index == 0:
        return (
            f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="12" fill="{_color(0)}" '
            f'fill-opacity="0.35">{title}</rect><text {_TEXT} x="{left + 428}" y="{y + 11}">'
            f'{value:.1f}</text>'
        )
    return (
        f'<circle cx="{left + length:.1f}" cy="{y + 8}" r="4" fill="{_color(index)}">{title}'
        '</circle>'
    )


def _cell(x: float, y: float, size: int, share: float) -> str:
    ink = '#ffffff' if share > 0.5 else '#424242'
    text = (
        f'<text x="{x + size / 2}" y="{y + size / 2 + 4}" text-anchor="middle" font-size="10" '
        f'font-family="system-ui,sans-serif" fill="{ink}">{100 * share:.0f}</text>'
        if share >= 0.005
        else ''
    )
    return (
        f'<rect x="{x}" y="{y}" width="{size - 1}" height="{size - 1}" fill="#0d47a1" '
        f'fill-opacity="{share:.3f}" stroke="#eeeeee"/>{text}'
    )


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">{"".join(parts)}</svg>'
    )
