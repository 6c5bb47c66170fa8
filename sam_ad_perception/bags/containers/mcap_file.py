"""MCAP files of any writer: with or without chunks, index, statistics or end."""

from __future__ import annotations

import heapq
import os
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from mcap import records as mcap_records
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode

from sam_ad_perception.bags.containers.decompression import unpack_beginning, unpack_chunk
from sam_ad_perception.bags.containers.records import (
    MAX_CHUNK_BYTES,
    Channel,
    ContainerError,
    Received,
    full_type_name,
    read_definition,
    read_qos,
    span_of,
)
from sam_ad_perception.core.console.printable import escape_controls

MAGIC = b'\x89MCAP0\r\n'

_HEAD = struct.Struct('<BQ')
_MESSAGE = struct.Struct('<HIQQ')
_CHUNK = struct.Struct('<QQQII')
_FOOTER_BYTES = _HEAD.size + 20 + len(MAGIC)
_MAX_DESCRIPTION = 64 << 20  # bytes of a schema, channel or index record

_Loose = tuple[int, int, int, int]  # time, offset of its data, channel, size of its data
_Item = tuple[int, int, int, memoryview]  # time, offset in its chunk, channel, data


@dataclass(frozen=True)
class _Chunk:
    """Where a chunk lies: its record from `offset` to `end`.

    `channels` maps the channels in it, where they are known, to the offset of their index. Times
    are those of its messages, nanoseconds; `last_ns` is the highest where it is not known.
    """

    offset: int
    end: int
    first_ns: int
    channels: Mapping[int, int] | None = None
    last_ns: int = (1 << 64) - 1


