"""Recordings are read as the official libraries read them: the `mcap` package and sqlite3."""

from __future__ import annotations

import io
import shutil
import sqlite3
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
from mcap.reader import NonSeekingReader, make_reader
from mcap.records import Message
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, IndexType, Writer

from sam_ad_perception.bags.containers.decompression import unpack_chunk
from sam_ad_perception.bags.containers.mcap_file import McapFile
from sam_ad_perception.bags.containers.records import MAX_CHUNK_BYTES, ContainerError
from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.bags.reader import BagError, BagReader

STORE = make_typestore()
START = 1_700_000_000_000_000_000
TEXT, NUMBER = 'std_msgs/msg/String', 'std_msgs/msg/Int32'


@dataclass(frozen=True)
class Sent:
    """A message to be written."""

    topic: str
    time_ns: int
    data: bytes
    type: str = TEXT
    encoding: str = 'cdr'
    schema: str = 'ros2msg'


def text(topic: str, k: int, time_ns: int | None = None) -> Sent:
    message = STORE.types[TEXT](data=f'{topic} {k} ' + 'x' * (37 * k % 400))
    data = bytes(STORE.serialize_cdr(message, TEXT))
    return Sent(topic, START + k * 10_000_000 if time_ns is None else time_ns, data)


def texts(count: int = 60) -> list[Sent]:
    return [text(f'/{"ab"[k % 2]}', k) for k in range(count)]


