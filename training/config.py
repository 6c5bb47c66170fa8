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
from sam_ad_perception.simulation.conditions import check_schedule
from training.augmentation_config import AugmentationConfig
from training.run_config import MachineConfig, ValidationConfig
from training.vqgan_losses import VqganWeights

SIMULATED = 'simulated'


@dataclass(frozen=True)
class DataConfig:
    """Which frames: how many drives are simulated, or what is taken of a dataset on disk.

    Attributes:
        seeds: First seed, and the one after the last. Seeds 0-99 are held back for evaluation.
        frames_per_drive: Frames at random times of each drive.
        duration_s: Length of each drive, seconds.
        conditions: Light and weather of simulated drives, in turn: see `simulation.conditions`.
        size: Size `(H, W)` at which inputs of simulated drives are kept, pixels, so that networks
            of several sizes share them; empty keeps them at the entry's own.
        workers: Processes that render; 0 where another process does.
        min_frames: Training starts when so many are rendered, and takes the rest as they come.
        split: Of a dataset on disk.
        partial: Whether less than all published frames will do.
        index: File of sound frames that `training.prepare` wrote; empty looks at the folder.
        limit: Only so many frames of a dataset on disk, the first in its order, to see how little
            data will do; 0 for all.
        label_space: Of labelled recordings that do not say what their labels mean.
        calibration: File of what labelled recordings lack: transforms, camera geometry.
        skip_damaged: Whether a batch with a file that cannot be read is said and left out; else
            the run ends there.

    Raises:
        ValueError: A field is out of range.
    """

    seeds: tuple[int, int] = (1000, 1400)
    frames_per_drive: int = 8
    duration_s: float = 20.0
    conditions: tuple[str, ...] = ('day',)
    size: tuple[int, ...] = ()
    workers: int = 1
    min_frames: int = 200
    split: str = 'train'
    partial: bool = False
    index: str = ''
    limit: int = 0
    label_space: str = ''
    calibration: str = ''
    skip_damaged: bool = False

    def __post_init__(self) -> None:
        if not 100 <= self.seeds[0] < self.seeds[1]:
            raise ValueError(
                f'seeds must be a range from 100 on (0-99 are held back), got {self.seeds}'
            )
        if min(self.frames_per_drive, self.min_frames, self.workers + 1, self.limit + 1) < 1:
            raise ValueError(
                'frames_per_drive and min_frames must be 1 or more, workers and limit 0 or more'
            )
        if self.size and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f'size must be height and width, pixels, got {list(self.size)}')
        if not self.conditions:
            raise ValueError('conditions must name one or more')
        for name in self.conditions:
            check_schedule([(0.0, name)])


@dataclass(frozen=True)
class SubsetConfig:
    """Which sensors each batch keeps.

    Attributes:
        drop: Probability that a modality is dropped; at least one always stays.
        single: Probability that a batch has one modality only.
    """

    drop: float = 0.25
    single: float = 0.15


OPTIMIZERS = ('adamw', 'adam')
DECAYS = ('cosine', 'poly', 'constant')


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer and learning rate: linear warm-up, then a decay over the run.

    Attributes:
        lr: Highest learning rate.
        name: `adamw`, or `adam`, whose weight decay goes through the moments.
        betas: Decay of the moments.
        weight_decay: Of parameters with two or more dimensions.
        decay_vectors: Whether vectors (biases, norms) are decayed too.
        decay: `cosine`, `poly` for (1 - progress) ** power, or `constant`.
        power: See `decay`.
        per_epoch: Whether the rate changes between epochs only.
        warmup_steps: Steps of the warm-up.
        warmup_epochs: Epochs of the warm-up; the longer of the two counts.
        warmup_start: Share of the rate at which the warm-up starts; 0 starts at its first step.
        final_lr_ratio: Last learning rate relative to `lr`.
        lowest_lr: No rate falls below this.
        clip: Largest gradient norm; 0 for any.
        ema: Decay of the running average of the weights, which is what is exported; 0 exports
            the weights themselves.
        scales: Share of `lr` that parameters get whose names match a pattern (as of the shell).

    Raises:
        ValueError: A field is out of range.
    """

    lr: float = 1e-3
    name: str = 'adamw'
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.02
    decay_vectors: bool = False
    decay: str = 'cosine'
    power: float = 0.9
    per_epoch: bool = False
    warmup_steps: int = 100
    warmup_epochs: float = 0.0
    warmup_start: float = 0.0
    final_lr_ratio: float = 0.01
    lowest_lr: float = 0.0
    clip: float = 1.0
    ema: float = 0.995
    scales: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise ValueError(f'name must be one of {OPTIMIZERS}, got {self.name!r}')
        if self.decay not in DECAYS:
            raise ValueError(f'decay must be one of {DECAYS}, got {self.decay!r}')
        if not (self.lr > 0 and self.clip >= 0 and 0 <= self.ema < 1):
            raise ValueError(
                f'lr must be positive, clip 0 or more and ema in [0, 1), got {self.lr}, '
                f'{self.clip} and {self.ema}'
            )


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms; 0 leaves one out.

    MLE-SAM (Eq. 13-14) has `main` and `aux` at 1; AD-SAM's code has `focal` 0.4, `dice` 0.3,
    `lovasz` 0.2 and `surface` 0.1.

    Attributes:
        main: OHEM cross-entropy of the main head.
        aux: OHEM cross-entropy of the auxiliary head.
        dice: Dice of the main head over the classes present.
        dice_all: Whether it is the mean over all classes of each image instead, as in AD-SAM's
            code: whatever goes to a class that is absent is fully wrong then.
        focal: Focal loss of the main head.
        lovasz: Lovász-Softmax of the main head.
        surface: Its error weighed by the distance to the nearest border, label pixels.
        ohem_threshold: Pixels whose true class has at least this probability are easy.
        stride: The loss is taken on every n-th label pixel, at an offset drawn per step.
        reconstruction: L1 of FusionSAM's reconstructions, where its autoencoders are trained.
        commitment: Distance of features and codes, likewise.
    """

    main: float = 1.0
    aux: float = 1.0
    dice: float = 0.0
    dice_all: bool = False
    focal: float = 0.0
    lovasz: float = 0.0
    surface: float = 0.0
    ohem_threshold: float = 0.7
    stride: int = 1
    reconstruction: float = 1.0
    commitment: float = 0.25


