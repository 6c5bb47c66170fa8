"""Messages of one topic, looked up by stamp while a recording is read once from front to back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.messages.from_ros import stamp_of

T = TypeVar('T')


def find_topics(bag: BagReader, names: str | Sequence[str]) -> list[str]:
    """The topics of a recording with one of these names, whatever their namespace."""
    wanted = (names,) if isinstance(names, str) else tuple(names)
    ends = tuple(f'/{name}' for name in wanted)
    return [t.name for t in bag.topics if t.name in wanted or t.name.endswith(ends)]


class StampedStream(Generic[T]):
    """Finds messages by stamps that ascend, and holds only what was read ahead.

    A recording of hours does not fit into memory; its pictures are needed one after the other.

    Args:
        bag: The recording; of this stream alone, since reading moves on in its files.
        names: Ends of topic names, whatever their namespace; messages of all of them are found.
        read: Makes of a message what is looked up.
    """

    def __init__(
        self, bag: BagReader, names: str | Sequence[str], read: Callable[[Any], T]
    ) -> None:
        self._bag = bag
        self._messages = bag.messages(find_topics(bag, names))
        self._read = read
        self._held: deque[tuple[int, T]] = deque()

    def at(self, stamp_ns: int) -> T | None:
        """What has exactly this stamp (nanoseconds), or None."""
        return self.nearest(stamp_ns, 0)

    def nearest(self, stamp_ns: int, reach_ns: int) -> T | None:
        """What is nearest to a stamp.

        Args:
            stamp_ns: Nanoseconds; not smaller than at the last call.
            reach_ns: Greatest distance from it, nanoseconds.

        Returns:
            The content, or None where nothing is so near.
        """
        while not self._held or self._held[-1][0] < stamp_ns + reach_ns:
            message = next(self._messages, None)
            if message is None:
                break
            content = self._bag.deserialize(message)
            self._held.append((stamp_of(content), self._read(content)))
        while self._held and self._held[0][0] < stamp_ns - reach_ns:
            self._held.popleft()
        near = [each for each in self._held if abs(each[0] - stamp_ns) <= reach_ns]
        return min(near, key=lambda each: abs(each[0] - stamp_ns))[1] if near else None
