"""Losses of segmentation training."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sam_ad_perception.modeling.fusion_sam import FusionSamOutput
from sam_ad_perception.modeling.networks import NetworkOutput
from training.config import LossConfig


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


def total_loss(
    output: NetworkOutput, labels: Tensor, config: LossConfig, offset: NDArray[np.int64]
) -> Tensor:
    """Combine the losses of all that a network returns.

    MLE-SAM has two heads (arXiv 2412.04220, Eq. 13-14). The second head of FusionSAM is the
    coarse map from which it takes its prompts; its autoencoders are held to their images as long
    as they are trained with the rest. AD-SAM has one head.

    Args:
        output: The network's output.
        labels: (B, H, W) int64 at the camera's size.
        config: Weights.
        offset: (2,) row and column, 0 or 1: which of the label pixels are used.

    Returns:
        The loss.
    """
    stride = config.stride
    row, column = int(offset[0]), int(offset[1])
    labels = labels[:, row % stride :: stride, column % stride :: stride]
    size = (labels.shape[-2], labels.shape[-1])
    logits = F.interpolate(output.logits, size=size, mode='bilinear', align_corners=False)
    loss = config.main * ohem_cross_entropy(logits, labels, threshold=config.ohem_threshold)
    if config.dice > 0:
        loss = loss + config.dice * dice_loss(logits, labels)
    if config.aux > 0 and output.aux_logits is not None:
        labels = labels[:, row::2, column::2]  # a guide, not the result: half as fine will do
        size = (labels.shape[-2], labels.shape[-1])
        aux = F.interpolate(output.aux_logits, size=size, mode='bilinear', align_corners=False)
        hard = ohem_cross_entropy(aux, labels, threshold=config.ohem_threshold)
        loss = loss + config.aux * hard
    if isinstance(output, FusionSamOutput):
        for name, image in output.reconstructions.items():
            if image.requires_grad:
                distance = F.l1_loss(image, output.normalized[name])
                loss = loss + config.reconstruction * distance
        if output.commitment.requires_grad:
            loss = loss + config.commitment * output.commitment
    return loss
