"""Batches of frames, drawn by number and read ahead of the training.

A batch depends on the run's seed and its own number, on nothing that was drawn before. So a
resumed run meets the batches that it would have met, and several processes that take turns at
the numbers see together what one process sees alone.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from sam_ad_perception.modeling.inputs.camera_view import looks_at_others
from sam_ad_perception.modeling.zoo.entries import ModelSpec
from training.augmentation.batches import (
    augment_batch,
    choose_subset,
    corrupt_batch,
    drop_sensors,
)
from training.configuration.augmentation import AugmentationConfig
from training.configuration.data import DataConfig, SubsetConfig
from training.configuration.run import SIMULATED, TrainConfig
from training.datasets.catalog import open_dataset
from training.datasets.own.simulated import FrameCache, start_rendering
from training.frames.frame import Batch, DatasetError, FrameSource
from training.runs.failures import TrainingError
from training.runs.prepared_batches import PreparedFrames

ATTEMPTS = 50


@dataclass(frozen=True)
class DrawnBatch:
    """A batch and where it is from.

    Attributes:
        batch: Augmented, with a random subset of its sensors.
        number: Its number in the run.
        frames: Index of each item in the source.
        notes: What was left out on the way, a sentence each.
    """

    batch: Batch
    number: int
    frames: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Which frames and sensors it holds."""
        return f'frames {", ".join(map(str, self.frames))} with {", ".join(self.batch.inputs)}'


class BatchReader:
    """Reads and augments the batch of a number.

    Each frame comes once per epoch, in an order of that epoch. As long as frames are still being
    rendered, they are drawn from what is there.

    Args:
        source: Frames.
        batch_size: Frames per batch.
        subsets: How often sensors are left out; those that the entry requires never are.
        seed: Of order, subsets and augmentation.
        augmentation: How batches are changed.
        skip_damaged: Whether other frames take the place of those that cannot be read.
        start: Number of the first batch of this size, and of frames that were seen before it.
    """

    def __init__(
        self,
        source: FrameSource,
        batch_size: int,
        subsets: SubsetConfig,
        seed: int,
        *,
        augmentation: AugmentationConfig | None = None,
        skip_damaged: bool = False,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        self.source = source
        self.batch_size = batch_size
        self.subsets = subsets
        self.seed = seed
        self.augmentation = augmentation or AugmentationConfig()
        self.skip_damaged = skip_damaged
        self.start = start

    def read(self, number: int) -> DrawnBatch:
        """Read a batch.

        Args:
            number: Which one, from 0.

        Returns:
            The batch.

        Raises:
            DatasetError: A file cannot be read, or no frames have the sensors that are required.
        """
        rng = np.random.default_rng((self.seed, number))
        required = self.source.spec.required
        frames = self._frames(number, rng)
        notes: list[str] = []
        for _ in range(ATTEMPTS):
            before = rng.bit_generator.state
            batch, faults = self._try(frames, rng)
            if not faults:
                break
            notes += faults.values()
            others = self._any_frames(rng)
            frames = [others[p] if p in faults else index for p, index in enumerate(frames)]
        else:
            raise DatasetError(
                f'{ATTEMPTS} draws of {self.batch_size} frames gave none that all have '
                f'{", ".join(required) or "a sensor"}; {" ".join(dict.fromkeys(notes))}'
            )
        for name, refusals in batch.refusals.items():
            notes += [
                f'{self.source.name_of(frames[place])} is taken without {name}: {why}'
                for place, why in refusals.items()
            ]
        whole = batch
        batch = batch.keep(choose_subset(list(batch.inputs), self.subsets, rng, required))
        batch = drop_sensors(batch, self.augmentation.corruption, rng, required)
        if any(map(looks_at_others, self.source.spec.inputs.values())):
            batch = self._read_without(frames, before, whole, batch)
        if self.augmentation.vary:
            batch = augment_batch(batch, rng)
        batch = corrupt_batch(batch, self.augmentation.corruption, rng)
        return DrawnBatch(batch, number, tuple(frames), tuple(notes))

    def _read_without(
        self, frames: Sequence[int], state: Mapping[str, Any], whole: Batch, batch: Batch
    ) -> Batch:
        """Read frames again where a sensor was dropped that helped to place the others."""
        kept = [batch.sensors_of(place) for place in range(len(frames))]
        if kept == [whole.sensors_of(place) for place in range(len(frames))]:
            return batch
        again = np.random.default_rng()
        again.bit_generator.state = dict(state)  # the same cut, the same colours
        return self.source.read(frames, again, kept)

    def _try(
        self, frames: Sequence[int], rng: np.random.Generator
    ) -> tuple[Batch, dict[int, str]]:
        """Read frames; those that cannot be used are named by their place in the batch."""
        try:
            batch = self.source.read(frames, rng)
        except DatasetError:
            if not self.skip_damaged:
                raise
            faults = self._find_damaged(frames)
            if not faults:
                raise  # they do not go together, though each is sound
            return Batch({}, torch.empty(0)), faults
        faults = {}
        for place, index in enumerate(frames):
            own = batch.sensors_of(place)
            lacking = [name for name in self.source.spec.required if name not in own]
            if own and not lacking:
                continue
            why = '; '.join(
                f'{name}: {each[place]}' for name, each in batch.refusals.items() if place in each
            )
            lacks = ', '.join(lacking) or 'every sensor'
            faults[place] = f'left out: {self.source.name_of(index)} lacks {lacks}; {why}'
        return batch, faults

    def _find_damaged(self, frames: Sequence[int]) -> dict[int, str]:
        faults = {}
        for place, index in enumerate(frames):
            try:
                self.source.read([index])
            except DatasetError as error:
                faults[place] = f'left out: {error}'
        return faults

    def _any_frames(self, rng: np.random.Generator) -> list[int]:
        there = self.source.rendered()
        few = len(there) < self.batch_size  # then frames come more than once
        return [int(i) for i in rng.choice(there, self.batch_size, replace=few)]

    def _frames(self, number: int, rng: np.random.Generator) -> list[int]:
        there = self.source.rendered()
        if len(there) < self.source.length:
            return self._any_frames(rng)
        first = self.start[1] + (number - self.start[0]) * self.batch_size
        frames = []
        for position in range(first, first + self.batch_size):
            epoch, place = divmod(position, len(there))
            frames.append(int(there[_order(self.seed, epoch, len(there))[place]]))
        return frames


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch, length)).permutation(length)


