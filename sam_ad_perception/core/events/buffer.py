"""The last moments of an event stream, to cut the window that a reference frame needs."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from sam_ad_perception.core.events.decoding import empty_events
from sam_ad_perception.core.sensors import Events


class EventBuffer:
    """The last moments of an event stream, bounded in time and in number.

    Attributes:
        dropped: Events thrown away for lack of room (`max_events`), in all.
        restarts: How often the buffer was cleared because time jumped back or the size changed.
    """

    def __init__(self, max_duration_ns: int = 1_000_000_000, max_events: int = 20_000_000) -> None:
        """Make an empty buffer.

        Args:
            max_duration_ns: Events older than this before the newest are forgotten, nanoseconds.
            max_events: At most this many are held (13 bytes each); beyond, the oldest packet goes.
        """
        if max_duration_ns <= 0 or max_events <= 0:
            raise ValueError(
                'max_duration_ns and max_events must be positive, '
                f'got {max_duration_ns} and {max_events}'
            )
        self.dropped = 0
        self.restarts = 0
        self._max_duration_ns = max_duration_ns
        self._max_events = max_events
        self._chunks: deque[Events] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, events: Events) -> None:
        """Append events that follow those already held; earlier ones start the buffer anew.

        Args:
            events: Ordered by time.
        """
        if events.t_ns.size == 0:
            return
        if self._chunks:
            newest = self._chunks[-1]
            if events.t_ns[0] < newest.t_ns[-1] or events.size != newest.size:
                self.clear()
                self.restarts += 1
        self._chunks.append(events)
        self._count += events.t_ns.size
        oldest_ns = events.t_ns[-1] - self._max_duration_ns
        while self._chunks[0].t_ns[-1] < oldest_ns:
            self._count -= self._chunks.popleft().t_ns.size
        while self._count > self._max_events and len(self._chunks) > 1:
            n = self._chunks.popleft().t_ns.size
            self._count -= n
            self.dropped += n
        if self._count > self._max_events:
            self.dropped += self._count - self._max_events
            self._chunks[0] = _slice(events, self._count - self._max_events, self._count)
            self._count = self._max_events

    def clear(self) -> None:
        """Forget all events."""
        self._chunks.clear()
        self._count = 0

    def window(self, end_ns: int, duration_ns: int) -> Events | None:
        """Take the events of `[end_ns - duration_ns, end_ns)`.

        A packet holds the events before its end, so that a window that ends with a packet is
        complete with it; the next packet may begin with events at that very time.

        Args:
            end_ns: First time that is not included, host clock, nanoseconds.
            duration_ns: Length, nanoseconds.

        Returns:
            The events in that window, ordered by time, as views where they came at once; None
            where the buffer is empty, so that not even the sensor's size is known.
        """
        if not self._chunks:
            return None
        start_ns = end_ns - duration_ns
        parts: list[Events] = []
        for chunk in reversed(self._chunks):
            if chunk.t_ns[-1] < start_ns:
                break
            if chunk.t_ns[0] >= end_ns:
                continue
            first, last = np.searchsorted(chunk.t_ns, (start_ns, end_ns), side='left')
            parts.append(_slice(chunk, int(first), int(last)))
        size = self._chunks[-1].size
        if not parts:
            return replace(empty_events(size), start_ns=start_ns)
        if len(parts) == 1:
            return replace(parts[0], start_ns=start_ns)
        parts.reverse()
        return Events(
            np.concatenate([part.x for part in parts]),
            np.concatenate([part.y for part in parts]),
            np.concatenate([part.polarity for part in parts]),
            np.concatenate([part.t_ns for part in parts]),
            size,
            start_ns,
        )


def _slice(events: Events, first: int, last: int) -> Events:
    """Events `first` to `last` (exclusive), as views."""
    cut = slice(first, last)
    return Events(
        events.x[cut], events.y[cut], events.polarity[cut], events.t_ns[cut], events.size
    )
