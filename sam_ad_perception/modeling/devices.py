"""What torch can compute on here."""

from __future__ import annotations

from dataclasses import dataclass

import torch

MIB = 1 << 20


@dataclass(frozen=True)
class TorchReport:
    """The state of torch on this machine.

    Attributes:
        version: Of torch.
        cpu_threads: Threads of its operators.
        cuda: Version of CUDA that it was built with; empty for none.
        gpus: One line per GPU that it can use: name and free memory.
    """

    version: str
    cpu_threads: int
    cuda: str
    gpus: tuple[str, ...]


def report_devices() -> TorchReport:
    """Ask torch what it can use.

    Returns:
        The report.
    """
    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        gpus.append(f'cuda:{index} {name}, {free / MIB:.0f} of {total / MIB:.0f} MiB free')
    return TorchReport(
        str(torch.__version__), torch.get_num_threads(), torch.version.cuda or '', tuple(gpus)
    )
