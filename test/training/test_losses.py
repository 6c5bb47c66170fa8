from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.losses import dice_loss, ohem_cross_entropy


def pixel_losses(logits: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Cross-entropy of each valid pixel, in plain Python floats."""
    losses = []
    for b, v, u in np.ndindex(*labels.shape):
        label = int(labels[b, v, u])
        if label != 255:
            scores = logits[b, :, v, u].tolist()
            total = math.log(sum(math.exp(s) for s in scores))
            losses.append(total - scores[label])
    return losses


@pytest.fixture
def sample() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 5, 6, 7, generator=generator)
    labels = torch.randint(0, 5, (2, 6, 7), generator=generator)
    labels[0, 0] = 255
    return logits, labels


def test_ohem_is_the_mean_of_the_hard_pixels(sample):
    logits, labels = sample
    hard = [loss for loss in pixel_losses(logits, labels) if loss > -math.log(0.7)]
    assert len(hard) > 5
    got = ohem_cross_entropy(logits, labels)
    assert float(got) == pytest.approx(sum(hard) / len(hard), rel=1e-5)


def test_ohem_keeps_a_sixteenth_when_all_is_easy(sample):
    _, labels = sample
    generator = torch.Generator().manual_seed(1)
    clean = labels.masked_fill(labels == 255, 0)
    logits = 4.0 * torch.nn.functional.one_hot(clean, 5).permute(0, 3, 1, 2)
    logits = logits + 0.1 * torch.randn(logits.shape, generator=generator)
    losses = sorted(pixel_losses(logits, labels), reverse=True)
    assert losses[0] < -math.log(0.7)
    kept = losses[: len(losses) // 16]
    got = ohem_cross_entropy(logits, labels)
    assert float(got) == pytest.approx(sum(kept) / len(kept), rel=1e-5)


def test_dice_is_its_formula_over_the_classes_present(sample):
    logits, labels = sample
    labels[labels == 3] = 2  # class 3 does not occur
    p = logits.double().softmax(dim=1).numpy()
    g = labels.numpy()
    scores = []
    for c in (0, 1, 2, 4):
        valid = g != 255
        hits = p[:, c][valid & (g == c)].sum()
        scores.append(2 * hits / (p[:, c][valid].sum() + (g == c).sum()))
    expected = 1 - np.mean(scores)
    assert float(dice_loss(logits, labels)) == pytest.approx(expected, rel=1e-5)


def test_perfect_masks_cost_nothing(sample):
    _, labels = sample
    clean = labels.masked_fill(labels == 255, 0)
    logits = 100.0 * torch.nn.functional.one_hot(clean, 5).permute(0, 3, 1, 2)
    assert float(ohem_cross_entropy(logits, labels)) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(logits, labels)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('loss', [ohem_cross_entropy, dice_loss])
def test_unlabeled_pixels_have_no_gradient(sample, loss):
    logits, labels = sample
    logits.requires_grad_()
    loss(logits, labels).backward()
    assert float(logits.grad[0, :, 0].abs().sum()) == 0
    assert float(logits.grad.abs().sum()) > 0


@pytest.mark.parametrize('loss', [ohem_cross_entropy, dice_loss])
def test_images_without_labels_give_zero(sample, loss):
    logits, labels = sample
    logits.requires_grad_()
    value = loss(logits, torch.full_like(labels, 255))
    value.backward()
    assert float(value.detach()) == 0
