"""Sensor data to bundles, with literal data and a real tree of transforms."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sam_ad_perception.core.events.decoding import empty_events
from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.events.packets import EventDecodeError, EventPacket
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import make_transform
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.core.settings.parameters import build, leaves
from sam_ad_perception.core.synchronization.bundler import (
    Bundler,
    BundlerConfig,
    BundleResult,
    DroppedFrame,
)
from sam_ad_perception.core.synchronization.config import SensorConfig, SynchronizerConfig

MS, S = 1_000_000, 1_000_000_000
CAMERA, THERMAL, EVENT, LIDAR = Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR
K = np.array([[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]])
VIEW = CameraModel(64, 48, K, frame_id='camera_optical')
THERMAL_MODEL = CameraModel(32, 24, K, frame_id='thermal_optical')
EVENT_MODEL = CameraModel(40, 30, K, frame_id='event_optical')
OFFSETS = {'camera_optical': 0.1, 'thermal_optical': 0.2, 'event_optical': 0.3, 'lidar': 1.0}


def make_tree(without: str = '') -> TransformTree:
    """Every sensor stands on `base_link`, moved sideways by a distance of its own."""
    tree = TransformTree()
    for frame, y in OFFSETS.items():
        if frame != without:
            tree.set_static('base_link', frame, make_transform(np.eye(3), (0.0, y, 0.0)))
    return tree


def make_bundler(
    sync: SynchronizerConfig | None = None,
    tree: TransformTree | None = None,
    without: tuple[Modality, ...] = (),
) -> Bundler:
    config = BundlerConfig(sync=sync or SynchronizerConfig())
    bundler = Bundler(config, make_tree() if tree is None else tree)
    for modality, model in ((CAMERA, VIEW), (THERMAL, THERMAL_MODEL), (EVENT, EVENT_MODEL)):
        if modality not in without:
            bundler.set_camera(modality, model)
    return bundler


def camera_frame(stamp_ns: int, value: int = 0) -> SensorFrame:
    return SensorFrame(CAMERA, stamp_ns, 'camera_optical', np.full((48, 64, 3), value, np.uint8))


def thermal_frame(stamp_ns: int) -> SensorFrame:
    return SensorFrame(THERMAL, stamp_ns, 'thermal_optical', np.zeros((24, 32), np.uint16))


def lidar_frame(stamp_ns: int) -> SensorFrame:
    return SensorFrame(LIDAR, stamp_ns, 'lidar', PointCloud(np.ones((3, 3), np.float32)))


def event_packet(seq: int, start_ns: int, end_ns: int) -> EventPacket:
    """One event per millisecond of `(start, end]`; its column tells which millisecond."""
    t_ns = np.arange(start_ns + MS, end_ns + 1, MS, dtype=np.int64)
    zeros = np.zeros(t_ns.size, np.uint16)
    columns = (t_ns // MS % 40).astype(np.uint16)
    events = Events(columns, zeros, np.ones(t_ns.size, np.bool_), t_ns, (30, 40))
    return encode_packet(events, 'evt3', seq=seq, end_ns=end_ns, frame_id='event_optical')


def drive(
    bundler: Bundler, count: int = 5, skip: tuple[Modality, ...] = (), start_ns: int = 100 * S
) -> list[BundleResult]:
    """All sensors at 10 Hz, equal stamps, events in packets of 10 ms; arrivals 2 ms later."""
    results: list[BundleResult] = []
    for i in range(count):
        stamp = start_ns + i * 100 * MS
        if EVENT not in skip:
            for j in range(10):
                start = stamp - (10 - j) * 10 * MS
                packet = event_packet(10 * i + j, start, start + 10 * MS)
                results += bundler.add_event_packet(packet, start + 11 * MS)
        for make in (lidar_frame, thermal_frame, camera_frame):
            frame = make(stamp)
            if frame.modality not in skip:
                results += bundler.add_frame(frame, stamp + 2 * MS)
    return results + bundler.flush()


def bundles_of(results: list[BundleResult]) -> list[SensorBundle]:
    return [result for result in results if isinstance(result, SensorBundle)]


def test_complete_bundle() -> None:
    bundles = bundles_of(drive(make_bundler()))
    assert [b.stamp_ns for b in bundles] == [100 * S + i * 100 * MS for i in range(5)]
    for bundle in bundles:
        assert bundle.camera is VIEW
        assert set(bundle.frames) == {CAMERA, THERMAL, EVENT, LIDAR}
        assert bundle.missing == {}  # depth is switched off by default, which is no fault
        assert set(bundle.T_camera) == {THERMAL, EVENT, LIDAR}
        for modality, shift in ((THERMAL, 0.1), (EVENT, 0.2), (LIDAR, 0.9)):
            wanted = make_transform(np.eye(3), (0.0, shift, 0.0))
            np.testing.assert_allclose(bundle.T_camera[modality], wanted, atol=1e-12)
        assert set(bundle.time_error_ns.values()) == {0}
        assert bundle.frames[THERMAL].camera is THERMAL_MODEL
        assert bundle.frames[LIDAR].camera is None


def test_events_are_the_window_that_ends_at_the_reference() -> None:
    for bundle in bundles_of(drive(make_bundler())):
        events = bundle.frames[EVENT].data
        assert isinstance(events, Events)
        wanted = bundle.stamp_ns + np.arange(-30, 0) * MS
        np.testing.assert_array_equal(events.t_ns, wanted)
        np.testing.assert_array_equal(events.x, wanted // MS % 40)


def test_event_clock_offset_moves_stamps_and_events() -> None:
    """An event camera whose stamps run 7 ms ahead."""
    sync = SynchronizerConfig(sensors={'event': SensorConfig(offset_s=0.007, queue_size=2000)})
    bundler = make_bundler(sync)
    results: list[BundleResult] = []
    for i in range(20):
        start = 100 * S + (i - 10) * 10 * MS
        results += bundler.add_event_packet(
            event_packet(i, start + 7 * MS, start + 17 * MS), start + 11 * MS
        )
        if i == 10:
            results += bundler.add_frame(camera_frame(100 * S), 100 * S + 12 * MS)
    (bundle,) = bundles_of(results + bundler.flush())[:1]
    events = bundle.frames[EVENT].data
    assert isinstance(events, Events)
    np.testing.assert_array_equal(events.t_ns, 100 * S + np.arange(-30, 0) * MS)
    np.testing.assert_array_equal(events.x, (events.t_ns // MS + 7) % 40)
    assert bundle.time_error_ns[EVENT] == 0


def test_events_that_end_early_say_so_and_are_as_many_as_ever() -> None:
    """The network was trained on so much time, which now ends at the stamp of the events."""
    bundler = make_bundler()
    bundler.add_event_packet(event_packet(0, 100 * S - 80 * MS, 100 * S - 20 * MS), 100 * S)
    bundler.add_frame(camera_frame(100 * S), 100 * S)
    (bundle,) = bundles_of(bundler.poll(101 * S))
    assert bundle.time_error_ns[EVENT] == -20 * MS
    events = bundle.frames[EVENT].data
    assert isinstance(events, Events)
    np.testing.assert_array_equal(events.t_ns, 100 * S + np.arange(-50, -19) * MS)
    assert events.start_ns == 100 * S - 50 * MS


def test_static_scene_is_an_event_frame_without_events() -> None:
    bundler = make_bundler()
    quiet = replace(event_packet(0, 0, 0), data=np.zeros(0, np.uint8), stamp_ns=100 * S)
    bundler.add_event_packet(quiet, 100 * S)
    bundler.add_frame(camera_frame(100 * S), 100 * S)
    (bundle,) = bundles_of(bundler.poll(101 * S))
    events = bundle.frames[EVENT].data
    assert isinstance(events, Events)
    assert (events.t_ns.size, events.size) == (0, (30, 40))


def test_a_camera_described_in_the_frame_of_another_is_moved_to_its_own_centre() -> None:
    """P of a stereo pair's second camera, and of every KITTI recording, has an offset."""
    bundler = make_bundler()
    bundler.set_camera(CAMERA, replace(VIEW, offset=(-0.54, 0.0, 0.01)))
    bundler.set_camera(THERMAL, replace(THERMAL_MODEL, offset=(0.2, 0.0, 0.0)))
    for bundle in bundles_of(drive(bundler)):
        wanted = make_transform(np.eye(3), (-0.54, 0.9, 0.01))
        np.testing.assert_allclose(bundle.T_camera[LIDAR], wanted, atol=1e-12)
        wanted = make_transform(np.eye(3), (-0.74, 0.1, 0.01))
        np.testing.assert_allclose(bundle.T_camera[THERMAL], wanted, atol=1e-12)


