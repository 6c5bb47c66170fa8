"""Curves over a growing size: where the points lie, what the axes say."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from sam_ad_perception.reporting.drawing.growth_plot import WIDTH, curve_colors, draw_growth
from sam_ad_perception.reporting.drawing.palette import contrast

SIZES = [1.0, 10.0, 100.0, 1048.576]


def points(svg: str) -> list[list[float]]:
    line = next(e for e in ET.fromstring(svg).iter() if e.tag.endswith('polyline'))
    return [[float(v) for v in pair.split(',')] for pair in line.attrib['points'].split()]


def draw(values: list[float | None]) -> str:
    curves = {'a <b>': values}
    return draw_growth('points <k>', 'ms (log)', SIZES, curves, curve_colors(list(curves)))


def test_a_power_is_a_straight_line() -> None:
    places = np.array(points(draw([0.5 * s**0.7 for s in SIZES])))
    slopes = np.diff(places[:, 1]) / np.diff(places[:, 0])
    assert slopes == pytest.approx(np.full(3, slopes[0]), rel=0.02)
    assert slopes[0] < 0  # up is more
    assert places[:, 0].min() > 0
    assert places[:, 0].max() < WIDTH


def test_axes_have_names_and_sizes_without_powers_of_ten() -> None:
    texts = [e.text for e in ET.fromstring(draw([1, 2, 3, 4])).iter() if e.tag.endswith('text')]
    assert {'points <k>', 'ms (log)', '1049', '1'} <= set(texts)
    assert not [text for text in texts if text and 'e+' in text]


def test_a_missing_value_has_no_point() -> None:
    assert len(points(draw([1, None, 3, 4]))) == 3
    with pytest.raises(ValueError, match='two or more sizes'):
        draw_growth('x', 'y', [1], {'a': [1.0]}, {'a': '#000000'})
    with pytest.raises(ValueError, match='a value'):
        draw([None] * 4)


def test_colours_differ_and_show_on_both_grounds() -> None:
    colors = curve_colors([str(n) for n in range(8)])
    assert len(set(colors.values())) == 8
    assert all(contrast(c, g) >= 2.5 for c in colors.values() for g in ('#ffffff', '#1c222a'))
