"""MLE-SAM, AD-SAM and FusionSAM built from their zoo entries."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import nn

from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.modeling.encoders.hiera import HIERA_SPECS, HieraEncoder
from sam_ad_perception.modeling.encoders.lora import LoraSpec
from sam_ad_perception.modeling.encoders.pool import EncoderPool
from sam_ad_perception.modeling.encoders.specs import AdSamArguments, FusionSamArguments
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.networks.mle_decoder import build_heads
from sam_ad_perception.modeling.networks.mle_sam import (
    AuxiliaryHead,
    FusionSpec,
    GatedFusion,
    MleSam,
    StillImageMark,
)
from sam_ad_perception.modeling.networks.registry import NetworkKind

OUTPUTS = ('main', 'mean')


class NetworkSpec(Protocol):
    """What of a zoo entry a network is built from; see `modeling.zoo.entries.ModelSpec`."""

    @property
    def arguments(self) -> object:
        """What the network is built from."""

    @property
    def channels(self) -> Mapping[str, int]:
        """Channels of each input."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Size of the inputs `(H, W)`, pixels."""

    @property
    def labels(self) -> LabelSpace:
        """The classes of the mask."""


@dataclass(frozen=True)
class MleSamArguments:
    """What `MleSam` is built from.

    Attributes:
        encoder: Key of `HIERA_SPECS`.
        lora: Shape of the adapters.
        fusion: Top-k, combination, hidden widths of the gate.
        decoder_mlp_dim: Hidden width of the decoder's transformer.
        decoder_per_modality: Whether each modality has its own copy of the decoder around one
            transformer, as the published parameter counts suggest; otherwise one serves all.
        object_scores: Whether the decoder has SAM 2.1's object score token and head.
        aux_head: Whether there is an auxiliary head.
        aux_scale: Size of the auxiliary logits over that of the main ones: 4 brings every level to
            the size of the input in one step, as the paper's text has it; 1 costs less.
        output: `main` takes the main head; `mean` the mean of both heads' logits.
        still_image: Whether the deepest level gets SAM 2's code for an image without memory
            before it is decoded, as in SAM 2's own predictor for images.
        frozen: Patterns (as of the shell) of parameter names that are not trained.
        trained: Patterns of names that are trained although `frozen` matches them.

    Raises:
        ValueError: A field is out of range.
    """

    encoder: str
    lora: LoraSpec = field(default_factory=LoraSpec)
    fusion: FusionSpec = field(default_factory=FusionSpec)
    decoder_mlp_dim: int = 2048
    decoder_per_modality: bool = False
    object_scores: bool = True
    aux_head: bool = True
    aux_scale: int = 1
    output: str = 'main'
    still_image: bool = False
    frozen: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.encoder not in HIERA_SPECS:
            raise ValueError(f'encoder must be one of {list(HIERA_SPECS)}, got {self.encoder!r}')
        if self.output not in OUTPUTS:
            raise ValueError(f'output must be one of {OUTPUTS}, got {self.output!r}')
        if self.aux_scale not in (1, 2, 4):
            raise ValueError(f'aux_scale must be 1, 2 or 4, got {self.aux_scale}')
        if self.output == 'mean' and not self.aux_head:
            raise ValueError('output mean needs aux_head')


def build_mle_sam(spec: NetworkSpec, pool: EncoderPool) -> MleSam:
    """Build MLE-SAM with fresh weights.

    Args:
        spec: The zoo entry.
        pool: Not used: its encoder has adapters of its own.

    Returns:
        The network, its `frozen` parameters without gradient.

    Raises:
        ValueError: A pattern of `frozen` or `trained` matches no parameter.
    """
    arguments = spec.arguments
    assert isinstance(arguments, MleSamArguments)
    shape = HIERA_SPECS[arguments.encoder]
    num_classes = len(spec.labels.classes)
    dim = shape.neck_dim
    levels = (dim // 8, dim // 4, dim)
    prompt_encoder, decoder = build_heads(
        dim,
        num_classes,
        spec.input_size,
        mlp_dim=arguments.decoder_mlp_dim,
        scores=arguments.object_scores,
        modalities=tuple(spec.channels) if arguments.decoder_per_modality else (),
    )
    network = MleSam(
        spec.channels,
        HieraEncoder(shape, spec.channels, arguments.lora),
        GatedFusion(tuple(spec.channels), levels, arguments.fusion),
        prompt_encoder,
        decoder,
        AuxiliaryHead(levels, num_classes) if arguments.aux_head else None,
        arguments.aux_scale,
        StillImageMark(dim) if arguments.still_image else None,
    )
    _set_trained(network, arguments.frozen, False)
    _set_trained(network, arguments.trained, True)
    return network


def build_ad_sam(spec: NetworkSpec, pool: EncoderPool) -> SegmentationNetwork:
    """Build AD-SAM with fresh weights.

    Args:
        spec: The zoo entry.
        pool: Where its frozen encoder comes from.

    Returns:
        The network.
    """
    # imported only here: torchvision takes two seconds
    from sam_ad_perception.modeling.networks import ad_sam

    assert isinstance(spec.arguments, AdSamArguments)
    return ad_sam.build_ad_sam(spec.arguments, spec.channels, len(spec.labels.classes), pool)


def build_fusion_sam(spec: NetworkSpec, pool: EncoderPool) -> SegmentationNetwork:
    """Build FusionSAM with fresh weights.

    Args:
        spec: The zoo entry.
        pool: Where its frozen encoder comes from.

    Returns:
        The network.
    """
    from sam_ad_perception.modeling.networks import fusion_sam

    assert isinstance(spec.arguments, FusionSamArguments)
    return fusion_sam.build_fusion_sam(
        spec.arguments, spec.channels, len(spec.labels.classes), spec.input_size, pool
    )


def _set_trained(network: nn.Module, patterns: tuple[str, ...], trained: bool) -> None:
    parameters = dict(network.named_parameters())
    for pattern in patterns:
        matching = fnmatch.filter(parameters, pattern)
        if not matching:
            raise ValueError(f'pattern {pattern!r} matches no parameter of the network')
        for name in matching:
            parameters[name].requires_grad_(trained)


_PRETRAINED = 'sam_ad_perception.modeling.zoo.pretrained'
MLE_SAM = NetworkKind(MleSamArguments, build_mle_sam, f'{_PRETRAINED}:start_mle_sam')
AD_SAM = NetworkKind(AdSamArguments, build_ad_sam, f'{_PRETRAINED}:start_ad_sam')
FUSION_SAM = NetworkKind(FusionSamArguments, build_fusion_sam, f'{_PRETRAINED}:start_fusion_sam')
