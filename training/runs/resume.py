"""Settings of a resumed run: each is taken over, free to change, or refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from training.configuration.run import TrainConfig, to_mapping
from training.frames.frame import Dataset
from training.frames.image_folders import FileDataset

FREE = (
    'output_dir', 'cache_dir', 'root', 'zoo', 'checkpoints', 'start', 'half', 'threads', 'resume',
    'validation', 'latents', 'schedule.steps', 'schedule.epochs', 'schedule.max_minutes',
    'schedule.checkpoint_minutes', 'data.workers', 'data.min_frames', 'data.index',
    'data.calibration', 'machine.accelerator', 'machine.readers', 'machine.features',
    'machine.checkpoint_blocks', 'loggers',
)  # fmt: skip
"""Settings (or sections) that change how long, where and how a run is watched, not what it
learns; the data themselves are compared by their fingerprint."""
TAKEN = (
    'subsets', 'loss', 'augmentation', 'data.skip_damaged', 'optimizer.lr', 'optimizer.betas',
    'optimizer.weight_decay', 'optimizer.decay_vectors', 'optimizer.decay', 'optimizer.power',
    'optimizer.per_epoch', 'optimizer.warmup_steps', 'optimizer.warmup_epochs',
    'optimizer.warmup_start', 'optimizer.final_lr_ratio', 'optimizer.lowest_lr',
    'optimizer.clip', 'optimizer.ema', 'optimizer.scales', 'schedule.batch_size',
    'schedule.replicas', 'schedule.accumulate', 'schedule.sizes', 'schedule.size_ends',
    'machine.devices', 'machine.nodes', 'machine.precision',
)  # fmt: skip
"""Settings (or sections) whose new value counts from the step on at which a run goes on."""


def flatten(config: TrainConfig) -> dict[str, Any]:
    """Write a configuration as dotted names.

    Args:
        config: The experiment.

    Returns:
        Name to plain value; a mapping whose keys are free (as `optimizer.scales`) is one value.
    """
    flat: dict[str, Any] = {}

    def add(prefix: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, Mapping) and prefix.count('.') < 1 and name in _SECTIONS:
                add(f'{prefix}{name}.', value)
            else:
                flat[f'{prefix}{name}'] = value

    add('', to_mapping(config))
    return flat


_SECTIONS = (
    'data', 'subsets', 'optimizer', 'loss', 'schedule', 'latents', 'validation', 'machine',
    'augmentation', 'resume',
)  # fmt: skip


def compare_settings(
    saved: Mapping[str, Any], config: TrainConfig, where: str, *, finished: bool
) -> list[str]:
    """Hold the settings of a run that goes on against those that it was made with.

    Args:
        saved: What `flatten` gave then.
        config: What is asked for now.
        where: The run's state, for errors.
        finished: Whether nothing is left to be trained.

    Returns:
        One sentence per setting whose new value counts from now on.

    Raises:
        ValueError: A setting that a run cannot change has, or the run is finished, so that a
            changed one would count for nothing.
    """
    now = flatten(config)
    told, refused = [], []
    for name in sorted(now.keys() | saved.keys()):
        if saved.get(name) == now.get(name) or _covers(FREE, name):
            continue
        change = f'{name} was {saved.get(name)}, is {now.get(name)}'
        if _covers(TAKEN, name) or _covers(config.resume.allow, name):
            told.append(change)
        else:
            refused.append(change)
    if finished and (told or refused):
        raise ValueError(
            f'{where} holds a finished run of another configuration: '
            f'{"; ".join([*refused, *told])}. Choose another output_dir, or raise schedule.steps '
            'or epochs to go on'
        )
    if refused:
        raise ValueError(
            f'{where} is of another experiment; choose another output_dir: {"; ".join(refused)} '
            f'(resume.allow=[{refused[0].split()[0]}] takes the new value)'
        )
    return told


def _covers(names: Sequence[str], name: str) -> bool:
    return any(name == each or name.startswith(f'{each}.') for each in names)


def data_fingerprint(dataset: Dataset) -> str:
    """Sum up which frames a run learns from, so that it does not go on with others.

    Args:
        dataset: The frames.

    Returns:
        12 hexadecimal digits; they change with names and sizes of files and with the classes, not
        with the folder that holds them.
    """
    facts: list[object] = [len(dataset), repr(dataset.space)]
    if isinstance(dataset, FileDataset):
        facts += [
            (frame.name, sorted((role, path.stat().st_size) for role, path in frame.files.items()))
            for frame in dataset.frames
        ]
    else:
        facts += [path.name for path in getattr(dataset, 'files', ())]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def parameter_names(network: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters in the order in which an optimizer's state numbers them.

    Args:
        network: Has the parameters.
        optimizer: Over them.

    Returns:
        The names.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group['params']]


def load_optimizer(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    saved_names: Sequence[str],
) -> None:
    """Give an optimizer the moments of an earlier one, and keep its own settings.

    `Optimizer.load_state_dict` would bring the old betas, weight decay and groups back.

    Args:
        network: Has the parameters.
        optimizer: The new one.
        state: State of the old one.
        saved_names: See `parameter_names`, of the old one; empty where nobody wrote them.

    Raises:
        ValueError: The parameters are others.
    """
    names = parameter_names(network, optimizer)
    before = list(saved_names) or names
    if set(before) != set(names):
        other = sorted(set(before) ^ set(names))
        raise ValueError(f'other parameters are trained, first {other[0]}')
    place = {name: index for index, name in enumerate(before)}
    moments = {
        index: state['state'][place[name]]
        for index, name in enumerate(names)
        if place[name] in state['state']
    }
    own = optimizer.state_dict()['param_groups']
    optimizer.load_state_dict({'state': moments, 'param_groups': own})
