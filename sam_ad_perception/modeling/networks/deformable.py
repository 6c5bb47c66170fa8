"""Modulated deformable convolution (DCNv2, arXiv 1811.11168) in the forms that we need.

`torchvision` is the reference and is fast on a GPU; `grid_sample` gives the same numbers in less
than half the time on a CPU; `onnx_translations` turns the first into ONNX's own DeformConv.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

FORMS = ('auto', 'torchvision', 'grid_sample')


class DeformableConv2d(nn.Module):
    """A 3x3 convolution whose taps move and are weighted, both as learned from its input.

    With taps k = 1..9 on the regular 3x3 grid p_k: y(p) = sum_k W_k x(p + p_k + dp_k) m_k. The
    offsets dp and the modulation m = sigmoid(.) come from two 3x3 convolutions that start at
    zero, so that the layer starts as one half of a plain convolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        form: `torchvision`, `grid_sample`, or `auto`, which takes the second on a CPU and the
            first elsewhere and for export.

    Raises:
        ValueError: An unknown form.
    """

    def __init__(self, in_channels: int, out_channels: int, form: str = 'auto') -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f'form must be one of {FORMS}, got {form!r}')
        self.form = form
        self.offset = nn.Conv2d(in_channels, 18, 3, padding=1)
        self.modulation = nn.Conv2d(in_channels, 9, 3, padding=1)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Set offsets and modulation to zero; call after any global initialisation."""
        for layer in (self.offset, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (B, in_channels, H, W).

        Returns:
            (B, out_channels, H, W).
        """
        offset, modulation = self.offset(x), self.modulation(x).sigmoid()
        weight, bias = self.conv.weight, self.conv.bias
        assert bias is not None
        if self._uses_grid_sample(x):
            return sample_conv2d(x, offset, weight, bias, modulation)
        return deform_conv2d(x, offset, weight, bias, padding=1, mask=modulation)

    def _uses_grid_sample(self, x: Tensor) -> bool:
        if self.form == 'auto':
            return x.device.type == 'cpu' and not torch.compiler.is_exporting()
        return self.form == 'grid_sample'


def sample_conv2d(
    x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, modulation: Tensor
) -> Tensor:
    """Deformable 3x3 convolution, one bilinear sampling and one product per tap.

    Equal to `torchvision.ops.deform_conv2d` with padding 1: samples outside the input are zero.

    Args:
        x: (B, C, H, W).
        offset: (B, 18, H, W), pixels: for each tap its dy and dx.
        weight: (O, C, 3, 3).
        bias: (O,).
        modulation: (B, 9, H, W).

    Returns:
        (B, O, H, W).
    """
    height, width = x.shape[-2:]
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
    columns = torch.arange(width, device=x.device, dtype=x.dtype)
    flat = x.flatten(2)
    total = bias[:, None, None]
    for tap in range(9):
        v = rows + (tap // 3 - 1) + offset[:, 2 * tap]
        u = columns + (tap % 3 - 1) + offset[:, 2 * tap + 1]
        grid = torch.stack(((2 * u + 1) / width - 1, (2 * v + 1) / height - 1), dim=-1)
        # sampling is linear: it comes after the product, on fewer channels
        mixed = (weight[:, :, tap // 3, tap % 3] @ flat).unflatten(-1, (height, width))
        sampled = F.grid_sample(mixed, grid, padding_mode='zeros', align_corners=False)
        total = torch.addcmul(total, sampled, modulation[:, tap : tap + 1])
    return total


def reset_offsets(network: nn.Module) -> None:
    """Set offsets and modulation of all deformable layers to zero (`reset_offsets` of each)."""
    for module in network.modules():
        if isinstance(module, DeformableConv2d):
            module.reset_offsets()


def onnx_translations() -> Mapping[Any, Callable[..., Any]]:
    """Translations for `torch.onnx.export(dynamo=True, custom_translation_table=...)`.

    Returns:
        A table that maps torchvision's operator to ONNX DeformConv (opset 19 and later).

    Raises:
        ImportError: `onnxscript` is not installed.
    """
    from onnxscript import opset20 as op

    def deform_conv(  # type: ignore[no-untyped-def]
        x, weight, offset, mask, bias, sh, sw, ph, pw, dh, dw, groups, offset_groups, use_mask
    ):
        return op.DeformConv(
            x,
            weight,
            offset,
            bias,
            mask if use_mask else None,
            strides=[sh, sw],
            pads=[ph, pw, ph, pw],
            dilations=[dh, dw],
            group=groups,
            offset_group=offset_groups,
        )

    return {torch.ops.torchvision.deform_conv2d.default: deform_conv}
