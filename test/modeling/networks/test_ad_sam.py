from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import resnet18, resnet50

from sam_ad_perception.modeling.encoders.sam_vit import SamVit
from sam_ad_perception.modeling.encoders.specs import SAM_VIT_SPECS, SamBackboneSpec
from sam_ad_perception.modeling.networks.ad_sam import AdSam, ChannelAttention, ResNet, ResNetSpec
from sam_ad_perception.modeling.networks.deformable import DeformableConv2d
from sam_ad_perception.modeling.runtimes.onnx_export import export_onnx
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo

ROOT = Path(__file__).parents[3]

SMALL_RESNET = ResNetSpec((1, 1, 1, 1), 32, bottleneck=False)


def small(*, freeze: bool = True) -> AdSam:
    torch.manual_seed(0)
    encoder = SamVit(SAM_VIT_SPECS['micro'])
    return AdSam(encoder.freeze() if freeze else encoder, ResNet(SMALL_RESNET), 19)


def step(network: AdSam) -> dict[str, torch.Tensor]:
    """One training step; returns the parameters as they were before."""
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.AdamW((p for p in network.parameters() if p.requires_grad), lr=1e-2)
    logits = network({'camera': torch.randn(2, 3, 64, 96)}).logits
    labels = torch.randint(19, (2, 16, 24))
    nn.functional.cross_entropy(logits, labels).backward()
    optimizer.step()
    return before


def test_the_published_network_has_the_published_parameter_counts():
    start = time.process_time()
    with torch.device('meta'):
        network = AdSam(SamVit(SAM_VIT_SPECS['vit_h']).freeze(), ResNet(ResNetSpec()), 19)
    assert time.process_time() - start < 5
    assert sum(p.numel() for p in network.parameters()) == 663_968_368
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 26_942_320
    parts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()
    }
    assert parts == {
        'encoder': 637_026_048,
        'resnet': 23_508_032,
        'fusion': 1_837_595,
        'up1': 1_156_534,
        'up2': 328_438,
        'up3': 101_782,
        'head': 9_939,
    }


@pytest.mark.parametrize(
    ('spec', 'make'),
    [(ResNetSpec(), resnet50), (ResNetSpec((2, 2, 2, 2), bottleneck=False), resnet18)],
)
def test_resnet_equals_torchvision_with_the_same_weights(spec, make):
    theirs = make(weights=None).eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith('fc.')}
    ours = ResNet(spec).eval()
    ours.load_state_dict(state, strict=True)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        levels = ours(x)
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for stage, level in enumerate(levels):
            y = getattr(theirs, f'layer{stage + 1}')(y)
            torch.testing.assert_close(level, y)
    assert [level.shape[1] for level in levels] == ours.channels


def test_channel_attention_follows_its_formula():
    layer = ChannelAttention(16)
    x = torch.randn(2, 16, 5, 6)
    first, second = layer.mlp[0].weight[:, :, 0, 0], layer.mlp[2].weight[:, :, 0, 0]

    def mlp(v):
        return torch.relu(v @ first.T) @ second.T

    weight = torch.sigmoid(mlp(x.flatten(2).mean(-1)) + mlp(x.flatten(2).max(-1).values))
    torch.testing.assert_close(layer(x), weight[:, :, None, None] * x)


def test_one_step_trains_every_trainable_parameter_and_no_frozen_one():
    network = small().train()
    statistics = {n: b.clone() for n, b in network.named_buffers()}
    before = step(network)
    for name, parameter in network.named_parameters():
        if name.startswith('encoder.'):
            assert parameter.grad is None, name
            assert torch.equal(parameter, before[name]), name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
            assert not torch.equal(parameter, before[name]), name
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, statistics[name]), name


@pytest.mark.parametrize(('key', 'learned'), [('ad_sam_small', True), ('ad_sam', False)])
def test_statistics_are_learned_where_there_are_none_to_keep(key, learned):
    """A branch from nothing would stay at mean 0 and variance 1, as if never normalised."""
    spec = load_zoo(ROOT / 'models/zoo.yaml')[key]
    small = dataclasses.replace(spec.arguments, backbone=SamBackboneSpec('micro', freeze=False))
    network = build_model(dataclasses.replace(spec, arguments=small)).train()
    assert isinstance(network, AdSam)
    image = 3 + torch.randn(2, 3, 64, 96)
    before = network.resnet.bn1.running_mean.clone()
    network({'camera': image})
    after = network.resnet.bn1.running_mean
    if learned:
        with torch.no_grad():
            mean = network.resnet.conv1(image).mean(dim=(0, 2, 3))
        torch.testing.assert_close(after, 0.1 * mean)  # torch's own momentum
    else:
        assert torch.equal(after, before)


def test_encoder_trains_too_when_it_is_not_frozen():
    network = small(freeze=False)
    step(network)
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_offsets_start_at_zero():
    network = small()
    layers = [m for m in network.modules() if isinstance(m, DeformableConv2d)]
    assert len(layers) == 7
    for layer in layers:
        for parameter in (*layer.offset.parameters(), *layer.modulation.parameters()):
            assert not parameter.any()
        assert layer.conv.weight.any()


def test_reload_is_bit_exact(tmp_path: Path):
    network = small()
    step(network)
    network.eval()
    save_file(network.state_dict(), tmp_path / 'net.safetensors')
    other = small()
    other.load_state_dict(load_file(tmp_path / 'net.safetensors'), strict=True)
    x = {'camera': torch.randn(1, 3, 64, 64)}
    with torch.inference_mode():
        assert torch.equal(other.eval()(x).logits, network(x).logits)


def test_batch_equals_single_images():
    network = small().eval()
    x = torch.randn(3, 3, 64, 96)
    with torch.inference_mode():
        batch = network({'camera': x}).logits
        single = torch.cat([network({'camera': image[None]}).logits for image in x])
    assert batch.shape == (3, 19, 16, 24)
    torch.testing.assert_close(batch, single, rtol=1e-4, atol=1e-4)


def test_onnx_runtime_gives_the_same_mask(tmp_path: Path):
    network = small()
    step(network)
    network.eval()
    inputs = {'camera': torch.randn(1, 3, 64, 96)}
    export_onnx(network, inputs, tmp_path / 'net.onnx', optimize=False)
    session = onnxruntime.InferenceSession(tmp_path / 'net.onnx')
    (got,) = session.run(['logits'], {'camera': inputs['camera'].numpy()})
    with torch.inference_mode():
        expected = network(inputs).logits.numpy()
    np.testing.assert_allclose(got, expected, atol=2e-4)
    assert (got.argmax(1) == expected.argmax(1)).mean() > 0.999
    assert len(np.unique(expected.argmax(1))) > 1


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        ({}, r"takes \('camera',\), got \(\)"),
        ({'thermal': torch.zeros(1, 1, 64, 64)}, r"takes \('camera',\), got \('thermal',\)"),
        ({'camera': torch.zeros(1, 1, 64, 64)}, r'shape \(1, 1, 64, 64\), expected'),
        ({'camera': torch.zeros(1, 3, 40, 64)}, 'multiples of 32, got 40x64'),
    ],
)
def test_refuses_wrong_inputs(inputs, message):
    with pytest.raises(ValueError, match=message):
        small()(inputs)
