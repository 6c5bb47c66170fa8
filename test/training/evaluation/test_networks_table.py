"""Several networks in one table, against torchmetrics."""

from __future__ import annotations

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.metrics import ConfusionMatrix
from training.evaluation.measurement import Score, Setting
from training.evaluation.presentation.tables import networks_table
from training.evaluation.routing_rows import SystemResult


def test_networks_stand_side_by_side_as_torchmetrics_counts_them(rng):
    space = LABEL_SPACES['camvid']
    truth = rng.integers(0, len(space) - 1, (20, 30), dtype=np.uint8)  # the last class is nowhere
    results, expected = [], {}
    for name, share in (('before', 0.5), ('after', 0.9)):
        other = rng.integers(0, len(space) - 1, truth.shape, dtype=np.uint8)
        mask = np.where(rng.random(truth.shape) < share, truth, other)
        score = Score(ConfusionMatrix(len(space)), ConfusionMatrix(len(space)))
        score.native.update(mask, truth)
        results.append(SystemResult(name, {Setting(('camera',)): score}))
        ious = multiclass_jaccard_index(
            torch.from_numpy(mask), torch.from_numpy(truth), len(space) - 1, average='none'
        )
        expected[name] = [f'{100 * float(iou):.1f}' for iou in (*ious, ious.mean())]
    table = networks_table(results, space)
    assert table.columns == ('class', 'before', 'after')
    assert [row[0] for row in table.rows] == [*space.names[:-1], 'mean']
    assert [row[1] for row in table.rows] == expected['before']
    assert [row[2] for row in table.rows] == expected['after']
    assert networks_table(results[:1], space) is None
