from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sam_ad_perception.modeling.encoders import HIERA_SPECS
from sam_ad_perception.modeling.lora import LoraSpec, merge_lora
from sam_ad_perception.modeling.mle_sam import (
    AuxiliaryHead,
    FusionSpec,
    Gate,
    GatedFusion,
    build_heads,
)
from sam_ad_perception.modeling.representations import Rgb
from sam_ad_perception.modeling.zoo import MleSamArguments, ModelSpec, build_model

NAMES = ('camera', 'thermal', 'event', 'lidar')
SUBSETS = [s for k in range(1, 5) for s in itertools.combinations(NAMES, k)]


@pytest.mark.parametrize('subset', SUBSETS, ids='+'.join)
def test_every_subset_gives_a_mask(network, inputs, subset):
    with torch.no_grad():
        output = network({name: inputs[name] for name in subset})
    assert output.logits.shape == (2, 19, 16, 24)
    assert output.aux_logits.shape == (2, 19, 16, 24)
    assert output.modalities == subset
    assert torch.isfinite(output.logits).all()
    torch.testing.assert_close(output.gate.sum(dim=-1), torch.ones(3, 2))
    assert int((output.gate > 0).sum(dim=-1).max()) <= 2


@pytest.mark.parametrize('subset', SUBSETS[:-1], ids='+'.join)
def test_a_subset_depends_on_nothing_of_the_absent(network, inputs, subset):
    """Ruin everything that belongs to absent modalities: stems, adapters, columns of the gate."""
    chosen = {name: inputs[name] for name in subset}
    with torch.no_grad():
        before = network(chosen)
        for name in set(NAMES) - set(subset):
            slot = NAMES.index(name)
            for key, parameter in network.named_parameters():
                if f'.{name}' in key:
                    parameter.fill_(torch.nan)
            for gate in network.fusion.gates:
                columns = slice(slot * gate.channels, (slot + 1) * gate.channels)
                gate.input.weight[:, columns] = torch.nan
                gate.output.weight[slot] = torch.nan
                gate.output.bias[slot] = torch.nan
        after = network(chosen)
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.gate, after.gate)


def test_the_order_of_inputs_does_not_matter(network, inputs):
    backwards = {name: inputs[name] for name in reversed(NAMES)}
    with torch.no_grad():
        assert torch.equal(network(inputs).logits, network(backwards).logits)


