from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

from sam_ad_perception.modeling.encoders.pool import EncoderPool
from sam_ad_perception.modeling.encoders.sam_vit import SamVit
from sam_ad_perception.modeling.encoders.specs import TINY_VIT_SPECS, SamBackboneSpec, SamVitSpec
from sam_ad_perception.modeling.encoders.tiny_vit import TinyVit, WindowAttention
from sam_ad_perception.modeling.networks.ad_sam import AdSam, ResNet, ResNetSpec
from sam_ad_perception.modeling.runtimes.onnx_export import export_onnx
from sam_ad_perception.modeling.zoo.checkpoints import CheckpointError, load_sam
from sam_ad_perception.modeling.zoo.downloads import WEIGHT_FILES

OFFICIAL_LAYOUT = '3bae6e53e8e0674c86d3c03f785efa7e75a0d52c6e1db6c2ddec68ca450df98b'
"""sha256 of the lines `name shape`, sorted, of the official module's state, head included."""


def randomised(name: str) -> TinyVit:
    torch.manual_seed(0)
    encoder = TinyVit(TINY_VIT_SPECS[name])
    for key, tensor in encoder.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_(std=0.1)
            if key.endswith(('running_var', 'bn.weight')):
                tensor.abs_().add_(0.5)
    return encoder.eval()


def official_file(path: Path, encoder: TinyVit) -> Path:
    """What `mobile_sam.pt` holds, with random values."""
    state = {f'image_encoder.{k}': v.clone() for k, v in encoder.state_dict().items()}
    classifier = {'norm_head.weight': (320,), 'norm_head.bias': (320,)}
    classifier |= {'head.weight': (1000, 320), 'head.bias': (1000,)}
    state |= {f'image_encoder.{k}': torch.randn(shape) for k, shape in classifier.items()}
    prompts = PromptEncoder(256, (64, 64), (1024, 1024), 16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048)
    decoder = MaskDecoder(transformer_dim=256, transformer=transformer)
    state |= {f'prompt_encoder.{k}': v for k, v in prompts.state_dict().items()}
    state |= {f'mask_decoder.{k}': v for k, v in decoder.state_dict().items()}
    torch.save(state, path)
    return path


def test_layout_is_the_official_one_and_loads_from_its_file(tmp_path):
    encoder = randomised('mobile_sam')
    path = official_file(tmp_path / 'mobile_sam.pt', encoder)
    state = torch.load(path, weights_only=True)
    start = 'image_encoder.'
    lines = sorted(
        f'{k.removeprefix(start)} {tuple(v.shape)}'
        for k, v in state.items()
        if k.startswith(start)
    )
    assert hashlib.sha256('\n'.join(lines).encode()).hexdigest() == OFFICIAL_LAYOUT
    # the official file is all this and the names
    official = WEIGHT_FILES['mobile_sam'].size
    content = sum(v.numel() * v.element_size() for v in state.values())
    assert 0 < official - content < 0.005 * official
    other = TinyVit(TINY_VIT_SPECS['mobile_sam']).eval()
    load_sam(path, encoder=other)
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(other(image), encoder(image))


def test_a_file_of_sam_is_refused(tmp_path):
    spec = SamVitSpec(16, 2, 2, (1,), 3, 128, 64)
    state = {f'image_encoder.{k}': v for k, v in SamVit(spec).state_dict().items()}
    torch.save(state, tmp_path / 'sam.pth')
    with pytest.raises(CheckpointError, match=r'missing image_encoder\.patch_embed\.seq'):
        load_sam(tmp_path / 'sam.pth', encoder=TinyVit(TINY_VIT_SPECS['mobile_micro']))


