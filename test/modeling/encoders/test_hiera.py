from __future__ import annotations

import pytest
import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine

from sam_ad_perception.modeling.encoders.hiera import HIERA_SPECS, HieraEncoder, HieraSpec
from sam_ad_perception.modeling.encoders.lora import LoraQkv, LoraSpec

SMALL = HieraSpec(16, 1, (1, 2, 3, 1), (4,), neck_dim=32)


def official(spec: HieraSpec) -> ImageEncoder:
    """SAM 2's image encoder as its own configuration files build it."""
    trunk = Hiera(
        embed_dim=spec.embed_dim,
        num_heads=spec.num_heads,
        stages=spec.stages,
        global_att_blocks=spec.global_blocks,
        window_spec=spec.window_spec,
        window_pos_embed_bkg_spatial_size=spec.pos_embed_size,
    )
    neck = FpnNeck(
        position_encoding=PositionEmbeddingSine(num_pos_feats=spec.neck_dim),
        d_model=spec.neck_dim,
        backbone_channel_list=trunk.channel_list,
        fpn_top_down_levels=[2, 3],
        fpn_interp_model='nearest',
    )
    return ImageEncoder(trunk, neck, scalp=1)


@pytest.mark.parametrize('size', [(64, 64), (96, 160)])
def test_equals_the_official_encoder_without_adapters(size):
    torch.manual_seed(0)
    theirs = official(SMALL).eval()
    torch.nn.init.normal_(theirs.trunk.pos_embed)
    torch.nn.init.normal_(theirs.trunk.pos_embed_window)
    ours = HieraEncoder(SMALL, {'camera': 3, 'depth': 3}, LoraSpec(0)).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = theirs(image)['backbone_fpn']
        got = ours([('camera', image), ('depth', image)])
    for level, reference in zip(got, expected, strict=True):
        torch.testing.assert_close(level[0], reference, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(level[1], reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ('name', 'config'),
    [('tiny', 't'), ('small', 's'), ('base_plus', 'b+'), ('large', 'l')],
)
def test_official_sizes_are_those_of_the_package_configurations(name, config):
    from pathlib import Path

    import sam2
    import yaml

    path = Path(sam2.__file__).parent / 'configs' / 'sam2.1' / f'sam2.1_hiera_{config}.yaml'
    encoder = yaml.safe_load(path.read_text())['model']['image_encoder']
    written = encoder['trunk']
    spec = HIERA_SPECS[name]
    defaults = HieraSpec(112, 2, (2, 3, 16, 3), (12, 16, 20))  # Hiera's own defaults
    assert spec.embed_dim == written['embed_dim']
    assert spec.num_heads == written['num_heads']
    assert list(spec.stages) == written.get('stages', list(defaults.stages))
    assert list(spec.global_blocks) == written.get('global_att_blocks', [12, 16, 20])
    assert list(spec.window_spec) == written.get('window_spec', [8, 4, 14, 7])
    expected = written.get('window_pos_embed_bkg_spatial_size', [14, 14])
    assert list(spec.pos_embed_size) == expected
    assert spec.neck_dim == encoder['neck']['d_model']


def test_base_plus_on_meta_has_the_official_number_of_parameters():
    with torch.device('meta'):
        ours = HieraEncoder(HIERA_SPECS['base_plus'], {'camera': 3}, LoraSpec(0))
    theirs = official(HIERA_SPECS['base_plus'])
    assert next(ours.parameters()).is_meta
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.fixture(scope='module')
def base_plus() -> tuple[ImageEncoder, HieraEncoder]:
    """The official B+ with random weights, and ours with the same ones and idle adapters."""
    torch.manual_seed(0)
    theirs = official(HIERA_SPECS['base_plus']).eval()
    torch.nn.init.normal_(theirs.trunk.pos_embed)
    torch.nn.init.normal_(theirs.trunk.pos_embed_window)
    ours = HieraEncoder(HIERA_SPECS['base_plus'], {'camera': 3}, LoraSpec(32)).eval()
    state = ours.state_dict()
    for key, value in theirs.state_dict().items():
        state[key if key in state else key.replace('.qkv.', '.qkv.base.')].copy_(value)
    return theirs, ours


@pytest.mark.parametrize('size', [(352, 608), (512, 512)], ids=str)
def test_base_plus_equals_the_official_one(base_plus, size):
    """The learned position grid is resized within both; 352 and 608 fill no window evenly."""
    theirs, ours = base_plus
    image = torch.randn(1, 3, *size)
    with torch.inference_mode():
        expected = theirs(image)['backbone_fpn']
        got = ours([('camera', image)])
    for level, reference in zip(got, expected, strict=True):
        error = (level[0] - reference).abs().max() / reference.abs().max()
        assert float(error) < 1e-4


@pytest.mark.parametrize('dims', ['in', 'out'])
@pytest.mark.parametrize(
    ('name', 'width', 'blocks'),
    [('tiny', 96, 12), ('small', 96, 16), ('base_plus', 112, 24), ('large', 144, 48)],
)
def test_official_sizes_on_meta_with_adapters_in_every_block(name, width, blocks, dims):
    sensors = {'camera': 3, 'thermal': 1, 'event': 2}
    with torch.device('meta'):
        encoder = HieraEncoder(HIERA_SPECS[name], sensors, LoraSpec(8, dims))
        images = [(n, torch.empty(2, c, 1024, 512)) for n, c in sensors.items()]
    assert all(p.is_meta for p in encoder.parameters())
    assert encoder.trunk.channel_list == [8 * width, 4 * width, 2 * width, width]
    layers = [block.attn.qkv for block in encoder.trunk.blocks]
    assert len(layers) == blocks
    firsts = set()
    for index, layer in enumerate(layers):
        assert isinstance(layer, LoraQkv)
        given, made = layer.base.in_features, layer.base.out_features // 3
        rows = made if dims == 'out' else given
        for sensor in sensors:
            for a, b in ((layer.a_q, layer.b_q), (layer.a_v, layer.b_v)):
                assert a[sensor].shape == (8, given)
                assert b[sensor].shape == (rows, 8)
        if made != given:
            assert made == 2 * given
            firsts.add(index)
    assert firsts == {end + 1 for end in encoder.trunk.stage_ends[:-1]}
    levels = [tuple(level.shape) for level in encoder(images)]
    assert levels == [(3, 2, 256, 1024 // s, 512 // s) for s in (4, 8, 16)]


@pytest.mark.parametrize('stem', ['own', 'conv', 'shared'])
@pytest.mark.parametrize('channels', [1, 2, 3, 5])
def test_first_layer_takes_any_channel_count(stem, channels):
    spec = HieraSpec(8, 1, (1, 1, 1, 1), (), (8, 4, 4, 4), (2, 2), 16, stem=stem)
    encoder = HieraEncoder(spec, {'radar': channels}, LoraSpec(2))
    levels = encoder([('radar', torch.randn(1, channels, 64, 96))])
    assert [tuple(level.shape) for level in levels] == [
        (1, 1, 16, 16, 24),
        (1, 1, 16, 8, 12),
        (1, 1, 16, 4, 6),
    ]


def test_adapted_stem_gives_the_rgb_response_to_grey():
    encoder = HieraEncoder(SMALL, {'camera': 3, 'thermal': 1, 'event': 2}, LoraSpec(0))
    encoder.adapt_stems()
    grey = torch.randn(1, 1, 64, 64)
    reference = encoder.trunk.patch_embed(grey.expand(-1, 3, -1, -1))
    for name, count in (('thermal', 1), ('event', 2)):
        response = encoder.stems[name](grey.expand(-1, count, -1, -1))
        torch.testing.assert_close(response, reference, atol=1e-5, rtol=1e-5)


def test_odd_sizes_and_bad_specs_are_refused():
    encoder = HieraEncoder(SMALL, {'camera': 3}, LoraSpec(0))
    with pytest.raises(ValueError, match='multiples of 32, got 400x640'):
        encoder([('camera', torch.zeros(1, 3, 400, 640))])
    with pytest.raises(ValueError, match=r"encoder\.stem must be one of .*'patch'"):
        HieraSpec(8, 1, (1, 1, 1, 1), (), stem='patch')
    with pytest.raises(ValueError, match='must not hold the first block'):
        HieraSpec(8, 1, (1, 2, 2, 1), (3,))
    with pytest.raises(ValueError, match='not a multiple of num_heads'):
        HieraSpec(10, 3, (1, 1, 1, 1), ())


def test_position_codes_are_resized_once_and_follow_the_weights(monkeypatch):
    encoder = HieraEncoder(SMALL, {'camera': 3}, LoraSpec(0)).eval()
    with torch.no_grad():
        encoder.trunk.pos_embed.normal_()
    small, large = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 96, 160)
    calls = []
    resize = encoder.trunk._get_pos_embed
    monkeypatch.setattr(encoder.trunk, '_get_pos_embed', lambda s: calls.append(s) or resize(s))

    def encode(image: torch.Tensor) -> torch.Tensor:
        return encoder([('camera', image)])[0]

    with torch.inference_mode():
        first, again = encode(small), encode(small)
        assert calls == [(16, 16)]
        assert torch.equal(first, again)
        encode(large)
    assert torch.equal(encode(small).detach(), first)  # with gradients, as it is trained
    assert encode(small).requires_grad
    with torch.no_grad():
        encoder.trunk.pos_embed.add_(1.0)
        changed = encode(small)
    assert not torch.allclose(changed, first)
    assert torch.equal(changed, encode(small).detach())
