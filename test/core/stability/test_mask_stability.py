"""Masks that move in a known way: what has changed beyond motion is known exactly."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from sam_ad_perception.core.stability.mask_stability import MaskStability, carry_mask
from sam_ad_perception.core.stability.picture_motion import Motion, estimate_motion
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig

SIZE = (96, 128)


@pytest.fixture
def texture(rng):
    """A picture larger than a frame, smooth enough for flow."""
    noise = rng.integers(0, 256, (160, 220, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 0, 255, cv2.NORM_MINMAX)


def window(image, u, v):
    return np.ascontiguousarray(image[v : v + SIZE[0], u : u + SIZE[1]])


def moved(u, v):
    """The motion of a picture of which each pixel was at (u, v) from itself, known exactly."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = (columns + u >= 0) & (columns + u < SIZE[1])
    inside &= (rows + v >= 0) & (rows + v < SIZE[0])
    return Motion(np.broadcast_to(np.float32([u, v]), (*SIZE, 2)).copy(), inside)


@pytest.mark.parametrize(('u', 'v'), [(0, 0), (5, -3), (-11, 7)])
def test_a_mask_that_moves_with_its_picture_has_not_changed(rng, u, v):
    world = rng.integers(0, 4, (160, 220), dtype=np.uint8)
    before, now = window(world, 40, 30), window(world, 40 + u, 30 + v)
    stability = MaskStability(4)
    stability.update(before, now, moved(u, v))
    assert (stability.pairs, stability.changed, stability.consistency) == (1, 0.0, 1.0)
    assert stability.matrix.counts.sum() == (SIZE[0] - abs(v)) * (SIZE[1] - abs(u))
    still = MaskStability(4)
    still.update(before, now, moved(0, 0))
    expected = (before != now).mean()
    assert still.changed == pytest.approx(expected)


def test_changed_pixels_are_counted_and_consistency_is_that_of_torchmetrics(rng):
    stability, means, wrong, total = MaskStability(4), [], 0, 0
    for _ in range(3):
        world = rng.integers(0, 4, (160, 220), dtype=np.uint8)
        before, now = window(world, 40, 30), window(world, 43, 28)
        flipped = rng.random(SIZE) < 0.1
        now = np.where(flipped, (now + 1) % 4, now).astype(np.uint8)
        unknown = rng.random(SIZE) < 0.05
        now[unknown] = 255
        motion = moved(3, -2)
        stability.update(before, now, motion)
        counted = motion.visible & ~unknown
        wrong, total = wrong + (flipped & counted).sum(), total + counted.sum()
        pair = [
            torch.from_numpy(m[counted].astype(np.int64))
            for m in (now, carry_mask(before, motion))
        ]
        means.append(float(multiclass_jaccard_index(*pair, num_classes=4)))
    assert stability.changed == pytest.approx(wrong / total)
    assert stability.consistency == pytest.approx(np.mean(means), abs=1e-6)
    halves = MaskStability(4)
    halves.merge(stability)
    halves.merge(stability)
    assert halves.pairs == 6
    assert halves.changed == pytest.approx(stability.changed)
    assert halves.consistency == pytest.approx(stability.consistency)


@pytest.mark.parametrize(('u', 'v'), [(0, 0), (6, 2), (-3, -4)])
def test_flow_finds_a_translation(texture, u, v):
    motion = estimate_motion(window(texture, 40, 30), window(texture, 40 + u, 30 + v))
    found = motion.flow[16:-16, 16:-16].reshape(-1, 2)
    assert np.abs(found - (u, v)).max(axis=1).mean() < 0.2
    assert motion.visible[16:-16, 16:-16].mean() > 0.98


def test_large_pictures_have_their_own_motion(texture):
    large = [
        cv2.resize(window(texture, 40 + u, 30), None, fx=12, fy=12, interpolation=cv2.INTER_CUBIC)
        for u in (0, 2)
    ]
    motion = estimate_motion(*large)
    assert motion.flow.shape == (*large[0].shape[:2], 2)
    assert motion.visible.shape == large[0].shape[:2]
    assert np.median(motion.flow[200:-200, 200:-200, 0]) == pytest.approx(24, abs=1)


def test_true_masks_of_a_simulated_drive_hardly_change():
    drive = Drive(DriveConfig(seed=3, duration_s=1.0))
    stamps = drive.frame_stamps('camera')[2:4]
    bundles, truths = zip(*(drive.bundle(stamp) for stamp in stamps), strict=True)
    pictures = [np.asarray(bundle.frames['camera'].data) for bundle in bundles]
    motion = estimate_motion(*pictures)
    steady, naive = MaskStability(19), MaskStability(19)
    steady.update(truths[0].labels, truths[1].labels, motion)
    still = Motion(np.zeros_like(motion.flow), motion.visible)
    naive.update(truths[0].labels, truths[1].labels, still)
    assert steady.changed < 0.03
    assert steady.changed < 0.7 * naive.changed


def test_a_cut_counts_nothing(rng, texture):
    other = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    motion = estimate_motion(window(texture, 40, 30), other)
    assert not motion.is_same_scene
    stability, mask = MaskStability(4), np.zeros(SIZE, np.uint8)
    stability.update(mask, mask, motion)
    stability.update(mask, mask, None)
    stability.update(mask, np.full(SIZE, 255, np.uint8), moved(0, 0))
    assert stability.pairs == 0
    assert math.isnan(stability.changed)
    assert math.isnan(stability.consistency)


def test_wrong_arguments_are_refused(texture):
    picture = window(texture, 0, 0)
    with pytest.raises(ValueError, match=r'before must be \(H, W\) or \(H, W, 3\) uint8, got'):
        estimate_motion(picture.astype(np.float32), picture)
    with pytest.raises(ValueError, match='differ in shape'):
        estimate_motion(picture[:-1], picture)
    with pytest.raises(ValueError, match='differ in size'):
        carry_mask(np.zeros((3, 4), np.uint8), moved(0, 0))
