from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sam_ad_perception.modeling.encoders.lora import (
    ActiveModalities,
    LoraQkv,
    LoraSpec,
    merge_lora,
)

NAMES = ('camera', 'thermal', 'lidar')


def make_layer(dims: str, width_in: int = 6, width_out: int = 6) -> tuple[LoraQkv, nn.Linear]:
    torch.manual_seed(0)
    base = nn.Linear(width_in, 3 * width_out)
    layer = LoraQkv(base, NAMES, LoraSpec(2, dims), ActiveModalities())
    for table in (layer.b_q, layer.b_v):
        for b in table.values():
            nn.init.normal_(b)
    return layer, base


def by_formula(layer: LoraQkv, base: nn.Linear, name: str, x: torch.Tensor) -> torch.Tensor:
    """Eq. 4-5 written out with the low-rank path on the tokens, as the lineage code does it."""
    out = base(x)
    rows = layer.rows
    out[..., :rows] += (x @ layer.a_q[name].T) @ layer.b_q[name].T
    out[..., -rows:] += (x @ layer.a_v[name].T) @ layer.b_v[name].T
    return out


@pytest.mark.parametrize(('dims', 'width_out'), [('out', 6), ('in', 6), ('out', 12), ('in', 12)])
def test_batched_equals_the_formula_one_by_one(dims, width_out):
    layer, base = make_layer(dims, width_out=width_out)
    x = torch.randn(3 * 4, 5, 6)
    layer.active.names = NAMES
    expected = torch.cat(
        [by_formula(layer, base, n, part) for n, part in zip(NAMES, x.chunk(3), strict=True)]
    )
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_in_dims_touch_half_of_q_and_v_where_the_width_doubles():
    layer, base = make_layer('in', width_out=12)
    change = (layer.adapted_weight('camera') - base.weight).abs().sum(dim=1) > 0
    assert change.tolist() == [True] * 6 + [False] * 24 + [True] * 6


def test_k_is_never_touched():
    layer, base = make_layer('out')
    layer.active.names = ('thermal',)
    x = torch.randn(2, 6)
    torch.testing.assert_close(layer(x)[:, 6:12], base(x)[:, 6:12])


@pytest.mark.parametrize(
    'names', [NAMES, NAMES[:2], NAMES[1:], NAMES[::2], NAMES[::-1], NAMES[1:2]], ids='+'.join
)
def test_merged_weights_reach_the_slices_they_belong_to(names):
    layer, base = make_layer('out')
    layer.active.names = names
    x = torch.randn(2 * len(names), 5, 6)
    merge_lora(layer)
    parts = zip(names, x.chunk(len(names)), strict=True)
    expected = torch.cat([by_formula(layer, base, name, part) for name, part in parts])
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_merging_again_follows_the_parameters():
    layer, base = make_layer('out')
    merge_lora(layer)
    with torch.no_grad():
        layer.b_v['thermal'].fill_(1.0)
    merge_lora(layer)
    layer.active.names = ('thermal',)
    x = torch.randn(2, 6)
    expected = by_formula(layer, base, 'thermal', x)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_merged_equals_unmerged_and_unmerging_follows_the_parameters():
    layer, _ = make_layer('out')
    layer.active.names = NAMES
    x = torch.randn(6, 6)
    before = layer(x)
    merge_lora(layer)
    torch.testing.assert_close(layer(x), before, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        layer.b_q['camera'].zero_()
    torch.testing.assert_close(layer(x), before, atol=1e-5, rtol=1e-5)
    layer.unmerge()
    assert not torch.allclose(layer(x)[:2], before[:2])


def test_initial_adapter_is_kaiming_uniform_and_without_effect():
    base = nn.Linear(64, 192)
    layer = LoraQkv(base, ('camera',), LoraSpec(8), ActiveModalities())
    assert torch.equal(layer.adapted_weight('camera'), base.weight)
    bound = 1 / math.sqrt(64)  # kaiming_uniform with a = sqrt 5: gain sqrt(1/3), so 1/sqrt(in)
    a = layer.a_q['camera'].detach()
    assert a.abs().max() <= bound
    assert a.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match=r'lora\.rank must be 0 or more, got -1'):
        LoraSpec(-1)
    with pytest.raises(ValueError, match=r"lora\.dims must be one of .*, got 'both'"):
        LoraSpec(4, 'both')
