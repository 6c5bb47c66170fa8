"""Read any recording in the order of time: rosbag2 (MCAP, SQLite) or ROS 1, folder or file."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Qos
from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import TypesysError, get_types_from_idl, get_types_from_msg

from sam_ad_perception.bags.containers.decompression import ZSTD_MAGIC, unpack_message
from sam_ad_perception.bags.containers.folder import (
    STORAGE_SUFFIXES,
    WHOLE_FILE_SUFFIXES,
    RecordingFiles,
    find_files,
    open_file,
)
from sam_ad_perception.bags.containers.log_times import find_impossible
from sam_ad_perception.bags.containers.records import (
    Channel,
    Container,
    ContainerError,
    UnreadTopic,
)
from sam_ad_perception.bags.formats.type_store import make_typestore

__all__ = [
    'STORAGE_SUFFIXES',
    'WHOLE_FILE_SUFFIXES',
    'BagError',
    'BagMessage',
    'BagReader',
    'BagTopic',
    'UnreadTopic',
]


class BagError(ValueError):
    """A recording cannot be read or written, in one sentence."""


@dataclass(frozen=True)
class BagTopic:
    """A topic of a recording.

    Attributes:
        name: Topic name.
        type: For example `sensor_msgs/msg/Image`.
        count: Number of messages.
        latched: Whether it was published transient local.
        definition: Text of the type's definition where the bag embeds it, else ''.
        digest: Hash of the type (RIHS01) where the bag has it, else ''.
        qos: Profiles of its publishers.
    """

    name: str
    type: str
    count: int
    latched: bool = False
    definition: str = ''
    digest: str = ''
    qos: tuple[Qos, ...] = ()


@dataclass(frozen=True, eq=False)
class BagMessage:
    """A recorded message.

    Attributes:
        topic: Name of its topic.
        type: Its type.
        received_ns: When the recorder received it, nanoseconds.
        data: Its CDR bytes, as they can be published or written again.
    """

    topic: str
    type: str
    received_ns: int
    data: bytes


class BagReader:
    """An open recording; close it, or use it in a `with` block.

    A folder is read through its storage files, so that one whose metadata.yaml is missing or
    outdated is readable; only compressed ones need it. Messages of several files are merged.

    Attributes:
        path: The folder or file.
        topics: What it holds, ordered by name.
        unread: Messages that are not read, by topic, with the reason.
        start_ns: When its first message was received, nanoseconds.
        end_ns: When its last message was received, nanoseconds.
        typestore: Message types, those embedded in the bag included.

    Raises:
        BagError: The path is no recording, is damaged, or holds no message.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        self.typestore = make_typestore()
        self._refused: dict[str, str] = {}
        self._read: dict[Path, dict[int, Channel]] = {}
        self._remarks: list[str] = []
        try:
            try:
                files = find_files(path)
            except ContainerError as err:
                raise BagError(str(err)) from err
            self._packed = files.packed_messages
            self._remarks += files.remarks
            self._containers = self._open(files)
            self._limits = find_impossible(self._containers)
            self.unread = (*self._sort_out(), *self._limits.unread)
            self._check_counts(files)
            readable = [c for known in self._read.values() for c in known.values()]
            self._register(readable)
            self.topics = self._merge(readable)
            if not any(topic.count for topic in self.topics):
                told = ''.join(f'; {u.name} ({u.type}): {u.reason}' for u in self.unread)
                raise BagError(f'{path} holds no message{told}')
            self.start_ns, self.end_ns = self._limits.start_ns, self._limits.end_ns
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def duration_s(self) -> float:
        """Time between the first and the last message, seconds."""
        return 1e-9 * (self.end_ns - self.start_ns)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is missing or damaged, as far as that is known by now, one sentence each."""
        lost = [f'{c.path.name}: {loss}' for c in self._containers for loss in c.losses]
        return (*self._remarks, *lost)

    def types(self, name: str) -> type:
        """Look up a message class, as `core.messages.from_ros.MessageTypes`."""
        return self.typestore.types[name]

    def messages(
        self,
        topics: Collection[str] | None = None,
        *,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[BagMessage]:
        """Read messages in the order in which they were received.

        Args:
            topics: Only these, or None for all.
            start_ns: Only from this time on, nanoseconds.
            stop_ns: Only before this time, nanoseconds.

        Yields:
            The messages; those of equal times in the order of the files. What is damaged is left
            out and told in `remarks`.
        """
        first = self._limits.low_ns if start_ns is None else max(start_ns, self._limits.low_ns)
        stop = self._limits.high_ns if stop_ns is None else min(stop_ns, self._limits.high_ns)
        streams = []
        for container in self._containers:
            known = self._read[container.path]
            wanted = [n for n, c in known.items() if topics is None or c.topic in topics]
            if wanted:
                streams.append(self._stream(container, wanted, first, stop))
        yield from heapq.merge(*streams, key=lambda message: message.received_ns)

    def span(self, topic: str) -> tuple[int, int]:
        """Find when a topic was recorded, without reading messages where there is an index.

        Args:
            topic: Its name.

        Returns:
            Times of its first and last message, nanoseconds; those of an MCAP to the chunk.
        """
        spans = []
        for container in self._containers:
            known = self._read[container.path]
            numbers = [n for n, c in known.items() if c.topic == topic and c.count]
            spans += [container.span(n) for n in numbers]
        start = min((first for first, _ in spans), default=self.start_ns)
        end = max((last for _, last in spans), default=self.start_ns)
        return max(start, self.start_ns), min(max(start, end), self.end_ns)

    def _stream(
        self, container: Container, wanted: list[int], first_ns: int, stop_ns: int
    ) -> Iterator[BagMessage]:
        """Read one file."""
        known = self._read[container.path]
        for number, received_ns, data in container.messages(wanted, first_ns, stop_ns):
            channel = known[number]
            if received_ns < self._limits.low_of(channel.topic):
                continue
            if self._packed:
                try:
                    data = unpack_message(data)
                except ContainerError as err:
                    container.losses.append(f'a message of {channel.topic} is lost: {err}')
                    continue
            yield BagMessage(channel.topic, channel.type, received_ns, data)

    def deserialize(self, message: BagMessage) -> Any:
        """Read a message's bytes.

        Args:
            message: One of this bag.

        Returns:
            The message; its arrays are views of the bytes.

        Raises:
            BagError: The bytes are damaged, or the type is unknown.
        """
        self.check_type(message)
        try:
            return self.typestore.deserialize_cdr(message.data, message.type)
        # rosbags lets through whatever numpy, struct and slicing raise on damaged bytes
        except Exception as err:
            if message.data[:4] == ZSTD_MAGIC:
                raise BagError(
                    f'{message.topic}: each message is compressed by zstd, which only the '
                    'metadata.yaml of the recording tells: put it beside its files'
                ) from err
            raise BagError(
                f'{message.topic}: a message of {len(message.data)} bytes is not a '
                f'{message.type} ({err})'
            ) from err

    def check_type(self, message: BagMessage) -> None:
        """Check that a message's type is what its name says, before its bytes are read.

        Args:
            message: One of this bag.

        Raises:
            BagError: The bag defines the type otherwise, or the type is unknown.
        """
        if message.type in self._refused:
            raise BagError(self._refused[message.type])
        if message.type not in self.typestore.types:
            raise BagError(
                f'{message.topic} has the type {message.type}, which is unknown here and which '
                f'{self.path} does not define'
            )

    def _open(self, files: RecordingFiles) -> list[Container]:
        """Open the files; one of several that cannot be read is told."""
        opened, refused = [], []
        for file in files.files:
            try:
                opened.append(open_file(file, self._stack, self.typestore))
            except ContainerError as err:
                refused.append(f'{file.name} cannot be read: {err}')
        if not opened:
            inside = '' if self.path.is_file() else f'{self.path}: '
            raise BagError(inside + '; '.join([*refused, *files.remarks]))
        self._remarks += refused
        return opened

    def _sort_out(self) -> list[UnreadTopic]:
        """Choose the channels that are read; one topic has one type, that of most messages."""
        votes: dict[str, Counter[str]] = {}
        for container in self._containers:
            for each in container.channels.values():
                if not each.foreign:
                    votes.setdefault(each.topic, Counter())[each.type] += each.count
        types = {topic: max(counts, key=lambda t: counts[t]) for topic, counts in votes.items()}
        unread: Counter[tuple[str, str, str]] = Counter()
        for container in self._containers:
            known = self._read.setdefault(container.path, {})
            for each in container.channels.values():
                reason = each.foreign
                if not reason and each.type != types[each.topic]:
                    reason = f'the topic is read as {types[each.topic]}, which has more messages'
                if reason:
                    unread[each.topic, each.type, reason] += each.count
                else:
                    known[each.id] = each
        return [UnreadTopic(t, kind, n, why) for (t, kind, why), n in unread.items()]

    def _check_counts(self, files: RecordingFiles) -> None:
        """Say it where the metadata tells of more messages than there are."""
        there = sum(c.count for each in self._containers for c in each.channels.values())
        if files.told_messages is not None and there < files.told_messages:
            self._remarks.append(
                f'metadata.yaml tells of {files.told_messages} messages, {there} are there'
            )

    def _register(self, channels: list[Channel]) -> None:
        """Learn the types that the bag defines, and which of them are not those known here."""
        for each in channels:
            kind = each.type
            try:
                self.typestore.register(_parse(each.definition, kind))
            except TypesysError as err:
                self._refused[kind] = f'{each.topic}: {err}'
            if kind not in self.typestore.types:
                continue
            digest = self._hash(kind)
            if not digest:
                self._refused[kind] = f'{each.topic}: the definition of {kind} lacks a part'
            elif each.digest and each.digest != digest:
                self._refused[kind] = (
                    f'{each.topic}: type {kind} differs from the one of ROS 2 Jazzy'
                )

    def _hash(self, kind: str) -> str:
        """RIHS01 hash of a type; '' where a type that it is made of is unknown."""
        try:
            return self.typestore.hash_rihs01(kind)
        except KeyError:
            return ''

    def _merge(self, channels: list[Channel]) -> tuple[BagTopic, ...]:
        """Describe topics; one that several files or publishers share counts once."""
        merged: dict[str, BagTopic] = {}
        for each in channels:
            known = merged.get(each.topic, BagTopic(each.topic, each.type, 0))
            digest = each.digest or known.digest
            if not digest and each.type in self.typestore.types:
                digest = self._hash(each.type)
            merged[each.topic] = BagTopic(
                each.topic,
                each.type,
                each.count + known.count,
                known.latched or each.latched,
                each.definition.data or known.definition,
                digest,
                tuple(dict.fromkeys(known.qos + each.qos)),
            )
        for name, topic in merged.items():
            aside = sum(u.count for u in self._limits.unread if u.name == name)
            merged[name] = replace(topic, count=topic.count - aside)
        return tuple(merged[name] for name in sorted(merged))


def _parse(definition: MessageDefinition, kind: str) -> Typesdict:
    """Read the definition that a bag embeds; none where it cannot be read."""
    form, text = definition
    try:
        if form is MessageDefinitionFormat.MSG and text.strip():
            return get_types_from_msg(text, kind)
        parsed: Typesdict = {}
        if form is MessageDefinitionFormat.IDL:
            # One text for each type that the message is made of, under a heading.
            for part in re.split(r'^={80}\nIDL: .*\n', text, flags=re.MULTILINE):
                if part.strip():
                    parsed |= get_types_from_idl(part)
        return parsed
    except TypesysError:
        return {}
