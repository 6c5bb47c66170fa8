"""Measurements as tables of text, which the terminal and the page both show."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.stability.mask_stability import MaskStability
from training.evaluation.confidence import ConfidenceHistogram
from training.evaluation.failure_protocol import is_of_protocol
from training.evaluation.measurement import Score, Setting, mean_miou
from training.evaluation.presentation.published import PublishedResult
from training.evaluation.routing_rows import SystemResult
from training.frames.benchmark_protocol import BenchmarkProtocol


@dataclass(frozen=True)
class TextTable:
    """A table.

    Attributes:
        title: What it shows.
        columns: Headings; the first column names the rows.
        rows: Text of each cell.
        note: How to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ''


def subset_name(subset: Sequence[str], everything: Sequence[str]) -> str:
    """Name a set of sensors by what is gone, where that is short.

    Args:
        subset: The set.
        everything: All sensors.

    Returns:
        `all`, `no lidar` or `camera + lidar`.
    """
    gone = [name for name in everything if name not in subset]
    if not gone:
        return 'all'
    if len(gone) == 1 and len(everything) > 2:
        return f'no {gone[0]}'
    return ' + '.join(subset)


def class_table(result: SystemResult, space: LabelSpace) -> TextTable | None:
    """IoU of each class: all sensors, each one removed, each one alone, where measured.

    Args:
        result: What a system reached.
        space: The classes.

    Returns:
        The table; None where no subset was measured.
    """
    everything = _everything(result.scores)
    shown = {
        setting.subset: score
        for setting, score in result.scores.items()
        if setting.plain and len(setting.subset) in (1, len(everything) - 1, len(everything))
    }
    if not shown:
        return None
    ious = np.array([score.native.iou() for score in shown.values()])
    rows = [
        (name, *map(_percent, ious[:, index]))
        for index, name in enumerate(space.names)
        if np.isfinite(ious[:, index]).any()
    ]
    rows.append(('mean', *(f'{score.miou:.1f}' for score in shown.values())))
    heads = tuple(subset_name(subset, everything) for subset in shown)
    return TextTable(f'{result.key}: IoU of each class, percent', ('class', *heads), tuple(rows))


def networks_table(results: Sequence[SystemResult], space: LabelSpace) -> TextTable | None:
    """IoU of each class by several networks, each with all of its sensors.

    Args:
        results: What the networks reached on the same frames.
        space: The classes.

    Returns:
        The table; None where there are not two networks that were measured so.
    """
    whole = {}
    for result in results:
        everything = _everything(result.scores)
        for setting, score in result.scores.items():
            if setting.plain and setting.subset == everything:
                whole[result.key] = score
    if len(whole) < 2:
        return None
    ious = np.array([score.native.iou() for score in whole.values()])
    rows = [
        (name, *map(_percent, ious[:, index]))
        for index, name in enumerate(space.names)
        if np.isfinite(ious[:, index]).any()
    ]
    rows.append(('mean', *(f'{score.miou:.1f}' for score in whole.values())))
    return TextTable(
        'IoU of each class by network, all sensors, percent', ('class', *whole), tuple(rows)
    )


def subset_table(result: SystemResult) -> TextTable | None:
    """Every subset in every condition, with calibration error and latency.

    Args:
        result: What a system reached.

    Returns:
        The table, with a star where fewer sensors did better than all; None where no subset was
        measured.
    """
    scores = {s.subset: score for s, score in result.scores.items() if not (s.fault or s.noise)}
    if not scores:
        return None
    everything = _everything(result.scores)
    conditions = _conditions(scores.values())
    best = scores.get(everything)
    rows = []
    for subset, score in scores.items():
        cells = [_starred(score.miou, best.miou if best else None)]
        for name in conditions:
            limit = 100 * best.conditions[name].miou() if best else None
            cells.append(_starred(100 * score.conditions[name].miou(), limit))
        cells.append(str(int(np.isfinite(score.native.iou()).sum())))
        cells.append(_percent(score.small.miou()))
        cells.append(f'{100 * score.confidence.error():.1f}' if score.masks else '-')
        cells.append(f'{score.latency_ms:.0f}' if score.latency_ms is not None else '-')
        rows.append((subset_name(subset, everything), *cells))
    if len(scores) > 1:
        means = [f'{mean_miou(scores.values(), name):.1f}' for name in ('', *conditions)]
        rows.append((f'mean of {len(scores)}', *means, '', '', '', ''))
    return TextTable(
        f'{result.key}: mIoU by sensors, percent',
        ('sensors', 'all frames', *conditions, 'classes', 'net size', 'ECE', 'ms'),
        tuple(rows),
        'A star marks where fewer sensors did better than all. classes: over which the mean of '
        'all frames goes; one that is answered but never occurs counts as 0. net size: counted at '
        "the size of the network's input. ECE: expected calibration error, percent.",
    )


