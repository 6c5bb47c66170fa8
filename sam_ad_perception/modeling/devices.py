"""The devices that torch can compute on: checks of their names."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch

from sam_ad_perception.core.console.suggestions import did_you_mean

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


def memory_mib(device: str) -> dict[str, float]:
    """Ask how much memory of a GPU this process uses.

    Args:
        device: For example `cuda:0`.

    Returns:
        `allocated`, `reserved` and `peak` by tensors of this process, and `free` of the device,
        MiB; nothing where the device is no GPU, or does not answer any more.
    """
    if not device.startswith('cuda') or not torch.cuda.is_initialized():
        return {}
    try:
        return {
            'allocated': torch.cuda.memory_allocated(device) / MIB,
            'reserved': torch.cuda.memory_reserved(device) / MIB,
            'peak': torch.cuda.max_memory_allocated(device) / MIB,
            'free': torch.cuda.mem_get_info(device)[0] / MIB,
        }
    except RuntimeError:
        return {}


def release_memory() -> None:
    """Give memory that no tensor needs any more back to the GPU."""
    if torch.cuda.is_initialized():
        # A GPU that was lost has nothing to give back, and says so.
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()


def check_device(device: str) -> None:
    """Refuse a device that is not there, before anything is loaded onto it.

    Args:
        device: For example `cpu`, `cuda` or `cuda:1`.

    Raises:
        ValueError: It is no device of torch, or this machine has none.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f'device must be cpu, cuda or cuda:N, got {device!r}'
            f'{did_you_mean("cuda" if "gpu" in device.lower() else device, ("cpu", "cuda"))}'
        ) from None
    if wanted.type != 'cuda':
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        built = (
            f'built for CUDA {torch.version.cuda}' if torch.version.cuda else 'built without CUDA'
        )
        raise ValueError(
            f'device {device!r} needs an NVIDIA GPU with its driver, and torch '
            f'{torch.__version__} ({built}) finds none: take --device cpu, or see `sam_ad doctor`'
        )
    if (wanted.index or 0) >= count:
        last = f'cuda:{count - 1}'
        raise ValueError(f'device {device!r} is not there: this machine has cuda:0 to {last}')


def is_lost(err: BaseException) -> bool:
    """Tell whether an exception means that the GPU cannot be used any more in this process.

    Args:
        err: What a network raised.

    Returns:
        Whether it is an error of CUDA itself; memory that runs out is not one.
    """
    if isinstance(err, torch.cuda.OutOfMemoryError):
        return False
    lost: type[BaseException] | None = getattr(torch, 'AcceleratorError', None)
    return (lost is not None and isinstance(err, lost)) or (
        isinstance(err, RuntimeError) and str(err).startswith('CUDA error')
    )


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
