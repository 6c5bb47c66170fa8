"""SAM's ViT image encoder at any input size, with attention that never holds a full score map.

The modules and the state-dict keys are those of the official `segment_anything` package
(arXiv 2304.02643, ViTDet arXiv 2203.16527). Two things are ours: positional embeddings follow
the input size, and attention goes through `scaled_dot_product_attention`.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import Attention, ImageEncoderViT
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sam_ad_perception.modeling.encoders.specs import (
    SamVitSpec,
    check_sides,
)
from sam_ad_perception.modeling.network import Shareable

PATCH = 16
"""Side of one token, pixels; also the stride of the encoder's output."""

BIAS_ELEMENTS = 1 << 23
"""Largest relative-position bias that exists at a time, elements (32 MiB in fp32)."""


class RelativeAttention(Attention):
    """The official attention block, computed over slices of the query rows.

    The decomposed relative position of the official block is an additive bias
    `q . R_h[y_q - y_k] + q . R_w[x_q - x_k]`. It is formed for a few rows of queries at a time and
    given to `scaled_dot_product_attention`, which never stores the scores. For 64x64 tokens and
    12 heads this holds 32 MiB where the official module holds four tensors of 768 MiB.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each map.

        Args:
            x: (B, H, W, C) tokens of B windows or images.

        Returns:
            (B, H, W, C).
        """
        batch, height, width, channels = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.use_rel_pos:
            out = self._attend(q, k, v, (height, width))
        else:
            out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(batch, height, width, channels))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        """Attend with the relative-position bias; q, k, v are (B, heads, H * W, C / heads)."""
        height, width = size
        batch, heads, tokens, _ = q.shape
        table_h = relative_table(self.rel_pos_h, height)
        table_w = relative_table(self.rel_pos_w, width)
        grid = q.unflatten(2, size)
        bias_h = torch.einsum('bnhwc,hkc->bnhwk', grid, table_h)
        bias_w = torch.einsum('bnhwc,wkc->bnhwk', grid, table_w)
        rows = max(1, BIAS_ELEMENTS // (batch * heads * width * tokens))
        if torch.compiler.is_exporting():
            rows = height  # a runtime plans its own memory
        # one tensor for all slices: kept slices would pin the freed biases in the heap
        out = torch.empty_like(grid)
        for top in range(0, height, rows):
            part = slice(top, min(top + rows, height))
            bias = bias_h[:, :, part, :, :, None] + bias_w[:, :, part, :, None, :]
            attended = F.scaled_dot_product_attention(
                grid[:, :, part].flatten(2, 3), k, v, attn_mask=bias.flatten(4).flatten(2, 3)
            )
            out[:, :, part] = attended.unflatten(2, (-1, width))
        return out.flatten(2, 3)


def relative_table(rel_pos: Tensor, size: int) -> Tensor:
    """Look up the relative-position vectors for each pair of rows (or columns).

    Args:
        rel_pos: (L, C) learned vectors; linearly resized when L is not `2 * size - 1`, as in
            the official code.
        size: Rows (or columns) of the token grid.

    Returns:
        (size, size, C), indexed by query and key position.
    """
    length = 2 * size - 1
    if rel_pos.shape[0] != length:
        rel_pos = F.interpolate(rel_pos.t()[None], size=length, mode='linear')[0].t()
    position = torch.arange(size, device=rel_pos.device)
    return rel_pos[position[:, None] - position[None, :] + size - 1]


def resize_position(pos_embed: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize the absolute position grid to a token grid, bicubic.

    Args:
        pos_embed: (1, h, w, C).
        size: `(H, W)` of the token grid.

    Returns:
        (1, H, W, C); the same tensor when the size already fits.
    """
    if pos_embed.shape[1:3] == torch.Size(size):
        return pos_embed
    grid = pos_embed.permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=size, mode='bicubic', align_corners=False)
    return grid.permute(0, 2, 3, 1)


class SamVit(ImageEncoderViT, Shareable):
    """SAM's image encoder: official layout, any input size that is a multiple of 32.

    Args:
        spec: Shape of the encoder.
        checkpoint_blocks: Recompute each block in the backward pass instead of keeping its
            activations; for training through the encoder.
    """

    def __init__(self, spec: SamVitSpec, *, checkpoint_blocks: bool = False) -> None:
        super().__init__(
            img_size=spec.pretrain_size,
            patch_size=PATCH,
            embed_dim=spec.embed_dim,
            depth=spec.depth,
            num_heads=spec.num_heads,
            out_chans=spec.out_channels,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=spec.window_size,
            global_attn_indexes=spec.global_blocks,
        )
        self.spec = spec
        self.checkpoint_blocks = checkpoint_blocks
        for block in self.blocks:
            block.attn.__class__ = RelativeAttention

    def freeze(self, dtype: torch.dtype | None = None) -> SamVit:
        """Take all parameters out of training, optionally at lower precision.

        Args:
            dtype: `torch.bfloat16` or `torch.float16` to halve the memory; None keeps the type.

        Returns:
            The encoder itself.
        """
        self.requires_grad_(False)
        return self if dtype is None else self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images.

        Args:
            x: (B, 3, H, W), RGB normalised with SAM's mean and deviation (ImageNet's), sides
                multiples of 32.

        Returns:
            (B, out_channels, H / 16, W / 16), of the input's type whatever the weights' type is.

        Raises:
            ValueError: A side is not a multiple of 32.
        """
        height, width = check_sides(x.shape)
        tokens = self.patch_embed(x.to(self.patch_embed.proj.weight.dtype))
        tokens = tokens + resize_position(self.pos_embed, (height // PATCH, width // PATCH))
        for block in self.blocks:
            if self.checkpoint_blocks and torch.is_grad_enabled() and tokens.requires_grad:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return self.neck(tokens.permute(0, 3, 1, 2)).to(x.dtype)
