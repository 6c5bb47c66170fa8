"""The official SAM encoder with random weights: the peer of `encoders` and `gpu`."""

from __future__ import annotations

from functools import partial

from segment_anything.modeling import ImageEncoderViT
from torch import nn

from sam_ad_perception.modeling.encoders.specs import SamVitSpec


def official_encoder(spec: SamVitSpec) -> ImageEncoderViT:
    """Build the official ViT encoder for the image size that it was trained at."""
    return ImageEncoderViT(
        img_size=spec.pretrain_size,
        embed_dim=spec.embed_dim,
        depth=spec.depth,
        num_heads=spec.num_heads,
        out_chans=spec.out_channels,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=spec.window_size,
        global_attn_indexes=spec.global_blocks,
    )
