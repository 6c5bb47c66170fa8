"""Frames sent and results received in a replay. No ROS."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sam_ad_perception.core.status import ReasonTally


@dataclass
class ReplayStats:
    """Frames that led, and the answers to them.

    Attributes:
        messages: Messages published, by topic.
        sent: Reference frames published.
        masks: Masks that came back for one of them.
        others: Masks whose stamp belongs to no frame of the sensor that leads.
        unanswered: Frames that nothing came back for.
        round_trips: From the publishing of a frame to its mask, steady seconds.
        mask_stamps: Header stamps of the frames that got their mask, nanoseconds, as they came, of
            each camera view.
        begin_s: Steady time of the first frame, seconds; None before it.
        end_s: Steady time of the last frame, mask or drop, seconds; None before the first frame.
    """

    messages: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    masks: int = 0
    others: int = 0
    round_trips: list[float] = field(default_factory=list)
    mask_stamps: dict[str, list[int]] = field(default_factory=dict)
    begin_s: float | None = None
    end_s: float | None = None
    _open: dict[tuple[str, int], float] = field(default_factory=dict)
    _drops: ReasonTally = field(default_factory=ReasonTally)

    @property
    def drops(self) -> dict[str, int]:
        """Drops that came back for one of them, by reason."""
        return self._drops.counts

    @property
    def unanswered(self) -> int:
        """Frames that nothing came back for."""
        return self.sent - self.masks - sum(self.drops.values())

    @property
    def wall_s(self) -> float:
        """From the first frame to the last frame, mask or drop, seconds of wall-clock time."""
        return 0.0 if self.begin_s is None or self.end_s is None else self.end_s - self.begin_s

    @property
    def gap_ms(self) -> float | None:
        """The longest time between two masks of a view, ms of the bag; None with less than two."""
        gaps = [
            later - earlier
            for stamps in self.mask_stamps.values()
            for earlier, later in itertools.pairwise(sorted(stamps))
        ]
        return 1e-6 * max(gaps) if gaps else None

    def figures(self) -> dict[str, Any]:
        """The summary as plain values, for a file.

        Returns:
            Counts; `wall_s`, seconds; `gap_ms`, milliseconds of the bag; `round_trip_ms`, the
            median in milliseconds; `drops`, reason to count. What is not known is None.
        """
        median = self.percentile(50)
        return {
            'frames': self.sent,
            'masks': self.masks,
            'unanswered': self.unanswered,
            'drops': dict(self.drops),
            'wall_s': self.wall_s,
            'gap_ms': self.gap_ms,
            'round_trip_ms': None if median is None else 1e3 * median,
        }

    def send(self, stamp_ns: int, now: float, view: str = '') -> None:
        """A reference frame goes out.

        Args:
            stamp_ns: Its header stamp, nanoseconds.
            now: Steady time, seconds.
            view: The camera view.
        """
        self.sent += 1
        self._open[view, stamp_ns] = now
        self._look_at(now)

    def withdraw(self, stamp_ns: int, view: str = '') -> None:
        """Expect nothing for a frame that only might have led.

        Args:
            stamp_ns: Its header stamp, nanoseconds.
            view: The camera view.
        """
        if self._open.pop((view, stamp_ns), None) is not None:
            self.sent -= 1

    def on_mask(self, stamp_ns: int, now: float, view: str = '') -> None:
        """A mask came.

        Args:
            stamp_ns: Its header stamp, nanoseconds.
            now: Steady time, seconds.
            view: The camera view.
        """
        sent_at = self._open.pop((view, stamp_ns), None)
        if sent_at is None:
            self.others += 1
            return
        self.masks += 1
        self.mask_stamps.setdefault(view, []).append(stamp_ns)
        self.round_trips.append(now - sent_at)
        self._look_at(now)

    def on_drop(self, stamp_ns: int, reason: str, view: str = '') -> None:
        """A status said that there is no mask.

        Args:
            stamp_ns: Its header stamp, nanoseconds.
            reason: Why.
            view: The camera view.
        """
        if self._open.pop((view, stamp_ns), None) is not None:
            self._drops.add(reason)

    def _look_at(self, now: float) -> None:
        """Something happened at a steady time, seconds."""
        self.begin_s = now if self.begin_s is None else self.begin_s
        self.end_s = now

    def is_open(self, stamp_ns: int, view: str = '') -> bool:
        """Whether a frame waits for its answer.

        Args:
            stamp_ns: Its header stamp, nanoseconds.
            view: The camera view.
        """
        return (view, stamp_ns) in self._open

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
            f'{self.sent} reference frames, {self.masks} masks, {sum(self.drops.values())} drops, '
            f'{self.unanswered} unanswered',
        ]
        out += [f'  {count} dropped: {reason}' for reason, count in self.drops.items()]
        if self.others:
            out.append(f'{self.others} more masks, led by other sensors')
        if self.masks and self.wall_s:
            out.append(
                f'{self.masks / self.wall_s:.1f} masks per second of wall-clock time, '
                f'{100 * (1 - self.masks / self.sent):.0f} % of the frames without a mask'
            )
        if self.round_trips:
            values = (self.percentile(p) or 0.0 for p in (50, 95, 99, 100))
            text = ', '.join(
                f'{name} {1e3 * v:.0f}'
                for name, v in zip(('p50', 'p95', 'p99', 'max'), values, strict=True)
            )
            out.append(f'round trip from frame to mask, ms: {text}')
        return out
