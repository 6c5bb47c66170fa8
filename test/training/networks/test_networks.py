"""Every small network of the zoo: one step, saved, read back."""

from __future__ import annotations

import dataclasses
import fnmatch
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from sam_ad_perception.modeling.encoders.specs import LatentSpec, ResNetSpec
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.networks.ad_sam import ResNet
from sam_ad_perception.modeling.networks.fusion_sam import PIXEL_MEAN, PIXEL_STD
from sam_ad_perception.modeling.networks.latent_autoencoder import LatentAutoencoder
from sam_ad_perception.modeling.networks.vector_quantizer import VectorQuantizer
from sam_ad_perception.modeling.zoo.checkpoints import (
    CheckpointError,
    CheckpointSpec,
    load_checkpoint,
)
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig
from training import latents, train
from training.configuration.autoencoder import LatentStageConfig, VqganWeights
from training.configuration.place import MachineConfig
from training.configuration.run import TrainConfig, load_config
from training.datasets.own.simulated import FrameCache
from training.evaluation.selection import load_network
from training.frames.frame import Batch
from training.latents import LatentTrainer
from training.networks.checkpoint import export_weights
from training.networks.start import build_network
from training.optimization.autoencoder_losses import VqganLoss
from training.runs.trainer import Trainer

ROOT = Path(__file__).parents[3]
SHIPPED, DEBUG = ROOT / 'models/zoo.yaml', ROOT / 'training/configs/debug_zoo.yaml'
SMALL = [
    *[(SHIPPED, key) for key in load_zoo(SHIPPED) if key.endswith(('_small', '_demo'))],
    *[(DEBUG, key) for key in load_zoo(DEBUG)],
]
SAM2_UNREAD = (
    'decoder.iou_prediction_head.*',
    'decoder.output_hypernetworks_mlps.0.*',
    'prompt_encoder.point_embeddings.*',
    'prompt_encoder.mask_downscaling.*',
)
SAM_UNREAD = (
    'decoder.iou_prediction_head.*',
    'decoder.output_hypernetworks_mlps.*',
    'prompt_encoder.no_mask_embed.*',
    'prompt_encoder.point_embeddings.[01].*',
)
FROZEN = {
    'mle_sam_demo': SAM2_UNREAD,
    'debug': SAM2_UNREAD,
    'debug_mle_sam_copies': (
        'prompt_encoder.*',
        'decoder.transformer.*',
        'decoder.heads.*.iou_prediction_head.*',
        'decoder.heads.*.output_hypernetworks_mlps.0.*',
    ),
    'ad_sam_small': (),
    'debug_ad_sam': (),
    'fusion_sam_small': SAM_UNREAD,
    'debug_fusion_sam': (*SAM_UNREAD, 'latents.*'),
}
"""What training must leave alone, by name; all else must move."""

NO_GRADIENT = '*k_proj.bias'
"""Softmax does not see a shift of all keys: zero but for rounding."""


def config_of(tmp_path: Path, zoo: Path, key: str, **changes) -> TrainConfig:
    base = load_config(ROOT / 'training/configs/debug.yaml')
    return dataclasses.replace(
        base,
        model=key,
        zoo=str(zoo),
        output_dir=str(tmp_path / key),
        checkpoints=str(tmp_path),
        schedule=dataclasses.replace(base.schedule, replicas=1),
        optimizer=dataclasses.replace(base.optimizer, lr=1e-2),
        **changes,
    )


def quiet() -> Console:
    return Console(quiet=True)


