"""Result files of an evaluation: written and read."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.settings.yaml_documents import read_yaml
from sam_ad_perception.core.settings.yaml_records import build_record
from sam_ad_perception.modeling.zoo.entries import MeasuredResult
from training.evaluation.confidence import ConfidenceHistogram
from training.evaluation.measurement import Score, Setting
from training.evaluation.routing_rows import SystemResult
from training.networks.checkpoint import save_atomically

RESULTS = 'results.yaml'
MEASUREMENTS = 'measurements.csv'


def measured_results(
    result: SystemResult, where: str, size: tuple[int, int]
) -> list[MeasuredResult]:
    """Figures in the form of `results` in `models/zoo.yaml`.

    Args:
        result: What a network reached.
        where: Data set and split.
        size: Mask size `(H, W)`, pixels.

    Returns:
        One per subset.
    """
    return [
        MeasuredResult(
            dataset=where,
            subset=setting.subset,
            miou=round(score.miou, 2),
            classes=int(np.isfinite(score.native.iou()).sum()),
            frames=score.frames,
            resolution=size,
        )
        for setting, score in result.scores.items()
        if setting.plain
    ]


def save_results(
    results: Sequence[SystemResult], where: str, size: tuple[int, int], folder: Path
) -> None:
    """Write `results.yaml`: entry to its figures, as they may be copied into the zoo.

    Args:
        results: What was measured.
        where: Data set and split.
        size: Mask size `(H, W)`, pixels.
        folder: Where; it is made.
    """
    content = {}
    for result in results:
        rows = [dataclasses.asdict(row) for row in measured_results(result, where, size)]
        plain = [{k: list(v) if isinstance(v, tuple) else v for k, v in r.items()} for r in rows]
        if plain:
            content[result.key] = {'results': plain}
    text = yaml.safe_dump(content, sort_keys=False, width=100)
    save_atomically(text.encode(), folder / RESULTS)


def load_results(folder: Path) -> dict[str, tuple[MeasuredResult, ...]]:
    """Read what `save_results` wrote.

    Args:
        folder: An earlier evaluation's.

    Returns:
        Entry to its figures.

    Raises:
        ValueError: The file is not of that form.
        OSError: It cannot be read.
    """
    path = folder / RESULTS
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f'{path} must hold a mapping, got {type(content).__name__}')
    return {
        str(key): tuple(
            build_record(MeasuredResult, row, f'{path}: {key}.results[{index}]')
            for index, row in enumerate(entry['results'])
        )
        for key, entry in content.items()
    }


def save_measurements(results: Sequence[SystemResult], space: LabelSpace, folder: Path) -> None:
    """Write `measurements.csv`: one row per system, setting and group of frames.

    Args:
        results: What was measured.
        space: The classes; the IoU of each is a column, empty where the class is absent.
        folder: Where; it is made.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(
        ['system', 'sensors', 'fault', 'noise', 'frames_of', 'miou', 'classes', 'frames',
         'masks', 'latency_ms', 'calibration_error', 'auroc', 'fpr95', 'aupr_success',
         'aupr_error', 'changed', 'consistency', *space.names]
    )  # fmt: skip
    for result in results:
        for setting, score in result.scores.items():
            for group, matrix in _groups(score):
                writer.writerow(_row(result.key, setting, score, group, matrix))
    save_atomically(stream.getvalue().encode(), folder / MEASUREMENTS)


def _groups(score: Score) -> Iterator[tuple[str, ConfusionMatrix]]:
    yield 'all', score.native
    yield 'all at network size', score.small
    yield from score.conditions.items()
    yield from ((f'case {name}', matrix) for name, matrix in score.cases.items())


def _row(
    key: str, setting: Setting, score: Score, group: str, matrix: ConfusionMatrix
) -> list[object]:
    iou = matrix.iou()
    known = [f'{100 * v:.3f}' if np.isfinite(v) else '' for v in iou]
    whole: list[object] = ['', '', '']
    if group == 'all':
        latency = '' if score.latency_ms is None else f'{score.latency_ms:.2f}'
        whole = [score.frames, score.masks, latency]
    sure = score.confidence if group == 'all' else score.condition_confidence.get(group)
    figures = list(dataclasses.astuple((sure or ConfidenceHistogram()).trust()))
    steady = score.stability if group == 'all' else None
    figures += [steady.changed, steady.consistency] if steady is not None else [np.nan, np.nan]
    trust = [f'{v:.5f}' if np.isfinite(v) else '' for v in figures]
    names = ['+'.join(setting.subset), setting.fault, setting.noise, group]
    miou = matrix.miou()
    mean = f'{100 * miou:.3f}' if np.isfinite(miou) else ''
    return [key, *names, mean, int(np.isfinite(iou).sum()), *whole, *trust, *known]
