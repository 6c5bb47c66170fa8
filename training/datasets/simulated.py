"""Simulated drives: labelled frames, rendered once into arrays on disk, read in random batches.

Rendering may go on in other processes while training reads what is there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from sam_ad_perception.modeling.zoo import ModelSpec
from sam_ad_perception.simulation.drive import Drive, DriveConfig
from training.config import DataConfig
from training.datasets.frames import Batch, LabelledFrame, prepare_frame

LABEL_SIZE = (400, 640)
LABEL_SPACE = 'cityscapes'


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
            self._drive = Drive(DriveConfig(seed=seed, duration_s=self.config.duration_s))
        stamp_ns = self._drive.config.start_ns + frame_times(self.config, seed)[place]
        bundle, truth = self._drive.bundle(stamp_ns)
        return LabelledFrame(f'{seed}/{place}', bundle, truth.labels)


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
    """Rendered frames on disk: one array file per modality, one for labels, one for progress.

    The folder's name holds a fingerprint of everything the content depends on, so that a change
    of representation never meets old frames.

    Args:
        folder: Parent folder; made where absent.
        spec: Zoo entry, whose preprocessing makes the inputs.
        config: Which frames.
    """

    def __init__(self, folder: Path, spec: ModelSpec, config: DataConfig) -> None:
        self.spec = spec
        self.config = config
        self.dataset = SimulatedDrives(config)
        self.drives = config.seeds[1] - config.seeds[0]
        self.length = len(self.dataset)
        self.folder = folder / self._fingerprint()
        self.folder.mkdir(parents=True, exist_ok=True)
        names = list(spec.inputs)
        height, width = spec.input_size
        self.inputs = {
            name: self._array(name, np.float16, (channels, height, width))
            for name, channels in spec.channels.items()
        }
        self.labels = self._array('labels', np.uint8, LABEL_SIZE)
        # 0 not rendered, else bit i+1 set when modality i is present, and bit 0 always
        self.state = self._array('state', np.uint8, ())
        self.names = names

    def _fingerprint(self) -> str:
        forms = {n: (type(f).__name__, dataclasses.asdict(f)) for n, f in self._forms()}  # type: ignore[call-overload]
        facts = {
            'forms': forms,
            'size': self.spec.input_size,
            'seeds': self.config.seeds,
            'frames': self.config.frames_per_drive,
            'duration': self.config.duration_s,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]

    def _forms(self) -> list[tuple[str, object]]:
        return list(self.spec.inputs.items())

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
        """Indices of the frames that are there."""
        return np.flatnonzero(self.state.copy())  # others write while we count

    def render_drive(self, drive: int) -> None:
        """Render all frames of one drive that are not there yet.

        Args:
            drive: Index of the drive, from 0.
        """
        first = drive * self.config.frames_per_drive
        indices = range(first, first + self.config.frames_per_drive)
        if all(self.state[i] for i in indices):
            return
        for index in indices:
            frame = self.dataset.read(index)
            prepared = prepare_frame(frame, self.spec.inputs, self.spec.input_size)
            state = 1
            for bit, name in enumerate(self.names, start=1):
                if name in prepared.inputs:
                    self.inputs[name][index] = prepared.inputs[name]
                    state |= 1 << bit
            self.labels[index] = frame.labels
            self.state[index] = state

    def read(self, indices: Sequence[int], rng: np.random.Generator | None = None) -> Batch:
        """Read frames; only modalities that all of them have are returned.

        Args:
            indices: Rendered frames.
            rng: Not used: what is rendered varies as a batch only.

        Returns:
            The batch.
        """
        picked = np.asarray(indices)
        common = int(np.bitwise_and.reduce(self.state[picked]))
        inputs = {
            name: torch.from_numpy(self.inputs[name][picked].astype(np.float32))
            for bit, name in enumerate(self.names, start=1)
            if common >> bit & 1
        }
        return Batch(inputs, torch.from_numpy(self.labels[picked].astype(np.int64)))


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
    from sam_ad_perception.modeling.zoo import load_zoo

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