def test_window_attention_equals_loops_over_windows_and_pairs():
    """As the official code forms it: a dictionary of offsets in the order of their appearance."""
    torch.manual_seed(0)
    window, heads, dim = 3, 2, 8
    layer = WindowAttention(dim, heads, window)
    torch.nn.init.normal_(layer.attention_biases)
    torch.nn.init.normal_(layer.norm.bias)  # what the zeros beyond the border become
    places = list(itertools.product(range(window), repeat=2))
    table: dict[tuple[int, int], int] = {}
    for (y, x), (v, u) in itertools.product(places, places):
        table.setdefault((abs(y - v), abs(x - u)), len(table))
    x = torch.randn(2, 4, 7, dim)
    padded = torch.zeros(2, 6, 9, dim)
    padded[:, :4, :7] = x
    expected = torch.zeros_like(padded)
    with torch.no_grad():
        for b, top, left in itertools.product(range(2), (0, 3), (0, 3, 6)):
            tokens = torch.stack([padded[b, top + v, left + u] for v, u in places])
            qkv = layer.qkv(layer.norm(tokens)).view(9, heads, 3, dim // heads)
            out = torch.zeros(9, heads, dim // heads)
            for head in range(heads):
                q, k, v = qkv[:, head].unbind(1)
                scores = q @ k.T / (dim // heads) ** 0.5
                for (i, p), (j, s) in itertools.product(enumerate(places), enumerate(places)):
                    offset = table[abs(p[0] - s[0]), abs(p[1] - s[1])]
                    scores[i, j] += layer.attention_biases[head, offset]
                out[:, head] = scores.softmax(dim=1) @ v
            mixed = layer.proj(out.flatten(1))
            for token, (v, u) in zip(mixed, places, strict=True):
                expected[b, top + v, left + u] = token
        torch.testing.assert_close(layer(x), expected[:, :4, :7], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('size', [(64, 96), (32, 32), (128, 64)])
def test_any_multiple_of_32_gives_a_map_at_stride_16(size):
    encoder = randomised('mobile_micro')
    with torch.inference_mode():
        out = encoder(torch.randn(2, 3, *size))
    assert out.shape == (2, 64, size[0] // 16, size[1] // 16)
    with pytest.raises(ValueError, match='multiples of 32, got 48x64'):
        encoder(torch.randn(1, 3, 48, 64))


def test_a_frozen_encoder_keeps_its_statistics_in_training_and_is_shared():
    pool = EncoderPool()
    encoder = pool.build(SamBackboneSpec('mobile_micro'))
    assert pool.build(SamBackboneSpec('mobile_micro', checkpoint_blocks=True)) is encoder
    network = AdSam(encoder, ResNet(ResNetSpec((1, 1, 1, 1), 32, bottleneck=False)), 19).train()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    network({'camera': torch.randn(2, 3, 64, 96)}).logits.square().mean().backward()
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())
    assert all(p.grad is not None for p in network.fusion.parameters())
    trained = pool.build(SamBackboneSpec('mobile_micro', freeze=False)).train()
    trained(torch.randn(2, 3, 64, 96))
    assert int(trained.patch_embed.seq[0].bn.num_batches_tracked) == 1


def test_recomputing_stages_changes_no_gradient():
    encoder = randomised('mobile_micro')
    image = torch.randn(1, 3, 64, 96)
    gradients = []
    for recompute in (False, True):
        encoder.checkpoint_blocks = recompute
        x = image.clone().requires_grad_()
        encoder(x).square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_half_precision_is_close():
    encoder = randomised('mobile_micro')
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        full = encoder(image)
        half = encoder.freeze(torch.bfloat16)(image)
    assert half.dtype == torch.float32
    assert 0 < (half - full).norm() / full.norm() < 0.03


def test_onnx_runtime_gives_the_same_mask(tmp_path):
    torch.manual_seed(0)
    resnet = ResNet(ResNetSpec((1, 1, 1, 1), 32, bottleneck=False))
    network = AdSam(randomised('mobile_micro').freeze(), resnet, 19).eval()
    inputs = {'camera': torch.randn(1, 3, 64, 96)}
    export_onnx(network, inputs, tmp_path / 'ad_sam.onnx', optimize=False)
    session = onnxruntime.InferenceSession(tmp_path / 'ad_sam.onnx')
    (got,) = session.run(None, {'camera': inputs['camera'].numpy()})
    with torch.inference_mode():
        expected = network(inputs).logits.numpy()
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())
    assert (got.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.999
