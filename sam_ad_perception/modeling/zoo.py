"""The model zoo: what each network is made of, what it expects, and where its weights are."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from torch import nn

from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from sam_ad_perception.core.records import build_record
from sam_ad_perception.modeling.architectures import AdSamArguments, FusionSamArguments
from sam_ad_perception.modeling.checkpoints import CheckpointSpec
from sam_ad_perception.modeling.encoder_pool import EncoderPool
from sam_ad_perception.modeling.encoders import HIERA_SPECS, STRIDE, HieraEncoder
from sam_ad_perception.modeling.lora import LoraSpec
from sam_ad_perception.modeling.mle_decoder import build_heads
from sam_ad_perception.modeling.mle_sam import AuxiliaryHead, FusionSpec, GatedFusion, MleSam
from sam_ad_perception.modeling.networks import SegmentationNetwork
from sam_ad_perception.modeling.representations import REPRESENTATIONS, Representation

OUTPUTS = ('main', 'mean')


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
        output: `main` takes the main head; `mean` the mean of both heads' logits.
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
    output: str = 'main'
    frozen: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.encoder not in HIERA_SPECS:
            raise ValueError(f'encoder must be one of {list(HIERA_SPECS)}, got {self.encoder!r}')
        if self.output not in OUTPUTS:
            raise ValueError(f'output must be one of {OUTPUTS}, got {self.output!r}')
        if self.output == 'mean' and not self.aux_head:
            raise ValueError('output mean needs aux_head')


@dataclass(frozen=True)
class MeasuredResult:
    """One measurement of the checkpoint.

    Attributes:
        dataset: Dataset and split.
        subset: Sensors used.
        miou: Mean IoU over the classes present, percent.
        classes: Number of classes present.
        frames: Frames measured.
        resolution: Mask size `(H, W)`, pixels.
    """

    dataset: str
    subset: tuple[str, ...]
    miou: float
    classes: int
    frames: int
    resolution: tuple[int, int]


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """One entry of the zoo.

    Attributes:
        key: Name of the entry.
        builder: Which network; a key of `BUILDERS`.
        arguments: What it is built from.
        inputs: For each registered modality, the form in which the network sees it.
        required: Modalities without which the network cannot run; at least one is always needed.
        input_size: Network input size `(H, W)`, pixels.
        label_space: Key of `LABEL_SPACES`.
        checkpoint: The trained weights.
        backbone: The weights that training starts from.
        results: Measurements.
        description: One sentence.

    Raises:
        ValueError: A field is out of range.
    """

    key: str
    builder: str
    arguments: MleSamArguments | AdSamArguments | FusionSamArguments
    inputs: Mapping[str, Representation]
    input_size: tuple[int, int]
    label_space: str
    required: tuple[str, ...] = ()
    checkpoint: CheckpointSpec = field(default_factory=CheckpointSpec)
    backbone: CheckpointSpec = field(default_factory=CheckpointSpec)
    results: tuple[MeasuredResult, ...] = ()
    description: str = ''

    def __post_init__(self) -> None:
        if type(self.arguments) is not BUILDERS.get(self.builder):
            raise ValueError(f'builder {self.builder!r} does not take {type(self.arguments)}')
        if not self.inputs:
            raise ValueError('modalities must name at least one, got none')
        stray = sorted(set(self.required) - set(self.inputs))
        if stray:
            raise ValueError(f'required names {stray}, which are not among its modalities')
        if any(side <= 0 or side % STRIDE for side in self.input_size):
            raise ValueError(
                f'input_size must be positive multiples of {STRIDE}, got {self.input_size}'
            )
        if self.label_space not in LABEL_SPACES:
            raise ValueError(
                f'label_space must be one of {sorted(LABEL_SPACES)}, got {self.label_space!r}'
            )

    @property
    def labels(self) -> LabelSpace:
        """The classes of the mask."""
        return LABEL_SPACES[self.label_space]

    @property
    def mean_of_heads(self) -> bool:
        """Whether the mask comes from the mean of both heads' logits, not from the main one's."""
        return getattr(self.arguments, 'output', 'main') == 'mean'

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each modality's image."""
        return {name: form.channels for name, form in self.inputs.items()}


@dataclass(frozen=True)
class _Entry:
    """An entry as it is written in the file."""

    builder: str
    arguments: Mapping[str, Any]
    modalities: Mapping[str, Mapping[str, object]]
    input_size: tuple[int, int]
    label_space: str
    resize: str = 'stretch'
    required: tuple[str, ...] = ()
    checkpoint: CheckpointSpec = field(default_factory=CheckpointSpec)
    backbone: CheckpointSpec = field(default_factory=CheckpointSpec)
    results: tuple[MeasuredResult, ...] = ()
    description: str = ''


