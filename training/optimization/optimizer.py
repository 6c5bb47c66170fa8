"""Optimizer, learning rate, replicas of a network and the running average of its weights."""

from __future__ import annotations

import copy
import fnmatch
import math

import numpy as np
import torch
from torch import Tensor, nn

from training.configuration.optimization import OptimizerConfig


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build the optimizer over the trainable parameters.

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
        decays = config.decay_vectors or parameter.ndim > 1
        groups.setdefault((scales[name], decays), []).append(parameter)
    kind = torch.optim.AdamW if config.name == 'adamw' else torch.optim.Adam
    return kind(
        [
            {
                'params': parameters,
                'scale': scale,
                'weight_decay': config.weight_decay if decays else 0.0,
            }
            for (scale, decays), parameters in groups.items()
        ],
        lr=config.lr,
        betas=config.betas,
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


def learning_rate(
    config: OptimizerConfig, step: int, progress: float, scale: float = 1.0
) -> float:
    """Linear warm-up, and a decay over the run.

    Args:
        config: Highest and last rate, length of the warm-up, form of the decay.
        step: Optimizer steps made.
        progress: Share of the run that is over, in [0, 1].
        scale: Share of the rate that a group of parameters gets.

    Returns:
        The rate.
    """
    highest = config.lr * scale
    if config.decay == 'warmup_poly':
        return highest * _warmup_poly(config, step, progress)
    low = config.final_lr_ratio
    done = min(progress, 1.0)
    share = 1.0
    if config.decay == 'cosine':
        share = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done))
    elif config.decay == 'poly':
        share = low + (1 - low) * (1 - done) ** config.power
    start = config.warmup_start
    warm = start + (1 - start) * (step + 1) / max(config.warmup_steps, 1)
    lowest = min(config.lowest_lr, highest)
    return lowest + (highest - lowest) * share * min(1.0, warm)


def _warmup_poly(config: OptimizerConfig, step: int, progress: float) -> float:
    """Share of the rate as in the code lineage of MLE-SAM: the decay begins after the warm-up."""
    warm = config.warmup_steps
    if step < warm:
        return config.warmup_start + (1 - config.warmup_start) * step / warm
    steps = step / progress if progress > 0 else math.inf  # at the pace so far
    left = 1 - (step - warm) / (steps * (1 + config.tail) - warm) if steps > warm else 1.0
    return float(max(left, 0.0) ** config.power)


class SeededDropout(nn.Module):
    """Dropout of elements or whole channels that draws from a generator of its own.

    torch's own draws from one generator per device, in whatever order threads come to it.

    Args:
        probability: That something is dropped.
        channels: Whether (B, C) maps are dropped instead of elements.
    """

    def __init__(self, probability: float, *, channels: bool) -> None:
        super().__init__()
        self.probability = probability
        self.channels = channels
        self.generator = torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor (B, C, ...) to one of the same shape."""
        if not self.training or self.probability == 0:
            return x
        shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if self.channels else x.shape
        kept = torch.rand(shape, generator=self.generator) >= self.probability
        return x * (kept.to(x) / (1 - self.probability))


def seed_dropout(network: nn.Module) -> nn.Module:
    """Put a `SeededDropout` into the place of each dropout of a network.

    Args:
        network: The network.

    Returns:
        The same one.
    """
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, (nn.Dropout, nn.Dropout2d)):
                flat = isinstance(child, nn.Dropout2d)
                seeded = SeededDropout(child.p, channels=flat).train(child.training)
                setattr(module, name, seeded)
    return network


def seed_draws(network: nn.Module, seed: tuple[int, ...], *, alone: bool = True) -> None:
    """Fix what a network draws at random in its next forward pass.

    Args:
        network: A network that went through `seed_dropout`.
        seed: Numbers of which the same give the same draws.
        alone: Whether no other thread draws: then torch's own generators are seeded too.
    """
    streams = np.random.SeedSequence(seed).spawn(2)
    first, second = (int(stream.generate_state(1)[0]) for stream in streams)
    for index, module in enumerate(m for m in network.modules() if isinstance(m, SeededDropout)):
        module.generator.manual_seed(first + index)
    if alone:
        torch.manual_seed(second)


class WeightAverage:
    """Exponential moving average of a network's weights.

    Args:
        network: The network to follow.
        decay: Weight of the past; lower at first, so that the start is forgotten. 0 follows the
            network exactly.
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
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
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