def write_mcap(path, sent, *, profile='ros2', qos=None, close=True, **options):
    """Write with the official writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('wb') as file:
        writer = Writer(file, chunk_size=options.pop('chunk_size', 700), **options)
        writer.start(profile=profile, library='test')
        channels, schemas = {}, {}
        for each in sent:
            if each.type not in schemas:
                content = '' if each.schema != 'ros2msg' else STORE.generate_msgdef(each.type)[0]
                schemas[each.type] = writer.register_schema(
                    each.type, each.schema, content.encode()
                )
            key = each.topic, each.type
            if key not in channels:
                metadata = {} if qos is None else {'offered_qos_profiles': qos}
                channels[key] = writer.register_channel(
                    each.topic, each.encoding, schemas[each.type], metadata
                )
            writer.add_message(channels[key], each.time_ns, each.data, each.time_ns)
        if close:
            writer.finish()
    return path


def official(path):
    """Topic, time and bytes of each message, in order of time, as the mcap package reads them."""
    with path.open('rb') as file:
        try:
            read = make_reader(file).iter_messages()
            return [(c.topic, m.log_time, m.data) for _, c, m in read]
        except KeyError:  # of a summary without channels only its reader of streams makes sense
            file.seek(0)
            read = NonSeekingReader(file).iter_messages()
            return [(c.topic, m.log_time, m.data) for _, c, m in read]


def ours(path):
    with BagReader(path) as bag:
        assert Counter(m.topic for m in bag.messages()) == {t.name: t.count for t in bag.topics}
        return [(m.topic, m.received_ns, m.data) for m in bag.messages()]


NO_MESSAGE_INDEX = IndexType.CHUNK | IndexType.METADATA


@pytest.mark.parametrize('compression', list(CompressionType))
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'index_types': NO_MESSAGE_INDEX},
        {'index_types': NO_MESSAGE_INDEX, 'use_statistics': False},
        {'index_types': IndexType.NONE, 'use_statistics': False},
        {'use_statistics': False, 'use_summary_offsets': False},
        {'use_chunking': False},
        {'use_chunking': False, 'use_statistics': False},
        {'repeat_channels': False, 'repeat_schemas': False},
        {'enable_crcs': False},
    ],
    ids=str,
)
def test_every_form_of_mcap_is_read_as_by_its_own_package(tmp_path, options, compression):
    path = write_mcap(tmp_path / 'bag.mcap', texts(), compression=compression, **options)
    assert len(official(path)) == 60
    assert ours(path) == official(path)


@pytest.mark.parametrize('profile', ['', 'ros2', 'x-company'])
def test_the_profile_of_an_mcap_says_nothing(tmp_path, profile):
    path = write_mcap(tmp_path / 'bag.mcap', texts(), profile=profile)
    assert ours(path) == official(path)


@pytest.mark.parametrize(
    ('qos', 'latched'),
    [
        ('- reliability: reliable\n  durability: volatile\n  depth: 100\n', False),
        ('- durability: transient_local\n', True),
        ('- durability: 1\n  history: 7\n', True),
        ('- [1, 2]\n', False),
        ('}{', False),
        ('nothing', False),
        ('[]', False),
        ('', False),
    ],
)
def test_qos_text_that_lacks_fields_does_not_end_a_recording(tmp_path, qos, latched):
    path = write_mcap(tmp_path / 'bag.mcap', texts(), qos=qos)
    assert ours(path) == official(path)
    with BagReader(path) as bag:
        assert {t.latched for t in bag.topics} == {latched}


@pytest.mark.parametrize('use_chunking', [True, False])
def test_disorder_is_sorted(tmp_path, use_chunking, rng):
    sent = texts()
    sent[8], sent[9] = sent[9], sent[8]
    path = write_mcap(tmp_path / 'swapped.mcap', sent, use_chunking=use_chunking)
    assert ours(path) == official(path)
    shuffled = [sent[k] for k in rng.permutation(len(sent))]
    path = write_mcap(tmp_path / 'shuffled.mcap', shuffled, use_chunking=use_chunking)
    assert ours(path) == official(path)
    assert [t for _, t, _ in ours(path)] == sorted(s.time_ns for s in sent)


@pytest.mark.parametrize(
    ('schema', 'encoding', 'reason'),
    [
        ('jsonschema', 'json', 'its messages are json, not the CDR of ROS 2'),
        ('protobuf', 'protobuf', 'its messages are protobuf'),
        ('ros1msg', 'ros1', 'its messages are ros1'),
        ('flatbuffer', 'cdr', 'its schema is flatbuffer, not a ROS 2 message'),
    ],
)
def test_foreign_topics_are_named_and_the_others_read(tmp_path, schema, encoding, reason):
    foreign = [Sent('/note', START + 5, b'{"a": 1}', 'Note', encoding, schema)] * 3
    path = write_mcap(tmp_path / 'bag.mcap', [*foreign, *texts()])
    assert ours(path) == [row for row in official(path) if row[0] != '/note']
    with BagReader(path) as bag:
        (unread,) = bag.unread
        assert (unread.name, unread.type, unread.count) == ('/note', 'Note', 3)
        assert reason in unread.reason
    path = write_mcap(tmp_path / 'only.mcap', foreign)
    with pytest.raises(BagError, match=f'holds no message; /note .Note.: .*{reason[:20]}'):
        BagReader(path)


@pytest.mark.parametrize(
    'time_ns', [2**64 - 5_000_000, 2**64 - 1, 2**63, 2**63 - 1, 7 * 10**18, 0, 5]
)
@pytest.mark.parametrize('use_chunking', [True, False])
def test_messages_at_impossible_times_are_set_aside(tmp_path, time_ns, use_chunking):
    sent = texts()
    sent[12] = text('/a', 12, time_ns)
    path = write_mcap(tmp_path / 'bag.mcap', sent, use_chunking=use_chunking)
    assert ours(path) == [row for row in official(path) if row[1] != time_ns]
    with BagReader(path) as bag:
        (unread,) = bag.unread
        assert (unread.name, unread.count) == ('/a', 1)
        assert f'received at {time_ns} ns, which cannot be' in unread.reason
        assert (bag.start_ns, bag.end_ns) == (START, START + 59 * 10_000_000)


def test_a_latched_topic_at_time_zero_is_read(tmp_path):
    """Converters write transforms that hold for all the drive at time 0."""
    sent = [text('/tf_static', 0, 0), *texts()]
    path = write_mcap(tmp_path / 'bag.mcap', sent)
    assert ours(path) == official(path)


def test_a_topic_of_two_types_is_read_as_the_one_with_more_messages(tmp_path):
    number = bytes(STORE.serialize_cdr(STORE.types[NUMBER](3), NUMBER))
    path = write_mcap(tmp_path / 'bag.mcap', [*texts(), Sent('/a', START + 7, number, NUMBER)])
    assert len(ours(path)) == 60
    with BagReader(path) as bag:
        (unread,) = bag.unread
    assert (unread.name, unread.type, unread.count) == ('/a', NUMBER, 1)
    assert f'read as {TEXT}' in unread.reason


def whole_messages(data):
    """All messages before the cut, as the record reader of the mcap package finds them."""
    found = []
    with suppress(Exception):  # the end of the data
        for record in StreamReader(io.BytesIO(data)).records:
            found += [record.data] if isinstance(record, Message) else []
    return found


@pytest.mark.parametrize('share', [0.3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize('compression', list(CompressionType))
@pytest.mark.parametrize('use_chunking', [True, False])
def test_a_damaged_tail_is_salvaged_and_told(tmp_path, share, compression, use_chunking):
    options = {'compression': compression, 'use_chunking': use_chunking, 'chunk_size': 5000}
    path = write_mcap(tmp_path / 'bag.mcap', texts(200), **options)
    data = path.read_bytes()[: int(share * path.stat().st_size)]
    path.write_bytes(data)
    with BagReader(path) as bag:
        got = [m.data for m in bag.messages()]
        told = any('breaks off at byte' in r or 'has no end' in r for r in bag.remarks)
    assert told or len(got) == 200  # a cut behind the last message loses nothing
    wanted = whole_messages(data)
    assert got[: len(wanted)] == wanted  # and those of the chunk that is cut
    assert got == [s.data for s in texts(200)][: len(got)]
    if compression is CompressionType.NONE and use_chunking and share < 0.9:
        assert len(got) > len(wanted)


def test_a_recorder_that_was_killed_leaves_a_readable_file(tmp_path):
    path = write_mcap(tmp_path / 'bag.mcap', texts(), close=False)
    got = ours(path)
    assert [row[2] for row in got] == [s.data for s in texts()][: len(got)]
    assert len(got) > 50


@pytest.mark.parametrize('compression', list(CompressionType))
def test_a_damaged_chunk_costs_itself_alone(tmp_path, compression):
    path = write_mcap(tmp_path / 'bag.mcap', texts(300), compression=compression, chunk_size=3000)
    with path.open('rb') as file:
        chunks = make_reader(file).get_summary().chunk_indexes
    data = bytearray(path.read_bytes())
    chunk = chunks[len(chunks) // 2]
    middle = chunk.chunk_start_offset + chunk.chunk_length // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    with BagReader(path) as bag:
        got = [m.data for m in bag.messages()]
        assert any(f'the chunk at byte {chunk.chunk_start_offset}' in r for r in bag.remarks)
    assert 250 < len(got) < 300
    assert [s.data for s in texts(300) if s.data in set(got)] == got


def test_a_chunk_is_held_against_a_limit_before_it_is_unpacked():
    with pytest.raises(ContainerError, match=f'more than the limit of {MAX_CHUNK_BYTES}'):
        unpack_chunk(b'', 'zstd', 1 << 62, 0)
    import zstandard

    bomb = zstandard.compress(bytes(64 << 20))
    with pytest.raises(ContainerError, match='a chunk claims 10 bytes and unpacks to 11'):
        unpack_chunk(bomb, 'zstd', 10, 0)


def write_db3(path, sent, *, wal_from=None, form='cdr', journal='delete'):
    """A file as rosbag2 of Humble writes it; from message `wal_from` on only in its -wal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    base = sqlite3.connect(path, isolation_level=None)
    base.execute(f'PRAGMA journal_mode={journal}')
    base.execute('PRAGMA wal_autocheckpoint=0')
    base.execute(
        'CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, '
        'serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL)'
    )
    base.execute(
        'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, '
        'timestamp INTEGER NOT NULL, data BLOB NOT NULL)'
    )
    base.execute('CREATE INDEX timestamp_idx ON messages (timestamp ASC)')
    ids = {}
    for k, each in enumerate(sent):
        if k == wal_from:
            base.execute('PRAGMA wal_checkpoint(FULL)')
        if each.topic not in ids:
            ids[each.topic] = len(ids) + 1
            row = (ids[each.topic], each.topic, each.type, form, '')
            base.execute('INSERT INTO topics VALUES (?, ?, ?, ?, ?)', row)
        row = (ids[each.topic], each.time_ns, each.data)
        base.execute('INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)', row)
    sides = [path, path.with_name(f'{path.name}-wal'), path.with_name(f'{path.name}-shm')]
    kept = {file: file.read_bytes() for file in sides if file.exists()}
    base.close()
    for file, data in kept.items():
        file.write_bytes(data)
    return path


