"""AD-SAM: a frozen SAM encoder beside a trained ResNet, deformable fusion and decoder.

After "AD-SAM" (arXiv 2510.27047) as its co-author's code has it in its second version. The
abstract speaks of deformable attention; that code has modulated deformable convolution with
channel attention, and so has this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from sam_ad_perception.modeling.encoders.efficientnet import EfficientNetLite0
from sam_ad_perception.modeling.encoders.pool import EncoderPool, SamEncoder
from sam_ad_perception.modeling.encoders.specs import AdSamArguments, ResNetSpec
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.networks.deformable import DeformableConv2d, reset_offsets

GROUPS = 8
"""Groups of every group normalisation."""


class AdSamOutput(NamedTuple):
    """What `AdSam` returns.

    Attributes:
        logits: (B, classes, H/4, W/4).
        aux_logits: None; the network has one head.
        gate: None; one modality, no gate.
        modalities: `('camera',)`.
    """

    logits: Tensor
    aux_logits: Tensor | None = None
    gate: Tensor | None = None
    modalities: tuple[str, ...] = ('camera',)


class ResNet(nn.Module):
    """torchvision's ResNet without its classifier, with all four stages as outputs.

    Same state-dict keys as torchvision's, so that its ImageNet weights load. With those, batch
    normalisation uses their statistics and never updates them (as in the paper's code, for batches
    of two); its scale and shift are trained. From nothing there are no statistics to keep: they
    are learned.

    Args:
        spec: Shape.
        keep_statistics: Whether the stored statistics stay as they are in training.
    """

    def __init__(self, spec: ResNetSpec, *, keep_statistics: bool = True) -> None:
        super().__init__()
        self.keep_statistics = keep_statistics
        block = Bottleneck if spec.bottleneck else BasicBlock
        width = spec.width
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        self.channels: list[int] = []
        for stage, count in enumerate(spec.layers):
            planes = width << stage
            out = planes * block.expansion
            blocks = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                shortcut = None
                if stride != 1 or channels != out:
                    shortcut = nn.Sequential(
                        nn.Conv2d(channels, out, 1, stride=stride, bias=False),
                        nn.BatchNorm2d(out),
                    )
                blocks.append(block(channels, planes, stride, shortcut))
                channels = out
            self.add_module(f'layer{stage + 1}', nn.Sequential(*blocks))
            self.channels.append(channels)

    def train(self, mode: bool = True) -> ResNet:
        """Switch to training, in which normalisation statistics that are kept stay as they are."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and self.keep_statistics:
                module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to four levels at strides 4, 8, 16 and 32."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        levels = []
        for stage in range(len(self.channels)):
            x = self.get_submodule(f'layer{stage + 1}')(x)
            levels.append(x)
        return levels


class ChannelAttention(nn.Module):
    """Channel weights from average and maximum (CBAM, arXiv 1807.06521): y = sigmoid(.) x.

    Args:
        channels: Channels.
        reduction: Factor by which the hidden layer is narrower.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of (B, C, H, W)."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        peak = x.amax(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.mlp(mean) + self.mlp(peak))


class DeformableFusion(nn.Module):
    """SAM's features and the deepest ResNet stage become one map at SAM's resolution.

    Args:
        deep_channels: Channels of the ResNet stage.
        channels: Channels of SAM's features and of the output.
    """

    def __init__(self, deep_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(deep_channels, channels, 1)
        self.fuse = DeformableConv2d(2 * channels, channels)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.attention = ChannelAttention(channels)

    def forward(self, sam: Tensor, deep: Tensor) -> Tensor:
        """Fuse (B, C, h, w) and (B, deep_channels, h/2, w/2) into (B, C, h, w)."""
        # a 1x1 convolution commutes with bilinear resizing: it is done first, on fewer pixels
        deep = _resize(self.reduce(deep), (sam.shape[-2], sam.shape[-1]))
        x = self.fuse(torch.cat((sam, deep), dim=1))
        return F.gelu(self.attention(self.norm(x)))


class UpsampleBlock(nn.Module):
    """One step of the decoder: upsample, join a ResNet stage, two deformable convolutions.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        skip_channels: Channels of the ResNet stage, of which a quarter is joined, rounded up to
            what the normalisation divides.
    """

    def __init__(self, in_channels: int, out_channels: int, skip_channels: int) -> None:
        super().__init__()
        joined = -(-skip_channels // (4 * GROUPS)) * GROUPS
        self.skip = nn.Sequential(
            nn.Conv2d(skip_channels, joined, 1), nn.GroupNorm(GROUPS, joined), nn.GELU()
        )
        self.convs = nn.Sequential(
            DeformableConv2d(in_channels + joined, out_channels),
            nn.GroupNorm(GROUPS, out_channels),
            nn.GELU(),
            DeformableConv2d(out_channels, out_channels),
            nn.GroupNorm(GROUPS, out_channels),
            nn.GELU(),
        )

    def forward(self, x: Tensor, skip: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring x and skip to `size` and map them to (B, out_channels, *size)."""
        x = _resize(x, size)
        return self.convs(torch.cat((x, _resize(self.skip(skip), size)), dim=1))


