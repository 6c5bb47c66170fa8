from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.zoo.checkpoints import (
    CheckpointError,
    CheckpointSpec,
    load_checkpoint,
)
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo

ROOT = Path(__file__).parents[3]


def saved(network, folder: Path, **changes) -> CheckpointSpec:
    state = {name: t.half().contiguous() for name, t in network.state_dict().items()}
    state.update(changes)
    path = folder / 'tiny.safetensors'
    save_file({k: v for k, v in state.items() if v is not None}, path)
    return CheckpointSpec(path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def test_shipped_zoo_loads_and_builds():
    zoo = load_zoo(ROOT / 'models' / 'zoo.yaml')
    assert {'mle_sam_demo', 'mle_sam_hiera_base_plus'} <= set(zoo)
    for spec in zoo.values():
        with torch.device('meta'):
            network = build_model(spec)
        assert any(p.requires_grad for p in network.parameters())
        assert spec.checkpoint.licence or not spec.checkpoint.file


def test_shipped_demo_checkpoint_is_the_one_of_the_zoo():
    spec = load_zoo(ROOT / 'models' / 'zoo.yaml')['mle_sam_demo']
    folder = ROOT / 'models' / 'checkpoints'
    assert spec.checkpoint.sha256
    assert (folder / spec.checkpoint.file).stat().st_size < 10_000_000
    load_checkpoint(build_model(spec), spec.checkpoint, folder)
    best = max(spec.results, key=lambda result: len(result.subset))
    assert best.subset == ('camera', 'thermal', 'event', 'lidar')
    assert best.classes >= 11


def test_round_trip_through_half_precision(network, spec, tmp_path):
    checkpoint = saved(network, tmp_path)
    other = build_model(spec)
    load_checkpoint(other, checkpoint, tmp_path)
    for (name, got), expected in zip(
        other.state_dict().items(), network.state_dict().values(), strict=True
    ):
        assert got.dtype == torch.float32, name
        assert torch.equal(got, expected.half().float()), name


def test_from_zoo_builds_and_loads(network, zoo_path, tmp_path, bundle):
    saved(network, tmp_path)
    segmenter = Segmenter.from_zoo(zoo_path, 'tiny', tmp_path, threads=1)
    assert segmenter.segment([bundle])[0].expert == 'tiny'
    with pytest.raises(ValueError, match=r"has no model 'nano', expected one of tiny"):
        Segmenter.from_zoo(zoo_path, 'nano', tmp_path)
    with pytest.raises(ValueError, match='threads must be 1 or more, got 0'):
        Segmenter.from_zoo(zoo_path, 'tiny', tmp_path, threads=0)


def test_wrong_checksum_is_refused(network, tmp_path):
    checkpoint = saved(network, tmp_path)
    wrong = dataclasses.replace(checkpoint, sha256='0' * 64)
    with pytest.raises(CheckpointError, match=f'has sha256 {checkpoint.sha256}, expected 0000'):
        load_checkpoint(network, wrong, tmp_path)


def test_wrong_keys_are_named(network, tmp_path):
    bias = network.aux_head.classify.bias.detach()
    checkpoint = saved(network, tmp_path, **{'aux_head.classify.bias': None, 'stranger': bias})
    with pytest.raises(
        CheckpointError, match=r'missing aux_head\.classify\.bias, unexpected stranger'
    ):
        load_checkpoint(network, checkpoint, tmp_path)


def test_wrong_shape_is_named(network, tmp_path):
    checkpoint = saved(network, tmp_path, **{'aux_head.classify.bias': torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r'bias has shape \(3,\), expected \(19,\)'):
        load_checkpoint(network, checkpoint, tmp_path)


def test_absent_unpublished_and_foreign_files_are_refused(network, tmp_path):
    with pytest.raises(CheckpointError, match='cannot read checkpoint'):
        load_checkpoint(network, CheckpointSpec('none.safetensors'), tmp_path)
    with pytest.raises(CheckpointError, match='no checkpoint is published: ask them'):
        load_checkpoint(network, CheckpointSpec(note='ask them'), tmp_path)
    (tmp_path / 'x.safetensors').write_bytes(b'not a checkpoint')
    with pytest.raises(CheckpointError, match='is not a safetensors file'):
        load_checkpoint(network, CheckpointSpec('x.safetensors'), tmp_path)


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (('builder',), 'yolo', "builder must be one of .*, got 'yolo'"),
        (('speed',), 9, r"models\.tiny has unknown fields \['speed'\]"),
        (('input_size',), [400, 640], 'positive multiples of 32'),
        (('input_size',), [64], 'must have 2 items, got 1'),
        (('resize',), 'pad', "resize must be stretch, got 'pad'"),
        (('label_space',), 'mars', 'label_space must be one of'),
        (('required',), ['radar'], r"required names \['radar'\]"),
        (('modalities',), {}, 'must name at least one'),
        (('modalities', 'camera'), {'representation': 'x'}, r'camera\.representation must be'),
        (('modalities', 'event', 'duration_ms'), 'long', r'duration_ms must be float'),
        (('modalities', 'event', 'colour'), 1, r"event has unknown fields \['colour'\]"),
        (('arguments', 'encoder'), 'huge', r'arguments: encoder must be one of'),
        (('arguments', 'lora', 'rank'), 1.5, r'lora\.rank must be int, got 1\.5'),
        (('arguments', 'output'), 'best', 'output must be one of'),
        (('arguments',), {}, r"arguments lacks \['encoder'\]"),
        (('checkpoint',), [], r'checkpoint must be a mapping'),
    ],
)
def test_a_wrong_entry_is_refused_with_its_place(zoo_path, path, value, message):
    content = yaml.safe_load(zoo_path.read_text())
    place = content['models']['tiny']
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    zoo_path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message):
        load_zoo(zoo_path)


def test_a_pattern_that_matches_nothing_is_refused(spec):
    arguments = dataclasses.replace(spec.arguments, frozen=('encoder.wheels.*',))
    with pytest.raises(ValueError, match=r"'encoder\.wheels\.\*' matches no parameter"):
        build_model(dataclasses.replace(spec, arguments=arguments))


def test_files_that_are_no_zoo_are_refused(tmp_path):
    path = tmp_path / 'zoo.yaml'
    path.write_text('experts: {}')
    with pytest.raises(ValueError, match='exactly one key, `models`'):
        load_zoo(path)
    path.write_text('models: [')
    with pytest.raises(ValueError, match='not valid YAML'):
        load_zoo(path)


def test_an_mle_sam_needs_no_torchvision():
    """It takes two seconds to import, of the six in which a segmenter starts."""
    code = (
        'import sys; from pathlib import Path\n'
        'from sam_ad_perception.modeling.inference.segmenter import Segmenter\n'
        f'models = Path({str(ROOT)!r}) / "models"\n'
        'Segmenter.from_zoo(models / "zoo.yaml", "mle_sam_demo", models / "checkpoints")\n'
        'sys.exit(any(name in sys.modules for name in ("torchvision", "torch._dynamo")))\n'
    )
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=False).returncode == 0
