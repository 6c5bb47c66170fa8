from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.functional.segmentation import mean_iou

from sam_ad_perception.core.metrics import ConfusionMatrix


def brute_force_iou(prediction, truth, num_classes):
    """By sets of pixels, class by class."""
    prediction, truth = prediction[truth != 255], truth[truth != 255]
    iou = []
    for k in range(num_classes):
        union = np.sum((prediction == k) | (truth == k))
        iou.append(np.sum((prediction == k) & (truth == k)) / union if union else np.nan)
    return np.array(iou)


def test_counts_equal_torchmetrics(rng):
    matrix, oracle = ConfusionMatrix(19), MulticlassConfusionMatrix(19, ignore_index=255)
    for _ in range(3):
        prediction = rng.integers(0, 19, (40, 60), dtype=np.uint8)
        truth = rng.choice([*range(12), 255], (40, 60)).astype(np.uint8)
        matrix.update(prediction, truth)
        oracle.update(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
    np.testing.assert_array_equal(matrix.counts[:, :19], oracle.compute().numpy())
    assert matrix.present().tolist() == [True] * 12 + [False] * 7
    hits = np.diagonal(matrix.counts).sum()
    assert matrix.accuracy() == pytest.approx(hits / matrix.counts.sum())


def test_iou_equals_torchmetrics(rng):
    prediction = rng.integers(0, 5, (1, 30, 30), dtype=np.uint8)
    truth = rng.integers(0, 5, (1, 30, 30), dtype=np.uint8)
    matrix = ConfusionMatrix(5)
    matrix.update(prediction[0], truth[0])
    expected = mean_iou(
        torch.from_numpy(prediction).long(),
        torch.from_numpy(truth).long(),
        num_classes=5,
        per_class=True,
        input_format='index',
    )
    np.testing.assert_allclose(matrix.iou(), expected[0].numpy(), rtol=1e-6)
    assert matrix.miou() == pytest.approx(float(expected.mean()), rel=1e-6)


ids = st.sampled_from([0, 1, 2, 3, 255])


@given(arrays(np.uint8, (6, 7), elements=ids), arrays(np.uint8, (6, 7), elements=ids))
def test_iou_equals_brute_force_with_unlabeled_pixels_on_both_sides(prediction, truth):
    matrix = ConfusionMatrix(4)
    matrix.update(prediction, truth)
    expected = brute_force_iou(prediction, truth, 4)
    np.testing.assert_allclose(matrix.iou(), expected)
    known = expected[np.isfinite(expected)]
    assert matrix.miou() == pytest.approx(known.mean() if known.size else np.nan, nan_ok=True)
    occurring = expected[np.isin(np.arange(4), truth)]
    of_present = occurring.mean() if occurring.size else np.nan
    assert matrix.miou_of_present() == pytest.approx(of_present, nan_ok=True)


def test_an_unlabeled_prediction_is_a_wrong_one():
    truth = np.zeros((1, 4), np.uint8)
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([[0, 0, 0, 255]], np.uint8), truth)
    assert matrix.iou()[0] == 0.75
    assert np.isnan(matrix.iou()[1])
    assert matrix.miou() == 0.75


def test_merging_equals_counting_together(rng):
    images = rng.integers(0, 3, (4, 8, 8), dtype=np.uint8)
    together, first, second = ConfusionMatrix(3), ConfusionMatrix(3), ConfusionMatrix(3)
    together.update(images[0], images[1])
    together.update(images[2], images[3])
    first.update(images[0], images[1])
    second.update(images[2], images[3])
    first.merge(second)
    np.testing.assert_array_equal(first.counts, together.counts)
    with pytest.raises(ValueError, match='of 3 and 4 classes'):
        first.merge(ConfusionMatrix(4))


def test_nothing_counted_is_not_zero():
    matrix = ConfusionMatrix(3)
    assert np.isnan(matrix.miou())
    assert np.isnan(matrix.miou_of_present())
    assert np.isnan(matrix.accuracy())


@pytest.mark.parametrize(
    ('prediction', 'truth', 'sentence'),
    [
        (np.zeros((2, 2), np.int64), np.zeros((2, 2), np.uint8), 'prediction must be uint8'),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 'differ in shape'),
        (
            np.full((2, 2), 7, np.uint8),
            np.zeros((2, 2), np.uint8),
            r'prediction holds the ids \[7',
        ),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), 3, np.uint8), r'truth holds the ids \[3\]'),
    ],
)
def test_wrong_masks_are_refused_and_not_counted(prediction, truth, sentence):
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=sentence):
        matrix.update(prediction, truth)
    assert matrix.counts.sum() == 0


def test_too_many_classes_are_refused():
    with pytest.raises(ValueError, match='num_classes <= ignore_id'):
        ConfusionMatrix(19, ignore_id=3)
