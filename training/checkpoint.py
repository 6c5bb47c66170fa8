"""Checkpoints of a run, and the file that is deployed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor


def save_atomically(content: bytes, path: Path) -> None:
    """Write a file so that it is never seen half written.

    Args:
        content: The bytes.
        path: The file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    with part.open('wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def save_run(path: Path, state: Mapping[str, Any]) -> None:
    """Write a run's state (tensors and plain values) atomically.

    Args:
        path: The file.
        state: What `load_run` returns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    torch.save(dict(state), part)
    part.replace(path)


def load_run(path: Path) -> dict[str, Any]:
    """Read a run's state; nothing but tensors and plain values is unpickled.

    Args:
        path: The file.

    Returns:
        The state.
    """
    state: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
    return state


def export_weights(state: Mapping[str, Tensor], path: Path, *, half: bool = True) -> str:
    """Write a network's state as safetensors.

    Args:
        state: Names to tensors, as `state_dict` gives them.
        path: The file.
        half: Write fp32 tensors in half precision, but for those with values beyond its range.

    Returns:
        Its sha256, hexadecimal.
    """
    tensors = {name: _stored(tensor, half=half) for name, tensor in state.items()}
    content = save_safetensors(tensors, metadata={'format': 'pt'})
    save_atomically(content, path)
    return hashlib.sha256(content).hexdigest()


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous().clone()
    if half and tensor.dtype == torch.float32:
        smaller = tensor.half()
        return smaller if bool(smaller.isfinite().all()) else tensor
    return tensor
