"""Rotation and translation of a sensor between its frames: the record of all estimators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class MotionTrack:
    """Increments of some quantities between the consecutive frames of one sensor.

    What is told is the increment over an interval, not a rate at a time: it is exact whatever the
    intervals, and two sensors of different rates can be compared over the same interval.

    Attributes:
        channels: Name of each of the C quantities.
        times_s: (N + 1,) float64, time of each frame by the sensor's stamps, seconds after an
            epoch common to all tracks; rising.
        shifts_s: (C,) float64, by how much the time at which a quantity is seen differs from the
            frame's; for a lidar sweep its middle rather than its end, seconds.
        increments: (N, C) float64, change from one frame to the next; NaN where unknown.

    Raises:
        ValueError: The shapes do not fit, or the times do not rise.
    """

    channels: tuple[str, ...]
    times_s: NDArray[np.float64]
    shifts_s: NDArray[np.float64]
    increments: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.channels)
        wanted = (max(len(self.times_s) - 1, 0), count)
        if self.increments.shape != wanted or self.shifts_s.shape != (count,):
            raise ValueError(
                f'increments must be {wanted} and shifts_s ({count},), got '
                f'{self.increments.shape} and {self.shifts_s.shape}'
            )
        if np.any(np.diff(self.times_s) <= 0):
            raise ValueError('times_s must rise')
