"""Recordings of several files: with write-ahead logs left, with files that are missing."""

from __future__ import annotations

import os
import shutil
import sqlite3

import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from sam_ad_perception.bags.reader import BagReader

STORE = get_typestore(Stores.ROS2_JAZZY)
TEXT = 'std_msgs/msg/String'
START, PART, PARTS = 1_700_000_000_000_000_000, 10, 3


def write_part(folder, number, plugin):
    """One file of ten messages on two topics, as rosbags writes it."""
    with Writer(folder, version=9, storage_plugin=plugin) as writer:
        links = {t: writer.add_connection(t, TEXT, typestore=STORE) for t in ('/a', '/b')}
        for k in range(number * PART, (number + 1) * PART):
            data = STORE.serialize_cdr(STORE.types[TEXT](data=f'text {k}'), TEXT)
            writer.write(links['/a' if k % 2 else '/b'], START + k * 1_000_000, data)
    (file,) = (f for f in folder.iterdir() if f.suffix in ('.mcap', '.db3'))
    return file


def leave_log(source, target):
    """Copy a database so that half of its messages are in the log beside it alone."""
    shutil.copy(source, target)
    database = sqlite3.connect(target)
    database.execute('pragma journal_mode=wal')
    database.execute('pragma wal_autocheckpoint=0')
    rows = database.execute('select id, topic_id, timestamp, data from messages').fetchall()
    late = rows[len(rows) // 2 :]
    database.execute('delete from messages where id >= ?', (late[0][0],))
    database.commit()
    database.execute('pragma wal_checkpoint(truncate)')
    database.executemany('insert into messages values(?, ?, ?, ?)', late)
    database.commit()
    for suffix in ('', '-wal'):  # as they lie there where the recorder is killed now
        shutil.copy(f'{target}{suffix}', f'{target}.copy{suffix}')
    database.close()
    for suffix in ('', '-wal'):
        os.replace(f'{target}.copy{suffix}', f'{target}{suffix}')
    assert target.with_name(f'{target.name}-wal').stat().st_size > 0


def read(path):
    with BagReader(path) as bag:
        return [bag.deserialize(m).data for m in bag.messages()], bag.remarks


def test_the_log_beside_each_of_several_files_counts(tmp_path):
    bag = tmp_path / 'bag'
    bag.mkdir()
    for k in range(PARTS):
        leave_log(write_part(tmp_path / str(k), k, StoragePlugin.SQLITE3), bag / f'rec_{k}.db3')
    expected = []
    for k in range(PARTS):  # by SQLite itself, of copies
        for name in (f'rec_{k}.db3', f'rec_{k}.db3-wal'):
            shutil.copy(bag / name, tmp_path / name)
        with sqlite3.connect(tmp_path / f'rec_{k}.db3') as database:
            query = 'select data from messages order by timestamp'
            expected += [bytes(row[0]) for row in database.execute(query)]
    with BagReader(bag) as reader:
        assert [m.data for m in reader.messages()] == expected
    assert len(expected) == PARTS * PART


@pytest.mark.parametrize('plugin', list(StoragePlugin))
@pytest.mark.parametrize('missing', [(0,), (1,), (2,), (0, 2)], ids=str)
def test_each_file_that_is_missing_is_named(tmp_path, plugin, missing):
    bag = tmp_path / 'bag'
    bag.mkdir()
    names = []
    for k in range(PARTS):
        file = write_part(tmp_path / str(k), k, plugin)
        names.append(f'rec_{k}{file.suffix}')
        if k not in missing:
            shutil.copy(file, bag / names[-1])
    about = {
        'version': 5,
        'storage_identifier': 'mcap' if plugin is StoragePlugin.MCAP else 'sqlite3',
        'relative_file_paths': names,
        'message_count': PARTS * PART,
        'compression_format': '',
        'compression_mode': '',
    }
    text = yaml.safe_dump({'rosbag2_bagfile_information': about})
    (bag / 'metadata.yaml').write_text(text)
    texts, remarks = read(bag)
    there = [k for k in range(PARTS * PART) if k // PART not in missing]
    assert texts == [f'text {k}' for k in there]
    told = [f'{names[k]} is missing: metadata.yaml names it' for k in missing]
    assert list(remarks[: len(missing)]) == told
    assert remarks[-1] == f'metadata.yaml tells of {PARTS * PART} messages, {len(there)} are there'
