"""The messages of a recording in the order of what they tell of, not of when they were recorded.

A recorder writes a message when it gets it: late, in bursts, topic after topic, or (converters)
all at one time. The first pass notes each message's own time; the second one holds messages back
until all that come before them in that order were read. What is held beyond a limit lies in a
temporary file, so that a recording in any order needs no more memory than one in order.

Several camera views share both passes: each has its own times, and a message that several of them
take is handed to one after the other before the next message.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.reader import BagMessage, BagReader

HELD_BYTES = 256 << 20
"""Held messages of more bytes than this together lie in a temporary file."""

MessageTime = tuple[int, int, int]
"""Nanoseconds, then what decides between messages of one time: lower comes first."""


@dataclass(frozen=True)
class TimedMessage:
    """A message with its own time.

    Attributes:
        time_ns: When it says that it was measured, nanoseconds.
        message: The message.
        part: In which part of the recording, see `MeasuredTimes.separate`.
        view: Number of the view that takes it.
    """

    time_ns: int
    message: BagMessage
    part: int = 0
    view: int = 0


class MeasuredTimes:
    """When what the messages of one view tell of was measured.

    Attributes:
        times_ns: For each topic, the times of its messages in the order of the recording.
        received_ns: Likewise, when they were recorded.
        parts: Likewise, the number of the part that they belong to.

    Args:
        keys: For each topic, of each message its time and what decides between equal ones.
        received_ns: See above.
    """

    def __init__(
        self, keys: dict[str, NDArray[np.int64]], received_ns: dict[str, NDArray[np.int64]]
    ) -> None:
        self.keys = keys
        self.times_ns = {topic: each[:, 0] for topic, each in keys.items()}
        self.received_ns = received_ns
        self.parts = {topic: np.zeros(len(each), np.int64) for topic, each in keys.items()}

    def separate(self, parts: Mapping[str, NDArray[np.int64]]) -> None:
        """Read one part of the recording behind the other: its time begins anew there.

        Args:
            parts: For each topic the number of the part that each message belongs to.
        """
        self.parts = dict(parts)

    def times_in(self, topic: str, part: int) -> NDArray[np.int64]:
        """Times of the messages of a topic in one part.

        Args:
            topic: The topic; one without messages has no times.
            part: Number of the part.

        Returns:
            (N,) in the order of the recording, nanoseconds.
        """
        if topic not in self.times_ns:
            return np.zeros(0, np.int64)
        return self.times_ns[topic][self.parts[topic] == part]

    def shift(self, topic: str, times_ns: NDArray[np.int64]) -> None:
        """Put other times in place of those of a topic.

        Args:
            topic: The topic.
            times_ns: As many as it has messages, in the order of the recording, nanoseconds.
        """
        self.keys[topic][:, 0] = times_ns


class Clock(Protocol):
    """Tells when what each message of one view tells of was measured.

    Attributes:
        topics: All topics that have a place in the order of time.
    """

    topics: frozenset[str]

    def time_of(self, message: BagMessage) -> MessageTime | None:
        """Tell the time of a message of one of `topics`; None for one without: it comes first."""
        ...


def read_times(reader: BagReader, clocks: Sequence[Clock]) -> list[MeasuredTimes]:
    """Read a recording once for the times of its messages.

    Args:
        reader: The recording, open.
        clocks: That of each view.

    Returns:
        The times of each view.
    """
    keys: list[dict[str, list[MessageTime]]] = [defaultdict(list) for _ in clocks]
    received: dict[str, list[int]] = defaultdict(list)
    topics = frozenset[str]().union(*(clock.topics for clock in clocks))
    for message in reader.messages(topics) if topics else ():
        received[message.topic].append(message.received_ns)
        for clock, own in zip(clocks, keys, strict=True):
            if message.topic in clock.topics:
                own[message.topic].append(clock.time_of(message) or (0, 0, 0))
    arrived = {topic: np.array(each, np.int64) for topic, each in received.items()}
    return [
        MeasuredTimes(
            {topic: np.array(each, np.int64) for topic, each in own.items()},
            {topic: arrived[topic] for topic in own},
        )
        for own in keys
    ]


def read_in_order(
    reader: BagReader, views: Sequence[MeasuredTimes], topics: Collection[str] | None
) -> Iterator[tuple[BagMessage, list[TimedMessage]]]:
    """Read the messages of a recording as they were measured.

    Args:
        reader: The recording, open.
        views: Times of each view.
        topics: Topics that are read besides those of the views; None for all.

    Yields:
        Each message in the order of the recording; and those whose turn has come with it, to be
        handed to their views.
    """
    places, (times, parts, takers) = _rank(views)
    seen: dict[str, int] = defaultdict(int)
    wanted = None if topics is None else {*topics, *places}
    turn = 0
    with _Held(HELD_BYTES) as held:
        for message in reader.messages(wanted):
            due: list[TimedMessage] = []
            if message.topic in places:
                number = seen[message.topic]
                seen[message.topic] += 1
                held.put([int(own[number]) for own in places[message.topic]], message)
                while (each := held.take(turn)) is not None:
                    told = int(times[turn]), each, int(parts[turn]), int(takers[turn])
                    due.append(TimedMessage(*told))
                    turn += 1
            yield message, due


def _rank(
    views: Sequence[MeasuredTimes],
) -> tuple[dict[str, list[NDArray[np.int64]]], list[NDArray[np.int64]]]:
    """Put everything that is handed to a view into one order.

    Returns:
        By topic, for each view that takes it, the place of each message; then times, parts and
        views in the order of the places.
    """
    streams = sorted((topic, view) for view, own in enumerate(views) for topic in own.keys)
    if not streams:
        return {}, [np.zeros(0, np.int64)] * 3
    keys = np.concatenate([views[view].keys[topic] for topic, view in streams])
    part_of = np.concatenate([views[view].parts[topic] for topic, view in streams])
    counts = [len(views[view].keys[topic]) for topic, view in streams]
    names = {topic: n for n, topic in enumerate(dict.fromkeys(topic for topic, _ in streams))}
    topic_of = np.repeat([names[topic] for topic, _ in streams], counts)
    number_of = np.concatenate([np.arange(count) for count in counts])
    taker = np.repeat(np.array([view for _, view in streams], np.int64), counts)
    order = np.lexsort((taker, number_of, topic_of, keys[:, 2], keys[:, 1], keys[:, 0], part_of))
    place = np.empty(len(keys), np.int64)
    place[order] = np.arange(len(keys))
    places: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
    parts = np.split(place, np.cumsum(counts)[:-1])
    for (topic, _), part in zip(streams, parts, strict=True):
        places[topic].append(part)
    return dict(places), [keys[order, 0], part_of[order], taker[order]]


class _Held:
    """Messages that wait for their turn; one that several views take is held once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._next = 0
        self._numbers: dict[int, int] = {}
        self._messages: dict[int, BagMessage] = {}
        self._left: dict[int, int] = {}
        self._stored: dict[int, tuple[BagMessage, int, int]] = {}
        self._loaded: tuple[int, BagMessage] | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, places: Sequence[int], message: BagMessage) -> None:
        size, number = len(message.data), self._next
        self._next += 1
        self._numbers.update(dict.fromkeys(places, number))
        self._left[number] = len(places)
        if self._size + size <= self._limit:
            self._size += size
            self._messages[number] = message
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed on exit)
        start = self._file.seek(0, 2)
        self._file.write(message.data)
        emptied = BagMessage(message.topic, message.type, message.received_ns, b'')
        self._stored[number] = emptied, start, size

    def take(self, place: int) -> BagMessage | None:
        """The message of a place; None while it is not there."""
        number = self._numbers.pop(place, None)
        if number is None:
            return None
        self._left[number] -= 1
        last = not self._left[number]
        if last:
            del self._left[number]
        if number not in self._stored:
            if not last:
                return self._messages[number]
            message = self._messages.pop(number)
            self._size -= len(message.data)
            return message
        return self._load(number, last=last)

    def _load(self, number: int, *, last: bool) -> BagMessage:
        """Read a message from the file, once for views that take it one after the other."""
        if self._loaded is None or self._loaded[0] != number:
            emptied, start, size = self._stored[number]
            assert self._file is not None
            self._file.seek(start)
            data = self._file.read(size)
            message = BagMessage(emptied.topic, emptied.type, emptied.received_ns, data)
            self._loaded = number, message
        message = self._loaded[1]
        if last:
            del self._stored[number]
            self._loaded = None
        return message
