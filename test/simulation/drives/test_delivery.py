"""Faults on the schedule of a drive, rigs from files, and rendering in several processes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import packet_from_message
from sam_ad_perception.core.messages.from_ros import (
    cloud_from_message,
    image_to_array,
)
from sam_ad_perception.core.sensors import Events, Modality, PointCloud
from sam_ad_perception.core.settings.parameters import ParameterError
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.delivery import deliver, plan_frames
from sam_ad_perception.simulation.drives.drive import Drive
from sam_ad_perception.simulation.drives.recording import list_topics, record
from sam_ad_perception.simulation.faults.effects import KINDS, Fault
from sam_ad_perception.simulation.sensors.rig import RigSensor, load_rig

ROOT = Path(__file__).resolve().parents[3]
SMALL = DriveConfig(
    seed=8, duration_s=0.6, size=(50, 80), thermal_size=(32, 40), event_size=(25, 40)
)
MS = 1_000_000


class Memory:
    """A sink that keeps what it gets, serialized as in a bag."""

    def __init__(self) -> None:
        self.store = make_typestore()
        self.kinds: dict[str, str] = {}
        self.rows: list[tuple[str, bytes, int]] = []

    def types(self, name: str) -> type:
        return self.store.types[name]

    def add_topic(self, name: str, kind: str, *, latched: bool = False) -> None:
        self.kinds[name] = kind

    def write(self, topic: str, message: Any, received_ns: int) -> None:
        raw = bytes(self.store.serialize_cdr(message, self.kinds[topic]))
        self.rows.append((topic, raw, received_ns))

    def messages(self, topic: str) -> list[tuple[Any, int]]:
        kind = self.kinds[topic]
        return [
            (self.store.deserialize_cdr(raw, kind), t)
            for name, raw, t in self.rows
            if name == topic
        ]


def drive_with(*faults: Fault, **changes: Any) -> Drive:
    return Drive(replace(SMALL, faults=faults, **changes))


def arrivals(drive: Drive) -> dict[str, list[tuple[int, int, int]]]:
    """Per sensor: true time, stamp and arrival in milliseconds since the start."""
    start, found = drive.config.start_ns, defaultdict(list)
    for f in deliver(drive, plan_frames(drive)):
        times = f.true_ns, f.frame.stamp_ns, f.arrival_ns
        found[f.sensor].append(tuple((t - start) // MS for t in times))
    return found


def stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec)


def test_transport_faults_change_times_and_numbers_only() -> None:
    clean = arrivals(drive_with())
    found = arrivals(
        drive_with(
            Fault('camera', 'dropout', 0.2, 0.4),
            Fault('thermal', 'late', 0.2, 0.4, 0.15),
            Fault('lidar', 'double_rate', 0.2, 0.4),
            Fault('event', 'clock_jump', 0.2, 0.3, -10.0),
        )
    )
    assert [t for t, _, _ in found['camera']] == [0, 100, 400, 500]
    assert [t for t, _, _ in found['lidar']] == [0, 100, 200, 250, 300, 350, 400, 500]
    late = [(s, a) for _, s, a in found['thermal'] if 200 <= s < 400]
    assert late == [(200, 365), (300, 465)]
    jumped = [(t, s) for t, s, _ in found['event'] if t != s]
    assert jumped == [(t, t - 10_000) for t in range(200, 300, 10)]
    for name, rows in found.items():
        untouched = [row for row in clean[name] if not 200 <= row[0] < 400]
        assert [row for row in rows if not 200 <= row[0] < 400] == untouched


def test_frozen_sensors_repeat_their_last_good_data() -> None:
    names = ('camera', 'thermal', 'lidar', 'event')
    frozen = drive_with(*(Fault(n, 'frozen', 0.25, 0.45) for n in names))
    clean, start = drive_with(), SMALL.start_ns
    for f in deliver(frozen, plan_frames(frozen)):
        assert f.frame.stamp_ns == f.true_ns
        if not 250 * MS <= f.true_ns - start < 450 * MS:
            continue
        data = f.frame.data
        if isinstance(data, Events):
            source = clean.events_between(start + 240 * MS, start + 250 * MS)
            assert np.array_equal(data.t_ns - f.true_ns, source.t_ns - start - 240 * MS)
            assert np.array_equal(data.x, source.x)
            continue
        source_data = clean.measure(f.sensor, start + 200 * MS).data
        if isinstance(data, PointCloud):
            assert np.array_equal(data.points, source_data.points)
        else:
            assert np.array_equal(data, source_data)


def test_bundles_leave_out_what_a_fault_hinders_and_say_which() -> None:
    drive = drive_with(
        Fault('thermal', 'dropout', 0.0, 1.0),
        Fault('event', 'late', 0.0, 1.0),
        Fault('lidar', 'nan_cloud', 0.0, 1.0, 0.5),
        Fault('camera', 'black', 0.3, 1.0),
    )
    bundle, truth = drive.bundle(SMALL.start_ns + 300 * MS)
    assert bundle.missing == {
        Modality.THERMAL: 'simulated fault: dropout', Modality.EVENT: 'simulated fault: late',
    }  # fmt: skip
    assert set(bundle.T_camera) == {Modality.LIDAR}
    assert np.all(bundle.frames[Modality.CAMERA].data == 0)
    points = bundle.frames[Modality.LIDAR].data.points
    whole = drive_with().measure('lidar', SMALL.start_ns + 300 * MS).data.points
    assert np.isfinite(points).all()
    assert 0.4 < len(points) / len(whole) < 0.6
    assert truth.faults == {
        'camera': ('black',), 'thermal': ('dropout',), 'event': ('late',), 'lidar': ('nan_cloud',),
    }  # fmt: skip
    before, early = drive.bundle(SMALL.start_ns + 200 * MS)
    assert np.array_equal(
        before.frames[Modality.CAMERA].data,
        drive_with().measure('camera', SMALL.start_ns + 200 * MS).data,
    )
    assert 'camera' not in early.faults


def test_bundle_without_camera_frame_is_led_by_the_next_sensor() -> None:
    bundle, truth = drive_with(Fault('camera', 'dropout', 0.0, 1.0)).bundle(SMALL.start_ns)
    assert bundle.reference is Modality.THERMAL
    assert bundle.camera.size == SMALL.size
    assert truth.labels.shape == SMALL.size


def test_every_fault_of_every_sensor_can_be_driven() -> None:
    faults = [Fault(m, kind, 0.2, 0.25) for kind, facts in KINDS.items() for m in facts.modalities]
    for fault in faults:
        drive = drive_with(fault, duration_s=0.25)
        bundle, truth = drive.bundle(SMALL.start_ns + 200 * MS)
        assert truth.faults == {fault.sensor: (fault.kind,)}
        assert set(bundle.frames) | set(bundle.missing) == set(drive.sensors)


def test_messages_on_the_wire_are_refused_by_the_readers() -> None:
    names = ('camera', 'thermal', 'event', 'lidar')
    sink = Memory()
    record(
        drive_with(
            *(Fault(n, 'wrong_encoding', 0.2, 0.3) for n in names),
            *(Fault(n, 'truncated', 0.4, 0.5) for n in names),
        ),
        sink,
    )

    def read(topic: str, message: Any) -> None:
        if topic == '/points':
            cloud_from_message(message)
        elif topic == '/events':
            EventDecoder().decode(packet_from_message(message))
        else:
            image_to_array(message)

    for topic in ('/camera/image_rect', '/thermal/image_rect', '/points', '/events'):
        refused = set()
        for message, _ in sink.messages(topic):
            try:
                read(topic, message)
            except ValueError:
                refused.add(
                    (stamp_ns(message) - SMALL.start_ns - (topic == '/events')) // (100 * MS)
                )
        # An event packet bears the stamp of its end. Half of one is refused only if it is odd.
        assert refused == {2, 4}, topic


def test_nan_clouds_travel_and_are_counted() -> None:
    sink = Memory()
    record(drive_with(Fault('lidar', 'nan_cloud', 0.2, 0.3)), sink)
    clouds = [(cloud_from_message(m), m) for m, _ in sink.messages('/points')]
    dropped = [lost for (_, lost), _ in clouds]
    assert dropped[2] > 10_000
    assert sum(dropped) == dropped[2]
    assert [m.is_dense for _, m in clouds] == [True, True, False, True, True, True]


def test_truth_is_recorded_where_the_camera_drops_out() -> None:
    sink = Memory()
    drive = drive_with(Fault('camera', 'dropout', 0.2, 0.4), condition='night')
    record(drive, sink, extra=('depth', 'flow', 'points'))
    stamps = [stamp_ns(m) for m, _ in sink.messages('/ground_truth/image')]
    assert stamps == drive.frame_stamps('camera')
    assert len(sink.messages('/camera/image_rect')) == 4
    said = [
        {s.name: s.message for s in m.status} for m, _ in sink.messages('/ground_truth/status')
    ]
    assert said[1] == {'condition': 'night'}
    assert said[2] == {'condition': 'night', 'camera': 'dropout'}
    stamp = stamps[3]
    depth, encoding = image_to_array(sink.messages('/ground_truth/depth')[3][0])
    assert encoding == '32FC1'
    assert np.array_equal(depth, drive.truth(stamp).depth, equal_nan=True)
    flow = sink.messages('/ground_truth/flow')[3][0]
    pixels = flow.data.view('<f4').reshape(flow.height, flow.width, 2)
    assert np.array_equal(pixels, drive.flow(stamp, stamp + 100 * MS), equal_nan=True)
    cloud = sink.messages('/ground_truth/points')[3][0]
    labels = cloud.data.reshape(cloud.width, cloud.point_step)[:, 12]
    assert np.array_equal(labels, drive.measure_sweep(stamp).label)


def test_processes_render_the_same_bytes() -> None:
    drive = drive_with(
        Fault('camera', 'noise', 0.1, 0.5), Fault('event', 'late', 0.2, 0.4, 0.1),
        condition='rain',
    )  # fmt: skip
    alone, together = Memory(), Memory()
    assert record(drive, alone) == record(drive, together, workers=2)
    assert alone.rows == together.rows


def test_example_rig_gives_its_sensors_topics_and_clocks() -> None:
    rig = load_rig(ROOT / 'config' / 'rig.example.yaml')
    assert [s.name for s in rig] == ['camera', 'camera_left', 'thermal', 'event', 'lidar']
    small = tuple(replace(s, size=(24, 32)) for s in rig)
    drive = drive_with(rig=small, duration_s=0.2)
    sink = Memory()
    counts = record(drive, sink)
    assert set(counts) == set(list_topics(drive)) == set(sink.kinds)
    assert {'/camera_left/image_rect', '/ground_truth/camera_left/image', '/points'} <= set(counts)
    assert counts['/camera_left/image_rect'] == counts['/camera/image_rect'] == 2
    start = drive.config.start_ns
    offsets = {t: stamp_ns(sink.messages(t)[0][0]) - start for t in sink.kinds if 'image' in t}
    assert offsets['/camera_left/image_rect'] == 15 * MS
    assert offsets['/ground_truth/camera_left/image'] == 15 * MS
    assert offsets['/thermal/image_rect'] == -20 * MS
    assert offsets['/camera/image_rect'] == 0
    assert drive.measure('thermal', start).stamp_ns == start
    # The left camera looks 60 degrees to the left.
    T = drive.T_base['camera_left']
    ahead = T[:3, :3] @ (0, 0, 1)
    assert np.allclose(ahead, [np.cos(np.pi / 3), np.sin(np.pi / 3), 0])


def test_example_rig_names_every_parameter() -> None:
    text = (ROOT / 'config' / 'rig.example.yaml').read_text()
    for field in RigSensor.__dataclass_fields__:
        assert field == 'name' or f'    {field}:' in text


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('camera: {ros__parameters: {kind: radar}}', 'kind'),
        ('camera: {ros__parameters: {size: [8, 8]}}', 'size'),
        ('camera: {ros__parameters: {colour: red}}', 'colour'),
        ('camera: {ros__parameters: {latency_s: 1}}', 'latency_s'),
        ('"front camera": {ros__parameters: {kind: camera}}', 'front camera'),
        ('/**: {ros__parameters: {kind: camera}}', 'ros__parameters'),
        ('[1, 2', 'YAML'),
        ('', 'ros__parameters'),
    ],
)
def test_malformed_rigs_are_refused_in_words(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / 'rig.yaml'
    path.write_text(text)
    with pytest.raises(ParameterError, match=said):
        load_rig(path)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'rig': (RigSensor('a'), RigSensor('a'))}, 'once'),
        ({'rig': (RigSensor('a'),), 'faults': (Fault('b', 'black', 0, 1),)}, "'b'"),
        ({'faults': (Fault('lidar', 'black', 0, 1),)}, 'befalls'),
    ],
)
def test_impossible_drives_are_refused_in_words(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **changes)


def test_rig_without_camera_has_no_bundle() -> None:
    drive = drive_with(rig=(RigSensor('lidar', 'lidar'),))
    with pytest.raises(ValueError, match='camera'):
        drive.bundle(SMALL.start_ns)
