"""Batches of rendered frames, read ahead of the training."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional as F

from sam_ad_perception.modeling.zoo import ModelSpec
from training.augmentation import augment_batch, choose_subset
from training.config import SubsetConfig, TrainConfig
from training.datasets.frames import Batch
from training.datasets.simulated import FrameCache, start_rendering


class BatchReader:
    """Reads and augments batches in a thread, one ahead of the training.

    Sensors that the entry requires are in every batch.

    Args:
        cache: Frames, possibly still being rendered.
        batch_size: Frames per batch.
        subsets: How often the other sensors are left out.
        seed: Of frames, subsets and augmentation.
    """

    def __init__(
        self, cache: FrameCache, batch_size: int, subsets: SubsetConfig, seed: int
    ) -> None:
        self.cache = cache
        self.batch_size = batch_size
        self.subsets = subsets
        self.rng = np.random.default_rng(seed)
        self.queue: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=2)
        threading.Thread(target=self._work, daemon=True).start()

    def next(self) -> Batch:
        """Wait for the next batch.

        Returns:
            An augmented batch with a random subset of its sensors.
        """
        item = self.queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _work(self) -> None:
        try:
            while True:
                self.queue.put(self._read())
        except BaseException as error:
            self.queue.put(error)

    def _read(self) -> Batch:
        required = self.cache.spec.required
        rendered = self.cache.rendered()
        while True:
            picked = self.rng.choice(rendered, self.batch_size, replace=False)
            batch = self.cache.read(picked.tolist())
            if batch.inputs and all(name in batch.inputs for name in required):
                break
        kept = choose_subset(list(batch.inputs), self.subsets, self.rng, required)
        batch = Batch({name: batch.inputs[name] for name in kept}, batch.labels)
        return augment_batch(batch, self.rng)


def open_frames(spec: ModelSpec, config: TrainConfig, console: Console) -> FrameCache:
    """Open the cache of a run, start what fills it, and wait until there is enough to begin.

    Args:
        spec: Zoo entry.
        config: The experiment.
        console: Where progress is shown.

    Returns:
        The cache.
    """
    folder = Path(config.cache_dir)
    cache = FrameCache(folder, spec, config.data)
    if config.data.workers and len(cache.rendered()) < cache.length:
        start_rendering(folder, Path(config.zoo), config.model, config.data)
    of_latents = config.latents.batch_size if config.latents.file else 0
    batch_size = max(config.schedule.batch_size, of_latents)
    wait_for_frames(cache, max(config.data.min_frames, batch_size), console)
    return cache


def wait_for_frames(cache: FrameCache, wanted: int, console: Console) -> None:
    """Wait until enough frames are rendered.

    Args:
        cache: The cache that other processes fill.
        wanted: Frames.
        console: Where progress is shown.
    """
    wanted = min(wanted, cache.length)
    with Progress(console=console) as bar:
        task = bar.add_task(f'rendering the first {wanted} frames', total=wanted)
        while (count := len(cache.rendered())) < wanted:
            bar.update(task, completed=count)
            time.sleep(0.5)


def resize_inputs(inputs: dict[str, Tensor], size: tuple[int, int] | None) -> dict[str, Tensor]:
    """Shrink network inputs.

    Args:
        inputs: (B, C, H, W) per modality.
        size: Size `(H, W)` wanted, pixels; None changes nothing.

    Returns:
        The inputs at that size.
    """
    if size is None:
        return inputs
    resized = {}
    for name, image in inputs.items():
        if name == 'lidar':  # sparse: averaging with empty pixels would falsify the points
            resized[name] = F.interpolate(image, size=size, mode='nearest-exact')
        else:
            resized[name] = F.interpolate(image, size=size, mode='bilinear', antialias=True)
    return resized
