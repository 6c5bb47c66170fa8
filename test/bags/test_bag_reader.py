from __future__ import annotations

import shutil

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg

from sam_ad_perception.bags.formats.type_store import DEFINITIONS, make_typestore
from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.messages.from_ros import array_to_image, packet_from_message, stamp_of

STORE = make_typestore()
IMAGE = 'sensor_msgs/msg/Image'


def write_with_rosbags(path, stamps, *, plugin=StoragePlugin.MCAP, mode=None, topic='/image'):
    """A bag written by rosbags alone: an oracle for the reader, not our writer."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(topic, IMAGE, typestore=STORE)
        for stamp_ns in stamps:
            pixels = np.full((2, 3), stamp_ns % 251, np.uint8)
            message = array_to_image(STORE.types.__getitem__, pixels, 'mono8', stamp_ns, 'f')
            writer.write(connection, stamp_ns, STORE.serialize_cdr(message, IMAGE))
    return path


@pytest.mark.parametrize('plugin', list(StoragePlugin))
@pytest.mark.parametrize('mode', [None, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_every_storage_and_compression_is_read(tmp_path, plugin, mode):
    stamps = [10**9 + k * 10**7 for k in range(20)]
    path = write_with_rosbags(tmp_path / 'bag', stamps, plugin=plugin, mode=mode)
    with BagReader(path) as bag:
        (topic,) = bag.topics
        assert (topic.name, topic.type, topic.count, topic.latched) == ('/image', IMAGE, 20, False)
        assert (bag.start_ns, bag.end_ns) == (stamps[0], stamps[-1])
        assert bag.duration_s == pytest.approx(0.19)
        got = [(m.received_ns, stamp_of(bag.deserialize(m))) for m in bag.messages()]
    assert got == [(s, s) for s in stamps]


@pytest.mark.parametrize('plugin', list(StoragePlugin))
def test_messages_come_in_the_order_of_time(tmp_path, plugin, rng):
    stamps = [int(s) for s in rng.permutation(50) * 10**6 + 10**9]
    path = write_with_rosbags(tmp_path / 'bag', stamps, plugin=plugin)
    with BagReader(path) as bag:
        assert [m.received_ns for m in bag.messages()] == sorted(stamps)
        part = [
            m.received_ns for m in bag.messages(start_ns=10**9 + 10**7, stop_ns=10**9 + 2 * 10**7)
        ]
        assert part == list(range(10**9 + 10**7, 10**9 + 2 * 10**7, 10**6))
        assert not list(bag.messages(['/other']))


def test_split_files_are_merged_and_need_no_metadata(tmp_path):
    """Two files of one recording that overlap in time, as rosbag2's cache can leave them."""
    folder = tmp_path / 'split'
    folder.mkdir()
    for k, stamps in enumerate(([10, 20, 30, 41], [40, 50, 60])):
        path = write_with_rosbags(tmp_path / f'part_{k}', [s * 10**8 for s in stamps])
        shutil.copy(path / f'part_{k}.mcap', folder)
    with BagReader(folder) as bag:
        assert [m.received_ns // 10**8 for m in bag.messages()] == [10, 20, 30, 40, 41, 50, 60]
        assert bag.topics[0].count == 7
    with BagReader(folder / 'part_1.mcap') as bag:
        assert bag.topics[0].count == 3


def test_topics_from_a_single_file_keep_their_hash(tmp_path):
    path = write_with_rosbags(tmp_path / 'bag', [10**9])
    with BagReader(path / 'bag.mcap') as bag:
        assert bag.topics[0].digest == STORE.hash_rihs01(IMAGE)


@pytest.mark.parametrize(
    ('folder', 'count', 'known'),
    [
        ('test_events_1', 517, (218291, 125183)),
        ('test_data_libcaer_rollover', 201, (None, 181908)),
    ],
)
def test_recorded_events_are_all_there(sample_data, folder, count, known):
    """SQLite bags of event cameras, one of which defines no types; counts are published."""
    decoder, off, on = EventDecoder(), 0, 0
    with BagReader(sample_data / 'events' / folder) as bag:
        for message in bag.messages():
            events = decoder.decode(packet_from_message(bag.deserialize(message)))
            on += int(events.polarity.sum())
            off += int((~events.polarity).sum())
    assert decoder.counters['packets'] == count
    assert on == known[1]
    assert known[0] is None or off == known[0]


def test_a_bag_whose_metadata_names_no_storage_and_whose_types_are_idl(sample_data):
    with BagReader(sample_data / 'events' / 'test_events_2') as bag:
        sizes = {packet_from_message(bag.deserialize(m)).size for m in bag.messages()}
    assert sizes == {(260, 346)}


def test_the_kitti_bag_is_read_whole(sample_data):
    with BagReader(sample_data / 'kitti' / 'bag') as bag:
        found = {t.name: (t.count, t.latched) for t in bag.topics}
        assert len(list(bag.messages())) == 25
        assert bag.duration_s == pytest.approx(0.7)
    assert found == {
        '/camera/front/camera_info': (8, False),
        '/camera/front/image_rect/compressed': (8, False),
        '/lidar/points': (8, False),
        '/tf_static': (1, True),
    }


def test_definitions_are_those_of_the_interface_packages(repository):
    """Two homes for one fact, so they are held together here."""
    for name, text in DEFINITIONS.items():
        package, _, message = name.split('/')
        own = (repository / 'interfaces' / package / 'msg' / f'{message}.msg').read_text()
        assert get_types_from_msg(text, name) == get_types_from_msg(own, name)


@pytest.mark.parametrize(
    ('make', 'sentence'),
    [
        (lambda path: None, 'does not exist'),
        (lambda path: path.mkdir(), 'is not a bag: it holds no file of'),
        (lambda path: path.write_text('x'), 'is not a bag: expected a folder, or one of'),
        (
            lambda path: (path.mkdir(), (path / 'metadata.yaml').write_text('[1]')),
            'is not the metadata of a rosbag2 recording',
        ),
        (
            lambda path: (path.mkdir(), (path / 'x.mcap').write_bytes(b'rubbish' * 99)),
            'cannot be read',
        ),
        (
            lambda path: (path.mkdir(), (path / 'x.db3').write_bytes(b'rubbish' * 99)),
            'cannot be read',
        ),
        (lambda path: write_with_rosbags(path, []), 'holds no message'),
    ],
)
def test_what_is_no_recording_is_refused_in_one_sentence(tmp_path, make, sentence):
    path = tmp_path / 'bag'
    make(path)
    with pytest.raises(BagError) as caught:
        BagReader(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize('cut', [0.3, 0.6, 0.95])
@pytest.mark.parametrize('suffix', ['mcap', 'db3'])
def test_a_truncated_file_is_refused_or_read_without_a_crash(tmp_path, suffix, cut):
    plugin = StoragePlugin.MCAP if suffix == 'mcap' else StoragePlugin.SQLITE3
    path = write_with_rosbags(tmp_path / 'bag', [10**9 + k for k in range(300)], plugin=plugin)
    file = path / f'bag.{suffix}'
    data = file.read_bytes()
    file.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(BagError), BagReader(path) as bag:  # noqa: PT012
        for message in bag.messages():
            bag.deserialize(message)
        raise BagError('every message survived the cut')


def test_damaged_and_unknown_messages_are_refused_one_by_one(tmp_path):
    path = tmp_path / 'bag'
    store = make_typestore()
    store.register(get_types_from_msg('int32 x\n', 'rig_msgs/msg/Odd'))
    with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        image = writer.add_connection('/image', IMAGE, typestore=store)
        odd = writer.add_connection('/odd', 'rig_msgs/msg/Odd', typestore=store)
        alien = writer.add_connection('/alien', 'rig_msgs/msg/Alien', msgdef='', rihs01='R')
        part = writer.add_connection('/part', 'rig_msgs/msg/Part', msgdef='Eye e\n', rihs01='R')
        good = array_to_image(store.types.__getitem__, np.zeros((2, 2), np.uint8), 'mono8', 5, '')
        data = bytes(store.serialize_cdr(good, IMAGE))
        sent = [(image, data), (image, data[:30]), (image, b'\xff'), (odd, b'\0\1\0\0\7\0\0\0')]
        sent += [(alien, b'\0\1\0\0'), (part, b'\0\1\0\0')]
        for k, (connection, content) in enumerate(sent):
            writer.write(connection, 10**9 + k, content)
    with BagReader(path) as bag:
        good, cut, rubbish, odd, alien, part = bag.messages()
        assert bag.deserialize(good).width == 2
        for message in (cut, rubbish):
            with pytest.raises(BagError, match=r'/image: a message of \d+ bytes is not a sensor'):
                bag.deserialize(message)
        assert bag.deserialize(odd).x == 7  # the bag brought the type
        with pytest.raises(BagError, match='rig_msgs/msg/Alien, which is unknown here'):
            bag.deserialize(alien)
        with pytest.raises(BagError, match='/part: the definition of rig_msgs/msg/Part lacks'):
            bag.deserialize(part)


def test_a_type_that_means_something_else_is_not_misread(tmp_path):
    path = tmp_path / 'bag'
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        text = 'uint32 height\nuint32 width\n'
        connection = writer.add_connection('/image', IMAGE, msgdef=text, rihs01='RIHS01_1')
        writer.write(connection, 10**9, b'\0\1\0\0' + bytes(8))
    with BagReader(path) as bag:
        (message,) = bag.messages()
        with pytest.raises(BagError, match=r"/image: Type 'sensor_msgs/msg/Image' is already"):
            bag.deserialize(message)
