"""The interface of container files: channels, messages in time, what was lost."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Qos, QosDurability
from rosbags.rosbag2.metadata import parse_qos

from sam_ad_perception.core.settings.yaml_documents import parse_yaml

MAX_CHUNK_BYTES = 1 << 30
"""A chunk or a compressed message that claims to hold more is not unpacked: it is damaged."""

DEFINITION_FORMATS = {
    'ros2msg': MessageDefinitionFormat.MSG,
    'ros2idl': MessageDefinitionFormat.IDL,
    'omgidl': MessageDefinitionFormat.IDL,
    '': MessageDefinitionFormat.NONE,
}
NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, '')

_FOREVER = {'sec': 9223372036, 'nsec': 854775807}
_QOS_DEFAULTS = {
    'history': 'unknown',
    'depth': 10,
    'reliability': 'unknown',
    'durability': 'unknown',
    'deadline': _FOREVER,
    'lifespan': _FOREVER,
    'liveliness': 'unknown',
    'liveliness_lease_duration': _FOREVER,
    'avoid_ros_namespace_conventions': False,
}


class ContainerError(ValueError):
    """A file of a recording cannot be read at all; says why, without the name of the file."""


@dataclass(frozen=True)
class Channel:
    """One topic of one file.

    Attributes:
        id: Its number in the file.
        topic: Name of the topic.
        type: Message type, for example `sensor_msgs/msg/Image`; '' where the file names none.
        count: Number of its messages.
        definition: Definition of the type that the file embeds.
        digest: Hash of the type (RIHS01), or ''.
        qos: Profiles of its publishers, as far as they can be read.
        foreign: Why its messages are no ROS 2 messages; '' where they are.
    """

    id: int
    topic: str
    type: str
    count: int
    definition: MessageDefinition = NO_DEFINITION
    digest: str = ''
    qos: tuple[Qos, ...] = ()
    foreign: str = ''

    @property
    def latched(self) -> bool:
        """Whether a publisher was transient local."""
        return any(q.durability is QosDurability.TRANSIENT_LOCAL for q in self.qos)


@dataclass(frozen=True)
class UnreadTopic:
    """Messages of a recording that are not read.

    Attributes:
        name: Topic name.
        type: Their type, or what the file calls it.
        count: How many.
        reason: Why, in one sentence.
    """

    name: str
    type: str
    count: int
    reason: str


@dataclass(frozen=True)
class Received:
    """Times of all messages of a file, in the order of the file.

    Attributes:
        channels: (N,) int64, number of the channel.
        times_ns: (N,) uint64, when each was received, nanoseconds, as the file has it.
    """

    channels: NDArray[np.int64]
    times_ns: NDArray[np.uint64]


def span_of(received: Received, channel: int) -> tuple[int, int]:
    """Times of the first and last message of a channel, nanoseconds; 0 where it has none."""
    times = received.times_ns[received.channels == channel]
    return (int(times.min()), int(times.max())) if len(times) else (0, 0)


class Container(Protocol):
    """An open file of a recording.

    Attributes:
        path: The file.
        channels: Its topics, by number.
        start_ns: Time of its first message, nanoseconds; 0 where it has none.
        end_ns: Time of its last message, nanoseconds; above 2^63 where one is impossible.
        losses: What could not be read of it so far, one sentence each.
    """

    path: Path
    channels: dict[int, Channel]
    start_ns: int
    end_ns: int
    losses: list[str]

    def received(self) -> Received:
        """Look up when each message was received; reads the file where it has no index."""
        ...

    def span(self, channel: int) -> tuple[int, int]:
        """Times of the first and last message of a channel, nanoseconds, as near as is known."""
        ...

    def messages(
        self, channels: Collection[int], start_ns: int, stop_ns: int
    ) -> Iterator[tuple[int, int, bytes]]:
        """Read messages of some channels in the order of time, those of equal times as stored.

        Args:
            channels: Numbers of the channels.
            start_ns: Only from this time on, nanoseconds.
            stop_ns: Only before this time, nanoseconds.

        Yields:
            Channel, time of reception in nanoseconds, and bytes of each message.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def read_qos(profiles: object) -> tuple[Qos, ...]:
    """Read QoS profiles; fields that are absent take the defaults of rmw.

    Args:
        profiles: YAML text, or what YAML made of it.

    Returns:
        The profiles; none where the text is no list of profiles. Reading needs none.
    """
    try:
        items = (
            parse_yaml(profiles, 'offered_qos_profiles') if isinstance(profiles, str) else profiles
        )
        if not isinstance(items, list):
            return ()
        return tuple(parse_qos([{**_QOS_DEFAULTS, **item} for item in items]))  # type: ignore[typeddict-item]
    except (TypeError, KeyError, ValueError, AttributeError):
        return ()


def read_definition(encoding: str, text: str) -> tuple[MessageDefinition, str]:
    """Read how a file embeds a type's definition.

    Args:
        encoding: For example `ros2msg`.
        text: The definition.

    Returns:
        The definition, and why it is none of ROS 2; '' where it is.
    """
    form = DEFINITION_FORMATS.get(encoding)
    if form is None:
        return NO_DEFINITION, f'its schema is {encoding}, not a ROS 2 message'
    return MessageDefinition(form, text), ''


def full_type_name(name: str) -> str:
    """Give a type's name as ROS 2 has it: `sensor_msgs/Image` becomes `sensor_msgs/msg/Image`."""
    parts = name.replace('::', '/').split('/')
    return '/'.join([parts[0], 'msg', parts[1]] if len(parts) == 2 else parts)
