"""MLE-SAM's parameter counts beside those of its paper (arXiv 2412.04220), without memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from sam_ad_perception.modeling.encoders.lora import LoraSpec
from sam_ad_perception.modeling.networks.mle_sam import FusionSpec
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo

ZOO = load_zoo(Path(__file__).parents[3] / 'models' / 'zoo.yaml')
PAPER = ZOO['mle_sam_paper']
SHARED = {
    'decoder_per_modality': False,
    'frozen': (*PAPER.arguments.frozen, 'decoder.pred_obj_score_head.*'),
}
"""What makes the paper's form one with a shared decoder and the same parts trained."""


def build(count: int = 4, **changes: object) -> nn.Module:
    """The paper's network on `meta`, with the first `count` modalities and other arguments."""
    arguments = dataclasses.replace(PAPER.arguments, **changes)
    inputs = dict(list(PAPER.inputs.items())[:count])
    with torch.device('meta'):
        return build_model(dataclasses.replace(PAPER, arguments=arguments, inputs=inputs))


def trained(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ('count', 'exact', 'published'),
    [(1, 5.215, 5.2), (2, 10.408, 10.4), (3, 15.601, 15.6), (4, 20.794, 20.79)],
)
def test_trained_millions_grow_with_the_modalities_as_published(count, exact, published):
    millions = trained(build(count)) / 1e6
    assert round(millions, 3) == exact
    assert round(millions, len(str(published).split('.')[1])) == published


@pytest.mark.parametrize(
    ('combination', 'aux_head', 'exact', 'published'),
    [
        ('integrated', False, 20.6199, 20.62),
        ('integrated', True, 20.6415, 20.64),
        ('weighted', False, 20.7726, 20.77),
        ('mean', True, 20.7942, 20.79),
        ('sum', True, 20.7942, 20.79),
    ],
)
def test_rows_of_the_ablation(combination, aux_head, exact, published):
    fusion = dataclasses.replace(PAPER.arguments.fusion, combination=combination)
    output = 'mean' if aux_head else 'main'
    network = build(fusion=fusion, aux_head=aux_head, output=output)
    millions = trained(network) / 1e6
    assert round(millions, 4) == exact
    assert round(millions, 2) == published


@pytest.mark.parametrize(('count', 'millions'), [(1, 5.21), (2, 6.53), (3, 7.84), (4, 9.16)])
def test_a_shared_decoder_grows_by_adapters_and_gate_only(count, millions):
    assert round(trained(build(count, **SHARED)) / 1e6, 2) == millions


def test_each_part_has_its_size():
    """Sizes that the paper's table was decomposed into, for 25 classes."""
    network = build()
    head = network.decoder.heads['camera']
    sizes = {
        name: sum(p.numel() for p in module.parameters()) for name, module in head.named_children()
    }
    assert sizes.pop('conv_s0') + sizes.pop('conv_s1') == 24_672
    assert sizes == {
        'transformer': 0,
        'iou_token': 256,
        'mask_tokens': 6_656,
        'obj_score_token': 256,
        'output_upscaling': 73_952,
        'output_hypernetworks_mlps': 3_635_008,
        'iou_prediction_head': 138_266,
        'pred_obj_score_head': 0,
    }
    assert sum(p.numel() for p in head.parameters()) == 3_879_066
    assert sum(p.numel() for p in network.fusion.parameters()) == 152_684
    assert sum(p.numel() for p in network.aux_head.parameters()) == 21_625


@pytest.mark.parametrize(('dims', 'each'), [('in', 1_275_904), ('out', 1_326_080)])
def test_adapters_of_one_modality(dims, each):
    network = build(lora=LoraSpec(32, dims))
    named = network.named_parameters()
    assert sum(p.numel() for n, p in named if '.qkv.a_' in n or '.qkv.b_' in n) == 4 * each


def test_only_what_the_paper_trains_is_trained():
    network = build()
    parts = {name.split('.')[0] for name, p in network.named_parameters() if p.requires_grad}
    assert parts == {'encoder', 'fusion', 'decoder', 'aux_head'}
    for name, parameter in network.named_parameters():
        adapter = '.qkv.a_' in name or '.qkv.b_' in name
        head = name.startswith(('fusion.', 'aux_head.', 'decoder.heads.'))
        assert parameter.requires_grad == (adapter or head), name


@pytest.mark.parametrize('key', [key for key in ZOO if key.startswith('mle_sam_hiera')])
def test_the_forms_for_use_share_a_decoder_and_adapt_all_rows(key):
    spec: ModelSpec = ZOO[key]
    assert not spec.arguments.decoder_per_modality
    assert spec.arguments.lora == LoraSpec(32, 'out')
    assert spec.arguments.fusion == FusionSpec()
    with torch.device('meta'):
        network = build_model(spec)
    unread = ('decoder.iou_prediction_head.', 'decoder.output_hypernetworks_mlps.0.')
    for name, parameter in network.named_parameters():
        if name.startswith(unread):
            assert not parameter.requires_grad, name
