"""MLE-SAM: per-modality LoRA experts, average and gated fusion, two mask heads.

After "MLE-SAM" (arXiv 2412.04220); no official code exists. What the paper leaves open follows
the defaults named in the docstrings and in `docs/reference/models.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from torch import Tensor, nn
from torch.nn import functional as F

from sam_ad_perception.modeling.encoders.hiera import HieraEncoder
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.networks.mle_decoder import ModalityDecoders, Prompt, SharedDecoder

COMBINATIONS = ('mean', 'sum', 'integrated', 'weighted')


class MleSamOutput(NamedTuple):
    """What `MleSam` returns.

    Attributes:
        logits: (B, classes, H/4, W/4) of the main head (Eq. 11).
        aux_logits: (B, classes, H/4, W/4), or a multiple of it, of the auxiliary head (Eq. 12), or
            None.
        gate: (3, B, M) weights of the present modalities per level, after top-k; sum 1 over M.
            1 / M where there is no gate.
        modalities: The M present modalities, in the order of `gate`.
    """

    logits: Tensor
    aux_logits: Tensor | None
    gate: Tensor
    modalities: tuple[str, ...]


@dataclass(frozen=True)
class FusionSpec:
    """How the modalities' features become one.

    Attributes:
        top_k: Present modalities that the gate keeps per level; fewer present keeps all.
        combination: `mean` takes 0.5 * (average + weighted), `sum` adds them. The paper does
            not say. With one modality `mean` returns its features unchanged; `sum` doubles them.
            `integrated` is the average alone, without a gate, and `weighted` the weighted sum
            alone: the first two rows of the paper's ablation.
        hidden: Hidden width of the gate's MLP per level, finest level first.
        mask_absent: Whether absent modalities are left out of encoder, average and gate. Without
            it they take part as images of zeros, which shows what the masking is worth.

    Raises:
        ValueError: A field is out of range.
    """

    top_k: int = 2
    combination: str = 'mean'
    hidden: tuple[int, int, int] = (32, 64, 128)
    mask_absent: bool = True

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f'fusion.top_k must be 1 or more, got {self.top_k}')
        if self.combination not in COMBINATIONS:
            raise ValueError(
                f'fusion.combination must be one of {COMBINATIONS}, got {self.combination!r}'
            )


class Gate(nn.Module):
    """Weights of the present modalities at one level (Eq. 8-10).

    The paper's linear gate has far too few parameters for its own table; a two-layer MLP on the
    concatenated pooled vectors fits. An absent modality has no pooled vector: its columns of
    the first layer are left out, and it is not in the softmax.

    Args:
        modalities: Registered modalities.
        channels: Channels of this level.
        hidden: Hidden width.
        top_k: Modalities kept.
    """

    def __init__(self, modalities: Sequence[str], channels: int, hidden: int, top_k: int) -> None:
        super().__init__()
        self.slots = {name: slot for slot, name in enumerate(modalities)}
        self.channels = channels
        self.top_k = top_k
        self.input = nn.Linear(len(modalities) * channels, hidden)
        self.output = nn.Linear(hidden, len(modalities))

    def forward(self, features: Tensor, present: Sequence[str]) -> Tensor:
        """Weigh the present modalities.

        Args:
            features: (M, B, C, h, w), one slice for each name in `present`.
            present: The M present modalities.

        Returns:
            (B, M) weights, at most `top_k` of them non-zero, that sum to 1.
        """
        pooled = features.mean(dim=(-2, -1)).transpose(0, 1)  # Eq. 8
        slots = torch.tensor([self.slots[name] for name in present], device=features.device)
        columns = self.input.weight.unflatten(1, (-1, self.channels))[:, slots].flatten(1)
        hidden = F.gelu(F.linear(pooled.flatten(1), columns, self.input.bias))
        scores = F.linear(hidden, self.output.weight[slots], self.output.bias[slots])
        weights = scores.softmax(dim=-1)  # Eq. 9
        if self.top_k < len(present):  # Eq. 10, renormalised
            best = weights.topk(self.top_k, dim=-1).indices
            weights = weights * torch.zeros_like(weights).scatter(-1, best, 1.0)
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return weights


class GatedFusion(nn.Module):
    """Average of the present modalities (Eq. 7) combined with the gated sum (Eq. 10).

    Args:
        modalities: Registered modalities.
        channels: Channels of the three levels, finest first.
        spec: Top-k, combination, hidden widths.
    """

    def __init__(
        self, modalities: Sequence[str], channels: Sequence[int], spec: FusionSpec
    ) -> None:
        super().__init__()
        self.combination = spec.combination
        self.mask_absent = spec.mask_absent
        self.gates = nn.ModuleList()
        if spec.combination != 'integrated':
            for count, hidden in zip(channels, spec.hidden, strict=True):
                self.gates.append(Gate(modalities, count, hidden, spec.top_k))

    def forward(
        self, levels: Sequence[Tensor], present: Sequence[str]
    ) -> tuple[list[Tensor], Tensor]:
        """Fuse each level.

        Args:
            levels: Three tensors (M, B, C, h, w), finest first.
            present: The M present modalities.

        Returns:
            Three tensors (B, C, h, w), and the gate's weights (3, B, M).
        """
        if not self.gates:
            batch, count = levels[0].shape[1], len(present)
            even = levels[0].new_full((len(levels), batch, count), 1.0 / count)
            return [features.mean(dim=0) for features in levels], even
        fused, weights = [], []
        for gate, features in zip(self.gates, levels, strict=True):
            weight = gate(features, present)
            share = weight
            if self.combination != 'weighted':
                share = weight + 1.0 / len(present)
            if self.combination == 'mean':
                share = 0.5 * share
            fused.append((features * share.t()[:, :, None, None, None]).sum(dim=0))
            weights.append(weight)
        return fused, torch.stack(weights)


class AuxiliaryHead(nn.Module):
    """Second mask head (Eq. 12): a three-layer per-pixel MLP per level, then linear layers.

    The published order is: bilinear to full size, concatenate, dropout, 1x1 to `width`, 1x1 to
    classes. All that follows the MLPs is linear per pixel, so it is applied to each level
    before the upsampling, which gives the same numbers for a fraction of the time.

    Args:
        channels: Channels of the three levels, finest first.
        num_classes: Classes.
        width: Width of the MLPs.
        dropout: Probability that a channel is dropped in training.
    """

    def __init__(
        self, channels: Sequence[int], num_classes: int, width: int = 32, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.mlps = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(count, width, 1),
                nn.ReLU(),
                nn.Conv2d(width, width, 1),
                nn.ReLU(),
                nn.Conv2d(width, width, 1),
            )
            for count in channels
        )
        self.dropout = nn.Dropout2d(dropout)
        self.fuse = nn.Conv2d(width * len(channels), width, 1)
        self.classify = nn.Conv2d(width, num_classes, 1)

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Predict logits.

        Args:
            levels: Three fused levels (B, C, h, w), finest first.
            size: Size `(H, W)` of the output, pixels.

        Returns:
            (B, classes, H, W).
        """
        total: Tensor | None = None
        for mlp, fuse, level in zip(
            self.mlps, self.fuse.weight.chunk(len(self.mlps), dim=1), levels, strict=True
        ):
            x = F.conv2d(self.dropout(mlp(level)), fuse)
            x = F.conv2d(x, self.classify.weight)
            x = F.interpolate(x, size=size, mode='bilinear', align_corners=False)
            total = x if total is None else total + x
        assert total is not None
        assert self.fuse.bias is not None
        assert self.classify.bias is not None
        bias = self.classify.weight[:, :, 0, 0] @ self.fuse.bias + self.classify.bias
        return total + bias[:, None, None]


