"""When the black box writes: faults, fallbacks, drops; each once, and not too often."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sam_ad_perception.core.status import FrameStatus

FAULT, FALLBACK, DROP, SERVICE = 'fault', 'fallback', 'drop', 'service'
KINDS = (FAULT, FALLBACK, DROP, SERVICE)
ERROR = 2
"""Level of `diagnostic_msgs/DiagnosticStatus` from which an entry is a fault."""


@dataclass(frozen=True)
class Trigger:
    """Why something is to be written.

    Attributes:
        kind: One of `KINDS`.
        reason: One sentence.
        code: Its code (`core.fault_codes`) where it has one.
    """

    kind: str
    reason: str
    code: str = ''


@dataclass(frozen=True)
class DiagnosticEntry:
    """An entry of `/diagnostics`, as far as it counts here."""

    name: str
    level: int
    message: str
    code: str = ''


class TriggerRules:
    """Tells when something begins to be wrong; what stays wrong is no new trigger.

    Args:
        kinds: Those that count.

    Raises:
        ValueError: A kind is unknown.
    """

    def __init__(self, kinds: Collection[str] = KINDS) -> None:
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise ValueError(f'--on knows {", ".join(KINDS)}, got {", ".join(unknown)}')
        self._kinds = set(kinds)
        self._faults: dict[str, str] = {}
        self._dropping: dict[str, bool] = {}
        self._used: dict[str, tuple[str, frozenset[str]]] = {}

    def take_diagnostics(self, entries: Iterable[DiagnosticEntry]) -> Trigger | None:
        """Look at entries of `/diagnostics`.

        Args:
            entries: Of one message.

        Returns:
            The first new fault of an entry that was OK before.
        """
        found = None
        for each in entries:
            before = self._faults.get(each.name)
            now = (each.code or 'error') if each.level >= ERROR else ''
            if before is None and each.level > 0:
                continue  # it has not been well yet: a vehicle that starts
            self._faults[each.name] = now
            if now and now != before and found is None:
                found = Trigger(FAULT, f'{each.name}: {each.message}', each.code)
        return found if FAULT in self._kinds else None

    def take_status(self, topic: str, status: FrameStatus) -> Trigger | None:
        """Look at the outcome of a frame.

        Args:
            topic: Where it was told: each view has its own.
            status: The outcome.

        Returns:
            A drop after a mask, or a mask of another network or with fewer sensors than the last.
        """
        dropped = status.dropped is not None
        before = self._dropping.get(topic, False)
        self._dropping[topic] = dropped
        if dropped:
            fresh = not before and DROP in self._kinds
            return Trigger(DROP, status.message, 'output.dropped') if fresh else None
        expert, used = self._used.get(topic, (status.expert, frozenset(status.used)))
        self._used[topic] = status.expert, frozenset(status.used)
        lost = used - set(status.used)
        if FALLBACK not in self._kinds or (expert == status.expert and not lost):
            return None
        return Trigger(FALLBACK, status.message, 'output.degraded')


class RateLimit:
    """Lets only so many triggers through.

    Args:
        interval_s: Least time between two, seconds.
        per_hour: Most in an hour.
    """

    def __init__(self, interval_s: float, per_hour: int) -> None:
        self._interval_s, self._per_hour = interval_s, per_hour
        self._times: deque[float] = deque()

    def refuse(self, now: float) -> str:
        """Ask whether a trigger may pass; one that may is counted.

        Args:
            now: Steady time, seconds.

        Returns:
            Why not; '' where it may.
        """
        while self._times and now - self._times[0] >= 3600.0:
            self._times.popleft()
        if self._times and now - self._times[-1] < self._interval_s:
            since = now - self._times[-1]
            return (
                f'the last one was {since:.1f} s ago, at least {self._interval_s:g} s lie between'
            )
        if len(self._times) >= self._per_hour:
            return f'{self._per_hour} were written within an hour'
        self._times.append(now)
        return ''
