"""Thermal pictures of a made scene and of recordings, spoilt here by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam_ad_perception.core.fault_detection.thermal_tiles import (
    difference,
    look_at_tiles,
    regress,
)
from sam_ad_perception.core.health.config import HealthConfig
from sam_ad_perception.core.health.monitor import HealthMonitor
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame

THERMAL, CAMERA = Modality.THERMAL, Modality.CAMERA
HEIGHT, WIDTH = 120, 160
VIEW = CameraModel(WIDTH, HEIGHT, np.diag([150.0, 150.0, 1.0]), frame_id='view')


def scene(rng, shift=0):
    """Counts of a scene of warm boxes before a cold sky, `shift` pixels further along."""
    fixed = np.random.default_rng(5)
    image = np.linspace(27000, 28500, HEIGHT)[:, None] + np.zeros((HEIGHT, 3 * WIDTH))
    for _ in range(140):
        v, u = int(fixed.integers(0, HEIGHT - 10)), int(fixed.integers(0, 3 * WIDTH - 10))
        h, w = fixed.integers(6, 26, 2)
        image[v : v + h, u : u + w] += fixed.uniform(-900, 1500)
    part = image[:, shift : shift + WIDTH]
    return np.rint(part + rng.normal(0, 8, part.shape)).astype(np.uint16)


def street(rng, shift):
    fixed = np.random.default_rng(6)
    image = np.repeat(fixed.integers(0, 255, (HEIGHT, 60)), 8, axis=1)[:, shift : shift + WIDTH]
    noisy = image[:, :, None] + rng.normal(0, 2, (HEIGHT, WIDTH, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


class Watched:
    """Feeds a monitor one picture after the other, nine a second."""

    def __init__(self):
        self.monitor = HealthMonitor(HealthConfig(recovery_frames=1))
        self.stamp_ns = 1_000_000_000_000

    def feed(self, image, camera=None):
        self.stamp_ns += 111_000_000
        frames = {THERMAL: SensorFrame(THERMAL, self.stamp_ns, 'thermal', image, VIEW)}
        if camera is not None:
            frames[CAMERA] = SensorFrame(CAMERA, self.stamp_ns, 'view', camera, VIEW)
        self.checked = self.monitor.check(SensorBundle(self.stamp_ns, THERMAL, VIEW, frames))
        self.found = self.checked.findings.get(THERMAL, ())
        return {str(finding.kind) for finding in self.found}


def counts(image):
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


def set_rows(image, rows, value):
    out = image.copy()
    out[rows] = value
    return out


def set_columns(image, columns, value):
    out = image.copy()
    out[:, columns] = value
    return out


def repeat_rows(image):
    out = image.copy()
    out[3::6] = out[2::6]
    return out


def cover(image, rng):
    out = image.astype(np.float64)
    out[:, 90:] = rng.normal(28200, 8, (HEIGHT, WIDTH - 90))
    return counts(out)


DAMAGES = {
    'zeros': lambda image, rng: np.where(rng.random(image.shape) < 0.3, 0, image).astype('u2'),
    'lost_rows': lambda image, rng: set_rows(image, slice(5, 110, 9), 30000),
    'stuck_columns': lambda image, rng: set_columns(image, slice(4, 150, 11), 31000),
    'covered': cover,
    'inverted': lambda image, rng: counts(56000 - image.astype(np.float64)),
    'gain': lambda image, rng: counts(28000 + 2.2 * (image - 28000.0)),
}


@pytest.mark.parametrize('kind', DAMAGES)
def test_a_fault_that_sets_in_is_named_until_it_ends(kind, rng):
    watched = Watched()
    for i in range(20):
        assert watched.feed(scene(rng, 2 * i)) == set()
    said = [watched.feed(DAMAGES[kind](scene(rng, 40 + 2 * i), rng)) for i in range(24)]
    assert sum(kind in found for found in said) >= 14, said
    assert set().union(*said) <= {kind, 'saturated', 'shutter'}
    assert any(sign.isdigit() for sign in next(f for f in watched.found if f.kind == kind).reason)
    for i in range(12):
        watched.feed(scene(rng, 88 + 2 * i))
    assert watched.feed(scene(rng, 112)) == set()


def test_bare_walls_that_come_bit_by_bit_cover_nothing(rng):
    """The vehicle drives into a tunnel: its walls are bare, and fill the view from the sides."""
    watched = Watched()
    for i in range(20):
        watched.feed(scene(rng, 2 * i))
    for i in range(24):
        image, left, right = scene(rng, 40 + 2 * i), min(6 * i, 60), max(0, 5 * (i - 8))
        for side in (slice(0, left), slice(WIDTH - right, None)):
            image[:, side] = counts(rng.normal(28200, 8, image[:, side].shape))
        assert 'covered' not in watched.feed(image), i


def test_after_a_pause_another_scene_is_neither_a_gain_nor_a_cover(rng):
    watched = Watched()
    for i in range(20):
        watched.feed(scene(rng, 2 * i))
    watched.stamp_ns += 1_500_000_000
    for i in range(16):
        image = counts(28000 + 0.45 * (scene(rng, 60 + 2 * i) - 28000.0))
        image[:, 90:] = counts(rng.normal(28200, 8, image[:, 90:].shape))
        assert not {'covered', 'gain'} & watched.feed(image), i


def test_repeated_rows_are_lost_where_they_are_new(rng):
    watched = Watched()
    for i in range(8):
        assert watched.feed(scene(rng, 2 * i)) == set()
    assert 'lost_rows' in set().union(*(watched.feed(repeat_rows(scene(rng, 16 + 2 * i)))
                                        for i in range(4)))  # fmt: skip
    doubled = Watched()  # a driver that doubles each row does so from the start
    for i in range(8):
        assert doubled.feed(np.repeat(scene(rng, 2 * i)[::2], 2, axis=0)) == set()


def test_zeros_are_named_from_the_start_and_borders_of_a_rectified_picture_are_not(rng):
    assert Watched().feed(DAMAGES['zeros'](scene(rng), rng)) == {'zeros'}
    rectified = Watched()
    for i in range(6):
        image = scene(rng, 2 * i)
        image[:9], image[-9:], image[:, :6] = 0, 0, 0
        assert rectified.feed(image) == set()


def test_a_part_that_stays_to_the_bit_is_frozen(rng):
    watched = Watched()
    for i in range(10):
        held = scene(rng, 2 * i)
        assert watched.feed(held) == set()
    for i in range(5):
        image = scene(rng, 20 + 2 * i)
        image[60:] = held[60:]
        found = watched.feed(image)
        assert found == ({'frozen_part'} if i else found)


@pytest.mark.parametrize('moving', [True, False])
def test_a_picture_frozen_under_noise_is_told_while_the_camera_sees_motion(rng, moving):
    watched = Watched()
    for i in range(30):
        assert watched.feed(scene(rng, 2 * i), street(rng, 4 * i)) == set()
    said = []
    braking = (119, 122, 124, 126, 127, 128, 129, 130, 130, 131, 131, 132)
    for i in range(24):  # a vehicle that stands shows the same scene, too
        place = 120 + 4 * i if moving else braking[min(i, 11)]
        shown = 60 if moving else place // 2
        still = counts(scene(np.random.default_rng(1), shown) + rng.normal(0, 8, (HEIGHT, WIDTH)))
        said.append(watched.feed(still, street(rng, place)))
    assert (said[-1] == {'frozen'}) == moving, said
    assert moving or set().union(*said) == set()


def test_another_format_is_another_camera(rng):
    watched = Watched()
    for i in range(6):
        watched.feed(scene(rng, 2 * i))
    small = (scene(rng, 12) // 256).astype(np.uint8)
    assert watched.feed(small[::2, ::2].copy()) <= {'low_contrast', 'shutter'}


# The kernels, against plain numpy


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_kernels_agree_with_numpy(rng, dtype):
    a = rng.integers(0, 250, (72, 128)).astype(dtype)
    b = (0.5 * a + rng.integers(0, 60, a.shape)).astype(dtype)
    x, y = a.astype(np.float64), b.astype(np.float64)
    likeness, slope = regress(a, b)
    assert likeness == pytest.approx(np.corrcoef(x.ravel(), y.ravel())[0, 1])
    assert slope == pytest.approx(x.std() / y.std())
    assert difference(a, b) == pytest.approx((x - y).var())
    deviation, alike, unchanged = look_at_tiles(a, b)
    for row, column in ((0, 0), (5, 7), (2, 3)):
        tile = (slice(12 * row, 12 * row + 12), slice(16 * column, 16 * column + 16))
        assert deviation[row, column] == pytest.approx(x[tile].std())
        expected = np.corrcoef(x[tile].ravel(), y[tile].ravel())[0, 1]
        assert alike[row, column] == pytest.approx(expected)
    assert not unchanged.any()
    assert look_at_tiles(a, a)[2].all()


# Recordings


@pytest.mark.data
@pytest.mark.parametrize('name', ['possum', 'street'])
def test_recorded_streams_are_healthy_and_spoilt_they_are_not(sample_data: Path, rng, name):
    with np.load(sample_data / f'health/lepton_{name}_9hz.npz') as stored:
        frames = list(stored['frames'])
    healthy = Watched()
    assert set().union(*(healthy.feed(frame) for frame in frames)) <= {'shutter'}
    for kind, damage in (('zeros', DAMAGES['zeros']), ('inverted', None), ('gain', None)):
        watched = Watched()
        for frame in frames[:30]:
            watched.feed(frame)
        middle = float(np.median(frames[29]))
        said = []
        for frame in frames[30:50]:
            spoilt = counts(middle + (-1 if kind == 'inverted' else 3) * (frame - middle))
            said.append(watched.feed(damage(frame, rng) if damage else spoilt))
        assert sum(kind in found for found in said) >= 15, (kind, said)
