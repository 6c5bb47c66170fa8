"""Logits averaged over time: what OpenCV and plain numpy give, and real consecutive frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam_ad_perception.core.stability.mask_stability import MaskStability
from sam_ad_perception.core.stability.picture_motion import estimate_motion
from sam_ad_perception.core.stability.temporal_filter import StabilityConfig, TemporalFilter
from test.pictures import camera_picture

GRID, SIZE = (40, 60), (160, 240)
PERIOD_NS = 66_000_000


@pytest.fixture
def steady():
    return TemporalFilter(StabilityConfig(filter=True))


@pytest.fixture
def scene(rng):
    """A picture wider than a frame, in which flow finds its way."""
    return cv2.GaussianBlur(camera_picture(rng, (SIZE[0], SIZE[1] + 64)), (0, 0), 1.5)


def window(scene, u):
    return np.ascontiguousarray(scene[:, u : u + SIZE[1]])


def logits_of(classes, sure=4.0):
    """Logits (3, h, w) of which each cell's class stands out."""
    return np.float32(sure) * np.eye(3, dtype=np.float32)[classes].transpose(2, 0, 1)


def run(steady, frames, step_ns=PERIOD_NS, source='net'):
    return [
        steady.steady('front', logits, picture, i * step_ns, source)
        for i, (logits, picture) in enumerate(frames)
    ]


def test_a_standing_scene_is_averaged_over_two_and_three_frames(steady, scene, rng):
    picture = window(scene, 0)
    given = [rng.normal(0, 1, (3, *GRID)).astype(np.float32) for _ in range(3)]
    first, second, third = run(steady, [(logits, picture) for logits in given])
    assert first is given[0]
    np.testing.assert_allclose(second, (given[0] + given[1]) / 2, atol=1e-6)
    agree = given[2].argmax(axis=0) == given[1].argmax(axis=0)
    expected = np.where(agree, (given[1] + given[2]) / 2, sum(given) / 3)
    np.testing.assert_allclose(third, expected, atol=1e-6)
    assert 0.2 < agree.mean() < 0.5


def test_logits_move_with_the_picture(steady, scene, rng):
    """A scene that passes by a whole cell a frame: numpy's roll is what has to come out."""
    cell = SIZE[1] // GRID[1]
    world = rng.normal(0, 1, (3, GRID[0], GRID[1] + 16)).astype(np.float32)
    given = [world[:, :, i : i + GRID[1]] + np.float32(0.1 * i) for i in range(2)]
    _, second = run(steady, [(each, window(scene, i * cell)) for i, each in enumerate(given)])
    inner = np.s_[:, 4:-4, 4:-4]
    expected = (given[1] + given[0][:, :, np.r_[1 : GRID[1], GRID[1] - 1]]) / 2
    assert np.median(np.abs(second - expected)[inner]) < 0.1
    not_moved = (given[1] + given[0]) / 2
    assert np.median(np.abs(second - not_moved)[inner]) > 0.3


@pytest.mark.parametrize('sure', [0.5, 50.0], ids=['unsure', 'very sure'])
def test_an_outlier_goes_under_and_a_new_object_is_late_by_one_frame_at_most(steady, scene, sure):
    """However sure the network was of the street before."""
    picture, street = window(scene, 0), np.zeros(GRID, np.intp)
    outlier, appeared = street.copy(), street.copy()
    outlier[10:14, 10:14], appeared[20:30, 20:40] = 1, 2
    classes = [street, street, outlier, street, street, appeared, appeared]
    strengths = [sure, sure, 0.5, sure, sure, 0.5, 0.5]
    frames = [(logits_of(c, s), picture) for c, s in zip(classes, strengths, strict=True)]
    seen = [logits.argmax(axis=0) for logits in run(steady, frames)]
    np.testing.assert_array_equal(seen[2], street)
    np.testing.assert_array_equal(seen[3], street)
    np.testing.assert_array_equal(seen[6], appeared)


