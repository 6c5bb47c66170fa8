"""The network that a run trains, with all that it starts from."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from torch import nn

from sam_ad_perception.modeling.architectures import FusionSamArguments
from sam_ad_perception.modeling.backbones import load_backbone
from sam_ad_perception.modeling.checkpoints import CheckpointError, CheckpointSpec, load_checkpoint
from sam_ad_perception.modeling.fusion_sam import FusionSam
from sam_ad_perception.modeling.networks import SegmentationNetwork
from sam_ad_perception.modeling.vector_quantizer import VectorQuantizer
from sam_ad_perception.modeling.zoo import ModelSpec, build_model, load_zoo
from training.config import SIMULATED, TrainConfig
from training.datasets.simulated import LABEL_SPACE


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
        path = Path(config.start)
        load_checkpoint(network, CheckpointSpec(path.name), path.parent)
        console.print(f'{spec.key} goes on from {path}')
    network = network.train()
    if config.schedule.replicas > 1 and learns_codes(network):
        raise ValueError(
            f'schedule.replicas must be 1, got {config.schedule.replicas}: the codebooks of '
            f'{spec.key} follow every forward pass'
        )
    return network


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
