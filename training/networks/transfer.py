"""Weights of another run, or of others, as a start: what fits is kept, and all is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sam_ad_perception.modeling.zoo.checkpoints import CheckpointError

PREFIXES = ('module.', '_orig_mod.', 'model.', 'network.', 'net.', '_forward_module.')
"""What wrappers (data parallel, torch.compile, Lightning, Fabric) put before names."""
PER_CLASS = (
    'mask_tokens.', 'output_hypernetworks_mlps.', 'class_tokens.', 'class_mlps.', '.classify.',
)  # fmt: skip
"""Parts of a network that there is one of per class."""
_HOLDERS = ('state_dict', 'model_state_dict', 'model', 'network', 'average', 'ema')
LEAST_KEPT = 0.3
"""Share of a network's numbers below which a file is one of another network."""
_SHOWN = 4


@dataclass(frozen=True)
class FitReport:
    """What became of a file's weights.

    Attributes:
        kept: Names of the network's tensors that the file gave.
        fresh: Those that keep their own initial values, with both shapes where they differ.
        unused: Names of the file that the network does not have.
        share: Share of the network's numbers that the file gave.
    """

    kept: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    share: float

    def __str__(self) -> str:
        """The same in one sentence."""
        text = f'{len(self.kept)} tensors are kept ({self.share:.1%} of the network)'
        if self.fresh:
            text += f', {len(self.fresh)} are new: {_some(self.fresh)}'
        if self.unused:
            text += f'; {len(self.unused)} of the file are not used: {_some(self.unused)}'
        return text


def read_state(path: Path) -> dict[str, Tensor]:
    """Read weights that somebody wrote; nothing but tensors and plain values is read.

    Args:
        path: A safetensors file, or a state of PyTorch, Lightning or one of our runs.

    Returns:
        Names to tensors.

    Raises:
        CheckpointError: The file is absent, damaged, or holds no weights.
    """
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        content: Any = torch.load(path, map_location='cpu', weights_only=True)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CheckpointError(f'cannot read start {path}: {error.strerror}') from error
    except SafetensorError as error:
        raise CheckpointError(f'start {path} is not a safetensors file: {error}') from error
    except Exception as error:  # on garbage the restricted reader fails in any way
        reason = str(error).split('\n', maxsplit=1)[0]
        raise CheckpointError(f'start {path} is not a file of weights: {reason}') from error
    for _ in range(2):
        holder = next((h for h in _HOLDERS if _holds(content, h)), None)
        content = content[holder] if holder else content
    if not isinstance(content, Mapping):
        raise CheckpointError(f'start {path} holds a {type(content).__name__}, expected weights')
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        held = sorted(map(str, content))[:_SHOWN]
        raise CheckpointError(f'start {path} holds no weights, but {held}')
    return state


def _holds(content: Any, name: str) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get(name), Mapping)


def strip_prefixes(state: Mapping[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Take off what wrappers put before the names.

    Args:
        state: Names to tensors.
        wanted: The network's own names.

    Returns:
        The same with the prefixes off under which most names are the network's.
    """
    best = dict(state)
    tried = dict(state)
    for _ in range(3):
        for prefix in PREFIXES:
            if sum(name.startswith(prefix) for name in tried) > len(tried) / 2:
                tried = {name.removeprefix(prefix): value for name, value in tried.items()}
                break
        if len(wanted & tried.keys()) > len(wanted & best.keys()):
            best = tried
    inside = {name.replace('._orig_mod.', '.'): value for name, value in best.items()}
    return inside if len(wanted & inside.keys()) > len(wanted & best.keys()) else best


def fit_state(
    network: nn.Module, state: Mapping[str, Tensor], source: str, *, same_classes: bool = True
) -> FitReport:
    """Put what fits of a state into a network.

    Args:
        network: The network; the rest of it keeps its values.
        state: Names to tensors.
        source: Where the state is from, for errors.
        same_classes: Whether its classes are those of the network; else parts that there is one
            of per class are made anew, though their shapes may fit.

    Returns:
        What was kept, is new, and was not used.

    Raises:
        CheckpointError: So little fits that the state is of another network, or a tensor that
            fits is not finite.
    """
    own = network.state_dict()
    found = strip_prefixes(state, set(own))
    kept, fresh = [], []
    for name, tensor in own.items():
        if name not in found:
            fresh.append(name)
        elif found[name].shape != tensor.shape:
            fresh.append(f'{name} {tuple(found[name].shape)} to {tuple(tensor.shape)}')
        elif not same_classes and any(part in name for part in PER_CLASS):
            fresh.append(name)
        else:
            kept.append(name)
    unused = sorted(set(found) - set(own))
    total = sum(tensor.numel() for tensor in own.values())
    share = sum(own[name].numel() for name in kept) / max(total, 1)
    report = FitReport(tuple(kept), tuple(fresh), tuple(unused), share)
    if share < LEAST_KEPT:
        raise CheckpointError(f'start {source} is of another network: {report}')
    bad = [name for name in kept if not bool(found[name].isfinite().all())]
    if bad:
        raise CheckpointError(f'start {source}: {bad[0]} holds numbers that are not finite')
    with torch.no_grad():
        for name in kept:
            own[name].copy_(found[name])
    return report


def _some(names: tuple[str, ...]) -> str:
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more
