"""Train a network of the zoo on simulated drives.

    python -m training.train training/configs/mle_sam_demo.yaml cache_dir=/data/cache [name=value]

Frames are rendered in the background into `cache_dir`. The run writes to `output_dir`: the
resolved configuration, the state of the run (it resumes from there), and the half-precision
weights (running average) as `<model>.safetensors`.
"""

from __future__ import annotations

import argparse
import copy
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torch.nn import functional as F

from sam_ad_perception.modeling.mle_sam import MleSamOutput
from sam_ad_perception.modeling.zoo import build_model, load_zoo
from training.augmentation import augment_batch, choose_subset
from training.checkpoint import export_half, load_run, save_atomically, save_run
from training.config import LossConfig, TrainConfig, load_config, to_mapping
from training.datasets.simulated import Batch, FrameCache, start_rendering
from training.losses import dice_loss, ohem_cross_entropy
from training.optimization import WeightAverage, learning_rate, make_optimizer


def total_loss(
    output: MleSamOutput, labels: Tensor, config: LossConfig, offset: NDArray[np.int64]
) -> Tensor:
    """Combine the losses of both heads (Eq. 13-14).

    Args:
        output: The network's output.
        labels: (B, H, W) int64 at the camera's size.
        config: Weights.
        offset: (2,) row and column, 0 or 1: which of the label pixels are used.

    Returns:
        The loss.
    """
    stride = config.stride
    row, column = int(offset[0]), int(offset[1])
    labels = labels[:, row % stride :: stride, column % stride :: stride]
    size = (labels.shape[-2], labels.shape[-1])
    logits = F.interpolate(output.logits, size=size, mode='bilinear', align_corners=False)
    loss = config.main * ohem_cross_entropy(logits, labels, threshold=config.ohem_threshold)
    if config.dice > 0:
        loss = loss + config.dice * dice_loss(logits, labels)
    if config.aux > 0 and output.aux_logits is not None:
        labels = labels[:, row::2, column::2]  # a guide, not the result: half as fine will do
        size = (labels.shape[-2], labels.shape[-1])
        aux = F.interpolate(output.aux_logits, size=size, mode='bilinear', align_corners=False)
        hard = ohem_cross_entropy(aux, labels, threshold=config.ohem_threshold)
        loss = loss + config.aux * hard
    return loss


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


def share_weights(network: nn.Module) -> nn.Module:
    """Copy a network so that the copy has the same weights in memory but its own gradients.

    Args:
        network: The network.

    Returns:
        The copy.
    """
    copied = copy.deepcopy(network)
    for own, shared in zip(copied.parameters(), network.parameters(), strict=True):
        own.data = shared.data
    return copied


def add_gradients(network: nn.Module, other: nn.Module) -> None:
    """Add the gradients of a copy to those of a network.

    Args:
        network: The network.
        other: Its copy.
    """
    for own, added in zip(network.parameters(), other.parameters(), strict=True):
        if added.grad is not None:
            own.grad = added.grad if own.grad is None else own.grad.add_(added.grad)


class BatchReader:
    """Reads and augments batches in a thread, one ahead of the training.

    Args:
        cache: Frames, possibly still being rendered.
        config: Batch size, subsets, seed.
    """

    def __init__(self, cache: FrameCache, config: TrainConfig, seed: int) -> None:
        self.cache = cache
        self.config = config
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
        subsets = self.config.subsets
        rendered = self.cache.rendered()
        while True:
            picked = self.rng.choice(rendered, self.config.schedule.batch_size, replace=False)
            batch = self.cache.read(picked.tolist())
            if batch.inputs:
                break
        kept = choose_subset(list(batch.inputs), subsets.drop, subsets.single, self.rng)
        batch = Batch({name: batch.inputs[name] for name in kept}, batch.labels)
        return augment_batch(batch, self.rng)


