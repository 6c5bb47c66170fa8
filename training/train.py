"""Train a network of the zoo.

    python -m training.train training/configs/mle_sam_demo.yaml cache_dir=/data/cache [name=value]
    sam_ad train DATA.yaml [name=value]       own folders, see `training.datasets.own.folders`
    python -m training.train CONFIG machine.devices=4 machine.precision=bf16-mixed
    torchrun --nnodes 2 --nproc-per-node 4 ... -m training.train CONFIG

Every network trains this way; an entry that names official weights starts from them. FusionSAM
has a first stage of its own, see `training.latents`. Prompts always come from the network itself,
never from labels. Frames of simulated drives are rendered in the background into `cache_dir`.

The run writes to `output_dir`: the resolved configuration, figures and pictures (`RunFolder`),
the state of the run (`run.pt`), the averaged weights in half precision (`<model>.safetensors`)
and the best of them (`best/`). The same command goes on where a run was cut off, as if it had not
been. Ctrl-C and SIGTERM end it after the step that it is at.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sam_ad_perception.core.console.command_line import CommandParser, describe_error
from sam_ad_perception.modeling.zoo.entries import ModelSpec
from training.configuration.run import SIMULATED, TrainConfig
from training.frames.frame import DatasetError
from training.frames.summary import absent_classes, problems_of, sample_split, show_splits
from training.networks.checkpoint import load_run
from training.own_data import load_any
from training.runs.batches import BatchReader, OpenFrames, ReadAhead, open_frames
from training.runs.failures import DISK_FULL, EXPECTED, TrainingError, explain
from training.runs.folder import RunFolder
from training.runs.label_watch import LabelWatch
from training.runs.machine import used_memory_mib
from training.runs.prepared_batches import PreparedFrames
from training.runs.resume import data_fingerprint
from training.runs.trainer import Trainer
from training.runs.validation import Validator, validation_data


class Run:
    """A trainer with its frames, its folder and its clock.

    Args:
        trainer: Network and optimizer.
        frames: What it learns from.
        console: Where progress is shown.

    Raises:
        OSError: The run's folder cannot be written.
        TrainingError: A process that renders has died.
        ValueError: Frames of training and validation are the same.
    """

    def __init__(self, trainer: Trainer, frames: OpenFrames, console: Console) -> None:
        self.trainer, self.frames, self.console = trainer, frames, console
        config = trainer.config
        dataset = getattr(frames.source, 'dataset', None)
        learned = config.dataset != SIMULATED and dataset is not None
        trainer.check_data(data_fingerprint(dataset) if learned and dataset is not None else '')
        trainer.plan(frames.source.length)
        self.folder = RunFolder(config, console, trainer.step, leads=trainer.leads)
        self.interval = config.validation.interval(trainer.epoch_steps)
        self.validator: Validator | None = None
        if self.interval and trainer.leads:
            held = open_frames(trainer.spec, config, validation_data(config))
            held.wait(config.validation.frames, console)
            self.validator = Validator(trainer, held.source, self.folder)
        self.watch = LabelWatch(trainer.spec.labels)
        self.stopped = ''
        self._losses: deque[float] = deque(maxlen=50)
        self._times: deque[float] = deque(maxlen=50)

    def stop(self, number: int, _: FrameType | None = None) -> None:
        """Ask the run to end after this step, as a handler of a signal.

        Args:
            number: Of the signal.
        """
        self.stopped = signal.Signals(number).name

    def finish(self) -> str:
        """Train until the run is over.

        Returns:
            sha256 of the deployable weights; empty in processes that follow.

        Raises:
            TrainingError, DatasetError, OSError: It cannot go on; see `failures`.
        """
        try:
            self._train()
            if self.validator is not None and self.trainer.step % self.interval:
                self._validate()
            return self.trainer.save()
        finally:
            self.folder.close()

    def _train(self) -> None:
        trainer, config = self.trainer, self.trainer.config
        schedule, data = config.schedule, config.data
        reader = BatchReader(
            self.frames.source,
            schedule.batch_size,
            config.subsets,
            config.seed,
            augmentation=config.augmentation,
            skip_damaged=data.skip_damaged,
            start=(trainer.number, trainer.seen),
        )
        ahead = ReadAhead(reader, trainer.numbers(), config.machine.readers)
        start, saved = time.monotonic() - trainer.elapsed_s, time.monotonic()
        columns = (TextColumn('{task.description}'), BarColumn(), TaskProgressColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        try:
            with Progress(*columns, *times, console=self.console) as bar:
                task = bar.add_task('training', total=1.0)
                while trainer.progress < 1.0:
                    self._step(ahead)
                    trainer.share_time(time.monotonic() - start)
                    bar.update(task, completed=trainer.progress, description=self._describe())
                    if self.stopped:
                        raise TrainingError(f'{self.stopped} asked for it')
                    if time.monotonic() - saved > 60 * schedule.checkpoint_minutes:
                        trainer.save()
                        self.folder.flush()
                        saved = time.monotonic()
        finally:
            ahead.close()
            for text in self.watch.summary():
                self.console.print(text, markup=False, soft_wrap=True)

    def _validate(self) -> None:
        assert self.validator is not None
        miou = self.validator.measure()
        step = self.trainer.step
        self.console.print(f'step {step} validation mIoU {100 * miou:.2f}')

    def _step(self, ahead: ReadAhead) -> None:
        trainer = self.trainer
        began = time.monotonic()
        drawn = [ahead.next() for _ in range(trainer.share)]
        for each in drawn:
            for note in self.watch.take(each):
                self.console.print(note, markup=False, soft_wrap=True)
        self.watch.check(trainer.step)
        loss = trainer.train_step([each.batch for each in drawn], [str(each) for each in drawn])
        self._losses.append(loss)
        self._times.append(time.monotonic() - began)
        figures = {
            'epoch': trainer.epoch,
            'loss': loss,
            'learning_rate': trainer.optimizer.param_groups[0]['lr'],
            'images_per_s': self.images_per_s,
            'memory_mib': used_memory_mib(trainer.fabric.device),
            'minutes': trainer.elapsed_s / 60,
        }
        self.folder.log('metrics', figures, trainer.step)
        if trainer.step % 50 == 0:
            self.frames.check()
            self.console.print(
                f'step {trainer.step} of {trainer.steps} {self._describe()} '
                f'lr {figures["learning_rate"]:.2e} frames '
                f'{len(self.frames.source.rendered())} at {figures["minutes"]:.1f} min'
            )
        if self.validator is not None and trainer.step % self.interval == 0:
            self._validate()

    @property
    def images_per_s(self) -> float:
        """Frames that all processes learn from per second, over the last steps."""
        per_step = self.trainer.config.schedule.batch_size * self.trainer.batches_per_step
        return per_step / max(float(np.mean(self._times)), 1e-9)

    def _describe(self) -> str:
        memory = used_memory_mib(self.trainer.fabric.device) / 1024
        loss = float(np.mean(self._losses))
        return f'loss {loss:.4f} {self.images_per_s:.1f} images/s {memory:.1f} GiB'


def show_data(spec: ModelSpec, config: TrainConfig, frames: OpenFrames, console: Console) -> None:
    """Print what the frames of a run hold, as a sample of them tells.

    Args:
        spec: Zoo entry.
        config: The experiment.
        frames: Those that it learns from.
        console: Where.

    Raises:
        DatasetError: No pixel of the sample has a label, or nothing of it can be read.
    """
    source = frames.source
    if not isinstance(source, PreparedFrames):
        return
    found = [sample_split(source.dataset, config.data.split)]
    if config.validation.steps or config.validation.epochs:
        held = open_frames(spec, config, validation_data(config)).source
        assert isinstance(held, PreparedFrames)
        found.append(sample_split(held.dataset, config.validation.split))
    show_splits(found, source.dataset.space, console)
    texts = [*problems_of(source.dataset), *getattr(source.dataset, 'notes', ())]
    for split in found:
        texts += [f'{split.split}: {text}' for text in split.problems]
    absent = absent_classes(found[0], source.dataset.space)
    if absent:
        texts.append(f'train: no pixel of {found[0].read} frames is of {", ".join(absent)}')
    for text in texts:
        console.print(text, markup=False, soft_wrap=True)


def report_end(trainer: Trainer, error: BaseException, console: Console) -> None:
    """Say why a run ended early and what it leaves, after saving what is sound.

    Args:
        trainer: The run.
        error: One of `failures.EXPECTED`.
        console: Where it is said.
    """
    why = explain(error, trainer.output)
    if isinstance(error, (TrainingError, DatasetError)) and trainer.step:
        try:  # these come between two steps, so the state is whole
            trainer.save()
        except (OSError, TrainingError) as other:
            why += f'; saving failed too: {explain(other, trainer.output)}'
    console.print(f'training stopped at step {trainer.step}: {why}', soft_wrap=True)
    if not trainer.leads:
        return
    if not trainer.state_path.exists():
        console.print('nothing was saved yet', soft_wrap=True)
        return
    step = load_run(trainer.state_path)['step']
    hint = (
        ', once there is room' if isinstance(error, OSError) and error.errno in DISK_FULL else ''
    )
    console.print(
        f'{trainer.state_path} holds step {step}; the same command goes on from there{hint}',
        soft_wrap=True,
    )


def main(argv: Sequence[str] | None = None, prog: str = 'python -m training.train') -> None:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.
        prog: What the user called it by.
    """
    parser = CommandParser(
        prog,
        __doc__,
        examples=(
            'sam_ad train training/configs/mle_sam_demo.yaml schedule.steps=1000',
            'sam_ad train my_data.yaml',
        ),
        raw=True,
    )
    parser.add_argument('config', type=Path, help='of a run, or the file of own data')
    parser.add_argument('overrides', nargs='*', metavar='name=value')
    arguments = parser.parse_args(argv)
    try:
        config = load_any(arguments.config.expanduser(), arguments.overrides)
        trainer = Trainer(config, Console())
    except (ValueError, OSError) as error:
        parser.error(describe_error(error))
    console = trainer.console
    try:
        first = bool(trainer.fabric.local_rank == 0)
        frames = open_frames(trainer.spec, config, config.data, first=first)
        wanted = max(config.data.min_frames, config.schedule.batch_size)
        frames.wait(wanted, console)
        if trainer.leads:
            show_data(trainer.spec, config, frames, console)
        run = Run(trainer, frames, console)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, run.stop)
        digest = run.finish()
    except EXPECTED as error:
        report_end(trainer, error, Console(stderr=True))
        sys.exit(1)
    except ValueError as error:
        parser.error(describe_error(error))
    console.print(f'wrote {trainer.output}/{config.model}.safetensors, sha256 {digest}')


if __name__ == '__main__':
    main()
