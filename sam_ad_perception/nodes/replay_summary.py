"""The books of a replay: which frames went out, and what came back for each. No ROS."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """Frames that led, and the answers to them.

    Attributes:
        messages: Messages published, by topic.
        sent: Reference frames published.
        masks: Masks that came back for one of them.
        drops: Drops that came back for one of them, by reason.
        others: Masks whose stamp belongs to no frame of the sensor that leads.
        unanswered: Frames that nothing came back for.
        round_trips: From the publishing of a frame to its mask, steady seconds.
    """

    messages: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    masks: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    others: int = 0
    round_trips: list[float] = field(default_factory=list)
    _open: dict[int, float] = field(default_factory=dict)

    @property
    def unanswered(self) -> int:
        """Frames that nothing came back for."""
        return self.sent - self.masks - self.drops.total()

    def send(self, stamp_ns: int, now: float) -> None:
        """A reference frame goes out.

        Args:
            stamp_ns: Its header stamp, nanoseconds.
            now: Steady time, seconds.
        """
        self.sent += 1
        self._open[stamp_ns] = now

    def withdraw(self, stamp_ns: int) -> None:
        """Expect nothing for a frame that only might have led.

        Args:
            stamp_ns: Its header stamp, nanoseconds.
        """
        if self._open.pop(stamp_ns, None) is not None:
            self.sent -= 1

    def take_mask(self, stamp_ns: int, now: float) -> None:
        """A mask came.

        Args:
            stamp_ns: Its header stamp, nanoseconds.
            now: Steady time, seconds.
        """
        sent_at = self._open.pop(stamp_ns, None)
        if sent_at is None:
            self.others += 1
            return
        self.masks += 1
        self.round_trips.append(now - sent_at)

    def take_drop(self, stamp_ns: int, reason: str) -> None:
        """A status said that there is no mask.

        Args:
            stamp_ns: Its header stamp, nanoseconds.
            reason: Why.
        """
        if self._open.pop(stamp_ns, None) is not None:
            self.drops[re.sub(r'\d+(\.\d+)?', '#', reason)] += 1

    def is_open(self, stamp_ns: int) -> bool:
        """Whether a frame waits for its answer.

        Args:
            stamp_ns: Its header stamp, nanoseconds.
        """
        return stamp_ns in self._open

    def percentile(self, percent: float) -> float | None:
        """A percentile of the round trips, by nearest rank.

        Args:
            percent: 0 to 100.

        Returns:
            Seconds; None without any.
        """
        if not self.round_trips:
            return None
        ordered = sorted(self.round_trips)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]

    def lines(self) -> list[str]:
        """The summary, line by line."""
        out = [
            f'{sum(self.messages.values())} messages on {len(self.messages)} topics',
            f'{self.sent} reference frames, {self.masks} masks, {self.drops.total()} drops, '
            f'{self.unanswered} unanswered',
        ]
        out += [f'  {count} dropped: {reason}' for reason, count in self.drops.most_common()]
        if self.others:
            out.append(f'{self.others} more masks, led by other sensors')
        if self.round_trips:
            values = (self.percentile(p) or 0.0 for p in (50, 95, 99, 100))
            text = ', '.join(
                f'{name} {1e3 * v:.0f}'
                for name, v in zip(('p50', 'p95', 'p99', 'max'), values, strict=True)
            )
            out.append(f'round trip from frame to mask, ms: {text}')
        return out
