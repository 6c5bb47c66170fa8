"""`model.backend: auto` takes what was fastest, measures once, and goes on where one fails."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inputs.preparation import PreparedBundle
from sam_ad_perception.modeling.runtimes import fastest
from sam_ad_perception.modeling.runtimes.backends import (
    BackendConfig,
    BackendError,
    OnProgress,
    Runner,
    StaticBackend,
    TorchBackend,
)

pytest.importorskip('onnxscript')


class Waiting(StaticBackend):
    """torch after a pause of its own."""

    def __init__(self, plain: TorchBackend, seconds: float, *, fails: bool = False) -> None:
        super().__init__(plain)
        self.seconds = seconds
        self.fails = fails
        self.built: list[tuple[str, ...]] = []

    def build(self, names: tuple[str, ...], on_progress: OnProgress) -> Runner:
        """Make the pause."""
        if self.fails:
            raise BackendError('it is broken')
        self.built.append(names)

        def run(inputs):
            time.sleep(self.seconds)
            one = torch.zeros(1, 2, 4, 4)
            return one, None

        return run


@pytest.fixture
def slow_torch(network, monkeypatch) -> TorchBackend:
    """torch, which takes 0.1 s more than it does."""
    plain = TorchBackend(network, torch.device('cpu'))
    run = plain.run

    def wait(inputs):
        time.sleep(0.1)
        return run(inputs)

    monkeypatch.setattr(plain, 'run', wait)
    return plain


def test_the_fastest_runs_all_sets_and_is_not_measured_again(spec, slow_torch, tmp_path):
    told: list[str] = []
    backends = {'onnx': Waiting(slow_torch, 0.05), 'openvino': Waiting(slow_torch, 0.0)}
    record = tmp_path / 'made' / fastest.RECORD
    auto = fastest.FastestBackend(slow_torch, spec, backends, record)
    auto.prepare([('camera', 'lidar'), ('camera',)], told.append)
    assert auto.choice == 'openvino'
    assert backends['openvino'].built == [('camera', 'lidar'), ('camera',)]
    assert backends['onnx'].built == [('camera', 'lidar')]
    (line,) = (text for text in told if ' ms' in text)
    order = [line.index(name) for name in ('openvino', 'onnx', 'torch')]
    assert order == sorted(order)
    assert 'tiny runs under openvino' in told

    others = {'onnx': Waiting(slow_torch, 0.0), 'openvino': Waiting(slow_torch, 9.0)}
    again = fastest.FastestBackend(slow_torch, spec, others, record)
    again.prepare([('camera',)], told.append)
    assert again.choice == 'openvino'
    assert others['onnx'].built == []


def test_figures_of_other_threads_or_backends_do_not_count(spec, slow_torch, tmp_path):
    record = tmp_path / fastest.RECORD
    one = {'onnx': Waiting(slow_torch, 0.0)}
    fastest.FastestBackend(slow_torch, spec, one, record).prepare([('camera',)], str)
    two = {'onnx': Waiting(slow_torch, 0.05), 'openvino': Waiting(slow_torch, 0.0)}
    auto = fastest.FastestBackend(slow_torch, spec, two, record)
    auto.prepare([('camera',)], str)
    assert auto.choice == 'openvino'
    torch.set_num_threads(2)
    three = {'onnx': Waiting(slow_torch, 0.0), 'openvino': Waiting(slow_torch, 0.05)}
    auto = fastest.FastestBackend(slow_torch, spec, three, record)
    auto.prepare([('camera',)], str)
    assert auto.choice == 'onnx'
    assert len(fastest.read_record(record)) == 2


def test_one_that_fails_is_told_and_left_out(spec, slow_torch, tmp_path):
    told: list[str] = []
    backends = {'onnx': Waiting(slow_torch, 0.0, fails=True), 'openvino': Waiting(slow_torch, 0.0)}
    auto = fastest.FastestBackend(slow_torch, spec, backends, tmp_path / fastest.RECORD)
    auto.prepare([('camera',)], told.append)
    assert auto.choice == 'openvino'
    assert 'without onnx: it is broken' in told
    again = dict(backends, onnx=Waiting(slow_torch, 0.0))
    later = fastest.FastestBackend(slow_torch, spec, again, tmp_path / fastest.RECORD)
    later.prepare([('camera',)], told.append)
    assert later.choice == 'openvino'
    assert again['onnx'].built == []  # it is not tried, nor anything measured, at each start
    backends['openvino'].fails = True
    auto.prepare([('lidar',)], told.append)
    assert 'lidar runs under torch: it is broken' in told


def test_torch_stays_where_no_other_is_clearly_faster():
    assert fastest.choose_fastest({'torch': 100.0, 'onnx': 96.0}) == 'torch'
    assert fastest.choose_fastest({'torch': 100.0, 'onnx': 94.0}) == 'onnx'
    assert fastest.choose_fastest({'torch': 100.0}) == 'torch'


@pytest.mark.parametrize('text', ['', '{', '[]', '{"a": 1}', '{"a": {"torch": "fast"}}'])
def test_a_damaged_record_is_measured_again(tmp_path: Path, text: str) -> None:
    (tmp_path / fastest.RECORD).write_text(text)
    assert fastest.read_record(tmp_path / fastest.RECORD) == {}


def test_auto_gives_the_mask_of_torch(spec, network, tmp_path):
    """With the real backends, whichever of them is the fastest here."""
    told: list[str] = []
    config = BackendConfig('auto', cache=tmp_path)
    expert = ExpertNetwork(spec, network, backend=config)
    expert.spec = dataclasses.replace(
        spec, required=('lidar',), inputs={'lidar': spec.inputs['lidar']}
    )
    expert.build(told.append)
    assert any(' ms' in text for text in told)
    image = np.random.default_rng(1).standard_normal(
        (spec.channels['lidar'], *spec.input_size), np.float32
    )
    items = [PreparedBundle({'lidar': image}, {})] * 2
    logits, wanted = expert.run(items)[1], expert._eager.run(_batch(items)).logits
    np.testing.assert_allclose(logits, wanted, atol=1e-3 * float(wanted.abs().max()))
    (record,) = tmp_path.rglob(fastest.RECORD)
    (row,) = fastest.read_record(record).values()
    assert 'torch' in row
    assert all(ms > 0 for ms in row.values())


def _batch(items: list[PreparedBundle]) -> dict[str, torch.Tensor]:
    return {'lidar': torch.from_numpy(np.stack([item.inputs['lidar'] for item in items]))}