class StillImageMark(nn.Module):
    """SAM 2's code for "no memory", which its still-image path adds to the deepest level.

    The frozen transformer of the decoder was trained on inputs that carry it.

    Args:
        dim: Channels of the deepest level.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.no_mem_embed = nn.Parameter(torch.empty(1, 1, dim), requires_grad=False)
        nn.init.trunc_normal_(self.no_mem_embed, std=0.02)

    def forward(self, deep: Tensor) -> Tensor:
        """Mark (B, C, h, w)."""
        return deep + self.no_mem_embed[0, 0, :, None, None]


class MleSam(SegmentationNetwork):
    """Masks from any non-empty subset of the registered modalities.

    Args:
        modalities: Channels of each registered modality's image.
        encoder: Shared encoder with per-modality stems and adapters.
        fusion: Fusion of the three levels.
        prompt_encoder: SAM 2's, which provides the padding prompt and the position code.
        decoder: SAM 2's, with one multimask output per class and high-resolution features,
            shared or one copy per modality.
        aux_head: Auxiliary head, or None.
        aux_scale: Size of its logits over that of the main ones.
        still_image: What marks the deepest level before the decoder as one without memory, or
            None.
    """

    def __init__(
        self,
        modalities: Mapping[str, int],
        encoder: HieraEncoder,
        fusion: GatedFusion,
        prompt_encoder: PromptEncoder,
        decoder: SharedDecoder | ModalityDecoders,
        aux_head: AuxiliaryHead | None,
        aux_scale: int = 1,
        still_image: StillImageMark | None = None,
    ) -> None:
        super().__init__()
        self.modalities = dict(modalities)
        self.encoder = encoder
        self.fusion = fusion
        self.prompt_encoder = prompt_encoder
        self.decoder = decoder
        self.aux_head = aux_head
        self.aux_scale = aux_scale
        self.still_image = still_image

    def forward(self, inputs: Mapping[str, Tensor], *, with_aux: bool = True) -> MleSamOutput:
        """Segment a batch in which every item has the same sensors.

        Only the given modalities are encoded, so nothing about an absent one can matter. Their
        order does not matter either: they are taken in the order of registration.

        Args:
            inputs: Image (B, C, H, W) of each present modality, normalised, sides multiples of
                32.
            with_aux: Whether to run the auxiliary head.

        Returns:
            Logits of both heads, the main ones at stride 4, and the gate's weights.

        Raises:
            ValueError: No modality, an unregistered one, or one with a wrong shape.
        """
        self._check(inputs)
        given = tuple(name for name in self.modalities if name in inputs)
        if not self.fusion.mask_absent:
            inputs = self._fill(inputs)
        present = tuple(name for name in self.modalities if name in inputs)
        fine, middle, coarse = self.encoder([(name, inputs[name]) for name in present])
        high_res = self.decoder.project(fine, middle, present)
        fused, gate = self.fusion([*high_res, coarse], present)
        deep = fused[2] if self.still_image is None else self.still_image(fused[2])
        logits = self.decoder.segment([*fused[:2], deep], present, self._prompt(deep))
        if given != present:
            gate = gate[:, :, [present.index(name) for name in given]]
        aux = None
        if with_aux and self.aux_head is not None:
            height, width = (side * self.aux_scale for side in logits.shape[-2:])
            aux = self.aux_head(fused, (height, width))
        return MleSamOutput(logits, aux, gate, given)

    def _fill(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add images of zeros for the modalities that are absent."""
        like = next(iter(inputs.values()))
        return {
            name: inputs[name]
            if name in inputs
            else like.new_zeros((like.shape[0], channels, *like.shape[-2:]))
            for name, channels in self.modalities.items()
        }

    def _check(self, inputs: Mapping[str, Tensor]) -> None:
        if not inputs:
            raise ValueError(f'no modality given, expected some of {sorted(self.modalities)}')
        first = next(iter(inputs.values()))
        for name, image in inputs.items():
            if name not in self.modalities:
                raise ValueError(
                    f'modality {name!r} is not registered, expected {sorted(self.modalities)}'
                )
            expected = (first.shape[0], self.modalities[name], *first.shape[-2:])
            if tuple(image.shape) != expected:
                raise ValueError(
                    f'modality {name!r} has shape {tuple(image.shape)}, expected {expected}'
                )

    def _prompt(self, deep: Tensor) -> Prompt:
        """Encode no prompt: one padding point with label -1."""
        batch, _, height, width = deep.shape
        points = deep.new_zeros(batch, 1, 2)
        labels = -torch.ones(batch, 1, dtype=torch.int32, device=deep.device)
        sparse, dense = self.prompt_encoder(points=(points, labels), boxes=None, masks=None)
        return Prompt(
            self.prompt_encoder.pe_layer((height, width)).unsqueeze(0),
            sparse,
            dense[:, :, :1, :1].expand(-1, -1, height, width),
        )
