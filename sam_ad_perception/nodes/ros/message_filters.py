"""message_filters' ApproximateTimeSynchronizer behind our synchronizer interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sam_ad_perception.core.messages.from_ros import ns_to_stamp
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.synchronization.results import SyncedSet
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

try:
    import message_filters
except ImportError:  # not in the wheels
    message_filters = None


@dataclass(frozen=True)
class _Header:
    stamp: Any


@dataclass(frozen=True)
class _Stamped:
    """What message_filters asks of a message."""

    header: _Header
    stamp_ns: int
    item: bytes


class ApproximateSynchronizer:
    """Complete sets of all sensors, or none.

    Args:
        sensors: All of them, the one whose stamp a set carries first.
        queue_size: Messages held per sensor.
        slop_s: Stamps of one set lie within this, seconds.

    Raises:
        ValueError: message_filters is not installed.
    """

    def __init__(self, sensors: Sequence[Modality], queue_size: int, slop_s: float) -> None:
        if message_filters is None:
            raise ValueError(
                'policy approximate needs message_filters, which is not installed '
                '(apt install ros-$ROS_DISTRO-message-filters); deadline needs nothing'
            )
        self._sensors = tuple(sensors)
        self._filters = {each: message_filters.SimpleFilter() for each in self._sensors}
        self._synchronizer = message_filters.ApproximateTimeSynchronizer(
            list(self._filters.values()), queue_size, slop_s
        )
        self._synchronizer.registerCallback(self._take)
        self._sets: list[SyncedSet[Modality, bytes]] = []

    next_deadline_ns = None

    def add(
        self, sensor: Modality, stamp_ns: int, item: bytes, now_ns: int
    ) -> list[SyncedSet[Modality, bytes]]:
        """Take one message.

        Args:
            sensor: Whose.
            stamp_ns: Its stamp, nanoseconds.
            item: The message; it comes back in the sets.
            now_ns: When it arrived; message_filters does not ask.

        Returns:
            Sets that it completed.
        """
        stamp = _Header(ns_to_stamp(message_type, stamp_ns))
        self._filters[sensor].signalMessage(_Stamped(stamp, stamp_ns, item))
        made, self._sets = self._sets, []
        return made

    def poll(self, now_ns: int) -> list[SyncedSet[Modality, bytes]]:
        """Let time pass: nothing comes of it."""
        return []

    @property
    def counters(self) -> Mapping[tuple[Modality, str], int]:
        """What became of the messages: message_filters does not count."""
        return {}

    def _take(self, *messages: _Stamped) -> None:
        items = {
            sensor: (message.stamp_ns, message.item)
            for sensor, message in zip(self._sensors, messages, strict=True)
        }
        leader = self._sensors[0]
        self._sets.append(SyncedSet(items[leader][0], leader, items, {}))
