"""Period, gaps and transport delay of a sensor from stamps and arrival times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StampTiming:
    """How regularly a sensor delivers.

    Attributes:
        count: Number of frames.
        period_s: Median interval of the stamps, seconds; NaN below two frames.
        jitter_s: Standard deviation of the stamps from an even beat, seconds; NaN as above.
        missing: Beats between the first and the last frame without a frame.
        disordered: Frames whose stamp is not later than all before.
        delay_s: Median of arrival minus stamp, seconds: transport, and clock offset.
        delay_spread_s: Half of what lies between its 5th and its 95th percentile, seconds.
    """

    count: int
    period_s: float
    jitter_s: float
    missing: int
    disordered: int
    delay_s: float
    delay_spread_s: float


def measure_timing(stamps_ns: NDArray[np.int64], received_ns: NDArray[np.int64]) -> StampTiming:
    """Measure the rhythm of a sensor.

    The beat is a line through the stamps over their numbers, gaps counted, by least squares: so a
    clock that runs a little fast is no jitter.

    Args:
        stamps_ns: (N,) int64 stamps in the order of arrival, nanoseconds.
        received_ns: (N,) int64 times of arrival, nanoseconds.

    Returns:
        Its timing.

    Raises:
        ValueError: The arrays are empty or differ in length.
    """
    if len(stamps_ns) != len(received_ns) or not len(stamps_ns):
        raise ValueError(
            'stamps_ns and received_ns must be of one length, at least 1, got '
            f'{len(stamps_ns)} and {len(received_ns)}'
        )
    low, middle, high = 1e-9 * np.percentile(received_ns - stamps_ns, (5, 50, 95))
    latest = np.maximum.accumulate(stamps_ns)
    disordered = int(np.count_nonzero(stamps_ns[1:] <= latest[:-1]))
    rising = 1e-9 * (np.unique(stamps_ns) - stamps_ns.min())
    period, jitter, missing = float('nan'), float('nan'), 0
    if len(rising) > 1:
        intervals = np.diff(rising)
        period = float(np.median(intervals))
        beats = np.maximum(1, np.rint(intervals / period))
        number = np.concatenate([[0.0], np.cumsum(beats)])
        line = np.polyfit(number, rising, 1)
        jitter = float(np.std(rising - np.polyval(line, number)))
        missing = int(number[-1]) + 1 - len(rising)
    return StampTiming(
        len(stamps_ns), period, jitter, missing, disordered, middle, 0.5 * (high - low)
    )
