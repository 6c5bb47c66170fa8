"""FusionSAM's fusion of two token maps (FMP), and prompts from the network's own belief.

FusionSAM, arXiv 2408.13980. No prompt here is ever derived from labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn

from sam_ad_perception.modeling.encoders.specs import FmpSpec


class CrossAttention(nn.Module):
    """LN(FFN(softmax(Q K^T / sqrt(d_k)) V)) + residual, with V and K from another map.

    Normalisation follows the feed-forward layer, as the paper says; the residual is added after
    it. The residual is Q unless another is given.

    Args:
        dim: Channels.
        spec: Heads, feed-forward width, window.
        projects: Whether it has W_Q, W_K and W_V of its own; else `forward` is given whose.

    Raises:
        ValueError: Channels are not a multiple of the heads.
    """

    def __init__(self, dim: int, spec: FmpSpec, *, projects: bool = True) -> None:
        super().__init__()
        if dim % spec.heads:
            raise ValueError(f'latent.dim {dim} is not a multiple of fmp.heads {spec.heads}')
        self.heads = spec.heads
        self.window = spec.window
        if projects:
            self.query = nn.Linear(dim, dim, bias=False)
            self.key = nn.Linear(dim, dim, bias=False)
            self.value = nn.Linear(dim, dim, bias=False)
        self.ffn = nn.Sequential(
            nn.Linear(dim, spec.ffn_ratio * dim), nn.GELU(), nn.Linear(spec.ffn_ratio * dim, dim)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        other: Tensor,
        residual: Tensor | None = None,
        projections: CrossAttention | None = None,
    ) -> Tensor:
        """Let the tokens of x read those of another map.

        Args:
            x: (B, C, h, w), gives Q.
            other: (B, C, h, w), gives K and V.
            residual: (B, C, h, w) to add instead of Q.
            projections: Whose W_Q, W_K and W_V are taken; its own where None.

        Returns:
            (B, C, h, w).

        Raises:
            ValueError: A side is not a multiple of the window.
        """
        tokens, read = self._split(x), self._split(other)
        by = self if projections is None else projections
        q, k, v = by.query(tokens), by.key(read), by.value(read)
        attended = F.scaled_dot_product_attention(self._heads(q), self._heads(k), self._heads(v))
        out = self.norm(self.ffn(attended.transpose(1, 2).flatten(2)))
        if residual is None:
            out = out + q
        joined = self._join(out, x.shape)
        return joined if residual is None else joined + residual

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _split(self, x: Tensor) -> Tensor:
        """Order (B, C, h, w) as (windows, tokens, C)."""
        if not self.window:
            return x.flatten(2).transpose(1, 2)
        batch, channels, height, width = x.shape
        side = self.window
        if height % side or width % side:
            raise ValueError(
                f'token map must be a multiple of fmp.window {side}, got {height}x{width}'
            )
        x = x.view(batch, channels, height // side, side, width // side, side)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, channels)

    def _join(self, x: Tensor, shape: torch.Size) -> Tensor:
        """Undo `_split`."""
        batch, channels, height, width = shape
        if not self.window:
            return x.transpose(1, 2).reshape(shape)
        side = self.window
        x = x.view(batch, height // side, width // side, side, side, channels)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(shape)


class FusionMaskPrompting(nn.Module):
    """Two token maps become one fused map z_f.

    z1' and z2' are cross-domain attention in both directions, z_c = Conv([z1', z2']), z_0 the
    complementary part, z_f = LN(softmax(Q_f K_0^T / sqrt(d_k)) V_0) + z_c (Eq. 10-13).

    By Eq. 12 Q_f = z_c W_Q2, K_0 = z_0 W_K1 and V_0 = z_0 W_V1, with the matrices of Eq. 10; these
    are the projections of the attention that lets the second modality read the first. z_0 is the
    cross-attention of the two modalities; which of them asks is not in the paper: ours is the
    first. `FmpSpec.literal` says what is otherwise without it.

    Args:
        dim: Channels of the tokens.
        spec: Heads, feed-forward width, window.
    """

    def __init__(self, dim: int, spec: FmpSpec) -> None:
        super().__init__()
        self.literal = spec.literal
        self.project = nn.ModuleList(
            nn.Identity() if spec.literal else nn.Conv2d(dim, dim, 1) for _ in range(2)
        )
        self.cross = nn.ModuleList(CrossAttention(dim, spec) for _ in range(2))
        self.mix = nn.Conv2d(2 * dim, dim, 3, padding=1)
        self.complement = CrossAttention(dim, spec)
        self.final = CrossAttention(dim, spec, projects=not spec.literal)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse two maps (B, C, h, w) into one of the same shape."""
        a, b = self.project[0](first), self.project[1](second)
        mixed: Tensor = self.mix(torch.cat((self.cross[0](a, b), self.cross[1](b, a)), dim=1))
        fused: Tensor
        if self.literal:
            complementary = self.complement(a, b)
            fused = self.final(mixed, complementary, mixed, self.cross[1])
            return fused
        fused = self.final(mixed, self.complement(a + b, mixed), residual=mixed)
        return fused


class CoarsePrompts(nn.Module):
    """Prompts from coarse logits: a mask of confident points, and one box per class.

    For each class the pixels with the highest probability are taken. As a mask (as in the
    paper's scripts, which copied theirs from the labels), pixel p of class c holds probability
    times (c + 1) / C. Their bounding box becomes a box prompt. The decoder's attention is blind
    to order, so each box also carries the token of its class. A class that is nowhere likely
    fades into the encoder's "not a point" token: its highest probability is the weight.

    Args:
        points: Pixels per class.
    """

    def __init__(self, points: int) -> None:
        super().__init__()
        self.points = points

    def forward(
        self, coarse: Tensor, prompt_encoder: PromptEncoder, class_tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Make the prompts.

        Args:
            coarse: (B, C, h, w) logits.
            prompt_encoder: SAM's, for the corner embeddings.
            class_tokens: (C, D) the decoder's class tokens.

        Returns:
            Point mask (B, 1, h, w), and box tokens (B, 2 C, D).
        """
        batch, classes, height, width = coarse.shape
        probability = coarse.softmax(dim=1).flatten(2)
        count = min(self.points, height * width)
        values, indices = probability.topk(count, dim=2)
        code = torch.arange(1, classes + 1, device=coarse.device, dtype=coarse.dtype) / classes
        mask = torch.zeros_like(probability).scatter(2, indices, values * code[:, None])
        size_v, size_u = prompt_encoder.input_image_size
        u, v = indices % width, indices // width
        corners = torch.stack((u.amin(2), v.amin(2), u.amax(2) + 1, v.amax(2) + 1), dim=2).to(
            coarse.dtype
        ) * coarse.new_tensor([size_u / width, size_v / height, size_u / width, size_v / height])
        # SAM shifts corners by half a pixel
        tokens, _ = prompt_encoder(None, corners.flatten(0, 1) - 0.5, None)
        tokens = tokens.unflatten(0, (batch, classes)) + class_tokens[:, None]
        presence = values[:, :, :1, None]
        nothing = prompt_encoder.not_a_point_embed.weight
        tokens = presence * tokens + (1 - presence) * nothing
        return mask.sum(dim=1).view(batch, 1, height, width), tokens.flatten(1, 2)
