"""The table that prepare, train and evaluate begin with: what the frames of each split hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from training.frames.frame import Dataset, DatasetError
from training.frames.image_folders import FileDataset
from training.frames.inspection import Findings, inspect_dataset

SAMPLE = 32
"""Frames of a split that are read before a run, spread over it."""
_SHOWN = 3


def sample_split(dataset: Dataset, split: str, *, most: int = SAMPLE) -> Findings:
    """Read some frames of a split, spread over it.

    Args:
        dataset: The frames.
        split: Its name.
        most: How many are read at most.

    Returns:
        What they hold, and which frames of the split lack a file.

    Raises:
        DatasetError: None of them can be read, or no pixel of any of them has a label.
    """
    count = min(most, len(dataset))
    places = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int)).tolist()
    findings = inspect_dataset(dataset, split, found=len(dataset), published=0, indices=places)
    findings.incomplete = incomplete_names(dataset)
    findings.found += len(findings.incomplete)
    if not findings.sound:
        raise DatasetError(
            f'{split}: none of {len(places)} frames can be read, first: {findings.problems[0]}'
        )
    labelled = findings.pixels.sum() - findings.pixels[UNLABELED]
    if not labelled:
        raise DatasetError(
            f'{split}: no pixel of the {len(findings.sound)} frames that were read has a label of '
            f'{dataset.space.name}, so nothing can be learned or measured'
        )
    return findings


def incomplete_names(dataset: Dataset) -> list[str]:
    """Names of the frames of a split that lack a file.

    Args:
        dataset: The split.

    Returns:
        The names; none where the dataset does not tell.
    """
    if isinstance(dataset, FileDataset):
        return [each.name for each in dataset.incomplete]
    return []


def problems_of(dataset: Dataset) -> list[str]:
    """What opening a split found wrong, where that was not to end it.

    Args:
        dataset: The split.

    Returns:
        One sentence each.
    """
    return list(getattr(dataset, 'problems', ()))


def show_splits(findings: Sequence[Findings], space: LabelSpace, console: Console) -> None:
    """Print the splits, and how often each class occurs in what was read.

    Args:
        findings: Of each split.
        space: The classes.
        console: Where.
    """
    rows = [_row(found) for found in findings]
    table = Table(title='splits')
    shown = [name for name in rows[0] if any(row[name] not in ('', '-') for row in rows)]
    for name in shown:
        numbers = all(row[name].isdigit() for row in rows)
        table.add_column(name, justify='right' if numbers else 'left', overflow='fold')
    for row in rows:
        table.add_row(*[row[name] for name in shown])
    console.print(table)
    for found in findings:
        if found.incomplete:
            console.print(
                f'{found.split}: {found.found - len(found.incomplete)} of {found.found} frames; '
                f'{len(found.incomplete)} lack a file, first {found.incomplete[0]}',
                markup=False,
                soft_wrap=True,
            )
        for name, lacking in found.lacking.items():
            console.print(
                f'{found.split}: {len(lacking)} of {len(found.sound)} frames are without {name}, '
                f'first {lacking[0]}',
                markup=False,
                soft_wrap=True,
            )
    table = Table(title='share of the pixels, percent')
    table.add_column('label', no_wrap=True)
    for found in findings:
        table.add_column(found.split, justify='right')
    names = {each.id: f'{each.id} {each.name}' for each in space.classes}
    names[UNLABELED] = f'{UNLABELED} unlabeled'
    for label, name in names.items():
        shares = [100 * f.pixels[label] / max(f.pixels.sum(), 1) for f in findings]
        table.add_row(name, *[f'{share:.2f}' if share else '-' for share in shares])
    console.print(table)


def _row(found: Findings) -> dict[str, str]:
    kinds = {**found.conditions, **found.cases}
    without = ', '.join(found.incomplete[:_SHOWN])
    return {
        'split': found.split,
        'frames': str(found.found),
        'published': str(found.published or '-'),
        'labelled': str(found.found - len(found.incomplete)),
        'without (first)': f'{len(found.incomplete)}: {without}' if without else '-',
        'read': str(found.read),
        'sound': str(len(found.sound)),
        'sensors': ', '.join(f'{name}: {n}' for name, n in found.sensors.items()),
        'sizes': ', '.join(f'{size}: {n}' for size, n in found.sizes.most_common(4)),
        'conditions and cases': ', '.join(f'{k}: {n}' for k, n in sorted(kinds.items()) if k),
    }


def absent_classes(findings: Findings, space: LabelSpace) -> list[str]:
    """Name the classes that no pixel has.

    Args:
        findings: Of a split.
        space: The classes.

    Returns:
        The names.
    """
    return [each.name for each in space.classes if not findings.pixels[each.id]]
