"""Sizes of the image encoders (SAM ViT, TinyViT, ResNet), without the libraries that build them.

The zoo reads every entry, whichever network runs; torchvision alone takes two seconds to import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

STRIDE = 32
"""Sides of SAM's input must be multiples of this."""


@dataclass(frozen=True)
class SamVitSpec:
    """Everything that fixes a SAM ViT encoder.

    Attributes:
        embed_dim: Channels of the tokens.
        depth: Number of blocks.
        num_heads: Attention heads.
        global_blocks: Blocks that attend over the whole image instead of a window.
        window_size: Side of the attention window of the other blocks, tokens.
        pretrain_size: Side of the square input that the stored position grids belong to, pixels.
        out_channels: Channels of the neck's output.

    Raises:
        ValueError: A field is out of range.
    """

    embed_dim: int
    depth: int
    num_heads: int
    global_blocks: tuple[int, ...]
    window_size: int = 14
    pretrain_size: int = 1024
    out_channels: int = 256

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f'encoder.embed_dim {self.embed_dim} is not a multiple of num_heads '
                f'{self.num_heads}'
            )
        if self.pretrain_size % STRIDE:
            raise ValueError(
                f'encoder.pretrain_size must be a multiple of {STRIDE}, got {self.pretrain_size}'
            )
        if any(not 0 <= index < self.depth for index in self.global_blocks):
            raise ValueError(
                f'encoder.global_blocks must lie in 0..{self.depth - 1}, got {self.global_blocks}'
            )


SAM_VIT_SPECS: Mapping[str, SamVitSpec] = {
    'vit_b': SamVitSpec(768, 12, 12, (2, 5, 8, 11)),
    'vit_l': SamVitSpec(1024, 24, 16, (5, 11, 17, 23)),
    'vit_h': SamVitSpec(1280, 32, 16, (7, 15, 23, 31)),
    'small': SamVitSpec(96, 4, 3, (1, 3), 7, 256, 128),
    'micro': SamVitSpec(16, 2, 2, (1,), 3, 128, 64),
}
"""The three official sizes, one that trains on a CPU, and one for tests."""


@dataclass(frozen=True)
class TinyVitSpec:
    """Everything that fixes MobileSAM's encoder.

    Attributes:
        embed_dims: Channels of the four stages.
        depths: Blocks per stage; the first stage's are convolutions.
        num_heads: Attention heads per stage, the first unused.
        window_sizes: Side of the attention window per stage, tokens, the first unused.
        out_channels: Channels of the neck's output.

    Raises:
        ValueError: Channels that are not a multiple of the heads.
    """

    embed_dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    num_heads: tuple[int, int, int, int]
    window_sizes: tuple[int, int, int, int]
    out_channels: int = 256

    def __post_init__(self) -> None:
        if any(dim % heads for dim, heads in zip(self.embed_dims, self.num_heads, strict=True)):
            raise ValueError(
                f'encoder.embed_dims {self.embed_dims} are not multiples of num_heads '
                f'{self.num_heads}'
            )


TINY_VIT_SPECS: Mapping[str, TinyVitSpec] = {
    'mobile_sam': TinyVitSpec((64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)),
    'mobile_micro': TinyVitSpec((8, 8, 16, 16), (1, 1, 1, 1), (1, 2, 2, 2), (3, 3, 3, 3), 64),
}
"""MobileSAM's, and one for tests."""


@dataclass(frozen=True)
class SamBackboneSpec:
    """Which SAM encoder a network has, and how it is kept.

    Attributes:
        size: Key of `SAM_VIT_SPECS` or `TINY_VIT_SPECS`.
        freeze: Whether it is not trained. Networks without SAM's weights train theirs.
        half: Whether a frozen encoder is kept, and runs, in bfloat16.
        checkpoint_blocks: See `SamVit`.

    Raises:
        ValueError: An unknown size, or half precision for an encoder that is trained.
    """

    size: str
    freeze: bool = True
    half: bool = False
    checkpoint_blocks: bool = False

    def __post_init__(self) -> None:
        sizes = [*SAM_VIT_SPECS, *TINY_VIT_SPECS]
        if self.size not in sizes:
            raise ValueError(f'backbone.size must be one of {sizes}, got {self.size!r}')
        if self.half and not self.freeze:
            raise ValueError('backbone.half is for a frozen encoder, set freeze too')


@dataclass(frozen=True)
class ResNetSpec:
    """Shape of the trained encoder.

    Attributes:
        layers: Blocks per stage.
        width: Channels of the stem; the decoder's normalisation needs a multiple of 32.
        bottleneck: Three-layer blocks with four times the channels, instead of two-layer ones.

    Raises:
        ValueError: A field is out of range.
    """

    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    bottleneck: bool = True

    def __post_init__(self) -> None:
        if min(self.layers) < 1:
            raise ValueError(f'resnet.layers must be positive counts, got {self.layers}')
        if self.width < 1 or self.width % 32 or (self.bottleneck and self.width != 64):
            raise ValueError(
                f'resnet.width must be a multiple of 32, and 64 with bottleneck, got {self.width}'
            )


