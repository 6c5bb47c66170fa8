"""Clock model of one sensor from arrival minus stamp: lower envelope, slope and steps.

A message arrives later than it was measured, never earlier, and now and then almost at once. So
the least `arrival - stamp` of several messages in a row is the clock's offset plus the shortest
way; how it changes over time is drift. Late messages move the mean, not this envelope.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_MESSAGES = 3
"""With fewer nothing is said about a clock."""
_BLOCK = 5
_MAX_BLOCKS = 512
_STEP_S = 0.1
_STEP_RUN = 5
_ODD_S = 1.0
_MIN_FIT_S = 3.0
_WILD_NS = 10_000_000_000
"""A stamp so much later than those around it is a damaged one, not a short way."""
_MIN_CHANGE_S = 0.02


@dataclass(frozen=True)
class ClockStep:
    """A clock was set while it ran.

    Attributes:
        arrival_ns: When the first message after it arrived, nanoseconds.
        size_s: By how much the stamps leapt, seconds; positive: forward.
    """

    arrival_ns: int
    size_s: float


@dataclass(frozen=True)
class ClockEstimate:
    """What the messages since the last step tell of one clock.

    Attributes:
        count: Number of messages.
        least_s: Least arrival minus stamp, seconds: below zero is impossible.
        first_s: The envelope at the first message, seconds.
        last_s: The same at the last message; differs from `first_s` where the clock drifts.
        spread_s: Median of arrival minus stamp above the envelope, seconds.
        drift_ppm: How much faster than the arrivals' clock it runs, parts per million; 0 where
            that is not significant.
        span_s: Arrival of the last message minus that of the first, seconds.
        stamp_s: Last stamp, seconds.
        arrival_s: Last arrival, seconds.
        unstamped: Whether every stamp is 0.
        follows: Whether arrivals follow stamps at all: false where a recording's log times are
            constant, were rewritten from the stamps, or lie in another order.
    """

    count: int
    least_s: float
    first_s: float
    last_s: float
    spread_s: float
    drift_ppm: float
    span_s: float
    stamp_s: float
    arrival_s: float
    unstamped: bool
    follows: bool


class ClockModel:
    """Takes stamps and arrivals of one sensor, in the order of arrival, in bounded memory.

    Attributes:
        steps: Steps found, the newest last.
    """

    def __init__(self) -> None:
        self.steps: deque[ClockStep] = deque(maxlen=8)
        self._pending: list[tuple[int, int]] = []
        self._intervals: deque[int] = deque(maxlen=15)
        self._delays: deque[int] = deque(maxlen=9)
        self._recent: deque[tuple[int, int]] = deque(maxlen=2 * _BLOCK + 4)
        self._start()

    def add(self, stamp_ns: int, arrival_ns: int) -> None:
        """Take one message.

        Args:
            stamp_ns: Its stamp, nanoseconds.
            arrival_ns: When it arrived, nanoseconds.
        """
        if self._pending or self._leaps(stamp_ns, arrival_ns):
            self._consider(stamp_ns, arrival_ns)
        else:
            self._take(stamp_ns, arrival_ns)

    def leaps(self, stamp_ns: int) -> bool:
        """Tell whether the newest message, if of this stamp, is off all before it by a second.

        Args:
            stamp_ns: Its stamp, nanoseconds.

        Returns:
            False also from the moment on when the clock is known to have been set.
        """
        if not self._pending or self._pending[-1][0] != stamp_ns:
            return False
        return abs(self._apart(*self._pending[-1])) > 1e9 * _ODD_S

    def estimate(self) -> ClockEstimate | None:
        """Say what is known of the clock.

        Returns:
            The estimate over all messages since the last step; None below `MIN_MESSAGES`.
        """
        if self._count < MIN_MESSAGES or self._first is None:
            return None
        blocks = [*self._blocks, _block(self._open)] if self._open else self._blocks
        table = np.array(blocks, dtype=np.float64)
        origin_ns = self._first[1]
        times = 1e-9 * (table[:, 0] - origin_ns)
        lows, middles = 1e-9 * table[:, 1], 1e-9 * table[:, 2]
        span = 1e-9 * (self._last[1] - origin_ns)
        least = float(lows.min())
        slope = _slope(times, lows)
        envelope = slope * times
        envelope += float((lows - envelope).min())
        return ClockEstimate(
            count=self._count,
            least_s=least,
            first_s=float(envelope[0]),
            last_s=float(envelope[-1]),
            spread_s=float(np.median(middles - envelope)),
            drift_ppm=-1e6 * slope,
            span_s=span,
            stamp_s=1e-9 * self._last[0],
            arrival_s=1e-9 * self._last[1],
            unstamped=self._zeros == self._count,
            follows=self._follows(table, span),
        )

    def _start(self) -> None:
        """Begin with a clock of which nothing is known."""
        self._blocks: list[tuple[float, float, float]] = []
        self._open: list[tuple[int, int]] = []
        self._first: tuple[int, int] | None = None
        self._last = (0, 0)
        self._count = self._zeros = self._exact = 0

    def _take(self, stamp_ns: int, arrival_ns: int) -> None:
        if self._first is None:
            self._first = stamp_ns, arrival_ns
        else:
            self._intervals.append(arrival_ns - self._last[1])
        self._delays.append(arrival_ns - stamp_ns)
        self._recent.append((stamp_ns, arrival_ns))
        self._count += 1
        self._zeros += stamp_ns == 0
        self._exact += stamp_ns == arrival_ns
        self._last = stamp_ns, arrival_ns
        self._open.append((arrival_ns, arrival_ns - stamp_ns))
        if len(self._open) == _BLOCK:
            self._blocks.append(_block(self._open))
            self._open = []
            if len(self._blocks) == _MAX_BLOCKS:
                pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
                self._blocks = [_joined(a, b) for a, b in pairs]

    def _leaps(self, stamp_ns: int, arrival_ns: int) -> bool:
        """Whether a message that comes in the rhythm carries a stamp that does not."""
        if self._count < 2 * _STEP_RUN:
            return False
        came = 1e-9 * (arrival_ns - self._last[1])
        period = 1e-9 * sorted(self._intervals)[len(self._intervals) // 2]
        regular = abs(came - period) < max(0.5 * period, 0.05)
        leapt = abs(1e-9 * (stamp_ns - self._last[0]) - came) > _STEP_S
        return regular and leapt and abs(self._apart(stamp_ns, arrival_ns)) > 1e9 * _STEP_S

    def _apart(self, stamp_ns: int, arrival_ns: int) -> int:
        """How far a stamp is from what the last messages say; one odd one does not shift that."""
        return self._level() - (arrival_ns - stamp_ns)

    def _level(self) -> int:
        """Median arrival minus stamp of the last messages, nanoseconds."""
        return sorted(self._delays)[len(self._delays) // 2]

    def _consider(self, stamp_ns: int, arrival_ns: int) -> None:
        """A step is one that stays; a single odd stamp is not."""
        before = self._level()
        self._pending.append((stamp_ns, arrival_ns))
        size = before - (self._pending[0][1] - self._pending[0][0])
        moved = before - (arrival_ns - stamp_ns)
        if abs(moved - size) > 0.25 * abs(size):
            held, self._pending = self._pending, []
            for each in held:  # a damaged stamp says nothing of the clock
                if abs(self._apart(*each)) < _WILD_NS:
                    self._take(*each)
        elif len(self._pending) >= _STEP_RUN:
            held, self._pending = self._pending, []
            self.steps.append(ClockStep(held[0][1], 1e-9 * size))
            self._delays.clear()
            self._recent.clear()
            self._start()
            for each in held:
                self._take(*each)

    def _follows(self, table: NDArray[np.float64], span_s: float) -> bool:
        """Whether arrivals are what they say: they pass as the stamps pass.

        Told from the middle of each block, which a damaged stamp does not move.
        """
        if self._exact == self._count:
            return False
        delays = table[:, 2]
        sound = np.abs(delays - np.median(delays)) < _WILD_NS
        arrivals = 1e-9 * (table[sound, 0] - table[0, 0])
        stamps = arrivals - 1e-9 * delays[sound]
        if len(stamps) < 3:
            level = self._level()
            pairs = [p for p in self._recent if abs(level - (p[1] - p[0])) < _WILD_NS]
            origin = self._last[1]
            stamps = 1e-9 * np.array([s - origin for s, _ in pairs], np.float64)
            arrivals = 1e-9 * np.array([a - origin for _, a in pairs], np.float64)
        if len(stamps) < 2 or float(np.var(stamps)) < 1e-6:  # one stamp, or a moment
            return span_s > 0.0
        return bool(0.5 < _line(stamps, arrivals)[0] < 2.0)


def _block(pairs: list[tuple[int, int]]) -> tuple[float, float, float]:
    """Arrival and size of the least delay of some messages, and their median delay."""
    delays = sorted(delay for _, delay in pairs)
    middle = delays[len(delays) // 2]
    sound = [pair for pair in pairs if pair[1] > middle - _WILD_NS]
    arrival, least = min(sound, key=lambda pair: pair[1])
    return arrival, least, middle


def _joined(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> tuple[float, float, float]:
    low = min(a, b, key=lambda each: each[1])
    return low[0], low[1], 0.5 * (a[2] + b[2])


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and level of the line through points, by least squares."""
    middle, level = float(x.mean()), float(y.mean())
    away = x - middle
    slope = float(away @ (y - level)) / max(float(away @ away), 1e-12)
    return slope, level - slope * middle


def _slope(times: NDArray[np.float64], lows: NDArray[np.float64]) -> float:
    """Slope of the lower envelope; 0 where it does not stand out of the scatter."""
    if len(times) < 8 or times[-1] - times[0] < _MIN_FIT_S:
        return 0.0
    keep = np.ones(len(times), bool)
    slope, scatter = 0.0, math.inf
    for _ in range(3):
        slope, level = _line(times[keep], lows[keep])
        rest = lows - (slope * times + level)
        scatter = float(np.std(rest[keep]))
        keep = rest <= np.median(rest) + scatter
        if np.count_nonzero(keep) < 4:
            return 0.0
    change = abs(slope) * (times[-1] - times[0])
    return float(slope) if change > max(_MIN_CHANGE_S, 5 * scatter) else 0.0
