"""Facts of the stage of a run that trains autoencoders alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.vqgan_losses import VqganWeights


@dataclass(frozen=True)
class LatentStageConfig:
    """FusionSAM's first stage, which trains its autoencoders alone: `python -m training.latents`.

    Attributes:
        file: Where the first stage writes them and the second reads them; empty for a network
            that has none, or trains them with the rest.
        steps: Optimizer steps.
        batch_size: Frames per step.
        lr: Learning rate of autoencoders and discriminators, Adam with betas 0.5 and 0.9.
        clip: Largest gradient norm.
        discriminator_width: Channels of the first layer of the discriminators.
        discriminator_layers: Their layers with stride 2, less one.
        weights: Of the terms. The perceptual one needs `features`.
        features: `resnet50` compares images by torchvision's ResNet-50 from the checkpoint
            folder; empty does not.

    Raises:
        ValueError: A field is out of range, or the weights need features that there are not.
    """

    file: str = ''
    steps: int = 10000
    batch_size: int = 8
    lr: float = 3e-4
    clip: float = 1.0
    discriminator_width: int = 64
    discriminator_layers: int = 3
    weights: VqganWeights = field(default_factory=lambda: VqganWeights(perceptual=0.0))
    features: str = ''

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1:
            raise ValueError('steps and batch_size must be 1 or more')
        if self.features not in ('', 'resnet50'):
            raise ValueError(f"features must be 'resnet50' or empty, got {self.features!r}")
        if (self.weights.perceptual > 0) != bool(self.features):
            raise ValueError(
                f'weights.perceptual {self.weights.perceptual:g} and features '
                f'{self.features!r} do not go together'
            )