def noise_table(result: SystemResult) -> TextTable | None:
    """All sensors, with noise on one of them.

    Args:
        result: What a system reached.

    Returns:
        The table; None where none was measured.
    """
    noisy = {
        s.noise: score
        for s, score in result.scores.items()
        if s.noise and not is_of_protocol(s.noise)
    }
    if not noisy:
        return None
    sensors = list(dict.fromkeys(name.split(':')[0] for name in noisy))
    kinds = list(dict.fromkeys(name.split(':')[1] for name in noisy))
    rows = [(kind, *(f'{noisy[f"{sensor}:{kind}"].miou:.1f}' for sensor in sensors))
            for kind in kinds]  # fmt: skip
    return TextTable(
        f'{result.key}: mIoU with all sensors and noise on one, percent',
        ('noise', *sensors),
        tuple(rows),
        'Gaussian: sigma 50, uniform: -100 to 100, on pictures of 0-255, clipped.',
    )


def trust_table(result: SystemResult) -> TextTable | None:
    """What the confidence is worth: by sensors, by condition, with noise and with faults.

    Args:
        result: What a system reached.

    Returns:
        The table; None where no setting gave a mask.
    """
    everything = _everything(result.scores)
    rows = []
    for setting, score in result.scores.items():
        if not score.masks or is_of_protocol(setting.noise):
            continue
        name = subset_name(setting.subset, everything)
        spoilt = setting.fault or setting.noise
        if spoilt:
            rows.append((_spoilt_name(spoilt), *_trust_cells(score.confidence)))
            continue
        rows.append((name, *_trust_cells(score.confidence)))
        if setting.subset == everything:
            rows += [
                (f'{name}, {condition}', *_trust_cells(histogram))
                for condition, histogram in score.condition_confidence.items()
            ]
    if not rows:
        return None
    return TextTable(
        f'{result.key}: what its confidence is worth, percent',
        ('pixels of', 'right', 'confidence', 'ECE', 'AUROC', 'FPR95', 'AUPR-S', 'AUPR-E'),
        tuple(rows),
        'ECE: expected calibration error. AUROC: that a right pixel has more confidence than a '
        'wrong one. FPR95: wrong pixels that stay where 95 % of the right ones are kept. AUPR-S, '
        'AUPR-E: precision over recall of the right and of the wrong pixels. As in the BRAVO '
        'benchmark.',
    )


def stability_table(results: Sequence[SystemResult], truth: MaskStability) -> TextTable | None:
    """How steady masks of frames are that follow each other.

    Args:
        results: What was measured.
        truth: Of the labels.

    Returns:
        The table, the labels last; None where no two frames were compared.
    """
    rows = []
    for result in results:
        everything = _everything(result.scores)
        for setting, score in result.scores.items():
            if score.stability is None:
                continue
            name = _spoilt_name(setting.fault or setting.noise)
            name = name or subset_name(setting.subset, everything)
            rows.append((f'{result.key}, {name}', *_stability_cells(score.stability)))
    if not rows:
        return None
    rows.append(('the labels themselves', *_stability_cells(truth)))
    return TextTable(
        'How steady masks are from frame to frame',
        ('masks of', 'changed', 'mTC', 'pairs'),
        tuple(rows),
        'changed: pixels that have another class than the mask before, carried along the optical '
        'flow, percent of those that both frames see. mTC: mean over the pairs of the mean IoU of '
        'both masks, percent.',
    )


def _stability_cells(stability: MaskStability) -> tuple[str, str, str]:
    return _percent(stability.changed), _percent(stability.consistency), str(stability.pairs)


def _trust_cells(histogram: ConfidenceHistogram) -> list[str]:
    trust = histogram.trust()
    shares = (histogram.accuracy(), histogram.mean(), *dataclasses.astuple(trust))
    return [_percent(share) for share in shares]


def _spoilt_name(case: str) -> str:
    return case.replace(':', ': ').replace('_', ' ')


