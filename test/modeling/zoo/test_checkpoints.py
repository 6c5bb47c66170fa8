from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from sam2.build_sam import build_sam2
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import Tensor, nn
from torchvision.models import resnet18

from sam_ad_perception.modeling.encoders.hiera import HIERA_SPECS, HieraEncoder
from sam_ad_perception.modeling.encoders.lora import LoraSpec
from sam_ad_perception.modeling.encoders.sam_vit import SamVit
from sam_ad_perception.modeling.encoders.specs import SAM_VIT_SPECS
from sam_ad_perception.modeling.networks.ad_sam import ResNet, ResNetSpec
from sam_ad_perception.modeling.networks.fusion_sam import ClassTokenDecoder, build_prompt_encoder
from sam_ad_perception.modeling.networks.mle_decoder import build_heads
from sam_ad_perception.modeling.networks.mle_sam import FusionSpec, GatedFusion, MleSam
from sam_ad_perception.modeling.zoo.checkpoints import (
    CheckpointError,
    load_resnet,
    load_sam,
    load_sam2,
    read_official,
)

SPEC = SAM_VIT_SPECS['micro']


def official_sam() -> Sam:
    """The official SAM of a size that nobody published."""
    torch.manual_seed(1)
    dim, side = SPEC.out_channels, SPEC.pretrain_size
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=side,
            embed_dim=SPEC.embed_dim,
            depth=SPEC.depth,
            num_heads=SPEC.num_heads,
            out_chans=dim,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=SPEC.window_size,
            global_attn_indexes=SPEC.global_blocks,
        ),
        prompt_encoder=PromptEncoder(dim, (side // 16, side // 16), (side, side), 16),
        mask_decoder=MaskDecoder(
            transformer_dim=dim,
            transformer=TwoWayTransformer(depth=2, embedding_dim=dim, num_heads=8, mlp_dim=64),
        ),
    )
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.normal_(std=0.02)
    return sam.eval()


@pytest.fixture
def sam_file(tmp_path: Path) -> Path:
    torch.save(official_sam().state_dict(), tmp_path / 'sam.pth')
    return tmp_path / 'sam.pth'


def rewrite(path: Path, change) -> Path:
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    return path


def test_sam_encoder_and_heads_come_from_the_full_file(sam_file):
    theirs = official_sam()
    encoder = SamVit(SPEC).eval()
    prompts = build_prompt_encoder(SPEC.out_channels, (128, 128), freeze=True)
    decoder = ClassTokenDecoder(SPEC.out_channels, 3, 64)
    fresh = decoder.class_tokens.weight.clone()
    load_sam(sam_file, encoder=encoder, prompt_encoder=prompts, decoder=decoder)
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(image), theirs.image_encoder(image))
    for ours, other in ((prompts, theirs.prompt_encoder), (decoder, theirs.mask_decoder)):
        state = ours.state_dict()
        assert all(torch.equal(state[k], v) for k, v in other.state_dict().items())
    assert torch.equal(decoder.class_tokens.weight, fresh)


def test_encoder_alone_loads_into_half_precision(sam_file):
    encoder = SamVit(SPEC).freeze(torch.bfloat16)
    load_sam(sam_file, encoder=encoder)
    weight = official_sam().image_encoder.blocks[0].mlp.lin1.weight
    assert torch.equal(encoder.blocks[0].mlp.lin1.weight, weight.bfloat16())


def test_a_file_of_another_size_is_refused_with_its_keys(sam_file):
    encoder = SamVit(SAM_VIT_SPECS['small'])
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_sam(sam_file, encoder=encoder)
    message = str(error.value)
    assert 'missing image_encoder.blocks.2.norm1.weight' in message
    assert 'unexpected nothing' in message
    assert 'image_encoder.pos_embed (1, 8, 8, 16) not (1, 16, 16, 96)' in message
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_missing_and_unexpected_keys_are_named(sam_file):
    def change(state: dict[str, Tensor]) -> None:
        state['image_encoder.neck.9.weight'] = state.pop('image_encoder.neck.0.weight')
        state['optimizer.step'] = torch.zeros(1)

    with pytest.raises(CheckpointError) as error:
        load_sam(rewrite(sam_file, change), encoder=SamVit(SPEC))
    assert 'missing image_encoder.neck.0.weight;' in str(error.value)
    assert 'unexpected image_encoder.neck.9.weight, optimizer.step;' in str(error.value)


def test_checksum_is_compared_in_full_or_by_its_beginning(sam_file):
    digest = hashlib.sha256(sam_file.read_bytes()).hexdigest()
    assert read_official(sam_file, digest).keys() == read_official(sam_file, digest[:8]).keys()
    with pytest.raises(CheckpointError, match=f'has sha256 {digest}, expected 00000000'):
        read_official(sam_file, '00000000')
    with pytest.raises(ValueError, match="8 digits or more, got 'abc'"):
        read_official(sam_file, 'abc')


