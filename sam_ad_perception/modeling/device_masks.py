"""Logits to a mask of the camera's size where the network ran: one download, of bytes.

The same mask as `preprocessing.mask_from_logits`, which is much faster on a CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sam_ad_perception.modeling.device_work import download

CHUNK_BYTES = 128 << 20
"""Rows of the picture that are worked on together hold so much of upsampled logits."""


@torch.inference_mode()
def decode_there(
    logits: Tensor,
    size: tuple[int, int],
    ids: Tensor | None = None,
    *,
    confident: bool = True,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Upsample logits and take the best class, where the logits are; wait for the mask.

    Bilinear with half-pixel centres (`align_corners=False`), then argmax and softmax.

    Args:
        logits: (classes, h, w) float32, at most 254 classes.
        size: `(H, W)` of the mask, pixels.
        ids: (classes,) uint8 label id of each class, on the logits' device; None for its index.
        confident: Whether the probabilities are wanted.
        chunk_bytes: See `CHUNK_BYTES`.

    Returns:
        Label ids (H, W) uint8; and the probability of each times 255, rounded, (H, W) uint8, or
        (0, 0) where it is not wanted.
    """
    made = torch.empty((1 + confident, *size), dtype=torch.uint8, device=logits.device)
    low, high, weight = _row_taps(logits.shape[1], size[0], logits.device)
    rows = max(1, chunk_bytes // (4 * len(logits) * size[1]))
    for begin in range(0, size[0], rows):
        part = slice(begin, begin + rows)
        above, below = logits[:, low[part]], logits[:, high[part]]
        coarse = torch.lerp(above, below, weight[part, None])
        # the rows stay as they are, their columns are interpolated
        fine = F.interpolate(coarse[None], (coarse.shape[1], size[1]), mode='bilinear')[0]
        best, label = fine.max(dim=0)
        made[0, part] = label if ids is None else ids[label]
        if confident:
            total = fine.sub_(best).exp_().sum(dim=0)
            made[1, part] = (255 / total).round_()
    mask, *confidence = download(made)
    return mask, confidence[0] if confident else np.empty((0, 0), np.uint8)


def _row_taps(inside: int, outside: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Row of the grid above and below each row of the picture, and the weight of the lower."""
    centres = torch.arange(outside, dtype=torch.float64, device=device) + 0.5
    position = (centres * (inside / outside) - 0.5).clamp_(min=0)
    low = position.long().clamp_(max=inside - 1)
    high = (low + 1).clamp_(max=inside - 1)
    return low, high, (position - low).float()
