"""Recordings of event cameras that send arrays, or pictures rendered from their events."""

from __future__ import annotations

import numpy as np
import pytest

from sam_ad_perception.bags.bundles import BagFeed, read_bundles
from sam_ad_perception.bags.reader import BagReader, BagTopic
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.events.representations import event_image
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import CameraModel, Events, Modality

S, MS = 1_000_000_000, 1_000_000
START = 1_700_000_000 * S
SIZE = (48, 64)
CAMERA = CameraModel(64, 48, np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]]))
PACKET = 'event_camera_msgs/msg/EventPacket'
OLD_PACKET = 'event_array_msgs/msg/EventArray'
ARRAYS = ('dvs_msgs/msg/EventArray', 'prophesee_event_msgs/msg/EventArray')
IMAGE = 'sensor_msgs/msg/Image'


def draw_events(rng, end_ns):
    t = np.sort(rng.integers(end_ns - 30 * MS + 1, end_ns + 1, 200))
    x, y = (rng.integers(0, n, 200).astype(np.uint16) for n in SIZE[::-1])
    return Events(x, y, rng.random(200) < 0.5, t, SIZE)


def event_message(types, kind, events, end_ns):
    """The same events as a driver of each kind would send them."""
    if kind == PACKET:
        packet = encode_packet(events, 'mono', end_ns=end_ns, frame_id='camera')
        return cv.packet_to_message(types, packet)
    if kind == OLD_PACKET:  # the same fields under the name that came before
        new = cv.packet_to_message(types, encode_packet(events, 'mono', end_ns=end_ns))
        new.header.frame_id = 'camera'
        fields = {k: getattr(new, k) for k in new.__dataclass_fields__ if k != '__msgtype__'}
        return cv.make(types, kind, **fields)
    if kind == IMAGE:
        picture = event_image(events)[:, :, ::-1]
        return cv.array_to_image(types, np.ascontiguousarray(picture), 'bgr8', end_ns, 'camera')
    columns = zip(events.x, events.y, events.t_ns, events.polarity, strict=True)
    made = [
        cv.make(
            types,
            kind.replace('EventArray', 'Event'),
            x=int(x),
            y=int(y),
            ts=cv.ns_to_stamp(types, int(t)),
            polarity=bool(on),
        )
        for x, y, t, on in columns
    ]
    header = cv.make_header(types, end_ns, 'camera')
    return cv.make(types, kind, header=header, height=SIZE[0], width=SIZE[1], events=made)


def write(path, kind, topic, rng, frames=3):
    """A drive with a camera and an event camera; returns the events of each frame."""
    sent = []
    with BagWriter(path) as writer:
        for name, what in {
            topic: kind,
            '/camera/image_rect': IMAGE,
            '/camera/camera_info': 'sensor_msgs/msg/CameraInfo',
            '/events/camera_info': 'sensor_msgs/msg/CameraInfo',
        }.items():
            writer.add_topic(name, what)
        for k in range(frames):
            stamp = START + k * 100 * MS
            events = draw_events(rng, stamp)
            sent.append(events)
            info = cv.camera_to_message(writer.types, CAMERA, stamp)
            info.header.frame_id = 'camera'
            writer.write('/camera/camera_info', info, stamp)
            writer.write('/events/camera_info', info, stamp)
            writer.write(topic, event_message(writer.types, kind, events, stamp), stamp)
            grey = np.full(SIZE, 9, np.uint8)
            image = cv.array_to_image(writer.types, grey, 'mono8', stamp, 'camera')
            writer.write('/camera/image_rect', image, stamp)
    return sent


@pytest.mark.parametrize('kind', [PACKET, OLD_PACKET, *ARRAYS])
def test_events_are_the_same_however_they_were_recorded(kind, tmp_path, rng):
    sent = write(tmp_path / 'bag', kind, '/events', rng)
    with BagReader(tmp_path / 'bag') as reader:
        mapping = guess_topics(reader.topics)
        assert mapping.sensors[Modality.EVENT].data == '/events'
        bundles = list(read_bundles(reader, mapping))
    assert len(bundles) == len(sent)
    for bundle, events in zip(bundles, sent, strict=True):
        got = bundle.frames[Modality.EVENT].data
        for column in ('x', 'y', 'polarity', 't_ns'):
            np.testing.assert_array_equal(getattr(got, column), getattr(events, column))


