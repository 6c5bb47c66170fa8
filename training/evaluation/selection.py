"""A trained network by what a person calls it: entry of the zoo, run, or file of weights."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.settings.yaml_documents import read_yaml
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.zoo.checkpoints import (
    CheckpointError,
    CheckpointSpec,
    load_checkpoint,
)
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, check_key, load_zoo
from sam_ad_perception.modeling.zoo.files import zoo_files
from sam_ad_perception.modeling.zoo.packed import SUFFIX, carries_entry

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
    name: str, zoo_path: Path | None, checkpoint_dir: Path, entry: str = ''
) -> TrainedNetwork:
    """Build a network and load its weights.

    Args:
        name: Key of an entry, whose own checkpoint is taken; or folder of a run; or a safetensors
            file as training exports it, named after its entry, or in the folder of its run or one
            below it.
        zoo_path: The zoo; None takes that of a run, else the package's.
        checkpoint_dir: Folder of the checkpoints that the zoo names.
        entry: Key of the entry, where neither the name nor the run tells it.

    Returns:
        The network.

    Raises:
        ValueError: No such entry or file, or weights that do not fit.
        OSError: A file cannot be read.
    """
    path = Path(name).expanduser()
    packed = _packed(path) if not entry else None
    zoo_path = zoo_path or _zoo_of(path) or zoo_files()[0]
    zoo = load_zoo(packed or zoo_path)
    if packed is not None:
        spec = next(iter(zoo.values()))
        load_from, checkpoint = packed.parent, CheckpointSpec(packed.name)
    elif name in zoo and not path.is_file():
        spec = zoo[name]
        load_from, checkpoint = checkpoint_dir, spec.checkpoint
    elif path.is_dir() or path.is_file():
        key = entry or _key_of(path, zoo)
        check_key(zoo, key, zoo_path)
        spec = zoo[key]
        weights = path / f'{key}.safetensors' if path.is_dir() else path
        load_from, checkpoint = weights.parent, CheckpointSpec(weights.name)
    else:
        raise ValueError(
            f'{name!r} is neither a file, nor the folder of a run, nor one of the models '
            f'{list(zoo)} of {zoo_path}{did_you_mean(name, zoo)}'
        )
    network = build_model(spec)
    if not checkpoint.file:
        raise CheckpointError(f'{spec.key} has no weights: {checkpoint.note or "none are named"}')
    load_checkpoint(network, checkpoint, load_from)
    file = load_from / checkpoint.file
    digest = hash_file(file)
    if not spec.checkpoint.sha256 or digest != spec.checkpoint.sha256:
        spec = dataclasses.replace(spec, temperatures=())  # they are of other weights
    return TrainedNetwork(spec, network, file, digest)


def _packed(path: Path) -> Path | None:
    """The file of weights that carries its own entry: a file, or the one of a run or export."""
    folders = (path, path / 'checkpoints') if path.is_dir() else ()
    files = [f for folder in folders for f in sorted(folder.glob(f'*{SUFFIX}'))]
    files = [path] if path.is_file() else files
    carrying = [file for file in files if file.suffix == SUFFIX and carries_entry(file)]
    return carrying[0] if len(carrying) == 1 else None


def hash_file(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open('rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest()


def _key_of(path: Path, zoo: Mapping[str, ModelSpec]) -> str:
    """The entry that a run trains, else the one that a file is named after."""
    if path.is_file() and path.stem in zoo:
        return path.stem
    config = _config_of(path)
    if config is None:
        raise ValueError(f'{path} does not tell its entry of the zoo; name it with --entry')
    content = read_yaml(config)
    key = content.get('model') if isinstance(content, dict) else None
    if not isinstance(key, str):
        raise ValueError(f'{config} names no model')
    return key


def _config_of(path: Path) -> Path | None:
    """The configuration of the run that a folder or a file is of."""
    folder = path if path.is_dir() else path.parent
    return next((f for f in (folder / _CONFIG, folder.parent / _CONFIG) if f.is_file()), None)


def _zoo_of(path: Path) -> Path | None:
    """The zoo that a run was trained with."""
    config = _config_of(path) if path.exists() else None
    content = read_yaml(config) if config is not None else None
    zoo = content.get('zoo') if isinstance(content, dict) else None
    return Path(zoo) if isinstance(zoo, str) else None
