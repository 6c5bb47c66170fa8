"""ROS 1 bags as rosbag2: every topic whose type can be told, messages in the wire format of ROS 2.

`bags.containers.rosbag1_file` converts them; `BagReader` reads such bags directly, too.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader, ReaderError
from rosbags.typesys import TypesysError

from sam_ad_perception.bags.containers.records import ContainerError
from sam_ad_perception.bags.containers.rosbag1_file import (
    Convert,
    Rosbag1Types,
    is_latched,
    open_rosbag1,
    ros2_type,
)
from sam_ad_perception.bags.importing.plan import ImportDataError, ImportReport, Progress
from sam_ad_perception.bags.reader import BagMessage
from sam_ad_perception.bags.writer import BagWriter


def import_rosbag1(
    source: Path, out: Path, *, overwrite: bool = False, on_progress: Progress | None = None
) -> ImportReport:
    """Import a ROS 1 bag, or a folder of parts of one recording.

    Args:
        source: A `.bag` file, or a folder of them, which are merged by time.
        out: Folder of the recording; it appears whole or not at all.
        overwrite: Whether a recording that is there is replaced.
        on_progress: Told after every message.

    Returns:
        What was written; remarks name what could not be converted.

    Raises:
        ImportDataError: The bag cannot be read, or nothing in it converted.
        BagError: `out` is there already, or cannot be written.
    """
    with ExitStack() as stack:
        readers = [_open(path, stack) for path in _find_bags(source)]
        with BagWriter(out, overwrite=overwrite) as writer:
            return _copy(readers, writer, source, on_progress)


def _find_bags(source: Path) -> list[Path]:
    """List the files."""
    if source.is_dir():
        found = sorted(source.glob('*.bag'))
        if not found:
            raise ImportDataError(f'{source} holds no .bag file')
        return found
    if not source.is_file():
        raise ImportDataError(f'{source} does not exist, expected a ROS 1 .bag file')
    return [source]


def _open(path: Path, stack: ExitStack) -> Reader:
    """Open a bag; it is closed with the stack."""
    try:
        reader = open_rosbag1(path)
    except ContainerError as err:
        raise ImportDataError(f'{path}: {err}') from err
    stack.callback(reader.close)
    return reader


def _copy(
    readers: list[Reader], writer: BagWriter, source: Path, on_progress: Progress | None
) -> ImportReport:
    """Convert all messages in the order of time."""
    # One topic for each name and type, with a converter of its messages.
    connections = [c for reader in readers for c in reader.connections]
    types = Rosbag1Types(connections, writer.typestore)
    converters: dict[tuple[str, str], Convert] = {}
    remarks: list[str] = []
    names: dict[str, str] = {}
    for each in connections:
        key = each.topic, each.msgtype
        if key in converters:
            continue
        kind = ros2_type(each.msgtype)
        if each.topic in names and names[each.topic] != kind:
            remarks.append(f'{each.topic}: comes as {kind}, too, which is not imported')
            continue
        try:
            converter = types.converter(each.msgtype, kind)
            latched = any(is_latched(c) for c in connections if c.topic == each.topic)
            writer.add_topic(each.topic, kind, latched=latched)
        except (ValueError, KeyError, TypesysError) as err:
            remarks.append(f'{each.topic} ({each.msgtype}) is not imported: {err}')
            continue
        converters[key] = converter
        names[each.topic] = kind
    # All messages in the order of time; damaged ones are counted and left out.
    total = sum(reader.message_count for reader in readers)
    counts: Counter[str] = Counter()
    damaged: Counter[str] = Counter()
    for done, (connection, received_ns, data) in enumerate(_merged(readers, source), 1):
        convert = converters.get((connection.topic, connection.msgtype))
        if convert is not None:
            try:
                made = convert(data)
            except Exception:  # damaged bytes raise whatever numpy and struct do
                damaged[connection.topic] += 1
            else:
                kind = names[connection.topic]
                writer.copy(BagMessage(connection.topic, kind, received_ns, bytes(made)))
                counts[connection.topic] += 1
        if on_progress is not None:
            on_progress(done, total)
    remarks += [f'{topic}: {n} messages are damaged, left out' for topic, n in damaged.items()]
    if not counts:
        raise ImportDataError(f'{source} holds no message that can be imported; ' +
                              '; '.join(remarks))  # fmt: skip
    return ImportReport(dict(counts), names, tuple(remarks))


def _merged(readers: list[Reader], source: Path) -> Iterator[tuple[Connection, int, bytes]]:
    """Read messages of all bags by time."""
    streams = [reader.messages() for reader in readers]
    try:
        yield from heapq.merge(*streams, key=lambda item: item[1])
    except ReaderError as err:
        raise ImportDataError(f'{source} is damaged: {err}') from err