def load_zoo(path: Path) -> dict[str, ModelSpec]:
    """Read `zoo.yaml`.

    Args:
        path: The file.

    Returns:
        The entries by key, in the order of the file.

    Raises:
        ValueError: The file is not a zoo; the message names the entry and the field.
        OSError: The file cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        raise ValueError(f'{path} is not valid YAML: {error}') from error
    if not isinstance(content, dict) or set(content) != {'models'}:
        raise ValueError(f'{path} must hold exactly one key, `models`')
    return {key: _spec_of(key, entry) for key, entry in content['models'].items()}


def _spec_of(key: str, mapping: object) -> ModelSpec:
    where = f'models.{key}'
    entry = build_record(_Entry, mapping, where)
    if entry.resize != 'stretch':
        raise ValueError(f'{where}.resize must be stretch, got {entry.resize!r}')
    inputs = {}
    for name, written in entry.modalities.items():
        options = dict(written)
        form = options.pop('representation', None)
        if not isinstance(form, str) or form not in REPRESENTATIONS:
            raise ValueError(
                f'{where}.modalities.{name}.representation must be one of '
                f'{list(REPRESENTATIONS)}, got {form!r}'
            )
        inputs[name] = build_record(REPRESENTATIONS[form], options, f'{where}.modalities.{name}')
    if entry.builder not in BUILDERS:
        raise ValueError(f'{where}.builder must be one of {list(BUILDERS)}, got {entry.builder!r}')
    arguments: Any = build_record(BUILDERS[entry.builder], entry.arguments, f'{where}.arguments')
    try:
        return ModelSpec(
            key=key,
            builder=entry.builder,
            arguments=arguments,
            inputs=inputs,
            input_size=entry.input_size,
            label_space=entry.label_space,
            required=entry.required,
            checkpoint=entry.checkpoint,
            backbone=entry.backbone,
            results=entry.results,
            description=entry.description,
        )
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error


def sensor_sets(spec: ModelSpec) -> list[tuple[str, ...]]:
    """List the sets of sensors that a network takes.

    Args:
        spec: Its entry.

    Returns:
        Every non-empty subset of its modalities that holds the required ones, smallest first.
    """
    names = list(spec.inputs)
    sets = (s for n in range(1, len(names) + 1) for s in itertools.combinations(names, n))
    return [s for s in sets if set(spec.required) <= set(s)]


def build_mle_sam(spec: ModelSpec) -> MleSam:
    """Build MLE-SAM with fresh weights.

    Args:
        spec: The entry.

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
        modalities=tuple(spec.inputs) if arguments.decoder_per_modality else (),
    )
    network = MleSam(
        spec.channels,
        HieraEncoder(shape, spec.channels, arguments.lora),
        GatedFusion(tuple(spec.inputs), levels, arguments.fusion),
        prompt_encoder,
        decoder,
        AuxiliaryHead(levels, num_classes) if arguments.aux_head else None,
    )
    _set_trained(network, arguments.frozen, False)
    _set_trained(network, arguments.trained, True)
    return network


BUILDERS: Mapping[str, type] = MappingProxyType(
    {'mle_sam': MleSamArguments, 'ad_sam': AdSamArguments, 'fusion_sam': FusionSamArguments}
)
"""The networks that an entry may name, each with what it is built from."""


def build_model(spec: ModelSpec, pool: EncoderPool | None = None) -> SegmentationNetwork:
    """Build the network of an entry, with fresh weights.

    Args:
        spec: The entry.
        pool: Frozen SAM encoders that several networks share; None builds the entry's own.

    Returns:
        The network in training mode: an `MleSam`, `AdSam` or `FusionSam`.

    Raises:
        ValueError: The entry cannot be built; the message names the field.
    """
    arguments, num_classes = spec.arguments, len(spec.labels.classes)
    if isinstance(arguments, MleSamArguments):
        return build_mle_sam(spec)
    pool = pool or EncoderPool()
    # imported only here: both bring torchvision, which takes two seconds
    if isinstance(arguments, AdSamArguments):
        from sam_ad_perception.modeling.ad_sam import build_ad_sam

        return build_ad_sam(arguments, spec.channels, num_classes, pool)
    from sam_ad_perception.modeling.fusion_sam import build_fusion_sam

    return build_fusion_sam(arguments, spec.channels, num_classes, spec.input_size, pool)


def _set_trained(network: nn.Module, patterns: tuple[str, ...], trained: bool) -> None:
    parameters = dict(network.named_parameters())
    for pattern in patterns:
        matching = fnmatch.filter(parameters, pattern)
        if not matching:
            raise ValueError(f'pattern {pattern!r} matches no parameter of the network')
        for name in matching:
            parameters[name].requires_grad_(trained)
