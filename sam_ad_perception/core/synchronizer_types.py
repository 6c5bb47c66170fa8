"""What comes out of the synchronizer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar('K', bound=Hashable)
T = TypeVar('T')


@dataclass(frozen=True, eq=False)
class SyncedSet(Generic[K, T]):
    """What the sensors saw around one reference frame.

    Attributes:
        stamp_ns: Stamp of the reference frame, its sensor's offset subtracted, nanoseconds.
        reference: Sensor that leads.
        items: For each sensor present, the reference included, its stamp (offset subtracted,
            nanoseconds) and what was added with it.
        absent: For each other sensor, why it is not present, in words.
    """

    stamp_ns: int
    reference: K
    items: Mapping[K, tuple[int, T]]
    absent: Mapping[K, str]


@dataclass(frozen=True)
class DroppedReference(Generic[K]):
    """A reference frame that leads to no set.

    Attributes:
        stamp_ns: Its stamp, its sensor's offset subtracted, nanoseconds.
        reference: Its sensor.
        fate: `superseded`, `taken_back` or `required_absent`, see `Synchronizer.counters`.
        reason: The same in words.
    """

    stamp_ns: int
    reference: K
    fate: str
    reason: str


Outcome = SyncedSet[K, T] | DroppedReference[K]


@dataclass(frozen=True)
class SensorReport:
    """What the synchronizer observed of one sensor.

    Attributes:
        period_ns: Median interval of its latest stamps, nanoseconds, or None.
        latency_ns: Median of arrival minus stamp, nanoseconds, or None.
        offset_ns: How far its stamps run ahead of those of the first sensor in the priority that
            was seen, judged by arrivals (difference of the latencies): a candidate for
            `offset_s`. None while unknown.
    """

    period_ns: int | None
    latency_ns: int | None
    offset_ns: int | None