def test_items_of_a_batch_do_not_mix(network, inputs):
    with torch.no_grad():
        both = network(inputs)
        for i in range(2):
            single = network({name: image[i : i + 1] for name, image in inputs.items()})
            torch.testing.assert_close(single.logits[0], both.logits[i], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(single.gate[:, 0], both.gate[:, i], atol=1e-5, rtol=1e-5)


def test_batched_modalities_equal_one_by_one_and_merged(network, inputs):
    encoder = network.encoder
    with torch.no_grad():
        batched = encoder(list(inputs.items()))
        alone = [encoder([item]) for item in inputs.items()]
        merge_lora(encoder)
        merged = encoder(list(inputs.items()))
    for level in range(3):
        one_by_one = torch.cat([levels[level] for levels in alone])
        torch.testing.assert_close(batched[level], one_by_one, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(batched[level], merged[level], atol=1e-5, rtol=1e-5)


def test_gradient_reaches_every_trainable_parameter_and_no_other(spec, inputs):
    torch.manual_seed(0)
    network = build_model(spec).train()
    for name, parameter in network.named_parameters():
        if '.b_q.' in name or '.b_v.' in name:  # at zero they would hide A from the loss
            nn.init.normal_(parameter, std=0.1)
    # every pair once: with top-2 of four, a modality may stay outside of one batch's gate
    for pair in itertools.combinations(NAMES, 2):
        output = network({name: inputs[name] for name in pair})
        (output.logits.square().mean() + output.aux_logits.square().mean()).backward()
    without = [
        name
        for name, p in network.named_parameters()
        if p.requires_grad and (p.grad is None or not bool(p.grad.abs().sum() > 0))
    ]
    assert without == []
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(dict(network.named_parameters())[name].grad is None for name in frozen)


def test_gate_follows_its_equations():
    torch.manual_seed(0)
    gate = Gate(NAMES, 4, 6, top_k=2)
    features = torch.randn(3, 2, 4, 5, 7)
    present = ('camera', 'event', 'lidar')
    weights = gate(features, present)
    slots = [0, 2, 3]
    for item in range(2):
        pooled = torch.zeros(4, 4)
        for m, slot in enumerate(slots):
            pooled[slot] = features[m, item].mean(dim=(1, 2))
        scores = gate.output(F.gelu(gate.input(pooled.flatten())))[slots]
        exp = scores.exp() / scores.exp().sum()
        exp[exp.argmin()] = 0
        torch.testing.assert_close(weights[item], exp / exp.sum())


@pytest.mark.parametrize(('combination', 'factor'), [('mean', 0.5), ('sum', 1.0)])
def test_fusion_combines_average_and_weighted_sum(combination, factor):
    torch.manual_seed(0)
    fusion = GatedFusion(NAMES, (2, 3, 4), FusionSpec(2, combination, (4, 4, 4)))
    levels = [torch.randn(4, 2, c, 3, 3) for c in (2, 3, 4)]
    fused, weights = fusion(levels, NAMES)
    for level, weight, got in zip(levels, weights, fused, strict=True):
        gated = sum(weight[:, m, None, None, None] * level[m] for m in range(4))
        torch.testing.assert_close(got, factor * (level.mean(dim=0) + gated))


def test_one_modality_passes_the_mean_fusion_unchanged():
    fusion = GatedFusion(NAMES, (2, 3, 4), FusionSpec(2, 'mean', (4, 4, 4)))
    levels = [torch.randn(1, 2, c, 3, 3) for c in (2, 3, 4)]
    fused, _ = fusion(levels, ('event',))
    for level, got in zip(levels, fused, strict=True):
        torch.testing.assert_close(got, level[0])


def test_auxiliary_head_equals_its_published_order_and_size():
    """papers: MLPs, bilinear to full size, concatenate, dropout, 1x1, 1x1; 21,625 parameters."""
    torch.manual_seed(0)
    head = AuxiliaryHead((32, 64, 256), 25).eval()
    assert sum(p.numel() for p in head.parameters()) == 21_625
    levels = [torch.randn(1, 32, 8, 12), torch.randn(1, 64, 4, 6), torch.randn(1, 256, 2, 3)]
    up = [
        F.interpolate(mlp(level), (32, 48), mode='bilinear', align_corners=False)
        for mlp, level in zip(head.mlps, levels, strict=True)
    ]
    expected = head.classify(head.fuse(torch.cat(up, dim=1)))
    torch.testing.assert_close(head(levels, (32, 48)), expected, atol=1e-5, rtol=1e-5)


def paper_spec(modalities: int) -> ModelSpec:
    arguments = MleSamArguments(
        encoder='base_plus',
        lora=LoraSpec(32, 'in'),
        fusion=FusionSpec(hidden=(32, 64, 128)),
        frozen=(
            'encoder.*', 'prompt_encoder.*', 'decoder.transformer.*',
            'decoder.pred_obj_score_head.*',
        ),
        trained=('encoder.trunk.blocks.*.attn.qkv.[ab]_[qv].*',),
    )  # fmt: skip
    inputs = {name: Rgb() for name in NAMES[:modalities]}
    return ModelSpec('paper', 'mle_sam', arguments, inputs, (1024, 1024), 'deliver')


def count_adapters(network: nn.Module) -> int:
    named = network.named_parameters()
    return sum(p.numel() for name, p in named if '.qkv.a_' in name or '.qkv.b_' in name)


@pytest.mark.parametrize(('count', 'millions'), [(1, 5.21), (2, 6.53), (3, 7.84), (4, 9.16)])
def test_trainable_parameters_of_the_paper_form_with_a_shared_decoder(count, millions):
    with torch.device('meta'):
        network = build_model(paper_spec(count))
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert round(trained / 1e6, 2) == millions


def test_published_adapter_and_gate_sizes():
    with torch.device('meta'):
        network = build_model(paper_spec(4))
    lora = sum(
        p.numel() for n, p in network.named_parameters() if '.qkv.a_' in n or '.qkv.b_' in n
    )
    assert lora == 4 * 1_275_904
    assert sum(p.numel() for p in network.fusion.parameters()) == 152_684
    out = dataclasses.replace(paper_spec(4).arguments, lora=LoraSpec(32, 'out'))
    with torch.device('meta'):
        network = build_model(dataclasses.replace(paper_spec(4), arguments=out))
    lora = sum(
        p.numel() for n, p in network.named_parameters() if '.qkv.a_' in n or '.qkv.b_' in n
    )
    assert lora == 4 * 1_326_080


def test_decoder_equals_the_official_prediction_path(network, inputs):
    """The heads run as SAM 2's own `_forward_sam_heads` runs them without a prompt."""
    with torch.no_grad():
        deep = torch.randn(2, HIERA_SPECS['micro'].neck_dim, 4, 6)
        high = [torch.randn(2, 2, 16, 24), torch.randn(2, 4, 8, 12)]
        sparse, dense = network.prompt_encoder(
            points=(torch.zeros(2, 1, 2), -torch.ones(2, 1, dtype=torch.int32)),
            boxes=None,
            masks=None,
        )
        expected = network.decoder(
            image_embeddings=deep,
            image_pe=network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            repeat_image=False,
            high_res_features=high,
        )[0]
        assert torch.equal(network._decode([*high, deep]), expected)


def test_wrong_inputs_are_named(network, inputs):
    with pytest.raises(ValueError, match='no modality given'):
        network({})
    with pytest.raises(ValueError, match="modality 'radar' is not registered"):
        network({'radar': inputs['camera']})
    with pytest.raises(ValueError, match=r"modality 'thermal' has shape \(2, 3, 64, 96\)"):
        network({'camera': inputs['camera'], 'thermal': inputs['camera']})
    with pytest.raises(ValueError, match=r'fusion\.top_k must be 1 or more'):
        FusionSpec(top_k=0)
    with pytest.raises(ValueError, match=r'fusion\.combination must be one of'):
        FusionSpec(combination='max')
    with pytest.raises(ValueError, match='multiple of 8'):
        build_heads(12, 19, (64, 64))
