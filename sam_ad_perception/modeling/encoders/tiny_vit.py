"""MobileSAM's image encoder (arXiv 2306.14289), a TinyViT (arXiv 2207.10666), at any input size.

Written after the published layout: the state-dict keys are those of `mobile_sam.pt`, the numbers
those of the official module at its one size of 1024x1024. It has no absolute positions, so other
sizes need no interpolation. Attention goes through `scaled_dot_product_attention`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sam_ad_perception.modeling.encoders.specs import TinyVitSpec, check_sides
from sam_ad_perception.modeling.network import Shareable

EXPANSION = 4
"""Hidden over outer channels of the convolutional blocks and of the MLPs."""


class ConvNorm(nn.Sequential):
    """A convolution without bias, then batch normalisation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Side of the kernel.
        stride: Stride.
        depthwise: One kernel per channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        groups = in_channels if depthwise else 1
        self.c = nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)


class PatchEmbedding(nn.Module):
    """Two convolutions that bring the image to stride 4.

    Args:
        channels: Channels of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, channels // 2, 3, 2), nn.GELU(), ConvNorm(channels // 2, channels, 3, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, channels, H/4, W/4)."""
        out: Tensor = self.seq(x)
        return out


class ThreeConvolutions(nn.Module):
    """1x1, 3x3 depthwise and 1x1 convolution: a block of the first stage, or a step down.

    Args:
        in_channels: Channels of the input.
        hidden: Channels between.
        out_channels: Channels of the output.
        stride: Of the middle one.
        residual: Add the input, and activate the sum.
    """

    def __init__(
        self, in_channels: int, hidden: int, out_channels: int, stride: int = 1, *, residual: bool
    ) -> None:
        super().__init__()
        self.residual = residual
        self.conv1 = ConvNorm(in_channels, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, stride, depthwise=True)
        self.conv3 = ConvNorm(hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        y: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return F.gelu(x + y) if self.residual else y


class WindowAttention(nn.Module):
    """Attention inside square windows with a learned bias per |dy|, |dx|.

    Args:
        dim: Channels.
        heads: Heads.
        window: Side of a window, tokens.
    """

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))

    def forward(self, x: Tensor) -> Tensor:
        """Attend; x and the result are (B, H, W, dim). Windows at the border see zeros beyond."""
        batch, height, width, dim = x.shape
        side = self.window
        padded = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.view(batch, rows, side, columns, side, dim).transpose(2, 3)
        tokens = self.norm(windows.reshape(-1, side * side, dim))
        # per head its q, k and v lie together
        qkv = self.qkv(tokens).unflatten(2, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, self._offsets()][None]
        out = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=bias)
        out = self.proj(out.transpose(1, 2).flatten(2))
        out = out.view(batch, rows, columns, side, side, dim).transpose(2, 3)
        return out.reshape(padded.shape)[:, :height, :width]

    def _offsets(self) -> Tensor:
        """Column of the bias table for each pair of tokens of a window, (N, N)."""
        position = torch.arange(self.window, device=self.attention_biases.device)
        distance = (position[:, None] - position[None, :]).abs()
        pairs = distance[:, None, :, None] * self.window + distance[None, :, None, :]
        return pairs.flatten(2).flatten(0, 1)


class Mlp(nn.Module):
    """Normalised two-layer perceptron.

    Args:
        dim: Channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, EXPANSION * dim)
        self.fc2 = nn.Linear(EXPANSION * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., dim)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class AttentionBlock(nn.Module):
    """Window attention, a depthwise convolution across the windows' borders, an MLP.

    Args:
        dim: Channels.
        heads: Heads.
        window: Side of a window, tokens.
    """

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.attn = WindowAttention(dim, heads, window)
        self.local_conv = ConvNorm(dim, dim, 3, depthwise=True)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, H, W) to (B, dim, H, W)."""
        x = x + self.attn(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.local_conv(x)
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks, then the step to the next stage, if there is one.

    Args:
        blocks: The blocks.
        downsample: The step.
    """

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the next stage's input."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyVit(nn.Module, Shareable):
    """The image encoder of MobileSAM: four stages at strides 4, 8, 16 and 16, and SAM's neck.

    Args:
        spec: Shape.
        checkpoint_blocks: Recompute each stage in the backward pass instead of keeping its
            activations.
    """

    def __init__(self, spec: TinyVitSpec, *, checkpoint_blocks: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.checkpoint_blocks = checkpoint_blocks
        self.frozen = False
        dims = spec.embed_dims
        self.patch_embed = PatchEmbedding(dims[0])
        self.layers = nn.ModuleList()
        for index, dim in enumerate(dims):
            step = None
            if index < 3:  # the last stage stays at stride 16
                after = dims[index + 1]
                step = ThreeConvolutions(dim, after, after, 2 if index < 2 else 1, residual=False)
            blocks: list[nn.Module] = [
                AttentionBlock(dim, spec.num_heads[index], spec.window_sizes[index])
                if index
                else ThreeConvolutions(dim, EXPANSION * dim, dim, residual=True)
                for _ in range(spec.depths[index])
            ]
            self.layers.append(Stage(blocks, step))
        self.neck = nn.Sequential(
            nn.Conv2d(dims[-1], spec.out_channels, 1, bias=False),
            LayerNorm2d(spec.out_channels),
            nn.Conv2d(spec.out_channels, spec.out_channels, 3, padding=1, bias=False),
            LayerNorm2d(spec.out_channels),
        )

    def freeze(self, dtype: torch.dtype | None = None) -> TinyVit:
        """Take all parameters, and the normalisation's statistics, out of training.

        Args:
            dtype: Lower precision, to halve the memory; None keeps the type.

        Returns:
            The encoder itself.
        """
        self.frozen = True
        self.requires_grad_(False).eval()
        return self if dtype is None else self.to(dtype)

    def train(self, mode: bool = True) -> TinyVit:
        """Switch to training; a frozen encoder keeps its statistics."""
        return super().train(mode and not self.frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images; see `SamVit.forward`."""
        check_sides(x.shape)
        features = self.patch_embed(x.to(next(self.neck.parameters()).dtype))
        for stage in self.layers:
            if self.checkpoint_blocks and torch.is_grad_enabled() and features.requires_grad:
                features = checkpoint(stage, features, use_reentrant=False)
            else:
                features = stage(features)
        out: Tensor = self.neck(features)
        return out.to(x.dtype)
