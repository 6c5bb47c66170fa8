"""Recordings that are odd: each ends with a sentence that names the field, topic or file."""

from __future__ import annotations

from collections import Counter

import pytest
from rich.console import Console
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg

from sam_ad_perception.bags.labelling.fleet import find_bags
from sam_ad_perception.bags.labelling.recording import label_bag
from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands.display.labelling import print_report
from sam_ad_perception.commands.offsets import main as offsets
from sam_ad_perception.core.labels import LABEL_SPACES

SPACE = LABEL_SPACES['cityscapes']
CAMERA = '/camera/image_rect'


@pytest.fixture
def label(tmp_path, segmenter):
    """Labels a bag; gives the report and what the user reads of it."""

    def run(bag):
        report = label_bag(bag, tmp_path / 'labelled', segmenter, SPACE)
        console = Console(record=True, width=200, file=(tmp_path / 'told').open('w'))
        print_report(console, report, tmp_path / 'labelled')
        return report, console.export_text()

    return run


def on_camera(change):
    """Apply a change to the camera's images; it is given the number of the image."""
    count = Counter()

    def run(topic, message):
        if topic == CAMERA:
            change(message, count[topic])
            count[topic] += 1
        return message

    return run


def without_stamp(message, index):
    message.header.stamp.sec = message.header.stamp.nanosec = 0


def going_back(message, index):
    if index == 3:
        message.header.stamp.sec -= 100


def of_two_sizes(message, index):
    if index % 2:
        message.height = 24
        message.data = message.data[: 24 * message.step]


@pytest.mark.parametrize(
    ('change', 'masks', 'sentences'),
    [
        (
            without_stamp,
            4,  # the thermal camera leads: what has no stamp belongs to no moment
            ['4 masks without camera: its stamps are 0: its driver sets none'],
        ),
        (going_back, 4, ['stamps went back 1 times']),
        (
            of_two_sizes,
            4,
            [
                '2 masks without camera: ',
                ' pixels, its camera_info says ',
            ],
        ),
    ],
)
def test_odd_images_are_told_and_the_others_labelled(write_drive, label, change, masks, sentences):
    report, told = label(write_drive(4, on_camera(change)))
    assert report.frames == masks
    for sentence in sentences:
        assert sentence in told


def test_messages_of_a_type_of_the_users_own_are_copied(write_drive, label, tmp_path):
    with BagReader(write_drive(2)) as source, BagWriter(tmp_path / 'own') as writer:
        writer.typestore.register(get_types_from_msg('uint8 a\nstring b\n', 'my_msgs/msg/Thing'))
        for topic in source.topics:
            writer.copy_topic(topic)
        writer.add_topic('/thing', 'my_msgs/msg/Thing')
        writer.write('/thing', writer.types('my_msgs/msg/Thing')(a=1, b='x'), source.start_ns)
        for message in source.messages():
            writer.copy(message)
    report, _ = label(tmp_path / 'own')
    assert (report.frames, report.not_copied) == (2, ())
    with BagReader(tmp_path / 'labelled') as labelled:
        (thing,) = map(labelled.deserialize, labelled.messages(['/thing']))
    assert (thing.a, thing.b) == (1, 'x')


def pack(source, out, mode):
    """Write a recording again, compressed."""
    with BagReader(source) as reader:
        writer = Writer(out, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            topics = {
                t.name: writer.add_connection(t.name, t.type, msgdef=t.definition, rihs01=t.digest)
                for t in reader.topics
            }
            for message in reader.messages():
                writer.write(topics[message.topic], message.received_ns, message.data)
    return out


@pytest.mark.parametrize('mode', [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_recordings_are_labelled_with_metadata_and_told_without(
    write_drive, label, tmp_path, mode
):
    bag = pack(write_drive(2), tmp_path / 'packed', mode)
    assert label(bag)[0].frames == 2
    (bag / 'metadata.yaml').unlink()
    if mode is CompressionMode.FILE:
        with pytest.raises(BagError, match=r'no metadata.yaml, without which packed.mcap.zstd'):
            BagReader(bag)
        with pytest.raises(BagError, match='is compressed as a whole: name its folder'):
            BagReader(bag / 'packed.mcap.zstd')
        assert find_bags(bag) == []
        return
    with BagReader(bag) as reader:
        message = next(reader.messages([CAMERA]))
        with pytest.raises(BagError, match=f'{CAMERA}: each message is compressed by zstd'):
            reader.deserialize(message)


@pytest.mark.parametrize(
    ('given', 'sentence'),
    [
        ({'camera': '/nope'}, 'camera is to be /nope, but the bag has only'),
        ({'camera': '/points'}, 'camera is to be /points, which is a sensor_msgs/msg/PointCloud2'),
        ({'sonar': '/points'}, "unknown role 'sonar', expected one of"),
    ],
)
def test_topics_that_cannot_be_followed_are_told(write_drive, given, sentence):
    with BagReader(write_drive(1)) as reader, pytest.raises(BagError, match=sentence):
        guess_topics(reader.topics, given)


@pytest.mark.parametrize('share', [0.0, 0.0001])
def test_a_recording_of_which_nothing_is_left_is_refused(write_drive, share):
    bag = write_drive(2)
    (file,) = bag.glob('*.mcap')
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(BagError, match=f'{bag}: {file.name} cannot be read: '):
        BagReader(bag)


def test_offsets_tell_the_same(tmp_path, write_drive):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(BagError, match='is not a bag: it holds no file of'):
        offsets([str(tmp_path / 'empty')])
