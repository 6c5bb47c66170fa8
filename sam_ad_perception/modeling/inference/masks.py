"""Logits to a mask of the camera's size: on the host, or where the network ran.

Both ways give the same mask; on a GPU only bytes are downloaded, once. Both refuse logits that are
not finite: whatever mask they gave would mean nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.modeling.device_work import download
from sam_ad_perception.modeling.inference.label_upsampling import upsample_labels
from sam_ad_perception.modeling.inference.upsampling import upsample_argmax

CHUNK_BYTES = 128 << 20
"""Rows of the picture that are worked on together hold so much of upsampled logits."""


class LogitsError(ValueError):
    """Logits that hold NaN or infinity: the network or its input is broken."""


@torch.inference_mode()
def decode_there(
    logits: Tensor,
    size: tuple[int, int],
    ids: Tensor | None = None,
    *,
    confident: bool = True,
    temperature: float = 1.0,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Upsample logits and take the best class, where the logits are; wait for the mask.

    Bilinear with half-pixel centres (`align_corners=False`), then argmax and softmax.

    Args:
        logits: (classes, h, w) float32, at most 254 classes.
        size: `(H, W)` of the mask, pixels.
        ids: (classes,) uint8 label id of each class, on the logits' device; None for its index.
        confident: Whether the probabilities are wanted.
        temperature: Of the softmax; the mask does not depend on it.
        chunk_bytes: See `CHUNK_BYTES`.

    Returns:
        Label ids (H, W) uint8; and the probability of each times 255, rounded, (H, W) uint8, or
        (0, 0) where it is not wanted.

    Raises:
        LogitsError: The logits are not finite.
    """
    # one more row tells whether the logits are finite, so that the GPU is waited for once
    height, width = size
    shape = (1 + confident, height + 1, width)
    made = torch.empty(shape, dtype=torch.uint8, device=logits.device)
    made[:, height] = torch.isfinite(logits).all()
    low, high, weight = _row_taps(logits.shape[1], size[0], logits.device)
    rows = max(1, chunk_bytes // (4 * len(logits) * size[1]))
    for begin in range(0, size[0], rows):
        part = slice(begin, min(begin + rows, height))
        above, below = logits[:, low[part]], logits[:, high[part]]
        coarse = torch.lerp(above, below, weight[part, None])
        # the rows stay as they are, their columns are interpolated
        fine = F.interpolate(coarse[None], (coarse.shape[1], size[1]), mode='bilinear')[0]
        best, label = fine.max(dim=0)
        made[0, part] = label if ids is None else ids[label]
        if confident:
            fine.sub_(best)
            if temperature != 1:
                fine.mul_(1 / temperature)
            total = fine.exp_().sum(dim=0)
            made[1, part] = (255 / total).round_()
    mask, *confidence = download(made)
    if not mask[height, 0]:
        raise LogitsError('the logits hold NaN or infinity')
    return mask[:height], confidence[0][:height] if confident else np.empty((0, 0), np.uint8)


def _row_taps(inside: int, outside: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Row of the grid above and below each row of the picture, and the weight of the lower."""
    centres = torch.arange(outside, dtype=torch.float64, device=device) + 0.5
    position = (centres * (inside / outside) - 0.5).clamp_(min=0)
    low = position.long().clamp_(max=inside - 1)
    high = (low + 1).clamp_(max=inside - 1)
    return low, high, (position - low).float()


def mask_from_logits(
    logits: NDArray[np.float32],
    camera: CameraModel,
    *,
    confident: bool = True,
    temperature: float = 1.0,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Upsample logits to the camera's size and take the best class, in one pass.

    Equal to bilinear interpolation with half-pixel centres (`align_corners=False`), then argmax
    and softmax, without ever holding the upsampled logits.

    Args:
        logits: (classes, h, w) float32, at most 254 classes.
        camera: The view.
        confident: Whether the probabilities are wanted: they take most of the time.
        temperature: Of the softmax; the mask does not depend on it.

    Returns:
        Label ids (H, W) uint8; and the probability of each times 255, rounded, (H, W) uint8, or
        (0, 0) where it is not wanted.

    Raises:
        ValueError: The logits have another shape or dtype.
        LogitsError: They are not finite.
    """
    if logits.ndim != 3 or logits.dtype != np.float32 or not 1 <= len(logits) <= 254:
        raise ValueError(
            f'logits must be (classes, h, w) float32, got {logits.shape} {logits.dtype}'
        )
    if not np.isfinite(logits).all():
        raise LogitsError('the logits hold NaN or infinity')
    mask = np.empty(camera.size, np.uint8)
    confidence = np.empty(camera.size if confident else (0, 0), np.uint8)
    if confident:
        sharpness = np.float32(1 / temperature)
        upsample_argmax(np.ascontiguousarray(logits), sharpness, mask, confidence)
    else:
        upsample_labels(np.ascontiguousarray(logits), mask)
    return mask, confidence