def by_sqlite(path, tmp_path):
    """What sqlite3 reads of a copy: it may change what lies beside the file."""
    copy = shutil.copytree(path.parent, tmp_path / 'copy')
    base = sqlite3.connect(copy / path.name)
    query = (
        'SELECT name, timestamp, data FROM messages JOIN topics ON topic_id = topics.id '
        'ORDER BY timestamp, messages.id'
    )
    rows = base.execute(query).fetchall()
    base.close()
    return rows


@pytest.mark.parametrize('shm', [True, False])
@pytest.mark.parametrize('wal_from', [0, 1, 30, 59])
def test_what_a_write_ahead_log_holds_counts(tmp_path, wal_from, shm):
    path = write_db3(tmp_path / 'bag' / 'bag_0.db3', texts(), wal_from=wal_from, journal='wal')
    if not shm:
        (path.parent / 'bag_0.db3-shm').unlink()
    before = {f.name: f.read_bytes() for f in path.parent.iterdir() if f.suffix != '.db3-shm'}
    assert len(by_sqlite(path, tmp_path)) == 60
    assert ours(path.parent) == by_sqlite_of_copy(tmp_path)
    after = {f.name: f.read_bytes() for f in path.parent.iterdir() if f.suffix != '.db3-shm'}
    assert after == before


