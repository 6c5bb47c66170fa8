"""The sensors of a drive against each other, against OpenCV, and against brute force."""

from __future__ import annotations

import time
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Events, Modality, PointCloud, SensorBundle
from sam_ad_perception.simulation.drives.delivery import deliver, plan_frames
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig, GroundTruth
from sam_ad_perception.simulation.raycasting.rays import intersect
from sam_ad_perception.simulation.raycasting.solids import COS, CX, CZ, ELLIPSOID, HX, HZ, SIN
from sam_ad_perception.simulation.sensors.events import CONTRAST, detect_events
from sam_ad_perception.simulation.sensors.lidar import ELEVATION

STILL = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
SMALL = DriveConfig(
    seed=8, duration_s=1.0, size=(100, 160), thermal_size=(64, 80), event_size=(50, 80)
)


def as_bytes(bundle: SensorBundle, truth: GroundTruth) -> bytes:
    parts = [truth.labels, truth.depth]
    for frame in bundle.frames.values():
        data = frame.data
        if isinstance(data, Events):
            parts += [data.x, data.y, data.polarity, data.t_ns]
        elif isinstance(data, PointCloud):
            assert data.intensity is not None
            assert data.time_offset_ns is not None
            parts += [data.points, data.intensity, data.time_offset_ns]
        else:
            parts.append(data)
    return b''.join(np.ascontiguousarray(p).tobytes() for p in parts)


def test_same_seed_same_bytes_in_any_order() -> None:
    first, second = Drive(SMALL), Drive(SMALL)
    stamps = first.frame_stamps(Modality.CAMERA)
    forward = [as_bytes(*first.bundle(s)) for s in stamps[2:8]]
    backward = [as_bytes(*second.bundle(s)) for s in stamps[2:8][::-1]][::-1]
    assert forward == backward
    assert len(set(forward)) == len(forward)


def test_other_seed_other_street() -> None:
    a = Drive(SMALL)
    b = Drive(DriveConfig(**{**vars(SMALL), 'seed': 9}))
    stamp = a.frame_stamps(Modality.CAMERA)[0]
    assert not np.array_equal(a.truth(stamp).labels, b.truth(stamp).labels)


def test_bundle_is_complete_and_agrees_with_single_measurements(drive: Drive, stamp: int) -> None:
    bundle, truth = drive.bundle(stamp)
    assert set(bundle.frames) == set(drive.T_base)
    assert set(bundle.T_camera) == set(drive.T_base) - {Modality.CAMERA}
    assert not bundle.missing
    camera = bundle.frames[Modality.CAMERA]
    assert np.array_equal(camera.data, drive.measure(Modality.CAMERA, stamp).data)
    assert camera.data.shape == (200, 320, 3)
    assert camera.data.dtype == np.uint8
    assert bundle.frames[Modality.THERMAL].data.dtype == np.uint16
    again = drive.truth(stamp)
    assert np.array_equal(truth.labels, again.labels)
    assert np.array_equal(truth.depth, again.depth, equal_nan=True)
    # Sky is what has no depth, apart from the trees on the horizon.
    assert set(np.unique(truth.labels[np.isnan(truth.depth)])) <= {8, 10}
    assert np.isnan(truth.depth[truth.labels == 10]).all()


@pytest.mark.parametrize('modality', [Modality.CAMERA, Modality.THERMAL, Modality.EVENT])
def test_solids_appear_where_opencv_projects_them(drive: Drive, modality: Modality) -> None:
    """The centre of an ellipsoid projects into pixels that hit it or something nearer."""
    seen = 0
    for stamp in drive.frame_stamps(Modality.CAMERA)[::9]:
        primitives = drive._renderer.primitives(stamp)
        camera = drive.cameras[modality]
        T = np.linalg.inv(drive.pose(stamp) @ drive.T_base[modality])
        centres = np.ascontiguousarray(primitives.geometry[:, CX : CZ + 1])
        rotation, translation = cv2.Rodrigues(T[:3, :3])[0], T[:3, 3]
        uv = cv2.projectPoints(centres, rotation, translation, camera.K, None)[0][:, 0]
        z = (centres @ T[:3, :3].T + translation)[:, 2]
        truth = drive.truth(stamp, modality)
        u, v = np.rint(uv).astype(int).T
        # Large enough in the image that its centre's pixel cannot miss it.
        large = primitives.geometry[:, HX : HZ + 1].min(axis=1) * camera.K[0, 0] > 1.5 * z
        inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height) & (z > 1)
        for i in np.flatnonzero((primitives.kind == ELLIPSOID) & large & inside):
            assert truth.depth[v[i], u[i]] < z[i]
            seen += truth.labels[v[i], u[i]] == primitives.label[i]
    assert seen > 20


