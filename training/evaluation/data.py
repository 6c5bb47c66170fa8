"""Data sets of an evaluation: simulated drives, published sets, recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace, apply_mapping, mapping
from sam_ad_perception.core.sensors import SensorBundle
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from sam_ad_perception.simulation.street.scene import STREET
from sam_ad_perception.simulation.weather.conditions import check_schedule
from training.datasets.catalog import dataset_names, open_dataset
from training.datasets.own.simulated import LABEL_SPACE
from training.frames.benchmark_protocol import BenchmarkProtocol
from training.frames.frame import Dataset, DatasetError, LabelledFrame
from training.frames.image_folders import FileDataset
from training.frames.summary import sample_split

SIMULATED = 'simulated'
HELD_BACK_SEEDS = range(100)
DRIVE_S = 20.0
BEFORE_NS = (200_000_000, 100_000_000)


class EvaluationData(Protocol):
    """Frames with truth, read once from the first to the last."""

    @property
    def name(self) -> str:
        """The data set."""

    @property
    def split(self) -> str:
        """Exactly which frames: what two measurements need in common to be compared."""

    @property
    def space(self) -> LabelSpace:
        """The classes of its labels."""

    @property
    def sensors(self) -> tuple[str, ...]:
        """What a network may see of it."""

    @property
    def size(self) -> tuple[int, int]:
        """Size `(H, W)` of its first frame's labels, pixels."""

    @property
    def protocol(self) -> BenchmarkProtocol | None:
        """How its benchmark measures; None where there is none."""

    def __len__(self) -> int:
        """The number of frames."""

    def __iter__(self) -> Iterator[LabelledFrame]:
        """Read the frames one by one."""


@dataclass(frozen=True)
class HeldBackDrives:
    """Simulated drives that no training has seen: one frame of each, then a second one ...

    The same places and times in every condition, so that conditions can be compared.

    Attributes:
        frames: Frames in each condition.
        conditions: Light and weather, see `simulation.weather.conditions`.
        seeds: Of the drives; some of `HELD_BACK_SEEDS`.
        scene: Kind of street, see `simulation.street.scene`.

    Raises:
        ValueError: No frame, no condition, or an unknown one.
    """

    frames: int = 100
    conditions: tuple[str, ...] = ('day',)
    seeds: range = HELD_BACK_SEEDS
    scene: str = STREET

    def __post_init__(self) -> None:
        if self.frames < 1 or not self.conditions:
            raise ValueError(
                f'frames and conditions must be 1 or more, got {self.frames} and '
                f'{list(self.conditions)}'
            )
        for name in self.conditions:
            check_schedule([(0.0, name)])

    @property
    def name(self) -> str:
        """The data set."""
        return SIMULATED

    @property
    def split(self) -> str:
        """Exactly which frames: what two measurements need in common to be compared."""
        first, last = self.seeds[0], self.seeds[: self.frames][-1]
        seeds = f'seeds {first}-{last}' if last > first else f'seed {first}'
        street = '' if self.scene == STREET else f', scene {self.scene}'
        names = ', '.join(self.conditions)
        return f'held-back {seeds}, {self.frames} frames each of {names}{street}'

    @property
    def space(self) -> LabelSpace:
        """The classes of its labels."""
        return LABEL_SPACES[LABEL_SPACE]

    @property
    def sensors(self) -> tuple[str, ...]:
        """What a network may see of it."""
        return tuple(str(sensor.modality) for sensor in DriveConfig().sensors)

    @property
    def size(self) -> tuple[int, int]:
        """Size `(H, W)` of its labels, pixels."""
        return DriveConfig().size

    @property
    def protocol(self) -> BenchmarkProtocol | None:
        """None: nobody else measures on these drives."""
        return None

    def __len__(self) -> int:
        """The number of frames over all conditions."""
        return self.frames * len(self.conditions)

    def __iter__(self) -> Iterator[LabelledFrame]:
        """Render the frames one by one, all conditions of a place before the next place."""
        return (self.read(index) for index in range(len(self)))

    def read(self, index: int) -> LabelledFrame:
        """Render one frame.

        Args:
            index: From 0, in the order of the iteration.

        Returns:
            The frame.
        """
        drive, stamp_ns = self._place(index)
        bundle, truth = drive.bundle(stamp_ns)
        config = drive.config
        time_s = (stamp_ns - config.start_ns) * 1e-9
        name = f'{config.seed}@{time_s:.3f}s {config.condition}'
        return LabelledFrame(name, bundle, truth.labels, config.condition)

    def read_before(self, index: int) -> list[SensorBundle]:
        """Render what the sensors saw just before a frame.

        Args:
            index: Of the frame, from 0.

        Returns:
            Bundles at a distance of 0.1 s each, the oldest first.
        """
        drive, stamp_ns = self._place(index)
        return [drive.bundle(stamp_ns - ago)[0] for ago in BEFORE_NS]

    def _place(self, index: int) -> tuple[Drive, int]:
        """The drive of a frame, and its stamp."""
        number, place = divmod(index, len(self.conditions))
        seed, condition = self.seeds[number % len(self.seeds)], self.conditions[place]
        time_s = np.random.default_rng(number).uniform(0.2, DRIVE_S - 0.2)
        config = DriveConfig(seed, DRIVE_S, scene=self.scene, condition=condition)
        return Drive(config), config.start_ns + int(time_s * 1e9)