def test_missing_extrinsic_is_missing_and_never_identity() -> None:
    for bundle in bundles_of(drive(make_bundler(tree=make_tree(without='lidar')))):
        assert LIDAR not in bundle.frames
        assert LIDAR not in bundle.T_camera
        assert 'lidar' in bundle.missing[LIDAR]
        assert 'camera_optical' in bundle.missing[LIDAR]


def test_nameless_frame_cannot_be_placed() -> None:
    bundler = make_bundler()
    bundler.add_frame(replace(lidar_frame(0), frame_id=''), 0)
    bundler.add_frame(camera_frame(0), 0)
    (bundle,) = bundles_of(bundler.poll(S))
    assert bundle.missing[LIDAR] == 'the lidar has no frame_id, so it cannot be placed'


@pytest.mark.parametrize('gone', [CAMERA, THERMAL, EVENT, LIDAR])
def test_any_sensor_may_be_gone(gone: Modality) -> None:
    bundles = bundles_of(drive(make_bundler(), 10, skip=(gone,)))
    assert len(bundles) == 10
    for bundle in bundles:
        assert bundle.camera is VIEW, 'the view stays the camera, also without the camera'
        assert set(bundle.frames) == {CAMERA, THERMAL, EVENT, LIDAR} - {gone}
        assert bundle.missing[gone] == 'never seen'
        assert bundle.reference is (THERMAL if gone is CAMERA else CAMERA)


