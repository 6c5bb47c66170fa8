"""Train a network of the zoo on simulated drives.

    python -m training.train training/configs/mle_sam_demo.yaml cache_dir=/data/cache [name=value]

Every network trains this way; an entry that names official weights starts from them. FusionSAM
has a first stage of its own, see `training.latents`. Prompts always come from the network itself,
never from labels. Frames are rendered in the background into `cache_dir`. The run writes to
`output_dir`: the resolved configuration, the state of the run (it resumes from there), and the
weights (running average, half precision) as `<model>.safetensors`.
"""

from __future__ import annotations

import argparse
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
from torch import nn

from training.batches import BatchReader, open_frames, resize_inputs
from training.checkpoint import export_weights, load_run, save_atomically, save_run
from training.config import TrainConfig, load_config, to_mapping
from training.datasets.frames import Batch
from training.datasets.simulated import FrameCache
from training.losses import total_loss
from training.networks import build_network, find_entry
from training.optimization import (
    WeightAverage,
    add_gradients,
    learning_rate,
    make_optimizer,
    share_weights,
)


class Trainer:
    """One run: network, optimizer, running average, and how far it is.

    Args:
        config: The experiment.
        console: Where messages go.
    """

    def __init__(self, config: TrainConfig, console: Console) -> None:
        self.spec = find_entry(config)
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config = config
        self.console = console
        self.network = build_network(self.spec, config, console)
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
            group['lr'] = rate * group['scale']
        size = self.config.schedule.input_size(self.progress)
        offsets = [self.rng.integers(2, size=2) for _ in batches]

        def differentiate(network: nn.Module, batch: Batch, offset: NDArray[np.int64]) -> float:
            network.zero_grad(set_to_none=True)
            batch = batch.to(self.config.device)
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
        weights = self.output / f'{self.spec.key}.safetensors'
        return export_weights(self.average.network.state_dict(), weights, half=self.config.half)

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
        seed = self.config.seed + self.step
        reader = BatchReader(cache, schedule.batch_size, self.config.subsets, seed)
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


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog='python -m training.train')
    parser.add_argument('config', type=Path)
    parser.add_argument('overrides', nargs='*', metavar='name=value')
    arguments = parser.parse_args()
    console = Console()
    try:
        config = load_config(arguments.config, arguments.overrides)
        trainer = Trainer(config, console)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    text = yaml.safe_dump(dict(to_mapping(config)), sort_keys=False)
    save_atomically(text.encode(), trainer.output / 'config.yaml')
    cache = open_frames(trainer.spec, config, console)
    digest = trainer.run(cache)
    console.print(f'wrote {trainer.output}/{config.model}.safetensors, sha256 {digest}')


if __name__ == '__main__':
    main()
