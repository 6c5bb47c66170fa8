"""Optimizer, learning rate and the running average of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from training.config import OptimizerConfig


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters; vectors are not decayed.

    Args:
        network: The network.
        config: Rate and decay.

    Returns:
        The optimizer.
    """
    trainable = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {'params': [p for p in trainable if p.ndim > 1], 'weight_decay': config.weight_decay},
        {'params': [p for p in trainable if p.ndim <= 1], 'weight_decay': 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))


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
        self.network = copy.deepcopy(network).requires_grad_(False)
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
            tensor.lerp_(new[name], 1 - decay)
