"""Losses of segmentation training."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def ohem_cross_entropy(
    logits: Tensor, labels: Tensor, *, threshold: float = 0.7, ignore_id: int = 255
) -> Tensor:
    """Cross-entropy of the hard pixels (Eq. 13-14; details as in the DELIVER code base).

    Keeps pixels whose loss exceeds -ln(threshold); when they are fewer than a sixteenth of the
    valid pixels, keeps that many of the highest losses instead.

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) int64.
        threshold: Probability of the true class above which a pixel is easy.
        ignore_id: Label of pixels that do not count.

    Returns:
        Mean loss of the kept pixels; 0 where no pixel is valid.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=ignore_id, reduction='none').flatten()
    valid = int((labels != ignore_id).sum())
    if valid == 0:
        return logits.sum() * 0
    hard = losses[losses > -math.log(threshold)]
    least = max(valid // 16, 1)
    if hard.numel() < least:
        hard = losses.topk(least).values
    return hard.mean()


def dice_loss(logits: Tensor, labels: Tensor, *, ignore_id: int = 255) -> Tensor:
    """Soft Dice over the batch, mean over the classes that occur in the labels.

    For class c, with softmax probabilities p and one-hot truth g over the valid pixels:
    1 - 2 sum(p g) / (sum p + sum g).

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) int64.
        ignore_id: Label of pixels that do not count.

    Returns:
        The loss in [0, 1]; 0 where no pixel is valid.
    """
    valid = labels != ignore_id
    if not bool(valid.any()):
        return logits.sum() * 0
    probabilities = logits.softmax(dim=1)
    classes = logits.shape[1]
    target = labels.masked_fill(~valid, 0)
    chosen = probabilities.gather(1, target[:, None])[:, 0] * valid
    flat = target.flatten()
    hits = torch.zeros(classes, device=logits.device).index_add_(0, flat, chosen.flatten())
    truth = torch.zeros(classes, device=logits.device)
    truth = truth.index_add_(0, flat, valid.flatten().to(truth.dtype))
    mass = (probabilities * valid[:, None]).sum(dim=(0, 2, 3))
    present = truth > 0
    dice = 2 * hits[present] / (mass[present] + truth[present])
    return 1 - dice.mean()
