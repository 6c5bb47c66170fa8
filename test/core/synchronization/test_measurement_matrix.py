"""Stamps x arrivals x phases x missing sensors x motion, against the true times of measurement.

A lidar turns at 10 Hz, its points look at the camera in the middle of each turn. The oracle knows
when each point was measured: of the sweeps that arrive before a frame's deadline, the right one is
that whose points in the view are nearest to the exposure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import make_transform
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.core.settings.parameters import build
from sam_ad_perception.core.synchronization.bundler import Bundler, BundlerConfig
from sam_ad_perception.core.synchronization.config import SynchronizerConfig
from sam_ad_perception.core.synchronization.measured_times import MeasuredTimes, sweep_times
from sam_ad_perception.core.synchronization.results import SyncedSet
from sam_ad_perception.core.synchronization.synchronizer import Synchronizer, make_synchronizer

MS, S = 1_000_000, 1_000_000_000
T0, PERIOD, FRAMES = 100 * S, 100 * MS, 32
CAMERA, THERMAL, EVENT, LIDAR = Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR
VIEW = CameraModel(
    64, 48, np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]]), frame_id='camera'
)
FROM_LIDAR = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # x forward to an optical frame
TRANSPORT, DEADLINE = 15 * MS, 50 * MS
AFTER_START = {'start': 0, 'middle': PERIOD // 2, 'end': PERIOD}
CONVENTIONS = ('start', 'middle', 'end', 'none')
ARRIVALS = {'before': -10 * MS, 'with': 0, '1 ms after': MS, 'a period after': PERIOD}
PHASES = (-40, -20, 0, 20, 40)
"""Of the exposure after the middle of a turn, milliseconds."""
MISSING = ('none', 'from the start', 'from the middle')


@dataclass(frozen=True)
class Sweep:
    """Number, what the driver sends, when it arrives, and when the view was truly measured."""

    number: int
    frame: SensorFrame
    arrival: int
    seen: NDArray[np.int64]

    def distance(self, time: int) -> float:
        return float(np.abs(self.seen - time).mean())


def make_sweeps(convention: str, delay: int, turn: float = 0.0) -> list[Sweep]:
    """Sweeps of 360 points; `turn` moves the view away from the middle of a turn, in turns."""
    after = np.arange(360, dtype=np.int64) * PERIOD // 360
    azimuth = 2 * np.pi * (after / PERIOD - 0.5 - turn)
    points = 10 * np.stack([np.cos(azimuth), np.sin(azimuth), 0 * azimuth], 1).astype(np.float32)
    xyz = points.astype(float) @ FROM_LIDAR.T
    ahead = xyz[:, 2] > 0.1
    u = 50.0 * xyz[:, 0] / np.where(ahead, xyz[:, 2], 1) + 31.5
    in_view = ahead & (u > -0.5) & (u < 63.5)
    told = AFTER_START.get(convention, PERIOD // 2)
    sweeps = []
    for i in range(-2, FRAMES + 2):
        start = T0 + i * PERIOD
        cloud = PointCloud(points, np.full(360, i, np.float32), after - told)
        if convention == 'none':
            cloud = replace(cloud, time_offset_ns=None)
        frame = SensorFrame(LIDAR, start + told, 'lidar', cloud)
        middle = start + PERIOD // 2
        sweeps.append(Sweep(i, frame, middle + TRANSPORT + delay, start + after[in_view]))
    return sweeps


def exposures(phase_ms: int) -> list[int]:
    return [T0 + i * PERIOD + PERIOD // 2 + phase_ms * MS for i in range(FRAMES)]


def is_there(missing: str, index: int) -> bool:
    return missing == 'none' or (missing == 'from the middle' and index < FRAMES // 2)


def best(sweeps: list[Sweep], time: int) -> Sweep | None:
    """The sweep nearest to an exposure, of those that arrive before its deadline."""
    due = time + TRANSPORT + DEADLINE
    near = [s for s in sweeps if s.arrival <= due and s.distance(time) <= 110 * MS]
    return min(near, key=lambda s: s.distance(time), default=None)


def play(
    sync: Synchronizer[Modality, int], arrivals: list[tuple[int, int, Modality, int, int, object]]
) -> list[SyncedSet[Modality, int]]:
    out = []
    for now, _, key, stamp, item, measured in sorted(arrivals, key=lambda a: a[:2]):
        while (due := sync.next_deadline_ns) is not None and due < now:
            out += sync.poll(due)
        assert measured is None or isinstance(measured, MeasuredTimes)
        out += sync.add(key, stamp, item, now, measured)
    # After the last image the lidar leads: those are of no interest here.
    return [s for s in out + sync.flush() if isinstance(s, SyncedSet) and s.reference is CAMERA]


@pytest.mark.parametrize('arrival', ARRIVALS)
@pytest.mark.parametrize('convention', CONVENTIONS)
def test_every_frame_gets_the_sweep_that_was_measured_nearest(
    convention: str, arrival: str
) -> None:
    sweeps = make_sweeps(convention, ARRIVALS[arrival])
    T = make_transform(FROM_LIDAR, (0, 0, 0))
    lidar = [
        (s.arrival, 2, LIDAR, s.frame.stamp_ns, s.number, sweep_times(s.frame, VIEW, T))
        for s in sweeps
    ]
    for phase, no_thermal, no_events in product(PHASES, MISSING, MISSING):
        shots = exposures(phase)
        arrivals: list[tuple[int, int, Modality, int, int, object]] = [*lidar]
        arrivals += [(t + TRANSPORT, 3, CAMERA, t, i, None) for i, t in enumerate(shots)]
        arrivals += [
            (t + 23 * MS, 1, THERMAL, t + 8 * MS, i, None)
            for i, t in enumerate(shots)
            if is_there(no_thermal, i)
        ]
        window = MeasuredTimes((-9_900_000, 0), is_stream=True)
        arrivals += [
            (t + (10 * j + 2) * MS, 0, EVENT, t + 10 * j * MS, i, window)
            for i, t in enumerate(shots)
            for j in range(-9, 1)
            if is_there(no_events, i)
        ]
        sets = play(make_synchronizer(SynchronizerConfig()), arrivals)
        assert [s.stamp_ns for s in sets] == shots
        for i, made in enumerate(sets):
            wanted = best(sweeps, made.stamp_ns)
            case = (phase, no_thermal, no_events, i)
            assert (made.items[LIDAR][1] if LIDAR in made.items else None) == (
                wanted.number if wanted else None
            ), case
            assert (THERMAL in made.items) == is_there(no_thermal, i), case
            assert (EVENT in made.items) == is_there(no_events, i), case
            if THERMAL in made.items:
                assert made.items[THERMAL][1] == i
            if EVENT in made.items:
                assert made.items[EVENT][0] == made.stamp_ns


def make_bundler(moves: bool, config: SynchronizerConfig | None = None) -> Bundler:
    tree = TransformTree()
    for name, R in (('camera', np.eye(3)), ('lidar', FROM_LIDAR)):
        tree.set_static('base', name, make_transform(R, (0, 0, 0)))
    if moves:  # 20 m/s along the optical axis
        for stamp in range(T0 - S, T0 + FRAMES * PERIOD + S, 20 * MS):
            pose = make_transform(np.eye(3), (0, 0, 20e-9 * (stamp - T0)))
            tree.add_dynamic('odom', 'base', stamp, pose)
        tree.history_ns = 60 * S
    bundler = Bundler(BundlerConfig(sync=config or SynchronizerConfig()), tree)
    bundler.set_camera(CAMERA, VIEW)
    return bundler


def bundles(bundler: Bundler, sweeps: list[Sweep], shots: list[int]) -> list[SensorBundle]:
    arrivals = [(s.arrival, 0, s.frame) for s in sweeps]
    image = np.zeros((48, 64, 3), np.uint8)
    arrivals += [(t + TRANSPORT, 1, SensorFrame(CAMERA, t, 'camera', image)) for t in shots]
    out = []
    for now, _, frame in sorted(arrivals, key=lambda a: a[:2]):
        while (due := bundler.next_deadline_ns) is not None and due < now:
            out += bundler.poll(due)
        out += bundler.add_frame(frame, now)
    made = [each for each in out + bundler.flush() if isinstance(each, SensorBundle)]
    return [each for each in made if each.reference is CAMERA]


@pytest.mark.parametrize('moves', [True, False])
@pytest.mark.parametrize('convention', CONVENTIONS)
def test_points_are_deskewed_from_their_true_times_or_the_distance_is_told(
    convention: str, moves: bool
) -> None:
    sweeps = make_sweeps(convention, MS)
    by_number = {s.number: s for s in sweeps}
    for phase in PHASES:
        for bundle in bundles(make_bundler(moves), sweeps, exposures(phase)):
            frame = bundle.frames[LIDAR]
            assert isinstance(frame.data, PointCloud)
            assert frame.data.intensity is not None
            sweep = by_number[int(frame.data.intensity[0])]
            true = sweep.frame.stamp_ns - AFTER_START.get(convention, PERIOD // 2)
            times = true + np.arange(360) * PERIOD // 360
            if convention == 'none':
                times = np.full(360, true + PERIOD // 2)
            off_ns = float(sweep.seen.mean()) - bundle.stamp_ns
            assert abs(bundle.time_error_ns[LIDAR] - off_ns) < 2 * MS
            if moves:
                placed = deskew_points(frame, bundle.T_camera[LIDAR])
                shift = placed - frame.data.points @ FROM_LIDAR.T
                wanted = 20e-9 * (times - bundle.stamp_ns)
                np.testing.assert_allclose(shift[:, 2], wanted, atol=1e-3)
            else:
                assert frame.motion is None
                assert (LIDAR in bundle.notes) == (abs(off_ns) > 30 * MS)


@pytest.mark.parametrize('told', ['start', 'end'])
def test_a_sweep_without_times_counts_from_the_moment_that_its_stamp_is_said_to_tell(
    told: str,
) -> None:
    sweeps = make_sweeps(told, 0)
    sweeps = [
        replace(s, frame=replace(s.frame, data=replace(s.frame.data, time_offset_ns=None)))
        for s in sweeps
    ]
    config = build(SynchronizerConfig, {'lidar.sweep_stamp': told})
    made = bundles(make_bundler(moves=False, config=config), sweeps, exposures(10))
    for bundle in made[5:]:  # the rhythm is known by then
        data = bundle.frames[LIDAR].data
        assert isinstance(data, PointCloud)
        assert data.intensity is not None
        found = best(sweeps, bundle.stamp_ns)
        assert found is not None
        assert int(data.intensity[0]) == found.number
        assert abs(bundle.time_error_ns[LIDAR] + 10 * MS) <= MS


def test_of_two_sweeps_that_cross_the_view_each_gives_the_points_it_measured_nearer() -> None:
    """The turn begins in the middle of the view: its left and right are a turn apart."""
    sweeps = make_sweeps('end', 50 * MS, turn=0.5)
    patient = SynchronizerConfig(deadline_s=0.2)
    for phase in (-50, -48, -45):  # around the moment at which a turn begins
        bundler = make_bundler(moves=False, config=patient)
        for bundle in bundles(bundler, sweeps, exposures(phase))[3:-2]:
            frame = bundle.frames[LIDAR]
            assert isinstance(frame.data, PointCloud)
            times = frame.stamp_ns + frame.data.time_offset_ns
            xyz = frame.data.points @ FROM_LIDAR.T
            seen = (xyz[:, 2] > 0.1) & (np.abs(50 * xyz[:, 0]) < 32 * xyz[:, 2])
            # Per direction the nearest of all times at which it was measured, by brute force.
            every = np.concatenate([s.seen for s in sweeps])
            lanes = (every - T0) % PERIOD
            nearest = {
                int(lane): int(np.abs(every[lanes == lane] - bundle.stamp_ns).min())
                for lane in np.unique(lanes)
            }
            off = np.abs(times[seen] - bundle.stamp_ns)
            expected = [nearest[int((t - T0) % PERIOD)] for t in times[seen]]
            np.testing.assert_array_equal(off, expected)
            assert len(off) == len(nearest), 'each direction once'


def test_an_exposure_that_is_stamped_at_its_start_is_moved_by_the_offset() -> None:
    """Exposures of 40 ms, stamped at their start: the thermal image 18 ms later is right."""
    config = build(SynchronizerConfig, {'camera.offset_s': -0.02})
    sync = make_synchronizer(config)
    arrivals: list[tuple[int, int, Modality, int, int, object]] = []
    for i in range(FRAMES):
        t = T0 + i * PERIOD
        arrivals += [(t + 60 * MS, 1, CAMERA, t, i, None)]
        arrivals += [(t + 62 * MS, 0, THERMAL, t + 18 * MS, i, None)]
        arrivals += [(t + 30 * MS, 0, THERMAL, t - 10 * MS, -1, None)]
    sets = play(sync, arrivals)
    assert [s.stamp_ns for s in sets] == [T0 + i * PERIOD + 20 * MS for i in range(FRAMES)]
    assert all(s.items[THERMAL][1] >= 0 for s in sets)


def test_a_stream_of_events_covers_its_window() -> None:
    """Packets of 200 ms: the exposure lies inside one, 90 ms from either end."""
    bundler = make_bundler(moves=False)
    bundler.set_camera(EVENT, replace(VIEW, frame_id='camera'))
    out = []
    for i in range(10):
        end = T0 + i * 2 * PERIOD
        if i:
            image = np.zeros((48, 64, 3), np.uint8)
            out += bundler.add_frame(
                SensorFrame(CAMERA, end - 110 * MS, 'camera', image), end - 30 * MS
            )
        t = np.arange(end - 199 * MS, end + 1, MS)
        zeros = np.zeros(t.size, np.uint16)
        events = Events(zeros, zeros, zeros.astype(bool), t, (48, 64))
        out += bundler.add_events(events, end, 'camera', end + MS)
    found = [each for each in out if isinstance(each, SensorBundle)]
    assert len(found) == 9
    for bundle in found:
        data = bundle.frames[EVENT].data
        assert isinstance(data, Events)
        np.testing.assert_array_equal(data.t_ns, bundle.stamp_ns + np.arange(-30, 0) * MS)
