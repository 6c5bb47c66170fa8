"""Mask decoders of MLE-SAM: SAM 2's with one output per class, shared or one per modality.

Both forms answer to the same two calls: `project` brings each modality's two finest maps to the
decoder's width before they are fused, `segment` turns the fused levels into logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor, nn

from sam_ad_perception.modeling.encoders.specs import STRIDE

LEVEL_STRIDES = (4, 8, 16)
IOU_HIDDEN = 256


class Prompt(NamedTuple):
    """The empty prompt, as SAM 2 writes it: one padding point, no mask.

    Attributes:
        position: (1, C, h, w) position code of the deepest level.
        sparse: (B, 2, C) tokens.
        dense: (B, C, h, w) what is added to the deepest level.
    """

    position: Tensor
    sparse: Tensor
    dense: Tensor


class SharedDecoder(MaskDecoder):
    """SAM 2's mask decoder, one for all modalities; all that it takes is given to it as it is."""

    def project(
        self, fine: Tensor, middle: Tensor, present: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Bring the two finest levels to the decoder's width.

        Args:
            fine: (M, B, C, H/4, W/4).
            middle: (M, B, C, H/8, W/8).
            present: The M present modalities.

        Returns:
            (M, B, C/8, H/4, W/4) and (M, B, C/4, H/8, W/8).
        """
        shape = fine.shape[:2]
        first = self.conv_s0(fine.flatten(0, 1)).unflatten(0, shape)
        return first, self.conv_s1(middle.flatten(0, 1)).unflatten(0, shape)

    def segment(self, fused: Sequence[Tensor], present: Sequence[str], prompt: Prompt) -> Tensor:
        """Predict logits.

        Args:
            fused: Three levels (B, C/8, H/4, W/4), (B, C/4, H/8, W/8), (B, C, H/16, W/16).
            present: The M present modalities.
            prompt: The empty prompt.

        Returns:
            (B, classes, H/4, W/4).
        """
        masks, _, _, _ = self(
            image_embeddings=fused[2],
            image_pe=prompt.position,
            sparse_prompt_embeddings=prompt.sparse,
            dense_prompt_embeddings=prompt.dense,
            multimask_output=True,
            repeat_image=False,
            high_res_features=[fused[0], fused[1]],
        )
        logits: Tensor = masks
        return logits


class ModalityDecoders(nn.Module):
    """One copy of the mask decoder per modality, around one shared transformer.

    The published parameter counts grow in proportion to the number of modalities, and fit one
    copy per modality of everything in SAM 2's decoder but its frozen transformer and the object
    score head. How the copies work together is not published. Here each modality's own
    `conv_s0` and `conv_s1` serve its features, and the fused features are decoded by the copies
    of the present modalities, whose logits are averaged: so every copy is trained, one modality
    alone is decoded by its own copy, and an absent one costs nothing. The copies' tokens go
    through the transformer as one batch.

    Args:
        modalities: Registered modalities.
        dim: Channels of the deepest level.
        num_classes: Classes.
        mlp_dim: Hidden width of the transformer.
        scores: Whether there is SAM 2.1's object score token.
    """

    def __init__(
        self, modalities: Sequence[str], dim: int, num_classes: int, mlp_dim: int, scores: bool
    ) -> None:
        super().__init__()
        self.transformer = build_transformer(dim, mlp_dim)
        self.heads = nn.ModuleDict()
        for name in modalities:
            head = MaskDecoder(
                transformer=nn.Identity(), **decoder_shape(dim, num_classes, scores)
            )
            if scores:  # the score itself is never read
                head.pred_obj_score_head = nn.Identity()
            self.heads[name] = head

    def project(
        self, fine: Tensor, middle: Tensor, present: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Bring the two finest levels to the decoders' width (`SharedDecoder.project`)."""
        heads = self._heads(present)
        first = [head.conv_s0(level) for head, level in zip(heads, fine, strict=True)]
        second = [head.conv_s1(level) for head, level in zip(heads, middle, strict=True)]
        return torch.stack(first), torch.stack(second)

    def segment(self, fused: Sequence[Tensor], present: Sequence[str], prompt: Prompt) -> Tensor:
        """Predict logits, the mean over the present copies (`SharedDecoder.segment`)."""
        heads = self._heads(present)
        deep = fused[2] + prompt.dense
        batch, height, width = deep.shape[0], *deep.shape[-2:]
        tokens = torch.cat([_tokens(head, prompt.sparse) for head in heads])
        image = deep.repeat(len(heads), 1, 1, 1)
        states, image = self.transformer(
            image, prompt.position.expand(len(image), -1, -1, -1), tokens
        )
        image = image.transpose(1, 2).unflatten(-1, (height, width))
        logits = [
            _read_masks(head, state, part, fused)
            for head, state, part in zip(
                heads, states.split(batch), image.split(batch), strict=True
            )
        ]
        return torch.stack(logits).mean(dim=0)

    def _heads(self, present: Sequence[str]) -> list[Any]:
        return [self.heads[name] for name in present]


def _tokens(head: MaskDecoder, sparse: Tensor) -> Tensor:
    """Put one copy's own tokens before those of the prompt (B, 2, C)."""
    tables = [head.iou_token.weight, head.mask_tokens.weight]
    if head.pred_obj_scores:
        tables.insert(0, head.obj_score_token.weight)
    tokens = torch.cat(tables)
    return torch.cat((tokens.expand(len(sparse), -1, -1), sparse), dim=1)


def _read_masks(
    head: MaskDecoder, states: Tensor, image: Tensor, fused: Sequence[Tensor]
) -> Tensor:
    """Upscale one copy's image (B, C, h, w) and multiply it with its classes' token states.

    The first mask token, which a prompt's single mask would come from, is no class.
    """
    first_up, norm, act, second_up, last_act = head.output_upscaling
    upscaled = act(norm(first_up(image) + fused[1]))
    upscaled = last_act(second_up(upscaled) + fused[0])
    before = 3 if head.pred_obj_scores else 2  # score and IoU token, and the first mask token
    mlps = list(head.output_hypernetworks_mlps)[1:]
    weights = torch.stack([mlp(states[:, before + k]) for k, mlp in enumerate(mlps)], dim=1)
    return (weights @ upscaled.flatten(2)).unflatten(-1, upscaled.shape[-2:])


def build_transformer(dim: int, mlp_dim: int) -> TwoWayTransformer:
    """Build the transformer of SAM 2's mask decoder.

    Args:
        dim: Channels, a multiple of 8.
        mlp_dim: Hidden width.

    Returns:
        The official module.
    """
    return TwoWayTransformer(depth=2, embedding_dim=dim, num_heads=8, mlp_dim=mlp_dim)


def decoder_shape(dim: int, num_classes: int, scores: bool) -> dict[str, Any]:
    """Arguments of SAM 2's mask decoder with one output per class, without its transformer.

    Args:
        dim: Channels.
        num_classes: Classes.
        scores: Whether there are SAM 2.1's object score token and head.

    Returns:
        Keyword arguments of the official `MaskDecoder`.
    """
    return {
        'transformer_dim': dim,
        'num_multimask_outputs': num_classes,
        'iou_head_depth': 3,
        'iou_head_hidden_dim': IOU_HIDDEN,
        'use_high_res_features': True,
        'iou_prediction_use_sigmoid': True,
        'pred_obj_scores': scores,
        'pred_obj_scores_mlp': scores,
    }


def build_heads(
    dim: int,
    num_classes: int,
    size: tuple[int, int],
    *,
    mlp_dim: int = 2048,
    scores: bool = True,
    modalities: Sequence[str] = (),
) -> tuple[PromptEncoder, SharedDecoder | ModalityDecoders]:
    """Build SAM 2's prompt encoder and its mask decoder with one output per class.

    Args:
        dim: Channels of the neck and the decoder, a multiple of 8.
        num_classes: Classes.
        size: Network input size `(H, W)`, pixels, multiples of 32.
        mlp_dim: Hidden width of the decoder's transformer.
        scores: Whether the decoder has SAM 2.1's object score token and head, which the
            official checkpoints bring.
        modalities: Modalities that get their own copy of the decoder; none shares one.

    Returns:
        Prompt encoder and mask decoder.

    Raises:
        ValueError: A size that does not fit.
    """
    if dim % 8:
        raise ValueError(f'decoder width must be a multiple of 8, got {dim}')
    if size[0] % STRIDE or size[1] % STRIDE:
        raise ValueError(f'input size must be multiples of {STRIDE}, got {size[0]}x{size[1]}')
    grid = (size[0] // LEVEL_STRIDES[2], size[1] // LEVEL_STRIDES[2])
    prompt_encoder = PromptEncoder(
        embed_dim=dim, image_embedding_size=grid, input_image_size=size, mask_in_chans=16
    )
    if modalities:
        return prompt_encoder, ModalityDecoders(modalities, dim, num_classes, mlp_dim, scores)
    shared = SharedDecoder(
        transformer=build_transformer(dim, mlp_dim), **decoder_shape(dim, num_classes, scores)
    )
    return prompt_encoder, shared
