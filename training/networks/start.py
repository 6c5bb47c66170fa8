"""The network that a run trains, with the weights that it starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from torch import nn

from sam_ad_perception.core.label_files import label_space_from
from sam_ad_perception.modeling.encoders.specs import FusionSamArguments
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.networks.fusion_sam import FusionSam
from sam_ad_perception.modeling.networks.vector_quantizer import VectorQuantizer
from sam_ad_perception.modeling.zoo.checkpoints import (
    CheckpointError,
    CheckpointSpec,
    check_digest,
    load_checkpoint,
)
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo
from sam_ad_perception.modeling.zoo.packed import (
    SUFFIX,
    carries_entry,
    pack_entry,
    read_entries,
)
from sam_ad_perception.modeling.zoo.pretrained import load_backbone
from training.configuration.run import SIMULATED, TrainConfig
from training.datasets.own.simulated import LABEL_SPACE
from training.networks.transfer import fit_state, read_state


def find_entry(config: TrainConfig) -> ModelSpec:
    """Find the zoo entry of a run.

    Args:
        config: The experiment.

    Returns:
        The entry.

    Raises:
        ValueError: No such entry, one with other classes than the simulator's, or without a
            sensor that is to fail.
    """
    zoo = load_zoo(Path(config.zoo))
    if config.model not in zoo:
        raise ValueError(f'model must be one of {list(zoo)}, got {config.model!r}')
    spec = zoo[config.model]
    if config.classes:
        space = label_space_from(config.classes, config.model, 'classes')
        spec = dataclasses.replace(spec, label_space=space.name, space=space)
    if config.sensors:
        spec = keep_inputs(spec, config.sensors)
    if config.dataset == SIMULATED and spec.label_space != LABEL_SPACE:
        raise ValueError(
            f'simulated drives are labelled as {LABEL_SPACE}, but {config.model} has the '
            f'classes of {spec.label_space}'
        )
    stray = config.augmentation.sensors - set(spec.inputs)
    if stray:
        raise ValueError(
            f'augmentation names {sorted(stray)}, {config.model} has {list(spec.inputs)}'
        )
    return spec


def keep_inputs(spec: ModelSpec, sensors: Sequence[str]) -> ModelSpec:
    """Take the sensors out of an entry that its network is not trained with.

    Args:
        spec: The entry.
        sensors: Those that stay.

    Returns:
        The entry of a network that knows no others.

    Raises:
        ValueError: The entry does not have one of them, or needs another.
    """
    stray = [name for name in sensors if name not in spec.inputs]
    if stray:
        raise ValueError(f'sensors names {stray}, {spec.key} has {list(spec.inputs)}')
    lacking = [name for name in spec.required if name not in sensors]
    if lacking:
        raise ValueError(f'{spec.key} needs {lacking}, sensors names {list(sensors)}')
    rows = tuple(row for row in spec.temperatures if set(row.subset) <= set(sensors))
    inputs = {name: form for name, form in spec.inputs.items() if name in sensors}
    return dataclasses.replace(spec, inputs=inputs, temperatures=rows, results=())


def build_network(spec: ModelSpec, config: TrainConfig, console: Console) -> SegmentationNetwork:
    """Build a network and load what its training starts from.

    Args:
        spec: The entry.
        config: The experiment: where official weights are, and FusionSAM's first stage.
        console: Where it is said what was loaded.

    Returns:
        The network in training mode.

    Raises:
        CheckpointError: A file is absent or another one; the message says how to get it.
        ValueError: A first stage for a network that has none.
    """
    network = build_model(spec)
    for name in load_backbone(network, spec, config.checkpoint_folder):
        console.print(f'{spec.key} starts from {config.checkpoint_folder / name}')
    load_latents(network, spec, config, console)
    if config.start:
        start_from(network, spec, config, console)
    network = network.train()
    if config.schedule.replicas > 1 and learns_codes(network):
        raise ValueError(
            f'schedule.replicas must be 1, got {config.schedule.replicas}: the codebooks of '
            f'{spec.key} follow every forward pass'
        )
    return network


def start_from(network: nn.Module, spec: ModelSpec, config: TrainConfig, console: Console) -> None:
    """Load what fits of the weights that a run starts from, and name what is new.

    Args:
        network: The entry's network.
        spec: The entry.
        config: The experiment.
        console: Where it is said.

    Raises:
        CheckpointError: The file is absent, no weights, or of another network.
    """
    zoo = load_zoo(Path(config.zoo))
    path, space = Path(config.start), None
    if config.start in zoo and not path.is_file():
        checkpoint, space = zoo[config.start].checkpoint, zoo[config.start].labels
        path = config.checkpoint_folder / checkpoint.file
        beside = Path(config.zoo).parent / 'checkpoints' / checkpoint.file
        path = path if path.is_file() else beside
        if checkpoint.sha256 and path.is_file():
            check_digest(path, checkpoint.sha256)
    elif not path.is_file():
        raise CheckpointError(
            f'start: {path} is not there, expected a file of weights or one of {list(zoo)}'
        )
    elif path.suffix == SUFFIX and carries_entry(path):
        space = next(iter(load_zoo(path).values())).labels
    same = space is None or space.names == spec.labels.names
    report = fit_state(network, read_state(path), str(path), same_classes=same)
    console.print(f'{spec.key} starts from {path}: {report}', markup=False, soft_wrap=True)


def entry_metadata(spec: ModelSpec) -> dict[str, str]:
    """What a file of weights carries so that it can be loaded by itself.

    Args:
        spec: The entry, with the classes that are trained.

    Returns:
        Metadata; none where the entry was made without a file.
    """
    if not spec.source.is_file():
        return {}
    entry = dict(read_entries(spec.source)[spec.key])
    entry['modalities'] = {k: v for k, v in entry['modalities'].items() if k in spec.inputs}
    return pack_entry(entry, spec.key, spec.labels)


def load_latents(
    network: nn.Module, spec: ModelSpec, config: TrainConfig, console: Console
) -> None:
    """Load the autoencoders that FusionSAM's first stage trained.

    Args:
        network: The entry's network.
        spec: The entry.
        config: The experiment.
        console: Where it is said.

    Raises:
        CheckpointError: The file is absent, or of another network; or the entry keeps its
            autoencoders frozen and there is no file.
        ValueError: The network has no autoencoders.
    """
    file = config.latents.file
    if not isinstance(spec.arguments, FusionSamArguments):
        if file:
            raise ValueError(f'latents.file is for FusionSAM, got {file!r} for {spec.key}')
        return
    if not file and not spec.arguments.freeze_latents:
        return
    hint = 'train them first: python -m training.latents, with this configuration'
    if not file:
        raise CheckpointError(
            f'{spec.key} keeps its autoencoders frozen, so latents.file must name them; {hint}'
        )
    assert isinstance(network, FusionSam)
    path = Path(file)
    load_checkpoint(network.latents, CheckpointSpec(path.name, note=hint), path.parent)
    console.print(f'{spec.key} takes its autoencoders from {path}')


def learns_codes(network: nn.Module) -> bool:
    """Whether a codebook of the network moves in its forward pass."""
    return any(isinstance(m, VectorQuantizer) and m.training for m in network.modules())
