"""Diagnostics of topics: rate, age, bad messages and their reasons. Knows nothing of ROS.

The words are those of the usual topic monitors: OK, NotReceived, Timeout.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sam_ad_perception.core.fault_codes import (
    FAULT_CODES,
    KEY,
    SENSOR_LOSS,
    SENSOR_NOT_RECEIVED,
    SENSOR_TIMEOUT,
    SENSOR_TIMING,
    SENSOR_UNHEALTHY,
    SENSOR_UNREADABLE,
)
from sam_ad_perception.core.health.monitor import SensorHealth
from sam_ad_perception.core.status import without_figures
from sam_ad_perception.core.synchronization.results import SensorReport

OK, WARN, ERROR, STALE = 0, 1, 2, 3
"""Levels of `diagnostic_msgs/DiagnosticStatus`."""

MAX_REASONS = 32
"""So many different reasons are counted apart: a hostile sender cannot fill the memory."""
MAX_GAP = 1000
"""A publisher's next number is at most so much higher; one that is not is another publisher's."""
MAX_PUBLISHERS = 4
LOSS_TOLERATED = 0.1
"""Part of the messages that may get lost without a warning: topics of sensors are best effort."""

CONFIGURING = 'configuring: '
"""What a node is loading is told in a message that begins so."""


@dataclass(frozen=True)
class Diagnosis:
    """One entry of `/diagnostics`.

    Attributes:
        name: What it is about, for example `camera`.
        level: `OK`, `WARN`, `ERROR` or `STALE`.
        message: One sentence.
        values: Figures.
        code: What is wrong, for programs: one of `FAULT_CODES`; empty where the level is OK.
    """

    name: str
    level: int
    message: str
    values: tuple[tuple[str, str], ...] = ()
    code: str = ''

    def __post_init__(self) -> None:
        assert (self.level == OK) == (not self.code), f'{self.name}: {self.level} {self.code!r}'
        assert not self.code or self.code in FAULT_CODES, self.code

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        """The figures, and before them the code where something is wrong."""
        return ((KEY, self.code), *self.values) if self.code else self.values


_OTHERS = 'other reasons'


class ReasonCounter:
    """Counts by reason, and says when a reason is due to be logged.

    Two texts that differ in their numbers alone are one reason. Safe to use from any thread.

    Args:
        period: A reason is logged at most once in so many seconds.
        clock: Gives the time, seconds.
    """

    def __init__(self, period: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._texts: dict[str, str] = {}
        self._logged: dict[str, float] = {}

    def add(self, text: str) -> bool:
        """Count one.

        Args:
            text: The reason in words.

        Returns:
            Whether it should be logged now.
        """
        reason = without_figures(text)
        now = self._clock()
        with self._lock:
            if reason not in self._counts and len(self._counts) >= MAX_REASONS:
                reason = _OTHERS
            self._counts[reason] += 1
            self._texts[reason] = reason if reason == _OTHERS else text
            if now - self._logged.get(reason, -math.inf) < self._period:
                return False
            self._logged[reason] = now
            return True

    @property
    def total(self) -> int:
        """All that was counted."""
        with self._lock:
            return self._counts.total()

    @property
    def counts(self) -> dict[str, int]:
        """Count by reason, each as it was told last."""
        with self._lock:
            told: dict[str, int] = {}
            for reason, count in self._counts.items():
                text = self._texts[reason]
                told[text] = told.get(text, 0) + count
            return told


class LossCounter:
    """Counts messages that got lost on the way: DDS numbers what a publisher sends.

    Several publishers of a topic, and one that starts again, number their own: each number is
    held against the nearest lower one. Not thread-safe.
    """

    def __init__(self) -> None:
        self._last: list[int] = []
        self.total = 0

    def add(self, number: int) -> None:
        """Take the next message.

        Args:
            number: Its publication sequence number.
        """
        before = max((n for n in self._last if 0 < number - n <= MAX_GAP), default=None)
        if before is not None:
            self._last.remove(before)
            self.total += number - before - 1
        self._last = [number, *self._last[: MAX_PUBLISHERS - 1]]


@dataclass(eq=False)
class TopicMonitor:
    """Watches one input.

    Attributes:
        name: Of the sensor or topic.
        timeout: Silent for longer than this is `Timeout`, seconds.
        bad: Messages that could not be read, by reason.
        received: Messages that came, bad ones included.
        losses: Messages that were sent and did not come.
        topics: `topic`, and `topic/compressed` of an image, to the name after remapping.
    """

    name: str
    timeout: float
    bad: ReasonCounter = field(default_factory=ReasonCounter)
    received: int = 0
    losses: LossCounter = field(default_factory=LossCounter)
    topics: dict[str, str] = field(default_factory=dict)
    _last: float | None = None
    _refusal: str = ''
    _withheld: str = ''
    _told_received: int = 0
    _told_bad: int = 0
    _told_lost: int = 0
    _told_at: float | None = None
    _told_health: SensorHealth = field(default_factory=SensorHealth)

    def tick(self, now: float, number: int | None = None) -> None:
        """Note that a message came.

        Args:
            now: Steady time, seconds.
            number: Its publication sequence number; None where the middleware gives none.
        """
        self.received += 1
        if number is not None:
            self.losses.add(number)
        self._last = now
        self._refusal = self._withheld = ''

    def withhold(self, reason: str) -> bool:
        """Note that what is published cannot be taken, so that no message comes.

        Args:
            reason: In words; '' where nothing stands in the way.

        Returns:
            Whether it should be logged now: it is another one than before.
        """
        fresh = bool(reason) and reason != self._withheld
        self._withheld = reason
        return fresh

    def refuse(self, reason: str) -> bool:
        """Note that the last message could not be read.

        Args:
            reason: In words.

        Returns:
            Whether it should be logged now.
        """
        self._refusal = reason
        return self.bad.add(reason)

    def standing_refusal(self, now: float) -> str:
        """Say why the last message could not be read.

        Args:
            now: Steady time, seconds.

        Returns:
            The reason, or why none can be taken; empty where it could be read, or is longer ago
            than the timeout.
        """
        if self._withheld:
            return self._withheld
        recent = self._last is not None and now - self._last <= self.timeout
        return self._refusal if recent else ''

    def diagnose(
        self,
        now: float,
        figures: dict[str, int] | None = None,
        health: SensorHealth | None = None,
        timing: SensorReport | None = None,
    ) -> Diagnosis:
        """Tell what happened since the last call.

        Args:
            now: Steady time, seconds.
            figures: More counts to show.
            health: What was found about the frames so far; None where they are not checked.
            timing: Its rhythm and latency; None where it is not synchronized.

        Returns:
            The entry; WARN where nothing comes, or where what came could not be read, was
            unhealthy, or has stamps that look wrong.
        """
        # What is new since it was told last.
        elapsed = None if self._told_at is None else now - self._told_at
        fresh = self.received - self._told_received
        fresh_bad = self.bad.total - self._told_bad
        fresh_lost = self.losses.total - self._told_lost
        self._told_at, self._told_received, self._told_bad = now, self.received, self.bad.total
        self._told_lost = self.losses.total
        # The worst of what is known gives level and message.
        level, message, code = OK, 'OK', ''
        if self._withheld:
            level, message, code = WARN, self._withheld, SENSOR_UNREADABLE
        elif self._last is None:
            level, message, code = WARN, 'NotReceived', SENSOR_NOT_RECEIVED
        elif now - self._last > self.timeout:
            silence = f'Timeout: silent for {now - self._last:.1f} s'
            level, message, code = WARN, silence, SENSOR_TIMEOUT
        elif fresh_bad:
            message = f'{fresh_bad} of {fresh} messages could not be read'
            level, code = WARN, SENSOR_UNREADABLE
        elif fresh_lost > LOSS_TOLERATED * (fresh + fresh_lost):
            message = f'{fresh_lost} of {fresh + fresh_lost} messages got lost'
            level, code = WARN, SENSOR_LOSS
        elif health is not None and (found := health.unhealthy - self._told_health.unhealthy) > 0:
            checked = health.frames - self._told_health.frames
            message = f'{found} of {checked} frames unhealthy: {health.last_reason}'
            level, code = WARN, SENSOR_UNHEALTHY
        elif timing is not None and timing.doubt:
            level, message, code = WARN, timing.doubt, SENSOR_TIMING
        # Figures for the table.
        values = [*self.topics.items()]
        values += [('received', str(self.received)), ('lost', str(self.losses.total))]
        if elapsed:
            values.append(('rate_hz', f'{fresh / elapsed:.2f}'))
        if self._last is not None:
            values.append(('age_s', f'{now - self._last:.3f}'))
        values += [(key, str(count)) for key, count in (figures or {}).items()]
        values += [(f'bad: {reason}', str(n)) for reason, n in self.bad.counts.items()]
        if health is not None:
            values += [
                ('health/checked', str(health.frames)),
                ('health/taken out', str(health.unusable)),
            ]
            values += [(f'health/{kind}', str(n)) for kind, n in health.counts.items()]
            if health.last_reason:
                values.append(('health/last_reason', health.last_reason))
            self._told_health = health
        values += _timing_values(timing)
        return Diagnosis(self.name, level, message, tuple(values), code)


def _timing_values(timing: SensorReport | None) -> list[tuple[str, str]]:
    """What is known of a sensor's stamps, milliseconds."""
    if timing is None:
        return []
    figures = {
        'timing/period_ms': timing.period_ns,
        'timing/latency_ms': timing.latency_ns,
        'timing/offset_by_arrival_ms': timing.offset_ns,
    }
    return [(name, f'{1e-6 * ns:.1f}') for name, ns in figures.items() if ns is not None]