@pytest.mark.parametrize('modality', [THERMAL, EVENT])
def test_missing_camera_info_of_another_sensor(modality: Modality) -> None:
    for bundle in bundles_of(drive(make_bundler(without=(modality,)))):
        assert bundle.missing[modality] == f'no camera_info of the {modality} sensor came'


def test_image_and_camera_info_of_different_size() -> None:
    bundler = make_bundler()
    bundler.set_camera(THERMAL, replace(EVENT_MODEL, height=24))
    bundler.set_camera(CAMERA, replace(VIEW, width=65))
    bundle = bundles_of(drive(bundler))[0]
    assert set(bundle.frames) == {EVENT, LIDAR}
    assert bundle.missing[THERMAL] == (
        'the thermal image is 32x24 pixels, its camera_info says 40x24'
    )
    assert bundle.missing[CAMERA] == 'the camera image is 64x48 pixels, its camera_info says 65x48'
    assert bundler.counters['thermal.misplaced'] == 5


def test_image_before_its_camera_info_waits_for_it() -> None:
    bundler = make_bundler(without=(CAMERA,))
    assert drive_one(bundler, 0) == []
    assert bundler.next_deadline_ns is not None
    (bundle,) = bundler.set_camera(CAMERA, VIEW)
    assert isinstance(bundle, SensorBundle)
    assert bundle.camera is VIEW


def drive_one(bundler: Bundler, stamp_ns: int) -> list[BundleResult]:
    """One complete moment: every sensor that is waited for has reported."""
    results = bundler.add_event_packet(event_packet(0, stamp_ns - 10 * MS, stamp_ns), stamp_ns)
    for frame in (lidar_frame(stamp_ns), thermal_frame(stamp_ns), camera_frame(stamp_ns)):
        results += bundler.add_frame(frame, stamp_ns)
    return results


