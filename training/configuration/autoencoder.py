"""Configuration of the first stage of FusionSAM: its autoencoders."""

from __future__ import annotations

from dataclasses import dataclass, field

RECONSTRUCTIONS = ('l1', 'l2')


@dataclass(frozen=True)
class VqganWeights:
    """Weights of the terms.

    Attributes:
        reconstruction: Of the distance between image and reconstruction.
        distance: `l1`, or `l2` as the paper writes it.
        perceptual: Of the distance in feature space (alpha); needs a feature network.
        adversarial: Of the generator's hinge loss (beta); needs a discriminator.
        commitment: Of the distance between features and codes (gamma times 0.25). The codes
            follow by moving averages, which takes the place of the formula's first term.
        adversarial_start: Share of the training after which the adversarial term counts.

    Raises:
        ValueError: A field is out of range.
    """

    reconstruction: float = 1.0
    distance: str = 'l1'
    perceptual: float = 1.0
    adversarial: float = 0.1
    commitment: float = 0.25
    adversarial_start: float = 0.3

    def __post_init__(self) -> None:
        if self.distance not in RECONSTRUCTIONS:
            raise ValueError(f'distance must be one of {RECONSTRUCTIONS}, got {self.distance!r}')
        weights = (self.reconstruction, self.perceptual, self.adversarial, self.commitment)
        if min(weights) < 0:
            raise ValueError(f'weights must be 0 or more, got {weights}')
        if not 0 <= self.adversarial_start <= 1:
            raise ValueError(f'adversarial_start must be in [0, 1], got {self.adversarial_start}')


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