def still_and_flat(truth: GroundTruth) -> NDArray[np.bool_]:
    """Pixels whose 3x3 neighbourhood has one label that stands still and lies in one plane."""
    kernel = np.ones((3, 3), np.uint8)
    same = cv2.erode(truth.labels, kernel) == cv2.dilate(truth.labels, kernel)
    # In the image of a plane the inverse depth is linear.
    inverse = np.nan_to_num(1.0 / truth.depth.astype(np.float64))
    bend = abs(cv2.Laplacian(inverse, cv2.CV_64F, ksize=3))
    return np.asarray(same & np.isin(truth.labels, STILL) & (bend < 0.01 * inverse))


def test_lidar_agrees_with_depth_image_and_labels(drive: Drive, stamp: int) -> None:
    sweep, truth = drive.measure_sweep(stamp), drive.truth(stamp)
    camera = drive.cameras[Modality.CAMERA]
    offsets = sweep.cloud.time_offset_ns
    assert offsets is not None
    T_camera_odom = np.linalg.inv(drive.pose(stamp) @ drive.T_base[Modality.CAMERA])
    points = sweep.cloud.points.astype(np.float64)
    # Each point is carried from where the lidar was at its own time to the camera at the stamp.
    for offset in np.unique(offsets):
        which = offsets == offset
        T = T_camera_odom @ drive.pose(stamp + int(offset)) @ drive.T_base[Modality.LIDAR]
        points[which] = points[which] @ T[:3, :3].T + T[:3, 3]
    z = points[:, 2]
    pixel = (points @ camera.K.T)[:, :2] / np.where(z > 1.0, z, np.nan)[:, None]
    u, v = np.rint(np.nan_to_num(pixel, nan=-1)).astype(int).T
    inside = (u >= 1) & (v >= 1) & (u < camera.width - 1) & (v < camera.height - 1)
    pixel, z, u, v, label = (x[inside] for x in (pixel, z, u, v, sweep.label))
    place = pixel.astype(np.float32)
    inverse = 1.0 / truth.depth
    depth = 1.0 / cv2.remap(inverse, place[:, :1], place[:, 1:], cv2.INTER_LINEAR)[:, 0]
    good = still_and_flat(truth)[v, u]
    # The lidar sits higher and sees some ground that a nearer thing hides from the camera.
    good &= abs(z - depth) < 0.1 * z
    assert good.sum() > 3000
    assert np.median(abs(z - depth)[good]) < 0.02
    assert np.percentile(abs(z - depth)[good], 95) < 0.08
    assert np.mean(label[good] == truth.labels[v, u][good]) > 0.995


def test_lidar_range_equals_brute_force_at_each_points_own_time(drive: Drive, stamp: int) -> None:
    sweep = drive.measure_sweep(stamp)
    offsets = sweep.cloud.time_offset_ns
    assert offsets is not None
    rng = np.random.default_rng(0)
    moving = np.flatnonzero(np.isin(sweep.label, (11, 12, 13, 14, 15, 18)))
    chosen = np.concatenate(
        [rng.choice(moving, 60, replace=False), rng.choice(sweep.label.size, 60, replace=False)]
    )
    errors = []
    for i in chosen:
        when = stamp + int(offsets[i])
        T = drive.pose(when) @ drive.T_base[Modality.LIDAR]
        point = sweep.cloud.points[i].astype(np.float64)
        measured = float(np.linalg.norm(point))
        ray = T[:3, :3] @ (point / measured)
        primitives = drive.scene.primitives((when - drive.config.start_ns) * 1e-9, *T[:2, 3])
        nearest = min(
            intersect(k, g, *T[:3, 3], *ray)
            for k, g in zip(primitives.kind, primitives.geometry, strict=True)
        )
        if ray[2] < 0:
            nearest = min(nearest, -T[2, 3] / ray[2])
        errors.append(abs(nearest - measured))
    # Legs swing within a sweep, which the lidar leaves out.
    assert np.mean(np.array(errors) < 0.06) > 0.93
    assert np.median(errors) < 0.02


