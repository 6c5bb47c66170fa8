from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from segment_anything.modeling import MaskDecoder, TwoWayTransformer

from sam_ad_perception.modeling.encoders.pool import EncoderPool
from sam_ad_perception.modeling.encoders.sam_vit import SamVit
from sam_ad_perception.modeling.encoders.specs import SAM_VIT_SPECS, SamBackboneSpec
from sam_ad_perception.modeling.networks.ad_sam import AdSamArguments, build_ad_sam
from sam_ad_perception.modeling.networks.fusion_mask_prompt import (
    CoarsePrompts,
    CrossAttention,
    FmpSpec,
    FusionMaskPrompting,
)
from sam_ad_perception.modeling.networks.fusion_sam import (
    ClassTokenDecoder,
    FusionSam,
    FusionSamArguments,
    build_fusion_sam,
    build_prompt_encoder,
    min_max,
)
from sam_ad_perception.modeling.networks.latent_autoencoder import LatentSpec
from sam_ad_perception.modeling.runtimes.onnx_export import export_onnx
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo

ROOT = Path(__file__).parents[3]

CLASSES = 5
DIM = SAM_VIT_SPECS['micro'].out_channels
SIZE = (64, 96)


def small(*, freeze: bool = True, latents: bool = False, scale: int = 1, **latent) -> FusionSam:
    torch.manual_seed(0)
    encoder = SamVit(SAM_VIT_SPECS['micro'])
    if freeze:
        encoder.freeze()
    sam_size = (SIZE[0] * scale, SIZE[1] * scale)
    return FusionSam(
        {'camera': 3, 'thermal': 1},
        encoder,
        build_prompt_encoder(DIM, sam_size, freeze=freeze),
        ClassTokenDecoder(DIM, CLASSES, 64),
        LatentSpec(8, 16, 32, **latent),
        FmpSpec(heads=2, points=4),
        sam_scale=scale,
        freeze_latents=latents,
    )


def batch(count: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    return {
        'camera': torch.randn(count, 3, *SIZE, generator=generator),
        'thermal': torch.randn(count, 1, *SIZE, generator=generator),
    }


def step(network: FusionSam) -> dict[str, torch.Tensor]:
    """One training step; returns the parameters as they were before."""
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.Adam((p for p in network.parameters() if p.requires_grad), lr=1e-2)
    out = network(batch())
    labels = torch.randint(CLASSES, (2, *out.logits.shape[-2:]))
    loss = F.cross_entropy(out.logits, labels) + F.cross_entropy(out.aux_logits, labels)
    for name, reconstruction in out.reconstructions.items():
        loss = loss + F.l1_loss(reconstruction, out.normalized[name])
    (loss + 0.25 * out.commitment).backward()
    optimizer.step()
    return before


@pytest.mark.parametrize('freeze', [True, False])
def test_one_step_trains_every_trainable_parameter_and_no_frozen_one(freeze):
    network = small(freeze=freeze).train()
    before = step(network)
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    for name, parameter in network.named_parameters():
        if name in frozen:
            assert parameter.grad is None, name
            assert torch.equal(parameter, before[name]), name
        else:
            assert parameter.grad is not None, name
            if not name.endswith('k_proj.bias'):  # softmax does not see it: zero but for rounding
                assert parameter.grad.any(), name
                assert not torch.equal(parameter, before[name]), name
    unread = ('decoder.iou_pred', 'decoder.output_hyper', 'prompt_encoder.no_mask')
    assert all(any(n.startswith(u) for n in frozen) for u in unread)
    assert any(n.startswith('encoder.') for n in frozen) == freeze
    assert any(n.startswith('prompt_encoder.mask_down') for n in frozen) == freeze


def test_frozen_latents_do_not_move_and_neither_do_their_codes():
    network = small(latents=True).train()
    before = {k: v.clone() for k, v in network.latents.state_dict().items()}
    step_loss = network(batch()).logits.square().mean()
    step_loss.backward()
    assert all(p.grad is None for p in network.latents.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.latents.state_dict().items())


def test_the_fusion_image_learns_through_the_frozen_encoder():
    network = small()
    network(batch()).logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.to_image.parameters())


