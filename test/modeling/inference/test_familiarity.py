"""The distance to known frames against numpy's own arithmetic, and the files of statistics."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sam_ad_perception.core.health.config import UNCHECKED
from sam_ad_perception.core.status import from_key_values, summarize_segmentation, to_key_values
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork, load_expert
from sam_ad_perception.modeling.inference.familiarity import (
    FEWEST,
    SHRINKAGE,
    Familiarity,
    FamiliarityError,
    familiarity_file,
    fit_statistics,
    load_familiarity,
    pool_logits,
    save_familiarity,
)
from sam_ad_perception.modeling.inference.segmenter import Segmenter

SENSORS = ('camera', 'event', 'lidar', 'thermal')


def test_a_frame_is_pooled_by_class_and_what_all_classes_share_does_not_count(rng):
    logits = rng.normal(0, 1, (5, 8, 12)).astype(np.float32)
    pooled = pool_logits(logits)
    relative = logits - logits.mean(axis=0)
    expected = [*(c.mean() for c in relative), *(c.std() for c in relative)]
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)
    shared = logits + rng.normal(0, 9, (8, 12)).astype(np.float32)
    np.testing.assert_allclose(pool_logits(shared), pooled, atol=1e-4)


def test_the_distance_is_mahalanobis_to_the_shrunk_covariance(rng):
    spread = rng.normal(0, 1, (6, 6))
    features = (rng.normal(0, 1, (200, 6)) @ spread + 3).astype(np.float32)
    known = fit_statistics(features)
    covariance = np.cov(features.astype(np.float64), rowvar=False)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))
    frame = features[0] + np.float32(2)
    away = frame - features.mean(axis=0)
    expected = np.sqrt(away @ np.linalg.solve(covariance, away))
    assert known.unlike(frame) * known.usual == pytest.approx(expected, rel=1e-3)
    assert known.unlike(features.mean(axis=0)) == pytest.approx(0, abs=1e-3)


def test_one_in_twenty_known_frames_is_above_one_and_strange_ones_are_all(rng):
    spread = rng.normal(0, 1, (6, 6))
    known = fit_statistics((rng.normal(0, 1, (400, 6)) @ spread).astype(np.float32))
    fresh = (rng.normal(0, 1, (2000, 6)) @ spread).astype(np.float32)
    shares = np.mean([known.unlike(each) > 1 for each in fresh])
    assert 0.02 < shares < 0.09
    assert np.mean([known.unlike(each) > 1 for each in fresh + 30]) == 1
    assert known.unlike(fresh[0, :3]) == np.inf


def test_few_frames_are_refused(rng):
    with pytest.raises(ValueError, match=f'{FEWEST} frames or more, got {FEWEST - 1}'):
        fit_statistics(rng.normal(0, 1, (FEWEST - 1, 4)).astype(np.float32))


@pytest.fixture
def familiarity(rng):
    sets = [SENSORS, ('camera',)]
    return Familiarity(
        {each: fit_statistics(rng.normal(0, 1, (50, 38)).astype(np.float32)) for each in sets}
    )


def test_statistics_survive_their_file(familiarity, tmp_path, rng):
    path = familiarity_file(tmp_path, 'net')
    assert load_familiarity(path, 'ab' * 32) is None
    save_familiarity(familiarity, path, 'ab' * 32)
    read = load_familiarity(path, 'ab' * 32)
    logits = rng.normal(0, 1, (19, 8, 12)).astype(np.float32)
    for subset in (('camera',), ('lidar', 'camera', 'event', 'thermal')):
        assert read.unlike(subset, logits) == pytest.approx(familiarity.unlike(subset, logits))
    assert read.unlike(('lidar',), logits) is None


def test_statistics_that_do_not_belong_to_the_weights_are_refused(familiarity, tmp_path):
    path = tmp_path / 'some.safetensors'
    save_familiarity(familiarity, path, 'ab' * 32)
    with pytest.raises(FamiliarityError, match='is of weights with sha256 abababababab'):
        load_familiarity(path, 'cd' * 32)
    tensors = load_file(path)
    for change, message in (
        ({'camera/usual': None}, 'lacks a part of camera'),
        ({'camera/precision': np.zeros((2, 2), np.float32)}, r'a precision \(2, 2\)'),
        ({'camera/usual': np.zeros(1, np.float32)}, '0 as its usual distance'),
    ):
        left = {k: v for k, v in {**tensors, **change}.items() if v is not None}
        save_file(left, path, {'weights_sha256': 'ab' * 32})
        with pytest.raises(FamiliarityError, match=message):
            load_familiarity(path, 'ab' * 32)
    path.write_bytes(b'no tensors')
    with pytest.raises(FamiliarityError, match='cannot be read'):
        load_familiarity(path, 'ab' * 32)


def test_the_segmenter_tells_it_and_the_status_carries_it(spec, network, bundle, familiarity):
    expert = ExpertNetwork(spec, network, familiarity=familiarity)
    (result,) = Segmenter([expert], health=UNCHECKED).segment([bundle])
    assert result.unlike_training > 0
    status = summarize_segmentation(result)
    again = from_key_values(status.stamp_ns, to_key_values(status))
    assert again.unlike_training == pytest.approx(result.unlike_training, abs=5e-4)
    (plain,) = Segmenter([ExpertNetwork(spec, network)], health=UNCHECKED).segment([bundle])
    assert plain.unlike_training is None
    np.testing.assert_array_equal(plain.mask, result.mask)


def test_statistics_beside_the_weights_are_loaded(repository):
    """Those of the demo network are of its very weights."""
    from sam_ad_perception.modeling.zoo.entries import load_zoo

    zoo = load_zoo(repository / 'models/zoo.yaml')
    folder = repository / 'models/checkpoints'
    expert = load_expert(zoo, 'mle_sam_demo', folder)
    assert set(expert.familiarity.sets) == {('camera',), SENSORS}
    assert load_expert(zoo, 'mle_sam_fast', folder).familiarity is None
