"""Missing and noisy sensors by the protocol of the literature, beside what was published."""

from __future__ import annotations

from training.evaluation.failure_protocol import LEVELS, PROBABILITIES, SHARES, failure_figures
from training.evaluation.presentation.published import load_published_failures
from training.evaluation.presentation.tables import TextTable
from training.evaluation.routing_rows import SystemResult

_THEIRS = (
    'Published: DELIVER, 25 classes, missing sensors filled with zeros (arXiv 2503.18445); other '
    'data and classes than ours, so not to be ranked together.'
)


def failure_tables(result: SystemResult) -> list[TextTable]:
    """Lay out EMM, RMM and NM.

    Args:
        result: What a system reached.

    Returns:
        A table of missing and one of noisy sensors, where they were measured.
    """
    found, noisy = failure_figures(result.scores)
    if not any(name.startswith('RMM') for name in found) and not noisy:
        return []  # sets of sensors alone have a table of their own
    tables = []
    published = load_published_failures()
    rows = [
        (f'{result.key}, {name}', _cell(each.average), *map(_cell, each.expected))
        for name, each in found.items()
    ]
    cases = ('EMM', *(f'RMM {share:g}' for share in SHARES))
    rows += [
        (f'{each.method}, {each.case}{_star(each.note)}', *map(_cell, each.miou))
        for case in cases
        for each in published
        if each.case == case
    ]
    heads = ('missing sensors', 'Avg', *(f'E, p = {p:g}' for p in PROBABILITIES))
    notes = ' '.join(f'* {each.note}.' for each in published if each.note)
    tables.append(
        TextTable(
            f'{result.key}: mIoU where sensors go missing, percent',
            heads,
            tuple(rows),
            'EMM: sensors are missing, RMM: so many of their values are zero. Avg: mean over all '
            'sets that fail, E: expectation where each fails with probability p. '
            f'{_THEIRS} {notes}',
        )
    )
    if noisy:
        rows = [(result.key, *(_cell(noisy[level]) for level in LEVELS if level in noisy))]
        rows += [(e.method, *map(_cell, e.miou)) for e in published if e.case == 'NM']
        tables.append(
            TextTable(
                f'{result.key}: mIoU with noise on all sensors (NM), percent',
                ('noisy sensors', *(level for level in LEVELS if level in noisy)),
                tuple(rows),
                f'Salt and pepper of {_levels(0)} on all, Gaussian of {_levels(1)} on all but '
                f'events. {_THEIRS}',
            )
        )
    return tables


def _levels(index: int) -> str:
    return ', '.join(f'{level[index]:g}' for level in LEVELS.values())


def _cell(miou: float) -> str:
    return f'{miou:.2f}'


def _star(note: str) -> str:
    return ' *' if note else ''