@pytest.mark.parametrize('scale', [1, 2])
def test_sizes_and_fields(scale):
    network = small(scale=scale).eval()
    with torch.inference_mode():
        out = network(batch(3))
        plain = network(batch(3), with_aux=False)
    assert out.logits.shape == (3, CLASSES, SIZE[0] * scale // 4, SIZE[1] * scale // 4)
    assert out.aux_logits.shape == out.logits.shape
    assert out.fusion_image.shape == (3, 3, *SIZE)
    assert out.fusion_mask.shape == (3, 1, SIZE[0] // 4, SIZE[1] // 4)
    assert {n: r.shape for n, r in out.reconstructions.items()} == {
        'camera': (3, 3, *SIZE),
        'thermal': (3, 1, *SIZE),
    }
    assert plain.aux_logits is None
    assert plain.reconstructions == {}
    assert torch.equal(plain.logits, out.logits)


def test_continuous_form_differs_from_the_quantised_one():
    state = small().state_dict()
    outs = []
    for quantize in (True, False):
        network = small(quantize=quantize).eval()
        network.load_state_dict(state)
        with torch.inference_mode():
            outs.append(network(batch()).logits)
    assert not torch.allclose(*outs)


def test_each_modality_matters():
    network = small(quantize=False).eval()
    inputs = batch(1)
    with torch.inference_mode():
        reference = network(inputs).logits
        for name, image in inputs.items():
            other = network(inputs | {name: torch.rand_like(image)}).logits
            assert not torch.allclose(other, reference, atol=1e-4), name


def test_cross_attention_follows_its_formula():
    torch.manual_seed(0)
    layer = CrossAttention(8, FmpSpec(heads=1, ffn_ratio=2))
    x, other = torch.randn(1, 8, 3, 4), torch.randn(1, 8, 3, 4)
    tokens, read = x[0].flatten(1).T, other[0].flatten(1).T
    q, k, v = tokens @ layer.query.weight.T, read @ layer.key.weight.T, read @ layer.value.weight.T
    attended = torch.softmax(q @ k.T / 8**0.5, dim=-1) @ v
    expected = layer.norm(layer.ffn(attended)) + q
    torch.testing.assert_close(layer(x, other)[0].flatten(1).T, expected)
    residual = torch.randn(1, 8, 3, 4)
    torch.testing.assert_close(
        layer(x, other, residual) - residual, (expected - q).T.view(1, 8, 3, 4)
    )


def test_windows_attend_within_themselves():
    torch.manual_seed(0)
    whole, windowed = CrossAttention(8, FmpSpec(2)), CrossAttention(8, FmpSpec(2, window=2))
    windowed.load_state_dict(whole.state_dict())
    x, other = torch.randn(2, 8, 4, 6), torch.randn(2, 8, 4, 6)
    expected = torch.cat(
        [
            torch.cat(
                [
                    whole(x[..., v : v + 2, u : u + 2], other[..., v : v + 2, u : u + 2])
                    for u in range(0, 6, 2)
                ],
                dim=3,
            )
            for v in range(0, 4, 2)
        ],
        dim=2,
    )
    torch.testing.assert_close(windowed(x, other), expected)
    with pytest.raises(ValueError, match=r'multiple of fmp.window 2, got 3x4'):
        windowed(torch.zeros(1, 8, 3, 4), torch.zeros(1, 8, 3, 4))


def test_prompts_are_the_confident_pixels_and_their_box():
    encoder = build_prompt_encoder(DIM, (64, 96), freeze=True)
    coarse = torch.zeros(1, 2, 16, 24)
    coarse[0, 1, 5:8, 10:14] = 50.0  # class 1: rows 5-7, columns 10-13, twelve pixels
    coarse[0, 0, 2, 3:15] = 50.0  # class 0: one row, columns 3-14
    class_tokens = torch.randn(2, DIM)
    mask, tokens = CoarsePrompts(12)(coarse, encoder, class_tokens)
    expected = torch.zeros(16, 24)
    expected[5:8, 10:14] = 1.0
    expected[2, 3:15] = 0.5
    torch.testing.assert_close(mask[0, 0], expected)
    # a grid cell is four pixels wide; SAM adds the half pixel itself
    boxes = torch.tensor([[12.0, 8, 60, 12], [40, 20, 56, 32]]) - 0.5
    corners, _ = encoder(None, boxes, None)
    torch.testing.assert_close(tokens[0].view(2, 2, DIM), corners + class_tokens[:, None])


def test_a_class_that_is_nowhere_likely_gives_no_box():
    encoder = build_prompt_encoder(DIM, (64, 96), freeze=True)
    coarse = torch.zeros(1, 2, 16, 24)
    coarse[:, 1] = 60.0
    mask, tokens = CoarsePrompts(3)(coarse, encoder, torch.randn(2, DIM))
    assert int((mask > 0.01).sum()) == 3
    torch.testing.assert_close(tokens[0, :2], encoder.not_a_point_embed.weight.expand(2, -1))


def test_decoder_keeps_the_official_layout_and_adds_only_the_classes():
    theirs = MaskDecoder(
        transformer_dim=DIM,
        transformer=TwoWayTransformer(depth=2, embedding_dim=DIM, num_heads=8, mlp_dim=64),
    ).state_dict()
    ours = ClassTokenDecoder(DIM, CLASSES, 64).state_dict()
    assert set(theirs) <= set(ours)
    assert all(n.startswith(('class_tokens', 'class_mlps')) for n in set(ours) - set(theirs))


def test_min_max_is_blind_to_scale_and_offset():
    image = torch.rand(2, 3, 8, 8)
    scaled = min_max(image * 1000 - 300)
    torch.testing.assert_close(scaled, min_max(image * 50 + 7), atol=1e-4, rtol=0)
    assert scaled.amin() == -1
    assert 0.999 < scaled.amax() <= 1


def test_reload_is_bit_exact(tmp_path: Path):
    network = small()
    step(network)
    network.eval()
    save_file(network.state_dict(), tmp_path / 'net.safetensors')
    other = small()
    other.load_state_dict(load_file(tmp_path / 'net.safetensors'), strict=True)
    with torch.inference_mode():
        assert torch.equal(other.eval()(batch()).logits, network(batch()).logits)


def test_onnx_runtime_gives_the_same_mask(tmp_path: Path):
    network = small()
    step(network)
    network.eval()
    inputs = batch(1)
    export_onnx(network, inputs, tmp_path / 'net.onnx', optimize=False)
    session = onnxruntime.InferenceSession(tmp_path / 'net.onnx')
    (got,) = session.run(['logits'], {name: x.numpy() for name, x in inputs.items()})
    with torch.inference_mode():
        expected = network(inputs).logits.numpy()
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert (got.argmax(1) == expected.argmax(1)).mean() > 0.999
    assert len(np.unique(expected.argmax(1))) > 1


def test_paper_size_builds_at_once_and_shares_its_encoder_with_ad_sam():
    pool, backbone = EncoderPool(), SamBackboneSpec('vit_h')
    start = time.process_time()
    with torch.device('meta'):
        fusion_sam = build_fusion_sam(
            FusionSamArguments(backbone), {'camera': 3, 'thermal': 1}, 15, (256, 256), pool
        )
        ad_sam = build_ad_sam(AdSamArguments(backbone), {'camera': 3}, 19, pool)
    assert time.process_time() - start < 5
    assert fusion_sam.encoder is ad_sam.encoder
    both = torch.nn.ModuleList([fusion_sam, ad_sam])
    total = sum(p.numel() for p in both.parameters())
    apart = sum(p.numel() for n in both for p in n.parameters())
    assert apart - total == 637_026_048


def test_an_encoder_that_is_trained_or_of_another_kind_is_not_shared():
    pool = EncoderPool()
    trained = SamBackboneSpec('micro', freeze=False)
    assert pool.build(trained) is not pool.build(trained)
    half = pool.build(SamBackboneSpec('micro', half=True))
    assert half is not pool.build(SamBackboneSpec('micro'))
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    with pytest.raises(ValueError, match='half is for a frozen encoder'):
        SamBackboneSpec('micro', freeze=False, half=True)
    with pytest.raises(ValueError, match=r"size must be one of .* got 'vit_z'"):
        SamBackboneSpec('vit_z')


def test_builds_from_arguments_and_runs():
    arguments = FusionSamArguments(
        SamBackboneSpec('micro', half=True), LatentSpec(8, 16, 32), FmpSpec(2), 64, sam_scale=2
    )
    network = build_fusion_sam(arguments, {'camera': 3, 'thermal': 1}, 7, SIZE, EncoderPool())
    with torch.inference_mode():
        logits = network.eval()(batch(1)).logits
    assert logits.shape == (1, 7, SIZE[0] // 2, SIZE[1] // 2)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'thermal': None}, r"takes \('camera', 'thermal'\), got \('camera',\)"),
        ({'thermal': torch.zeros(2, 3, *SIZE)}, r"'thermal' has shape \(2, 3, 64, 96\)"),
        ({'thermal': torch.zeros(2, 1, 32, 32)}, r'expected \(2, 1, 64, 96\)'),
    ],
)
def test_refuses_wrong_inputs(change, message):
    inputs = {k: v for k, v in (batch() | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        small()(inputs)


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_literal_fusion_is_equations_10_to_13():
    """By hand in double precision, token by token, with one head."""
    torch.manual_seed(6)
    dim, rows, columns = 4, 3, 5
    fmp = FusionMaskPrompting(dim, FmpSpec(heads=1, ffn_ratio=2, literal=True)).double()
    maps = torch.randn(2, 1, dim, rows, columns, dtype=torch.float64)
    with torch.no_grad():
        got = fmp(*maps)[0].flatten(1).T.numpy()
    one, two = (m[0].flatten(1).T.numpy() for m in maps)
    weight = {name: p.detach().numpy() for name, p in fmp.named_parameters()}

    def linear(x, name):
        return x @ weight[f'{name}.weight'].T + weight.get(f'{name}.bias', 0)

    def after(x, name):  # feed-forward, then layer normalisation
        hidden = linear(x, f'{name}.ffn.0')
        hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        x = linear(hidden, f'{name}.ffn.2')
        centred = x - x.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
        return scaled * weight[f'{name}.norm.weight'] + weight[f'{name}.norm.bias']

    # W_Q1, W_K2, W_V2 are of the attention of the first modality on the second
    Q1, K2, V2 = (
        linear(one, 'cross.0.query'),
        linear(two, 'cross.0.key'),
        linear(two, 'cross.0.value'),
    )
    Q2, K1, V1 = (
        linear(two, 'cross.1.query'),
        linear(one, 'cross.1.key'),
        linear(one, 'cross.1.value'),
    )
    z1 = after(_softmax(Q1 @ K2.T / 2) @ V2, 'cross.0') + Q1
    z2 = after(_softmax(Q2 @ K1.T / 2) @ V1, 'cross.1') + Q2
    joined = torch.tensor(np.concatenate([z1, z2], axis=1).T.reshape(1, 2 * dim, rows, columns))
    with torch.no_grad():
        z_c = F.conv2d(joined, fmp.mix.weight, fmp.mix.bias, padding=1)[0].flatten(1).T.numpy()
    Q = linear(one, 'complement.query')
    scores = Q @ linear(two, 'complement.key').T / 2
    z_0 = after(_softmax(scores) @ linear(two, 'complement.value'), 'complement') + Q
    Q_f, K_0, V_0 = (
        linear(z_c, 'cross.1.query'), linear(z_0, 'cross.1.key'), linear(z_0, 'cross.1.value')
    )  # fmt: skip
    expected = after(_softmax(Q_f @ K_0.T / 2) @ V_0, 'final') + z_c
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    assert not any(name.startswith('final.query') for name in weight)


@pytest.mark.parametrize('zoo', ['models/zoo.yaml', 'training/configs/papers_zoo.yaml'])
def test_the_papers_entries_train_all_but_the_image_encoder(zoo):
    """Fig. 2 of the paper. What a semantic mask never reads has no gradient to be trained by."""
    unread = ('decoder.output_hypernetworks_mlps.', 'decoder.iou_prediction_head.',
              'prompt_encoder.no_mask_embed.', 'prompt_encoder.point_embeddings.0.',
              'prompt_encoder.point_embeddings.1.')  # fmt: skip
    for key, spec in load_zoo(ROOT / zoo).items():
        if spec.builder == 'fusion_sam' and spec.arguments.backbone.size == 'vit_h':
            assert spec.arguments.fmp.literal
            with torch.device('meta'):
                network = build_model(spec)
            frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
            assert {n for n in frozen if not n.startswith('encoder.')} == {
                n for n, _ in network.named_parameters() if n.startswith(unread)
            }, key
            assert all(not p.requires_grad for p in network.encoder.parameters())