class LabelledSplit:
    """A split of a published data set, or recordings.

    Args:
        dataset: The split.
        name: Of the data set.
        split: Its name.
        frames: Only so many, from the first; 0 for all.

    Attributes:
        damaged: Frames that could not be read so far, one sentence each; they are left out.
        findings: What a sample of the frames holds.

    Raises:
        DatasetError: No frame can be read, no pixel has a label, or labels are predictions.
    """

    def __init__(self, dataset: Dataset, name: str, split: str, frames: int = 0) -> None:
        self.dataset = dataset
        self.name = name
        self._count = min(frames, len(dataset)) if frames else len(dataset)
        part = self._count < len(dataset)
        self.split = f'{split}, first {self._count} frames' if part else split
        self.damaged: list[str] = []
        self.findings = sample_split(dataset, split)
        first = dataset.read(self.findings.sound[0])
        if first.pseudo:
            raise DatasetError(f'{first.name}: nothing is measured against predictions')
        self.sensors = (
            *first.inputs,
            *(n for n in self.findings.sensors if n not in first.inputs),
        )
        self.size = first.bundle.camera.size
        self.protocol = dataset.layout.protocol if isinstance(dataset, FileDataset) else None

    @property
    def space(self) -> LabelSpace:
        """The classes of its labels."""
        return self.dataset.space

    def __len__(self) -> int:
        """The number of frames."""
        return self._count

    def __iter__(self) -> Iterator[LabelledFrame]:
        """Read the frames one by one; those that cannot be read are left out and kept by name."""
        for index in range(self._count):
            try:
                yield self.dataset.read(index)
            except DatasetError as error:
                self.damaged.append(str(error))


class Relabelled:
    """Frames whose labels are told in the classes of a network that cannot tell them in theirs.

    Args:
        data: The frames.
        space: The classes; one of the data without a counterpart there becomes unlabeled.

    Raises:
        ValueError: No table relates the two label spaces.
    """

    def __init__(self, data: EvaluationData, space: LabelSpace) -> None:
        self._table = mapping(data.space, space)
        self._data = data
        self.damaged: list[str] = getattr(data, 'damaged', [])
        self.space = space
        self.name = data.name
        # its classes are others now
        self.protocol: BenchmarkProtocol | None = None
        self.split = f'{data.split}, in the classes of {space.name}'
        self.sensors = data.sensors
        self.size = data.size

    def __len__(self) -> int:
        """The number of frames."""
        return len(self._data)

    def __iter__(self) -> Iterator[LabelledFrame]:
        """Read the frames one by one."""
        for frame in self._data:
            yield replace(frame, labels=apply_mapping(frame.labels, self._table))


def fit_labels(data: EvaluationData, spaces: Sequence[LabelSpace]) -> EvaluationData:
    """Choose the classes in which networks are measured.

    Args:
        data: The frames.
        spaces: The networks' own classes.

    Returns:
        The frames as they are where every network can answer in their classes, else in the
        networks' own.

    Raises:
        ValueError: Neither can be done.
    """
    try:
        for space in spaces:
            if space != data.space:
                mapping(space, data.space)
    except ValueError:
        if len(set(spaces)) > 1:
            raise
        return Relabelled(data, spaces[0])
    return data


def open_data(
    name: str,
    *,
    root: Path | None = None,
    split: str = 'val',
    partial: bool = False,
    frames: int = 0,
    conditions: Sequence[str] = ('day',),
    label_space: str = '',
    calibration: Path | None = None,
) -> EvaluationData:
    """Open what networks are measured on.

    Args:
        name: `simulated`, or a data set of `datasets.catalog`.
        root: Folder of the data set.
        split: One of its splits.
        partial: Whether less than the published number of frames will do.
        frames: So many only; of simulated drives in each condition, where 0 means 100.
        conditions: Light and weather of simulated drives.
        label_space: Of recordings that do not say what their labels mean.
        calibration: Of recordings, what they lack.

    Returns:
        The frames.

    Raises:
        ValueError: No such data set, or it is not whole.
    """
    if name == SIMULATED:
        return HeldBackDrives(frames or len(HELD_BACK_SEEDS), tuple(conditions))
    if name not in dataset_names():
        known = [SIMULATED, *dataset_names()]
        raise ValueError(f'dataset must be one of {known}, got {name!r}')
    if root is None:
        raise ValueError(f'{name} needs --root, the folder of the data set')
    dataset = open_dataset(
        name, root, split, partial=partial, label_space=label_space, calibration=calibration
    )
    return LabelledSplit(dataset, name, split, frames)


def standard_subsets(sensors: Sequence[str]) -> list[tuple[str, ...]]:
    """All sensors, each one removed, and each one alone.

    Args:
        sensors: The sensors.

    Returns:
        Subsets without repetition.
    """
    everything = tuple(sensors)
    removed = [tuple(s for s in everything if s is not gone) for gone in everything]
    alone = [(s,) for s in everything]
    return [s for s in dict.fromkeys([everything, *removed, *alone]) if s]
