"""Whether two frames hold the same, and whether a camera sees motion between them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Events, PointCloud, SensorData

MOVING_SHARE = 0.05
"""The camera sees motion when this share of its pixels changed by more than noise can."""


def is_same(before: SensorData, data: SensorData) -> bool:
    """Whether two frames agree in all that they hold, their times aside.

    Args:
        before: One frame.
        data: The other.
    """
    if isinstance(before, Events) and isinstance(data, Events):
        return np.array_equal(before.x, data.x) and np.array_equal(before.y, data.y)
    if isinstance(before, PointCloud) and isinstance(data, PointCloud):
        return _equal(before.points, data.points)
    return isinstance(before, np.ndarray) and isinstance(data, np.ndarray) and _equal(before, data)


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays hold the same; NaN is equal to NaN."""
    return (
        a.shape == b.shape
        and a.dtype == b.dtype
        and np.array_equal(a, b, equal_nan=a.dtype.kind == 'f')
    )


def differs(samples: NDArray[Any], before: NDArray[Any] | None, least: float) -> bool | None:
    """Whether more pixels differ than a standing camera explains.

    Args:
        samples: Of an image.
        before: Of the image before; None for the first.
        least: So much is a difference, in the image's unit.

    Returns:
        None where the two cannot be compared.
    """
    if before is None or before.shape != samples.shape or before.dtype != samples.dtype:
        return None
    return bool(_count_changed(samples, before, least) > MOVING_SHARE * samples.size)


@cache
def warm_up_comparison() -> None:
    """Compile what `differs` needs of a camera, or load it; once per process."""
    samples = np.zeros((2, 2), np.uint8)
    differs(samples, samples, 1.0)


@njit(cache=True, nogil=True)
def _count_changed(samples, before, least):  # type: ignore[no-untyped-def]
    """Values that differ by more."""
    count = 0
    for i in range(samples.shape[0]):
        for j in range(samples.shape[1]):
            count += abs(np.float32(samples[i, j]) - np.float32(before[i, j])) > least
    return count
