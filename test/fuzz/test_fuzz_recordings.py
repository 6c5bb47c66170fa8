"""Recordings of mutated messages: read to the end, each reference frame has one outcome.

A message that cannot be used is refused by name; nothing crashes, hangs, or comes out in a shape
that does not belong to its sensor.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from rosbags.serde import SerdeError

from sam_ad_perception.bags.bundles import read_bundles
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.lidar.depth_image import DepthConfig, render_depth
from sam_ad_perception.core.messages import from_ros, to_ros
from sam_ad_perception.core.sensors import CameraModel, Events, Modality, PointCloud

START, PERIOD = 1_700_000_000_000_000_000, 100_000_000
SIZE = (48, 64)
FRAMES = 4
SECONDS = 20.0
"""No drive of four frames may take longer."""


def drive(types, rng):
    """Topic, message and time of a short drive with every sensor."""
    height, width = SIZE
    K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
    T = np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.2], [1, 0, 0, 0], [0, 0, 0, 1]])
    links = [('camera_optical', 'lidar', START, T)]
    links += [('camera_optical', f'{n}_optical', START, np.eye(4)) for n in ('thermal', 'event')]
    yield '/tf_static', to_ros.transforms_to_message(types, links), START
    for k in range(FRAMES):
        stamp = START + k * PERIOD
        for name, topic in (('camera', 'camera'), ('thermal', 'thermal'), ('event', 'events')):
            camera = CameraModel(width, height, K, frame_id=f'{name}_optical')
            yield f'/{topic}/camera_info', to_ros.camera_to_message(types, camera, stamp), stamp
        rgb = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        image = to_ros.array_to_image(types, rgb, 'rgb8', stamp, 'camera_optical')
        yield '/camera/image_rect', image, stamp
        heat = rng.integers(28000, 31000, SIZE).astype(np.uint16)
        image = to_ros.array_to_image(types, heat, 'mono16', stamp, 'thermal_optical')
        yield '/thermal/image_rect', image, stamp
        points = np.zeros(200, np.dtype([(n, '<f4') for n in ('x', 'y', 'z', 'intensity')]))
        for axis, (low, high) in zip('xyz', ((4, 30), (-8, 8), (-2, 2)), strict=True):
            points[axis] = rng.uniform(low, high, 200)
        yield '/points', to_ros.cloud_to_message(types, points, stamp, 'lidar'), stamp
        t = np.sort(rng.integers(stamp - 30_000_000, stamp, 100)) // 1000 * 1000
        x, y = (rng.integers(0, n, 100).astype(np.uint16) for n in SIZE[::-1])
        events = Events(x, y, rng.random(100) < 0.5, t, SIZE)
        packet = encode_packet(events, 'evt3', seq=k, end_ns=stamp, frame_id='event_optical')
        yield '/events', to_ros.packet_to_message(types, packet), stamp


def write(path, rng, mutations, share):
    """Write a drive with a share of its messages mutated; return how many were."""
    count = 0
    with BagWriter(path) as writer:
        for topic, message, received_ns in drive(writer.types, rng):
            writer.add_topic(topic, message.__msgtype__, latched=topic == '/tf_static')
            if rng.random() < share:
                message, count = mutations.mutate(message, rng, int(rng.integers(1, 4))), count + 1
            try:
                writer.write(topic, message, received_ns)
            except (SerdeError, ValueError, OverflowError, UnicodeError, AssertionError):
                count -= 1  # no publisher can send this either
    return count


def check(bundle):
    """What a bundle holds belongs together, whatever was in the messages."""
    assert bundle.camera.width > 0
    assert np.isfinite(bundle.camera.K).all()
    for modality, frame in bundle.frames.items():
        data = frame.data
        if isinstance(data, PointCloud):
            assert data.points.shape[1] == 3
            depth = render_depth(frame, np.eye(4), bundle.camera, DepthConfig()).depth
            assert depth.shape == bundle.camera.size
            assert not (depth <= 0).any()
        elif not isinstance(data, Events):
            try:
                pixels = np.asarray(data)
            except ValueError:
                continue  # decoded where it is first used, and refused there
            if modality is Modality.CAMERA:
                assert pixels.dtype == np.uint8
                assert pixels.ndim == 3


@pytest.mark.parametrize('part', range(4))
def test_mutated_recordings_are_read_to_the_end(tmp_path, mutations, fuzz_inputs, part):
    rng = np.random.default_rng(part)
    mutated = drives = outcomes = 0
    while mutated < fuzz_inputs / 4:
        path = tmp_path / str(drives)
        seed = int(rng.integers(2**32))
        mutated += write(path, np.random.default_rng(seed), mutations, 0.7)
        drives += 1
        begin = time.process_time()
        with BagReader(path) as reader:
            mapping = guess_topics(reader.topics)
            for result in read_bundles(reader, mapping):
                outcomes += 1
                if hasattr(result, 'frames'):
                    check(result)
                else:
                    assert result.reason, seed
        assert time.process_time() - begin < SECONDS, f'seed {seed} takes too long'
    assert drives > 5
    assert outcomes > drives / 2


def test_healthy_recordings_of_the_same_kind_give_every_bundle(tmp_path, mutations):
    """The test above would pass if nothing were ever read."""
    write(tmp_path / 'bag', np.random.default_rng(0), mutations, 0.0)
    with BagReader(tmp_path / 'bag') as reader:
        results = list(read_bundles(reader, guess_topics(reader.topics)))
    assert [len(result.frames) for result in results] == [4] * FRAMES


def test_every_kind_of_field_is_mutated(mutations):
    from sam_ad_perception.bags.formats.type_store import make_typestore

    store = make_typestore()
    rng = np.random.default_rng(0)
    for topic, message, _ in drive(lambda name: store.types[name], rng):
        paths = {path for path, _ in mutations.leaves(message)}
        assert len(paths) > 5, topic
        changed = [mutations.mutate(message, rng) for _ in range(20)]
        assert any(repr(each) != repr(message) for each in changed), topic
    assert from_ros.stamp_of(message) == START + (FRAMES - 1) * PERIOD
