"""Run the shipped configurations in small, every switch crossed: `python -m training.smoke`.

    python -m training.smoke [--only fusion_sam_mfnet,mle_sam_muses_fel] [--keep FOLDER]

Each configuration keeps its loss, optimizer, schedule, augmentation and precision; its network
gets the smallest encoder of its kind and starts from nothing, its data are noise in the official
layout or a short simulated drive. Its steps: the first stage past the start of the adversary
(`latents`), training past the warm-up with validation (`train`), the same run resumed and
finished (`resume`), `training.evaluate` and `training.export` of the run, and a mask from the
exported zoo (`drive`). Half precision of 16 bits runs in bfloat16 where there is no GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console

from sam_ad_perception.modeling.inference.expert_network import load_expert
from sam_ad_perception.modeling.zoo.entries import load_zoo
from sam_ad_perception.modeling.zoo.packed import read_entries
from training import evaluate, export, latents, train
from training.configuration.run import SIMULATED, TrainConfig, load_config
from training.datasets.catalog import open_dataset
from training.datasets.fabricated import WRITERS, fabricate
from training.datasets.own.simulated import SimulatedDrives
from training.frames.frame import prepare_frame
from training.networks.checkpoint import load_run

CONFIGS = Path(__file__).parent / 'configs'
SIZE = [64, 96]
FIRST, LAST = 3, 5
"""Steps of the first part of a run and of the whole."""


def shrink_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """Give an entry of the zoo the smallest network of its kind.

    Args:
        entry: Its plain values.

    Returns:
        New plain values, without official weights.
    """
    weighed = ('backbone', 'checkpoint', 'results', 'temperatures')
    small = {k: v for k, v in entry.items() if k not in weighed}
    arguments = dict(small['arguments'])
    if small['builder'] == 'mle_sam':
        arguments |= {'encoder': 'micro', 'decoder_mlp_dim': 16}
        arguments['lora'] = {**arguments.get('lora', {}), 'rank': 2}
        arguments['fusion'] = {**arguments.get('fusion', {}), 'hidden': [8, 8, 8]}
    else:
        kept = arguments['backbone']
        size = 'mobile_micro' if kept['size'].startswith('mobile') else 'micro'
        arguments['backbone'] = {**kept, 'size': size}
    if small['builder'] == 'ad_sam' and arguments.get('branch', 'resnet') == 'resnet':
        arguments.pop('resnet_weights', None)
        arguments['resnet'] = {'layers': [1, 1, 1, 1], 'width': 32, 'bottleneck': False}
    if small['builder'] == 'fusion_sam':
        arguments['latent'] = {**arguments['latent'], 'width': 8, 'dim': 16, 'num_codes': 32}
        arguments['fmp'] = {**arguments['fmp'], 'heads': 2}
        arguments |= {'decoder_mlp_dim': 64, 'sam_scale': 1}
    return {**small, 'arguments': arguments, 'input_size': SIZE}


def shrink_settings(config: TrainConfig, folder: Path) -> list[str]:
    """The settings that make a configuration a short run on little data.

    Args:
        config: As shipped.
        folder: Where all of it goes.

    Returns:
        `name=value` each.
    """
    precision = config.machine.precision
    if precision == '16-mixed' and not torch.cuda.is_available():
        precision = 'bf16-mixed'
    settings = [
        f'zoo={folder}/zoo.yaml', f'cache_dir={folder}/cache', f'output_dir={folder}/run',
        "start=''", 'threads=1', f'machine.precision={precision}', 'machine.accelerator=cpu',
        'machine.readers=0', 'data.min_frames=2', 'augmentation.piece=[]', 'schedule.epochs=0',
        f'schedule.steps={LAST}', 'schedule.max_minutes=0', 'schedule.batch_size=2',
        'schedule.accumulate=1', 'optimizer.warmup_steps=2', 'optimizer.warmup_epochs=0',
        'validation.epochs=0', 'validation.steps=2', 'validation.frames=2', 'data.size=[]',
    ]  # fmt: skip
    if config.schedule.sizes:
        settings += ['schedule.sizes=[[32, 64]]', 'schedule.size_ends=[0.5]']
    if config.dataset == SIMULATED:
        settings += ['data.seeds=[1000, 1001]', 'data.frames_per_drive=2', 'data.duration_s=2.0',
                     'validation.seeds=[900, 901]']  # fmt: skip
    else:
        settings += [f'root={folder}/data', 'data.partial=true']
    if config.latents.file:
        settings += [f'latents.file={folder}/run/latents.safetensors', 'latents.steps=4',
                     'latents.batch_size=2', 'latents.discriminator_width=4',
                     'latents.discriminator_layers=2', 'latents.weights.perceptual=0.0',
                     "latents.features=''"]  # fmt: skip
    return settings


class SmokeRun:
    """One configuration in small.

    Args:
        name: Of the configuration.
        folder: Where all of it goes; it is made.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.path, self.folder = CONFIGS / f'{name}.yaml', folder
        folder.mkdir(parents=True, exist_ok=True)
        shipped = load_config(self.path)
        self.settings = shrink_settings(shipped, folder)
        entry = shrink_entry(dict(read_entries(Path(shipped.zoo))[shipped.model]))
        text = yaml.safe_dump({'models': {shipped.model: entry}})
        (folder / 'zoo.yaml').write_text(text, encoding='utf-8')
        self.config = load_config(self.path, self.settings)
        if self.config.dataset != SIMULATED:
            splits = (self.config.data.split, self.config.validation.split)
            fabricate(self.config.dataset, folder / 'data', splits)

    @property
    def steps(self) -> dict[str, Callable[[], None]]:
        """What is done, in order."""
        first = {'latents': self.train_latents} if self.config.latents.file else {}
        return {
            **first, 'train': self.train, 'resume': self.resume, 'evaluate': self.evaluate,
            'export': self.export, 'drive': self.drive,
        }  # fmt: skip

    def train_latents(self) -> None:
        """Train the first stage, past the step at which the adversary begins to play."""
        latents.main([str(self.path), *self.settings])
        file = Path(self.config.latents.file)
        state = load_run(file.with_name(file.name + '.run'))
        if state['step'] != 4 or not state['adversary']['state']:
            raise AssertionError(f'the adversary did not play until step {state["step"]}')

    def train(self) -> None:
        """Train past the warm-up and a validation."""
        train.main([str(self.path), *self.settings, f'schedule.steps={FIRST}'])
        self._check(FIRST)

    def resume(self) -> None:
        """Go on with the same run to its end."""
        train.main([str(self.path), *self.settings])
        self._check(LAST)

    def _check(self, wanted: int) -> None:
        state = load_run(Path(self.config.output_dir) / 'run.pt')
        if state['step'] != wanted:
            raise AssertionError(f'the run is at step {state["step"]}, expected {wanted}')

    def evaluate(self) -> None:
        """Measure the run, by its folder alone."""
        arguments = [self.config.output_dir, self.config.dataset, '--subsets', 'full']
        arguments += ['--out', f'{self.folder}/figures']
        if self.config.dataset == SIMULATED:
            arguments += ['--frames', '1']
        else:
            arguments += ['--root', self.config.root, '--partial']
            arguments += ['--split', self.config.validation.split]
        evaluate.main(arguments)

    def export(self) -> None:
        """Make of the run what a vehicle loads."""
        export.main([self.config.output_dir, '--out', f'{self.folder}/exported'])

    def drive(self) -> None:
        """Segment a frame by the exported zoo, with all of its sensors."""
        zoo = load_zoo(self.folder / 'exported/zoo.yaml')
        expert = load_expert(zoo, self.config.model, self.folder / 'exported/checkpoints')
        if self.config.dataset == SIMULATED:
            frame = SimulatedDrives(self.config.data).read(0)
        else:
            split = self.config.validation.split
            data = open_dataset(self.config.dataset, Path(self.config.root), split, partial=True)
            frame = data.read(0)
        prepared = prepare_frame(frame, expert.spec.inputs, expert.spec.input_size)
        prepared = dataclasses.replace(prepared, notes={})
        _, logits = expert.run([prepared])
        mask, _ = expert.decode(logits[0], frame.bundle.camera)
        if mask.shape != frame.labels.shape or not math.isfinite(float(logits.sum())):
            raise AssertionError(f'mask of {mask.shape} for a frame of {frame.labels.shape}')
        if int(mask.max()) >= len(expert.spec.labels):
            raise AssertionError(f'ids up to {np.unique(mask).tolist()}')


