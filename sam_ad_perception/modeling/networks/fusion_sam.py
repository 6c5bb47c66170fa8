"""FusionSAM: vector-quantised tokens of camera and thermal image, fused into SAM and its prompt.

After "FusionSAM" (arXiv 2408.13980). Its released scripts are partial and take their prompts
from the labels, also in evaluation; here every prompt comes from the network's own coarse
logits. What the paper leaves open follows the defaults named in the docstrings and in
`docs/reference/models.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

from sam_ad_perception.modeling.encoders.pool import EncoderPool, SamEncoder
from sam_ad_perception.modeling.encoders.sam_vit import PATCH
from sam_ad_perception.modeling.encoders.specs import (
    FmpSpec,
    FusionSamArguments,
    LatentSpec,
)
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.networks.fusion_mask_prompt import (
    CoarsePrompts,
    FusionMaskPrompting,
)
from sam_ad_perception.modeling.networks.latent_autoencoder import (
    STRIDE,
    LatentAutoencoder,
    LatentDecoder,
)

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
"""SAM's normalisation of RGB in [0, 1]."""


class FusionSamOutput(NamedTuple):
    """What `FusionSam` returns.

    Attributes:
        logits: (B, classes, h, w), one fourth of SAM's input size, from one token per class.
        aux_logits: The coarse logits that the prompts come from, at the same size, or None.
        gate: None: both modalities are always used.
        modalities: The two modalities.
        reconstructions: Image (B, C, H, W) in [-1, 1] of each modality from its tokens; empty
            without the auxiliary outputs.
        normalized: What the reconstructions should equal.
        commitment: Scalar, sum over both codebooks.
        fusion_image: (B, 3, H, W), what SAM's encoder sees, nominally in [-1, 1].
        fusion_mask: (B, 1, H/4, W/4) I_f, part of the mask prompt.
    """

    logits: Tensor
    aux_logits: Tensor | None
    gate: Tensor | None
    modalities: tuple[str, ...]
    reconstructions: dict[str, Tensor]
    normalized: dict[str, Tensor]
    commitment: Tensor
    fusion_image: Tensor
    fusion_mask: Tensor


