"""The training loop: optimizer steps over threads, processes and machines."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from sam_ad_perception.modeling.zoo.entries import ModelSpec
from training.configuration.run import TrainConfig
from training.frames.frame import Batch
from training.networks.checkpoint import export_weights, load_run, save_run
from training.networks.encoder_features import remember_features
from training.networks.start import (
    build_network,
    entry_metadata,
    find_entry,
    learns_codes,
)
from training.optimization.losses import total_loss
from training.optimization.optimizer import (
    WeightAverage,
    add_gradients,
    learning_rate,
    make_optimizer,
    seed_draws,
    seed_dropout,
    share_weights,
)
from training.runs.batches import resize_inputs
from training.runs.failures import TrainingError
from training.runs.machine import checkpoint_blocks, open_fabric
from training.runs.resume import (
    compare_settings,
    flatten,
    load_optimizer,
    parameter_names,
)


class Trainer:
    """One run: network, optimizer, running average, and how far it is.

    All that is drawn at random in a step follows from the seed and the numbers of its batches, so
    the state that is saved holds no generator: a resumed run goes on bit by bit.

    Args:
        config: The experiment.
        console: Where messages go.
        build: Makes the network, with all that it starts from.

    Raises:
        ValueError: The configuration does not fit its network or this machine, or what is in the
            run's folder is damaged or of another network.
        CheckpointError: Official weights are absent.
    """

    def __init__(
        self,
        config: TrainConfig,
        console: Console,
        build: Callable[[ModelSpec, TrainConfig, Console], nn.Module] = build_network,
    ) -> None:
        self.spec = find_entry(config)
        self.metadata = entry_metadata(self.spec)
        self.fabric = open_fabric(config.machine)
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config = config
        self.console = console if self.leads else Console(quiet=True)
        network = build(self.spec, config, self.console)
        self._check_processes(network)
        self.network = seed_dropout(network).to(self.fabric.device)
        if config.machine.features:
            remember_features(self.network, Path(config.machine.features), config.augmentation)
        self.average = WeightAverage(self.network, config.optimizer.ema)
        if config.machine.checkpoint_blocks and not checkpoint_blocks(self.network):
            raise ValueError(f'{config.model} has no blocks that could be recomputed')
        self.replicas: list[nn.Module] = [self.network]
        for _ in range(1, config.schedule.replicas):
            self.replicas.append(share_weights(self.network))
        self.optimizer = make_optimizer(self.network, config.optimizer)
        module, stepper = self.fabric.setup(self.network, self.optimizer)
        self._module: Any = module
        self._stepper: Any = stepper
        self._pool = ThreadPoolExecutor(len(self.replicas))
        self.step = 0
        self.number = 0
        self.elapsed_s = 0.0
        self.seen = 0
        self.frames = 0
        self.epoch_steps = math.inf
        self.output = Path(config.output_dir)
        self._data = ''
        self._saved_per_step = 0
        self._base = (0, 0.0)
        self._resume()

    def _check_processes(self, network: nn.Module) -> None:
        replicas = self.config.schedule.replicas
        if replicas > 1 and self.config.machine.precision == '16-mixed':
            raise ValueError(f'schedule.replicas must be 1 with 16-mixed, got {replicas}')
        if self.fabric.world_size == 1:
            return
        if replicas > 1:
            raise ValueError(
                f'schedule.replicas must be 1 with {self.fabric.world_size} processes, got '
                f'{replicas}: they are threads of one process'
            )
        if learns_codes(network):
            raise ValueError(
                f'machine.devices and nodes must be 1, got {self.fabric.world_size} processes: '
                f'the codebooks of {self.spec.key} follow every forward pass'
            )

    @property
    def leads(self) -> bool:
        """Whether this process writes the run's files."""
        return bool(self.fabric.global_rank == 0)

    @property
    def share(self) -> int:
        """Batches that this process takes per step."""
        return self.config.schedule.replicas * self.config.schedule.accumulate

    @property
    def batches_per_step(self) -> int:
        """Batches of all processes per step."""
        return self.share * int(self.fabric.world_size)

    @property
    def frames_per_step(self) -> int:
        """Frames that all processes see per step."""
        return self.config.schedule.batch_size * self.batches_per_step

    @property
    def state_path(self) -> Path:
        """File of the run's state."""
        return self.output / 'run.pt'

    def plan(self, frames: int) -> None:
        """Fit what the configuration says in epochs to the number of frames.

        Args:
            frames: Frames that one epoch sees.
        """
        config, per_step = self.config, self.frames_per_step
        self.frames = frames
        self.epoch_steps = frames / per_step
        steps = config.schedule.steps
        if config.schedule.epochs:
            steps = max(1, round(config.schedule.epochs * self.epoch_steps))
        if self.step and self._saved_per_step not in (0, per_step):
            if config.schedule.epochs:  # as many frames are seen as were announced
                total = config.schedule.epochs * frames
                steps = self.step + max(0, round((total - self.seen) / per_step))
                self._base = (self.step, min(self.seen / total, 1.0))
            self.console.print(
                f'{self.seen} frames were seen, {self._saved_per_step} a step; '
                f'{max(0, steps - self.step)} steps of {per_step} follow',
                soft_wrap=True,
            )
        warm = max(
            config.optimizer.warmup_steps,
            round(config.optimizer.warmup_epochs * self.epoch_steps),
        )
        optimizer = dataclasses.replace(config.optimizer, warmup_steps=warm)
        schedule = dataclasses.replace(config.schedule, steps=steps)
        self.config = dataclasses.replace(config, optimizer=optimizer, schedule=schedule)

    def numbers(self) -> Iterator[int]:
        """Numbers of the batches that this process takes from now on, without end."""
        first = self.number + int(self.fabric.global_rank) * self.share
        for step in count():
            for place in range(self.share):
                yield first + step * self.batches_per_step + place

    @property
    def steps(self) -> int:
        """Most optimizer steps."""
        return self.config.schedule.steps

    @property
    def progress(self) -> float:
        """Share of the run that is over: by steps or by time, whichever is further."""
        schedule = self.config.schedule
        step, share = self._base
        done = share + (1 - share) * (self.step - step) / max(self.steps - step, 1)
        if self.step >= self.steps:
            done = 1.0
        if schedule.max_minutes > 0:
            done = max(done, self.elapsed_s / (60 * schedule.max_minutes))
        return min(done, 1.0)

    @property
    def epoch(self) -> float:
        """Passes over the frames so far."""
        return self.seen / self.frames if self.frames else 0.0

    def train_step(self, batches: Sequence[Batch], names: Sequence[str] = ()) -> float:
        """Make one optimizer step.

        Args:
            batches: The batches of this process; gradients are averaged over those of all.
            names: What each holds, for messages.

        Returns:
            Mean loss over the batches of all processes.

        Raises:
            TrainingError: A loss or the gradient is not a number; the weights are as before.
        """
        # What this step is made of: learning rates, input size, numbers of its batches.
        self._set_rates()
        size = self.config.schedule.input_size(self.progress) or self.spec.input_size
        first = self.number + int(self.fabric.global_rank) * self.share
        numbers = range(first, first + len(batches))

        alone = len(self.replicas) == 1

        def differentiate(replica: nn.Module, batch: Batch, number: int, waits: bool) -> float:
            seed_draws(replica, (self.config.seed, number), alone=alone)
            groups, total = batch.groups(), 0.0
            for group in groups:
                part = group.to(str(self.fabric.device))
                last = group is groups[-1]  # processes wait for each other once a batch
                with self.fabric.no_backward_sync(self._module, enabled=waits or not last):
                    inputs = resize_inputs(part.inputs, size)
                    output = self._module(inputs) if alone else self._run_beside(replica, inputs)
                    loss = total_loss(output, part.labels, self.config.loss, self.offset(number))
                    weight = len(part.labels) / len(batch.labels)
                    share = loss * weight / len(batches)
                    if alone:
                        self.fabric.backward(share)
                    else:
                        share.backward()
                total += weight * float(loss.detach())
            return total

        # Gradients: every replica takes one batch of each group at a time.
        for replica in self.replicas:
            replica.zero_grad(set_to_none=True)
        width = len(self.replicas)
        run: Any = map if alone else self._pool.map
        losses: list[float] = []
        for start in range(0, len(batches), width):
            waits = start + width < len(batches)
            group = slice(start, start + width)
            held = [waits] * len(batches[group])
            losses += run(differentiate, self.replicas, batches[group], numbers[group], held)
        # Their sum is the gradient of the first, whose loss all processes share.
        for other in self.replicas[1:]:
            add_gradients(self.network, other)
        self._check_losses(losses, names)
        loss = self._mean(sum(losses) / len(losses))
        if not math.isfinite(loss):
            raise TrainingError(f'the loss of another process is {loss} at step {self.step}')
        # The step itself, and the running average of the weights.
        self._clip(names)
        self._stepper.step()
        self.average.update(self.network, self.step)
        self.step += 1
        self.number += self.batches_per_step
        self.seen += self.frames_per_step
        return loss

    def _run_beside(self, replica: nn.Module, inputs: dict[str, Tensor]) -> Any:
        """Run a replica in a thread: Fabric's own wrapper serves one thread at a time."""
        with self.fabric.autocast():
            output = replica(inputs)
        return self.fabric.strategy.precision.convert_output(output)

    def _set_rates(self) -> None:
        progress = self.progress
        if self.config.optimizer.per_epoch and math.isfinite(self.epoch_steps):
            progress = math.floor(self.epoch) * self.epoch_steps / self.steps
        for group in self.optimizer.param_groups:
            group['lr'] = learning_rate(self.config.optimizer, self.step, progress, group['scale'])

    def offset(self, number: int) -> NDArray[np.int64]:
        """Which label pixels a batch's loss takes.

        Args:
            number: Of the batch.

        Returns:
            (2,) row and column, 0 or 1.
        """
        return np.random.default_rng((self.config.seed, number, 1)).integers(2, size=2)

    def _check_losses(self, losses: Sequence[float], names: Sequence[str]) -> None:
        bad = [place for place, loss in enumerate(losses) if not math.isfinite(loss)]
        if bad and self.fabric.world_size > 1:
            self._mean(math.nan)  # the others must not wait
        if bad:
            held = '; '.join(names[place] for place in bad if place < len(names))
            raise TrainingError(
                f'the loss is {losses[bad[0]]} at step {self.step}, in the batch of {held or bad}'
            )

    def _clip(self, names: Sequence[str]) -> None:
        most = self.config.optimizer.clip or math.inf  # the norm is looked at in any case
        norm = self.fabric.clip_gradients(
            self._module, self._stepper, max_norm=most, error_if_nonfinite=False
        )
        assert norm is not None
        # a scaler of half precision passes over such steps and scales less from then on
        if self.config.machine.precision != '16-mixed' and not math.isfinite(float(norm)):
            raise TrainingError(
                f'the gradient is {float(norm)} at step {self.step}, in the batches of '
                f'{"; ".join(names) or "this process"}'
            )

    def _mean(self, value: float) -> float:
        """Mean of a number over all processes."""
        if self.fabric.world_size == 1:
            return value
        mean = self.fabric.all_reduce(torch.tensor(value, dtype=torch.float64), reduce_op='mean')
        assert isinstance(mean, Tensor)
        return float(mean)

    def share_time(self, elapsed_s: float) -> None:
        """Take over for how long the run has trained, as the leading process has it.

        Args:
            elapsed_s: Seconds, over all resumptions.
        """
        if self.config.schedule.max_minutes > 0 and self.fabric.world_size > 1:
            elapsed_s = self.fabric.broadcast(elapsed_s)
        self.elapsed_s = elapsed_s

    def save(self) -> str:
        """Write the run's state and the deployable weights; nothing in processes that follow.

        Returns:
            sha256 of the deployable weights; empty in processes that follow.

        Raises:
            OSError: The disk is full, or the like; the files before are still there.
            TrainingError: A weight is not finite; likewise.
        """
        if not self.leads:
            return ''
        state: dict[str, Any] = {
            'network': self.network.state_dict(),
            'average': self.average.network.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'parameters': parameter_names(self.network, self.optimizer),
            'precision': self.fabric.strategy.precision.state_dict(),
            'step': self.step,
            'number': self.number,
            'seen': self.seen,
            'per_step': self.frames_per_step,
            'elapsed_s': self.elapsed_s,
            'finished': self.progress >= 1.0,
            'configuration': flatten(self.config),
            'data': self._data,
            'labels': repr(self.spec.labels),
        }
        for part in ('network', 'average'):
            bad = [name for name, tensor in state[part].items() if not tensor.isfinite().all()]
            if bad:
                raise TrainingError(
                    f'{len(bad)} tensors of the {part} hold numbers that are not finite at step '
                    f'{self.step}, first {bad[0]}; nothing is saved, what was saved before stays'
                )
        save_run(self.state_path, state)
        weights = self.output / f'{self.spec.key}.safetensors'
        average = self.average.network.state_dict()
        return export_weights(average, weights, half=self.config.half, metadata=self.metadata)

    def _resume(self) -> None:
        path = self.state_path
        if not path.exists():
            return
        state = load_run(path)
        told: list[str] = []
        if 'configuration' in state:
            told = compare_settings(
                state['configuration'], self.config, str(path), finished=self._is_over(state)
            )
        if state.get('labels', repr(self.spec.labels)) != repr(self.spec.labels):
            raise ValueError(
                f'{path} is of another experiment; choose another output_dir: the classes were '
                f'{state["labels"]}, are {self.spec.labels}'
            )
        try:
            self.network.load_state_dict(state['network'])
            self.average.network.load_state_dict(state['average'])
            load_optimizer(
                self.network, self.optimizer, state['optimizer'], state.get('parameters', ())
            )
            if not told or not any(text.startswith('machine.precision') for text in told):
                self.fabric.strategy.precision.load_state_dict(state['precision'])
            self.step, self.number = state['step'], state['number']
            self.elapsed_s = state['elapsed_s']
        except (RuntimeError, KeyError, ValueError) as error:
            raise ValueError(
                f'{path} is of another experiment; choose another output_dir ({error})'
            ) from error
        per_step = self.frames_per_step
        self._saved_per_step = state.get('per_step', per_step)
        self.seen = state.get('seen', self.step * self._saved_per_step)
        self._data = state.get('data', '')
        minutes = self.elapsed_s / 60
        self.console.print(f'resuming {path} at step {self.step}, {minutes:.1f} min')
        for text in told:
            self.console.print(f'from here on: {text}', markup=False, soft_wrap=True)

    def _is_over(self, state: Mapping[str, Any]) -> bool:
        """Whether a run that was finished is asked for no more than it has."""
        before, now = state['configuration'], flatten(self.config)
        lengths = ('schedule.steps', 'schedule.epochs', 'schedule.max_minutes')
        same = all(
            before.get(n) == now[n] or (n == 'schedule.steps' and now['schedule.epochs'])
            for n in lengths
        )
        return bool(state.get('finished')) and same

    def check_data(self, fingerprint: str) -> None:
        """Refuse to go on with other frames than those that the run has learned from.

        Args:
            fingerprint: See `resume.data_fingerprint`; empty where there is none.

        Raises:
            ValueError: The frames are others, and `resume.allow` does not name `data`.
        """
        if self._data and fingerprint != self._data and 'data' not in self.config.resume.allow:
            kind = 'a finished run of another configuration' if self.progress >= 1 else 'a run'
            raise ValueError(
                f'{self.state_path} holds {kind}: it has learned from other frames (fingerprint '
                f'{self._data}, now {fingerprint}); choose another output_dir, or take the new '
                'frames with resume.allow=[data]'
            )
        self._data = fingerprint
