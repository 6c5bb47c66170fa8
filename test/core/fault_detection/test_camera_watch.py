"""Faults of a camera that show over time or by place, made anew here on a moving street."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.fault_detection.camera_tiles import describe_place
from sam_ad_perception.core.fault_detection.camera_watch import CameraWatch
from sam_ad_perception.core.fault_detection.picture_figures import (
    compare_later,
    correlate,
    measure_picture,
)
from sam_ad_perception.core.health.config import HealthConfig
from sam_ad_perception.core.health.measures import measure_image
from sam_ad_perception.core.health.monitor import HealthMonitor
from sam_ad_perception.core.health.watch import Circumstances
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame

CAMERA = Modality.CAMERA
SIZE = (216, 384)
PERIOD_NS = 50_000_000
HEALTHY = 20


@pytest.fixture(scope='module')
def world():
    """A wide scene as a lens draws it: a sky above, coloured detail of all sizes below."""
    rng = np.random.default_rng(5)
    height, width = SIZE
    scene = np.zeros((height, 4 * width, 3), np.float32)
    for cells, weight in ((8, 0.5), (27, 0.3), (108, 0.2)):
        coarse = rng.uniform(20, 230, (cells, 7 * cells, 3)).astype(np.float32)
        scene += weight * cv2.resize(coarse, (4 * width, height), interpolation=cv2.INTER_CUBIC)
    v, u = np.mgrid[:height, : 4 * width]
    scene[v < 40 + 9 * np.sin(u / 40)] = (150, 180, 215)
    return cv2.GaussianBlur(scene, (0, 0), 0.7)


def drive(world, frames, noise=2.0, speed=3, seed=0):
    rng = np.random.default_rng(seed)
    views = (world[:, speed * i : speed * i + SIZE[1]] for i in range(frames))
    return [np.clip(v + rng.normal(0, noise, v.shape), 0, 255).astype(np.uint8) for v in views]


def check(frames, config=None, period_ns=PERIOD_NS):
    """Findings of each frame, and whether it was used."""
    monitor = HealthMonitor(config)
    view = CameraModel(SIZE[1], SIZE[0], np.diag([300.0, 300.0, 1.0]), frame_id='view')
    out = []
    for number, image in enumerate(frames):
        stamp = 10**12 + number * period_ns
        frame = SensorFrame(CAMERA, stamp, 'view', image, view)
        checked = monitor.check(SensorBundle(stamp, CAMERA, view, {CAMERA: frame}))
        out.append((checked.findings.get(CAMERA, ()), CAMERA in checked.bundle.frames))
    return out


def kinds(findings):
    return [str(f.kind) for f in findings]


# Damage: functions of (healthy frames before, frames) -> frames


def each(change):
    return lambda before, frames: [change(f.copy(), i) for i, f in enumerate(frames)]


def stick_lower(before, frames):
    cut = SIZE[0] // 3
    return [np.vstack([f[:cut], before[-1][cut:]]) for f in frames]


def noisy_copy(before, frames):
    rng = np.random.default_rng(9)
    held = before[-1].astype(float)
    return [np.clip(held + rng.normal(0, 1.5, held.shape), 0, 255).astype('u1') for _ in frames]


def dim_patch(image, i):
    """A dark smear over the lower left, through which nothing is seen but light."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    cover = np.clip(1.6 - np.hypot((v - 150) / 60, (u - 110) / 110), 0, 1)[..., None]
    rng = np.random.default_rng(i)
    dirt = rng.normal((60, 50, 40), 1.0, image.shape)
    return np.clip(image * (1 - cover) + dirt * cover, 0, 255).astype(np.uint8)


def lines(image, i):
    image[[40, 90, 133]] = 0
    return image


def columns(image, i):
    image[:, [30, 200, 310]] = 255
    return image


def flicker(image, i):
    wave = 1 + 0.25 * np.sin(2 * np.pi * (5 * np.arange(SIZE[0]) / SIZE[0] + 0.31 * i))
    return np.clip(image * wave[:, None, None], 0, 255).astype(np.uint8)


def fog(image, i):
    return np.clip(170 + 0.45 * (image.astype(float) - 170), 0, 255).astype(np.uint8)


def salt(image, i):
    rng = np.random.default_rng(i)
    image[rng.random(SIZE) < 0.03] = 255
    return image


def pad_rows(image, i):
    """Twelve bytes too many a row: each starts four pixels later than the one above."""
    flat = np.frombuffer(image.tobytes() * 2, np.uint8)
    step = 3 * SIZE[1] + 12
    rows = [flat[v * step : v * step + 3 * SIZE[1]] for v in range(SIZE[0])]
    return np.stack(rows).reshape(image.shape)


def other_below(before, frames):
    """Below row 100 the picture is of another place."""
    return [np.vstack([f[:100], f[100:][::-1, ::-1]]) for f in frames]


def jpeg(image, i):
    code = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
    return cv2.imdecode(code, cv2.IMREAD_COLOR)