@pytest.mark.parametrize(
    'change', ['cut', 'back', 'leap', 'sensors', 'size', 'grid', 'dark', 'not finite']
)
def test_the_filter_begins_anew(steady, scene, rng, change):
    picture = window(scene, 0)
    before, now = (rng.normal(0, 1, (3, *GRID)).astype(np.float32) for _ in range(2))
    stamp_ns, source, then = PERIOD_NS, 'net', picture
    steady.steady('front', before, picture, 0, source)
    if change == 'cut':
        then = cv2.GaussianBlur(camera_picture(rng, SIZE), (0, 0), 1.5)
    elif change == 'back':
        stamp_ns = -PERIOD_NS
    elif change == 'leap':
        stamp_ns = 600_000_000
    elif change == 'sensors':
        source = 'net without lidar'
    elif change == 'size':
        then = window(scene, 0)[:, :-1]
    elif change == 'grid':
        now = rng.normal(0, 1, (3, GRID[0], GRID[1] + 1)).astype(np.float32)
    elif change == 'dark':
        steady.steady('front', before, None, PERIOD_NS // 2, source)
    elif change == 'not finite':
        spoilt = before.copy()
        spoilt[0, 0, 0] = np.nan
        assert steady.steady('front', spoilt, picture, PERIOD_NS // 2, source) is spoilt
    found = steady.steady('front', now, then, stamp_ns, source)
    if change == 'size':  # a picture of another shape shrinks to the same: it is compared
        assert np.isfinite(found).all()
    else:
        assert found is now


def test_views_do_not_mix_and_nothing_happens_where_it_is_off(steady, scene, rng):
    picture = window(scene, 0)
    front, left = (rng.normal(0, 1, (3, *GRID)).astype(np.float32) for _ in range(2))
    steady.steady('front', front, picture, 0, 'net')
    assert steady.steady('left', left, picture, PERIOD_NS, 'net') is left
    off = TemporalFilter()
    off.steady('front', front, picture, 0, 'net')
    assert off.steady('front', left, picture, PERIOD_NS, 'net') is left


def test_many_classes_are_carried_as_few_are(steady, scene, rng):
    """OpenCV refuses pictures of so many channels at once."""
    given = rng.normal(0, 1, (200, *GRID)).astype(np.float32)
    pictures = [window(scene, 0), window(scene, 4)]
    _, whole = run(steady, [(given, picture) for picture in pictures])
    for begin in (0, 77, 190):  # OpenCV rounds otherwise where there are four channels or fewer
        alone = TemporalFilter(StabilityConfig(filter=True))
        part = given[begin : begin + 10]
        _, few = run(alone, [(part, picture) for picture in pictures])
        np.testing.assert_array_equal(few, whole[begin : begin + 10])


@pytest.mark.data
def test_noisy_labels_of_a_real_drive_flicker_less_and_are_right_more_often(
    steady, sample_data, rng
):
    """CamVid's own labels, a tenth of them wrong in patches that change from frame to frame."""
    paths = sorted((sample_data / 'camvid/val').glob('*.png'))[:12]
    before, after = MaskStability(12), MaskStability(12)
    right, last = np.zeros(2), None
    for number, path in enumerate(paths):
        picture = cv2.imread(str(path))[:, :, ::-1].copy()
        labels = cv2.imread(str(path.parents[1] / 'valannot' / path.name), cv2.IMREAD_GRAYSCALE)
        wrong = cv2.resize(
            (rng.random((45, 60)) < 0.1).astype(np.uint8), (480, 360), interpolation=0
        )
        noisy = np.where(wrong > 0, (labels + 1) % 12, labels)[2::4, 2::4]
        logits = 3 * np.eye(12, dtype=np.float32)[noisy].transpose(2, 0, 1)
        steadied = steady.steady('front', logits, picture, number * PERIOD_NS, 'net')
        masks = [
            np.repeat(np.repeat(each.argmax(axis=0), 4, axis=0), 4, axis=1).astype(np.uint8)
            for each in (logits, steadied)
        ]
        right += [(mask == labels).mean() for mask in masks]
        if last is not None:
            motion = estimate_motion(last[0], picture)
            before.update(last[1], masks[0], motion)
            after.update(last[2], masks[1], motion)
        last = picture, *masks
    assert after.changed < 0.6 * before.changed
    assert right[1] > right[0] + 0.03 * len(paths)
