"""The faults of the benchmark on real recordings: what they damage, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.real_faults.event_suite import faults as event_faults
from benchmarks.real_faults.lidar_damage import fog
from benchmarks.real_faults.lidar_suite import faults as lidar_faults
from benchmarks.real_faults.thermal_suite import faults as thermal_faults
from sam_ad_perception.core.sensors import Events, PointCloud


def sweep(rng):
    directions = rng.normal(size=(20_000, 3)) * [1, 1, 0.2]
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    return PointCloud((directions * rng.uniform(4, 60, (20_000, 1))).astype(np.float32))


def picture(rng):
    return (27000 + 40 * rng.integers(0, 60, (60, 80)) + np.arange(80)).astype(np.uint16)


def window(rng):
    n = 4000
    return Events(
        rng.integers(0, 160, n).astype(np.uint16), rng.integers(0, 120, n).astype(np.uint16),
        rng.random(n) < 0.5, np.sort(rng.integers(0, 30_000_000, n)), (120, 160),
    )  # fmt: skip


def columns(data):
    if isinstance(data, PointCloud):
        return [data.points]
    return [data.x, data.y, data.polarity, data.t_ns] if isinstance(data, Events) else [data]


CASES = [
    *((fault, sweep) for fault in lidar_faults()),
    *((fault, picture) for fault in thermal_faults()),
    *((fault, window) for fault in event_faults()),
]


@pytest.mark.parametrize(('fault', 'make'), CASES, ids=lambda case: getattr(case, 'name', ''))
@pytest.mark.parametrize('severity', [1, 3])
def test_a_fault_changes_its_frames_the_same_way_again_and_not_the_recording(
    fault, make, severity, rng
):
    frames = [make(rng) for _ in range(4)]
    kept = [[column.copy() for column in columns(frame)] for frame in frames]
    seeds = (np.random.default_rng(3), np.random.default_rng(3))
    damaged, again = (fault.damage(frames[:2], frames[2:], severity, seed) for seed in seeds)
    assert len(damaged) == 2
    for frame, before in zip(frames, kept, strict=True):
        assert all(map(np.array_equal, columns(frame), before)), 'the recording itself was changed'
    for one, other, healthy in zip(damaged, again, frames[2:], strict=True):
        assert all(map(np.array_equal, columns(one), columns(other)))
        assert not all(map(np.array_equal, columns(one), columns(healthy)))
        assert [c.dtype for c in columns(one)] == [c.dtype for c in columns(healthy)]
        if isinstance(one, Events):
            assert (np.diff(one.t_ns) >= 0).all()


def test_names_are_unique_and_both_halves_are_there():
    for faults in (lidar_faults(), thermal_faults(), event_faults()):
        assert len({fault.name for fault in faults}) == len(faults)
        assert {fault.half for fault in faults} == {'looked_at', 'measured_only'}


def test_the_thicker_the_fog_the_nearer_the_returns(rng):
    points = sweep(rng).points
    ranges = [np.linalg.norm(fog(points, s, np.random.default_rng(1)), axis=1) for s in (1, 2, 3)]
    assert len(points) >= len(ranges[0]) >= len(ranges[2])
    assert np.median(ranges[0]) > np.median(ranges[1]) > np.median(ranges[2])
    assert ranges[2].max() < 60, 'far beyond the visibility nothing returns'
    # directions stay: each return lies on one of the rays
    unit = fog(points, 2, np.random.default_rng(1))
    unit = unit / np.linalg.norm(unit, axis=1)[:, None]
    rays = {tuple(np.round(p, 3)) for p in points / np.linalg.norm(points, axis=1)[:, None]}
    assert np.mean([tuple(np.round(u, 3)) in rays for u in unit[:500]]) > 0.95
