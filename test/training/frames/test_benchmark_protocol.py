"""Each dataset's mean is that of its official evaluator: its rule for absent classes, its size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassJaccardIndex

from sam_ad_perception.core.metrics import ConfusionMatrix
from training.datasets.catalog import LAYOUTS
from training.evaluation.measurement import Answer, Score
from training.frames.benchmark_protocol import (
    ABSENT,
    IN_TRUTH,
    LEFT_OUT,
    ZERO,
    BenchmarkProtocol,
)

CLASSES, IGNORE = 6, 255


@given(
    seed=st.integers(0, 10_000),
    truth=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=4),
    answer=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=4),
)
def test_the_rules_are_those_of_torchmetrics(seed, truth, answer):
    """torchmetrics leaves absent classes out of its macro mean, and calls their own IoU 0."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([*truth, IGNORE], np.uint8), 300)
    labels[0] = truth[0]
    mask = rng.choice(np.array(answer, np.uint8), 300)
    matrix = ConfusionMatrix(CLASSES, IGNORE)
    matrix.update(mask, labels)
    pair = torch.from_numpy(mask.astype(int)), torch.from_numpy(labels.astype(int))

    def metric(average):
        jaccard = MulticlassJaccardIndex(CLASSES, average=average, ignore_index=IGNORE)
        return jaccard(*pair).numpy()

    each = metric('none')
    known = np.unique(labels[labels != IGNORE])
    wanted = {LEFT_OUT: metric('macro'), ZERO: each.mean(), IN_TRUTH: each[known].mean()}
    for rule in ABSENT:
        got = BenchmarkProtocol('', rule).mean_iou(matrix)
        assert got == pytest.approx(float(wanted[rule]), abs=1e-6), rule


def test_every_published_dataset_names_its_evaluator():
    for layout in LAYOUTS.values():
        if layout.name in ('toy_frames',):
            continue  # of the package in test/plugin_package, where it is installed
        assert layout.protocol is not None, layout.name
        assert layout.protocol.evaluator, layout.name
    assert LAYOUTS['deliver'].protocol.absent == ZERO
    assert LAYOUTS['bdd100k'].protocol.absent == IN_TRUTH
    assert LAYOUTS['cityscapes'].protocol.absent == LEFT_OUT


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match=r"absent must be one of .*, got 'half'"):
        BenchmarkProtocol('', 'half')


@pytest.fixture
def sample():
    """A frame whose truth is class 1 but for its outermost columns."""

    @dataclasses.dataclass
    class Frame:
        labels: np.ndarray
        condition: str = 'fog'
        case: str = ''

    labels = np.ones((8, 12), np.uint8)
    labels[:, [0, 1, -2, -1]] = 0
    return Frame(labels)


def score_of(protocol):
    return Score(ConfusionMatrix(3), ConfusionMatrix(3), protocol=protocol)


def test_only_the_middle_counts_where_the_evaluator_cuts_it_out(sample):
    score = score_of(BenchmarkProtocol('', ZERO, centre=(8, 8)))
    mask = np.ones((8, 12), np.uint8)
    score.add(sample, Answer(mask, mask, None, None))
    assert score.official_miou() == pytest.approx(100 / 3)
    assert score.official_miou('fog') == pytest.approx(100 / 3)
    assert score.official[''].counts.sum() == 64
    assert score.miou < 50


def test_a_size_of_its_own_is_met_by_a_network_of_that_size_alone(sample):
    protocol = BenchmarkProtocol('', size=(4, 6))
    mask = np.ones((8, 12), np.uint8)
    met, missed = score_of(protocol), score_of(protocol)
    met.add(sample, Answer(mask, mask, np.ones((4, 6), np.uint8), None))
    missed.add(sample, Answer(mask, mask, np.ones((4, 4), np.uint8), None))
    assert met.official[''].counts.sum() == 24
    assert np.isfinite(met.official_miou())
    assert np.isnan(missed.official_miou())
    assert missed.official == {}


def test_a_frame_without_a_mask_is_all_wrong(sample):
    score = score_of(BenchmarkProtocol('', IN_TRUTH))
    score.add(sample, None)
    assert score.official_miou() == 0
    mask = sample.labels.copy()
    other = score_of(BenchmarkProtocol('', IN_TRUTH))
    other.add(sample, Answer(mask, mask, None, None))
    score.merge(other)
    assert score.official_miou() == pytest.approx(50)
