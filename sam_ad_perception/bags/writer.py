"""Write rosbag2 recordings (MCAP) that appear whole or not at all."""

from __future__ import annotations

import struct
from binascii import crc32
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.bags.reader import BagError, BagMessage, BagTopic
from sam_ad_perception.core.settings.yaml_documents import read_yaml
from sam_ad_perception.core.transaction import TargetError, write_folder

NOTE_KEY = 'sam_ad_perception'
"""Where `custom_data` of metadata.yaml holds the note of a recording."""
_FOREVER = QosTime(9223372036, 854775807)


def read_note(path: Path) -> str:
    """Read the note with which a recording was written.

    Args:
        path: Its folder.

    Returns:
        The note; '' where it has none, or its metadata cannot be read.
    """
    try:
        metadata = read_yaml(path / 'metadata.yaml')
        return str(metadata['rosbag2_bagfile_information']['custom_data'][NOTE_KEY])
    except (OSError, ValueError, TypeError, KeyError):
        return ''


def recording_files(path: Path) -> tuple[str, ...]:
    """List what belongs to a recording in its folder; all else there is somebody else's.

    Args:
        path: The folder.

    Returns:
        Names of metadata.yaml and of the files that it lists; empty where it is no recording.
    """
    try:
        metadata = read_yaml(path / 'metadata.yaml')
        files = metadata['rosbag2_bagfile_information']['relative_file_paths']
        names = {Path(str(file)).parts[0] for file in files}
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return ()
    return ('metadata.yaml', *sorted(names))


def remove_recording(path: Path) -> None:
    """Remove a recording; a file in its folder that is not part of it stays.

    Args:
        path: The folder.
    """
    for name in reversed(recording_files(path)):  # metadata.yaml last: it says what the rest is
        (path / name).unlink(missing_ok=True)
    with suppress(OSError):
        path.rmdir()


class _Storage(McapWriter):
    """MCAP whose chunks carry their CRC, which rosbags verifies but does not write."""

    CRC_OFFSET = 1 + 8 + 3 * 8
    """Of a chunk record: opcode, length, start and end time, uncompressed size."""

    def close_chunk(self) -> None:
        """Write the chunk that is open, and its CRC into its place."""
        crc, start = crc32(self.chunk.bio.getbuffer()), self.bio.tell()
        super().close_chunk()
        end = self.bio.tell()
        self.bio.seek(start + self.CRC_OFFSET)
        self.bio.write(struct.pack('<I', crc))
        self.bio.seek(end)


class _Writer(Writer):
    """rosbags' writer with that storage."""

    STORAGE_PLUGINS = MappingProxyType({**Writer.STORAGE_PLUGINS, StoragePlugin.MCAP: _Storage})