FAULTS = {
    'stick_lower': (stick_lower, 'frozen_part', False),
    'noisy_copy': (noisy_copy, 'frozen', True),
    'ring of 3': (lambda b, f: [b[-3 + i % 3].copy() for i in range(len(f))], 'replayed', False),
    'dim_patch': (each(dim_patch), 'covered', True),
    'cut below': (each(lambda x, i: np.vstack([x[:150], 0 * x[150:] + 128])), 'covered', True),
    'lines': (each(lines), 'dead_lines', True),
    'columns': (each(columns), 'dead_lines', True),
    'flicker': (each(flicker), 'banded', True),
    'fog': (each(fog), 'hazy', True),
    'salt': (each(salt), 'noisy', True),
    'pad_rows': (each(pad_rows), 'torn', False),
    'other_below': (other_below, 'torn', True),
    'bgr': (each(lambda x, i: x[:, :, ::-1]), 'wrong_colors', True),
    'green': (each(lambda x, i: np.stack([0 * x[..., 0], x[..., 1], 0 * x[..., 2]], -1)),
              'wrong_colors', True),
    'turned': (each(lambda x, i: cv2.rotate(x, cv2.ROTATE_180)), 'upside_down', False),
    'mirrored': (each(lambda x, i: cv2.flip(x, 1)), 'mirrored', False),
}  # fmt: skip


def test_a_moving_street_raises_no_alarm(world):
    assert [kinds(f) for f, _ in check(drive(world, 60))] == [[]] * 60


@pytest.mark.parametrize('name', FAULTS)
def test_a_fault_is_named_and_goes_when_it_ends(world, name):
    damage, kind, used = FAULTS[name]
    frames = drive(world, HEALTHY + 40)
    before, during, after = frames[:HEALTHY], frames[HEALTHY:-20], frames[-20:]
    whole = [f.copy() for f in after]
    out = check([*before, *damage(before, during), *whole])
    assert all(not found for found, _ in out[:HEALTHY])
    middle = out[HEALTHY : HEALTHY + 20]
    named = [kind in kinds(found) for found, _ in middle]
    assert np.mean(named) >= 0.6, [kinds(found) for found, _ in middle]
    assert all(named[8:]), [kinds(found) for found, _ in middle]
    assert all(is_used == used for _, is_used in middle[8:])
    assert kinds(out[-1][0]) == []


@pytest.mark.parametrize('name', ['lines', 'salt', 'pad_rows', 'cut below', 'stick_lower'])
def test_a_fault_that_is_there_from_the_start_is_named(world, name):
    damage, kind, _ = FAULTS[name]
    frames = drive(world, 12)
    out = check(damage(frames[:1], frames[1:]))
    assert all(kind in kinds(found) for found, _ in out[2:])


def test_a_standing_vehicle_is_not_frozen(world):
    """It comes to rest over a second, not within a frame."""
    rng = np.random.default_rng(1)
    place, frames = 0.0, []
    for speed in [3.0] * 20 + list(np.linspace(3, 0, 20)) + [0.0] * 40:
        place += speed
        shift = np.float32([[1, 0, -place], [0, 1, 0]])
        view = cv2.warpAffine(world, shift, SIZE[::-1], flags=cv2.INTER_LINEAR)
        view = view + rng.normal(0, 2.0, view.shape)
        frames.append(np.clip(view, 0, 255).astype(np.uint8))
    assert [kinds(f) for f, _ in check(frames)] == [[]] * 80


def test_healthy_frames_are_not_blamed_after_noise(world):
    rng = np.random.default_rng(2)
    frames = drive(world, 100)
    loud = [np.clip(f + rng.normal(0, 30, f.shape), 0, 255).astype('u1') for f in frames[20:60]]
    out = check([*frames[:20], *loud, *frames[60:]])
    assert all(kinds(found) == ['noisy'] for found, _ in out[20:60])
    assert all(not found for found, _ in out[60:])


def test_noise_that_ruins_a_picture_takes_it_out(world):
    rng = np.random.default_rng(3)
    frames = drive(world, 25)
    frames[22] = np.clip(frames[22] + rng.normal(0, 90, frames[22].shape), 0, 255).astype('u1')
    found, used = check(frames)[22]
    assert kinds(found) == ['noisy']
    assert not used


def test_what_lasts_longer_than_accept_s_is_the_new_normal(world):
    rng = np.random.default_rng(4)
    frames = drive(world, 90)
    loud = [np.clip(f + rng.normal(0, 14, f.shape), 0, 255).astype('u1') for f in frames[20:]]
    out = check([*frames[:20], *loud], HealthConfig(accept_s=2.0))
    assert kinds(out[21][0]) == ['noisy']
    assert kinds(out[-1][0]) == []