class Payload:
    """What a malicious file would hold."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ('unpickled',)


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'image_encoder.x': Payload()}, tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match='not a file of PyTorch weights'):
        read_official(tmp_path / 'bad.pth')
    assert not (tmp_path / 'unpickled').exists()


@pytest.mark.parametrize(
    ('content', 'message'),
    [(b'', 'not a file of PyTorch'), (b'PK\x03\x04cut', 'not a file'), (b'text', 'not a file')],
)
def test_a_damaged_file_is_refused(content, message, tmp_path: Path):
    (tmp_path / 'x.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_official(tmp_path / 'x.pth')


def test_an_absent_file_and_one_without_tensors_are_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r'cannot read .*none.pth: No such file'):
        read_official(tmp_path / 'none.pth')
    torch.save({'epoch': 3}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='no mapping from names to tensors'):
        read_official(tmp_path / 'x.pth')


def test_resnet_loads_torchvisions_file_but_not_another_networks(tmp_path: Path):
    theirs = resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / 'resnet.pth')
    ours = ResNet(ResNetSpec((2, 2, 2, 2), bottleneck=False))
    load_resnet(tmp_path / 'resnet.pth', ours)
    assert torch.equal(ours.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    with pytest.raises(CheckpointError, match=r'missing layer1.0.conv3.weight'):
        load_resnet(tmp_path / 'resnet.pth', ResNet(ResNetSpec()))


def mle_sam(size: str, rank: int, stem_channels: int, *, copies: bool = False) -> MleSam:
    spec = HIERA_SPECS[size]
    channels = {'camera': 3, 'event': stem_channels}
    own = tuple(channels) if copies else ()
    prompt_encoder, decoder = build_heads(spec.neck_dim, 6, (128, 128), modalities=own)
    levels = (spec.neck_dim // 8, spec.neck_dim // 4, spec.neck_dim)
    encoder = HieraEncoder(spec, channels, LoraSpec(rank))
    fusion = GatedFusion(tuple(channels), levels, FusionSpec())
    return MleSam(channels, encoder, fusion, prompt_encoder, decoder, None)


@pytest.fixture(scope='module')
def sam2_file(tmp_path_factory) -> tuple[Path, dict[str, Tensor]]:
    """An official SAM 2.1 tiny, as its own configuration builds it, with random values."""
    torch.manual_seed(2)
    model = build_sam2('configs/sam2.1/sam2.1_hiera_t.yaml', None, device='cpu')
    path = tmp_path_factory.mktemp('sam2') / 'sam2.1_hiera_tiny.pt'
    torch.save({'model': model.state_dict()}, path)
    return path, model.state_dict()


@pytest.mark.parametrize('rank', [0, 4])
def test_sam2_loads_encoder_neck_and_heads(sam2_file, rank):
    path, theirs = sam2_file
    network = mle_sam('tiny', rank, 2)
    tokens = network.decoder.mask_tokens.weight.clone()
    load_sam2(path, network)
    qkv = network.encoder.trunk.blocks[3].attn.qkv
    base = qkv.base if rank else qkv
    assert torch.equal(base.weight, theirs['image_encoder.trunk.blocks.3.attn.qkv.weight'])
    assert torch.equal(
        network.encoder.neck.convs[2].conv.weight,
        theirs['image_encoder.neck.convs.2.conv.weight'],
    )
    assert torch.equal(network.decoder.conv_s0.weight, theirs['sam_mask_decoder.conv_s0.weight'])
    assert torch.equal(
        network.prompt_encoder.not_a_point_embed.weight,
        theirs['sam_prompt_encoder.not_a_point_embed.weight'],
    )
    assert torch.equal(network.decoder.mask_tokens.weight, tokens)
    rgb = theirs['image_encoder.trunk.patch_embed.proj.weight']
    torch.testing.assert_close(network.encoder.stems['event'].proj.weight.sum(1), rgb.sum(1))


def test_sam2_fills_every_copy_of_the_decoder(sam2_file):
    path, theirs = sam2_file
    network = mle_sam('tiny', 4, 2, copies=True)
    load_sam2(path, network)
    official = {
        key.removeprefix('sam_mask_decoder.'): value
        for key, value in theirs.items()
        if key.startswith('sam_mask_decoder.')
    }
    fresh = ('mask_tokens.', 'output_hypernetworks_mlps.', 'iou_prediction_head.')
    for head in network.decoder.heads.values():
        own = {n: p for n, p in head.state_dict().items() if not n.startswith(fresh)}
        assert {'obj_score_token.weight', 'conv_s0.weight', 'output_upscaling.3.bias'} <= set(own)
        assert all(torch.equal(value, official[name]) for name, value in own.items())
    for name, value in network.decoder.transformer.state_dict().items():
        assert torch.equal(value, official[f'transformer.{name}'])


def test_sam2_of_another_size_is_refused(sam2_file):
    path, _ = sam2_file
    with pytest.raises(CheckpointError) as error:
        load_sam2(path, mle_sam('small', 4, 3))
    assert 'missing image_encoder.trunk.blocks.12.norm1.weight' in str(error.value)
    assert 'trunk.blocks.10.attn.proj.bias (768,) not (384,)' in str(error.value)


def test_a_sam_file_is_no_sam2_file(sam_file):
    with pytest.raises(CheckpointError, match=r'unexpected image_encoder.blocks.0.attn'):
        load_sam2(sam_file, mle_sam('micro', 0, 3))
