"""EfficientNet-lite0 as a convolutional encoder: EfficientNet without what phones do badly.

Facts: "EfficientNet" (arXiv 1905.11946) and the `lite` README of its authors' code: no squeeze
and excitation, ReLU6 in place of swish, stem and head as in the smallest size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-3
"""Of every batch normalisation, as in TensorFlow."""


class _Stage(NamedTuple):
    """Blocks of one shape: how many, kernel, stride of the first, expansion, channels."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


STEM_CHANNELS = 32
STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class _SameConv(nn.Conv2d):
    """A convolution with TensorFlow's padding, which is uneven where the stride is 2.

    Args:
        channels: Channels of the input.
        out: Channels of the output.
        kernel: Side of the kernel.
        stride: 1, or 2 for an input of even sides.
        groups: As of `nn.Conv2d`.
    """

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        even = 0 if stride == 2 else kernel // 2
        super().__init__(channels, out, kernel, stride, even, groups=groups, bias=False)
        before = (kernel - 2) // 2
        after = kernel - 2 - before
        self.uneven = (before, after, before, after) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        return super().forward(x if self.uneven is None else F.pad(x, self.uneven))


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel, narrow; added to the input where it fits."""

    def __init__(self, channels: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        wide = channels * stage.expand
        self.widens = stage.expand > 1
        if self.widens:
            self.expand_conv = _SameConv(channels, wide, 1)
            self.bn0 = nn.BatchNorm2d(wide, eps=_EPS)
        self.depthwise_conv = _SameConv(wide, wide, stage.kernel, stride, groups=wide)
        self.bn1 = nn.BatchNorm2d(wide, eps=_EPS)
        self.project_conv = _SameConv(wide, stage.channels, 1)
        self.bn2 = nn.BatchNorm2d(stage.channels, eps=_EPS)
        self.adds = stride == 1 and channels == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out, H / stride, W / stride)."""
        y = F.relu6(self.bn0(self.expand_conv(x))) if self.widens else x
        y = F.relu6(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-lite0 without its classifier, with the last block of each stride as outputs.

    Module names are those of the published PyTorch weights without their leading underscores.
    Batch normalisation always uses its stored statistics, as `ad_sam.ResNet` does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _SameConv(3, STEM_CHANNELS, 3, 2)
        self.bn0 = nn.BatchNorm2d(STEM_CHANNELS, eps=_EPS)
        self.blocks = nn.ModuleList()
        strides: list[int] = []
        widths: list[int] = []
        channels, stride = STEM_CHANNELS, 2
        for stage in STAGES:
            for index in range(stage.blocks):
                step = stage.stride if index == 0 else 1
                self.blocks.append(_Block(channels, stage, step))
                channels, stride = stage.channels, stride * step
                strides.append(stride)
                widths.append(channels)
        last = [i for i, s in enumerate(strides) if i + 1 == len(strides) or strides[i + 1] > s]
        self.outputs = tuple(last[1:])
        """Blocks whose outputs are returned."""
        self.channels = [widths[index] for index in self.outputs]

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Switch to training, in which the normalisation statistics stay as they are."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) to four levels at strides 4, 8, 16 and 32: 24, 40, 112, 320 wide."""
        x = F.relu6(self.bn0(self.conv_stem(x)))
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.outputs:
                levels.append(x)
        return levels
