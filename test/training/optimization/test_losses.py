from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.optimization.losses import (
    dice_loss,
    focal_loss,
    lovasz_loss,
    ohem_cross_entropy,
    surface_loss,
)


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


def hard(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Logits that are sure of given labels."""
    return 100.0 * torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


def test_focal_loss_is_torchvisions_for_two_classes():
    from torchvision.ops import sigmoid_focal_loss

    x = 3 * torch.randn(2, 5, 7)
    labels = torch.randint(2, (2, 5, 7))
    expected = 0.25 * sigmoid_focal_loss(x, labels.float(), alpha=-1, reduction='mean')
    logits = torch.stack((torch.zeros_like(x), x), dim=1)
    torch.testing.assert_close(focal_loss(logits, labels), expected)
    masked = labels.clone()
    masked[0] = 255
    expected = 0.25 * sigmoid_focal_loss(x[1], labels[1].float(), alpha=-1, reduction='mean')
    torch.testing.assert_close(focal_loss(logits, masked), expected)


def test_lovasz_loss_of_a_sure_mask_is_one_minus_its_iou():
    labels = torch.randint(4, (3, 12, 10))
    guess = torch.where(torch.rand(labels.shape) < 0.6, labels, torch.randint(5, labels.shape))
    labels[:, :2] = 255
    expected = []
    for truth, mask in zip(labels, guess, strict=True):
        valid = truth != 255
        ious = []
        for c in truth[valid].unique():
            a, b = (truth == c) & valid, (mask == c) & valid
            ious.append((a & b).sum() / (a | b).sum())
        expected.append(1 - torch.stack(ious).mean())
    torch.testing.assert_close(lovasz_loss(hard(guess, 5), labels), torch.stack(expected).mean())


def test_lovasz_loss_of_an_unsure_pixel_is_the_extension_at_its_error():
    """Two pixels, one of them wrong by p: the extension is linear there, from 0 to 1 - IoU."""
    labels = torch.tensor([[[0, 1]]])
    for p in (0.1, 0.5, 0.9):  # what class 0 gets at the second pixel
        logits = torch.tensor([[[[50.0, p]], [[0.0, 1 - p]]]])
        logits[0, :, 0, 1] = logits[0, :, 0, 1].log()
        # class 0: IoU falls from 1 to 1/2; class 1: from 1 to 0
        expected = torch.tensor((0.5 * p + 1.0 * p) / 2)
        torch.testing.assert_close(lovasz_loss(logits, labels), expected)


def test_surface_loss_weighs_by_brute_force_distance():
    labels = torch.zeros(1, 9, 11, dtype=torch.int64)
    labels[0, 3:6, 4:8] = 1
    labels[0, 8] = 255
    border = []
    for y in range(9):
        for x in range(11):
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                v, u = y + dy, x + dx
                if 0 <= v < 9 and 0 <= u < 11 and labels[0, v, u] != labels[0, y, x]:
                    border.append((y, x))
    logits = torch.randn(1, 2, 9, 11)
    p = logits.softmax(dim=1)
    total = 0.0
    for y in range(8):  # the last row is void
        for x in range(11):
            distance = min(((y - v) ** 2 + (x - u) ** 2) ** 0.5 for v, u in border)
            for c in range(2):
                total += abs(float(p[0, c, y, x]) - float(labels[0, y, x] == c)) * distance
    assert float(surface_loss(logits, labels)) == pytest.approx(total / (2 * 9 * 11), rel=1e-4)
    assert float(surface_loss(logits, torch.zeros_like(labels))) == 0


@pytest.mark.parametrize('loss', [focal_loss, lovasz_loss, surface_loss])
def test_losses_without_a_valid_pixel_are_zero_and_have_a_gradient(loss):
    logits = torch.randn(2, 4, 6, 6, requires_grad=True)
    value = loss(logits, torch.full((2, 6, 6), 255))
    value.backward()
    assert float(value.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()
