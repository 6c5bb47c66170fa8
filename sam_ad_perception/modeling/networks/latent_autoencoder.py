"""FusionSAM's latent space tokens (LSTG): a vector-quantised autoencoder of one modality.

FusionSAM (arXiv 2408.13980) section on LSTG; layers after the VQGAN family to which its
released scripts point: stride 4, replicated borders, group normalisation, SiLU.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn

from sam_ad_perception.modeling.encoders.specs import LatentSpec
from sam_ad_perception.modeling.networks.vector_quantizer import Quantized, VectorQuantizer

STRIDE = 4
"""Pixels per latent token (f = 4)."""


class LatentOutput(NamedTuple):
    """What `LatentAutoencoder` returns.

    Attributes:
        reconstruction: (B, C, H, W).
        tokens: Tokens with commitment and perplexity.
    """

    reconstruction: Tensor
    tokens: Quantized


class ResidualBlock(nn.Module):
    """x + two times (normalise, SiLU, 3x3 convolution).

    Args:
        channels: Channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _norm(channels), nn.SiLU(), _conv(channels, channels, 3),
            _norm(channels), nn.SiLU(), _conv(channels, channels, 3),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        return x + self.layers(x)


class LatentEncoder(nn.Sequential):
    """Image (B, in_channels, H, W) to features (B, dim, H/4, W/4).

    Args:
        in_channels: Channels of the image.
        spec: Shape.
    """

    def __init__(self, in_channels: int, spec: LatentSpec) -> None:
        layers: list[nn.Module] = [_conv(in_channels, spec.width, 3)]
        channels = spec.width
        for _ in range(2):
            down = nn.Conv2d(channels, 2 * channels, 4, 2, 1, padding_mode='replicate')
            channels *= 2
            layers += [down, ResidualBlock(channels)]
        layers += [_norm(channels), nn.SiLU(), nn.Conv2d(channels, spec.dim, 1)]
        super().__init__(*layers)


class LatentDecoder(nn.Sequential):
    """Features (B, dim, h, w) to image (B, out_channels, 4 h, 4 w).

    Args:
        out_channels: Channels of the image.
        spec: Shape.
    """

    def __init__(self, out_channels: int, spec: LatentSpec) -> None:
        channels = 4 * spec.width
        layers: list[nn.Module] = [nn.Conv2d(spec.dim, channels, 1)]
        for _ in range(2):
            up = nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1)
            channels //= 2
            layers += [up, ResidualBlock(channels), ResidualBlock(channels)]
        layers.append(_conv(channels, out_channels, 3))
        super().__init__(*layers)


class LatentAutoencoder(nn.Module):
    """Encoder E, codebook C and decoder G of one modality.

    Args:
        channels: Channels of the modality's image.
        spec: Shape.
    """

    def __init__(self, channels: int, spec: LatentSpec) -> None:
        super().__init__()
        self.encoder = LatentEncoder(channels, spec)
        self.quantizer = VectorQuantizer(
            spec.num_codes, spec.dim, decay=spec.decay, quantize=spec.quantize
        )
        self.decoder = LatentDecoder(channels, spec)

    def encode(self, image: Tensor) -> Quantized:
        """Map an image (B, C, H, W) in [-1, 1], sides multiples of 4, to its tokens."""
        tokens: Quantized = self.quantizer(self.encoder(image))
        return tokens

    def forward(self, image: Tensor) -> LatentOutput:
        """Reconstruct an image (B, C, H, W) in [-1, 1], sides multiples of 4."""
        tokens = self.encode(image)
        return LatentOutput(self.decoder(tokens.latent), tokens)


def _norm(channels: int) -> nn.GroupNorm:
    # 32 groups where they divide the channels, else as many as do
    return nn.GroupNorm(math.gcd(32, channels), channels)


def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels, out_channels, kernel, padding=kernel // 2, padding_mode='replicate'
    )
