from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from sam_ad_perception.core.health_config import UNCHECKED
from sam_ad_perception.core.records import build_record
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.expert_network import ExpertNetwork
from sam_ad_perception.modeling.segmenter import Segmenter
from sam_ad_perception.modeling.zoo import MeasuredResult, build_model, load_zoo
from training.checkpoint import export_weights
from training.evaluate import (
    _heading,
    load_weights,
    make_table,
    measure_subsets,
    standard_subsets,
)

ROOT = Path(__file__).parents[2]
SENSORS = (Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR)


def test_subsets_are_all_each_removed_and_each_alone():
    subsets = standard_subsets(SENSORS)
    assert len(subsets) == 9
    assert subsets[0] == SENSORS
    assert subsets[1] == SENSORS[1:]
    assert subsets[-1] == (Modality.LIDAR,)
    assert standard_subsets(SENSORS[:1]) == [SENSORS[:1]]
    needy = standard_subsets(SENSORS, ('camera', 'thermal'))
    assert needy == [SENSORS, SENSORS[:2] + SENSORS[3:], SENSORS[:3]]


def test_measured_miou_is_that_of_torchmetrics():
    from torchmetrics.functional.segmentation import mean_iou

    from sam_ad_perception.simulation.drive import Drive, DriveConfig

    torch.manual_seed(0)
    spec = load_zoo(ROOT / 'training' / 'configs' / 'debug_zoo.yaml')['debug']
    segmenter = Segmenter([ExpertNetwork(spec, build_model(spec))], health=UNCHECKED)
    console = Console(quiet=True)
    (measured,) = measure_subsets(segmenter, [SENSORS], 1, console)

    drive = Drive(DriveConfig(seed=0, duration_s=20.0))
    time_s = np.random.default_rng(0).uniform(0.2, 19.8)
    bundle, truth = drive.bundle(drive.config.start_ns + int(time_s * 1e9))
    (result,) = segmenter.segment([bundle])
    masks = [torch.from_numpy(m.astype(np.int64))[None] for m in (result.mask, truth.labels)]
    per_class = mean_iou(*masks, num_classes=19, per_class=True, input_format='index')[0]
    seen = torch.unique(torch.cat(masks))
    expected = 100 * float(per_class[seen].mean())
    assert measured.result.miou == round(expected, 2)
    assert measured.result.classes == len(seen)
    assert measured.result.resolution == (400, 640)
    table = make_table([measured], spec.labels)
    assert table.row_count == len(seen) + 1


def test_command_measures_given_weights_and_writes_the_figures(tmp_path):
    spec = load_zoo(ROOT / 'training' / 'configs' / 'debug_zoo.yaml')['debug']
    export_weights(build_model(spec).state_dict(), tmp_path / 'new.safetensors')
    command = [
        sys.executable, '-m', 'training.evaluate', 'debug', '--frames', '1', '--quick',
        '--zoo', 'training/configs/debug_zoo.yaml', '--weights', str(tmp_path / 'new.safetensors'),
        '--out', str(tmp_path / 'results.yaml'),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert 'IoU in percent' in done.stdout
    (row,) = yaml.safe_load((tmp_path / 'results.yaml').read_text())['results']
    result = build_record(MeasuredResult, row, 'results[0]')
    assert result.subset == tuple(map(str, SENSORS))
    assert result.resolution == (400, 640)
    with pytest.raises(ValueError, match="has no model 'debag'"):
        load_weights(ROOT / 'models' / 'zoo.yaml', 'debag', tmp_path / 'new.safetensors')


def test_headings_say_what_is_gone():
    everything = tuple(map(str, SENSORS))
    assert _heading(everything, everything) == 'all'
    assert _heading(everything[1:], everything) == 'no camera'
    assert _heading(everything[:1], everything) == 'camera'
