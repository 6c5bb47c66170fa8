"""Losses of segmentation training."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sam_ad_perception.modeling.network import NetworkOutput, OwnLoss
from sam_ad_perception.modeling.networks.fusion_sam import FusionSamOutput
from training.configuration.optimization import LossConfig


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
    hits = chosen.new_zeros(classes).index_add_(0, flat, chosen.flatten())
    truth = chosen.new_zeros(classes)
    truth = truth.index_add_(0, flat, valid.flatten().to(truth.dtype))
    mass = (probabilities * valid[:, None]).sum(dim=(0, 2, 3))
    present = truth > 0
    dice = 2 * hits[present] / (mass[present] + truth[present])
    return 1 - dice.mean()


def dice_loss_of_all_classes(logits: Tensor, labels: Tensor, *, ignore_id: int = 255) -> Tensor:
    """Soft Dice per image, mean over images and all classes, as in AD-SAM's code.

    For an image and a class, with softmax probabilities p and one-hot truth g over the valid
    pixels: 1 - (2 sum(p g) + e) / (sum p + sum g + e), e = 1e-7.

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) int64.
        ignore_id: Label of pixels that do not count.

    Returns:
        The loss in [0, 1]; 0 where no pixel is valid.
    """
    valid = labels != ignore_id
    truth = F.one_hot(labels.masked_fill(~valid, 0), logits.shape[1]).movedim(-1, 1)
    truth = truth * valid[:, None]
    probabilities = logits.softmax(dim=1) * valid[:, None]
    hits = (probabilities * truth).sum(dim=(2, 3))
    mass = probabilities.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    return 1 - ((2 * hits + 1e-7) / (mass + 1e-7)).mean()


def focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    ignore_id: int = 255,
) -> Tensor:
    """Cross-entropy that counts easy pixels less (arXiv 1708.02002): a (1 - p)^g CE.

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) int64.
        alpha: a, one factor for all classes, as in AD-SAM's code.
        gamma: g.
        ignore_id: Label of pixels that do not count.

    Returns:
        Mean over the valid pixels; 0 where there is none.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=ignore_id, reduction='none')
    losses = alpha * (1 - (-losses).exp()) ** gamma * losses
    return losses.sum() / (labels != ignore_id).sum().clamp_min(1)


def lovasz_loss(logits: Tensor, labels: Tensor, *, ignore_id: int = 255) -> Tensor:
    """Lovász-Softmax (arXiv 1705.08790): the convex extension of 1 - IoU.

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) int64.
        ignore_id: Label of pixels that do not count.

    Returns:
        Mean over images of the mean over the classes present; 0 where no pixel is valid.
    """
    images = []
    for probabilities, label in zip(logits.softmax(dim=1), labels, strict=True):
        valid = label != ignore_id
        present = label[valid].unique()
        if not len(present):
            continue
        truth = (label[valid] == present[:, None]).to(probabilities.dtype)
        errors = (truth - probabilities[:, valid][present]).abs()
        errors, order = errors.sort(dim=1, descending=True)
        truth = truth.gather(1, order)
        missed = truth.sum(dim=1, keepdim=True) - truth.cumsum(dim=1)
        joined = truth.sum(dim=1, keepdim=True) + (1 - truth).cumsum(dim=1)
        jaccard = 1 - missed / joined
        steps = jaccard.diff(dim=1, prepend=torch.zeros_like(jaccard[:, :1]))
        images.append((errors * steps).sum(dim=1).mean())
    return torch.stack(images).mean() if images else logits.sum() * 0


def surface_loss(logits: Tensor, labels: Tensor, *, ignore_id: int = 255) -> Tensor:
    """Error weighed by the distance to the nearest border between two labels.

    AD-SAM's code; distances are in pixels of the labels as given, so the loss is large.

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) int64.
        ignore_id: Label of pixels that do not count.

    Returns:
        Mean of |p - y| times the distance over all classes and pixels; an image of one label
        adds nothing.
    """
    valid = labels != ignore_id
    truth = F.one_hot(labels.masked_fill(~valid, 0), logits.shape[1]).movedim(-1, 1)
    distance = torch.stack([_border_distance(label) for label in labels.cpu()])
    weight = (distance.to(logits) * valid)[:, None]
    return ((logits.softmax(dim=1) - truth).abs() * weight).mean()


def _border_distance(labels: Tensor) -> Tensor:
    """Distance of each pixel (H, W) to the nearest one with a neighbour of another label."""
    border = torch.zeros_like(labels, dtype=torch.bool)
    for dim in (0, 1):
        count = labels.shape[dim]
        differs = labels.narrow(dim, 1, count - 1) != labels.narrow(dim, 0, count - 1)
        border.narrow(dim, 1, count - 1).logical_or_(differs)
        border.narrow(dim, 0, count - 1).logical_or_(differs)
    if not border.any():
        return torch.zeros(labels.shape)
    inside = (~border).to(torch.uint8).numpy()
    return torch.from_numpy(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


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
    loss = logits.new_zeros(())
    if config.main > 0:
        hard = ohem_cross_entropy(logits, labels, threshold=config.ohem_threshold)
        loss = loss + config.main * hard
    others = (
        (config.dice, dice_loss_of_all_classes if config.dice_all else dice_loss),
        (config.focal, focal_loss),
        (config.lovasz, lovasz_loss),
        (config.surface, surface_loss),
    )
    for weight, term in others:
        if weight > 0:
            loss = loss + weight * term(logits, labels)
    if config.aux > 0 and output.aux_logits is not None:
        step = config.aux_stride
        labels = labels[:, row % step :: step, column % step :: step]
        size = (labels.shape[-2], labels.shape[-1])
        aux = F.interpolate(output.aux_logits, size=size, mode='bilinear', align_corners=False)
        hard = ohem_cross_entropy(aux, labels, threshold=config.ohem_threshold)
        loss = loss + config.aux * hard
    if isinstance(output, FusionSamOutput):
        for name, image in output.reconstructions.items():
            if image.requires_grad:
                compare = F.mse_loss if config.distance == 'l2' else F.l1_loss
                distance = compare(image, output.normalized[name])
                loss = loss + config.reconstruction * distance
        if output.commitment.requires_grad:
            loss = loss + config.commitment * output.commitment
    elif isinstance(output, OwnLoss):
        loss = loss + output.own_loss()
    return loss
