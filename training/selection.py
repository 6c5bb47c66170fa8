"""A trained network by what a person calls it: entry of the zoo, run, or file of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from sam_ad_perception.modeling.checkpoints import CheckpointError, CheckpointSpec, load_checkpoint
from sam_ad_perception.modeling.networks import SegmentationNetwork
from sam_ad_perception.modeling.zoo import ModelSpec, build_model, load_zoo

_CONFIG = 'config.yaml'


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with its weights.

    Attributes:
        spec: Its entry in the zoo.
        network: The network in training mode, adapters not merged.
        weights: The file.
        sha256: Of the file.
    """

    spec: ModelSpec
    network: SegmentationNetwork
    weights: Path
    sha256: str

    @property
    def parameters(self) -> int:
        """All parameters, trained or not."""
        return sum(p.numel() for p in self.network.parameters())


def load_network(
    name: str, zoo_path: Path, checkpoint_dir: Path, entry: str = ''
) -> TrainedNetwork:
    """Build a network and load its weights.

    Args:
        name: Key of an entry, whose own checkpoint is taken; or folder of a run; or a safetensors
            file as training exports it, named after its entry, or in the folder of its run or one
            below it.
        zoo_path: The zoo.
        checkpoint_dir: Folder of the checkpoints that the zoo names.
        entry: Key of the entry, where neither the name nor the run tells it.

    Returns:
        The network.

    Raises:
        ValueError: No such entry or file, or weights that do not fit.
        OSError: A file cannot be read.
    """
    zoo, path = load_zoo(zoo_path), Path(name)
    if name in zoo and not path.is_file():
        spec = zoo[name]
        load_from, checkpoint = checkpoint_dir, spec.checkpoint
    elif path.is_dir() or path.is_file():
        key = entry or _key_of(path, zoo)
        if key not in zoo:
            raise ValueError(f'{zoo_path} has no model {key!r}, expected one of {list(zoo)}')
        spec = zoo[key]
        weights = path / f'{key}.safetensors' if path.is_dir() else path
        load_from, checkpoint = weights.parent, CheckpointSpec(weights.name)
    else:
        raise ValueError(
            f'{name!r} is neither a file, nor the folder of a run, nor one of the models '
            f'{list(zoo)} of {zoo_path}'
        )
    network = build_model(spec)
    if not checkpoint.file:
        raise CheckpointError(f'{spec.key} has no weights: {checkpoint.note or "none are named"}')
    load_checkpoint(network, checkpoint, load_from)
    file = load_from / checkpoint.file
    return TrainedNetwork(spec, network, file, hash_file(file))


def hash_file(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open('rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest()


def _key_of(path: Path, zoo: Mapping[str, ModelSpec]) -> str:
    """The entry that a run trains, else the one that a file is named after."""
    if path.is_file() and path.stem in zoo:
        return path.stem
    folder = path if path.is_dir() else path.parent
    config = next((f for f in (folder / _CONFIG, folder.parent / _CONFIG) if f.is_file()), None)
    if config is None:
        raise ValueError(f'{path} does not tell its entry of the zoo; name it with --entry')
    content = yaml.safe_load(config.read_text(encoding='utf-8'))
    key = content.get('model') if isinstance(content, dict) else None
    if not isinstance(key, str):
        raise ValueError(f'{config} names no model')
    return key
