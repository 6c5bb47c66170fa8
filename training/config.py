"""Facts of a training run, from YAML and the command line."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sam_ad_perception.core.records import build_record
from training.augmentation_config import AugmentationConfig
from training.data_config import DataConfig, SubsetConfig
from training.latents_config import LatentStageConfig
from training.optimization_config import LossConfig, OptimizerConfig, ScheduleConfig
from training.run_config import MachineConfig, ValidationConfig

SIMULATED = 'simulated'


@dataclass(frozen=True)
class TrainConfig:
    """One experiment.

    Attributes:
        model: Key of the zoo entry.
        cache_dir: Where rendered frames and frames of recordings are kept; many gigabytes for a
            long run.
        output_dir: Where checkpoints and logs go.
        dataset: `simulated`, or what `training.prepare --help` lists.
        root: Folder of a dataset on disk; most often given as `root=...` on the command line.
        zoo: Path of the zoo.
        checkpoints: Folder of the official weights that the entry starts from; empty takes
            $SAM_AD_CHECKPOINTS, else `models/checkpoints`.
        start: Weights of the same network that the run goes on from, a safetensors file that an
            earlier run wrote; empty starts from scratch, or from official weights.
        half: Whether the weights are exported in half precision.
        seed: Of weights and batches.
        threads: Threads of torch; 0 keeps its own number.

    Raises:
        ValueError: Fields that do not go together.
    """

    model: str
    cache_dir: str
    output_dir: str
    dataset: str = SIMULATED
    root: str = ''
    zoo: str = 'models/zoo.yaml'
    checkpoints: str = ''
    start: str = ''
    half: bool = True
    seed: int = 0
    threads: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    subsets: SubsetConfig = field(default_factory=SubsetConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    latents: LatentStageConfig = field(default_factory=LatentStageConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        simulated = self.dataset == SIMULATED
        if simulated and self.root:
            raise ValueError(f'root is of a dataset on disk, got {self.root!r} for {SIMULATED}')
        if simulated and self.data.limit:
            raise ValueError(
                f'data.limit is of a dataset on disk, got {self.data.limit}; simulated drives are '
                'as many as data.seeds says'
            )
        if self.data.size and not simulated:
            raise ValueError(f'data.size is of simulated drives, got {list(self.data.size)}')
        if self.data.split != 'train':
            raise ValueError(f"data.split must be 'train' to train on, got {self.data.split!r}")
        if simulated and self.augmentation.of_frames:
            raise ValueError(
                'augmentation.scales, flip, colour and blur need a dataset on disk: rendered '
                'frames are as they are'
            )

    @property
    def checkpoint_folder(self) -> Path:
        """Folder of the official weights."""
        default = os.environ.get('SAM_AD_CHECKPOINTS', 'models/checkpoints')
        return Path(self.checkpoints or default)


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a run's configuration.

    Args:
        path: YAML file.
        overrides: `dotted.name=value` each; the value is read as YAML.

    Returns:
        The configuration.

    Raises:
        ValueError: An unknown or ill-typed field, or an override that is not `name=value`.
        OSError: The file cannot be read.
    """
    content = yaml.safe_load(path.read_text(encoding='utf-8'))
    if not isinstance(content, dict):
        raise ValueError(f'{path} must hold a mapping, got {content!r}')
    for override in overrides:
        name, separator, value = override.partition('=')
        if not separator or not name:
            raise ValueError(f'an override must be name=value, got {override!r}')
        *parents, leaf = name.split('.')
        place = content
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f'override {name!r}: {parent!r} is a value, not a section')
        place[leaf] = yaml.safe_load(value)
    return build_record(TrainConfig, content, path.name)


def to_mapping(config: TrainConfig) -> Mapping[str, Any]:
    """Turn a configuration into plain values that `load_config` reads back.

    Args:
        config: The configuration.

    Returns:
        Nested mapping of YAML values.
    """
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
