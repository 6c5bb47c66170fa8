"""Train FusionSAM's autoencoders: the first of its two stages (arXiv 2408.13980, LSTG).

    python -m training.latents training/configs/fusion_sam_small.yaml [name=value]
    python -m training.train training/configs/fusion_sam_small.yaml [name=value]

One autoencoder per modality, each with a discriminator of its own, on the frames that the second
stage trains on; labels are not read. The result is `latents.file` of the configuration, from
which the second stage takes them, frozen or not as the zoo entry has it. An interrupted run goes
on from `<latents.file>.run`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from sam_ad_perception.modeling.encoders.specs import FusionSamArguments, ResNetSpec
from sam_ad_perception.modeling.networks.ad_sam import ResNet
from sam_ad_perception.modeling.networks.fusion_sam import (
    PIXEL_MEAN,
    PIXEL_STD,
    FusionSam,
    min_max,
)
from sam_ad_perception.modeling.zoo.checkpoints import load_resnet
from sam_ad_perception.modeling.zoo.downloads import WEIGHT_FILES
from sam_ad_perception.modeling.zoo.entries import build_model
from training.configuration.data import SubsetConfig
from training.configuration.run import TrainConfig, load_config
from training.networks.checkpoint import export_weights, load_run, save_run
from training.networks.start import find_entry
from training.optimization.autoencoder_losses import (
    Features,
    GeneratorLoss,
    PatchDiscriminator,
    VqganLoss,
)
from training.optimization.optimizer import seed_draws
from training.runs.batches import BatchReader, OpenFrames, ReadAhead, open_frames, resize_inputs
from training.runs.failures import EXPECTED, TrainingError, explain
from training.runs.machine import open_fabric

BETAS = (0.5, 0.9)
SAVE_STEPS = 500


class ResNetFeatures(nn.Module):
    """The first three stages of a frozen ResNet, for the perceptual term.

    Args:
        resnet: ResNet with ImageNet weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, resnet: ResNet) -> None:
        super().__init__()
        self.resnet = resnet.requires_grad_(False).eval()
        self.register_buffer('mean', torch.tensor(PIXEL_MEAN).view(3, 1, 1))
        self.register_buffer('std', torch.tensor(PIXEL_STD).view(3, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map (B, 1 or 3, H, W) in [-1, 1] to three levels."""
        rgb = (image.expand(-1, 3, -1, -1) + 1) / 2
        levels: list[Tensor] = self.resnet((rgb - self.mean) / self.std)
        return levels[:3]


def load_features(config: TrainConfig) -> ResNetFeatures | None:
    """Load the network that compares images, as far as the configuration wants one.

    Args:
        config: The experiment.

    Returns:
        The network, or None.

    Raises:
        CheckpointError: Its file is absent or another one.
    """
    if not config.latents.features:
        return None
    official = WEIGHT_FILES[config.latents.features]
    resnet = ResNet(ResNetSpec())
    load_resnet(config.checkpoint_folder / official.name, resnet, official.sha256)
    return ResNetFeatures(resnet)


class LatentTrainer:
    """One run of the first stage.

    Args:
        config: The experiment.
        console: Where messages go.

    Raises:
        ValueError: Not a FusionSAM, or no file to write to.
        CheckpointError: The feature network's file is absent or another one.
    """

    def __init__(self, config: TrainConfig, console: Console) -> None:
        stage = config.latents
        self.spec = find_entry(config)
        if not isinstance(self.spec.arguments, FusionSamArguments):
            raise ValueError(f'only FusionSAM has autoencoders, got {config.model!r}')
        if not stage.file:
            raise ValueError('latents.file must name the file to write, got an empty name')
        self.fabric = open_fabric(config.machine)
        if self.fabric.world_size > 1 or config.machine.precision == '16-mixed':
            raise ValueError(
                'the first stage runs in one process, in 32 or bf16-mixed; set machine.devices=1 '
                f'and machine.precision, got {self.fabric.world_size} processes in '
                f'{config.machine.precision}'
            )
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        network = build_model(self.spec)
        assert isinstance(network, FusionSam)
        self.config, self.console, self.path = config, console, Path(stage.file)
        device = self.fabric.device
        self.latents = network.latents.requires_grad_(True).train().to(device)
        self.discriminators = nn.ModuleDict(
            {
                name: PatchDiscriminator(
                    count, stage.discriminator_width, stage.discriminator_layers
                )
                for name, count in self.spec.channels.items()
            }
        ).to(device)
        features = load_features(config)
        self.losses = {
            name: VqganLoss(stage.weights, _on(features, device), self._discriminator(name))
            for name in self.latents
        }
        self.optimizer = torch.optim.Adam(self.latents.parameters(), stage.lr, BETAS)
        self.adversary = torch.optim.Adam(self.discriminators.parameters(), stage.lr, BETAS)
        self.step = 0
        self._resume()

    def _discriminator(self, name: str) -> PatchDiscriminator:
        discriminator = self.discriminators[name]
        assert isinstance(discriminator, PatchDiscriminator)
        return discriminator

    def train_step(self, inputs: dict[str, Tensor]) -> dict[str, GeneratorLoss]:
        """Make one step of every autoencoder and, once it plays, of its discriminator.

        Args:
            inputs: Image (B, C, H, W) of each modality, as the network gets it; brought to the
                input size that the schedule has at this share of the run.

        Returns:
            The terms of each modality, detached.
        """
        progress = self.step / self.config.latents.steps
        seed_draws(self.latents, (self.config.seed, self.step))  # which codes restart
        size = self.config.schedule.input_size(progress) or self.spec.input_size
        inputs = resize_inputs({n: inputs[n].to(self.fabric.device) for n in self.latents}, size)
        images = {name: min_max(image) for name, image in inputs.items()}
        with self.fabric.autocast():
            outputs = {name: self.latents[name](image) for name, image in images.items()}
            terms = {
                name: self.losses[name].generator(images[name], outputs[name], progress)
                for name in self.latents
            }
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack([term.total for term in terms.values()]).sum().backward()
        nn.utils.clip_grad_norm_(self.latents.parameters(), self.config.latents.clip)
        self.optimizer.step()
        if any(loss.adversary_counts(progress) for loss in self.losses.values()):
            self.adversary.zero_grad(set_to_none=True)
            with self.fabric.autocast():
                scores = [self.losses[n].adversary(images[n], outputs[n]) for n in self.latents]
            torch.stack(scores).sum().backward()
            self.adversary.step()
        self.step += 1
        return {n: GeneratorLoss(*(value.detach() for value in t)) for n, t in terms.items()}

    def save(self) -> str:
        """Write the autoencoders in full precision, and the state of the run.

        Returns:
            sha256 of the autoencoders' file.
        """
        state = {name: part.state_dict() for name, part in self._parts().items()}
        save_run(self._run_path, {**state, 'step': self.step})
        return export_weights(self.latents.state_dict(), self.path, half=False)

    @property
    def _run_path(self) -> Path:
        return self.path.with_name(self.path.name + '.run')

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            'latents': self.latents,
            'discriminators': self.discriminators,
            'optimizer': self.optimizer,
            'adversary': self.adversary,
        }

    def _resume(self) -> None:
        if not self._run_path.exists():
            return
        state = load_run(self._run_path)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step = state['step']
        self.console.print(f'resuming {self._run_path} at step {self.step}')

    def run(self, frames: OpenFrames) -> str:
        """Train until the stage is over.

        Args:
            frames: The frames.

        Returns:
            sha256 of the autoencoders' file.

        Raises:
            TrainingError, DatasetError, OSError: It cannot go on; see `failures`.
        """
        stage = self.config.latents
        everything = SubsetConfig(drop=0.0, single=0.0)
        reader = BatchReader(
            frames.source,
            stage.batch_size,
            everything,
            self.config.seed,
            augmentation=self.config.augmentation,
            skip_damaged=self.config.data.skip_damaged,
        )
        ahead = ReadAhead(reader, count(self.step), self.config.machine.readers)
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=self.console) as bar:
            task = bar.add_task('latents', total=stage.steps, completed=self.step)
            while self.step < stage.steps:
                drawn = ahead.next()
                terms = self.train_step(drawn.batch.inputs)
                parts = {n: float(t.reconstruction) for n, t in terms.items()}
                if not all(map(math.isfinite, parts.values())):
                    raise TrainingError(f'the distance is {parts} at step {self.step}, of {drawn}')
                text = ' '.join(f'{name} {part:.3f}' for name, part in parts.items())
                bar.update(task, completed=self.step, description=f'distance {text}')
                if self.step % SAVE_STEPS == 0:
                    frames.check()
                    self.save()
        ahead.close()
        return self.save()


def _on(features: ResNetFeatures | None, device: torch.device) -> Features | None:
    return None if features is None else features.to(device)


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.
    """
    parser = argparse.ArgumentParser(description=__doc__, prog='python -m training.latents')
    parser.add_argument('config', type=Path)
    parser.add_argument('overrides', nargs='*', metavar='name=value')
    arguments = parser.parse_args(argv)
    console = Console()
    try:
        config = load_config(arguments.config, arguments.overrides)
        trainer = LatentTrainer(config, console)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        frames = open_frames(trainer.spec, config, config.data)
        frames.wait(max(config.data.min_frames, config.latents.batch_size), console)
        digest = trainer.run(frames)
    except EXPECTED as error:
        console.print(
            f'the first stage stopped at step {trainer.step}: {explain(error, trainer.path)}; the '
            f'same command goes on from the last of every {SAVE_STEPS} steps',
            soft_wrap=True,
        )
        sys.exit(1)
    console.print(f'wrote {trainer.path}, sha256 {digest}')


if __name__ == '__main__':
    main()
