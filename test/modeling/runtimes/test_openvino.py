"""OpenVINO runs what ONNX has no OpenVINO rule for, says why it cannot run, and keeps its work."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import DeformConv2d

from sam_ad_perception.commands.doctor import machine
from sam_ad_perception.commands.doctor.findings import NOTE, OK
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inputs.preparation import PreparedBundle
from sam_ad_perception.modeling.networks.deformable import onnx_translations
from sam_ad_perception.modeling.runtimes import exported_graphs, openvino_runtime
from sam_ad_perception.modeling.runtimes.backends import BackendConfig, BackendError, TorchBackend

openvino = pytest.importorskip('openvino')
pytest.importorskip('onnxscript')

NAMES = ('lidar',)


@pytest.fixture(scope='module')
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests: an export takes seconds, and the same network comes again."""
    return tmp_path_factory.mktemp('cache')


@pytest.fixture
def item(spec) -> list[PreparedBundle]:
    rng = np.random.default_rng(1)
    shapes = {name: (spec.channels[name], *spec.input_size) for name in NAMES}
    return [PreparedBundle({n: rng.standard_normal(s, np.float32) for n, s in shapes.items()}, {})]


class Modulated(torch.nn.Module):
    """torchvision's deformable convolution with every attribute off its default."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.layer = DeformConv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=bias)

    def forward(self, x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        return self.layer(x, offset, mask)


@pytest.mark.parametrize('bias', [True, False])
def test_deformable_convolution_is_torchvisions(tmp_path: Path, bias: bool) -> None:
    """Offsets of several pixels reach far beyond the edges, where samples are zero."""
    torch.manual_seed(0)
    layer = Modulated(bias=bias).eval()
    x = torch.randn(1, 4, 12, 16)
    images = (x, 4 * torch.randn(1, 36, 6, 8), torch.rand(1, 18, 6, 8))
    with torch.no_grad():
        wanted = layer(*images)
        program = torch.onnx.export(
            layer,
            images,
            dynamo=True,
            opset_version=20,
            custom_translation_table=dict(onnx_translations()),
            verbose=False,
        )
    program.save(tmp_path / exported_graphs.GRAPH)
    run = openvino_runtime.compile_graph(tmp_path, half=False, threads=1)
    names = ('x', 'offset', 'mask')
    logits, gate = run(dict(zip(names, images, strict=True)))
    assert gate is None
    np.testing.assert_allclose(logits, wanted, atol=1e-5)


def test_bfloat16_is_near(spec, network, item, cache):
    config = BackendConfig('openvino', half=True, cache=cache)
    got = ExpertNetwork(spec, network, backend=config)
    if openvino_runtime.find_problem(half=True):
        assert isinstance(got.backend, TorchBackend)
        pytest.skip('this processor has no bfloat16')
    logits, wanted = got.run(item)[1], ExpertNetwork(spec, network).run(item)[1]
    assert logits.dtype == torch.float32
    assert 0 < (logits - wanted).abs().max() < 0.05 * wanted.abs().max()
    assert got.backend is not got._eager


def test_what_was_compiled_for_bfloat16_serves_bfloat16_alone(spec, network, item, tmp_path):
    """OpenVINO would take it for float32, too, with weights that are rounded already."""
    if openvino_runtime.find_problem(half=True):
        pytest.skip('this processor has no bfloat16')
    ExpertNetwork(spec, network, backend=BackendConfig('openvino', half=True, cache=tmp_path)).run(
        item
    )
    exact = ExpertNetwork(spec, network, backend=BackendConfig('openvino', cache=tmp_path))
    logits, wanted = exact.run(item)[1], ExpertNetwork(spec, network).run(item)[1]
    assert exact.backend is not exact._eager
    np.testing.assert_allclose(logits, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_what_was_compiled_is_kept_beside_the_graph(spec, network, item, cache):
    config = BackendConfig('openvino', cache=cache)
    ExpertNetwork(spec, network, backend=config).run(item)
    blobs = {blob: blob.stat().st_mtime_ns for blob in cache.rglob('*.blob')}
    assert 'openvino_f32' in {blob.parent.name for blob in blobs}
    ExpertNetwork(spec, network, backend=config).run(item)
    assert {blob: blob.stat().st_mtime_ns for blob in cache.rglob('*.blob')} == blobs


def test_a_graph_that_is_damaged_is_told_in_one_line(spec, network, item, cache, tmp_path, caplog):
    config = BackendConfig('openvino', cache=cache)
    ExpertNetwork(spec, network, backend=config).run(item)
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    config = BackendConfig('openvino', cache=tmp_path)
    (graph,) = tmp_path.rglob(exported_graphs.GRAPH)
    graph.write_bytes(graph.read_bytes()[:1000])
    for blob in tmp_path.rglob('*.blob'):
        blob.unlink()
    damaged = ExpertNetwork(spec, network, backend=config)
    with caplog.at_level(logging.WARNING):
        damaged.run(item)
    assert 'torch runs tiny, because the backend cannot: OpenVINO' in caplog.text
    assert damaged.backend is damaged._eager


def test_where_openvino_cannot_run_torch_does_and_the_log_says_why(spec, network, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(openvino_runtime.importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(logging.Logger, 'warning', lambda self, text, *a: told.append(text))
    expert = ExpertNetwork(spec, network, backend=BackendConfig('openvino'))
    assert 'OpenVINO is not installed: pip install' in told[0]
    assert expert.backend is expert._eager


def test_a_processor_without_bfloat16_is_told(monkeypatch):
    monkeypatch.setattr(openvino.Core, 'get_property', lambda *a: ['FP32', 'INT8'])
    assert openvino_runtime.find_problem() == ''
    assert 'no bfloat16 in this processor' in openvino_runtime.find_problem(half=True)
    (finding,) = machine.check_openvino()
    assert finding.state == OK
    assert 'float32 only' in finding.text


def test_the_doctor_names_what_lacks(monkeypatch):
    monkeypatch.setattr(openvino_runtime.importlib.util, 'find_spec', lambda name: None)
    (finding,) = machine.check_openvino()
    assert finding.state == NOTE
    assert 'pip install' in finding.text


def test_a_gpu_is_not_openvinos(spec, network):
    plain = TorchBackend(network, torch.device('cpu'))
    plain.device = torch.device('cuda:0')
    with pytest.raises(BackendError, match=r'CPU only, and model.device is cuda:0'):
        openvino_runtime.OpenVinoBackend(plain, spec, Path('unused'))
