"""Bundles of a recording do not depend on when, or in which order, it was written."""

from __future__ import annotations

import hashlib
from random import Random

import numpy as np
import pytest

from sam_ad_perception.bags import measurement_order
from sam_ad_perception.bags.bundles import read_bundles
from sam_ad_perception.bags.labelling.recording import LabelOptions, label_bag
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages import from_ros as cv
from sam_ad_perception.core.sensors import CameraModel, Events, PointCloud, SensorBundle

MS, START = 1_000_000, 1_700_000_000_000_000_000
PERIOD, FRAMES, SIZE = 100 * MS, 12, (48, 64)
K = np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
T_CAMERA_LIDAR = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.2], [1, 0, 0, 0], [0, 0, 0, 1]])
KINDS = {
    '/tf_static': 'tf2_msgs/msg/TFMessage',
    '/tf': 'tf2_msgs/msg/TFMessage',
    '/camera/camera_info': 'sensor_msgs/msg/CameraInfo',
    '/camera/image_rect': 'sensor_msgs/msg/Image',
    '/thermal/image_rect': 'sensor_msgs/msg/Image',
    '/thermal/camera_info': 'sensor_msgs/msg/CameraInfo',
    '/events': 'event_camera_msgs/msg/EventPacket',
    '/events/camera_info': 'sensor_msgs/msg/CameraInfo',
    '/points': 'sensor_msgs/msg/PointCloud2',
}


def drive(types, rng):
    """A car at 20 m/s: (topic, message, its own time), with sweeps stamped at their start."""
    fixed = [('base', n, START, np.eye(4)) for n in ('camera_optical', 'thermal', 'event')]
    fixed += [('camera_optical', 'lidar', START, T_CAMERA_LIDAR)]
    yield '/tf_static', cv.transforms_to_message(types, fixed), START
    for stamp in range(START - 5 * PERIOD, START + (FRAMES + 5) * PERIOD, 20 * MS):
        pose = np.eye(4)
        pose[2, 3] = 20e-9 * (stamp - START)
        yield '/tf', cv.transforms_to_message(types, [('odom', 'base', stamp, pose)]), stamp
    models = {
        n: CameraModel(64, 48, K, frame_id=f)
        for n, f in (('camera', 'camera_optical'), ('thermal', 'thermal'), ('events', 'event'))
    }
    for k in range(FRAMES):
        stamp = START + k * PERIOD + 50 * MS
        for name, model in models.items():
            yield f'/{name}/camera_info', cv.camera_to_message(types, model, stamp), stamp
        rgb = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        image = cv.array_to_image(types, rgb, 'rgb8', stamp, 'camera_optical')
        yield '/camera/image_rect', image, stamp
        heat = rng.integers(28000, 31000, SIZE).astype(np.uint16)
        yield (
            '/thermal/image_rect',
            cv.array_to_image(types, heat, 'mono16', stamp + 12 * MS, 'thermal'),
            stamp + 12 * MS,
        )
        points = np.zeros(400, [(n, '<f4') for n in ('x', 'y', 'z', 'intensity')] + [('t', '<u4')])
        for axis, (low, high) in zip('xyz', ((4, 30), (-8, 8), (-2, 2)), strict=True):
            points[axis] = rng.uniform(low, high, 400)
        points['intensity'], points['t'] = k, np.linspace(0, PERIOD - 1, 400)
        begin = START + k * PERIOD + 30 * MS
        yield '/points', cv.cloud_to_message(types, points, begin, 'lidar'), begin
        for part in range(10):
            end = START + k * PERIOD + (part + 1) * 10 * MS
            t = np.sort(rng.integers(end - 10 * MS, end, 30)) // 1000 * 1000
            x, y = (rng.integers(0, n, 30).astype(np.uint16) for n in SIZE[::-1])
            events = Events(x, y, rng.random(30) < 0.5, t, SIZE)
            packet = encode_packet(
                events, 'evt3', seq=10 * k + part + 1, end_ns=end, frame_id='event'
            )
            yield '/events', cv.packet_to_message(types, packet), end


def delayed(times, random):
    return [t + random.randrange(0, 2000) * MS for _, t in times]


