"""Processes, devices and precision of a run, by Lightning Fabric."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import torch
from sam2.modeling.backbones.hieradet import MultiScaleBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.configuration.place import MachineConfig

if TYPE_CHECKING:
    from lightning.fabric import Fabric

_PRECISION = {'32': '32-true'}


def open_fabric(config: MachineConfig) -> Fabric:
    """Start the processes of a run, one per device, and join them.

    Under `torchrun` they are there already: its numbers are taken.

    Args:
        config: How many, and of what.

    Returns:
        This process's place among them.

    Raises:
        ValueError: There is no such accelerator here.
    """
    from lightning.fabric import Fabric  # late: seconds, which processes that read can spare
    from lightning.fabric.strategies import DDPStrategy, Strategy
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    devices, nodes = config.devices, config.nodes
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        devices = int(os.environ['LOCAL_WORLD_SIZE'])
        nodes = int(os.environ['WORLD_SIZE']) // devices
    strategy: str | Strategy = 'auto'
    if devices * nodes > 1:
        # which sensors a batch has decides which weights it touches
        strategy = DDPStrategy(find_unused_parameters=True)
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=_PRECISION.get(config.precision, config.precision),  # type: ignore[arg-type]
        )
    except (MisconfigurationException, RuntimeError) as error:
        raise ValueError(f'machine: {error}') from error
    fabric.launch()
    return fabric


def checkpoint_blocks(network: nn.Module) -> int:
    """Let the blocks of a network's encoder be recomputed in the backward pass.

    The backward pass of a batch must come before the network's next forward pass.

    Args:
        network: Any network of the zoo.

    Returns:
        How many modules were told; 0 where the network has none.
    """
    count = 0
    for module in network.modules():
        if hasattr(module, 'checkpoint_blocks'):  # SAM's encoders know how
            vars(module)['checkpoint_blocks'] = True
            count += 1
        elif isinstance(module, MultiScaleBlock):
            module.forward = _Recomputed(module)
            count += 1
    return count


class _Recomputed:
    """The forward pass of a block of Hiera, whose class is not ours."""

    def __init__(self, block: MultiScaleBlock) -> None:
        self.block = block

    def __call__(self, x: Tensor) -> Tensor:
        run = type(self.block).forward
        if not torch.is_grad_enabled():
            return run(self.block, x)
        recomputed: Tensor = checkpoint(run, self.block, x, use_reentrant=False)
        return recomputed


def used_memory_mib(device: torch.device) -> float:
    """Most memory that this process has held so far.

    Args:
        device: Where it computes.

    Returns:
        MiB, of the device, or of the process where it computes on a CPU.
    """
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
