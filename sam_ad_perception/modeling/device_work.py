"""Asynchronous GPU work: pinned copies, one synchronization per batch, and its timing."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to a device; a GPU takes it from pinned memory while this thread goes on.

    Args:
        array: Any shape, of a dtype that torch knows.
        device: Where it is wanted.

    Returns:
        A tensor of the same shape and dtype, on the device.
    """
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    staged = torch.empty(array.shape, dtype=dtype, pin_memory=device.type == 'cuda')
    np.copyto(staged.numpy(), array)
    return staged.to(device, non_blocking=True)


def download(tensor: Tensor) -> NDArray[Any]:
    """Wait for a device to have made a tensor, and for its copy in the host's memory.

    Args:
        tensor: On any device.

    Returns:
        The copy, in pinned memory where it comes from a GPU.

    Raises:
        RuntimeError: Something that the GPU was asked for failed; see `devices.is_lost`.
    """
    copied = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    copied.copy_(tensor, non_blocking=True)
    if tensor.is_cuda:
        torch.cuda.current_stream(tensor.device).synchronize()
    made: NDArray[Any] = copied.numpy()
    return made


class DeviceClock:
    """Tells how long each step took where it ran, without waiting between the steps.

    A GPU begins a step when it is done with the one before, long after the host has asked for it:
    so the marks between steps are put into its queue.

    Args:
        device: Where the steps run; the first begins now.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device) if device.type == 'cuda' else None
        self._marks: list[Any] = []
        self.mark()

    def mark(self) -> None:
        """End a step, and begin the next."""
        if self._stream is None:
            self._marks.append(time.perf_counter())
        else:
            self._marks.append(self._stream.record_event(torch.cuda.Event(enable_timing=True)))

    def steps_s(self) -> list[float]:
        """Seconds of each step; waits for the last one to end."""
        pairs = zip(self._marks[:-1], self._marks[1:], strict=True)
        if self._stream is None:
            return [last - first for first, last in pairs]
        self._marks[-1].synchronize()
        return [1e-3 * first.elapsed_time(last) for first, last in pairs]