class ReadAhead:
    """Reads batches while the training is busy, in a thread or in processes.

    Args:
        reader: Reads one.
        numbers: Those that this process trains on, in order; without end.
        processes: Processes that read; 0 for a thread.
    """

    def __init__(self, reader: BatchReader, numbers: Iterator[int], processes: int = 0) -> None:
        self._stopped = threading.Event()
        self._queue: queue.Queue[DrawnBatch | BaseException] = queue.Queue(maxsize=2)
        self._loaded: Iterator[DrawnBatch | BaseException] | None = None
        self._thread: threading.Thread | None = None
        if processes:
            self._loaded = iter(
                DataLoader(
                    _Numbered(reader),
                    batch_size=None,
                    sampler=numbers,
                    num_workers=processes,
                    worker_init_fn=_use_one_thread,
                )
            )
        else:
            arguments = (reader, numbers)
            self._thread = threading.Thread(target=self._work, args=arguments, daemon=True)
            self._thread.start()

    def next(self) -> DrawnBatch:
        """Wait for the next batch.

        Returns:
            The batch.

        Raises:
            DatasetError: See `BatchReader.read`.
            TrainingError: A process that reads has died.
        """
        if self._loaded is None:
            item = self._queue.get()
        else:
            try:
                item = next(self._loaded)
            except RuntimeError as error:
                if 'DataLoader worker' not in str(error):
                    raise
                raise TrainingError(
                    f'a process that reads frames was ended from outside ({error}), most often '
                    'because memory ran out: lower machine.readers'
                ) from error
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Stop reading, and wait for the batch that is being read.

        A thread that is still inside of a library when the process ends would abort it.
        """
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._loaded = None

    def _work(self, reader: BatchReader, numbers: Iterator[int]) -> None:
        for number in numbers:
            item = _read(reader, number)
            while not self._stopped.is_set():
                try:
                    self._queue.put(item, timeout=0.5)
                    break
                except queue.Full:
                    continue
            if self._stopped.is_set() or isinstance(item, BaseException):
                return


class _Numbered(TorchDataset['DrawnBatch | BaseException']):
    """A reader in the form that torch's loader takes."""

    def __init__(self, reader: BatchReader) -> None:
        self.reader = reader

    def __getitem__(self, number: int) -> DrawnBatch | BaseException:
        return _read(self.reader, number)


