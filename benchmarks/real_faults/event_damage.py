"""Damage to windows of events: dead polarities, pixels, rows and parts, floods and losses.

Functions take `(events, severity, rng)`; the order of time is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Events

Rng = np.random.Generator


def _level(severity: int, *levels: Any) -> Any:
    return levels[severity - 1]


def _keep(events: Events, kept: NDArray[np.bool_]) -> Events:
    return Events(
        events.x[kept], events.y[kept], events.polarity[kept], events.t_ns[kept], events.size,
        events.start_ns,
    )  # fmt: skip


def _add(
    events: Events, x: NDArray[Any], y: NDArray[Any], t_ns: NDArray[Any], on: NDArray[np.bool_]
) -> Events:
    times = np.concatenate([events.t_ns, t_ns])
    order = np.argsort(times, kind='stable')
    return Events(
        np.concatenate([events.x, x.astype(np.uint16)])[order],
        np.concatenate([events.y, y.astype(np.uint16)])[order],
        np.concatenate([events.polarity, on])[order],
        times[order],
        events.size,
        events.start_ns,
    )


def _span_ns(events: Events) -> tuple[int, int]:
    return (int(events.t_ns[0]), int(events.t_ns[-1]) + 1) if len(events.t_ns) else (0, 1)


# Polarity


def on_lost(events: Events, severity: int, rng: Rng) -> Events:
    """90, 97, 100 % of the ON events are lost: that comparator is dead."""
    lost = rng.random(len(events.x)) < _level(severity, 0.9, 0.97, 1.0)
    return _keep(events, ~(events.polarity & lost))


def all_on(events: Events, severity: int, rng: Rng) -> Events:
    """70, 90, 100 % of the OFF events are told as ON: a bit is stuck."""
    turned = rng.random(len(events.x)) < _level(severity, 0.7, 0.9, 1.0)
    return Events(
        events.x, events.y, events.polarity | turned, events.t_ns, events.size, events.start_ns
    )


# Too many


def hot_pixels(events: Events, severity: int, rng: Rng) -> Events:
    """30, 100, 300 pixels fire 1000 times a second, both polarities by turns."""
    height, width = events.size
    count = _level(severity, 30, 100, 300)
    place = rng.choice(height * width, count, replace=False)
    first, last = _span_ns(events)
    each = rng.poisson((last - first) * 1e-9 * 1000.0, count)
    at = np.repeat(place, each)
    t_ns = rng.integers(first, last, len(at))
    return _add(events, at % width, at // width, t_ns, rng.random(len(at)) < 0.5)


def column_stuck(events: Events, severity: int, rng: Rng) -> Events:
    """1, 3, 10 columns fire: each of their pixels 200 times a second."""
    height, width = events.size
    columns = rng.choice(width, _level(severity, 1, 3, 10), replace=False)
    first, last = _span_ns(events)
    count = rng.poisson((last - first) * 1e-9 * 200.0 * height * len(columns))
    x = columns[rng.integers(0, len(columns), count)]
    t_ns = rng.integers(first, last, count)
    return _add(events, x, rng.integers(0, height, count), t_ns, rng.random(count) < 0.5)


# Too few


def region_dead(events: Events, severity: int, rng: Rng) -> Events:
    """All but a rectangle of 50, 30, 10 % of the sensor, somewhere, is dead."""
    side = np.sqrt(_level(severity, 0.5, 0.3, 0.1))
    (height, width), (v, u) = events.size, rng.uniform(0, 1 - side, 2)
    inside = (events.x >= u * width) & (events.x < (u + side) * width)
    inside &= (events.y >= v * height) & (events.y < (v + side) * height)
    return _keep(events, inside)


def left_dead(events: Events, severity: int, rng: Rng) -> Events:
    """The left 25, 50, 75 % of the sensor are dead."""
    return _keep(events, events.x >= _level(severity, 0.25, 0.5, 0.75) * events.size[1])


def rows_dead(events: Events, severity: int, rng: Rng) -> Events:
    """2, 8, 25 % of the rows are dead."""
    height = events.size[0]
    dead = rng.choice(height, round(_level(severity, 0.02, 0.08, 0.25) * height), replace=False)
    return _keep(events, ~np.isin(events.y, dead))


def columns_dead(events: Events, severity: int, rng: Rng) -> Events:
    """2, 8, 25 % of the columns are dead."""
    width = events.size[1]
    dead = rng.choice(width, round(_level(severity, 0.02, 0.08, 0.25) * width), replace=False)
    return _keep(events, ~np.isin(events.x, dead))


def events_lost(events: Events, severity: int, rng: Rng) -> Events:
    """90, 95, 97 % of the events are lost at random."""
    return _keep(events, rng.random(len(events.x)) >= _level(severity, 0.9, 0.95, 0.97))


def packets_lost(events: Events, severity: int, rng: Rng) -> Events:
    """60, 80, 95 % of the packets of 1 ms are lost."""
    packet = (
        (events.t_ns // 1_000_000) - int(events.t_ns[0] // 1_000_000)
        if len(events.t_ns)
        else np.zeros(0, np.int64)
    )
    lost = rng.random(int(packet.max(initial=0)) + 1) < _level(severity, 0.6, 0.8, 0.95)
    return _keep(events, ~lost[packet])
