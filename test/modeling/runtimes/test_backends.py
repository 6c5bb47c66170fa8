"""Every backend gives the mask of torch; what cannot run is told in one line, and torch runs."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_ad_perception.commands.options.labelling import parse_label
from sam_ad_perception.modeling.inference import expert_network
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.inputs.preparation import PreparedBundle
from sam_ad_perception.modeling.runtimes import onnx_providers
from sam_ad_perception.modeling.runtimes.backends import (
    BACKENDS,
    BackendConfig,
    CompiledBackend,
    TorchBackend,
)
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo
from sam_ad_perception.nodes.ros.configuration import ModelConfig

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

SMALL = """
models:
  ad_sam:
    builder: ad_sam
    arguments:
      backbone: {size: micro, freeze: false}
      resnet: {layers: [1, 1, 1, 1], width: 32, bottleneck: false}
    modalities:
      camera: {representation: rgb}
    required: [camera]
    input_size: [64, 96]
    label_space: cityscapes
  fusion_sam:
    builder: fusion_sam
    arguments:
      backbone: {size: micro, freeze: false}
      latent: {width: 4, dim: 32, num_codes: 16, quantize: false}
      fmp: {heads: 2, ffn_ratio: 1, window: 8, points: 4}
      decoder_mlp_dim: 16
      sam_scale: 1
      output: mean
    modalities:
      camera: {representation: rgb}
      thermal: {representation: thermal_percentile}
    required: [camera, thermal]
    input_size: [64, 96]
    label_space: cityscapes
