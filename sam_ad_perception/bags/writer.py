"""Write rosbag2 recordings (MCAP) that appear whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml
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

from sam_ad_perception.bags.reader import BagError, BagMessage, BagTopic
from sam_ad_perception.bags.type_store import make_typestore

NOTE_KEY = 'sam_ad_perception'
"""Where `custom_data` of metadata.yaml holds the note of a recording."""
SCRATCH_PREFIX = '.{name}.part_'
"""Folders beside a recording in the making are named like this."""
_FOREVER = QosTime(9223372036, 854775807)


def read_note(path: Path) -> str:
    """Read the note with which a recording was written.

    Args:
        path: Its folder.

    Returns:
        The note; '' where it has none, or its metadata cannot be read.
    """
    try:
        metadata = yaml.safe_load((path / 'metadata.yaml').read_text())
        return str(metadata['rosbag2_bagfile_information']['custom_data'][NOTE_KEY])
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
        return ''


def remove_remains(path: Path) -> None:
    """Remove what processes that were killed have left of a recording; nobody may be writing it.

    Args:
        path: The folder that they would have written.
    """
    prefix = SCRATCH_PREFIX.format(name=path.name)
    if path.parent.is_dir():
        for entry in path.parent.iterdir():
            if entry.name.startswith(prefix):
                shutil.rmtree(entry, ignore_errors=True)


class BagWriter:
    """A recording in the making, to be used in a `with` block.

    It is written beside its destination, chunks compressed with zstd, and moved there when the
    block ends without an exception; an exception leaves nothing behind.

    Attributes:
        path: The folder that will hold it.
        typestore: Message types.
        note: Text about it that is kept in its metadata, see `read_note`; '' for none.

    Raises:
        BagError: The path exists; with `overwrite`, only if it is not a recording.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        if path.exists():
            if not overwrite:
                raise BagError(f'{path} exists already')
            if not (path / 'metadata.yaml').is_file():
                raise BagError(f'{path} exists and is not a bag, so it is not overwritten')
        self.path = path
        self.typestore = make_typestore()
        self.note = ''
        self._connections: dict[str, Connection] = {}
        self._types: dict[str, str] = {}
        self._scratch: Path | None = None
        self._writer: Writer | None = None

    def __enter__(self) -> BagWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        prefix = SCRATCH_PREFIX.format(name=self.path.name)
        self._scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=self.path.parent))
        self._writer = Writer(
            self._scratch / self.path.name,
            version=Writer.VERSION_LATEST,
            storage_plugin=StoragePlugin.MCAP,
        )
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        assert self._writer is not None
        assert self._scratch is not None
        try:
            if kind is not None:
                self._writer.abort()
                return
            if self.note:
                self._writer.set_custom_data(NOTE_KEY, self.note)
            self._writer.close()
            if self.path.exists():
                shutil.rmtree(self.path)
            (self._scratch / self.path.name).rename(self.path)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def types(self, name: str) -> type:
        """Look up a message class, as `core.conversions.MessageTypes`."""
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