def smoke(name: str, folder: Path, console: Console) -> dict[str, str]:
    """Run one configuration in small.

    Args:
        name: Of the configuration.
        folder: Where all of it goes.
        console: Where it is said what failed.

    Returns:
        Each step with `passed`, or `failed` and why; steps after a failed one are not there.
    """
    done: dict[str, str] = {}
    step = 'open'
    try:
        run = SmokeRun(name, folder)
        for step, act in run.steps.items():
            act()
            done[step] = 'passed'
    except (Exception, SystemExit) as error:
        done[step] = f'failed: {type(error).__name__}: {error}'
        console.print(f'{name}, {step}: {done[step]}', markup=False, soft_wrap=True)
    return done


def configurations() -> list[str]:
    """The shipped configurations whose data can be fabricated here."""
    names = sorted(p.stem for p in CONFIGS.glob('*.yaml') if not p.stem.endswith('_zoo'))
    return [n for n in names if load_config(CONFIGS / f'{n}.yaml').dataset in
            {*WRITERS, SIMULATED}]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog='python -m training.smoke',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--only', default='', metavar='NAME,NAME', help='default: all')
    parser.add_argument('--keep', type=Path, help='folder that is left there')
    arguments = parser.parse_args(argv)
    names = arguments.only.split(',') if arguments.only else configurations()
    console, failed = Console(), False
    with tempfile.TemporaryDirectory() as scratch:
        base = arguments.keep or Path(scratch)
        for name in names:
            began = time.monotonic()
            done = smoke(name, base / name, console)
            failed |= any(result != 'passed' for result in done.values())
            passed = ', '.join(step for step, result in done.items() if result == 'passed')
            took = time.monotonic() - began
            console.print(f'smoke {name}: {passed} ({took:.0f} s)', markup=False, soft_wrap=True)
    if failed:
        sys.exit(1)


if __name__ == '__main__':
    main()