def test_a_rendered_picture_is_the_frame_of_the_event_camera(tmp_path, rng):
    sent = write(tmp_path / 'bag', IMAGE, '/events/rendered', rng)
    with BagReader(tmp_path / 'bag') as reader:
        mapping = guess_topics(reader.topics)
        assert mapping.sensors[Modality.EVENT].data == '/events/rendered'
        assert mapping.sensors[Modality.CAMERA].data == '/camera/image_rect'
        bundles = list(read_bundles(reader, mapping))
    assert len(bundles) == len(sent)
    for bundle, events in zip(bundles, sent, strict=True):
        frame = bundle.frames[Modality.EVENT]
        np.testing.assert_array_equal(frame.data, event_image(events))
        assert frame.camera.size == SIZE


def test_damaged_arrays_are_counted_and_the_rest_is_read(tmp_path, rng):
    write(tmp_path / 'bag', ARRAYS[0], '/events', rng)
    with BagReader(tmp_path / 'bag') as reader:
        feed = BagFeed(reader, guess_topics(reader.topics))
        for message in reader.messages(['/events']):
            cut = type(message)(
                message.topic, message.type, message.received_ns, message.data[:99]
            )
            assert feed.take(cut) == []
        assert feed.unreadable['/events'].count == 3
        assert '200 events take 3197 bytes' in feed.unreadable['/events'].reason


@pytest.mark.parametrize(
    ('names', 'event', 'camera'),
    [
        ({'/dvs_rendering': IMAGE, '/dvs/events': ARRAYS[0]}, '/dvs/events', None),
        ({'/dvs_rendering': IMAGE, '/cam/image': IMAGE}, '/dvs_rendering', '/cam/image'),
        (
            {'/davis/image': IMAGE, '/davis/ev': ARRAYS[0]},
            '/davis/ev',
            '/davis/image',
        ),
        ({'/event_camera_renderer/image_raw': IMAGE}, '/event_camera_renderer/image_raw', None),
        ({'/renderer/image': IMAGE}, None, '/renderer/image'),
    ],
)
def test_rendered_pictures_are_told_from_the_camera_by_their_names(names, event, camera):
    mapping = guess_topics([BagTopic(name, kind, 10) for name, kind in names.items()])
    found = {m: topics.data for m, topics in mapping.sensors.items()}
    assert found.get(Modality.EVENT) == event
    assert found.get(Modality.CAMERA) == camera


def test_a_picture_of_any_name_can_be_said_to_be_the_event_camera():
    listed = [BagTopic('/a', IMAGE, 10), BagTopic('/b', IMAGE, 10)]
    mapping = guess_topics(listed, {'event': '/a'})
    assert mapping.sensors[Modality.EVENT].data == '/a'
    assert mapping.sensors[Modality.CAMERA].data == '/b'


def test_share_of_events_beyond_the_named_size_is_of_the_whole_recording(tmp_path, rng):
    """Packets name a region of interest, events keep the coordinates of the sensor."""
    part, outside, total = (24, 32), 0, 0
    with BagWriter(tmp_path / 'bag') as writer:
        for name, what in {
            '/events': PACKET,
            '/camera/image_rect': IMAGE,
            '/camera/camera_info': 'sensor_msgs/msg/CameraInfo',
            '/events/camera_info': 'sensor_msgs/msg/CameraInfo',
        }.items():
            writer.add_topic(name, what)
        for k in range(14):
            stamp = START + k * 100 * MS
            drawn = draw_events(rng, stamp)
            if k > 10:  # behind the last image all lie outside
                drawn.x[:] = 40
            outside += int(((drawn.x >= part[1]) | (drawn.y >= part[0])).sum())
            total += len(drawn.x)
            packet = event_message(writer.types, PACKET, drawn, stamp)
            packet.height, packet.width = part
            writer.write('/events', packet, stamp)
            if k > 10:
                continue
            info = cv.camera_to_message(writer.types, CAMERA, stamp)
            info.header.frame_id = 'camera'
            writer.write('/camera/camera_info', info, stamp)
            writer.write('/events/camera_info', info, stamp)
            grey = rng.integers(0, 255, SIZE, dtype=np.uint8)
            image = cv.array_to_image(writer.types, grey, 'mono8', stamp, 'camera')
            writer.write('/camera/image_rect', image, stamp)
    with BagReader(tmp_path / 'bag') as reader:
        feed = BagFeed(reader, guess_topics(reader.topics))
        results = [each for _, due in feed.read() for each in due]
    (found,) = [f.finding for f in feed.checks.findings() if f.finding.code == 'events.outside']
    share = outside / total
    assert found.figure == pytest.approx(share)
    assert f'{100 * share:.0f} % of its events lie outside the 32x24' in found.text
    assert Modality.EVENT in results[-1].missing
