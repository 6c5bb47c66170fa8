"""Checkpoints of a run, and the file that is deployed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from sam_ad_perception.core.transaction import write_file


def save_atomically(content: bytes, path: Path) -> None:
    """Write a file so that it is never seen half written.

    Args:
        content: The bytes.
        path: The file.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    with write_file(path) as file:
        file.write(content)


class _Surely:
    """A file for torch.save, which loses the reason why a write failed."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        """Write, and remember why not."""
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Hand on what is buffered."""
        self.file.flush()


def save_run(path: Path, state: Mapping[str, Any]) -> None:
    """Write a run's state (tensors and plain values) atomically.

    Args:
        path: The file.
        state: What `load_run` returns.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    with write_file(path) as file:
        target = _Surely(file)
        try:
            torch.save(dict(state), target)  # type: ignore[arg-type]  # write and flush will do
        except RuntimeError as error:
            raise target.error or error from error


def load_run(path: Path) -> dict[str, Any]:
    """Read a run's state; nothing but tensors and plain values is read from it.

    Args:
        path: The file.

    Returns:
        The state.

    Raises:
        ValueError: The file is damaged or no state of a run.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # on garbage the restricted reader fails in any way
        raise ValueError(f'{path} is damaged or no state of a run: {error}') from error
    return state


class BestWeights:
    """The best weights of a run so far, each in a file whose name says how good they are.

    Args:
        folder: Where they are; what a run before left there counts.
        count: How many are kept.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count

    def kept(self) -> list[Path]:
        """The files, best first; of equals the later one."""
        files = self.folder.glob('miou_*_step_*.safetensors')
        return sorted(files, key=lambda path: path.name, reverse=True)

    def offer(
        self,
        state: Mapping[str, Tensor],
        miou: float,
        step: int,
        *,
        half: bool,
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        """Keep weights where they are among the best.

        Args:
            state: Names to tensors, as `state_dict` gives them.
            miou: How good they are, in [0, 1].
            step: Optimizer steps made.
            half: See `export_weights`.
            metadata: Likewise.

        Returns:
            Whether they were kept.

        Raises:
            OSError: The file cannot be written.
        """
        path = self.folder / f'miou_{100 * miou:06.2f}_step_{step:08d}.safetensors'
        before = self.kept()
        if len(before) >= self.count and path.name < before[self.count - 1].name:
            return False
        export_weights(state, path, half=half, metadata=metadata)
        for worse in self.kept()[self.count :]:
            worse.unlink()
        return True


def export_weights(
    state: Mapping[str, Tensor],
    path: Path,
    *,
    half: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write a network's state as safetensors.

    Args:
        state: Names to tensors, as `state_dict` gives them.
        path: The file.
        half: Write fp32 tensors in half precision, but for those with values beyond its range.
        metadata: What the file carries beside, see `modeling.zoo.packed.pack_entry`.

    Returns:
        Its sha256, hexadecimal.
    """
    tensors = {name: _stored(tensor, half=half) for name, tensor in state.items()}
    # one key alone: of several, safetensors writes the order of a hash table, and the bytes differ
    content = save_safetensors(tensors, metadata=dict(metadata or {'format': 'pt'}))
    save_atomically(content, path)
    return hashlib.sha256(content).hexdigest()


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous().clone()
    if half and tensor.dtype == torch.float32:
        smaller = tensor.half()
        return smaller if bool(smaller.isfinite().all()) else tensor
    return tensor
