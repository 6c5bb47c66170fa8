"""A recorded drive, read back through the package's own readers of real serialized messages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import packet_from_message
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.messages.from_ros import (
    camera_from_message,
    cloud_from_message,
    image_to_array,
)
from sam_ad_perception.core.messages.transforms import TransformFeed, TransformReport
from sam_ad_perception.core.sensors import Events, Modality, PointCloud
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.drives.recording import TOPICS, record


@pytest.fixture(scope='module')
def recorded_drive() -> Drive:
    return Drive(
        DriveConfig(
            seed=8, duration_s=0.5, size=(100, 160), thermal_size=(64, 80), event_size=(50, 80)
        )
    )


@pytest.fixture(scope='module')
def bag(recorded_drive: Drive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('recording') / 'drive'
    shares: list[float] = []
    with BagWriter(path) as writer:
        counts = record(recorded_drive, writer, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert all(counts.values())
    assert counts['/camera/image_rect'] == counts['/ground_truth/image'] == 5
    assert counts['/events'] == 53
    return path


def messages(bag: Path) -> list[tuple[str, object, int]]:
    with AnyReader([bag], default_typestore=make_typestore()) as reader:
        return [
            (c.topic, reader.deserialize(raw, c.msgtype), t) for c, t, raw in reader.messages()
        ]


def test_bag_holds_all_topics(bag: Path) -> None:
    with AnyReader([bag], default_typestore=make_typestore()) as reader:
        assert {c.topic: c.msgtype for c in reader.connections} == dict(TOPICS)


def test_measurements_survive(bag: Path, recorded_drive: Drive) -> None:
    drive = recorded_drive
    seen: Counter[str] = Counter()
    for topic, message, _ in messages(bag):
        if topic in ('/tf', '/tf_static', '/events', '/ground_truth/status'):
            continue
        header = message.header  # type: ignore[attr-defined]
        stamp = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        seen[topic] += 1
        if topic == '/points':
            cloud, dropped = cloud_from_message(message)
            expected = drive.measure(Modality.LIDAR, stamp).data
            assert isinstance(expected, PointCloud)
            assert dropped == 0
            assert np.array_equal(cloud.points, expected.points)
            assert np.array_equal(cloud.intensity, expected.intensity)
            # Seconds in single precision.
            assert np.allclose(cloud.time_offset_ns, expected.time_offset_ns, atol=10)
        elif topic.endswith('camera_info'):
            modality = Modality.EVENT if 'event' in topic else Modality(topic.split('/')[1])
            camera, expected_camera = (
                camera_from_message(message, rectified=True),
                drive.cameras[modality],
            )
            assert np.array_equal(camera.K, expected_camera.K)
            assert camera.size == expected_camera.size
            assert camera.frame_id == expected_camera.frame_id == header.frame_id
        else:
            array, encoding = image_to_array(message)
            if topic.startswith('/ground_truth'):
                assert encoding == 'mono8'
                assert np.array_equal(array, drive.truth(stamp).labels)
            else:
                modality = Modality(topic.split('/')[1])
                assert encoding == {'camera': 'rgb8', 'thermal': 'mono16'}[modality]
                assert np.array_equal(array, drive.measure(modality, stamp).data)
    assert seen['/points'] == 5
    assert seen['/events/camera_info'] >= 5


def test_ring_is_the_simulated_beam(bag: Path, recorded_drive: Drive) -> None:
    message = next(m for topic, m, _ in messages(bag) if topic == '/points')
    fields = [f.name for f in message.fields]  # type: ignore[attr-defined]
    assert fields == ['x', 'y', 'z', 'intensity', 'ring', 'time']
    raw = message.data.reshape(-1, 22)  # type: ignore[attr-defined]
    rings = np.ascontiguousarray(raw[:, 16:18]).view('<u2')[:, 0]
    sweep = recorded_drive.measure_sweep(recorded_drive.config.start_ns)
    assert np.array_equal(rings, sweep.ring)


def test_events_survive_their_packets(bag: Path, recorded_drive: Drive) -> None:
    decoder = EventDecoder()
    parts = [
        decoder.decode(packet_from_message(m))
        for topic, m, _ in messages(bag)
        if topic == '/events'
    ]
    start = recorded_drive.config.start_ns
    expected = recorded_drive.events_between(start - 30_000_000, start + 500_000_000)

    def rows(parts: list[Events]) -> np.ndarray:
        columns = [
            np.concatenate([getattr(p, name).astype(np.int64) for p in parts])
            for name in ('t_ns', 'y', 'x', 'polarity')
        ]
        return np.array(sorted(zip(*columns, strict=True)))

    assert np.array_equal(rows(parts), rows([expected]))
    assert decoder.counters.get('lost_packets', 0) == 0


def test_transforms_give_the_true_geometry(bag: Path, recorded_drive: Drive) -> None:
    tree, drive = TransformTree(), recorded_drive
    feed = TransformFeed(tree)
    for topic, message, _ in messages(bag):
        if topic in ('/tf', '/tf_static'):
            report = feed.take(message, topic, static=topic == '/tf_static')
            assert report == TransformReport()
    bundle, _ = drive.bundle(drive.config.start_ns)
    for modality, frame in bundle.frames.items():
        if modality is not Modality.CAMERA:
            found = tree.lookup('camera_optical', frame.frame_id)
            assert np.allclose(found, bundle.T_camera[modality], atol=1e-9)
    # Between two odometry messages, and at the beginning of the first sweep.
    for elapsed in (-99_000_000, 123_456_789):
        stamp = drive.config.start_ns + elapsed
        assert np.allclose(tree.lookup('odom', 'base_link', stamp), drive.pose(stamp), atol=1e-4)


def test_arrivals_are_ordered_and_causal(bag: Path) -> None:
    rows = messages(bag)
    times = [t for _, _, t in rows]
    assert times == sorted(times)
    assert rows[0][0] == '/tf_static'
    for topic, message, t in rows[1:]:
        header = (message.transforms[0] if topic == '/tf' else message).header  # type: ignore[attr-defined]
        assert header.stamp.sec * 1_000_000_000 + header.stamp.nanosec < t


def test_unknown_event_encoding_is_refused(recorded_drive: Drive, tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match='evt3 or mono'),
        BagWriter(tmp_path / 'bag') as writer,
    ):
        record(recorded_drive, writer, encoding='evt9')
    assert not (tmp_path / 'bag').exists()