class ClassTokenDecoder(MaskDecoder):
    """SAM's mask decoder with one more output token, and its MLP, per class.

    All parameters of the official decoder keep their names, so its weights load. Its own
    hypernetworks and its IoU head are never read here and are not trained.

    Args:
        dim: Channels.
        num_classes: Classes.
        mlp_dim: Hidden width of the transformer.
    """

    def __init__(self, dim: int, num_classes: int, mlp_dim: int = 2048) -> None:
        super().__init__(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=dim, num_heads=8, mlp_dim=mlp_dim
            ),
            transformer_dim=dim,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )
        self.class_tokens = nn.Embedding(num_classes, dim)
        self.class_mlps = nn.ModuleList(MLP(dim, dim, dim // 8, 3) for _ in range(num_classes))
        self.output_hypernetworks_mlps.requires_grad_(False)
        self.iou_prediction_head.requires_grad_(False)

    def forward(self, image: Tensor, position: Tensor, sparse: Tensor, dense: Tensor) -> Tensor:
        """Decode one mask per class.

        Args:
            image: (B, D, h, w) image embedding.
            position: (1, D, h, w) position code.
            sparse: (B, N, D) prompt tokens.
            dense: (B, D, h, w) embedding of the mask prompt.

        Returns:
            (B, classes, 4 h, 4 w) logits.
        """
        batch = image.shape[0]
        own = (self.iou_token.weight, self.mask_tokens.weight, self.class_tokens.weight)
        tokens = torch.cat(own).expand(batch, -1, -1)
        first = 1 + self.num_mask_tokens
        attended, pixels = self.transformer(
            image + dense, position.expand(batch, -1, -1, -1), torch.cat((tokens, sparse), dim=1)
        )
        pixels = self.output_upscaling(pixels.transpose(1, 2).unflatten(2, image.shape[-2:]))
        kernels = torch.stack(
            [mlp(attended[:, first + c]) for c, mlp in enumerate(self.class_mlps)], dim=1
        )
        return (kernels @ pixels.flatten(2)).unflatten(2, pixels.shape[-2:])


class FusionSam(SegmentationNetwork):
    """Masks from camera and thermal image.

    Args:
        channels: Channels of the two modalities' images, in order.
        encoder: SAM's image encoder; may be shared with another network. Gradients pass through
            it to the fusion image, also when it is frozen.
        prompt_encoder: SAM's.
        decoder: SAM's, with class tokens.
        latent: Shape of the autoencoders.
        fmp: Shape of the fusion.
        sam_scale: Size of SAM's input over that of the images. The paper's 256x256 images need
            4 to fill SAM's 1024x1024.
        freeze_latents: Take the autoencoders, trained before, out of training.

    Raises:
        ValueError: Not two modalities, or parts that do not fit.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        channels: Mapping[str, int],
        encoder: SamEncoder,
        prompt_encoder: PromptEncoder,
        decoder: ClassTokenDecoder,
        latent: LatentSpec,
        fmp: FmpSpec,
        *,
        sam_scale: int = 4,
        freeze_latents: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != 2:
            raise ValueError(f'FusionSAM takes two modalities, got {tuple(channels)}')
        if sam_scale not in (1, 2, 4):
            raise ValueError(f'sam_scale must be 1, 2 or 4, got {sam_scale}')
        self.channels = dict(channels)
        self.sam_scale = sam_scale
        self.encoder = encoder
        self.prompt_encoder = prompt_encoder
        self.decoder = decoder
        self.latents = nn.ModuleDict(
            {name: LatentAutoencoder(count, latent) for name, count in channels.items()}
        )
        self.fmp = FusionMaskPrompting(latent.dim, fmp)
        self.to_image = LatentDecoder(3, latent)
        self.to_mask = nn.Conv2d(latent.dim, 1, 1)
        self.to_classes = nn.Conv2d(latent.dim, decoder.class_tokens.num_embeddings, 1)
        self.prompts = CoarsePrompts(fmp.points)
        self.freeze_latents = freeze_latents
        if freeze_latents:
            self.latents.requires_grad_(False)
        for name, values in (('pixel_mean', PIXEL_MEAN), ('pixel_std', PIXEL_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> FusionSam:
        """Switch to training; frozen autoencoders, with their codebooks, stay as they are."""
        super().train(mode)
        if self.freeze_latents:
            self.latents.eval()
        return self

    def autoencoder(self, modality: str) -> LatentAutoencoder:
        """The autoencoder of a modality, for its own first stage of training."""
        return cast('LatentAutoencoder', self.latents[modality])

    def forward(self, inputs: Mapping[str, Tensor], *, with_aux: bool = True) -> FusionSamOutput:
        """Segment a batch.

        Each image is brought to [-1, 1] by its own minimum and maximum, so any normalisation
        with one mean and deviation for all channels gives the same result.

        Args:
            inputs: Image (B, C, H, W) of both modalities, sides multiples of 32.
            with_aux: Whether to return coarse logits and reconstructions.

        Returns:
            Logits, and what the training needs.

        Raises:
            ValueError: A modality is missing, unknown, or has a wrong shape.
        """
        self._check(inputs)
        names = tuple(self.channels)
        images = {name: min_max(inputs[name]) for name in names}
        tokens = {name: self.autoencoder(name).encode(images[name]) for name in names}
        fused = self.fmp(*(tokens[name].latent for name in names))
        image, mask, coarse = self.to_image(fused), self.to_mask(fused), self.to_classes(fused)
        logits = self._decode(image, mask, coarse)
        reconstructions: dict[str, Tensor] = {}
        aux = None
        if with_aux:
            aux = _resize(coarse, logits.shape)
            reconstructions = {n: self.autoencoder(n).decoder(tokens[n].latent) for n in names}
        commitment = tokens[names[0]].commitment + tokens[names[1]].commitment
        return FusionSamOutput(
            logits, aux, None, names, reconstructions, images, commitment, image, mask
        )

    def _check(self, inputs: Mapping[str, Tensor]) -> None:
        if set(inputs) != set(self.channels):
            raise ValueError(f'FusionSAM takes {tuple(self.channels)}, got {tuple(inputs)}')
        first = next(iter(inputs.values()))
        for name, image in inputs.items():
            expected = (first.shape[0], self.channels[name], *first.shape[-2:])
            if tuple(image.shape) != expected:
                raise ValueError(
                    f'modality {name!r} has shape {tuple(image.shape)}, expected {expected}'
                )

    def _decode(self, image: Tensor, mask: Tensor, coarse: Tensor) -> Tensor:
        """Run SAM on the fusion image with the prompts."""
        height, width = (side * self.sam_scale for side in image.shape[-2:])
        pixels = _resize((image + 1) / 2, (height, width))
        embedding = self.encoder((pixels - self.pixel_mean) / self.pixel_std)
        points, boxes = self.prompts(coarse, self.prompt_encoder, self.decoder.class_tokens.weight)
        prompt = _resize(mask + points, (height // STRIDE, width // STRIDE))
        # as SAM's own forward for masks, without a point that it would add to none
        dense = self.prompt_encoder.mask_downscaling(prompt)
        position = self.prompt_encoder.pe_layer((height // PATCH, width // PATCH))[None]
        return self.decoder(embedding, position, boxes, dense)


def min_max(image: Tensor) -> Tensor:
    """Bring each image of a batch (B, C, H, W) to [-1, 1] by its own minimum and maximum."""
    low = image.amin(dim=(1, 2, 3), keepdim=True)
    high = image.amax(dim=(1, 2, 3), keepdim=True)
    return (image - low) / (high - low + 1e-3) * 2 - 1


def build_prompt_encoder(dim: int, size: tuple[int, int], *, freeze: bool) -> PromptEncoder:
    """Build SAM's prompt encoder.

    Args:
        dim: Channels of the image embedding.
        size: SAM's input size `(H, W)`, pixels.
        freeze: Whether to train none of it; else the parts that are read.

    Returns:
        The prompt encoder.
    """
    encoder = PromptEncoder(
        embed_dim=dim,
        image_embedding_size=(size[0] // PATCH, size[1] // PATCH),
        input_image_size=size,
        mask_in_chans=16,
    )
    encoder.requires_grad_(not freeze)
    encoder.no_mask_embed.requires_grad_(False)
    for unread in encoder.point_embeddings[:2]:
        unread.requires_grad_(False)
    return encoder


def build_fusion_sam(
    arguments: FusionSamArguments,
    channels: Mapping[str, int],
    num_classes: int,
    input_size: tuple[int, int],
    pool: EncoderPool,
) -> FusionSam:
    """Build FusionSAM with fresh weights.

    Args:
        arguments: Its shape.
        channels: Channels of the two modalities' images.
        num_classes: Classes.
        input_size: Size `(H, W)` of the images, pixels, multiples of 32.
        pool: Where its frozen encoder is shared.

    Returns:
        The network.

    Raises:
        ValueError: Parts that do not fit.
    """
    encoder = pool.build(arguments.backbone)
    dim, scale = encoder.spec.out_channels, arguments.sam_scale
    return FusionSam(
        channels,
        encoder,
        build_prompt_encoder(
            dim,
            (input_size[0] * scale, input_size[1] * scale),
            freeze=arguments.freeze_prompt_encoder,
        ),
        ClassTokenDecoder(dim, num_classes, arguments.decoder_mlp_dim),
        arguments.latent,
        arguments.fmp,
        sam_scale=scale,
        freeze_latents=arguments.freeze_latents,
    )


def _resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize (B, C, h, w) to the last two of `size`."""
    if x.shape[-2:] == torch.Size(size[-2:]):
        return x
    return F.interpolate(x, size=list(size[-2:]), mode='bilinear', align_corners=False)
