"""Matched groups of frames and the counters of the synchronizer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sam_ad_perception.core.sensors import Modality, SensorBundle

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
        measured_ns: For the same sensors, the mean of the times at which it was measured,
            nanoseconds; for the reference its stamp.
        beside: For sensors whose next or last frame measured a part of the view nearer to the
            reference than the one in `items`, that frame.
    """

    stamp_ns: int
    reference: K
    items: Mapping[K, tuple[int, T]]
    absent: Mapping[K, str]
    measured_ns: Mapping[K, int] = field(default_factory=dict)
    beside: Mapping[K, tuple[int, T]] = field(default_factory=dict)


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


PLAUSIBLE_DELAY_NS = 30_000_000
"""Sensors differ by so much in the time that they take to arrive, with all clocks right."""


@dataclass(frozen=True)
class SensorReport:
    """What the synchronizer observed of one sensor.

    Attributes:
        period_ns: Median interval of its latest stamps, nanoseconds, or None.
        latency_ns: Median of arrival minus stamp, nanoseconds, or None.
        offset_ns: How far its stamps run ahead of those of the first sensor in the priority that
            was seen, judged by arrivals (difference of the latencies): a candidate for
            `offset_s`. None while unknown.
        paired_period_ns: The longer period of the two; None while it is unknown.
    """

    period_ns: int | None
    latency_ns: int | None
    offset_ns: int | None
    paired_period_ns: int | None = None

    @property
    def doubt(self) -> str:
        """What is odd about its stamps, in words; '' where nothing is.

        Off by more than half a period, the nearest stamp is the one of the wrong frame.
        """
        offset, period = self.offset_ns, self.paired_period_ns
        if offset is None or period is None or abs(offset) <= max(period // 2, PLAUSIBLE_DELAY_NS):
            return ''
        side = 'ahead of' if offset > 0 else 'behind'
        return (
            f'stamps are {abs(offset) / 1e6:.0f} ms {side} the reference by arrivals, more than '
            'half a period: if a clock is off, wrong frames are paired until offset_s is set'
        )


@dataclass(frozen=True)
class DroppedFrame:
    """A reference frame that gets no bundle.

    Attributes:
        stamp_ns: Stamp of the reference frame, nanoseconds.
        reason: Why, in one sentence.
        reference: Its sensor.
    """

    stamp_ns: int
    reason: str
    reference: Modality


BundleResult = SensorBundle | DroppedFrame
