"""How long each network took lately: what the router's latency budget is held against."""

from __future__ import annotations

import statistics
from collections import deque

from sam_ad_perception.core.routing import Choice

MEMORY = 15
FORGET_S = 30.0


class LatencyBook:
    """Keeps the latest times of each choice.

    A choice that has not run for `FORGET_S` is forgotten, so that a slow moment does not rule a
    network out for ever.
    """

    def __init__(self) -> None:
        self._times_ms: dict[Choice, deque[float]] = {}
        self._last_s: dict[Choice, float] = {}

    def note(self, choice: Choice, seconds: float, now_s: float) -> None:
        """Note one run.

        Args:
            choice: What ran.
            seconds: How long it took.
            now_s: When it ended, steady seconds.
        """
        self._times_ms.setdefault(choice, deque(maxlen=MEMORY)).append(1e3 * seconds)
        self._last_s[choice] = now_s

    def medians_ms(self, now_s: float) -> dict[Choice, float]:
        """Sum up.

        Args:
            now_s: The time, steady seconds.

        Returns:
            Median time of each choice that ran lately, milliseconds.
        """
        for choice in [c for c, last in self._last_s.items() if now_s - last > FORGET_S]:
            del self._times_ms[choice], self._last_s[choice]
        return {choice: statistics.median(times) for choice, times in self._times_ms.items()}
