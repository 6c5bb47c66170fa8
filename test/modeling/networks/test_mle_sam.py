"""MLE-SAM, in both forms of its decoder where they may differ."""

from __future__ import annotations

import copy
import dataclasses
import fnmatch
import itertools

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from sam_ad_perception.modeling.encoders.hiera import HIERA_SPECS
from sam_ad_perception.modeling.encoders.lora import merge_lora
from sam_ad_perception.modeling.networks.mle_decoder import ModalityDecoders, Prompt, build_heads
from sam_ad_perception.modeling.networks.mle_sam import (
    AuxiliaryHead,
    FusionSpec,
    Gate,
    GatedFusion,
)
from sam_ad_perception.modeling.zoo.checkpoints import CheckpointSpec, load_checkpoint
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo

NAMES = ('camera', 'thermal', 'event', 'lidar')
SUBSETS = [s for k in range(1, 5) for s in itertools.combinations(NAMES, k)]
FORMS = ('shared', 'per_modality')
UNREAD = ('decoder.*iou_prediction_head.*', 'decoder.*output_hypernetworks_mlps.0.*')
"""Parts of SAM 2's heads that a semantic mask never reads, in either form of the decoder."""


@pytest.fixture(params=FORMS)
def spec(spec: ModelSpec, request) -> ModelSpec:
    """The small network of `conftest.py`, its decoder shared or one copy per modality."""
    kept = tuple(p for p in spec.arguments.frozen if not p.startswith('decoder.'))
    changed = dataclasses.replace(
        spec.arguments,
        decoder_per_modality=request.param == 'per_modality',
        object_scores=request.param == 'per_modality',
        frozen=(*UNREAD, *kept),
    )
    return dataclasses.replace(spec, arguments=changed)


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


def test_without_masking_an_absent_modality_is_an_image_of_zeros(spec, network, inputs):
    fusion = dataclasses.replace(spec.arguments.fusion, mask_absent=False)
    arguments = dataclasses.replace(spec.arguments, fusion=fusion)
    unmasked = build_model(dataclasses.replace(spec, arguments=arguments)).eval()
    unmasked.load_state_dict(network.state_dict())
    subset = ('thermal', 'lidar')
    chosen = {name: inputs[name] for name in subset}
    zeros = {n: x if n in subset else torch.zeros_like(x) for n, x in inputs.items()}
    with torch.no_grad():
        output, expected, masked = unmasked(chosen), network(zeros), network(chosen)
    assert torch.equal(output.logits, expected.logits)
    assert torch.equal(output.aux_logits, expected.aux_logits)
    assert output.modalities == subset
    assert torch.equal(output.gate, expected.gate[:, :, [1, 3]])
    assert not torch.allclose(output.logits, masked.logits, atol=1e-3)
    with torch.no_grad():
        assert torch.equal(unmasked(inputs).logits, network(inputs).logits)


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


def test_logits_are_the_same_with_merged_adapters(network, inputs):
    with torch.no_grad():
        before = network(inputs)
        merge_lora(network)
        after = network(inputs)
    torch.testing.assert_close(after.logits, before.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after.aux_logits, before.aux_logits, atol=1e-5, rtol=1e-5)


def test_weights_come_back_from_a_file_bit_by_bit(network, spec, inputs, tmp_path):
    save_file(network.state_dict(), tmp_path / 'net.safetensors')
    other = build_model(spec).eval()
    load_checkpoint(other, CheckpointSpec('net.safetensors'), tmp_path)
    with torch.no_grad():
        assert torch.equal(other(inputs).logits, network(inputs).logits)
        assert torch.equal(other(inputs).aux_logits, network(inputs).aux_logits)


def test_gradient_reaches_every_trainable_parameter_and_no_other(spec, inputs):
    torch.manual_seed(0)
    network = build_model(spec).train()
    for name, parameter in network.named_parameters():
        if '.b_q.' in name or '.b_v.' in name:  # at zero they would hide A from the loss
            nn.init.normal_(parameter, std=0.1)
    for gate in network.fusion.gates:
        gate.top_k = len(NAMES)  # with two of four, a modality may stay outside of the gate
    frozen = {n: p.clone() for n, p in network.named_parameters() if not p.requires_grad}
    trained = {n: p.clone() for n, p in network.named_parameters() if p.requires_grad}
    assert frozen
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    output = network(inputs)
    (output.logits.square().mean() + output.aux_logits.square().mean()).backward()
    named = dict(network.named_parameters())
    shifts = fnmatch.filter(named, '*k_proj.bias')  # softmax does not see a shift of all keys
    without = [n for n in trained if named[n].grad is None or not named[n].grad.any()]
    without = [n for n in without if n not in shifts]
    assert without == []
    assert [n for n in frozen if named[n].grad is not None] == []
    optimizer.step()
    still = [n for n, before in trained.items() if torch.equal(named[n], before)]
    assert set(still) <= set(shifts)
    assert [n for n, before in frozen.items() if not torch.equal(named[n], before)] == []