class McapFile:
    """An MCAP file; see `records.Container` for its attributes.

    The summary at its end is used where it is whole and counts messages by channel; else the file
    is read through once. A file without an end is read up to where it breaks off.

    Args:
        path: The file.

    Raises:
        ContainerError: It is no MCAP file, or nothing of it can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.channels: dict[int, Channel] = {}
        self.start_ns = self.end_ns = 0
        self.losses: list[str] = []
        self._schemas: dict[int, mcap_records.Schema] = {}
        self._chunks: list[_Chunk] = []
        self._loose: list[_Loose] = []
        self._received: Received | None = None
        self._file = path.open('rb')
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            if self._read(0, len(MAGIC)) != MAGIC:
                raise ContainerError(f'it begins with {self._read(0, 8)!r}, which is not MCAP')
            if not self._read_summary():
                self._scan()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def received(self) -> Received:
        """See `records.Container.received`."""
        if self._received is None:
            items = [
                (channel, time_ns)
                for chunk in self._chunks
                for time_ns, _, channel, _ in self._unpack(chunk)
            ]
            self._note_received(items)
        assert self._received is not None
        return self._received

    def span(self, channel: int) -> tuple[int, int]:
        """See `records.Container.span`; from the index, where it says what the chunks hold."""
        if self._received is None and all(chunk.channels for chunk in self._chunks):
            places = [
                c.channels[channel] for c in self._chunks if c.channels and channel in c.channels
            ]
            times = [t for at in {*places[:1], *places[-1:]} for t in self._indexed_times(at)]
            if times:
                return min(times), max(times)
        return span_of(self.received(), channel)

    def messages(
        self, channels: Collection[int], start_ns: int, stop_ns: int
    ) -> Iterator[tuple[int, int, bytes]]:
        """See `records.Container.messages`."""
        wanted = frozenset(channels)
        waiting: list[tuple[int, tuple[int, int], int, memoryview | _Chunk | int]] = [
            (chunk.first_ns, (chunk.offset, -1), -1, chunk)
            for chunk in self._chunks
            if chunk.first_ns < stop_ns
            and chunk.last_ns >= start_ns
            and (chunk.channels is None or wanted & chunk.channels.keys())
        ]
        waiting += [
            (time_ns, (offset, 0), channel, size)
            for time_ns, offset, channel, size in self._loose
            if channel in wanted and start_ns <= time_ns < stop_ns
        ]
        heapq.heapify(waiting)
        while waiting:
            time_ns, place, channel, content = heapq.heappop(waiting)
            if isinstance(content, int):
                yield channel, time_ns, self._read(place[0], content)
            elif isinstance(content, memoryview):
                yield channel, time_ns, bytes(content)
            else:
                for at_ns, inside, its_channel, data in self._unpack(content):
                    if its_channel in wanted and start_ns <= at_ns < stop_ns:
                        found = (at_ns, (content.offset, inside), its_channel, data)
                        heapq.heappush(waiting, found)

    def _indexed_times(self, at: int) -> list[int]:
        """Times of the messages of one channel in one chunk, from their index record."""
        head = self._read(at, _HEAD.size)
        if len(head) < _HEAD.size or head[0] != Opcode.MESSAGE_INDEX:
            return []
        size = min(_HEAD.unpack(head)[1], _MAX_DESCRIPTION)
        entries = self._read(at + _HEAD.size + 6, max(0, size - 6))
        return [t for t, _ in struct.iter_unpack('<QQ', entries[: len(entries) // 16 * 16])]

    def _note_received(self, items: list[tuple[int, int]]) -> None:
        """Keep channel and time of the messages in chunks, and of those outside."""
        items = [*items, *((channel, time_ns) for time_ns, _, channel, _ in self._loose)]
        self._received = Received(
            np.array([channel for channel, _ in items], np.int64),
            np.array([time_ns for _, time_ns in items], np.uint64),
        )

    def _read(self, offset: int, size: int) -> bytes:
        """Read bytes; several threads may."""
        return os.pread(self._file.fileno(), size, offset)

    def _read_summary(self) -> bool:
        """Learn all from the summary; says whether it suffices."""
        tail = self._read(max(0, self._size - _FOOTER_BYTES), _FOOTER_BYTES)
        if len(tail) < _FOOTER_BYTES or not tail.endswith(MAGIC) or tail[0] != Opcode.FOOTER:
            return False
        (start,) = struct.unpack_from('<Q', tail, _HEAD.size)
        end = self._size - _FOOTER_BYTES
        if not len(MAGIC) < start <= end:
            return False
        chunks: list[mcap_records.ChunkIndex] = []
        statistics: mcap_records.Statistics | None = None
        try:
            for opcode, offset, size in self._walk(start, end):
                if opcode == Opcode.CHUNK_INDEX:
                    chunks.append(mcap_records.ChunkIndex.read(self._describe(offset, size)))
                elif opcode == Opcode.STATISTICS:
                    statistics = mcap_records.Statistics.read(self._describe(offset, size))
                else:
                    self._learn(opcode, self._read(offset, size))
        except Exception:
            self._forget()
            return False
        if not self._suffices(statistics, chunks, start):
            self._forget()
            return False
        assert statistics is not None
        self._chunks = [
            _Chunk(
                c.chunk_start_offset,
                c.chunk_start_offset + c.chunk_length,
                c.message_start_time,
                c.message_index_offsets or None,
                c.message_end_time,
            )
            for c in chunks
        ]
        self._count(Counter(statistics.channel_message_counts))
        self.start_ns = statistics.message_start_time if statistics.message_count else 0
        self.end_ns = statistics.message_end_time if statistics.message_count else 0
        return True

    def _suffices(
        self,
        statistics: mcap_records.Statistics | None,
        chunks: list[mcap_records.ChunkIndex],
        start: int,
    ) -> bool:
        """Whether a summary tells all that is asked for, and does not contradict itself."""
        if statistics is None or len(chunks) != statistics.chunk_count or not chunks:
            return False
        counts = statistics.channel_message_counts
        inside = all(c.chunk_start_offset + c.chunk_length <= start for c in chunks)
        known = set(counts).union(*(c.message_index_offsets for c in chunks)) <= set(self.channels)
        return inside and known and sum(counts.values()) == statistics.message_count

    def _forget(self) -> None:
        self.channels.clear()
        self._schemas.clear()

    def _scan(self) -> None:
        """Read the file through, up to its end or to where it breaks off."""
        found: list[tuple[int, int]] = []
        end = self._size
        at = len(MAGIC)
        try:
            for opcode, offset, size in self._walk(at, end):
                at = offset + size
                if opcode == Opcode.DATA_END:
                    break
                if opcode == Opcode.CHUNK:
                    self._scan_chunk(_Chunk(offset - _HEAD.size, at, 0), found)
                elif opcode == Opcode.MESSAGE:
                    self._take_loose(offset, size)
                elif size <= _MAX_DESCRIPTION:
                    self._learn(opcode, self._read(offset, size))
            else:
                self._lose(f'it has no end: it was not closed, or it was cut at byte {end}')
        except ContainerError as err:
            self._scan_last(at, found)
            self._lose(f'it breaks off at byte {at} of {end}: {err}; what follows is lost')
        self._note_received(found)
        times = self.received().times_ns
        if not self.channels and not len(times):
            raise ContainerError('; '.join(self.losses) or 'it holds no channel')
        self._count(Counter(self.received().channels.tolist()))
        if len(times):
            self.start_ns, self.end_ns = int(times.min()), int(times.max())

    def _walk(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Give kind, offset and size of the content of each record between two offsets."""
        at = start
        while at < end:
            head = self._read(at, _HEAD.size)
            if len(head) < _HEAD.size:
                raise ContainerError('a record is cut off')
            opcode, size = _HEAD.unpack(head)
            at += _HEAD.size
            if opcode == 0 or at + size > end:
                raise ContainerError(f'a record of kind {opcode} claims {size} bytes')
            yield opcode, at, size
            at += size

    def _take_loose(self, offset: int, size: int) -> None:
        """Note a message that is in no chunk."""
        if not _MESSAGE.size <= size <= MAX_CHUNK_BYTES:
            self._lose(f'the message at byte {offset} claims {size} bytes, and is lost')
            return
        channel, _, time_ns, _ = _MESSAGE.unpack(self._read(offset, _MESSAGE.size))
        item = (time_ns, offset + _MESSAGE.size, channel, size - _MESSAGE.size)
        self._loose.append(item)

    def _scan_chunk(self, chunk: _Chunk, found: list[tuple[int, int]]) -> None:
        """Learn what a chunk holds; one that is damaged is told, and the next ones count."""
        items = [(channel, time_ns) for time_ns, _, channel, _ in self._unpack(chunk)]
        found += items
        if items:
            first_ns = min(time_ns for _, time_ns in items)
            channels = {channel: 0 for channel, _ in items}
            self._chunks.append(replace(chunk, first_ns=first_ns, channels=channels))

    def _scan_last(self, at: int, found: list[tuple[int, int]]) -> None:
        """Take the whole messages of the chunk in which a file breaks off."""
        head = self._read(at, _HEAD.size)
        if len(head) == _HEAD.size and head[0] == Opcode.CHUNK:
            self._scan_chunk(_Chunk(at, self._size, 0), found)

    def _unpack(self, chunk: _Chunk) -> list[_Item]:
        """Give the messages of a chunk in its order; of a damaged one those before the damage."""
        try:
            records = self._chunk_records(chunk)
        except ContainerError as err:
            self._lose(f'the chunk at byte {chunk.offset} is lost: {err}')
            return []
        view = memoryview(records)
        found: list[_Item] = []
        at, end = 0, len(records)
        while at + _HEAD.size <= end:
            opcode, size = _HEAD.unpack_from(records, at)
            if at + _HEAD.size + size > end:
                break
            at += _HEAD.size
            if opcode == Opcode.MESSAGE and size >= _MESSAGE.size:
                channel, _, time_ns, _ = _MESSAGE.unpack_from(records, at)
                found.append((time_ns, at, channel, view[at + _MESSAGE.size : at + size]))
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                self._learn(opcode, records[at : at + size])
            at += size
        if at != end and chunk.end < self._size:
            self._lose(f'the chunk at byte {chunk.offset} is damaged: its end is lost')
        return found

    def _chunk_records(self, chunk: _Chunk) -> bytes:
        """Unpack a chunk; of one that the end of the file cuts off, what there is of it."""
        if chunk.end - chunk.offset > MAX_CHUNK_BYTES:
            raise ContainerError(f'it claims {chunk.end - chunk.offset} bytes of the file')
        body = self._read(chunk.offset, chunk.end - chunk.offset)
        fixed = _HEAD.size + _CHUNK.size
        if len(body) < fixed or body[0] != Opcode.CHUNK:
            raise ContainerError('it is cut off, or none')
        _, length = _HEAD.unpack_from(body)
        _, _, size, crc, name_bytes = _CHUNK.unpack_from(body, _HEAD.size)
        at = fixed + name_bytes
        if name_bytes > 16 or len(body) < at + 8:
            raise ContainerError('its header is cut off or damaged')
        compression = body[fixed:at].decode(errors='replace')
        (packed,) = struct.unpack_from('<Q', body, at)
        at += 8
        if len(body) >= _HEAD.size + length:
            if at + packed > len(body):
                raise ContainerError(f'it claims {packed} bytes of records')
            return unpack_chunk(body[at : at + packed], compression, size, crc)
        return unpack_beginning(body[at:], compression, size)[0]

    def _describe(self, offset: int, size: int) -> ReadDataStream:
        """Read the content of a record that describes something."""
        if size > _MAX_DESCRIPTION:
            raise ContainerError(f'a record that describes something claims {size} bytes')
        return ReadDataStream(BytesIO(self._read(offset, size)))

    def _learn(self, opcode: int, content: bytes) -> None:
        """Take a schema or a channel; other records, and those known, are nothing here."""
        if opcode not in (Opcode.SCHEMA, Opcode.CHANNEL):
            return
        number = int.from_bytes(content[:2], 'little')
        if number in (self._schemas if opcode == Opcode.SCHEMA else self.channels):
            return
        stream = ReadDataStream(BytesIO(content))
        try:
            if opcode == Opcode.SCHEMA:
                schema = mcap_records.Schema.read(stream)
                self._schemas[schema.id] = schema
            else:
                channel = mcap_records.Channel.read(stream)
                self.channels[channel.id] = self._channel(channel)
        except Exception as err:  # struct, UTF-8 and the end of the data have no common ancestor
            self._lose(f'a schema or a channel is damaged ({err})')

    def _channel(self, channel: mcap_records.Channel) -> Channel:
        """Describe a channel."""
        schema = self._schemas.get(channel.schema_id)
        kind = full_type_name(schema.name) if schema else ''
        definition, foreign = read_definition(
            schema.encoding if schema else '',
            schema.data.decode(errors='replace') if schema else '',
        )
        if channel.message_encoding not in ('cdr', ''):
            foreign = f'its messages are {channel.message_encoding}, not the CDR of ROS 2'
        elif schema is None:
            foreign = 'the file does not say of which type it is'
        return Channel(
            channel.id,
            escape_controls(channel.topic),
            escape_controls(kind),
            0,
            definition,
            channel.metadata.get('topic_type_hash', ''),
            read_qos(channel.metadata.get('offered_qos_profiles', '')),
            foreign,
        )

    def _count(self, counts: Counter[int]) -> None:
        """Put the numbers of messages to the channels."""
        unknown = {number: n for number, n in counts.items() if number not in self.channels}
        if unknown:
            told = ', '.join(f'{n} of channel {number}' for number, n in sorted(unknown.items()))
            self._lose(f'messages of channels that it does not describe are lost: {told}')
        for number, channel in self.channels.items():
            self.channels[number] = replace(channel, count=counts[number])

    def _lose(self, sentence: str) -> None:
        if sentence not in self.losses:
            self.losses.append(sentence)
