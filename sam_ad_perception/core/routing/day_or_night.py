"""Day or night from the camera image: it chooses the column of a routing table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY, NIGHT = 'day', 'night'
STEP = 8
"""Every so many pixels of each axis one is looked at."""
MIDDLE = 62.0
BRIGHT = 120.0
SPREAD = 20.0
"""Luminance between night and day: of the median, of the 90th percentile, and how sharply.

Set on simulated drives and on recordings by day (CamVid, KITTI, RoadScene) and by night (MSRS): a
street by night has a dark middle *and* few bright pixels; a backlit one by day has a bright sky.
"""


@dataclass(frozen=True)
class ConditionEstimate:
    """What the surroundings seem to be.

    Attributes:
        name: `day` or `night`; empty where nothing can be said.
        confidence: 0.5 (either) to 1; 0 where nothing can be said.
    """

    name: str = ''
    confidence: float = 0.0


def estimate_condition(image: NDArray[np.uint8]) -> ConditionEstimate:
    """Tell day from night.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        The estimate; dusk and dark shadows come out with little confidence.

    Raises:
        ValueError: Another shape or dtype.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(
            f'image must be (H, W, 3) uint8 and not empty, got {image.shape} {image.dtype}'
        )
    luminance = image[::STEP, ::STEP].mean(axis=2)
    middle, bright = np.percentile(luminance, (50, 90))
    evidence = (middle - MIDDLE + bright - BRIGHT) / SPREAD
    day = 1.0 / (1.0 + math.exp(-evidence))
    return ConditionEstimate(DAY, day) if day >= 0.5 else ConditionEstimate(NIGHT, 1.0 - day)