def _read(reader: BatchReader, number: int) -> DrawnBatch | BaseException:
    """Read a batch, or return why not: an error that crosses a border keeps its own words."""
    try:
        return reader.read(number)
    except Exception as error:
        return error


def _use_one_thread(_: int) -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True, eq=False)
class OpenFrames:
    """Frames that can be read, and the processes that make more of them.

    Attributes:
        source: The frames.
        makers: Processes that render; none where all is there.
    """

    source: FrameSource
    makers: Sequence[BaseProcess] = ()

    def check(self) -> None:
        """Notice that a process that renders has died.

        Raises:
            TrainingError: One has.
        """
        for maker in self.makers:
            if maker.exitcode:
                how = f'signal {-maker.exitcode}' if maker.exitcode < 0 else 'an error of its own'
                raise TrainingError(
                    f'a process that renders frames was ended by {how}; its frames so far are '
                    'kept, and the same command goes on'
                )

    def wait(self, wanted: int, console: Console) -> None:
        """Wait until enough frames can be read.

        Args:
            wanted: Frames.
            console: Where progress is shown.

        Raises:
            TrainingError: A process that renders has died.
        """
        wanted = min(wanted, self.source.length)
        if len(self.source.rendered()) >= wanted:
            return
        with Progress(console=console) as bar:
            task = bar.add_task(f'rendering the first {wanted} frames', total=wanted)
            while (count := len(self.source.rendered())) < wanted:
                bar.update(task, completed=count)
                self.check()
                time.sleep(0.5)


def open_frames(
    spec: ModelSpec, config: TrainConfig, data: DataConfig, *, first: bool = True
) -> OpenFrames:
    """Open the frames of a run, and start what renders those that are not there.

    Args:
        spec: Zoo entry.
        config: The experiment.
        data: Which frames: those of training or those of validation.
        first: Whether this process is the one of its machine that renders.

    Returns:
        The frames.

    Raises:
        DatasetError: A dataset on disk cannot be opened, or its labels do not relate to the
            network's classes.
    """
    folder = Path(config.cache_dir)
    if config.dataset != SIMULATED:
        if not config.root:
            raise DatasetError(f'{config.dataset} needs its folder: root=/path/to/it')
        dataset = open_dataset(
            config.dataset,
            Path(config.root),
            data.split,
            partial=data.partial,
            index=Path(data.index) if data.index else None,
            cache=folder,
            label_space=data.label_space,
            calibration=Path(data.calibration) if data.calibration else None,
            pseudo_labels=data.pseudo_labels,
            skip_refused=data.skip_damaged,
        )
        frames = PreparedFrames(dataset, spec, config.augmentation, data.limit)
        frames.check_sensors(data.without)
        return OpenFrames(frames)
    cache = FrameCache(folder, spec, data)
    makers: Sequence[BaseProcess] = ()
    if first and data.workers and len(cache.rendered()) < cache.length:
        makers = start_rendering(folder, Path(config.zoo), config.model, data)
    return OpenFrames(cache, makers)


def resize_inputs(inputs: dict[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
    """Shrink network inputs; those that are no larger stay as they are.

    Args:
        inputs: (B, C, H, W) per modality.
        size: Largest size `(H, W)`, pixels.

    Returns:
        The inputs.
    """
    resized = {}
    for name, image in inputs.items():
        if image.shape[2] <= size[0] and image.shape[3] <= size[1]:
            resized[name] = image
        elif name == 'lidar':  # sparse: averaging with empty pixels would falsify the points
            resized[name] = F.interpolate(image, size=size, mode='nearest-exact')
        else:
            resized[name] = F.interpolate(image, size=size, mode='bilinear', antialias=True)
    return resized