def by_sqlite_of_copy(tmp_path):
    base = sqlite3.connect(tmp_path / 'copy' / 'bag_0.db3')
    query = (
        'SELECT name, timestamp, data FROM messages JOIN topics ON topic_id = topics.id '
        'ORDER BY timestamp, messages.id'
    )
    return base.execute(query).fetchall()


def test_odd_sqlite_files_are_read_or_told(tmp_path):
    sent = texts()
    sent[7] = text('/a', 7, -5)
    sent[8], sent[20] = sent[20], sent[8]
    path = write_db3(tmp_path / 'odd' / 'odd_0.db3', sent)
    rows = [row for row in by_sqlite(path, tmp_path) if row[1] > 0]
    assert ours(path.parent) == rows
    with BagReader(path) as bag:
        assert [(u.name, u.count) for u in bag.unread] == [('/a', 1)]
    path = write_db3(tmp_path / 'foreign.db3', texts(), form='protobuf')
    with pytest.raises(BagError, match='its messages are protobuf, not the CDR of ROS 2'):
        BagReader(path)
    bare = tmp_path / 'bare.db3'
    sqlite3.connect(bare).execute('CREATE TABLE t(x)').connection.close()
    with pytest.raises(BagError, match='no tables `messages` and `topics`'):
        BagReader(bare)


def test_missing_damaged_and_foreign_files_of_a_folder_are_named(tmp_path):
    bag = tmp_path / 'bag'
    for k in (0, 2):
        write_mcap(bag / f'bag_{k}.mcap', texts()[20 * k : 20 * k + 20])
    (bag / 'bag_3.mcap').write_bytes(b'')
    (bag / 'other.mcap').write_text(
        'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n'
    )
    names = ''.join(f'    - bag_{k}.mcap\n' for k in range(4))
    (bag / 'metadata.yaml').write_text(
        'rosbag2_bagfile_information:\n  message_count: 61\n  relative_file_paths:\n' + names
    )
    with BagReader(bag) as reader:
        assert len(list(reader.messages())) == 40
        told = '\n'.join(reader.remarks)
    for sentence in (
        'bag_1.mcap is missing: metadata.yaml names it',
        'bag_3.mcap cannot be read: it is empty',
        'other.mcap is read too',
        'other.mcap cannot be read: it is a Git LFS pointer',
        'metadata.yaml tells of 61 messages, 40 are there',
    ):
        assert sentence in told
    (bag / 'metadata.yaml').write_text('[1]')
    with BagReader(bag) as reader:
        assert any('is not the metadata of a rosbag2 recording' in r for r in reader.remarks)
    pointer = tmp_path / 'pointer.db3'
    pointer.write_text('version https://git-lfs.github.com/spec/v1\n')
    with pytest.raises(BagError, match='Git LFS pointer'):
        BagReader(pointer)


def test_reading_some_topics_of_some_time_gives_the_same(tmp_path):
    path = write_mcap(tmp_path / 'bag.mcap', texts())
    first, stop = START + 105_000_000, START + 300_000_000
    wanted = [(s.topic, s.time_ns) for s in texts() if s.topic == '/a']
    wanted = [row for row in wanted if first <= row[1] < stop]
    with BagReader(path) as bag:
        got = list(bag.messages(['/a'], start_ns=first, stop_ns=stop))
    assert [(m.topic, m.received_ns) for m in got] == wanted
    assert np.all(np.diff([m.received_ns for m in got]) > 0)


def test_a_part_is_read_without_the_chunks_beside_it(tmp_path, monkeypatch):
    path = tmp_path / 'a.mcap'
    sent = texts(400)
    sent[200], sent[203] = sent[203], sent[200]  # a little out of order, across chunks
    write_mcap(path, sent)
    unpacked = []
    unpack = McapFile._unpack
    monkeypatch.setattr(
        McapFile, '_unpack', lambda self, chunk: unpacked.append(chunk) or unpack(self, chunk)
    )
    with BagReader(path) as reader:
        everything = [(m.received_ns, m.data) for m in reader.messages()]
        all_chunks = len(unpacked)
        for first, stop in ((0, 5), (190, 210), (203, 204), (390, 400)):
            unpacked.clear()
            start_ns, stop_ns = (START + k * 10_000_000 for k in (first, stop))
            part = reader.messages(start_ns=start_ns, stop_ns=stop_ns)
            expected = [each for each in everything if start_ns <= each[0] < stop_ns]
            assert [(m.received_ns, m.data) for m in part] == expected
            assert len(expected) == stop - first
            assert len(unpacked) < all_chunks / 4
