"""Masks held against the ground of simulated sweeps; the simulator's truth says what is road."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sam_ad_perception.core.labels import LABEL_SPACES, UNLABELED
from sam_ad_perception.core.lidar.ground import GroundConfig
from sam_ad_perception.core.sensors import Modality, Segmentation
from sam_ad_perception.core.status import from_key_values, summarize_segmentation, to_key_values
from sam_ad_perception.modeling.inference.ground_check import hold_against_ground
from sam_ad_perception.modeling.inputs.preparation import lidar_depth
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig

SPACE = LABEL_SPACES['cityscapes']


@pytest.fixture(scope='module')
def scenes():
    """Bundles, their returns and truth, of several streets."""
    made = []
    for seed in (1, 2, 3):
        drive = Drive(DriveConfig(seed=seed, duration_s=2.0))
        bundle, truth = drive.bundle(1_000_000_000)
        made.append((bundle, lidar_depth(bundle).returns, truth.labels))
    return made


def all_road(bundle):
    """What a network says that sees road everywhere."""
    mask = np.zeros(bundle.camera.size, np.uint8)
    confidence = np.full(bundle.camera.size, 200, np.uint8)
    return Segmentation(
        bundle.stamp_ns, bundle.camera, mask, confidence, 'tiny', (Modality.CAMERA,)
    )


def test_what_is_overruled_is_no_road_and_road_is_not_overruled(scenes):
    wrong = right = road = lost = 0
    for bundle, returns, truth in scenes:
        config = GroundConfig(overrule=True)
        result = hold_against_ground(all_road(bundle), bundle, returns, SPACE, config)
        taken = result.mask == UNLABELED
        assert result.on_ground == (int(np.isfinite(returns).sum()), int(taken.sum()))
        assert not result.confidence[taken].any()
        assert np.isfinite(returns[taken]).all()
        ground = np.isin(truth, [0, 1])  # road and sidewalk
        right += int((taken & ~ground).sum())
        wrong += int((taken & ground).sum())
        measured = np.isfinite(returns) & ground
        road, lost = road + int(measured.sum()), lost + int((measured & taken).sum())
    assert right > 200
    assert wrong < 0.02 * (right + wrong)
    assert lost < 0.01 * road


def test_counting_alone_changes_no_mask(scenes):
    bundle, returns, truth = scenes[0]
    before = all_road(bundle)
    result = hold_against_ground(before, bundle, returns, SPACE, GroundConfig())
    np.testing.assert_array_equal(result.mask, before.mask)
    assert result.on_ground is not None
    assert result.on_ground[1] > 20
    right = dataclasses.replace(before, mask=np.asarray(truth, np.uint8))
    counts = hold_against_ground(right, bundle, returns, SPACE, GroundConfig()).on_ground
    assert counts is not None
    assert counts[1] < 0.01 * counts[0]
    off = GroundConfig(check=False)
    assert hold_against_ground(before, bundle, returns, SPACE, off).on_ground is None


def test_counts_travel_in_the_status(scenes):
    bundle, returns, _ = scenes[0]
    result = hold_against_ground(all_road(bundle), bundle, returns, SPACE, GroundConfig())
    status = summarize_segmentation(result)
    pairs = to_key_values(status)
    assert dict(pairs)['ground/above'] == str(result.on_ground[1])
    assert from_key_values(status.stamp_ns, pairs).on_ground == result.on_ground