def batch_for(channels: dict[str, int], seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = {n: torch.randn(2, c, 64, 96, generator=generator) for n, c in channels.items()}
    coarse = torch.randint(0, 19, (2, 10, 16), generator=generator)
    return Batch(inputs, coarse.repeat_interleave(40, 1).repeat_interleave(40, 2))


def with_latents(config: TrainConfig) -> TrainConfig:
    """Train the first stage for a step, where the entry needs one."""
    if config.model != 'debug_fusion_sam':
        return config
    stage = LatentStageConfig(
        file=f'{config.output_dir}/latents.safetensors',
        steps=4,
        discriminator_width=4,
        discriminator_layers=2,
        weights=VqganWeights(perceptual=0.0, adversarial_start=0.5),
    )
    config = dataclasses.replace(config, latents=stage)
    LatentTrainer(config, quiet()).save()
    return config


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


@pytest.mark.parametrize(('zoo', 'key'), SMALL, ids=[key for _, key in SMALL])
def test_a_step_moves_what_is_trained_and_nothing_else(zoo, key, tmp_path):
    trainer = Trainer(with_latents(config_of(tmp_path, zoo, key)), quiet())
    network = trainer.network
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        if parameter.requires_grad and not parameter.any():  # zeros would hide what is before
            parameter.data.normal_(std=0.02, generator=generator)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    codes = [m.codes.clone() for m in network.modules() if isinstance(m, VectorQuantizer)]
    trainer.train_step([batch_for(trainer.spec.channels)])
    for name, parameter in network.named_parameters():
        if matches(name, FROZEN[key]):
            assert not parameter.requires_grad, name
            assert parameter.grad is None, name
            assert torch.equal(parameter, before[name]), name
        else:
            assert parameter.requires_grad, name
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            if not matches(name, (NO_GRADIENT,)):
                assert parameter.grad.any(), name
                assert not torch.equal(parameter, before[name]), name
    names = [name for name, _ in network.named_parameters()]
    assert all(fnmatch.filter(names, pattern) for pattern in FROZEN[key])
    after = [m.codes for m in network.modules() if isinstance(m, VectorQuantizer)]
    moved = [not torch.equal(a, b) for a, b in zip(after, codes, strict=True)]
    assert moved == [key == 'fusion_sam_small'] * len(codes)


@pytest.mark.parametrize(('zoo', 'key'), SMALL, ids=[key for _, key in SMALL])
def test_weights_read_back_give_the_same_output_bit_for_bit(zoo, key, tmp_path):
    config = with_latents(config_of(tmp_path, zoo, key, half=False))
    trainer = Trainer(config, quiet())
    trainer.train_step([batch_for(trainer.spec.channels)])
    digest = trainer.save()
    checkpoint = CheckpointSpec(f'{key}.safetensors', digest)
    inputs = batch_for(trainer.spec.channels, seed=3).inputs
    network = trainer.average.network.eval()
    with torch.inference_mode():
        expected = network(inputs)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    # into the same memory: matrix products round differently at other addresses
    load_checkpoint(network, checkpoint, tmp_path / key)
    fresh = build_model(trainer.spec).eval()
    load_checkpoint(fresh, checkpoint, tmp_path / key)
    with torch.inference_mode():
        assert torch.equal(network(inputs).logits, expected.logits)
        torch.testing.assert_close(fresh(inputs).logits, expected.logits, atol=1e-4, rtol=1e-4)
    for (name, tensor), other in zip(
        network.state_dict().items(), fresh.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, other), name


def test_half_precision_keeps_what_does_not_fit_into_it(tmp_path):
    network = torch.nn.BatchNorm1d(3)  # has an integer buffer
    network.running_var.fill_(1e6)
    digest = export_weights(network.state_dict(), tmp_path / 'x')
    other = torch.nn.BatchNorm1d(3)
    load_checkpoint(other, CheckpointSpec('x', digest), tmp_path)
    assert torch.equal(other.running_var, network.running_var)
    assert other.num_batches_tracked.dtype == torch.int64


def test_frozen_weights_are_not_copied(tmp_path):
    trainer = Trainer(with_latents(config_of(tmp_path, DEBUG, 'debug_fusion_sam')), quiet())
    average = dict(trainer.average.network.named_parameters())
    for name, parameter in trainer.network.named_parameters():
        shared = average[name].data_ptr() == parameter.data_ptr()
        assert shared == (not parameter.requires_grad), name


@pytest.mark.parametrize('precision', ['32', 'bf16-mixed'])
def test_first_stage_reaches_every_part_and_its_result_is_taken(tmp_path, precision):
    machine = MachineConfig(precision=precision)
    config = with_latents(config_of(tmp_path, DEBUG, 'debug_fusion_sam', machine=machine))
    Path(config.latents.file + '.run').unlink()
    trainer = LatentTrainer(config, quiet())
    before = {name: p.detach().clone() for name, p in trainer.discriminators.named_parameters()}
    inputs = batch_for(trainer.spec.channels).inputs
    for _ in range(2):  # the adversarial game begins half way
        terms = trainer.train_step(inputs)
        assert set(terms) == set(inputs)
        assert all(float(t.adversarial) == 0 for t in terms.values())
    assert all(
        torch.equal(p, before[name]) for name, p in trainer.discriminators.named_parameters()
    )
    terms = trainer.train_step(inputs)
    assert all(float(t.adversarial) != 0 for t in terms.values())
    for part in (trainer.latents, trainer.discriminators):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
    digest = trainer.save()
    resumed = LatentTrainer(config, quiet())
    assert resumed.step == 3
    assert resumed.save() == digest
    network = build_network(trainer.spec, config, quiet())
    for name, tensor in network.latents.state_dict().items():
        assert torch.equal(tensor, trainer.latents.state_dict()[name]), name


def test_reconstructions_get_better(tmp_path):
    config = with_latents(config_of(tmp_path, DEBUG, 'debug_fusion_sam'))
    Path(config.latents.file + '.run').unlink()
    stage = dataclasses.replace(config.latents, lr=3e-3, steps=100)
    trainer = LatentTrainer(dataclasses.replace(config, latents=stage), quiet())
    smooth = torch.nn.functional.interpolate
    inputs = {n: smooth(i[..., ::16, ::16], (64, 96), mode='bilinear') for n, i in
              batch_for(trainer.spec.channels).inputs.items()}  # fmt: skip
    distances = [trainer.train_step(inputs) for _ in range(25)]
    for name in inputs:
        first, last = (float(distances[i][name].reconstruction) for i in (0, -1))
        assert last < 0.6 * first, name


@pytest.mark.parametrize(
    ('key', 'stage', 'message'),
    [
        ('debug_fusion_sam', {}, 'latents.file must name them; train them first'),
        ('debug_fusion_sam', {'file': 'nowhere/x'}, 'nowhere/x: No such file.*train them first'),
        ('debug_ad_sam', {'file': 'x'}, 'latents.file is for FusionSAM'),
    ],
)
def test_stages_that_do_not_fit_are_refused(key, stage, message, tmp_path):
    config = config_of(tmp_path, DEBUG, key, latents=LatentStageConfig(**stage))
    with pytest.raises(ValueError, match=message):
        Trainer(config, quiet())


def test_only_a_network_with_autoencoders_has_a_first_stage(tmp_path):
    with pytest.raises(ValueError, match="only FusionSAM has autoencoders, got 'debug_ad_sam'"):
        LatentTrainer(config_of(tmp_path, DEBUG, 'debug_ad_sam'), quiet())
    with pytest.raises(ValueError, match=r'latents\.file must name the file'):
        LatentTrainer(config_of(tmp_path, DEBUG, 'debug_fusion_sam'), quiet())


def test_features_are_fetched_where_the_perceptual_term_is_on(tmp_path):
    with pytest.raises(ValueError, match="perceptual 1 and features '' do not go together"):
        LatentStageConfig(weights=VqganWeights())
    stage = LatentStageConfig('x', features='resnet50', weights=VqganWeights())
    with pytest.raises(CheckpointError, match=r'cannot read .*resnet50'):
        LatentTrainer(config_of(tmp_path, DEBUG, 'debug_fusion_sam', latents=stage), quiet())


def test_codes_that_move_allow_one_replica(tmp_path):
    config = config_of(tmp_path, SHIPPED, 'fusion_sam_small')
    schedule = dataclasses.replace(config.schedule, replicas=2)
    with pytest.raises(ValueError, match=r'schedule\.replicas must be 1, got 2'):
        Trainer(dataclasses.replace(config, schedule=schedule), quiet())


def test_an_absent_backbone_is_said_with_the_way_to_get_it(tmp_path):
    content = yaml.safe_load(SHIPPED.read_text())
    entry = content['models']['ad_sam_small']
    entry['arguments']['backbone']['freeze'] = True
    entry['backbone'] = {'file': 's.pth', 'note': 'sam_ad weights s'}
    zoo = tmp_path / 'zoo.yaml'
    zoo.write_text(yaml.safe_dump(content))
    with pytest.raises(
        CheckpointError, match=f'cannot read {tmp_path}/s.pth, which ad_sam_small .*weights s$'
    ):
        Trainer(config_of(tmp_path, zoo, 'ad_sam_small'), quiet())


def test_classes_that_no_drive_is_labelled_with_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'labelled as cityscapes, but fusion_sam has .* fmb15'):
        Trainer(config_of(tmp_path, SHIPPED, 'fusion_sam'), quiet())


