"""Read any rosbag2 recording in the order of time: MCAP or SQLite, folder or single file."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from rosbags.interfaces import Connection, MessageDefinitionFormat, Qos, QosDurability
from rosbags.interfaces.typing import Typesdict
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.typesys import TypesysError, get_types_from_idl, get_types_from_msg

from sam_ad_perception.bags.type_store import make_typestore

T = TypeVar('T')

STORAGE_SUFFIXES = ('.mcap', '.db3')
WHOLE_FILE_SUFFIXES = tuple(s + end for s in STORAGE_SUFFIXES for end in ('.zstd', '.lz4'))
"""Of files that rosbag2 has compressed as a whole."""
_ZSTD = b'\x28\xb5\x2f\xfd'


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
        try:
            self._readers = [self._open(source) for source in _sources(path)]
            filled = [reader for reader in self._readers if reader.message_count]
            if not filled:
                raise BagError(f'{path} holds no message')
            self.start_ns = min(reader.start_time for reader in filled)
            self.end_ns = max(reader.end_time for reader in filled) - 1
            connections = [c for reader in self._readers for c in reader.connections]
            self._register(connections)
            self.topics = self._merge(connections)
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

    def types(self, name: str) -> type:
        """Look up a message class, as `core.conversions.MessageTypes`."""
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
            The messages; those of equal times in the order of the files.

        Raises:
            BagError: A file is damaged.
        """
        streams = []
        for reader in self._readers:
            wanted = [c for c in reader.connections if topics is None or c.topic in topics]
            if wanted:
                streams.append(_stream(reader, wanted, start_ns, stop_ns))
        merged = heapq.merge(*streams, key=lambda message: message.received_ns)
        while True:
            message = _guard(self.path, lambda: next(merged, None))
            if message is None:
                return
            yield message

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
            if message.data[:4] == _ZSTD:
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

    def _open(self, source: Path) -> Reader:
        return _guard(self.path, lambda: self._stack.enter_context(Reader(source)))

    def _register(self, connections: list[Connection]) -> None:
        """Learn the types that the bag defines, and which of them are not those known here."""
        for each in connections:
            kind = each.msgtype
            try:
                self.typestore.register(_parse(each))
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

    def _merge(self, connections: list[Connection]) -> tuple[BagTopic, ...]:
        """Describe topics; one that several files or publishers share counts once."""
        merged: dict[str, BagTopic] = {}
        for each in connections:
            qos: tuple[Qos, ...] = tuple(each.ext.offered_qos_profiles)  # type: ignore[union-attr]
            known = merged.get(each.topic, BagTopic(each.topic, each.msgtype, 0))
            if known.type != each.msgtype:
                raise BagError(
                    f'{each.topic} has two types in this bag: {known.type} and {each.msgtype}'
                )
            digest = each.digest or known.digest
            if not digest and each.msgtype in self.typestore.types:
                digest = self._hash(each.msgtype)
            merged[each.topic] = BagTopic(
                each.topic,
                each.msgtype,
                each.msgcount + known.count,
                known.latched or any(q.durability is QosDurability.TRANSIENT_LOCAL for q in qos),
                each.msgdef.data or known.definition,
                digest,
                tuple(dict.fromkeys(known.qos + qos)),
            )
        return tuple(merged[name] for name in sorted(merged))


def _parse(connection: Connection) -> Typesdict:
    """Read the definition that a bag embeds; none where it cannot be read."""
    form, text = connection.msgdef
    try:
        if form is MessageDefinitionFormat.MSG and text.strip():
            return get_types_from_msg(text, connection.msgtype)
        parsed: Typesdict = {}
        if form is MessageDefinitionFormat.IDL:
            # One text for each type that the message is made of, under a heading.
            for part in re.split(r'^={80}\nIDL: .*\n', text, flags=re.MULTILINE):
                if part.strip():
                    parsed |= get_types_from_idl(part)
        return parsed
    except TypesysError:
        return {}


def _sources(path: Path) -> list[Path]:
    """Find what to open: the storage files, or the folder itself where they are compressed."""
    if not path.exists():
        raise BagError(f'{path} does not exist')
    if path.is_file():
        if path.name.endswith(WHOLE_FILE_SUFFIXES):
            raise BagError(f'{path} is compressed as a whole: name its folder, or unpack it')
        if path.suffix not in STORAGE_SUFFIXES:
            raise BagError(f'{path} is not a bag: expected a folder, or one of {STORAGE_SUFFIXES}')
        return [path]
    metadata = path / 'metadata.yaml'
    if metadata.is_file():
        try:
            info = yaml.safe_load(metadata.read_text())['rosbag2_bagfile_information']
            compressed = str(info.get('compression_mode') or 'none').lower() != 'none'
        except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError) as err:
            raise BagError(f'{metadata} is not the metadata of a rosbag2 recording') from err
        if compressed:
            return [path]
    files = [file for file in path.iterdir() if file.suffix in STORAGE_SUFFIXES]
    packed = [file.name for file in path.iterdir() if file.name.endswith(WHOLE_FILE_SUFFIXES)]
    if packed and not files:
        raise BagError(
            f'{path} has no metadata.yaml, without which {packed[0]} cannot be read: unpack it'
        )
    if not files:
        raise BagError(f'{path} is not a bag: it holds no file of {STORAGE_SUFFIXES}')
    return sorted(files, key=lambda file: [int(n) for n in re.findall(r'\d+', file.stem)])


def _stream(
    reader: Reader, wanted: list[Connection], start_ns: int | None, stop_ns: int | None
) -> Iterator[BagMessage]:
    """Read one file."""
    for connection, received_ns, data in reader.messages(wanted, start_ns, stop_ns):
        yield BagMessage(connection.topic, connection.msgtype, received_ns, bytes(data))


def _guard(path: Path, read: Callable[[], T]) -> T:
    """Call a reading step; whatever a damaged file makes it raise becomes one sentence."""
    try:
        return read()
    except (BagError, MemoryError):
        raise
    except ReaderError as err:
        # An MCAP file that was not closed lacks its end.
        cut = 'end magic' in str(err)
        advice = ' Was it cut short? `mcap recover` saves what is there.' if cut else ''
        raise BagError(f'{path} cannot be read: {err}{advice}') from err
    # sqlite, zstd, lz4, struct, yaml: there is no common ancestor
    except Exception as err:
        raise BagError(f'{path} is damaged and cannot be read: {err}') from err
