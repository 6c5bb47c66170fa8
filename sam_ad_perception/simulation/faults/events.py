"""Faults of event cameras: floods, silence, and pixels that fire in blocks."""

from __future__ import annotations

import numpy as np

from sam_ad_perception.core.sensors import Events


def silence(events: Events) -> Events:
    """A packet of the same sensor without events."""
    return Events(
        events.x[:0], events.y[:0], events.polarity[:0], events.t_ns[:0], size=events.size
    )


def add_burst(
    events: Events, rate: float, rng: np.random.Generator, span_ns: tuple[int, int]
) -> Events:
    """Events with spurious ones among them, evenly over the sensor and the time.

    Args:
        events: N events, ordered by time.
        rate: Spurious events per pixel and second.
        rng: Where, when and of which polarity.
        span_ns: Start and end of the time, nanoseconds.

    Returns:
        N + M events, ordered by time; the new ones at whole microseconds after the start.
    """
    (height, width), (start, end) = events.size, span_ns
    count = int(rng.poisson(rate * height * width * max(end - start, 0) * 1e-9))
    t = start + rng.integers(0, max(end - start, 1), count) // 1000 * 1000
    x, y = rng.integers(0, width, count), rng.integers(0, height, count)
    t_ns = np.concatenate([events.t_ns, t])
    order = np.argsort(t_ns, kind='stable')
    return Events(
        np.concatenate([events.x, x.astype(np.uint16)])[order],
        np.concatenate([events.y, y.astype(np.uint16)])[order],
        np.concatenate([events.polarity, rng.random(count) < 0.5])[order],
        t_ns[order],
        events.size,
    )


def lower_resolution(events: Events, factor: int) -> Events:
    """Events of a sensor whose pixels are `factor` times as wide and high.

    A block of pixels fires once where each of its pixels would have fired: only every
    `factor`-th of its events is kept (an edge that passes a block crosses `factor` of its
    pixels in a row), at the block's middle.

    Args:
        events: N events, ordered by time.
        factor: Edge of a block, pixels, at least 1.

    Returns:
        Fewer events of a sensor of the same size, ordered by time.
    """
    if factor <= 1:
        return events
    height, width = events.size
    columns = -(-width // factor)
    block = (events.y // factor).astype(np.int64) * columns + events.x // factor
    key = 2 * block + events.polarity
    order = np.argsort(key, kind='stable')
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    rank = np.empty(len(key), dtype=np.int64)
    rank[order] = np.arange(len(key)) - np.repeat(first, np.diff(first, append=len(key)))
    keep = rank % factor == 0
    middle = factor // 2
    return Events(
        np.minimum(events.x[keep] // factor * factor + middle, width - 1).astype(np.uint16),
        np.minimum(events.y[keep] // factor * factor + middle, height - 1).astype(np.uint16),
        events.polarity[keep],
        events.t_ns[keep],
        events.size,
    )