def test_parts_have_their_own_rates(tmp_path):
    config = config_of(tmp_path, DEBUG, 'debug_ad_sam')
    optimizer = dataclasses.replace(config.optimizer, lr=1.0, scales={'resnet.*': 0.1})
    trainer = Trainer(dataclasses.replace(config, optimizer=optimizer), quiet())
    trainer.train_step([batch_for(trainer.spec.channels)])
    rates = {id(p): g['lr'] for g in trainer.optimizer.param_groups for p in g['params']}
    factors = {name.split('.')[0]: rates[id(p)] for name, p in trainer.network.named_parameters()}
    assert factors['resnet'] == pytest.approx(0.1 * factors['head'])
    assert factors['encoder'] == factors['head'] > 0
    wrong = dataclasses.replace(optimizer, scales={'vgg.*': 0.1})
    with pytest.raises(ValueError, match=r"'vgg\.\*' matches no trainable"):
        Trainer(dataclasses.replace(config, optimizer=wrong), quiet())


def test_both_stages_run_from_the_command_line_and_the_result_segments(
    tmp_path, monkeypatch, capsys
):
    places = [f'zoo={DEBUG}', f'cache_dir={tmp_path}/cache', f'output_dir={tmp_path}/run']
    places += [f'latents.file={tmp_path}/run/latents.safetensors', 'data.workers=0']
    places += ['data.seeds=[1000, 1001]', 'data.min_frames=2']
    path = ROOT / 'training/configs/debug_fusion_sam.yaml'
    monkeypatch.setattr('sys.argv', ['train', str(path), *places])
    with pytest.raises(SystemExit):
        train.main()
    assert 'latents.safetensors: No such file' in ' '.join(capsys.readouterr().err.split())
    config = load_config(path, places)
    spec = load_zoo(DEBUG)[config.model]
    FrameCache(Path(config.cache_dir), spec, config.data).render_drive(0)
    latents.main()
    train.main()
    trained = load_network(str(tmp_path / 'run'), DEBUG, tmp_path)
    segmenter = Segmenter([ExpertNetwork(trained.spec, trained.network)])
    drive = Drive(DriveConfig(seed=1000, duration_s=2.0))
    bundle, truth = drive.bundle(drive.config.start_ns + 1_000_000_000)
    (result,) = segmenter.segment([bundle])
    assert result.mask.shape == truth.labels.shape
    assert result.used == ('camera', 'thermal')


def test_features_see_both_sensors_as_imagenet_had_its_pictures():
    from torchvision.transforms.functional import normalize

    torch.manual_seed(0)
    resnet = ResNet(ResNetSpec((1, 1, 1, 1), 32, bottleneck=False))
    features = latents.ResNetFeatures(resnet)
    picture = torch.rand(2, 1, 64, 96)
    image = (2 * picture - 1).requires_grad_()
    levels = features(image)
    expected = resnet(normalize(picture.repeat(1, 3, 1, 1), PIXEL_MEAN, PIXEL_STD))
    assert len(levels) == 3
    for level, other in zip(levels, expected[:3], strict=True):
        torch.testing.assert_close(level, other)
    loss = VqganLoss(VqganWeights(adversarial=0.0), features)
    network = LatentAutoencoder(1, LatentSpec(8, 8, 16))
    terms = loss.generator(image.detach(), network(image.detach()), 0.0)
    terms.perceptual.backward()
    assert float(terms.perceptual.detach()) > 0
    assert all(p.grad is None for p in resnet.parameters())
    assert all(p.grad is not None for p in network.decoder.parameters())
