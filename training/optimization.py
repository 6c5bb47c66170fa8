"""Optimizer, learning rate, replicas of a network and the running average of its weights."""

from __future__ import annotations

import copy
import fnmatch
import math

import torch
from torch import nn

from training.config import OptimizerConfig


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters; vectors are not decayed.

    Each group holds, as `scale`, its share of the learning rate.

    Args:
        network: The network.
        config: Rate, decay, and which parts have a rate of their own.

    Returns:
        The optimizer.

    Raises:
        ValueError: A pattern of `scales` matches no trainable parameter.
    """
    trainable = {name: p for name, p in network.named_parameters() if p.requires_grad}
    scales = dict.fromkeys(trainable, 1.0)
    for pattern, scale in config.scales.items():
        matching = fnmatch.filter(trainable, pattern)
        if not matching:
            raise ValueError(f'optimizer.scales: {pattern!r} matches no trainable parameter')
        scales.update(dict.fromkeys(matching, scale))
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in trainable.items():
        groups.setdefault((scales[name], parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                'params': parameters,
                'scale': scale,
                'weight_decay': config.weight_decay if decays else 0.0,
            }
            for (scale, decays), parameters in groups.items()
        ],
        lr=config.lr,
        betas=(0.9, 0.98),
    )


def share_weights(network: nn.Module) -> nn.Module:
    """Copy a network so that the copy has the same weights in memory but its own gradients.

    Args:
        network: The network.

    Returns:
        The copy.
    """
    copied = _copy_trained(network)
    for own, shared in zip(copied.parameters(), network.parameters(), strict=True):
        own.data = shared.data
    return copied


def add_gradients(network: nn.Module, other: nn.Module) -> None:
    """Add the gradients of a copy to those of a network.

    Args:
        network: The network.
        other: Its copy.
    """
    for own, added in zip(network.parameters(), other.parameters(), strict=True):
        if added.grad is not None:
            own.grad = added.grad if own.grad is None else own.grad.add_(added.grad)


def learning_rate(config: OptimizerConfig, step: int, progress: float) -> float:
    """Linear warm-up, then a cosine over the run.

    Args:
        config: Highest and last rate, length of the warm-up.
        step: Optimizer steps made.
        progress: Share of the run that is over, in [0, 1].

    Returns:
        The rate.
    """
    low = config.final_lr_ratio
    cosine = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return config.lr * cosine * min(1.0, (step + 1) / max(config.warmup_steps, 1))


class WeightAverage:
    """Exponential moving average of a network's weights.

    Args:
        network: The network to follow.
        decay: Weight of the past; lower at first, so that the start is forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = _copy_trained(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take the network's weights in.

        Args:
            network: The network that is trained.
            step: Optimizer steps made.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        own, new = self.network.state_dict(), network.state_dict()
        for name, tensor in own.items():
            if tensor.data_ptr() == new[name].data_ptr():
                continue  # frozen, and shared
            if tensor.is_floating_point():
                tensor.lerp_(new[name], 1 - decay)
            else:
                tensor.copy_(new[name])


def _copy_trained(network: nn.Module) -> nn.Module:
    """Copy a network without its frozen parameters, which the copy shares."""
    shared = {id(p): p for p in network.parameters() if not p.requires_grad}
    return copy.deepcopy(network, shared)
