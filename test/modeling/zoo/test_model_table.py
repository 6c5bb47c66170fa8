from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torchvision.models import resnet50

from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame
from sam_ad_perception.modeling.encoders.pool import EncoderPool
from sam_ad_perception.modeling.encoders.sam_vit import SamVit
from sam_ad_perception.modeling.encoders.specs import SAM_VIT_SPECS, SamBackboneSpec
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import SegmentationError, Segmenter
from sam_ad_perception.modeling.networks.ad_sam import AdSam, ResNet, ResNetSpec
from sam_ad_perception.modeling.zoo.checkpoints import CheckpointError, CheckpointSpec, load_state
from sam_ad_perception.modeling.zoo.downloads import WEIGHT_FILES
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from sam_ad_perception.modeling.zoo.model_table import (
    checkpoint_state,
    describe_model,
    model_table,
)
from sam_ad_perception.modeling.zoo.pretrained import load_backbone
from test.pictures import camera_picture

RGB = {'representation': 'rgb'}
ROOT = Path(__file__).parents[3]
BACKBONE = {'size': 'micro', 'freeze': True}
ENTRIES = {
    'ad': {
        'builder': 'ad_sam',
        'arguments': {
            'backbone': BACKBONE,
            'resnet': {'layers': [1, 1, 1, 1], 'width': 32, 'bottleneck': False},
        },
        'modalities': {'camera': RGB},
        'required': ['camera'],
        'input_size': [64, 96],
        'label_space': 'cityscapes',
    },
    'fusion': {
        'builder': 'fusion_sam',
        'arguments': {
            'backbone': BACKBONE,
            'latent': {'width': 8, 'dim': 16, 'num_codes': 32},
            'fmp': {'heads': 2},
            'decoder_mlp_dim': 64,
            'sam_scale': 1,
        },
        'modalities': {'camera': RGB, 'thermal': {'representation': 'thermal_percentile'}},
        'required': ['camera', 'thermal'],
        'input_size': [64, 96],
        'label_space': 'cityscapes',
    },
}


def zoo(tmp_path: Path, **changes):
    path = tmp_path / 'zoo.yaml'
    path.write_text(yaml.safe_dump({'models': {**ENTRIES, **changes}}))
    return load_zoo(path)


def test_paper_size_networks_hold_one_encoder(tmp_path: Path):
    """FusionSAM recomputes its blocks in training, AD-SAM does not: no reason not to share."""
    entries = load_zoo(ROOT / 'models/zoo.yaml')
    pool = EncoderPool()
    with torch.device('meta'):
        ad, fusion = (build_model(entries[key], pool) for key in ('ad_sam', 'fusion_sam'))
    assert ad.encoder is fusion.encoder
    together = {id(p): p for network in (ad, fusion) for p in network.parameters()}.values()
    encoder = 637_026_048
    assert (
        sum(p.numel() for p in together)
        == 663_968_368 + sum(p.numel() for p in fusion.parameters()) - encoder
    )
    assert pool.saved_bytes == 4 * encoder
    console = Console(file=io.StringIO(), width=200)
    console.print(model_table(entries, tmp_path))
    printed = ' '.join(console.file.getvalue().split())
    assert f'{4 * encoder / 2**20:.0f} MiB less than the sum' in printed


def test_a_shared_encoder_is_not_changed_under_its_other_network(tmp_path: Path):
    specs, pool = zoo(tmp_path), EncoderPool()
    torch.manual_seed(0)
    ad, fusion = build_model(specs['ad'], pool), build_model(specs['fusion'], pool)
    with torch.no_grad():
        inputs = {'camera': torch.randn(1, 3, 64, 96)}
        expected = ad.eval()(inputs).logits
    load_state(ad, {k: v.clone() for k, v in ad.state_dict().items()}, 'ad.safetensors')
    load_state(fusion, {k: v.clone() for k, v in fusion.state_dict().items()}, 'same')
    foreign = build_model(specs['fusion']).state_dict()
    with pytest.raises(CheckpointError, match=r'other: encoder.* is not that of same, with which'):
        load_state(fusion, foreign, 'other')
    with torch.no_grad():
        assert torch.equal(ad(inputs).logits, expected)
    alone = build_model(specs['fusion'])
    for source in ('first', 'second'):  # nobody else holds it
        load_state(alone, build_model(specs['fusion']).state_dict(), source)


