"""MLE-SAM as ONNX: one file for each non-empty subset of its modalities, the same mask."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sam_ad_perception.commands import cli
from sam_ad_perception.modeling.encoders.hiera import HieraEncoder, HieraSpec
from sam_ad_perception.modeling.encoders.lora import LoraSpec
from sam_ad_perception.modeling.networks.mle_decoder import build_heads
from sam_ad_perception.modeling.networks.mle_sam import (
    AuxiliaryHead,
    FusionSpec,
    GatedFusion,
    MleSam,
)
from sam_ad_perception.modeling.runtimes.onnx_export import compare_onnx, export_onnx
from sam_ad_perception.modeling.zoo.entries import ModelSpec, sensor_sets

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

CHANNELS = {'camera': 3, 'thermal': 1, 'event': 2, 'lidar': 3}
SUBSETS = [s for k in range(1, 5) for s in itertools.combinations(CHANNELS, k)]
SIZE = (64, 96)
CLASSES = 4


def small(form: str) -> MleSam:
    """One block per stage; random weights everywhere, adapters too."""
    torch.manual_seed(0)
    spec = HieraSpec(8, 1, (1, 1, 1, 1), (), (8, 4, 4, 4), (2, 2), 16, stem='conv')
    prompt_encoder, decoder = build_heads(
        16, CLASSES, SIZE, mlp_dim=16, modalities=tuple(CHANNELS) if form == 'copies' else ()
    )
    fusion = FusionSpec(2, 'mean', (8, 8, 8))
    network = MleSam(
        CHANNELS,
        HieraEncoder(spec, CHANNELS, LoraSpec(2)),
        GatedFusion(tuple(CHANNELS), (2, 4, 16), fusion),
        prompt_encoder,
        decoder,
        AuxiliaryHead((2, 4, 16), CLASSES, 8),
    )
    for name, parameter in network.named_parameters():
        if '.b_q.' in name or '.b_v.' in name:
            nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.fixture(scope='module')
def networks() -> dict[str, MleSam]:
    return {form: small(form) for form in ('shared', 'copies')}


# The form decides the decoder alone: one set is enough for the other one. Each costs five seconds.
CASES = [*(('shared', subset) for subset in SUBSETS), ('copies', ('event', 'lidar'))]


@pytest.mark.parametrize(
    ('form', 'subset'), CASES, ids=lambda v: v if isinstance(v, str) else '+'.join(v)
)
def test_a_subset_gives_the_same_mask_under_onnx_runtime(networks, form, subset, tmp_path: Path):
    network = networks[form]
    generator = torch.Generator().manual_seed(1)
    inputs = {n: torch.randn(1, CHANNELS[n], *SIZE, generator=generator) for n in subset}
    export_onnx(network, inputs, tmp_path / 'net.onnx', optimize=False)
    session = onnxruntime.InferenceSession(tmp_path / 'net.onnx')
    assert [i.name for i in session.get_inputs()] == list(subset)
    other = {n: torch.randn(1, CHANNELS[n], *SIZE, generator=generator) for n in subset}
    (got,) = session.run(['logits'], {n: image.numpy() for n, image in other.items()})
    with torch.inference_mode():
        expected = network(other).logits.numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5, rtol=1e-4)
    assert (got.argmax(1) == expected.argmax(1)).all()
    assert len(np.unique(expected.argmax(1))) > 1
    agreement, error = compare_onnx(network, other, tmp_path / 'net.onnx')
    assert agreement == 1.0
    assert error < 1e-4
    wrong = networks['shared' if form == 'copies' else 'copies']
    agreement, error = compare_onnx(wrong, other, tmp_path / 'net.onnx')
    assert agreement < 1.0
    assert error > 1e-2


def test_sensor_sets_hold_what_is_required(spec: ModelSpec):
    assert sensor_sets(spec) == SUBSETS
    needs = dataclasses.replace(spec, required=('camera', 'lidar'))
    assert sensor_sets(needs) == [s for s in SUBSETS if {'camera', 'lidar'} <= set(s)]


def test_the_command_writes_a_file_per_set_of_sensors(network, zoo_path, tmp_path, capsys):
    save_file(network.state_dict(), tmp_path / 'tiny.safetensors')
    common = ['export', 'tiny', '--zoo', str(zoo_path), '--checkpoints', str(tmp_path)]
    common += ['--out', str(tmp_path / 'onnx')]
    assert cli.main([*common, '--sensors', 'lidar,camera']) == 0
    (written,) = (tmp_path / 'onnx').iterdir()
    assert written.name == 'tiny.camera+lidar.onnx'
    assert f'{written}: 100.00% of the pixels' in capsys.readouterr().out
    assert cli.main([*common, '--sensors', 'radar']) == 2
    told = capsys.readouterr().err
    assert "tiny does not take the sensors ['radar'], expected some of ['camera'," in told
    assert cli.main(['export', 'gone', *common[2:]]) == 2
    assert "has no model 'gone', expected one of tiny" in capsys.readouterr().err
