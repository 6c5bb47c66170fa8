"""The evidence as tables, for terminal and documents, and as one file of figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from training.evaluation.measurement import Score, Setting
from training.evaluation.plan import ROUTED
from training.evaluation.presentation.tables import TextTable, subset_name
from training.evidence_report.bench import FAULTS, SUBSETS, NetworkFacts, Scores, checked_name
from training.evidence_report.targets import MIX, Comparison, Evidence, Target, figures


def target_table(targets: Sequence[Target]) -> TextTable:
    """Each target with its figure.

    Args:
        targets: The targets.

    Returns:
        The table.
    """
    rows = []
    for each in targets:
        goal = f'at {"most" if each.at_most else "least"} {each.goal:g}'
        digits = 2 if 0 < each.missed_by < 0.05 else 1  # so that no miss is rounded away
        verdict = f'**missed by {each.missed_by:.{digits}f}**' if each.missed_by else 'met'
        rows.append((each.name, goal, f'{each.reached:.{digits}f}', verdict, each.note))
    return TextTable('Targets', ('target', 'goal', 'measured', '', 'note'), tuple(rows))


def network_table(evidence: Evidence) -> TextTable:
    """Each network with all of its sensors, and the ceilings of their grids.

    Args:
        evidence: The measurements.

    Returns:
        The table.
    """
    subsets = evidence.parts[SUBSETS]
    groups = (MIX, *evidence.conditions)
    rows = []
    for facts in evidence.networks:
        own = facts.sensors
        score = subsets[facts.key][Setting(own)]
        latency = '' if score.latency_ms is None else f'{score.latency_ms:.0f}'
        name = f'{facts.key} ({subset_name(own, evidence.sensors)})'
        rows.append((name, *_cells(score, groups), latency))
    rows += [
        (name, *_cells(subsets[name][Setting(evidence.sensors)], groups), '')
        for name in dict.fromkeys(facts.ceiling for facts in evidence.networks)
    ]
    return TextTable(
        'mIoU by condition, percent',
        ('system', *groups, 'ms'),
        tuple(rows),
        'ms: CPU time of the network for one frame, one thread.',
    )


def driven_table(comparisons: Sequence[Comparison]) -> TextTable | None:
    """The routed vehicle with all sensors and without each, beside single networks.

    Args:
        comparisons: See `evidence_figures.compare_all`.

    Returns:
        The table; None where no vehicle was measured.
    """
    shown: dict[str, list[Comparison]] = {}
    for each in comparisons:
        if ':' not in each.fault:
            shown.setdefault(each.fault or 'all', []).append(each)
    if not shown:
        return None
    rows = tuple(
        (name, *(f'{c.routed:.1f} ({c.routed - c.best:+.1f})' for c in group))
        for name, group in shown.items()
    )
    return TextTable(
        'The routed vehicle: mIoU by sensors, percent',
        ('sensors', *(each.condition for each in next(iter(shown.values())))),
        rows,
        'In brackets: points above the best single network on the same sensors and frames. Only '
        'the half of the frames that the router has not seen.',
    )


def sensor_table(evidence: Evidence, facts: NetworkFacts) -> TextTable | None:
    """One network on every set of sensors in every condition.

    Args:
        evidence: The measurements.
        facts: The network.

    Returns:
        The table; None where it has one set only.
    """
    scores = {s.subset: v for s, v in evidence.parts[SUBSETS][facts.key].items()}
    if len(scores) < 2:
        return None
    groups = (MIX, *evidence.conditions)
    everything = max(scores, key=len)
    rows = [(subset_name(s, everything), *_cells(v, groups)) for s, v in scores.items()]
    values = [figures(score) for score in scores.values()]
    means = (f'{sum(each[name] for each in values) / len(values):.1f}' for name in groups)
    rows.append((f'mean of {len(scores)}', *means))
    return TextTable(f'{facts.key}: mIoU by sensors, percent', ('sensors', *groups), tuple(rows))


def subset_comparison(evidence: Evidence, names: Mapping[str, str]) -> TextTable:
    """Several networks on every set of sensors, in the mix of conditions.

    Args:
        evidence: The measurements.
        names: Heading of each network, by key.

    Returns:
        The table; what each loses without a sensor stands in brackets.
    """
    measured = evidence.parts[SUBSETS]
    found = {
        facts.key: {s.subset: figures(score)[MIX] for s, score in measured[facts.key].items()}
        for facts in evidence.networks
    }
    subsets = list(dict.fromkeys(subset for values in found.values() for subset in values))
    rows = []
    for subset in subsets:
        cells = []
        for values in found.values():
            everything = max(values, key=len)
            lost = values[everything] - values[subset]
            one = len(subset) == len(everything) - 1
            cells.append(f'{values[subset]:.1f}' + (f' ({-lost:+.1f})' if one else ''))
        rows.append((subset_name(subset, evidence.sensors), *cells))
    means = (f'{sum(values.values()) / len(values):.1f}' for values in found.values())
    rows.append((f'mean of {len(subsets)}', *means))
    heads = tuple(names.get(key, key) for key in found)
    return TextTable('mIoU of the mix by sensors, percent', ('sensors', *heads), tuple(rows))


def noise_figures(evidence: Evidence, facts: NetworkFacts) -> TextTable | None:
    """One network with noise on one sensor at a time, in the mix of conditions.

    Args:
        evidence: The measurements.
        facts: The network.

    Returns:
        The table; None where none was measured.
    """
    scores = evidence.parts.get(FAULTS, {}).get(facts.key, {})
    noisy = {s.noise: figures(v)[MIX] for s, v in scores.items() if s.noise}
    if not noisy:
        return None
    clean = next(figures(v)[MIX] for s, v in scores.items() if s.plain)
    sensors = list(dict.fromkeys(name.split(':')[0] for name in noisy))
    kinds = list(dict.fromkeys(name.split(':')[1] for name in noisy))
    rows = [(kind, *(f'{noisy[f"{sensor}:{kind}"]:.1f}' for sensor in sensors)) for kind in kinds]
    return TextTable(
        f'{facts.key}: mIoU of the mix with noise on one sensor, percent',
        ('noise', *sensors),
        tuple(rows),
        f'Without noise {clean:.1f}. Gaussian: sigma 50, uniform: -100 to 100, on pictures of '
        '0-255, clipped.',
    )


def fault_figures(evidence: Evidence, comparisons: Sequence[Comparison]) -> TextTable | None:
    """Each fault: networks by themselves, behind health checks, and the routed vehicle.

    Args:
        evidence: The measurements.
        comparisons: See `evidence_figures.compare_all`.

    Returns:
        The table of the mix; None where no fault was measured.
    """
    faulty = evidence.parts.get(FAULTS)
    if not faulty:
        return None
    systems = [
        name for facts in evidence.networks for name in (facts.key, checked_name(facts.key))
    ]
    systems.append(ROUTED)
    worst = {c.fault: c.worst for c in comparisons if c.condition == MIX}
    rows = []
    for fault in dict.fromkeys(s.fault for s in faulty[ROUTED]):
        cells = []
        for system in systems:
            score = next((v for s, v in faulty[system].items() if _fits(s, fault)), None)
            cells.append('' if score is None else f'{figures(score)[MIX]:.1f}')
        left = f'{worst[fault]:.1f}' if fault else ''
        rows.append((fault.replace(':', ': ').replace('_', ' ') or 'none', *cells, left))
    return TextTable(
        'mIoU of the mix with a fault on one sensor, percent',
        ('fault', *systems, 'worst of what remains'),
        tuple(rows),
        'Empty: the network does not see the sensor. checked: behind the health checks.',
    )


def _fits(setting: Setting, fault: str) -> bool:
    """With all sensors: the first setting without a fault has them."""
    return setting.fault == fault and not setting.noise


def markdown(table: TextTable, *, title: bool = True) -> str:
    """A table as Markdown.

    Args:
        table: The table.
        title: Whether its title stands before it.

    Returns:
        Markdown that ends with a line feed.
    """
    lines = [f'**{table.title}.** {table.note}'.rstrip(), ''] if title else []
    lines.append('| ' + ' | '.join(table.columns) + ' |')
    lines.append('|---' * len(table.columns) + '|')
    lines += ['| ' + ' | '.join(row) + ' |' for row in table.rows]
    return re.sub(' +', ' ', '\n'.join(lines)) + '\n'


def as_records(
    evidence: Evidence, comparisons: Sequence[Comparison], targets: Sequence[Target]
) -> dict[str, Any]:
    """All figures as plain data.

    Args:
        evidence: The measurements.
        comparisons: See `evidence_figures.compare_all`.
        targets: See `evidence_figures.hold_targets`.

    Returns:
        What JSON can hold.
    """
    return {
        'networks': [asdict(facts) for facts in evidence.networks],
        'targets': [{**asdict(t), 'missed_by': t.missed_by} for t in targets],
        'routed': [asdict(each) for each in comparisons],
        'miou': {part: list(_records(scores)) for part, scores in evidence.parts.items()},
    }


def _records(scores: Scores) -> Iterable[dict[str, Any]]:
    for system, reached in scores.items():
        for setting, score in reached.items():
            yield {
                'system': system,
                'sensors': list(setting.subset),
                'fault': setting.fault,
                'noise': setting.noise,
                'frames': score.frames,
                'masks': score.masks,
                **{name: round(value, 2) for name, value in figures(score).items()},
            }


def _cells(score: Score, groups: Sequence[str]) -> list[str]:
    found = figures(score)
    return [f'{found[name]:.1f}' for name in groups]
