"""Roofline of this machine: how fast a network could run at best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from sam_ad_perception.core.benchmarking import best_ms
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inputs.preparation import PreparedBundle
from sam_ad_perception.modeling.runtimes.backends import ExportWrapper

MATRIX_SIDE = 1024
BANDWIDTH_BYTES = 1 << 26
"""Larger than a cache."""


@dataclass(frozen=True)
class Rates:
    """What was measured of a machine, with the threads that torch uses.

    Attributes:
        operations: Multiplications and additions per second of a product of matrices.
        bytes: Bytes read and written per second.
    """

    operations: float
    bytes: float


@dataclass(frozen=True)
class Work:
    """What one pass of a network asks for.

    Attributes:
        operations: Multiplications and additions in convolutions, products and attention.
        bytes: Weights, input and output, each once: no pass moves less.
    """

    operations: float
    bytes: float

    def limit_ms(self, rates: Rates) -> float:
        """Shortest time at some rates, milliseconds."""
        return 1e3 * max(self.operations / rates.operations, self.bytes / rates.bytes)


def measure_rates(device: torch.device | str = 'cpu', *, half: bool = False) -> Rates:
    """Measure what the machine gives now, with the threads that torch uses.

    Args:
        device: Where.
        half: Whether matrices are bfloat16, not float32.

    Returns:
        The rates.
    """
    device = torch.device(device)
    side = MATRIX_SIDE if device.type == 'cpu' else 8 * MATRIX_SIDE
    dtype = torch.bfloat16 if half else torch.float32
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    source = torch.zeros(BANDWIDTH_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)

    def multiply() -> None:
        torch.mm(a, b)
        wait(device)

    def copy() -> None:
        target.copy_(source)
        wait(device)

    multiply()
    products_ms, copy_ms = best_ms(multiply, 10)[0], best_ms(copy, 5)[0]
    return Rates(2e3 * side**3 / products_ms, 2e3 * BANDWIDTH_BYTES / copy_ms)


def count_work(expert: ExpertNetwork, item: PreparedBundle) -> Work:
    """Count what one pass takes.

    Args:
        expert: The network.
        item: What it is to see.

    Returns:
        The work.
    """
    names = [name for name in expert.spec.inputs if name in item.usable]
    shapes = [(1, expert.spec.channels[name], *expert.spec.input_size) for name in names]
    images = [torch.zeros(shape, device=expert.device) for shape in shapes]
    deployed = ExportWrapper(expert.network, names, mean=expert.spec.mean_of_heads)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        outputs = deployed(*images)
    moved = [*expert.network.parameters(), *images, *outputs]
    held = sum(each.numel() * each.element_size() for each in moved)
    return Work(float(counter.get_total_flops()), float(held))


def wait(device: torch.device) -> None:
    """Wait for the work of a GPU; a CPU has done it already."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
