"""Impossible reception times of recorded messages, and their correction from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.containers.records import Container, UnreadTopic

LONGEST_RECORDING_NS = 366 * 24 * 3600 * 1_000_000_000
"""A message further than this from the middle of the others was not received then."""

_END_OF_TIME_NS = 1 << 63  # ROS 2 counts nanoseconds in 63 bits: year 2262


@dataclass(frozen=True)
class TimeLimits:
    """Which times of reception are possible.

    Attributes:
        start_ns: First possible time of a message, nanoseconds.
        end_ns: Last one.
        low_ns: Earlier messages are not read.
        high_ns: Nor are messages at this time or later.
        low_ns_by_topic: Later limits of single topics, in place of `low_ns`.
        unread: What is set aside, by topic.
    """

    start_ns: int
    end_ns: int
    low_ns: int
    high_ns: int
    low_ns_by_topic: Mapping[str, int] = field(default_factory=dict)
    unread: tuple[UnreadTopic, ...] = ()

    def low_of(self, topic: str) -> int:
        """Earliest possible time of a topic, nanoseconds."""
        return self.low_ns_by_topic.get(topic, self.low_ns)


def find_impossible(containers: Sequence[Container]) -> TimeLimits:
    """Find which messages of a recording have a time of reception that cannot be.

    Those are times of 2^63 nanoseconds and more (or negative, in SQLite), and those further from
    the median than `LONGEST_RECORDING_NS`. A topic of which all messages are that early (a
    latched one that a converter wrote at time 0) is read.

    Args:
        containers: The files.

    Returns:
        The limits; their times are 0 where there is no message at all.
    """
    filled = [c for c in containers if any(each.count for each in c.channels.values())]
    if not filled:
        return TimeLimits(0, 0, 0, _END_OF_TIME_NS)
    start, end = min(c.start_ns for c in filled), max(c.end_ns for c in filled)
    if end < _END_OF_TIME_NS and end - start <= LONGEST_RECORDING_NS:
        return TimeLimits(start, end, 0, _END_OF_TIME_NS)
    kinds = {each.topic: each.type for c in filled for each in c.channels.values()}
    names = list(kinds)
    topic_of: list[NDArray[np.int64]] = []
    received_ns: list[NDArray[np.uint64]] = []
    for container in filled:
        received = container.received()
        numbers = {n: names.index(each.topic) for n, each in container.channels.items()}
        known = np.isin(received.channels, list(numbers))
        found, where = np.unique(received.channels[known], return_inverse=True)
        topic_of.append(np.array([numbers[n] for n in found.tolist()], np.int64)[where])
        received_ns.append(received.times_ns[known])
    return _judge(kinds, np.concatenate(topic_of), np.concatenate(received_ns))


def _judge(
    kinds: Mapping[str, str], topics: NDArray[np.int64], times_ns: NDArray[np.uint64]
) -> TimeLimits:
    """Hold each message against the others.

    Args:
        kinds: Type of each topic.
        topics: (N,) place of each message's topic among them.
        times_ns: (N,) time of each message, nanoseconds.
    """
    sound = times_ns[times_ns < _END_OF_TIME_NS]
    middle_ns = int(np.sort(sound)[len(sound) // 2]) if len(sound) else 0
    low_ns = max(0, middle_ns - LONGEST_RECORDING_NS)
    high_ns = min(middle_ns + LONGEST_RECORDING_NS, _END_OF_TIME_NS)
    early, late = times_ns < low_ns, times_ns >= high_ns
    amounts = np.bincount(topics, minlength=len(kinds))
    whole = np.bincount(topics[early], minlength=len(kinds)) == amounts
    aside = late | (early & ~whole[topics])
    unread = []
    for place, (name, kind) in enumerate(kinds.items()):
        if count := int(np.sum(aside & (topics == place))):
            example = int(times_ns[aside & (topics == place)][0])
            reason = f'received at {example} ns, which cannot be: the others are of {middle_ns} ns'
            unread.append(UnreadTopic(name, kind, count, reason))
    kept = times_ns[~aside]
    return TimeLimits(
        int(kept.min()) if len(kept) else 0,
        int(kept.max()) if len(kept) else 0,
        0,
        high_ns,
        {name: low_ns for place, name in enumerate(kinds) if not whole[place]},
        tuple(unread),
    )
