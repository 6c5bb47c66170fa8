"""Configuration of a training run, from YAML and the command line."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam_ad_perception.core.settings.yaml_documents import parse_yaml, read_yaml
from sam_ad_perception.core.settings.yaml_records import build_record
from training.configuration.augmentation import AugmentationConfig
from training.configuration.autoencoder import LatentStageConfig
from training.configuration.data import DataConfig, SubsetConfig
from training.configuration.optimization import LossConfig, OptimizerConfig, ScheduleConfig
from training.configuration.place import LOGGERS, MachineConfig, ResumeConfig, ValidationConfig

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
        start: Weights that the run goes on from: an entry of the zoo, or a file of weights (our
            own, or a state of PyTorch or Lightning). What fits is kept; heads of other classes
            are made anew. Empty starts from scratch, or from official weights.
        classes: Own classes (`names`, `colours`, `ignore`, `aliases`) that the network gets in
            place of its entry's; empty keeps those.
        sensors: Those of its entry that the network keeps: it is built, exported and driven
            without the others. Empty keeps all. Own folders name theirs.
        half: Whether the weights are exported in half precision.
        seed: Of weights and batches.
        threads: Threads of torch; 0 keeps its own number.
        loggers: `wandb`, `mlflow`: who else gets figures and pictures, where it is installed.

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
    classes: Mapping[str, Any] = field(default_factory=dict)
    sensors: tuple[str, ...] = ()
    half: bool = True
    seed: int = 0
    threads: int = 0
    loggers: tuple[str, ...] = ()
    data: DataConfig = field(default_factory=DataConfig)
    subsets: SubsetConfig = field(default_factory=SubsetConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    latents: LatentStageConfig = field(default_factory=LatentStageConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
    resume: ResumeConfig = field(default_factory=ResumeConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        for name in ('cache_dir', 'output_dir', 'root', 'zoo', 'checkpoints', 'start'):
            object.__setattr__(self, name, expand_home(getattr(self, name), name))
        for name in self.loggers:
            if name not in LOGGERS:
                raise ValueError(f'loggers must be among {LOGGERS}, got {name!r}')
        simulated = self.dataset == SIMULATED
        if simulated and self.root:
            raise ValueError(f'root is of a dataset on disk, got {self.root!r} for {SIMULATED}')
        if simulated and self.sensors:
            raise ValueError(
                f'sensors is of a dataset on disk, got {list(self.sensors)}: simulated drives '
                'have what the entry has'
            )
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


def expand_home(path: str, name: str) -> str:
    """Put the home folder for `~` at the start of a path, as the shell does not behind a `=`.

    Args:
        path: The path; may be empty.
        name: Of the setting, for the error.

    Returns:
        The path.

    Raises:
        ValueError: There is no such user.
    """
    if not path.startswith('~'):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ValueError(f'{name} {path!r} starts with ~ of a user that is not here') from error


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
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f'{path} must hold a mapping, got {type(content).__name__}')
    return build_record(TrainConfig, apply_overrides(content, overrides), path.name)


def apply_overrides(content: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Put settings of the command line over those of a file.

    Args:
        content: Nested settings.
        overrides: `dotted.name=value` each; the value is read as YAML.

    Returns:
        New nested settings.

    Raises:
        ValueError: An override is not `name=value`, or its name leads through a value.
    """
    settings: dict[str, Any] = copy.deepcopy(dict(content))
    for override in overrides:
        name, separator, value = override.partition('=')
        if not separator or not name:
            raise ValueError(f'an override must be name=value, got {override!r}')
        *parents, leaf = name.split('.')
        place = settings
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f'override {name!r}: {parent!r} is a value, not a section')
        place[leaf] = parse_yaml(value, f'override {name}')
    return settings


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
