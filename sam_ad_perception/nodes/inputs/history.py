"""History of messages that wait for others of the same time: bounded in age and bytes. No ROS."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Generic, TypeVar

T = TypeVar('T')


class History(Generic[T]):
    """Items by stamp.

    Args:
        age_ns: Items older than the newest by more than this go, nanoseconds.
        max_bytes: Beyond this the oldest go; the newest always stays.
    """

    def __init__(self, age_ns: int, max_bytes: int) -> None:
        self._age_ns = age_ns
        self._max_bytes = max_bytes
        self._stamps: list[int] = []
        self._items: dict[int, tuple[T, int]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._stamps)

    def add(self, stamp_ns: int, item: T, size: int) -> None:
        """Keep an item; one of the same stamp gives way to it.

        Args:
            stamp_ns: Its stamp, nanoseconds. One that is older than the newest by more than the
                age means that time was set back: all else is forgotten.
            item: Anything.
            size: How much memory it holds, bytes.
        """
        if self._stamps and stamp_ns < self._stamps[-1] - self._age_ns:
            self.clear()
        if stamp_ns in self._items:
            self._bytes -= self._items[stamp_ns][1]
        else:
            insort(self._stamps, stamp_ns)
        self._items[stamp_ns] = item, size
        self._bytes += size
        while len(self._stamps) > 1 and (
            self._bytes > self._max_bytes or self._stamps[0] < self._stamps[-1] - self._age_ns
        ):
            self._bytes -= self._items.pop(self._stamps.pop(0))[1]

    def at(self, stamp_ns: int) -> T | None:
        """The item of exactly this stamp, or None."""
        found = self._items.get(stamp_ns)
        return None if found is None else found[0]

    def nearest(self, stamp_ns: int, tolerance_ns: int) -> T | None:
        """The item nearest to a stamp.

        Args:
            stamp_ns: The stamp, nanoseconds.
            tolerance_ns: One farther away does not count, nanoseconds.

        Returns:
            The item, the earlier one of two that are equally near, or None.
        """
        at = bisect_left(self._stamps, stamp_ns)
        near = self._stamps[max(at - 1, 0) : at + 1]
        best = min(near, key=lambda each: abs(each - stamp_ns), default=None)
        if best is None or abs(best - stamp_ns) > tolerance_ns:
            return None
        return self._items[best][0]

    def clear(self) -> None:
        """Forget everything."""
        self._stamps, self._items, self._bytes = [], {}, 0