def shuffled(times, random):
    mixed = [t for _, t in times]
    random.shuffle(mixed)
    return mixed


def all_equal(times, random):
    return [START for _ in times]


def topic_after_topic(times, random):
    order = sorted(range(len(times)), key=lambda i: (times[i][0], times[i][1]))
    places = {i: n for n, i in enumerate(order)}
    return [START + places[i] * MS for i in range(len(times))]


def within_one_ms(times, random):
    return [START + i for i in range(len(times))]


def a_burst_each_second(times, random):
    return [-(-t // 1_000_000_000) * 1_000_000_000 + i for i, (_, t) in enumerate(times)]


def record(path, change=None):
    """Write the drive; `change` gives other times of recording."""
    with BagWriter(path) as writer:
        for topic, kind in KINDS.items():
            writer.add_topic(topic, kind, latched=topic == '/tf_static')
        sent = list(drive(writer.types, np.random.default_rng(0)))
        times = [(topic, t) for topic, _, t in sent]
        received = [t + 3 * MS for _, t in times] if change is None else change(times, Random(1))
        for (topic, message, _), at in sorted(
            zip(sent, received, strict=True), key=lambda each: each[1]
        ):
            writer.write(topic, message, at)
    return path


def digest(bundle):
    """All that a bundle holds."""
    told = [bundle.stamp_ns, bundle.reference, bundle.missing, bundle.notes]
    told.append({m: T.tobytes() for m, T in bundle.T_camera.items()})
    for modality, frame in sorted(bundle.frames.items()):
        told += [modality, frame.stamp_ns, frame.measured_ns]
        told.append(frame.motion and frame.motion.T_reference.tobytes())
        data = frame.data
        if isinstance(data, PointCloud):
            told += [data.points.tobytes(), data.time_offset_ns.tobytes()]
        elif isinstance(data, Events):
            told += [a.tobytes() for a in (data.x, data.y, data.polarity, data.t_ns)]
        else:
            told.append(getattr(data, 'get', lambda d=data: d)().tobytes())
    return hashlib.sha256(repr(told).encode()).hexdigest()


def bundles(path):
    with BagReader(path) as reader:
        return list(read_bundles(reader, guess_topics(reader.topics)))


CHANGES = [
    delayed,
    shuffled,
    all_equal,
    topic_after_topic,
    within_one_ms,
    a_burst_each_second,
]


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    found = bundles(record(tmp_path_factory.mktemp('record') / 'original'))
    assert all(isinstance(each, SensorBundle) for each in found)
    assert len(found) == FRAMES
    for bundle in found[1:]:  # the first exposure begins before its sweep
        assert set(bundle.frames) == {'camera', 'thermal', 'event', 'lidar'}
        assert not bundle.notes
        assert bundle.frames['lidar'].motion is not None
    return [digest(each) for each in found]


@pytest.mark.parametrize('change', CHANGES)
def test_bundles_are_the_same_whenever_they_were_recorded(original, tmp_path, change):
    assert [digest(each) for each in bundles(record(tmp_path / 'bag', change))] == original


def test_what_waits_beyond_the_limit_waits_in_a_file(original, tmp_path, monkeypatch):
    monkeypatch.setattr(measurement_order, 'HELD_BYTES', 10_000)
    found = bundles(record(tmp_path / 'bag', topic_after_topic))
    assert [digest(each) for each in found] == original


@pytest.mark.parametrize('change', [shuffled, topic_after_topic, all_equal])
def test_masks_are_the_same_byte_for_byte(tmp_path, segmenter, change):
    written = []
    for name, how in (('one', None), ('two', change)):
        bag, out = record(tmp_path / name, how), tmp_path / f'{name}_labelled'
        options = LabelOptions(copy_inputs=False)
        report = label_bag(bag, out, segmenter, LABEL_SPACES['cityscapes'], options=options)
        assert report.frames == FRAMES
        with BagReader(out) as reader:
            written.append(
                [
                    (m.topic, m.received_ns, m.data)
                    for m in sorted(reader.messages(), key=lambda m: (m.topic, m.received_ns))
                    if m.topic != '/semantic/status'  # tells how long it took
                ]
            )
    assert written[0] == written[1]
