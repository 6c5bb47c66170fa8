from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from mcap.records import Chunk
from mcap.stream_reader import CRCValidationError, StreamReader, get_chunk_data_stream
from rosbags.rosbag2 import Reader

from sam_ad_perception.bags.reader import BagError, BagReader, BagTopic
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.messages.from_ros import array_to_image

IMAGE = 'sensor_msgs/msg/Image'


def image(writer, value, stamp_ns):
    return array_to_image(writer.types, np.full((4, 6), value, np.uint8), 'mono8', stamp_ns, 'f')


def test_rosbags_reads_what_was_written(tmp_path):
    with BagWriter(tmp_path / 'deep' / 'bag') as writer:
        writer.add_topic('/a', IMAGE)
        writer.add_topic('/latched', 'vision_msgs/msg/LabelInfo', latched=True)
        for k in range(5):
            writer.write('/a', image(writer, k, 100 + k), 10**9 + k)
    with Reader(tmp_path / 'deep' / 'bag') as reader:
        store = writer.typestore
        got = [
            (c.topic, t, store.deserialize_cdr(d, c.msgtype).data.max())
            for c, t, d in reader.messages()
        ]
        assert got == [('/a', 10**9 + k, k) for k in range(5)]
        durability = {
            c.topic: c.ext.offered_qos_profiles[0].durability.name for c in reader.connections
        }
    assert durability == {'/a': 'VOLATILE', '/latched': 'TRANSIENT_LOCAL'}


def test_a_copy_is_equal_byte_for_byte(tmp_path, write_drive):
    with BagReader(write_drive()) as source, BagWriter(tmp_path / 'copy') as writer:
        assert all(writer.copy_topic(topic) for topic in source.topics)
        sent = list(source.messages())
        for message in sent:
            writer.copy(message)
        topics = source.topics
    with BagReader(tmp_path / 'copy') as copy:
        assert [(t.name, t.type, t.count, t.latched, t.digest) for t in copy.topics] == [
            (t.name, t.type, t.count, t.latched, t.digest) for t in topics
        ]
        key = [(m.topic, m.type, m.received_ns, m.data) for m in copy.messages()]
    assert sorted(key) == sorted((m.topic, m.type, m.received_ns, m.data) for m in sent)


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError, match='on the way'), BagWriter(tmp_path / 'bag') as writer:  # noqa: PT012
        writer.add_topic('/a', IMAGE)
        writer.write('/a', image(writer, 1, 1), 1)
        raise RuntimeError('on the way')
    assert list(tmp_path.iterdir()) == []


def test_an_old_bag_is_replaced_only_on_demand_and_only_when_the_new_one_is_whole(tmp_path):
    path = tmp_path / 'bag'
    for value in (1, 2):
        with BagWriter(path, overwrite=True) as writer:
            writer.add_topic('/a', IMAGE)
            writer.write('/a', image(writer, value, 1), 1)
    with pytest.raises(BagError, match='exists already'):
        BagWriter(path)
    with pytest.raises(RuntimeError), BagWriter(path, overwrite=True):
        raise RuntimeError
    with BagReader(path) as bag:
        (message,) = bag.messages()
        assert bag.deserialize(message).data[0] == 2
    assert [p.name for p in tmp_path.iterdir()] == ['bag']


def test_a_folder_that_is_no_bag_is_never_replaced(tmp_path):
    (tmp_path / 'thesis').mkdir()
    (tmp_path / 'thesis' / 'chapter.txt').write_text('x')
    with pytest.raises(BagError, match='is not a bag, so it is not overwritten'):
        BagWriter(tmp_path / 'thesis', overwrite=True)
    assert (tmp_path / 'thesis' / 'chapter.txt').read_text() == 'x'


def test_wrong_use_is_told(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/a', IMAGE)
        writer.add_topic('/a', IMAGE)  # again is fine
        message = image(writer, 1, 1)
        with pytest.raises(BagError, match='/a is already there as sensor_msgs/msg/Image, not as'):
            writer.add_topic('/a', 'sensor_msgs/msg/CameraInfo')
        with pytest.raises(BagError, match="/b: message type 'no_msgs/msg/No' is unknown"):
            writer.add_topic('/b', 'no_msgs/msg/No')
        with pytest.raises(BagError, match='/b was announced as None'):
            writer.write('/b', message, 1)
        writer.add_topic('/info', 'sensor_msgs/msg/CameraInfo')
        with pytest.raises(BagError, match='/info was announced as sensor_msgs/msg/CameraInfo'):
            writer.write('/info', message, 1)
        assert not writer.copy_topic(BagTopic('/alien', 'rig_msgs/msg/Alien', 3))
        writer.write('/a', message, 1)


def test_every_chunk_carries_the_crc_that_the_official_reader_checks(tmp_path):
    """The `mcap` package reads the chunks, and refuses one whose content was changed."""
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/a', IMAGE)
        for k in range(20):
            writer.write('/a', image(writer, k, k), k)
    (file,) = (tmp_path / 'bag').glob('*.mcap')

    def chunks():
        with file.open('rb') as stream:
            records = StreamReader(stream, emit_chunks=True).records
            return [record for record in records if isinstance(record, Chunk)]

    made = chunks()
    assert made
    for chunk in made:
        content = zstandard.ZstdDecompressor().decompress(chunk.data, chunk.uncompressed_size)
        assert chunk.uncompressed_crc == zlib.crc32(content) != 0
        get_chunk_data_stream(chunk, validate_crc=True)
        with pytest.raises(CRCValidationError):
            get_chunk_data_stream(
                replace(chunk, uncompressed_crc=chunk.uncompressed_crc ^ 1), validate_crc=True
            )
