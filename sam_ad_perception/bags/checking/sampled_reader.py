"""A recording of which only short parts are read, so that any length takes the same time."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sam_ad_perception.bags.reader import BagMessage, BagReader

PARTS = 3
PART_S = 3.0
"""Of a recording that is longer than all parts together, so many parts of so many seconds."""
MOST_BYTES = 200 << 20
"""Parts are shorter where they would hold more bytes together."""
_AROUND_NS = 1_000_000_000  # transforms and motion are read so far around a part
_FEW = 200  # a topic of fewer messages is read whole, of others their first so many of each


@dataclass(frozen=True)
class Part:
    """A part of a recording that is read.

    Attributes:
        start_ns: First log time, nanoseconds.
        stop_ns: First log time that is not read, nanoseconds.
    """

    start_ns: int
    stop_ns: int

    def holds(self, time_ns: int) -> bool:
        """Whether a log time (nanoseconds) lies in the part."""
        return self.start_ns <= time_ns < self.stop_ns


def choose_parts(first_ns: int, last_ns: int, bytes_per_s: float) -> tuple[Part, ...]:
    """Choose what is read of a recording: its beginning, its middle and its end.

    Args:
        first_ns: Log time from which on there is something to read, nanoseconds.
        last_ns: The last such time, nanoseconds.
        bytes_per_s: Size of the recording over its duration.

    Returns:
        The parts in their order; one that holds all where the recording is short.
    """
    span_s = 1e-9 * (last_ns - first_ns)
    length_s = min(PART_S, MOST_BYTES / max(bytes_per_s, 1.0) / PARTS)
    apart_s = 2e-9 * _AROUND_NS
    if span_s <= PARTS * length_s:
        return (Part(first_ns, last_ns + 1),)
    count = PARTS if span_s > PARTS * (length_s + apart_s) else 1
    if count == 1:  # too short for parts that are apart: as much as may be read, from the middle
        half = round(0.5e9 * PARTS * length_s)
        middle = (first_ns + last_ns) // 2
        return (Part(middle - half, middle + half),)
    length = round(1e9 * length_s)
    starts = [
        first_ns + k * (last_ns + 1 - length - first_ns) // (PARTS - 1) for k in range(PARTS)
    ]
    return tuple(Part(start, start + length) for start in starts)


class SampledReader(BagReader):
    """Reads a recording as `BagReader` does, but of it only some parts once `limit` was called.

    Attributes:
        parts: What is read; empty for everything.
    """

    def __init__(self, path: Path) -> None:
        self.parts: tuple[Part, ...] = ()
        self._timed: frozenset[str] = frozenset()
        self._whole: frozenset[str] = frozenset()
        super().__init__(path)

    def __enter__(self) -> SampledReader:
        return self

    @property
    def size_bytes(self) -> int:
        """Size of the recording's files."""
        return sum(each.path.stat().st_size for each in self._containers)

    def limit(self, parts: Sequence[Part], data_topics: Collection[str]) -> None:
        """Read only parts from now on.

        Args:
            parts: They do not overlap, in their order.
            data_topics: Topics of measurements: they are read in the parts alone, others also
                shortly around them, and whole where they have few messages.
        """
        self.parts = tuple(parts)
        self._timed = frozenset(data_topics)
        few = {t.name for t in self.topics if t.count <= _FEW}
        self._whole = frozenset(few - self._timed)

    def messages(
        self,
        topics: Collection[str] | None = None,
        *,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[BagMessage]:
        """Read messages of the parts, see `BagReader.messages`."""
        if not self.parts:
            yield from super().messages(topics, start_ns=start_ns, stop_ns=stop_ns)
            return
        wanted = {t.name for t in self.topics} if topics is None else set(topics)
        streams = [self._read_parts(wanted - self._whole)]
        if whole := wanted & self._whole:
            streams.append(super().messages(whole))
        low = self.start_ns if start_ns is None else start_ns
        high = self.end_ns + 1 if stop_ns is None else stop_ns
        for message in heapq.merge(*streams, key=lambda each: each.received_ns):
            if low <= message.received_ns < high:
                yield message

    def _read_parts(self, topics: set[str]) -> Iterator[BagMessage]:
        """Read topics that are not read whole: the parts, and what came first of the others."""
        done_ns = self.start_ns
        first = self.parts[0].start_ns - _AROUND_NS
        if others := topics - self._timed:
            ahead = super().messages(others, stop_ns=first)
            yield from islice(ahead, _FEW)
        for part in self.parts:
            start = max(done_ns, part.start_ns - _AROUND_NS)
            done_ns = part.stop_ns + _AROUND_NS
            for message in super().messages(topics, start_ns=start, stop_ns=done_ns):
                if message.topic not in self._timed or part.holds(message.received_ns):
                    yield message
