"""Simulated drives: labelled frames, rendered once into arrays on disk, read in random batches.

Rendering may go on in other processes while training reads what is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from sam_ad_perception.modeling.zoo.entries import ModelSpec
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from training.configuration.data import DataConfig
from training.frames.code_digest import code_digest
from training.frames.frame import Batch, DatasetError, LabelledFrame, prepare_frame

LABEL_SIZE = (400, 640)
LABEL_SPACE = 'cityscapes'
_ABSENT, _PRESENT = 1, 2  # 0 is not rendered yet


class SimulatedDrives:
    """Frames at random times of simulated drives, in their order.

    Args:
        config: Which drives and how many frames.
    """

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self._drive: Drive | None = None  # the last one, since its frames are asked for in turn

    @property
    def space(self) -> LabelSpace:
        """The classes of its labels."""
        return LABEL_SPACES[LABEL_SPACE]

    def __len__(self) -> int:
        """The number of frames."""
        return (self.config.seeds[1] - self.config.seeds[0]) * self.config.frames_per_drive

    def read(self, index: int) -> LabelledFrame:
        """Render one frame.

        Args:
            index: From 0; frames of one drive follow each other.

        Returns:
            The frame.
        """
        number, place = divmod(index, self.config.frames_per_drive)
        seed = self.config.seeds[0] + number
        if self._drive is None or self._drive.config.seed != seed:
            names = self.config.conditions
            condition = names[number % len(names)]
            duration_s = self.config.duration_s
            self._drive = Drive(DriveConfig(seed, duration_s, condition=condition))
        stamp_ns = self._drive.config.start_ns + frame_times(self.config, seed)[place]
        bundle, truth = self._drive.bundle(stamp_ns)
        name = f'{seed}/{place} {self._drive.config.condition}'
        return LabelledFrame(name, bundle, truth.labels, self._drive.config.condition)


def frame_times(config: DataConfig, seed: int) -> list[int]:
    """When the frames of a drive are taken.

    Args:
        config: How long drives are and how many frames they give.
        seed: Of the drive.

    Returns:
        Nanoseconds since the start of the drive, rising.
    """
    rng = np.random.default_rng(seed)
    times = rng.uniform(0.2, config.duration_s - 0.2, config.frames_per_drive)
    return [int(t * 1e9) for t in np.sort(times)]


class FrameCache:
    """Rendered frames on disk: one array file per input, one for labels.

    The folder's name holds a fingerprint of which frames they are and of the code that renders
    them, the file's name one of how the
    input is made, so that a change of representation never meets old frames, and networks that
    take the same input share it.

    Args:
        folder: Parent folder; made where absent.
        spec: Zoo entry, whose preprocessing makes the inputs.
        config: Which frames.
    """

    def __init__(self, folder: Path, spec: ModelSpec, config: DataConfig) -> None:
        self.spec = spec
        self.config = config
        self.size = (config.size[0], config.size[1]) if config.size else spec.input_size
        self.dataset = SimulatedDrives(config)
        self.drives = config.seeds[1] - config.seeds[0]
        self.length = len(self.dataset)
        code = code_digest('core', 'simulation', 'modeling/inputs')
        facts = (config.seeds, config.frames_per_drive, config.duration_s, config.conditions, code)
        self.folder = folder / _fingerprint(facts)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.inputs: dict[str, NDArray[np.generic]] = {}
        self.states: dict[str, NDArray[np.generic]] = {}
        for name, form in spec.inputs.items():
            fields = dataclasses.asdict(form)  # type: ignore[call-overload]
            file = f'{name}-{_fingerprint((type(form).__name__, fields, self.size))}'
            shape = (spec.channels[name], *self.size)
            self.inputs[name] = self._array(file, np.float16, shape)
            self.states[name] = self._array(f'{file}.state', np.uint8, ())
        self.labels = self._array('labels', np.uint8, LABEL_SIZE)

    def _array(
        self, name: str, dtype: type[np.generic], shape: tuple[int, ...]
    ) -> NDArray[np.generic]:
        path = self.folder / f'{name}.bin'
        full = (self.length, *shape)
        size = int(np.prod(full)) * np.dtype(dtype).itemsize
        if not path.exists() or path.stat().st_size != size:
            with path.open('ab') as file:
                file.truncate(size)  # sparse: costs nothing until it is written
        return np.memmap(path, dtype, 'r+', shape=full)

    def rendered(self) -> NDArray[np.int64]:
        """Indices of the frames that are there with all inputs of the entry."""
        return np.flatnonzero(np.all([np.array(s) for s in self.states.values()], axis=0))

    def render_drive(self, drive: int) -> None:
        """Render all frames of one drive that are not there yet.

        Args:
            drive: Index of the drive, from 0.
        """
        first = drive * self.config.frames_per_drive
        for index in range(first, first + self.config.frames_per_drive):
            if all(state[index] for state in self.states.values()):
                continue
            frame = self.dataset.read(index)
            prepared = prepare_frame(frame, self.spec.inputs, self.size)
            self.labels[index] = frame.labels
            for name, state in self.states.items():
                if name in prepared.inputs:
                    self.inputs[name][index] = prepared.inputs[name]
                state[index] = _PRESENT if name in prepared.inputs else _ABSENT

    def read(
        self,
        indices: Sequence[int],
        rng: np.random.Generator | None = None,
        kept: Sequence[Collection[str]] | None = None,
    ) -> Batch:
        """See `FrameSource.read`; frames are not varied here, and `kept` is refused."""
        if kept is not None:
            raise DatasetError(
                f'{self.spec.key} places sensors by the lidar (alignment: depth): drives '
                'that were rendered with it cannot be read without; train on bags '
                '(sam_ad simulate), or drop no sensors'
            )
        picked = np.asarray(indices)
        inputs = {
            name: torch.from_numpy(self.inputs[name][picked].astype(np.float32))
            for name, state in self.states.items()
            if np.any(state[picked] == _PRESENT)
        }
        there = {name: torch.from_numpy(self.states[name][picked] == _PRESENT) for name in inputs}
        present = {name: each for name, each in there.items() if not each.all()}
        return Batch(inputs, torch.from_numpy(self.labels[picked].astype(np.int64)), present)

    def name_of(self, index: int) -> str:
        """What a frame is called.

        Args:
            index: Which frame.

        Returns:
            Drive and frame of it.
        """
        return f'frame {index}'


def _fingerprint(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def render_share(
    folder: Path, zoo_path: Path, model: str, config: DataConfig, share: int, shares: int
) -> None:
    """Render every `shares`-th drive, as one of several processes.

    Args:
        folder: Parent folder of the cache.
        zoo_path: The zoo.
        model: Key of the entry.
        config: Which frames.
        share: Number of this process, from 0.
        shares: Number of processes.
    """
    from sam_ad_perception.modeling.zoo.entries import load_zoo

    os.nice(5)
    cache = FrameCache(folder, load_zoo(zoo_path)[model], config)
    for drive in range(share, cache.drives, shares):
        cache.render_drive(drive)


def start_rendering(
    folder: Path, zoo_path: Path, model: str, config: DataConfig
) -> list[multiprocessing.process.BaseProcess]:
    """Start the processes that fill a cache; finished frames are kept.

    Args:
        folder: Parent folder of the cache.
        zoo_path: The zoo.
        model: Key of the entry.
        config: Which frames, and how many processes.

    Returns:
        The processes, started as daemons.
    """
    context = multiprocessing.get_context('spawn')
    processes = []
    for share in range(config.workers):
        arguments = (folder, zoo_path, model, config, share, config.workers)
        process = context.Process(target=render_share, args=arguments, daemon=True)
        process.start()
        processes.append(process)
    return list(processes)