def test_sweep_ends_with_the_forward_view(drive: Drive, stamp: int) -> None:
    sweep = drive.measure_sweep(stamp)
    points, offsets = sweep.cloud.points, sweep.cloud.time_offset_ns
    assert offsets is not None
    assert offsets.max() <= 0
    assert offsets.min() > -100_000_000
    assert np.all(np.diff(offsets) >= 0)
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    assert offsets[abs(azimuth) < np.deg2rad(40)].min() >= -25_000_000
    elevation = np.arcsin(points[:, 2] / np.linalg.norm(points, axis=1))
    assert np.allclose(elevation, ELEVATION[sweep.ring], atol=1e-5)
    assert np.all((sweep.cloud.intensity >= 0) & (sweep.cloud.intensity <= 1))


def test_events_follow_the_log_intensity(drive: Drive, stamp: int) -> None:
    k = (stamp - drive.config.start_ns) // 10_000_000
    before, after = (drive._renderer.log_intensity(Modality.EVENT, i) for i in (k, k + 1))
    events = drive.events_between(stamp, stamp + 10_000_000)
    change = (after - before)[events.y, events.x]
    large = abs(change) > CONTRAST
    assert large.sum() > 300
    assert np.mean((change > 0)[large] == events.polarity[large]) > 0.97
    # As many as the change holds thresholds, and at least the sure ones.
    net = np.zeros(events.size)
    np.add.at(net, (events.y, events.x), np.where(events.polarity, 1, -1))
    wanted = (after - before) / CONTRAST
    assert np.mean(abs(net - wanted) < 1.0001) > 0.99


def test_events_are_sorted_and_times_lie_inside_the_interval() -> None:
    rng = np.random.default_rng(5)
    before = rng.normal(size=(40, 60))
    after = before + rng.normal(size=(40, 60))
    events = detect_events(before, after, 1000, 10_000_000, np.random.default_rng(0))
    assert np.all(np.diff(events.t_ns) >= 0)
    assert events.t_ns.min() >= 1000
    assert events.t_ns.max() < 10_001_000
    # Within one pixel the crossing times of a straight ramp are evenly spaced.
    ramp = detect_events(
        np.zeros((1, 1)), np.full((1, 1), 2.0), 0, 10_000_000, np.random.default_rng(0)
    )
    assert ramp.polarity.all()
    assert len(ramp.t_ns) in (9, 10)
    gaps = np.diff(ramp.t_ns)
    assert gaps.max() - gaps.min() <= 1000
    assert gaps.mean() == pytest.approx(10_000_000 * CONTRAST / 2.0, rel=1e-3)


def test_packets_hold_every_event_once(drive: Drive, stamp: int) -> None:
    whole = drive.events_between(stamp - 3_000_000, stamp + 24_000_000)
    cuts = stamp + np.array([-3, 1, 8, 10, 24]) * 1_000_000
    parts = [drive.events_between(int(a), int(b)) for a, b in pairwise(cuts)]
    assert np.array_equal(whole.t_ns, np.concatenate([p.t_ns for p in parts]))
    assert np.array_equal(whole.x, np.concatenate([p.x for p in parts]))
    assert len(drive.events_between(stamp, stamp).t_ns) == 0