def test_without_any_camera_geometry_the_camera_is_used_alone() -> None:
    bundler = make_bundler(without=(CAMERA,))
    assert drive_one(bundler, 0) == []
    due = bundler.next_deadline_ns
    assert due == 50 * MS
    (bundle,) = bundler.poll(due)
    assert isinstance(bundle, SensorBundle)
    assert set(bundle.frames) == {CAMERA}
    assert (bundle.camera.size, bundle.camera.frame_id) == (VIEW.size, VIEW.frame_id)
    why = 'the lens of the camera is unknown: no camera_info of the camera came'
    assert (bundle.camera.unknown_lens, bundle.missing[LIDAR]) == (why.partition(': ')[2], why)
    drive_one(bundler, 100 * MS)
    (bundle,) = bundler.flush()
    assert isinstance(bundle, SensorBundle)


def test_without_geometry_and_image_of_the_camera_the_frame_is_dropped_with_the_reason() -> None:
    bundler = make_bundler(without=(CAMERA,))
    drop = drive(bundler, 10, skip=(CAMERA, EVENT, LIDAR))[-1]
    assert isinstance(drop, DroppedFrame)
    assert drop.reference == THERMAL
    assert drop.reason.startswith('no camera geometry')
    assert bundler.counters['thermal.no_view'] >= 1


def test_frame_may_bring_its_own_geometry() -> None:
    bundler = make_bundler(without=(CAMERA,))
    bundler.add_frame(replace(camera_frame(0), camera=VIEW), 0)
    (bundle,) = bundler.flush()
    assert isinstance(bundle, SensorBundle)
    assert bundle.frames[CAMERA].camera is VIEW


def test_a_bundle_tells_which_sensors_are_required() -> None:
    sync = SynchronizerConfig(sensors={'lidar': SensorConfig(required=True)})
    bundles = [b for b in drive(make_bundler(sync, make_tree())) if isinstance(b, SensorBundle)]
    assert bundles
    assert all(bundle.required == (LIDAR,) for bundle in bundles)


def test_required_sensor_that_cannot_be_placed() -> None:
    sync = SynchronizerConfig(sensors={'lidar': SensorConfig(required=True)})
    bundler = make_bundler(sync, make_tree(without='lidar'))
    results = drive(bundler)
    assert len(results) == 5
    for result in results:
        assert isinstance(result, DroppedFrame)
        assert result.reason.startswith('a required sensor is missing: lidar: ')
    assert bundler.counters['camera.no_data'] == 5


def test_nothing_usable() -> None:
    bundler = make_bundler(tree=TransformTree(), without=(THERMAL, EVENT))
    (drop, *_) = drive(bundler, 8, skip=(CAMERA,))
    assert isinstance(drop, DroppedFrame)
    assert drop.reason.startswith('no sensor can be used: ')


def test_stamps_lose_their_clock_offset() -> None:
    sync = SynchronizerConfig(sensors={'thermal': SensorConfig(offset_s=0.02)})
    bundler = make_bundler(sync)
    bundler.add_frame(thermal_frame(120 * MS), 101 * MS)
    bundler.add_frame(camera_frame(100 * MS), 102 * MS)
    (bundle,) = bundles_of(bundler.flush())
    assert bundle.frames[THERMAL].stamp_ns == 100 * MS


def test_undecodable_packet_is_counted_and_survived() -> None:
    bundler = make_bundler()
    bad = EventPacket(100 * S, (30, 40), 'evt9', np.zeros(4, np.uint8))
    for _ in range(3):
        with pytest.raises(EventDecodeError, match='evt9'):
            bundler.add_event_packet(bad, 100 * S)
    assert bundler.counters['event.undecodable'] == 3
    assert len(bundles_of(drive(bundler))) == 5


def test_event_data_must_not_come_as_a_frame() -> None:
    with pytest.raises(ValueError, match='add_event_packet'):
        make_bundler().add_frame(replace(camera_frame(0), data=empty_events((30, 40))), 0)


