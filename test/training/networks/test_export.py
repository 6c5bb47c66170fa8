from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from sam_ad_perception.core.health.config import UNCHECKED
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.zoo.checkpoints import CheckpointError
from sam_ad_perception.modeling.zoo.entries import build_model, load_zoo
from training import export as command
from training.evaluation.data import HeldBackDrives
from training.evaluation.selection import load_network
from training.export import export_network
from training.networks.checkpoint import export_weights

ROOT = Path(__file__).parents[3]
DEBUG = ROOT / 'training/configs/debug_zoo.yaml'


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    network = build_model(load_zoo(DEBUG)['debug'])
    path = tmp_path / 'run' / 'debug.safetensors'
    export_weights(network.state_dict(), path, half=False)
    return path


def run(monkeypatch, *arguments):
    monkeypatch.setattr('sys.argv', ['export', *map(str, arguments), '--zoo', str(DEBUG)])
    command.main()


def test_what_is_exported_segments_like_the_network_it_came_from(weights, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    figures = tmp_path / 'figures' / 'results.yaml'
    figures.parent.mkdir()
    row = {'dataset': 'simulated, x', 'subset': ['camera'], 'miou': 12.5, 'classes': 17}
    row |= {'frames': 3, 'resolution': [400, 640]}
    figures.write_text(yaml.safe_dump({'debug': {'results': [row]}}))
    extras = ('--licence', 'CC0-1.0', '--results', figures.parent)
    run(monkeypatch, weights, '--out', out, '--name', 'mine', *extras)
    spec = load_zoo(out / 'zoo.yaml')['mine']
    file = out / 'checkpoints' / 'mine.safetensors'
    assert spec.checkpoint.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert spec.checkpoint.licence == 'CC0-1.0'
    assert spec.checkpoint.note.startswith('python -m training.export ')
    assert spec.results[0].miou == 12.5
    assert file.stat().st_size < 0.6 * weights.stat().st_size  # half precision
    before = load_network(str(weights), DEBUG, tmp_path).network.state_dict()
    after = load_network('mine', out / 'zoo.yaml', out / 'checkpoints').network.state_dict()
    for name, tensor in before.items():
        assert torch.equal(tensor.half().float(), after[name]), name
    run(monkeypatch, weights.parent / 'debug.safetensors', '--out', out, '--full')
    exported = Segmenter.from_zoo(out / 'zoo.yaml', 'debug', out / 'checkpoints', health=UNCHECKED)
    original = Segmenter.from_zoo(
        _zoo_with(weights, tmp_path), 'debug', weights.parent, health=UNCHECKED
    )
    (frame,) = HeldBackDrives(1)
    masks = [s.segment([frame.bundle])[0].mask for s in (exported, original)]
    assert (masks[0] == masks[1]).mean() > 0.999


def _zoo_with(weights, folder):
    """The debug entry with given weights."""
    content = yaml.safe_load(DEBUG.read_text())
    content['models'] = {'debug': content['models']['debug']}
    content['models']['debug']['checkpoint'] = {'file': weights.name}
    path = folder / 'zoo.yaml'
    # in the order of the file: the gate knows its modalities by their place
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_a_network_that_does_not_come_back_is_refused(weights, tmp_path):
    trained = load_network(str(weights), DEBUG, tmp_path)
    trained.network.encoder.trunk.pos_embed.data.fill_(float('nan'))
    with pytest.raises(CheckpointError, match=r'logits that are no numbers|NaN or infinity'):
        export_network(trained, 'bad', tmp_path)
    trained = load_network(str(weights), DEBUG, tmp_path)
    handle = trained.network.encoder.register_forward_hook(
        lambda module, inputs, levels: [level + 0.5 * level.sign() for level in levels]
    )
    with pytest.raises(CheckpointError, match='neither in the file nor in the entry'):
        export_network(trained, 'bad', tmp_path)
    handle.remove()
    calls = iter(np.arange(1, 100))
    handle = trained.network.encoder.register_forward_hook(
        lambda module, inputs, levels: [level * float(next(calls)) for level in levels]
    )
    with pytest.raises(CheckpointError, match='is not in its state'):
        export_network(trained, 'bad', tmp_path)
    handle.remove()
    assert not (tmp_path / 'bad.safetensors').exists()
    assert export_network(trained, 'good', tmp_path).file == 'good.safetensors'


def test_a_command_that_cannot_be_done_ends_with_a_sentence(
    weights, tmp_path, monkeypatch, capsys
):
    for arguments, words in (
        (('nothing',), 'neither a file, nor the folder of a run'),
        (('debug',), 'debug has no weights'),
        ((weights, '--results', tmp_path), 'does not exist'),
    ):
        with pytest.raises(SystemExit):
            run(monkeypatch, *arguments, '--out', tmp_path / 'out')
        assert words in ' '.join(capsys.readouterr().err.split())
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_onnx_files_lie_beside_the_weights(weights, tmp_path, monkeypatch, capsys):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    out = tmp_path / 'out'
    run(monkeypatch, weights, '--out', out, '--name', 'mine', '--sensors', 'camera')
    assert [path.name for path in (out / 'onnx').iterdir()] == ['mine.camera.onnx']
    assert 'of the pixels agree' in ' '.join(capsys.readouterr().out.split())
