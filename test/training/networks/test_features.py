"""Features of a frozen encoder that are kept on the disk, against those computed each time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from sam_ad_perception.modeling.encoders.specs import AdSamArguments
from sam_ad_perception.modeling.networks.ad_sam import AdSam
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo
from training.configuration.augmentation import AugmentationConfig, CorruptionConfig
from training.networks.encoder_features import remember_features

ROOT = Path(__file__).parents[3]
PLAIN = AugmentationConfig(vary=False, flip=0.5)


@pytest.fixture
def spec() -> ModelSpec:
    spec = load_zoo(ROOT / 'training/configs/debug_zoo.yaml')['debug_ad_sam']
    assert isinstance(spec.arguments, AdSamArguments)
    backbone = dataclasses.replace(spec.arguments.backbone, freeze=True)
    return dataclasses.replace(
        spec, arguments=dataclasses.replace(spec.arguments, backbone=backbone)
    )


def learn(network: AdSam, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    logits = network({'camera': images}).logits
    network.zero_grad()
    logits.square().mean().backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    return logits.detach(), gradients


@pytest.mark.parametrize('half', [False, True])
def test_logits_and_gradients_are_those_of_the_direct_pass(spec, tmp_path, half):
    torch.manual_seed(0)
    network = build_model(spec).train()
    names = list(network.state_dict())
    images = torch.randn(3, 1, 3, 64, 96)
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        direct = [learn(network, image) for image in images]
        remember_features(network, tmp_path, PLAIN)
        for _ in range(2):  # computed and kept; then read
            for image, (logits, gradients) in zip(images, direct, strict=True):
                again, others = learn(network, image)
                assert torch.equal(again, logits)
                assert others.keys() == gradients.keys()
                assert all(torch.equal(others[name], gradients[name]) for name in gradients)
    assert len(list(tmp_path.iterdir())) == 3
    assert list(network.state_dict()) == names
    assert all(p.grad is None for p in network.encoder.parameters())


def test_the_encoder_does_not_run_for_an_image_that_it_has_seen(spec, tmp_path):
    network = build_model(spec)
    remember_features(network, tmp_path, PLAIN)
    image = torch.randn(1, 3, 64, 96)
    first = network.encoder(torch.cat([image, image.flip(3)]))
    assert len(list(tmp_path.iterdir())) == 2
    with torch.no_grad():
        for parameter in network.encoder.parameters():
            parameter.fill_(torch.nan)  # whatever runs through it now shows
    assert torch.equal(network.encoder(image), first[:1])
    assert torch.equal(network.encoder(image.flip(3)), first[1:])
    assert bool(network.encoder(image + 1).isnan().any())


def test_other_weights_do_not_meet_the_files_of_the_first(spec, tmp_path):
    image = torch.randn(1, 3, 64, 96)
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = build_model(spec)
        expected = network.encoder(image)
        remember_features(network, tmp_path, PLAIN)
        made.append(network.encoder(image))
        assert torch.equal(made[-1], expected)
    assert not torch.equal(*made)


@pytest.mark.parametrize(
    'augmentation',
    [
        AugmentationConfig(),
        AugmentationConfig(vary=False, scales=(0.5, 2.0)),
        AugmentationConfig(vary=False, piece=(64, 64)),
        AugmentationConfig(vary=False, colour=0.1),
        AugmentationConfig(vary=False, blur=0.1),
        AugmentationConfig(vary=False, corruption=CorruptionConfig(noise={'camera': 0.1})),
    ],
)
def test_augmentation_that_changes_images_is_refused(spec, tmp_path, augmentation):
    with pytest.raises(ValueError, match='augmentation may mirror frames and do nothing else'):
        remember_features(build_model(spec), tmp_path, augmentation)


def test_an_encoder_that_is_trained_is_refused(tmp_path):
    spec = load_zoo(ROOT / 'training/configs/debug_zoo.yaml')['debug_ad_sam']
    with pytest.raises(ValueError, match='the encoder is trained'):
        remember_features(build_model(spec), tmp_path, PLAIN)