def test_what_the_paper_counts_and_a_mask_never_reads_is_known_by_name(spec, inputs):
    """`mle_sam_paper` counts these as trained; nothing else is without a gradient."""
    kept = tuple(p for p in spec.arguments.frozen if p not in UNREAD)
    arguments = dataclasses.replace(spec.arguments, frozen=kept)
    network = build_model(dataclasses.replace(spec, arguments=arguments)).train()
    network(inputs).logits.square().mean().backward()
    decoder = [(n, p) for n, p in network.named_parameters() if n.startswith('decoder.')]
    without = {n for n, p in decoder if p.requires_grad and (p.grad is None or not p.grad.any())}
    names = [n for n, _ in decoder]
    expected = {n for pattern in UNREAD for n in fnmatch.filter(names, pattern)}
    assert len(expected) > len(UNREAD)
    assert without == expected


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


@pytest.mark.parametrize(
    ('combination', 'average', 'weighted'),
    [('mean', 0.5, 0.5), ('sum', 1.0, 1.0), ('weighted', 0.0, 1.0), ('integrated', 1.0, 0.0)],
)
def test_fusion_combines_average_and_weighted_sum(combination, average, weighted):
    torch.manual_seed(0)
    fusion = GatedFusion(NAMES, (2, 3, 4), FusionSpec(2, combination, (4, 4, 4)))
    levels = [torch.randn(4, 2, c, 3, 3) for c in (2, 3, 4)]
    fused, weights = fusion(levels, NAMES)
    for level, weight, got in zip(levels, weights, fused, strict=True):
        gated = sum(weight[:, m, None, None, None] * level[m] for m in range(4))
        expected = average * level.mean(dim=0) + weighted * gated
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)
    if combination == 'integrated':
        assert not list(fusion.parameters())
        torch.testing.assert_close(weights, torch.full((3, 2, 4), 0.25))


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


@pytest.mark.parametrize('spec', ['shared'], indirect=True)
def test_decoder_equals_the_official_prediction_path(network):
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
        prompt = network._prompt(deep)
        assert torch.equal(network.decoder.segment([*high, deep], NAMES, prompt), expected)


@pytest.mark.parametrize('scores', [True, False])
def test_copies_equal_official_decoders_around_the_same_transformer(scores):
    """The mean of what the official module says with each copy's weights."""
    torch.manual_seed(0)
    prompt_encoder, decoders = build_heads(
        16, 5, (64, 96), mlp_dim=32, scores=scores, modalities=NAMES
    )
    assert isinstance(decoders, ModalityDecoders)
    fine, middle = torch.randn(2, 3, 16, 16, 24), torch.randn(2, 3, 16, 8, 12)
    deep = torch.randn(3, 16, 4, 6)
    present = ('event', 'camera')
    no_point = (torch.zeros(3, 1, 2), -torch.ones(3, 1, dtype=torch.int32))
    sparse, dense = prompt_encoder(points=no_point, boxes=None, masks=None)
    prompt = Prompt(prompt_encoder.get_dense_pe(), sparse, dense)
    with torch.no_grad():
        first, second = decoders.project(fine, middle, present)
        fused = [first.mean(dim=0), second.mean(dim=0), deep]
        got = decoders.segment(fused, present, prompt)
        alone = decoders.segment(fused, ('event',), prompt)
        expected = []
        for index, name in enumerate(present):
            official = copy.deepcopy(decoders.heads[name])
            official.transformer = decoders.transformer
            torch.testing.assert_close(first[index], official.conv_s0(fine[index]))
            torch.testing.assert_close(second[index], official.conv_s1(middle[index]))
            expected.append(
                official(
                    image_embeddings=deep,
                    image_pe=prompt.position,
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=True,
                    repeat_image=False,
                    high_res_features=fused[:2],
                )[0]
            )
    torch.testing.assert_close(alone, expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got, torch.stack(expected).mean(dim=0), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected[0], expected[1], atol=1e-3)


REGISTERED = """
models:
  other:
    builder: mle_sam
    arguments:
      encoder: micro
      lora: {rank: 2}
      fusion: {hidden: [8, 8, 8]}
      decoder_mlp_dim: 16
      decoder_per_modality: %s
    modalities:
      depth: {representation: thermal_percentile}
      polarisation: {representation: rgb}
      radar: {representation: event_voxel_grid, bins: 7}
    input_size: [64, 96]
    label_space: cityscapes
"""


@pytest.mark.parametrize('form', ['true', 'false'])
def test_any_sensor_can_be_registered(tmp_path, form):
    """Names that the package has no sensor for, and as many channels as their form has."""
    path = tmp_path / 'zoo.yaml'
    path.write_text(REGISTERED % form)
    spec = load_zoo(path)['other']
    assert spec.channels == {'depth': 1, 'polarisation': 3, 'radar': 7}
    network = build_model(spec).eval()
    inputs = {name: torch.randn(1, c, 64, 96) for name, c in spec.channels.items()}
    for count in (1, 2, 3):
        for subset in itertools.combinations(inputs, count):
            output = network({name: inputs[name] for name in subset})
            assert output.modalities == subset
            assert output.logits.shape == (1, 19, 16, 24)


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
