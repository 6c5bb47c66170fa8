from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torchvision.ops import deform_conv2d

from sam_ad_perception.modeling.networks.deformable import (
    DeformableConv2d,
    reset_offsets,
    sample_conv2d,
)
from sam_ad_perception.modeling.runtimes.onnx_export import export_onnx


def moved(layer: DeformableConv2d) -> DeformableConv2d:
    for part in (layer.offset, layer.modulation):
        nn.init.normal_(part.weight, std=0.3)
        nn.init.normal_(part.bias, std=0.5)
    return layer


@pytest.mark.parametrize('size', [(5, 7), (1, 1), (1, 9), (12, 2)])
def test_sampled_form_equals_torchvision_also_outside_the_image(size):
    torch.manual_seed(0)
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    offset = torch.randn(2, 18, *size, dtype=torch.float64) * 3
    modulation = torch.rand(2, 9, *size, dtype=torch.float64)
    weight, bias = torch.randn(4, 6, 3, 3).double(), torch.randn(4).double()
    expected = deform_conv2d(x, offset, weight, bias, padding=1, mask=modulation)
    got = sample_conv2d(x, offset, weight, bias, modulation)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_gradients_of_both_forms_are_equal():
    torch.manual_seed(0)
    layer = moved(DeformableConv2d(4, 3)).double()
    x = torch.randn(1, 4, 6, 8, dtype=torch.float64, requires_grad=True)
    gradients = []
    for form in ('torchvision', 'grid_sample'):
        layer.form = form
        out = layer(x).square().sum()
        gradients.append(torch.autograd.grad(out, [x, *layer.parameters()]))
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-8, atol=1e-8)


def test_starts_as_half_of_a_plain_convolution():
    layer = DeformableConv2d(5, 2)
    x = torch.randn(1, 5, 7, 9)
    bias = layer.conv.bias[:, None, None]
    torch.testing.assert_close(layer(x) - bias, 0.5 * (layer.conv(x) - bias))


def test_offsets_are_zero_again_after_a_global_initialisation():
    network = nn.Sequential(DeformableConv2d(4, 4), nn.Sequential(DeformableConv2d(4, 2)))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.ones_(module.bias)
    reset_offsets(network)
    for name, parameter in network.named_parameters():
        assert bool(parameter.any()) == ('.conv.' in name), name


class Output(NamedTuple):
    logits: torch.Tensor
    gate: torch.Tensor | None = None


class OneLayer(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.layer = moved(DeformableConv2d(4, 3, form))

    def forward(self, inputs, *, with_aux=True):
        return Output(self.layer(inputs['camera']))


@pytest.mark.parametrize(
    ('form', 'operator'),
    [('auto', 'DeformConv'), ('torchvision', 'DeformConv'), ('grid_sample', 'GridSample')],
)
def test_onnx_runtime_gives_the_same_numbers(form, operator, tmp_path: Path):
    torch.manual_seed(1)
    network = OneLayer(form).eval()
    x = torch.randn(2, 4, 6, 10)
    export_onnx(network, {'camera': x}, tmp_path / 'layer.onnx')
    assert operator in {node.op_type for node in onnx.load(tmp_path / 'layer.onnx').graph.node}
    session = onnxruntime.InferenceSession(tmp_path / 'layer.onnx')
    (got,) = session.run(['logits'], {'camera': x.numpy()})
    with torch.inference_mode():
        expected = network({'camera': x}).logits.numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_refuses_an_unknown_form():
    with pytest.raises(ValueError, match=r"form must be one of .* got 'fast'"):
        DeformableConv2d(2, 2, 'fast')