def test_thermal_shows_bodies_warm_and_sky_cold(drive: Drive) -> None:
    person, road, sky = [], [], []
    for stamp in drive.frame_stamps(Modality.THERMAL)[::5]:
        celsius = drive.measure(Modality.THERMAL, stamp).data / 100.0 - 273.15  # type: ignore[operator]
        labels = drive.truth(stamp, Modality.THERMAL).labels
        inner = cv2.erode((labels == 11).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        person.append(celsius[inner])
        road.append(celsius[labels == 0])
        sky.append(celsius[labels == 10])
    people, ground, above = (np.median(np.concatenate(x)) for x in (person, road, sky))
    air = drive.scene.weather.air
    assert people > ground + 2
    assert air + 4 < ground + 1
    assert above < air - 10


def test_nothing_runs_into_the_vehicle() -> None:
    """No solid comes within half a metre of the camera, in any of some drives."""
    for seed in range(6):
        drive = Drive(DriveConfig(seed=seed, size=(32, 48)))
        for stamp in drive.frame_stamps(Modality.CAMERA)[::2]:
            geometry = drive._renderer.primitives(stamp).geometry
            offset = geometry[:, CX : CZ + 1] - (drive.pose(stamp) @ drive.T_base['camera'])[:3, 3]
            c, s = geometry[:, COS], geometry[:, SIN]
            local = np.stack(
                [c * offset[:, 0] + s * offset[:, 1], c * offset[:, 1] - s * offset[:, 0]], axis=1
            )
            gap = np.maximum(abs(local) - geometry[:, HX : HX + 2], 0.0)
            low = geometry[:, CZ] - geometry[:, HZ] < 2.5
            assert np.hypot(*gap[low].T).min() > 0.5


def test_street_has_many_classes() -> None:
    for seed in range(4):
        drive = Drive(DriveConfig(seed=seed, size=(100, 160)))
        counts = np.zeros(256, int)
        for stamp in drive.frame_stamps(Modality.CAMERA)[::10]:
            counts += np.bincount(drive.truth(stamp).labels.ravel(), minlength=256)
        assert counts[19:].sum() == 0
        assert np.count_nonzero(counts) >= 13
        assert counts[0] / counts.sum() < 0.5


def test_frames_arrive_in_order_and_lidar_before_its_camera_frame() -> None:
    drive = Drive(DriveConfig(**{**vars(SMALL), 'duration_s': 0.3}))
    frames = list(deliver(drive, plan_frames(drive)))
    arrivals = [f.arrival_ns for f in frames]
    assert arrivals == sorted(arrivals)
    assert all(f.arrival_ns > f.frame.stamp_ns for f in frames)
    order = [(f.frame.modality, f.frame.stamp_ns) for f in frames]
    for stamp in drive.frame_stamps(Modality.CAMERA):
        lidar = order.index((Modality.LIDAR, stamp))
        assert lidar < order.index((Modality.CAMERA, stamp))
    counts = [sum(m is wanted for m, _ in order) for wanted in drive.T_base]
    assert counts == [3, 3, 33, 3]


def test_vehicle_moves_forward_on_the_ground(drive: Drive) -> None:
    start = drive.config.start_ns
    for elapsed in range(0, 4_000_000_000, 500_000_000):
        a, b = drive.pose(start + elapsed), drive.pose(start + elapsed + 10_000_000)
        assert np.allclose(a[:3, :3] @ a[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(a[:3, :3]) == pytest.approx(1.0)
        step = np.linalg.inv(a) @ b
        assert step[0, 3] == pytest.approx(0.08, rel=0.08)
        assert abs(step[1, 3]) < 0.002
        assert a[2, 3] == 0.0


@pytest.mark.parametrize(
    ('field', 'value'), [('seed', -1), ('duration_s', 0.0), ('size', (0, 640)), ('speed_mps', -3)]
)
def test_configuration_refuses_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        DriveConfig(**{field: value})  # type: ignore[arg-type]


def test_unknown_sensor_is_refused(drive: Drive, stamp: int) -> None:
    with pytest.raises(ValueError, match='depth'):
        drive.measure(Modality.DEPTH, stamp)
    with pytest.raises(ValueError, match='depth'):
        drive.frame_stamps(Modality.DEPTH)
    with pytest.raises(ValueError, match='lidar'):
        drive.truth(stamp, Modality.LIDAR)


def test_speed_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    drive = Drive(DriveConfig(seed=1))
    stamps = drive.frame_stamps(Modality.CAMERA)
    drive.bundle(stamps[0])
    begin = time.process_time()
    for stamp in stamps[10:40:10]:
        bundle, _ = drive.bundle(stamp)
    rate = 3 / (time.process_time() - begin)
    with capsys.disabled():
        print(f'\nsimulation: {rate:.1f} complete bundles/s of CPU time at 640x400')
    assert bundle.camera.size == (400, 640)