class AdSam(SegmentationNetwork):
    """Masks from the camera.

    The published network has 26,942,320 trained parameters and 663,968,368 in all. Both
    encoders take the same tensor: SAM's normalisation is ImageNet's, times 255.

    Args:
        encoder: SAM's image encoder; may be shared with another network.
        resnet: Trained encoder: the paper's, or a smaller one in its place.
        num_classes: Classes.
    """

    def __init__(
        self, encoder: SamEncoder, resnet: ResNet | EfficientNetLite0, num_classes: int
    ) -> None:
        super().__init__()
        channels = encoder.spec.out_channels
        widths = (channels // 2, channels // 4, channels // 8)
        if widths[-1] % GROUPS:
            raise ValueError(
                f'encoder.out_channels must be a multiple of {8 * GROUPS}, got {channels}'
            )
        stage1, stage2, stage3, stage4 = resnet.channels
        self.encoder = encoder
        self.resnet = resnet
        self.fusion = DeformableFusion(stage4, channels)
        self.up1 = UpsampleBlock(channels, widths[0], stage3)
        self.up2 = UpsampleBlock(widths[0], widths[1], stage2)
        self.up3 = UpsampleBlock(widths[1], widths[2], stage1)
        self.head = nn.Sequential(
            nn.Conv2d(widths[2], widths[2], 3, padding=1),
            nn.GroupNorm(GROUPS, widths[2]),
            nn.GELU(),
            nn.Conv2d(widths[2], num_classes, 1),
        )
        self._initialise()

    def _initialise(self) -> None:
        for part in (self.fusion, self.up1, self.up2, self.up3, self.head):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
            reset_offsets(part)

    def forward(self, inputs: Mapping[str, Tensor], *, with_aux: bool = True) -> AdSamOutput:
        """Segment a batch.

        Args:
            inputs: `camera`: (B, 3, H, W) RGB with ImageNet's normalisation, sides multiples of
                32.
            with_aux: Taken for the common interface; there is no auxiliary head.

        Returns:
            Logits at stride 4. The paper upsamples them bilinearly.

        Raises:
            ValueError: Another modality, or none, or a wrong shape.
        """
        if set(inputs) != {'camera'}:
            raise ValueError(f"AD-SAM takes ('camera',), got {tuple(inputs)}")
        image = inputs['camera']
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(
                f"modality 'camera' has shape {tuple(image.shape)}, expected (B, 3, H, W)"
            )
        stage1, stage2, stage3, stage4 = self.resnet(image)
        x = self.fusion(self.encoder(image), stage4)
        x = self.up1(x, stage3, _size(stage2))
        x = self.up2(x, stage2, _size(stage1))
        x = self.up3(x, stage1, _size(stage1))
        return AdSamOutput(self.head(x))


def build_ad_sam(
    arguments: AdSamArguments, channels: Mapping[str, int], num_classes: int, pool: EncoderPool
) -> AdSam:
    """Build AD-SAM with fresh weights.

    Args:
        arguments: Its shape.
        channels: Channels of each modality's image: `camera` with 3.
        num_classes: Classes.
        pool: Where its frozen encoder is shared.

    Returns:
        The network.

    Raises:
        ValueError: Other modalities, or parts that do not fit.
    """
    if dict(channels) != {'camera': 3}:
        raise ValueError(f"AD-SAM takes {{'camera': 3}} channels, got {dict(channels)}")
    lite = arguments.branch == 'efficientnet_lite0'
    known = bool(arguments.resnet_weights)
    branch = EfficientNetLite0() if lite else ResNet(arguments.resnet, keep_statistics=known)
    return AdSam(pool.build(arguments.backbone), branch, num_classes)


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if _size(x) == size:
        return x
    return F.interpolate(x, size=size, mode='bilinear', align_corners=False)