@pytest.mark.parametrize('key', ['ad', 'fusion'])
def test_half_precision_of_the_frozen_encoder_gives_nearly_the_same_mask(tmp_path, key):
    specs = zoo(tmp_path)
    half = dataclasses.replace(specs[key].arguments, backbone=SamBackboneSpec('micro', half=True))
    torch.manual_seed(0)
    full = build_model(specs[key]).eval()
    torch.manual_seed(0)
    mixed = build_model(dataclasses.replace(specs[key], arguments=half)).eval()
    assert {p.dtype for p in mixed.encoder.parameters()} == {torch.bfloat16}
    assert {p.dtype for n, p in mixed.named_parameters() if not n.startswith('encoder.')} == {
        torch.float32
    }
    load_state(mixed, full.state_dict(), 'full')
    size = specs[key].input_size
    generator = torch.Generator().manual_seed(1)
    channels = specs[key].channels
    inputs = {n: torch.randn(2, c, *size, generator=generator) for n, c in channels.items()}
    with torch.inference_mode():
        expected, got = full(inputs).logits, mixed(inputs).logits
    assert got.dtype == torch.float32
    assert 0 < (got - expected).abs().max() < 0.1 * expected.std()
    assert (got.argmax(1) == expected.argmax(1)).float().mean() > 0.97


def test_entries_share_their_frozen_encoder(tmp_path: Path):
    pool = EncoderPool()
    specs = zoo(tmp_path)
    ad, fusion = build_model(specs['ad'], pool), build_model(specs['fusion'], pool)
    assert ad.encoder is fusion.encoder
    assert build_model(specs['ad']).encoder is not ad.encoder


@pytest.mark.parametrize(
    ('key', 'field', 'value', 'message'),
    [
        ('ad', 'backbone', {'size': 'huge'}, r'ad\.arguments\.backbone: .*size must be one of'),
        ('ad', 'encoder', 'micro', r"ad\.arguments has unknown fields \['encoder'\]"),
        ('ad', 'resnet_weights', 'resnet50', 'resnet50 do not fit'),
        ('ad', 'output', 'mean', r"unknown fields \['output'\]"),  # it has one head
        ('fusion', 'output', 'best', "output must be 'main' or 'mean'"),
        ('fusion', 'latent', {'width': 6}, r'latent\.width must be a multiple of 4'),
    ],
)
def test_a_wrong_argument_is_refused_with_its_place(tmp_path, key, field, value, message):
    entry = {**ENTRIES[key], 'arguments': {**ENTRIES[key]['arguments'], field: value}}
    with pytest.raises(ValueError, match=message):
        zoo(tmp_path, **{key: entry})


def test_rows_tell_parameters_memory_and_sensors(tmp_path: Path):
    specs = zoo(tmp_path)
    for key, sensors in (('ad', 'camera*'), ('fusion', 'camera* thermal*')):
        network = build_model(specs[key])
        row = describe_model(specs[key], tmp_path)
        assert row.parameters == sum(p.numel() for p in network.parameters())
        assert row.trainable == sum(p.numel() for p in network.parameters() if p.requires_grad)
        state = network.state_dict(keep_vars=True).values()
        kept = sum(t.numel() * t.element_size() for t in state)
        assert 0 <= row.memory_bytes - kept < 100  # constants that no state holds
        assert row.modalities == sensors
        assert row.checkpoint == 'none published'
    console = Console(file=io.StringIO(), width=80)
    console.print(model_table(specs, tmp_path))
    assert 'fusion' in console.file.getvalue()


def test_state_of_a_checkpoint(tmp_path: Path):
    (tmp_path / 'x').write_bytes(b'content')
    digest = hashlib.sha256(b'content').hexdigest()
    states = [
        checkpoint_state(CheckpointSpec(file, sha256), tmp_path)
        for file, sha256 in (('', ''), ('y', ''), ('x', ''), ('x', digest), ('x', '0' * 64))
    ]
    assert states == ['none published', 'absent', 'here, no checksum', 'here', 'wrong file']