"""


@pytest.fixture(scope='module')
def onnx(tmp_path_factory: pytest.TempPathFactory) -> BackendConfig:
    """One folder for all tests: an export takes seconds, and the same networks come again."""
    return BackendConfig('onnx', cache=tmp_path_factory.mktemp('cache'))


@pytest.fixture(params=['onnx', 'openvino'])
def exported(request: pytest.FixtureRequest, onnx: BackendConfig) -> BackendConfig:
    """Each runtime of exported graphs, with the same folder: a graph is exported once."""
    if request.param == 'openvino':
        pytest.importorskip('openvino')
    return dataclasses.replace(onnx, name=request.param)


def make_batch(spec: ModelSpec, names: tuple[str, ...], size: int = 1) -> list[PreparedBundle]:
    rng = np.random.default_rng(1)
    return [
        PreparedBundle(
            {
                n: rng.standard_normal((spec.channels[n], *spec.input_size), np.float32)
                for n in names
            },
            {},
        )
        for _ in range(size)
    ]


def assert_same(got: ExpertNetwork, plain: ExpertNetwork, items: list[PreparedBundle]) -> None:
    """Logits within 1e-3 of their range, gates within 1e-4, at least 99.9 % of the mask equal."""
    made, logits = got.run(items)
    expected, wanted = plain.run(items)
    assert logits.shape == wanted.shape
    np.testing.assert_allclose(logits, wanted, atol=1e-3 * float(wanted.abs().max()))
    assert (logits.argmax(1) == wanted.argmax(1)).float().mean() >= 0.999
    assert len(wanted.argmax(1).unique()) > 1
    assert made.modalities == expected.modalities
    assert (made.gate is None) == (expected.gate is None)
    if made.gate is not None and expected.gate is not None:
        np.testing.assert_allclose(made.gate, expected.gate, atol=1e-4)


@pytest.mark.parametrize(
    'names',
    [('lidar',), ('camera', 'thermal', 'event', 'lidar')],
    ids='+'.join,
)
def test_exported_graphs_give_the_mask_of_torch(spec, network, exported, names):
    plain, got = ExpertNetwork(spec, network), ExpertNetwork(spec, network, backend=exported)
    assert_same(got, plain, make_batch(spec, names, 3))
    assert got.backend is not got._eager


@pytest.mark.parametrize('key', ['ad_sam', 'fusion_sam'])
def test_the_other_networks_give_the_mask_of_torch(tmp_path: Path, exported, key):
    (tmp_path / 'small.yaml').write_text(SMALL)
    spec = load_zoo(tmp_path / 'small.yaml')[key]
    torch.manual_seed(0)
    network = build_model(spec)
    plain, got = ExpertNetwork(spec, network), ExpertNetwork(spec, network, backend=exported)
    assert_same(got, plain, make_batch(spec, tuple(spec.inputs)))
    assert got.backend is not got._eager


def test_what_was_exported_is_kept_for_this_network_alone(spec, network, onnx):
    item = make_batch(spec, ('lidar',))
    first = ExpertNetwork(spec, network, backend=onnx)
    first.run(item)
    graph = first.backend.folder / 'lidar' / 'network.onnx'
    written = graph.stat().st_mtime_ns
    ExpertNetwork(spec, network, backend=onnx).run(item)
    assert graph.stat().st_mtime_ns == written
    with torch.no_grad():
        next(network.parameters()).add_(1e-3)
    changed = ExpertNetwork(spec, network, backend=onnx)
    assert changed.backend.folder != first.backend.folder
    other = dataclasses.replace(spec, input_size=(32, 64))
    assert ExpertNetwork(other, network, backend=onnx).backend.folder != changed.backend.folder
    assert not list(onnx.cache.rglob('.export-*'))


def test_a_graph_that_makes_another_mask_does_not_drive(spec, network, exported, caplog):
    item = make_batch(spec, ('lidar',))
    first = ExpertNetwork(spec, network, backend=exported)
    first.run(item)
    torch.manual_seed(7)
    stranger = ExpertNetwork(spec, build_model(spec), backend=exported)
    shutil.copytree(first.backend.folder, stranger.backend.folder, dirs_exist_ok=True)
    with caplog.at_level(logging.WARNING):
        got, _ = stranger.run(item)
    assert 'another class than torch with lidar' in caplog.text
    assert stranger.backend is stranger._eager
    np.testing.assert_array_equal(got.logits, stranger._eager.run(_images(item)).logits)


@pytest.mark.parametrize('provider', ['cuda', 'tensorrt'])
def test_a_provider_that_does_not_load_is_told_in_one_line(spec, network, onnx, caplog, provider):
    if not onnx_providers.find_problem(provider):
        pytest.skip(f'{provider} loads on this machine')
    with caplog.at_level(logging.WARNING):
        expert = ExpertNetwork(
            spec, network, backend=dataclasses.replace(onnx, providers=(provider, 'cpu'))
        )
    (record,) = caplog.records
    assert record.message.startswith('torch runs tiny, because the backend cannot: ONNX Runtime,')
    assert f'provider {provider}: ' in record.message
    assert len(expert.run(make_batch(spec, ('camera',)))[1]) == 1


def test_sets_that_nobody_prepared_run_under_torch(spec, network, onnx):
    expert, told = ExpertNetwork(spec, network, backend=onnx), []
    expert.spec = dataclasses.replace(spec, required=tuple(spec.inputs))
    expert.build(told.append)
    assert told[0] == 'preparing ONNX Runtime: camera+thermal+event+lidar, 1 of 1'
    before = set(onnx.cache.rglob('*.onnx'))
    item = make_batch(spec, ('camera',))
    _, logits = expert.run(item)
    assert set(onnx.cache.rglob('*.onnx')) == before
    np.testing.assert_array_equal(logits, expert._eager.run(_images(item)).logits)


@pytest.mark.slow
def test_a_compiler_that_is_missing_is_told_and_torch_runs(spec, network, monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, 'cxx', ('no-such-compiler',))
    monkeypatch.setattr(config, 'fx_graph_cache', False)
    told: list[str] = []
    spec = dataclasses.replace(spec, required=tuple(spec.inputs))
    expert = ExpertNetwork(spec, network, backend=BackendConfig('compile'))
    assert isinstance(expert.backend, CompiledBackend)
    expert.build(told.append)
    assert told[-1].startswith('torch runs tiny, because the backend cannot: torch.compile: ')
    assert isinstance(expert.backend, TorchBackend)


@pytest.mark.slow
@pytest.mark.skipif(
    'SAM_AD_COMPILE' not in os.environ, reason='compiling takes minutes: SAM_AD_COMPILE=1 does it'
)
def test_compiled_torch_gives_the_mask_of_torch(spec):
    alone = dataclasses.replace(spec, inputs={'camera': spec.inputs['camera']})
    network = build_model(alone)
    plain = ExpertNetwork(alone, network)
    got = ExpertNetwork(alone, network, backend=BackendConfig('compile'))
    got.build(print)
    assert got.backend is not got._eager
    assert_same(got, plain, make_batch(alone, ('camera',), 2))


def test_half_precision_is_near(spec, network):
    plain = ExpertNetwork(spec, network)
    half = ExpertNetwork(spec, network, backend=BackendConfig(half=True))
    items = make_batch(spec, ('camera', 'lidar'))
    logits, wanted = half.run(items)[1], plain.run(items)[1]
    assert logits.dtype == torch.float32
    assert 0 < (logits - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_the_segmenter_runs_on_the_backend(spec, network, exported, bundle):
    segmenter = Segmenter([ExpertNetwork(spec, network, backend=exported)])
    (got,) = segmenter.segment([bundle])
    (expected,) = Segmenter([ExpertNetwork(spec, network)]).segment([bundle])
    assert (got.mask == expected.mask).mean() > 0.999
    assert got.gate.keys() == expected.gate.keys()
    assert got.gate == pytest.approx(expected.gate, abs=1e-4)


def test_node_and_command_offer_every_backend(capsys):
    """Their lists stand where torch is not imported."""
    fields = {each.name: each for each in dataclasses.fields(ModelConfig)}
    assert fields['backend'].metadata['choices'] == BACKENDS
    with pytest.raises(SystemExit):
        parse_label(['--help'])
    assert f'{{{",".join(BACKENDS)}}}' in ''.join(capsys.readouterr().out.split())


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"backend must be one of .*, got 'caffe'"):
        BackendConfig('caffe')
    with pytest.raises(ValueError, match=r"providers must be some of .*, got \['gpu'\]"):
        BackendConfig('onnx', ('gpu',))
    with pytest.raises(ValueError, match='got none'):
        BackendConfig('onnx', ())


def test_auto_follows_the_device():
    choose = onnx_providers.choose_providers
    assert choose(('auto',), torch.device('cpu')) == ('cpu',)
    assert choose(('tensorrt', 'auto', 'cuda'), torch.device('cuda:1')) == ('tensorrt', 'cuda')
    (name, options), _ = onnx_providers.provider_options(
        ('tensorrt', 'cuda'), torch.device('cuda:1'), Path('engines'), half=True
    )
    assert name == 'TensorrtExecutionProvider'
    assert options['device_id'] == 1
    assert options['trt_fp16_enable']
    assert options['trt_engine_cache_path'] == 'engines'


def test_without_onnxruntime_torch_runs(spec, network, monkeypatch, caplog):
    monkeypatch.setattr(onnx_providers.importlib.util, 'find_spec', lambda name: None)
    with caplog.at_level(logging.WARNING, expert_network.__name__):
        expert = ExpertNetwork(spec, network, backend=BackendConfig('onnx'))
    assert 'onnxruntime is not installed' in caplog.text
    assert expert.backend is expert._eager


def _images(items: list[PreparedBundle]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(image[None]) for name, image in items[0].inputs.items()}


def test_a_cache_that_others_may_write_is_refused(tmp_path):
    """What lies in it is loaded and run."""
    from sam_ad_perception.modeling.runtimes.backends import BackendError
    from sam_ad_perception.modeling.runtimes.exported_graphs import make_private

    make_private(tmp_path / 'new')
    assert (tmp_path / 'new').stat().st_mode & 0o777 == 0o700
    (tmp_path / 'open').mkdir()
    (tmp_path / 'open').chmod(0o777)
    with pytest.raises(BackendError, match=r'may be written by others \(mode 777\)'):
        make_private(tmp_path / 'open')