@dataclass(frozen=True)
class LatentStageConfig:
    """FusionSAM's first stage, which trains its autoencoders alone: `python -m training.latents`.

    Attributes:
        file: Where the first stage writes them and the second reads them; empty for a network
            that has none, or trains them with the rest.
        steps: Optimizer steps.
        batch_size: Frames per step.
        lr: Learning rate of autoencoders and discriminators, Adam with betas 0.5 and 0.9.
        clip: Largest gradient norm.
        discriminator_width: Channels of the first layer of the discriminators.
        discriminator_layers: Their layers with stride 2, less one.
        weights: Of the terms. The perceptual one needs `features`.
        features: `resnet50` compares images by torchvision's ResNet-50 from the checkpoint
            folder; empty does not.

    Raises:
        ValueError: A field is out of range, or the weights need features that there are not.
    """

    file: str = ''
    steps: int = 10000
    batch_size: int = 8
    lr: float = 3e-4
    clip: float = 1.0
    discriminator_width: int = 64
    discriminator_layers: int = 3
    weights: VqganWeights = field(default_factory=lambda: VqganWeights(perceptual=0.0))
    features: str = ''

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1:
            raise ValueError('steps and batch_size must be 1 or more')
        if self.features not in ('', 'resnet50'):
            raise ValueError(f"features must be 'resnet50' or empty, got {self.features!r}")
        if (self.weights.perceptual > 0) != bool(self.features):
            raise ValueError(
                f'weights.perceptual {self.weights.perceptual:g} and features '
                f'{self.features!r} do not go together'
            )


@dataclass(frozen=True)
class ScheduleConfig:
    """How long the run is.

    Attributes:
        steps: Most optimizer steps.
        epochs: Most passes over the frames; where given, it takes the place of `steps`.
        max_minutes: Most wall time of training, over all resumptions; 0 for no limit.
        batch_size: Frames per forward pass; they share a subset.
        replicas: Batches per step, each with its own subset, run at once in as many threads that
            share the weights; in one process only. With `threads: 1` this keeps as many CPU
            cores busy without the waiting that operators split over threads bring.
        accumulate: How often each process and replica takes a batch per step, one after the
            other; gradients are averaged over all of them.
        sizes: Smaller network input sizes `(H, W)` of the first parts of the run, pixels, which
            learn more per minute; the last part is at the entry's own size.
        size_ends: Share of the run at which each of `sizes` ends, rising.
        checkpoint_minutes: Time between checkpoints.

    Raises:
        ValueError: A field is out of range.
    """

    steps: int = 10000
    epochs: float = 0.0
    max_minutes: float = 0.0
    batch_size: int = 4
    replicas: int = 1
    accumulate: int = 1
    sizes: tuple[tuple[int, int], ...] = ()
    size_ends: tuple[float, ...] = ()
    checkpoint_minutes: float = 3.0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.replicas, self.accumulate) < 1:
            raise ValueError('steps, batch_size, replicas and accumulate must be 1 or more')
        if len(self.sizes) != len(self.size_ends) or list(self.size_ends) != sorted(
            self.size_ends
        ):
            raise ValueError(
                f'size_ends must give one rising share per size, got {self.size_ends} '
                f'for {len(self.sizes)} sizes'
            )

    def input_size(self, progress: float) -> tuple[int, int] | None:
        """Network input size at a share of the run; None for the entry's own."""
        for size, end in zip(self.sizes, self.size_ends, strict=True):
            if progress < end:
                return size
        return None


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
