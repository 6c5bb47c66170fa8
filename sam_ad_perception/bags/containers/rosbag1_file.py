"""Bags of ROS 1: their messages in the wire format of ROS 2.

A type that ROS 2 has in another form (`std_msgs/Header` without `seq`, the lower-case matrices of
`CameraInfo`) is converted field by field; all others keep their bytes but for the alignment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.convert.converter import (
    STATIC_MSGTYPE_RENAMES,
    is_same_wireformat,
    migrate_message,
)
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    MessageDefinition,
    MessageDefinitionFormat,
    Qos,
)
from rosbags.rosbag1 import Reader
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from sam_ad_perception.bags.containers.records import (
    NO_DEFINITION,
    Channel,
    ContainerError,
    Received,
    read_qos,
    span_of,
)

MAGIC = b'#ROSBAG V2.0\n'
Convert = Callable[[bytes], bytes | memoryview]
_HEADER = 'std_msgs/msg/Header'


class Rosbag1File:
    """A bag of ROS 1; see `records.Container` for its attributes.

    Args:
        path: The file.
        typestore: Types of ROS 2; types that the bag defines are added.

    Raises:
        ContainerError: It is no bag of ROS 1, or its index is damaged.
    """

    def __init__(self, path: Path, typestore: Typestore) -> None:
        self.path = path
        self.losses: list[str] = []
        self._reader = open_rosbag1(path)
        self._by_id = {c.id: c for c in self._reader.connections}
        types = Rosbag1Types(self._reader.connections, typestore)
        known = set(typestore.fielddefs)
        self._converters: dict[int, Convert] = {}
        self.channels: dict[int, Channel] = {}
        for each in self._reader.connections:
            kind, foreign, definition = ros2_type(each.msgtype), '', NO_DEFINITION
            try:
                self._converters[each.id] = types.converter(each.msgtype, kind)
                if kind not in known:
                    text, _ = typestore.generate_msgdef(kind, ros_version=2)
                    definition = MessageDefinition(MessageDefinitionFormat.MSG, text)
            except (ValueError, KeyError, TypesysError) as err:
                foreign = f'its ROS 1 type cannot be read as one of ROS 2: {err}'
            self.channels[each.id] = Channel(
                each.id,
                each.topic,
                kind,
                len(self._reader.indexes[each.id]),
                definition,
                qos=_latched_qos() if is_latched(each) else (),
                foreign=foreign,
            )
        times = self.received().times_ns
        self.start_ns = int(times.min()) if len(times) else 0
        self.end_ns = int(times.max()) if len(times) else 0

    def close(self) -> None:
        """Close the file."""
        if self._reader.bio is not None:
            self._reader.close()

    def received(self) -> Received:
        """See `records.Container.received`."""
        indexes = self._reader.indexes
        entries = sorted((e.time, n) for n, index in indexes.items() for e in index)
        channels = np.array([number for _, number in entries], np.int64)
        return Received(channels, np.array([time_ns for time_ns, _ in entries], np.uint64))

    def span(self, channel: int) -> tuple[int, int]:
        """See `records.Container.span`."""
        return span_of(self.received(), channel)

    def messages(
        self, channels: Collection[int], start_ns: int, stop_ns: int
    ) -> Iterator[tuple[int, int, bytes]]:
        """See `records.Container.messages`."""
        wanted = [self._by_id[n] for n in channels if n in self._converters]
        damaged: Counter[str] = Counter()
        stream = self._reader.messages(wanted, start_ns, stop_ns) if wanted else iter(())
        while True:
            try:
                connection, received_ns, data = next(stream)
            except StopIteration:
                break
            except Exception as err:  # rosbags lets through what struct and codecs raise
                self._lose(f'it is damaged, what follows is lost: {err}')
                break
            try:
                made = bytes(self._converters[connection.id](data))
            except Exception:  # damaged bytes raise whatever numpy and struct do
                damaged[connection.topic] += 1
                continue
            yield connection.id, received_ns, made
        for topic, count in damaged.items():
            self._lose(f'{count} messages of {topic} are damaged and lost')

    def _lose(self, sentence: str) -> None:
        if sentence not in self.losses:
            self.losses.append(sentence)


def open_rosbag1(path: Path) -> Reader:
    """Open a bag of ROS 1.

    Args:
        path: The file.

    Returns:
        An open reader, to be closed by the caller.

    Raises:
        ContainerError: It is no such bag, or its index is damaged.
    """
    with path.open('rb') as file:
        head = file.read(len(MAGIC))
    if head != MAGIC:
        what = f'begins with {head!r}' if head else 'is empty'
        raise ContainerError(f'it {what}, expected a ROS 1 bag (#ROSBAG V2.0)')
    reader = Reader(path)
    try:
        reader.open()
    except Exception as err:  # rosbags lets through what struct and slicing raise
        raise ContainerError(
            f'its index cannot be read ({err}); `rosbag reindex` mends a bag that was not closed'
        ) from err
    return reader


def ros2_type(kind: str) -> str:
    """Name the type of ROS 2 that a type of ROS 1 becomes."""
    return STATIC_MSGTYPE_RENAMES.get(kind, kind)


def is_latched(connection: Connection) -> bool:
    """Whether late subscribers of a connection get the last message."""
    ext = connection.ext
    latching = isinstance(ext, ConnectionExtRosbag1) and bool(ext.latching)
    return latching or connection.topic.endswith('/tf_static')


def _latched_qos() -> tuple[Qos, ...]:
    """The profile of a latched topic in ROS 2."""
    return read_qos([{'reliability': 'reliable', 'durability': 'transient_local', 'depth': 1}])


class Rosbag1Types:
    """Types of ROS 1 as bags define them, and of ROS 2 as a store has them.

    Args:
        connections: Those of the bags.
        target: Types of ROS 2; those that it lacks are added.
    """

    def __init__(self, connections: Sequence[Connection], target: Typestore) -> None:
        self._source: Typestore = get_typestore(Stores.ROS1_NOETIC)
        self._target = target
        self._cache: dict[str, object] = {}
        self._refused: dict[str, str] = {}
        for each in connections:
            self._learn(each)

    def _learn(self, connection: Connection) -> None:
        """Take the definitions that the bag embeds, which come before those of rosbags."""
        try:
            types = get_types_from_msg(connection.msgdef.data, connection.msgtype)
            types.pop(_HEADER, None)
            known = self._source.fielddefs
            self._source.register({name: d for name, d in types.items() if name not in known})
            changed = sorted(n for n, d in types.items() if n in known and known[n][1] != d[1])
            if changed:
                fresh = get_typestore(Stores.EMPTY)
                fresh.register({**known, **{n: types[n] for n in changed}})
                self._source = fresh
        except TypesysError as err:
            self._refused[connection.msgtype] = f'its definition cannot be read ({err})'

    def converter(self, kind: str, target: str) -> Convert:
        """Make the conversion of a type.

        Args:
            kind: The type in the bag.
            target: The type in ROS 2.

        Returns:
            Makes of the bytes of a message in ROS 1 those in ROS 2.

        Raises:
            ValueError: The definition cannot be read.
        """
        if kind in self._refused:
            raise ValueError(self._refused[kind])
        if target not in self._target.fielddefs:
            text, _ = self._source.generate_msgdef(kind, ros_version=2)
            types = get_types_from_msg(text, target)
            known = self._target.fielddefs
            self._target.register({n: d for n, d in types.items() if n not in known})
        source = self._source
        if is_same_wireformat(source, self._target, kind, target):
            return lambda data: self._target.ros1_to_cdr(data, target)

        def migrate(data: bytes) -> memoryview:
            message = source.deserialize_ros1(data, kind)
            made: Any = migrate_message(source, self._target, kind, target, self._cache, message)
            return self._target.serialize_cdr(made, target)

        return migrate
