"""Losses of FusionSAM's latent space tokens: its first stage of training, one modality at a time.

min over E, G, C and max over D of L_rec + alpha L_perc + beta L_adv + gamma L_commit (FusionSAM,
arXiv 2408.13980). The paper gives no weights; the defaults are ours, except for the 0.25 of the
commitment and the hinge form, which are those of the code family that its scripts use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam_ad_perception.modeling.networks.latent_autoencoder import LatentOutput
from training.configuration.autoencoder import VqganWeights

Features = Callable[[Tensor], Sequence[Tensor]]
"""Maps images (B, C, H, W) in [-1, 1] to feature maps of any number and size."""


class GeneratorLoss(NamedTuple):
    """The weighted sum and its unweighted terms, scalars; a term that is off is zero.

    Attributes:
        total: What to minimise over encoder and decoder.
        reconstruction: Distance of image and reconstruction.
        perceptual: Distance in feature space.
        adversarial: Minus the discriminator's mean score of the reconstruction.
        commitment: Distance of features and codes.
    """

    total: Tensor
    reconstruction: Tensor
    perceptual: Tensor
    adversarial: Tensor
    commitment: Tensor


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches as real or reconstructed (PatchGAN, arXiv 1611.07004).

    Args:
        channels: Channels of the image.
        width: Channels of the first layer; they double up to eight times that.
        layers: Layers with stride 2.
    """

    def __init__(self, channels: int, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        count = width
        for index in range(1, layers + 1):
            out = width * min(2**index, 8)
            stride = 2 if index < layers else 1
            parts += [
                nn.Conv2d(count, out, 4, stride, 1, bias=False),
                nn.InstanceNorm2d(out, affine=True),
                nn.LeakyReLU(0.2),
            ]
            count = out
        parts.append(nn.Conv2d(count, 1, 4, 1, 1))
        self.layers = nn.Sequential(*parts)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, C, H, W) in [-1, 1] to scores (B, 1, h, w); real images should score high."""
        scores: Tensor = self.layers(image)
        return scores


def perceptual_distance(features: Features, first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of two images in the space of a given network.

    Args:
        features: The network; nothing is downloaded here.
        first: (B, C, H, W) in [-1, 1].
        second: The same shape.

    Returns:
        Scalar, the sum over the network's feature maps.
    """
    pairs = zip(features(first), features(second), strict=True)
    distances = [F.mse_loss(a.float(), b.float()) for a, b in pairs]
    return torch.stack(distances).sum()


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's hinge loss: 0.5 * mean(max(0, 1 - real) + max(0, 1 + fake)).

    Args:
        real: Scores of real images, any shape.
        fake: Scores of reconstructions, any shape.

    Returns:
        Scalar.
    """
    return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean())


class VqganLoss:
    """Both players' losses for one modality.

    Args:
        weights: Weights of the terms.
        features: Network for the perceptual term, in inference mode with frozen parameters.
        discriminator: The adversary.

    Raises:
        ValueError: A positive weight without the network that it needs.
    """

    def __init__(
        self,
        weights: VqganWeights,
        features: Features | None = None,
        discriminator: PatchDiscriminator | None = None,
    ) -> None:
        if weights.perceptual > 0 and features is None:
            raise ValueError(
                f'perceptual weight {weights.perceptual} needs a feature network; '
                'set it to 0 to train without'
            )
        if weights.adversarial > 0 and discriminator is None:
            raise ValueError(
                f'adversarial weight {weights.adversarial} needs a discriminator; '
                'set it to 0 to train without'
            )
        self.weights = weights
        self.features = features
        self.discriminator = discriminator

    def adversary_counts(self, progress: float) -> bool:
        """Whether the adversarial game is on at this share [0, 1] of the training."""
        return self.weights.adversarial > 0 and progress >= self.weights.adversarial_start

    def generator(self, image: Tensor, output: LatentOutput, progress: float) -> GeneratorLoss:
        """Loss of encoder and decoder.

        The backward pass leaves gradients in the discriminator too; clear them before its step.

        Args:
            image: (B, C, H, W) in [-1, 1].
            output: What the autoencoder made of it.
            progress: Share of the training done, in [0, 1].

        Returns:
            The sum and its terms.
        """
        w = self.weights
        distance = F.l1_loss if w.distance == 'l1' else F.mse_loss
        reconstruction = distance(output.reconstruction.float(), image.float())
        zero = reconstruction.new_zeros(())
        perceptual = adversarial = zero
        if w.perceptual > 0:
            assert self.features is not None
            perceptual = perceptual_distance(self.features, image, output.reconstruction)
        if self.adversary_counts(progress):
            assert self.discriminator is not None
            adversarial = -self.discriminator(output.reconstruction).float().mean()
        commitment = output.tokens.commitment
        total = (
            w.reconstruction * reconstruction
            + w.perceptual * perceptual
            + w.adversarial * adversarial
            + w.commitment * commitment
        )
        return GeneratorLoss(total, reconstruction, perceptual, adversarial, commitment)

    def adversary(self, image: Tensor, output: LatentOutput) -> Tensor:
        """Loss of the discriminator; no gradient reaches the autoencoder.

        Args:
            image: (B, C, H, W) in [-1, 1].
            output: What the autoencoder made of it.

        Returns:
            Scalar.

        Raises:
            ValueError: There is no discriminator.
        """
        if self.discriminator is None:
            raise ValueError('there is no discriminator to train')
        fake = self.discriminator(output.reconstruction.detach())
        return hinge_loss(self.discriminator(image), fake)
