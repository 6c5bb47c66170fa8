"""Each loss against its formula in numpy, pixel by pixel and class by class, written apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sam_ad_perception.modeling.networks.mle_sam import MleSamOutput
from training.configuration.optimization import LossConfig
from training.optimization.losses import (
    dice_loss,
    dice_loss_of_all_classes,
    focal_loss,
    lovasz_loss,
    ohem_cross_entropy,
    surface_loss,
    total_loss,
)

CLASSES = 4
VOID = 255


def probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def pixels(labels: np.ndarray) -> list[tuple[int, int, int]]:
    return [place for place in np.ndindex(*labels.shape) if labels[place] != VOID]


def ohem(logits: np.ndarray, labels: np.ndarray) -> float:
    p = probabilities(logits)
    losses = sorted((-math.log(p[b, labels[b, y, x], y, x]) for b, y, x in pixels(labels)))[::-1]
    if not losses:
        return 0.0
    hard = [loss for loss in losses if loss > -math.log(0.7)]
    least = max(len(losses) // 16, 1)
    return float(np.mean(hard if len(hard) >= least else losses[:least]))


def dice(logits: np.ndarray, labels: np.ndarray) -> float:
    p = probabilities(logits)
    places = pixels(labels)
    scores = []
    for c in sorted({int(labels[place]) for place in places}):
        mass = sum(p[b, c, y, x] for b, y, x in places)
        truth = [(b, y, x) for b, y, x in places if labels[b, y, x] == c]
        scores.append(2 * sum(p[b, c, y, x] for b, y, x in truth) / (mass + len(truth)))
    return 1 - float(np.mean(scores)) if scores else 0.0


def dice_of_all(logits: np.ndarray, labels: np.ndarray) -> float:
    p = probabilities(logits)
    scores = []
    for image in range(len(labels)):
        places = [(y, x) for b, y, x in pixels(labels) if b == image]
        for c in range(CLASSES):
            mass = sum(p[image, c, y, x] for y, x in places)
            truth = [(y, x) for y, x in places if labels[image, y, x] == c]
            hits = sum(p[image, c, y, x] for y, x in truth)
            scores.append((2 * hits + 1e-7) / (mass + len(truth) + 1e-7))
    return 1 - float(np.mean(scores))


def focal(logits: np.ndarray, labels: np.ndarray) -> float:
    p = probabilities(logits)
    sure = [p[b, labels[b, y, x], y, x] for b, y, x in pixels(labels)]
    return float(np.mean([-0.25 * (1 - q) ** 2 * math.log(q) for q in sure])) if sure else 0.0


def lovasz(logits: np.ndarray, labels: np.ndarray) -> float:
    """The integral over thresholds of the Jaccard loss of what is wrong by more than it.

    That is what the convex extension of a set function is; no gradient of it is sorted here.
    """
    p = probabilities(logits)
    images = []
    for image in range(len(labels)):
        places = [(y, x) for b, y, x in pixels(labels) if b == image]
        classes = []
        for c in sorted({int(labels[image, y, x]) for y, x in places}):
            truth = {place for place in places if labels[image, *place] == c}
            errors = {(y, x): abs(((y, x) in truth) - p[image, c, y, x]) for y, x in places}
            total, steps = 0.0, sorted({0.0, *errors.values()})
            for low, high in pairwise(steps):
                wrong = {place for place in places if errors[place] >= high}
                total += (high - low) * len(wrong) / len(truth | wrong)
            classes.append(total)
        if classes:
            images.append(np.mean(classes))
    return float(np.mean(images)) if images else 0.0


def surface(logits: np.ndarray, labels: np.ndarray) -> float:
    p = probabilities(logits)
    total = 0.0
    for image, label in enumerate(labels):
        height, width = label.shape
        border = [
            (y, x)
            for y, x in np.ndindex(height, width)
            for v, u in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1))
            if 0 <= v < height and 0 <= u < width and label[v, u] != label[y, x]
        ]
        if not border:
            continue
        for y, x in np.ndindex(height, width):
            if label[y, x] != VOID:
                far = min(math.hypot(y - v, x - u) for v, u in border)
                total += sum(abs(p[image, c, y, x] - (label[y, x] == c)) * far for c in range(4))
    return total / logits.size


PAIRS = [
    (ohem_cross_entropy, ohem),
    (dice_loss, dice),
    (dice_loss_of_all_classes, dice_of_all),
    (focal_loss, focal),
    (lovasz_loss, lovasz),
    (surface_loss, surface),
]


def labels_of(kind: str, rng: np.random.Generator) -> np.ndarray:
    labels = rng.integers(0, CLASSES, (2, 5, 6))
    if kind == 'void':
        labels[0, :3] = VOID
        labels[1] = VOID  # an image without any label
    elif kind == 'absent':
        labels[labels == 2] = 1
        labels[0] = 1
    elif kind == 'single':
        labels[:] = 3
    elif kind == 'nothing':
        labels[:] = VOID
    return labels


@pytest.mark.parametrize('kind', ['all', 'void', 'absent', 'single', 'nothing'])
@pytest.mark.parametrize(('loss', 'formula'), PAIRS)
@given(seed=st.integers(0, 2**32 - 1), sharpness=st.sampled_from([0.1, 2.0, 8.0]))
@settings(max_examples=4, deadline=None)
def test_loss_is_its_formula(
    loss: Callable[[Tensor, Tensor], Tensor],
    formula: Callable[[np.ndarray, np.ndarray], float],
    kind: str,
    seed: int,
    sharpness: float,
):
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((2, CLASSES, 5, 6))
    labels = labels_of(kind, rng)
    given_logits = torch.from_numpy(logits).requires_grad_()
    got = loss(given_logits, torch.from_numpy(labels))
    assert float(got.detach()) == pytest.approx(formula(logits, labels), rel=1e-4, abs=1e-6)
    got.backward()
    assert given_logits.grad is not None
    assert bool(given_logits.grad.isfinite().all())
    assert not given_logits.grad.movedim(1, -1)[torch.from_numpy(labels == VOID)].any()


@pytest.mark.parametrize(('loss', '_formula'), PAIRS)
def test_gradient_is_that_of_the_differences(loss, _formula):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(1, CLASSES, 3, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (1, 3, 4), generator=generator)
    labels[0, 0, 0] = VOID
    assert torch.autograd.gradcheck(
        lambda x: loss(x, labels), logits.requires_grad_(), eps=1e-6, atol=1e-3
    )


def test_equation_14_looks_at_every_pixel_of_both_heads():
    """lambda_1 OHEM(main) + lambda_2 OHEM(aux) at stride 1: each label pixel counts in both."""
    rng = np.random.default_rng(5)
    main, aux = (rng.normal(0, 2, (2, CLASSES, 6, 9)) for _ in range(2))
    labels = rng.integers(0, CLASSES, (2, 6, 9))
    labels[0, 1:3] = VOID
    output = MleSamOutput(torch.tensor(main), torch.tensor(aux), torch.ones(3, 2, 1), ('camera',))
    config = LossConfig(main=0.7, aux=0.4)
    for offset in ((0, 0), (1, 0), (1, 1)):
        loss = total_loss(output, torch.tensor(labels), config, np.array(offset))
        assert float(loss) == pytest.approx(0.7 * ohem(main, labels) + 0.4 * ohem(aux, labels))
    coarse = total_loss(
        output, torch.tensor(labels), LossConfig(main=0.7, aux=0.4, aux_stride=2), np.array((1, 0))
    )
    halved = ohem(np.asarray(F.interpolate(torch.tensor(aux), (3, 5), mode='bilinear')),
                  labels[:, 1::2, ::2])  # fmt: skip
    assert float(coarse) == pytest.approx(0.7 * ohem(main, labels) + 0.4 * halved)
    with pytest.raises(ValueError, match='aux_stride must be 1 or more'):
        LossConfig(aux_stride=0)