class BagWriter:
    """A recording in the making, to be used in a `with` block.

    It is written beside its destination, chunks compressed with zstd and with CRC, and takes its
    place when the block ends without an exception; an exception leaves nothing behind. A recording
    that is replaced goes, other files in its folder stay.

    Attributes:
        path: The folder that will hold it.
        typestore: Message types.
        note: Text about it that is kept in its metadata, see `read_note`; '' for none.

    Raises:
        BagError: The path exists; with `overwrite`, only if it is not a recording. On entering:
            another process writes it, or it is a symbolic link that leads nowhere.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        if path.exists():
            if not overwrite:
                raise BagError(f'{path} exists already')
            if not recording_files(path):
                raise BagError(f'{path} exists and is not a bag, so it is not overwritten')
        self._replaced = recording_files if overwrite else None
        self.path = path
        self.typestore = make_typestore()
        self.note = ''
        self._files: dict[str, bytes] = {}
        self._connections: dict[str, Connection] = {}
        self._types: dict[str, str] = {}
        self._transaction: AbstractContextManager[Path] | None = None
        self._scratch: Path | None = None
        self._writer: Writer | None = None

    def __enter__(self) -> BagWriter:
        self._transaction = write_folder(self.path, self._replaced)
        try:
            self._scratch = self._transaction.__enter__()
        except TargetError as err:
            raise BagError(str(err)) from err
        self._writer = _Writer(
            self._scratch / self.path.name,
            version=Writer.VERSION_LATEST,
            storage_plugin=StoragePlugin.MCAP,
        )
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._transaction is not None
        try:
            self._finish(whole=kind is None)
        except BaseException as err:
            self._transaction.__exit__(type(err), err, err.__traceback__)
            raise
        try:
            self._transaction.__exit__(kind, error, trace)
        except TargetError as err:
            raise BagError(str(err)) from err

    def _finish(self, *, whole: bool) -> None:
        """Close the files, and lay them out as the target will hold them."""
        assert self._writer is not None
        assert self._scratch is not None
        if not whole:
            self._writer.abort()
            return
        if self.note:
            self._writer.set_custom_data(NOTE_KEY, self.note)
        self._writer.close()
        made = self._scratch / self.path.name  # rosbags makes its own folder
        for entry in made.iterdir():
            entry.rename(self._scratch / entry.name)
        made.rmdir()
        for name, content in self._files.items():
            (self._scratch / name).write_bytes(content)

    def add_file(self, name: str, content: bytes) -> None:
        """Put a file beside the messages; it appears with the recording.

        Args:
            name: Its name in the folder.
            content: Its bytes.
        """
        self._files[name] = content

    def types(self, name: str) -> type:
        """Look up a message class, as `core.messages.from_ros.MessageTypes`."""
        return self.typestore.types[name]

    def add_topic(self, name: str, kind: str, *, latched: bool = False) -> None:
        """Announce a topic.

        Args:
            name: Topic name, absolute.
            kind: Its type, for example `sensor_msgs/msg/Image`.
            latched: Whether late subscribers get its last message (transient local).

        Raises:
            BagError: The topic was announced with another type, or the type is unknown.
        """
        if kind not in self.typestore.types:
            raise BagError(f'{name}: message type {kind!r} is unknown')
        definition, _ = self.typestore.generate_msgdef(kind, ros_version=2)
        digest = self.typestore.hash_rihs01(kind)
        self._add(BagTopic(name, kind, 0, latched, definition, digest, (_profile(latched),)))

    def copy_topic(self, topic: BagTopic) -> bool:
        """Announce a topic of another bag, with its own definition and profiles.

        Args:
            topic: Its description.

        Returns:
            Whether that was possible; not so where neither the bag nor this package defines the
            type, without which nobody could read the copy.

        Raises:
            BagError: The topic was announced with another type.
        """
        if topic.definition and topic.digest:
            self._add(topic)
        elif topic.type in self.typestore.types:
            self.add_topic(topic.name, topic.type, latched=topic.latched)
        else:
            return False
        return True

    def write(self, topic: str, message: Any, received_ns: int) -> None:
        """Write a message.

        Args:
            topic: An announced topic.
            message: Made of this writer's `types`.
            received_ns: Time under which it is recorded, nanoseconds.

        Raises:
            BagError: The topic was not announced, or the message is not of its type.
        """
        kind = self._types.get(topic)
        if kind is None or kind != message.__msgtype__:
            raise BagError(f'{topic} was announced as {kind}, not as {message.__msgtype__}')
        data = self.typestore.serialize_cdr(message, kind)
        self._put(topic, received_ns, data)

    def copy(self, message: BagMessage) -> None:
        """Write a message of another bag, byte for byte; its topic was announced."""
        self._put(message.topic, message.received_ns, message.data)

    def _put(self, topic: str, received_ns: int, data: bytes | memoryview) -> None:
        assert self._writer is not None
        if topic not in self._connections:
            raise BagError(f'{topic} was not announced')
        self._writer.write(self._connections[topic], received_ns, data)

    def _add(self, topic: BagTopic) -> None:
        assert self._writer is not None
        if topic.name in self._types:
            if self._types[topic.name] != topic.type:
                raise BagError(
                    f'{topic.name} is already there as {self._types[topic.name]}, '
                    f'not as {topic.type}'
                )
            return
        self._types[topic.name] = topic.type
        self._connections[topic.name] = self._writer.add_connection(
            topic.name,
            topic.type,
            msgdef=topic.definition,
            rihs01=topic.digest,
            offered_qos_profiles=topic.qos or (_profile(topic.latched),),
        )


def _profile(latched: bool) -> Qos:
    """A reliable publisher, transient local or volatile."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )
