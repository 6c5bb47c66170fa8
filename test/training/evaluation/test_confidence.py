"""Figures of the confidence against torchmetrics, and against pairs of pixels counted by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
    binary_roc,
)

from training.evaluation.confidence import ConfidenceHistogram


def count(confidence, correct):
    histogram = ConfidenceHistogram()
    histogram.update(confidence, correct)
    return histogram


@pytest.mark.parametrize('sharpness', [0.3, 1.0, 4.0])
def test_figures_are_those_of_torchmetrics(rng, sharpness):
    confidence = (255 * rng.random((60, 90)) ** (1 / sharpness)).round().astype(np.uint8)
    correct = rng.random((60, 90)) < (confidence / 255) ** 2
    trust = count(confidence, correct).trust()
    share = torch.from_numpy(confidence / 255.0).flatten()
    right = torch.from_numpy(correct).long().flatten()
    assert trust.auroc == pytest.approx(float(binary_auroc(share, right)), abs=1e-6)
    fpr, tpr, _ = binary_roc(share, right)
    first = int((tpr.double() >= 0.95 - 1e-9).nonzero()[0])
    assert trust.fpr95 == pytest.approx(float(fpr[first]), abs=1e-6)
    success = float(binary_average_precision(share, right))
    assert trust.aupr_success == pytest.approx(success, abs=1e-6)
    failure = float(binary_average_precision(1 - share, 1 - right))
    assert trust.aupr_error == pytest.approx(failure, abs=1e-6)
    # levels that lie on a bound between two bins fall on either side by rounding
    inside = (confidence % 17 != 0) | (confidence == 0) | (confidence == 255)
    expected = binary_calibration_error(
        share[inside.ravel()].double(), right[inside.ravel()], n_bins=15, norm='l1'
    )
    ours = count(confidence[inside], correct[inside]).error()
    assert ours == pytest.approx(float(expected), abs=1e-6)


def test_the_area_is_the_share_of_pairs_in_order(rng):
    confidence = rng.integers(0, 5, 200, dtype=np.uint8)
    correct = rng.random(200) < 0.2 + 0.15 * confidence
    right, wrong = confidence[correct].astype(int), confidence[~correct].astype(int)
    order = np.sign(right[:, None] - wrong[None])
    assert count(confidence, correct).trust().auroc == pytest.approx((order.mean() + 1) / 2)


def test_images_add_up_and_means_are_plain(rng):
    confidence = rng.integers(0, 256, (2, 50, 40), dtype=np.uint8)
    correct = rng.random((2, 50, 40)) < 0.6
    total = count(confidence[0], correct[0])
    total.merge(count(confidence[1], correct[1]))
    np.testing.assert_array_equal(total.counts, count(confidence, correct).counts)
    assert total.accuracy() == pytest.approx(correct.mean())
    assert total.mean() == pytest.approx((confidence / 255).mean())
    np.testing.assert_array_equal(total.bins(10)[:, 0].sum(), correct.size)


def test_all_right_or_all_wrong_at_full_confidence():
    full, yes = np.full(10, 255, np.uint8), np.ones(10, bool)
    assert count(full, yes).error() == 0.0
    assert count(full, ~yes).error() == 1.0
    trust = count(full, yes).trust()
    assert all(math.isnan(v) for v in dataclasses.astuple(trust)[1:])
    nothing = ConfidenceHistogram()
    assert all(math.isnan(v) for v in dataclasses.astuple(nothing.trust()))
    assert math.isnan(nothing.accuracy())
    assert math.isnan(nothing.mean())


def test_a_perfect_order_is_told_as_such():
    confidence = np.array([200, 250, 10, 20], np.uint8)
    trust = count(confidence, np.array([True, True, False, False])).trust()
    assert dataclasses.astuple(trust)[1:] == (1.0, 0.0, 1.0, 1.0)
    trust = count(confidence, np.array([False, False, True, True])).trust()
    assert (trust.auroc, trust.fpr95) == (0.0, 1.0)


def test_wrong_pixels_are_refused_and_not_counted():
    histogram = ConfidenceHistogram()
    with pytest.raises(ValueError, match='must be uint8 and correct bool, got float64'):
        histogram.update(np.zeros(3), np.zeros(3, bool))
    with pytest.raises(ValueError, match='differ in shape'):
        histogram.update(np.zeros(3, np.uint8), np.zeros(2, bool))
    with pytest.raises(ValueError, match='num_bins must be from 1 to 255, got 0'):
        histogram.bins(0)
    assert not histogram.counts.any()
