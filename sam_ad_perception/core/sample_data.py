"""Random data of each kind that a working sensor may show, for warming up; records name these.

Each takes a random generator, the image size `(H, W)` and a time in nanoseconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Events, PointCloud

_COUNT = 1000
_PATCH = 8
_EVENT_SPAN_NS = 20_000_000
Size = tuple[int, int]


def sample_color(rng: np.random.Generator, size: Size, stamp_ns: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB."""
    return _patches(rng, (*size, 3), 20, 236, noise=2.0).astype(np.uint8)


def sample_thermal(rng: np.random.Generator, size: Size, stamp_ns: int) -> NDArray[np.uint16]:
    """(H, W) uint16, counts of 10 mK about 20 degrees Celsius."""
    return _patches(rng, size, 28000, 31000, noise=5.0).astype(np.uint16)


def _patches(
    rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int, noise: float
) -> NDArray[np.float64]:
    """Patches under a little noise: noise alone is what a broken sensor shows."""
    places = tuple(np.arange(length) // _PATCH for length in shape[:2])
    coarse = rng.integers(low, high, (places[0][-1] + 1, places[1][-1] + 1, *shape[2:]))
    return coarse[np.ix_(*places)] + rng.normal(0, noise, shape)


def sample_events(rng: np.random.Generator, size: Size, stamp_ns: int) -> Events:
    """Events of the 20 ms before the time."""
    height, width = size
    return Events(
        rng.integers(0, width, _COUNT).astype(np.uint16),
        rng.integers(0, height, _COUNT).astype(np.uint16),
        rng.random(_COUNT) < 0.5,
        np.sort(rng.integers(stamp_ns - _EVENT_SPAN_NS, stamp_ns, _COUNT)),
        size,
    )


def sample_points(rng: np.random.Generator, size: Size, stamp_ns: int) -> PointCloud:
    """Points in front of a camera, 2 to 50 m away."""
    points = rng.uniform((-5, -2, 2), (5, 2, 50), (_COUNT, 3)).astype(np.float32)
    return PointCloud(points, rng.random(_COUNT).astype(np.float32))