def test_a_rendered_picture_of_events_is_a_frame_like_any_image() -> None:
    """It has a stamp of its own, and there is no window to cut."""
    bundler = make_bundler()
    results: list[BundleResult] = []
    for k in range(3):
        stamp = 100 * S + k * 100 * MS
        picture = np.full((30, 40, 3), k, np.uint8)
        frame = SensorFrame(EVENT, stamp - MS, 'event_optical', picture)
        results += bundler.add_frame(frame, stamp)
        results += bundler.add_frame(camera_frame(stamp), stamp)
    bundles = bundles_of(results + bundler.flush())
    assert [b.frames[EVENT].data.flat[0] for b in bundles] == [0, 1, 2]
    assert {b.time_error_ns[EVENT] for b in bundles} == {-MS}


def test_losses_of_the_event_stream_are_counted_by_name() -> None:
    """What /diagnostics and the report of a recording show of the event camera."""
    bundler = make_bundler()
    wrap_ns = (1 << 24) * 1000
    for seq, start in ((0, 0), (1, 10 * MS), (5, wrap_ns), (4, wrap_ns - 10 * MS)):
        end = 100 * S + start + 10 * MS
        bundler.add_event_packet(event_packet(seq, end - 10 * MS, end), end)
    counts = bundler.counters
    assert counts['event.packets'] == 3
    assert counts['event.lost_packets'] == 3
    assert counts['event.late_packets'] == 1
    assert counts['event.rollovers'] == 1


def test_bag_loop_keeps_each_window_in_its_loop() -> None:
    bundler = make_bundler()
    results = [*drive(bundler, 10), *drive(bundler, 10)]
    bundles = bundles_of(results)
    assert len(bundles) == 20
    assert bundler.counters['time_jumps'] >= 1
    for bundle in bundles:
        events = bundle.frames[EVENT].data
        assert isinstance(events, Events)
        np.testing.assert_array_equal(events.t_ns, bundle.stamp_ns + np.arange(-30, 0) * MS)


def test_sets_that_wait_at_a_loop_still_get_their_events() -> None:
    """The first thing of the next loop is an event packet; a camera frame still waits."""
    bundler = make_bundler()
    drive(bundler, 10)
    stamp = 101 * S
    bundler.add_event_packet(event_packet(100, stamp - 100 * MS, stamp), stamp)
    assert bundler.add_frame(camera_frame(stamp), stamp + MS) == []  # waits for thermal
    (bundle,) = bundles_of(
        bundler.add_event_packet(event_packet(0, 99 * S, 99 * S), stamp + 2 * MS)
    )
    events = bundle.frames[EVENT].data
    assert isinstance(events, Events)
    assert events.t_ns.size == 30


def test_every_reference_is_accounted_for() -> None:
    bundler = make_bundler(without=(CAMERA,))
    results = drive(bundler, 3)
    bundler.set_camera(CAMERA, VIEW)
    results += drive(bundler, 7, start_ns=100 * S + 300 * MS)
    counts = bundler.counters
    assert [r.stamp_ns // MS for r in results] == list(range(100_000, 101_000, 100))
    assert counts['camera.reference'] == 10
    assert counts['camera.bundle'] == len(bundles_of(results)) == 10
    assert ['lidar' in each.frames for each in bundles_of(results)] == 3 * [False] + 7 * [True]


def test_event_camera_alone_leads_at_its_own_pace() -> None:
    results = drive(make_bundler(), 10, skip=(CAMERA, THERMAL, LIDAR))
    stamps = [result.stamp_ns for result in results]
    assert len(bundles_of(results)) == len(results) >= 18
    assert all(b - a == 50 * MS for a, b in pairwise(stamps))


def test_configuration() -> None:
    assert BundlerConfig() == build(BundlerConfig, {})
    names = leaves(BundlerConfig)
    expected = {'event_window_s', 'max_events', 'sync.deadline_s', 'sync.lidar.sweep_stamp'}
    assert expected <= set(names)
