"""Vector quantisation with a codebook that follows the data by moving averages.

VQ-VAE (arXiv 1711.00937, appendix A.1 for the moving averages); random restart of unused codes
as in Jukebox (arXiv 2005.00341).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Quantized(NamedTuple):
    """What `VectorQuantizer` returns.

    Attributes:
        latent: (B, C, h, w): the nearest codes, or the input itself where quantisation is off.
        indices: (B, h, w) int64, nearest code of each position.
        commitment: Scalar, mean squared distance of the input from its codes (to be weighed by
            the loss); its gradient reaches the input alone.
        perplexity: Scalar, exp of the entropy of the code usage: how many codes are in use.
    """

    latent: Tensor
    indices: Tensor
    commitment: Tensor
    perplexity: Tensor


class VectorQuantizer(nn.Module):
    """Replaces each feature vector by the nearest of K codes: argmin_k ||z - c_k||.

    The gradient passes straight through. In training mode each code moves to the moving average
    of the vectors assigned to it; one that is used less than `restart_usage` times per batch, as
    a moving average, is replaced by a random vector of the batch. The first batches thereby fill
    the codebook with data. Nothing moves in inference mode.

    Args:
        num_codes: K.
        dim: Channels C.
        decay: Of the moving averages.
        restart_usage: Codes used less are restarted; 0 switches restarts off.
        quantize: False passes the input through (the continuous form of FusionSAM's released
            scripts), while codebook and commitment work on as before.

    Raises:
        ValueError: An argument is out of range.
    """

    codes: Tensor
    usage: Tensor
    total: Tensor

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        decay: float = 0.99,
        restart_usage: float = 1.0,
        quantize: bool = True,
    ) -> None:
        super().__init__()
        if num_codes < 2 or dim < 1:
            raise ValueError(
                f'num_codes must be 2 or more and dim positive, got {num_codes} and {dim}'
            )
        if not 0 <= decay < 1:
            raise ValueError(f'decay must be in [0, 1), got {decay}')
        self.decay = decay
        self.restart_usage = restart_usage
        self.quantize = quantize
        codes = torch.randn(num_codes, dim)
        self.register_buffer('codes', codes)
        self.register_buffer('usage', torch.zeros(num_codes))
        self.register_buffer('total', torch.zeros(num_codes, dim))

    def forward(self, z: Tensor) -> Quantized:
        """Quantise.

        Args:
            z: (B, C, h, w).

        Returns:
            Codes, their indices, commitment and perplexity.
        """
        vectors = z.detach().float().permute(0, 2, 3, 1).flatten(0, 2)
        if torch.is_autocast_enabled(z.device.type):  # in bfloat16 near codes are mistaken
            with torch.autocast(z.device.type, enabled=False):
                indices = self._nearest(vectors)
        else:
            indices = self._nearest(vectors)
        chosen = F.embedding(indices, self.codes).unflatten(0, (z.shape[0], *z.shape[2:]))
        commitment = F.mse_loss(z.float(), chosen.permute(0, 3, 1, 2))
        chosen = chosen.permute(0, 3, 1, 2).to(z.dtype)
        counts = torch.zeros_like(self.usage).scatter_add(
            0, indices, torch.ones_like(indices, dtype=self.usage.dtype)
        )
        share = counts / counts.sum()
        perplexity = (-(share * (share + 1e-10).log()).sum()).exp()
        if self.training:
            self._follow(vectors, indices, counts)
        latent = z + (chosen - z).detach() if self.quantize else z
        return Quantized(latent, indices.view(z.shape[0], *z.shape[2:]), commitment, perplexity)

    def _nearest(self, vectors: Tensor) -> Tensor:
        distance = self.codes.square().sum(dim=1) - 2 * vectors @ self.codes.t()
        return distance.argmin(dim=1)

    @torch.no_grad()
    def _follow(self, vectors: Tensor, indices: Tensor, counts: Tensor) -> None:
        """Move the codes towards their vectors and restart those out of use."""
        sums = torch.zeros_like(self.total).index_add(0, indices, vectors)
        self.usage.lerp_(counts, 1 - self.decay)
        self.total.lerp_(sums, 1 - self.decay)
        used = self.usage >= max(self.restart_usage, 1e-6)
        averages = self.total / self.usage.clamp_min(1e-6)[:, None]
        if self.restart_usage > 0:
            pick = torch.randint(len(vectors), (len(self.codes),), device=vectors.device)
            fresh = vectors[pick]
            self.total.copy_(torch.where(used[:, None], self.total, fresh * self.restart_usage))
            self.usage.copy_(torch.where(used, self.usage, self.restart_usage))
        else:
            fresh = self.codes
        self.codes.copy_(torch.where(used[:, None], averages, fresh))