class Trainer:
    """One run: network, optimizer, running average, and how far it is.

    Args:
        config: The experiment.
        console: Where messages go.
    """

    def __init__(self, config: TrainConfig, console: Console) -> None:
        zoo = load_zoo(Path(config.zoo))
        if config.model not in zoo:
            raise ValueError(f'model must be one of {list(zoo)}, got {config.model!r}')
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config = config
        self.console = console
        self.spec = zoo[config.model]
        self.network = build_model(self.spec).train()
        self.replicas: list[nn.Module] = [self.network]
        for _ in range(1, config.schedule.replicas):
            self.replicas.append(share_weights(self.network))
        self.average = WeightAverage(self.network, config.optimizer.ema)
        self.optimizer = make_optimizer(self.network, config.optimizer)
        self.pool = ThreadPoolExecutor(len(self.replicas))
        self.step = 0
        self.elapsed_s = 0.0
        self.output = Path(config.output_dir)
        self.rng = np.random.default_rng(config.seed)
        self._resume()

    @property
    def progress(self) -> float:
        """Share of the run that is over: by steps or by time, whichever is further."""
        schedule = self.config.schedule
        done = self.step / schedule.steps
        if schedule.max_minutes > 0:
            done = max(done, self.elapsed_s / (60 * schedule.max_minutes))
        return min(done, 1.0)

    def train_step(self, batches: list[Batch]) -> float:
        """Make one optimizer step.

        Args:
            batches: One batch per replica; their gradients are averaged.

        Returns:
            Mean loss.
        """
        rate = learning_rate(self.config.optimizer, self.step, self.progress)
        for group in self.optimizer.param_groups:
            group['lr'] = rate
        size = self.config.schedule.input_size(self.progress)
        offsets = [self.rng.integers(2, size=2) for _ in batches]

        def differentiate(network: nn.Module, batch: Batch, offset: NDArray[np.int64]) -> float:
            network.zero_grad(set_to_none=True)
            output = network(resize_inputs(batch.inputs, size))
            loss = total_loss(output, batch.labels, self.config.loss, offset) / len(batches)
            loss.backward()
            return float(loss.detach())

        total = sum(self.pool.map(differentiate, self.replicas, batches, offsets))
        for other in self.replicas[1:]:
            add_gradients(self.network, other)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optimizer.clip)
        self.optimizer.step()
        self.average.update(self.network, self.step)
        self.step += 1
        return total

    def save(self) -> str:
        """Write the run's state and the deployable weights.

        Returns:
            sha256 of the deployable weights.
        """
        state = {
            'network': self.network.state_dict(),
            'average': self.average.network.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'step': self.step,
            'elapsed_s': self.elapsed_s,
        }
        save_run(self.output / 'run.pt', state)
        return export_half(self.average.network, self.output / f'{self.spec.key}.safetensors')

    def _resume(self) -> None:
        path = self.output / 'run.pt'
        if not path.exists():
            return
        state = load_run(path)
        self.network.load_state_dict(state['network'])
        self.average.network.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.step, self.elapsed_s = state['step'], state['elapsed_s']
        self.console.print(f'resuming {path} at step {self.step}, {self.elapsed_s / 60:.1f} min')

    def run(self, cache: FrameCache) -> str:
        """Train until the run is over.

        Args:
            cache: Frames.

        Returns:
            sha256 of the deployable weights.
        """
        schedule = self.config.schedule
        reader = BatchReader(cache, self.config, self.config.seed + self.step)
        losses: list[float] = []
        columns = (TextColumn('{task.description}'), BarColumn(), TaskProgressColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        start, saved = time.monotonic() - self.elapsed_s, time.monotonic()
        with Progress(*columns, *times, console=self.console) as bar:
            task = bar.add_task('training', total=1.0)
            while self.progress < 1.0:
                batches = [reader.next() for _ in range(schedule.replicas)]
                losses.append(self.train_step(batches))
                self.elapsed_s = time.monotonic() - start
                recent = float(np.mean(losses[-50:]))
                bar.update(task, completed=self.progress, description=f'loss {recent:.3f}')
                if self.step % 50 == 0:
                    self.console.print(
                        f'step {self.step} loss {recent:.4f} lr '
                        f'{self.optimizer.param_groups[0]["lr"]:.2e} '
                        f'frames {len(cache.rendered())} at {self.elapsed_s / 60:.1f} min'
                    )
                if time.monotonic() - saved > 60 * schedule.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()
        return self.save()


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


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog='python -m training.train')
    parser.add_argument('config', type=Path)
    parser.add_argument('overrides', nargs='*', metavar='name=value')
    arguments = parser.parse_args()
    console = Console()
    config = load_config(arguments.config, arguments.overrides)
    trainer = Trainer(config, console)
    text = yaml.safe_dump(dict(to_mapping(config)), sort_keys=False)
    save_atomically(text.encode(), trainer.output / 'config.yaml')
    folder = Path(config.cache_dir)
    cache = FrameCache(folder, trainer.spec, config.data)
    if config.data.workers and len(cache.rendered()) < cache.length:
        start_rendering(folder, Path(config.zoo), config.model, config.data)
    wait_for_frames(cache, max(config.data.min_frames, config.schedule.batch_size), console)
    digest = trainer.run(cache)
    console.print(f'wrote {trainer.output}/{config.model}.safetensors, sha256 {digest}')


if __name__ == '__main__':
    main()
