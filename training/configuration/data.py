"""Configuration of a run: its frames and the sensors that it sees of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sam_ad_perception.simulation.weather.conditions import check_schedule


@dataclass(frozen=True)
class DataConfig:
    """Which frames: how many drives are simulated, or what is taken of a dataset on disk.

    Attributes:
        seeds: First seed, and the one after the last. Seeds 0-99 are held back for evaluation.
        frames_per_drive: Frames at random times of each drive.
        duration_s: Length of each drive, seconds.
        conditions: Light and weather of simulated drives, in turn: see
            `simulation.weather.conditions`.
        size: Size `(H, W)` at which inputs of simulated drives are kept, pixels, so that networks
            of several sizes share them; empty keeps them at the entry's own.
        workers: Processes that render; 0 where another process does.
        min_frames: Training starts when so many are rendered, and takes the rest as they come.
        split: Of a dataset on disk.
        partial: Whether less than all published frames will do.
        index: File of sound frames that `training.prepare` wrote; empty looks at the folder.
        limit: Only so many frames of a dataset on disk, the first in its order, to see how little
            data will do; 0 for all.
        label_space: Of labelled recordings that do not say what their labels mean: a key of
            `LABEL_SPACES`, or a YAML file of own classes.
        calibration: File of what labelled recordings lack: transforms, camera geometry.
        pseudo_labels: Whether recordings without truth are learned from by the masks that a
            network gave them. Validation never is.
        without: Sensors of the network that no frame needs to have; any other that none has ends
            the run before it begins.
        skip_damaged: Whether a frame that cannot be read is said and another one taken; else the
            run ends there.

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
    pseudo_labels: bool = False
    without: tuple[str, ...] = ()
    skip_damaged: bool = False

    def __post_init__(self) -> None:
        for name in ('index', 'calibration', 'label_space'):
            value = getattr(self, name)
            if value.startswith('~'):
                object.__setattr__(self, name, str(Path(value).expanduser()))
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