def test_figures_of_a_picture_against_numpy(world):
    first, second = drive(world, 2)
    one = measure_picture(first, 2.0)
    two = measure_picture(second, 2.0, one)
    rows = ((np.arange(72) + 0.5) * (SIZE[0] / 72)).astype(int)
    columns = ((np.arange(128) + 0.5) * (SIZE[1] / 128)).astype(int)
    rows, columns = rows.clip(2, SIZE[0] - 3), columns.clip(2, SIZE[1] - 3)
    a, b = (f[np.ix_(rows, columns)].astype(float) for f in (first, second))
    tiles = b.reshape(9, 8, 16, 8, 3)
    np.testing.assert_allclose(two.mean, tiles.mean((1, 3)), atol=1e-3)
    change = np.abs(b - a)[..., 1].reshape(9, 8, 16, 8)
    np.testing.assert_allclose(two.change, change.mean((1, 3)), atol=1e-3)
    np.testing.assert_allclose(two.same, (change == 0).mean((1, 3)), atol=1e-3)
    spread = np.ptp(tiles[..., 1], axis=(1, 3))
    np.testing.assert_array_equal(two.spread, spread)
    assert one.change is None


def test_likeness_and_growth_of_change_are_those_of_numpy(world):
    first, _, later = (f[:, :, 1] for f in drive(world, 3))
    expected = np.corrcoef(first.ravel(), later.ravel())[0, 1]
    assert correlate(first, later) == pytest.approx(expected, abs=1e-9)
    assert correlate(first, np.full_like(first, 7)) == 0
    frames = drive(world, 5)
    one = measure_picture(frames[0], 2.0)
    three = measure_picture(frames[3], 2.0, one)
    four = measure_picture(frames[4], 2.0, three)
    difference = np.abs(four.green.astype(float) - one.green).reshape(3, 24, 4, 32).mean((1, 3))
    near = four.change.astype(float).reshape(3, 3, 4, 4).mean((1, 3))
    ratio, part = compare_later(four.green, one.green, four.change)
    assert ratio == pytest.approx(difference.sum() / near.sum(), rel=1e-5)
    floor = 0.05 * near.mean() + 1e-6
    assert part == pytest.approx((difference / np.maximum(near, floor)).max(), rel=1e-5)


@pytest.mark.parametrize(('spoilt', 'told'), [(1, False), (12, True)])
def test_rows_of_a_large_picture_are_judged_by_looks_of_their_own(spoilt, told):
    """They are followed in one picture of four: one look must not count as two pictures."""
    rng = np.random.default_rng(1)
    coarse = rng.uniform(40, 210, (34, 90, 3)).astype(np.float32)
    wide = cv2.resize(coarse, (2400, 816), interpolation=cv2.INTER_CUBIC)
    frames = []
    for number in range(32):
        image = wide[:, 8 * number : 8 * number + 1088] + rng.normal(0, 2, (816, 1088, 3))
        frames.append(np.clip(image, 0, 255).astype(np.uint8))
    begin = 20  # a turn of the rows
    order = np.arange(816).reshape(-1, 4)[:, ::-1].ravel()
    for number in range(begin, begin + spoilt):
        frames[number] = frames[number][order]
    watch, limits, found = CameraWatch(), HealthConfig().camera, []
    for number, image in enumerate(frames):
        view = CameraModel(1088, 816, np.eye(3))
        frame = SensorFrame(CAMERA, 10**12 + number * PERIOD_NS, 'view', image, view)
        around = Circumstances(0.05, True, None, measure_image(image), frozenset())
        found += watch.look(frame, around, limits)
        watch.learn(0.05)
    rough = [f for f in found if 'neighbouring rows differ' in f.reason]
    assert bool(rough) == told


@pytest.mark.parametrize(
    ('rows', 'columns', 'words'),
    [
        (slice(0, 4), slice(0, 6), 'the upper left of the view (17 %)'),
        (slice(6, 9), slice(10, 16), 'the lower right of the view (12 %)'),
        (slice(3, 6), slice(0, 16), 'the middle of the view (33 %)'),
        (slice(1, 9), slice(0, 16), 'most of the view (89 %)'),
    ],
)
def test_places_are_told_in_words(rows, columns, words):
    tiles = np.zeros((9, 16), bool)
    tiles[rows, columns] = True
    assert describe_place(tiles) == words


@pytest.mark.data
def test_a_recorded_drive_names_faults_and_nothing_before_them(sample_data: Path):
    video = cv2.VideoCapture(str(sample_data / 'health/highway_25hz.mp4'))
    frames = [np.ascontiguousarray(video.read()[1][::2, ::2, ::-1]) for _ in range(60)]
    assert all(not found for found, _ in check(frames, period_ns=40_000_000))
    faults = {name: FAULTS[name] for name in ('ring of 3', 'noisy_copy', 'bgr', 'turned')}
    for name, (damage, kind, _) in (faults | {'jpeg': (each(jpeg), 'blocky', True)}).items():
        out = check([*frames[:40], *damage(frames[:40], frames[40:])], period_ns=40_000_000)
        assert all(not found for found, _ in out[:40])
        assert np.mean([kind in kinds(found) for found, _ in out[40:]]) > 0.6, name