BRANCHES = ('resnet', 'efficientnet_lite0')
"""Convolutional encoders of AD-SAM: the paper's, and a small one for a CPU."""


@dataclass(frozen=True)
class AdSamArguments:
    """What `AdSam` is built from.

    Attributes:
        backbone: SAM's encoder.
        branch: Trained encoder: a ResNet of the shape `resnet`, or EfficientNet-lite0.
        resnet: See `branch`.
        resnet_weights: `resnet50` to start from torchvision's ImageNet weights (a key of
            `weights.WEIGHT_FILES`); empty starts from scratch.

    Raises:
        ValueError: Weights that do not fit.
    """

    backbone: SamBackboneSpec
    branch: str = 'resnet'
    resnet: ResNetSpec = ResNetSpec()
    resnet_weights: str = ''

    def __post_init__(self) -> None:
        if self.resnet_weights not in ('', 'resnet50'):
            raise ValueError(
                f"resnet_weights must be 'resnet50' or empty, got {self.resnet_weights!r}"
            )
        if self.branch not in BRANCHES:
            raise ValueError(f'branch must be one of {BRANCHES}, got {self.branch!r}')
        if self.branch != 'resnet' and (self.resnet_weights or self.resnet != ResNetSpec()):
            raise ValueError(f'resnet and resnet_weights do not go with branch {self.branch}')
        if self.resnet_weights and self.resnet != ResNetSpec():
            raise ValueError(f'resnet_weights resnet50 do not fit {self.resnet}')


@dataclass(frozen=True)
class LatentSpec:
    """Shape of an autoencoder.

    The paper gives only f = 4. Width, dimension and decay are the defaults of the code that its
    scripts use; 1024 codes instead of that code's 2048 are our default for small datasets.

    Attributes:
        width: Channels at full resolution; they double at each of the two steps down.
        dim: Channels of a token.
        num_codes: Codes of the codebook.
        quantize: Whether tokens are codes (as in the paper) or continuous (as in its scripts).
        decay: Of the codebook's moving averages.

    Raises:
        ValueError: A field is out of range.
    """

    width: int = 240
    dim: int = 256
    num_codes: int = 1024
    quantize: bool = True
    decay: float = 0.99

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 4:
            raise ValueError(f'latent.width must be a multiple of 4, got {self.width}')


@dataclass(frozen=True)
class FmpSpec:
    """Shape of the fusion. The paper gives none of these numbers.

    Attributes:
        heads: Attention heads.
        ffn_ratio: Hidden width of the feed-forward layers over the tokens' channels.
        window: Side of the attention window, tokens; 0 attends over the whole map. 8 keeps large
            inputs affordable.
        points: Most confident pixels per class that become the point prompt (the paper's 10).
        literal: Whether Eq. 10-13 are followed to the letter: tokens enter without a layer of
            their own, z_0 comes from the two modalities alone, and the last attention reads it
            by the projections of Eq. 10, the keys and values of the first modality and the
            queries of the second (Eq. 12). Without it, it has projections of its own, and z_0
            asks the first fusion, as the small network was trained.

    Raises:
        ValueError: A field is out of range.
    """

    heads: int = 8
    ffn_ratio: int = 4
    window: int = 0
    points: int = 10
    literal: bool = False

    def __post_init__(self) -> None:
        if min(self.heads, self.ffn_ratio, self.points) < 1 or self.window < 0:
            raise ValueError(f'fmp fields must be positive, window 0 or more, got {self}')


@dataclass(frozen=True)
class FusionSamArguments:
    """What `FusionSam` is built from.

    Attributes:
        backbone: SAM's encoder.
        latent: Shape of the autoencoders.
        fmp: Shape of the fusion.
        decoder_mlp_dim: Hidden width of the decoder's transformer.
        sam_scale: Size of SAM's input over that of the images.
        freeze_latents: Whether the autoencoders, trained before, are not trained.
        freeze_prompt_encoder: Whether SAM's prompt encoder is not trained; the paper trains all
            but the image encoder.
        output: `main` takes SAM's logits; `mean` the mean with the coarse ones.

    Raises:
        ValueError: Another output.
    """

    backbone: SamBackboneSpec
    latent: LatentSpec = field(default_factory=LatentSpec)
    fmp: FmpSpec = field(default_factory=FmpSpec)
    decoder_mlp_dim: int = 2048
    sam_scale: int = 4
    freeze_latents: bool = False
    freeze_prompt_encoder: bool = False
    output: str = 'main'

    def __post_init__(self) -> None:
        if self.output not in ('main', 'mean'):
            raise ValueError(f"output must be 'main' or 'mean', got {self.output!r}")


def check_sides(shape: Sequence[int], network: str = 'SAM') -> tuple[int, int]:
    """Refuse images whose sides an encoder cannot take.

    Args:
        shape: Of the images, (..., H, W).
        network: As people call it.

    Returns:
        `(H, W)`, pixels.

    Raises:
        ValueError: A side is not a multiple of 32.
    """
    height, width = shape[-2], shape[-1]
    if height % STRIDE or width % STRIDE:
        raise ValueError(
            f'{network} needs input sides that are multiples of {STRIDE}, got {height}x{width}'
        )
    return height, width