def fault_table(results: Sequence[SystemResult]) -> TextTable | None:
    """All sensors, with a fault on one of them: each network alone and each vehicle.

    Args:
        results: What was measured.

    Returns:
        The table; None where none was measured.
    """
    found = {
        result.key: {s.fault: score for s, score in result.scores.items() if s.fault}
        for result in results
    }
    found = {key: scores for key, scores in found.items() if scores}
    faults = list(dict.fromkeys(fault for scores in found.values() for fault in scores))
    if not faults:
        return None
    rows = [
        (_spoilt_name(fault),
         *(f'{s[fault].miou:.1f}' if fault in s else '-' for s in found.values()))
        for fault in faults
    ]  # fmt: skip
    return TextTable('mIoU with a fault on one sensor, percent', ('fault', *found), tuple(rows))


def case_table(result: SystemResult) -> TextTable | None:
    """The data set's own sensor-failure cases, with all sensors.

    Args:
        result: What a system reached.

    Returns:
        The table; None where the data set has none.
    """
    everything = _everything(result.scores)
    score = next((v for s, v in result.scores.items() if s.plain and s.subset == everything), None)
    if score is None or not score.cases:
        return None
    rows = tuple((name, f'{100 * m.miou():.1f}') for name, m in score.cases.items())
    return TextTable(f"{result.key}: mIoU by the data set's cases", ('case', 'mIoU'), rows)


def published_table(
    rows: Sequence[PublishedResult],
    own: Mapping[str, Score],
    where: str,
    protocol: BenchmarkProtocol,
) -> TextTable:
    """Published figures beside one's own, of the same split, classes and protocol.

    Args:
        rows: Comparable published results, best first.
        own: What our networks reached.
        where: Data set, split and classes, in words.
        protocol: How the benchmark measures; what was measured otherwise has no figure here.

    Returns:
        The table, with a column for each published condition.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.conditions))
    lines = []
    for key, score in own.items():
        miou = score.official_miou()
        cells = [_official(score, name) for name in names]
        note = '' if np.isfinite(miou) else 'answers at another size: no figure of this protocol'
        shown = f'{miou:.2f}' if np.isfinite(miou) else ''
        lines.append((key, shown, *cells, '', 'measured here', note))
    for row in rows:
        cells = [f'{row.conditions[name]:.1f}' if row.conditions else '' for name in names]
        lines.append((row.method, f'{row.miou:.2f}', *cells, row.sensors, row.source, row.note))
    return TextTable(
        f'Beside published results: {where}; {protocol.describe()}, one scale',
        ('method', 'mIoU', *names, 'sensors', 'source', 'note'),
        tuple(lines),
    )


def other_protocols_table(rows: Sequence[PublishedResult]) -> TextTable:
    """Published figures that were measured otherwise, by themselves.

    Args:
        rows: The results.

    Returns:
        The table.
    """
    lines = tuple((r.method, f'{r.miou:.2f}', r.sensors, r.protocol, r.source) for r in rows)
    columns = ('method', 'mIoU', 'sensors', 'measured otherwise', 'source')
    return TextTable('Published by another protocol: not to be compared', columns, lines)


def _official(score: Score, group: str) -> str:
    miou = score.official_miou(group)
    return f'{miou:.1f}' if np.isfinite(miou) else ''


def retention_table(
    key: str, here: Mapping[tuple[str, ...], float], there: Mapping[tuple[str, ...], float]
) -> TextTable:
    """How much of its quality a network keeps on other data: mIoU here over mIoU there.

    Args:
        key: The network.
        here: mIoU by subset, percent.
        there: The same on the data that it was trained for.

    Returns:
        The table, of the subsets measured on both.
    """
    rows = [
        (' + '.join(s), f'{there[s]:.1f}', f'{here[s]:.1f}', f'{here[s] / there[s]:.2f}')
        for s in here
        if there.get(s)
    ]
    return TextTable(
        f'{key}: retention', ('sensors', 'there', 'here', 'here / there'), tuple(rows)
    )


def _everything(scores: Mapping[Setting, Score]) -> tuple[str, ...]:
    return max((setting.subset for setting in scores), key=len)


def _conditions(scores: Iterable[Score]) -> list[str]:
    return list(dict.fromkeys(name for score in scores for name in score.conditions))


def _percent(share: float) -> str:
    return f'{100 * share:.1f}' if np.isfinite(share) else '-'


def _starred(value: float, limit: float | None) -> str:
    return f'{value:.1f}{"*" if limit is not None and value > limit else ""}'