def bundle(*sensors: Modality) -> SensorBundle:
    generator = torch.Generator().manual_seed(0)
    camera = CameraModel(80, 60, torch.tensor([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]]).numpy())
    frames, transforms = {}, {}
    for sensor in sensors:
        image = torch.randint(256, (60, 80), dtype=torch.uint8, generator=generator).numpy()
        if sensor is Modality.CAMERA:
            image = camera_picture(np.random.default_rng(0), (60, 80))
        frames[sensor] = SensorFrame(sensor, 5, sensor.value, image, camera)
        if sensor is not Modality.CAMERA:
            transforms[sensor] = torch.eye(4, dtype=torch.float64).numpy()
    return SensorBundle(5, sensors[0], camera, frames, T_camera=transforms)


@pytest.mark.parametrize('key', ['ad', 'fusion'])
def test_segmenter_runs_them_and_says_when_a_required_sensor_is_missing(tmp_path, key):
    spec = zoo(tmp_path)[key]
    segmenter = Segmenter([ExpertNetwork(spec, build_model(spec))])
    (result,) = segmenter.segment([bundle(Modality.CAMERA, Modality.THERMAL)])
    assert result.mask.shape == (60, 80)
    assert result.expert == key
    assert result.used == tuple(Modality(name) for name in spec.required)
    assert result.gate == {}  # neither has one
    with pytest.raises(SegmentationError, match='needs camera'):
        segmenter.segment([bundle(Modality.THERMAL)])


@pytest.fixture
def sam_file(tmp_path: Path) -> CheckpointSpec:
    """A file in SAM's layout whose parts fit the entries above."""
    torch.manual_seed(3)
    sam = Sam(
        SamVit(SAM_VIT_SPECS['micro']),
        PromptEncoder(64, (4, 6), (64, 96), 16),
        MaskDecoder(
            transformer_dim=64,
            transformer=TwoWayTransformer(depth=2, embedding_dim=64, num_heads=8, mlp_dim=64),
        ),
    )
    path = tmp_path / 'sam.pth'
    torch.save(sam.state_dict(), path)
    return CheckpointSpec(path.name, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize('key', ['ad', 'fusion'])
def test_backbone_is_loaded_from_the_file_that_the_entry_names(tmp_path, sam_file, key):
    spec = dataclasses.replace(zoo(tmp_path)[key], backbone=sam_file)
    network = build_model(spec)
    assert load_backbone(network, spec, tmp_path) == ('sam.pth',)
    state = torch.load(tmp_path / 'sam.pth', weights_only=True)
    assert torch.equal(network.encoder.pos_embed, state['image_encoder.pos_embed'])
    assert torch.equal(network.encoder.neck[2].weight, state['image_encoder.neck.2.weight'])
    wrong = dataclasses.replace(spec, backbone=dataclasses.replace(sam_file, sha256='0' * 64))
    with pytest.raises(CheckpointError, match='expected 0000'):
        load_backbone(network, wrong, tmp_path)


def test_resnet_weights_come_from_their_own_file(tmp_path, sam_file):
    arguments = {'backbone': BACKBONE, 'resnet_weights': 'resnet50'}
    specs = zoo(tmp_path, ad={**ENTRIES['ad'], 'arguments': arguments})
    spec = dataclasses.replace(specs['ad'], backbone=sam_file)
    with torch.device('meta'):
        network = AdSam(SamVit(SAM_VIT_SPECS['micro']), ResNet(ResNetSpec()), 19)
    file = tmp_path / WEIGHT_FILES['resnet50'].name
    with pytest.raises(CheckpointError, match=f'cannot read {file}'):
        load_backbone(network, spec, tmp_path)
    torch.save(resnet50(weights=None).state_dict(), file)
    with pytest.raises(CheckpointError, match='expected 11ad3fa6'):
        load_backbone(network, spec, tmp_path)


def test_an_entry_without_a_backbone_starts_from_scratch(tmp_path: Path):
    spec = zoo(tmp_path)['ad']
    assert load_backbone(build_model(spec), spec, tmp_path) == ()
