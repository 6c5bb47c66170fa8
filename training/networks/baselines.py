"""Small published networks that ours are compared with, trained by the same code.

They are no entries of the zoo: nothing that drives is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from sam_ad_perception.modeling.encoders.efficientnet import EfficientNetLite0
from sam_ad_perception.modeling.network import SegmentationNetwork

DILATIONS = (1, 2, 4, 8, 16)
"""Of the branches of ESPNet's block."""


class BaselineOutput(NamedTuple):
    """What a baseline returns.

    Attributes:
        logits: (B, classes, h, w), whose grid spans the input.
        aux_logits: None; one head.
        gate: None; one modality.
        modalities: `('camera',)`.
    """

    logits: Tensor
    aux_logits: Tensor | None = None
    gate: Tensor | None = None
    modalities: tuple[str, ...] = ('camera',)


def _norm(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels, eps=1e-3), nn.PReLU(channels))


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, _norm(out))


class SpatialPyramid(nn.Module):
    """ESPNet's block: reduce, five dilated convolutions, sums of ever more of them, joined.

    Args:
        channels: Channels of the input.
        out: Channels of the output.
        stride: 2 halves the size; the reduction is a 3x3 convolution then, else a 1x1.
        adds: Whether the input is added to the output.
    """

    def __init__(self, channels: int, out: int, stride: int = 1, *, adds: bool = False) -> None:
        super().__init__()
        narrow = out // len(DILATIONS)
        kernel = 3 if stride == 2 else 1
        self.reduce = nn.Conv2d(channels, narrow, kernel, stride, kernel // 2, bias=False)
        widths = (out - 4 * narrow, narrow, narrow, narrow, narrow)
        self.branches = nn.ModuleList(
            nn.Conv2d(narrow, width, 3, padding=dilation, dilation=dilation, bias=False)
            for width, dilation in zip(widths, DILATIONS, strict=True)
        )
        self.adds = adds
        self.norm = _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, out, H / stride, W / stride)."""
        reduced = self.reduce(x)
        first, total, *others = (branch(reduced) for branch in self.branches)
        maps = [first, total]
        for other in others:
            total = total + other
            maps.append(total)
        joined = torch.cat(maps, dim=1)
        return self.norm(x + joined if self.adds else joined)


class EspNet(SegmentationNetwork):
    """ESPNet (arXiv 1803.06815) with 2 and 8 blocks: 0.36 M parameters for 20 classes.

    Args:
        num_classes: Classes.
        depths: Blocks at strides 4 and 8, beside those that halve the size.
    """

    def __init__(self, num_classes: int, depths: tuple[int, int] = (2, 8)) -> None:
        super().__init__()
        self.stem = _conv(3, 16, 3, 2)
        self.norm1 = _norm(16 + 3)
        self.down2 = SpatialPyramid(16 + 3, 64, 2)
        self.blocks2 = _pyramids(64, depths[0])
        self.norm2 = _norm(2 * 64 + 3)
        self.down3 = SpatialPyramid(2 * 64 + 3, 128, 2)
        self.blocks3 = _pyramids(128, depths[1])
        self.norm3 = _norm(2 * 128)
        self.project3 = nn.Sequential(
            nn.Conv2d(2 * 128, num_classes, 1, bias=False),
            nn.BatchNorm2d(num_classes, eps=1e-3),
            _double(num_classes),
        )
        self.project2 = nn.Conv2d(2 * 64 + 3, num_classes, 1, bias=False)
        self.merge2 = nn.Sequential(
            _norm(2 * num_classes),
            SpatialPyramid(2 * num_classes, num_classes),
            _double(num_classes),
            _norm(num_classes),
        )
        self.merge1 = _conv(16 + 3 + num_classes, num_classes, 3)
        self.head = _double(num_classes)

    def forward(self, inputs: Mapping[str, Tensor], *, with_aux: bool = True) -> BaselineOutput:
        """Segment `camera`, (B, 3, H, W), sides multiples of 8; logits at stride 1."""
        image = inputs['camera']
        half = F.avg_pool2d(image, 3, stride=2, padding=1)
        quarter = F.avg_pool2d(half, 3, stride=2, padding=1)
        level1 = self.norm1(torch.cat((self.stem(image), half), dim=1))
        down = self.down2(level1)
        level2 = self.norm2(torch.cat((self.blocks2(down), down, quarter), dim=1))
        down = self.down3(level2)
        level3 = self.norm3(torch.cat((down, self.blocks3(down)), dim=1))
        x = torch.cat((self.project2(level2), self.project3(level3)), dim=1)
        x = self.merge1(torch.cat((self.merge2(x), level1), dim=1))
        return BaselineOutput(self.head(x))


def _pyramids(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(SpatialPyramid(channels, channels, adds=True) for _ in range(count)))


def _double(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False)


class DeepLab(SegmentationNetwork):
    """torchvision's DeepLabV3 on MobileNetV3-Large: 11 M parameters.

    Args:
        num_classes: Classes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        network = deeplabv3_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=num_classes
        )
        self.backbone, self.classifier = network.backbone, network.classifier
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                # torchvision's 0.01 is for 100,000 steps: after a few hundred, what is left of
                # the initial variance of 1 would drown the features
                module.momentum = 0.1

    def forward(self, inputs: Mapping[str, Tensor], *, with_aux: bool = True) -> BaselineOutput:
        """Segment `camera`, (B, 3, H, W), sides multiples of 16; logits at stride 16."""
        return BaselineOutput(self.classifier(self.backbone(inputs['camera'])['out']))


class LiteDeepLab(SegmentationNetwork):
    """DeepLabV3's head on EfficientNet-lite0, to see what ImageNet weights alone bring.

    Args:
        num_classes: Classes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0()
        self.classifier = DeepLabHead(self.backbone.channels[2], num_classes)

    def forward(self, inputs: Mapping[str, Tensor], *, with_aux: bool = True) -> BaselineOutput:
        """Segment `camera`, (B, 3, H, W), sides multiples of 32; logits at stride 16."""
        return BaselineOutput(self.classifier(self.backbone(inputs['camera'])[2]))
