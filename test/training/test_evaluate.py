from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.segmenter import Segmenter
from sam_ad_perception.modeling.zoo import build_model, load_zoo
from training.evaluate import make_table, measure_subsets, standard_subsets

ROOT = Path(__file__).parents[2]
SENSORS = (Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR)


def test_subsets_are_all_each_removed_and_each_alone():
    subsets = standard_subsets(SENSORS)
    assert len(subsets) == 9
    assert subsets[0] == SENSORS
    assert subsets[1] == SENSORS[1:]
    assert subsets[-1] == (Modality.LIDAR,)
    assert standard_subsets(SENSORS[:1]) == [SENSORS[:1]]


def test_measured_miou_is_that_of_torchmetrics():
    from torchmetrics.functional.segmentation import mean_iou

    from sam_ad_perception.simulation.drive import Drive, DriveConfig

    torch.manual_seed(0)
    spec = load_zoo(ROOT / 'training' / 'configs' / 'debug_zoo.yaml')['debug']
    segmenter = Segmenter(spec, build_model(spec))
    console = Console(quiet=True)
    (measured,) = measure_subsets(segmenter, [SENSORS], 1, console)

    import numpy as np

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
