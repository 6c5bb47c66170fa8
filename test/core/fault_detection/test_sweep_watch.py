"""Sweeps of a made street and of recordings, spoilt here by hand, and what the watch says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam_ad_perception.core.fault_detection.sweep_image import (
    best_turn,
    holes,
    isolated_share,
    look_at,
    near_points,
    plain,
)
from sam_ad_perception.core.health.config import HealthConfig
from sam_ad_perception.core.health.monitor import HealthMonitor
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)

LIDAR = Modality.LIDAR
VIEW = CameraModel(64, 48, np.diag([60.0, 60.0, 1.0]), frame_id='view')
HEIGHT_M = 1.8


def street(rng, x=0.0):
    """64 rings of 900 rays from `x` metres along a street between two walls with niches."""
    azimuth, elevation = np.meshgrid(
        np.radians(np.arange(-180, 180, 0.4)), np.radians(np.linspace(-22, 6, 64))
    )
    d = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
         np.sin(elevation)], -1,
    ).reshape(-1, 3)  # fmt: skip
    with np.errstate(divide='ignore'):
        ground = np.where(d[:, 2] < 0, -HEIGHT_M / d[:, 2], np.inf)
        left, right = np.abs(12.0 / d[:, 1]), np.abs(4.0 / d[:, 1])
    wall = np.where(d[:, 1] > 0, left, right)
    wall = np.minimum(wall, 500.0)
    place = x + wall * d[:, 0]
    depth = 2.0 * (np.sin(0.9 * place) > 0.3) * (d[:, 1] > 0)  # only the left wall has niches
    wall = wall + depth / np.maximum(np.abs(d[:, 1]), 0.05)
    beside = (np.degrees(azimuth.ravel()) > 15) & (np.degrees(azimuth.ravel()) < 50)
    wall = np.where(beside, np.minimum(wall, 5.0 / np.hypot(d[:, 0], d[:, 1])), wall)  # a lorry
    distance = np.minimum(np.minimum(ground, wall), 70.0) + rng.normal(0, 0.01, len(d))
    return d * distance[:, None]


class Watched:
    """Feeds a monitor one sweep after the other, ten a second."""

    def __init__(self, T_camera=None):
        self.monitor = HealthMonitor(HealthConfig(recovery_frames=1))
        self.stamp_ns = 1_000_000_000_000
        self.T_camera = {} if T_camera is None else {LIDAR: T_camera}

    def feed(self, points):
        self.stamp_ns += 100_000_000
        frame = SensorFrame(LIDAR, self.stamp_ns, 'lidar', PointCloud(points.astype(np.float32)))
        bundle = SensorBundle(self.stamp_ns, LIDAR, VIEW, {LIDAR: frame}, T_camera=self.T_camera)
        self.checked = self.monitor.check(bundle)
        self.found = self.checked.findings.get(LIDAR, ())
        return {str(finding.kind) for finding in self.found}


def azimuth(points):
    return np.degrees(np.arctan2(points[:, 1], points[:, 0]))


def turn(points, degrees, axes):
    a, b = axes
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    out = points.copy()
    out[:, a], out[:, b] = c * points[:, a] - s * points[:, b], s * points[:, a] + c * points[:, b]
    return out


def flakes(points, rng, share):
    hit = rng.random(len(points)) < share
    distance = np.linalg.norm(points, axis=1)
    nearer = np.minimum(distance, rng.uniform(1.0, 9.0, len(points)))
    return points * (np.where(hit, nearer, distance) / distance)[:, None]


def without_packets(points, rng):
    lost = rng.random(120) < 0.25
    return points[~lost[(azimuth(points) // 3).astype(int) % 120]]


def window_dirt(points, rng):
    near = np.abs(azimuth(points) - 60) < 30
    return np.where(near[:, None], points / np.linalg.norm(points, axis=1)[:, None], points)


DAMAGES = {
    'blocked': lambda p, rng: p[np.abs(azimuth(p)) > 35],
    'lost_packets': without_packets,
    'dead_rings': lambda p, rng: p[np.abs(np.arange(len(p)) // 900 - 19) > 3],
    'dirty': window_dirt,
    'clutter': lambda p, rng: flakes(p, rng, 0.3),
    'mirrored': lambda p, rng: p * [1, -1, 1],
    'turned': lambda p, rng: turn(p, 120, (0, 1)),
    'tilted': lambda p, rng: turn(p, 5, (2, 0)),
    'height': lambda p, rng: p - [0, 0, 0.7],
}  # fmt: skip


@pytest.mark.parametrize('kind', DAMAGES)
def test_a_fault_that_sets_in_is_named_until_it_ends(kind, rng):
    watched = Watched()
    for i in range(12):
        assert watched.feed(street(rng, 0.5 * i)) == set()
    said = [watched.feed(DAMAGES[kind](street(rng, 6 + 0.5 * i), rng)) for i in range(12)]
    assert all(found <= {kind, 'sparse'} for found in said), said
    assert sum(kind in found for found in said) >= 9, said
    finding = next(f for f in watched.found if f.kind == kind)
    assert any(sign.isdigit() for sign in finding.reason), 'a sentence has its figure'
    assert finding.reason.endswith('since 1 s')
    for i in range(12):
        watched.feed(street(rng, 12 + 0.5 * i))
    assert watched.feed(street(rng, 18)) == set()


def test_what_projects_wrongly_is_taken_out_and_the_rest_is_used(rng):
    for kind, used in (('mirrored', False), ('turned', False), ('clutter', True)):
        watched = Watched()
        for i in range(8):
            watched.feed(street(rng, 0.5 * i))
        for i in range(8):
            watched.feed(DAMAGES[kind](street(rng, 4 + 0.5 * i), rng))
        assert (LIDAR in watched.checked.bundle.frames) == used, kind


@pytest.mark.parametrize('kind', ['lost_packets', 'dirty'])
def test_what_no_sweep_can_be_is_named_from_the_start(kind, rng):
    watched = Watched()
    said = [watched.feed(DAMAGES[kind](street(rng, 0.5 * i), rng)) for i in range(6)]
    assert all(kind in found for found in said), said


def test_a_lidar_that_sees_a_part_of_the_circle_lacks_nothing(rng):
    watched = Watched()
    for i in range(20):
        points = street(rng, 0.5 * i)
        assert watched.feed(points[np.abs(azimuth(points)) < 60]) == set()


def test_a_lidar_mounted_aslant_is_level_once_its_mount_is_known(rng):
    aslant = [turn(street(rng, 0.5 * i), 15, (2, 0)) for i in range(4)]
    unknown = Watched()
    assert [unknown.feed(points) for points in aslant][-1] == {'tilted'}
    back = np.eye(4)
    c, s = np.cos(np.radians(-15)), np.sin(np.radians(-15))
    back[[2, 2, 0, 0], [2, 0, 2, 0]] = c, -s, c, s
    # x forward, y left, z up becomes x right, y down, z forward
    optical = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    optical[:3, 0] = [0, 0, 1]
    known = Watched(optical @ _turned_about_y(-15))
    assert [known.feed(points) for points in aslant] == [set()] * 4


def _turned_about_y(degrees):
    T = np.eye(4)
    T[:3, :3] = turn(np.eye(3), degrees, (2, 0)).T
    return T


# The image itself, against plain numpy


def test_the_image_counts_as_a_histogram_does(rng):
    points = rng.normal(0, 8, (8000, 3))
    points = plain(points[np.linalg.norm(points, axis=1) > 0.5])  # nearer is no return
    image = look_at(points, 3.0)
    degrees = azimuth(points)
    expected, _ = np.histogram(degrees, 360, (-180, 180))
    assert image.count == len(points)
    assert np.abs(image.columns - expected).sum() <= 20  # the polynomial, at the edges
    elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
    bands, _ = np.histogram(np.clip(elevation, -29.9, 29.9), 240, (-30, 30))
    assert np.abs(image.bands - bands).sum() <= 20
    assert image.near.sum() == (np.linalg.norm(points, axis=1) < 3.0).sum()


def test_points_that_are_none_are_not_counted():
    wild = np.array([[np.nan, 0, 0], [np.inf, 1, 1], [0, 0, 0], [5, 0, 0]], np.float64)
    assert look_at(plain(wild), 1.0).count == 1
    assert len(near_points(plain(wild), 10.0, 100)) == 1
    assert isolated_share(plain(wild), 0, 12.0)[1] <= 1


@pytest.mark.parametrize(
    ('sectors', 'mirrored'), [(0, False), (18, False), (50, False), (9, True)]
)
def test_a_turned_image_is_turned_back(rng, sectors, mirrored):
    before = rng.normal(3, 1, (12, 72)).astype(np.float32)
    image = np.roll(before, sectors, axis=1)
    image = image[:, ::-1] if mirrored else image
    like = best_turn(image, before)
    assert like.best == pytest.approx(1.0, abs=1e-4)
    assert like.other < 0.5
    assert like.mirrored == mirrored
    back = np.roll(image[:, ::-1] if mirrored else image, -like.turn, axis=1)
    np.testing.assert_array_equal(back, before)


def test_holes_lie_between_degrees_with_points():
    columns = np.full(360, 20)
    columns[[10, 11, 50, 359, 0]] = 0
    columns[100:160] = 0  # hidden, no hole
    degrees, count, widest, known = holes(columns, 8, 10)
    assert (degrees, count, widest) == (5, 3, 2)
    assert 300 <= known < 360


# Recordings


@pytest.mark.data
def test_a_recorded_street_is_healthy_and_spoilt_it_is_not(sample_data: Path, rng):
    path = sample_data / 'health/street_lidar_10hz.npz'
    with np.load(path) as stored:
        sweeps = [stored[name] for name in sorted(stored.files)]
    healthy = Watched()
    assert [healthy.feed(sweep) for sweep in sweeps] == [set()] * 12
    for kind, least in (('blocked', 5), ('lost_packets', 5), ('clutter', 5), ('turned', 5),
                        ('tilted', 4), ('height', 4)):  # fmt: skip
        watched = Watched()
        for sweep in sweeps[:5]:
            watched.feed(sweep)
        said = [watched.feed(DAMAGES[kind](sweep.astype(np.float64), rng)) for sweep in sweeps[5:]]
        assert sum(kind in found for found in said) >= least, (kind, said)
