"""Corrected masks brought back: checked, compared with what was there, written as truth."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.transaction import write_folder
from training.annotation.exchange import Mask, ReadMask, save_picture
from training.annotation.formats import find_format
from training.annotation.labelled_recording import RecordedMasks, find_classes, read_masks
from training.annotation.picture_formats import write_classes
from training.datasets.own.recorded_labels import label_folder
from training.frames.frame import DatasetError
from training.frames.label_images import read_label_image
from training.frames.label_maps import MAP_FILES, find_label_map

_SHOWN = 10


@dataclass(frozen=True, eq=False)
class ImportReport:
    """What came back.

    Attributes:
        folder: Where the truth is.
        format: In which it came.
        space: The classes.
        stamps: Of the frames, nanoseconds.
        unchanged: How many of them are as they were.
        replaced: Of how many there was truth before that is other now.
        changes: (n + 1, n + 1) int64 pixels by what they were (row) and are now (column), the
            last is void.
    """

    folder: Path
    format: str
    space: LabelSpace
    stamps: Sequence[int]
    unchanged: int
    replaced: int
    changes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    @property
    def changed_pixels(self) -> int:
        """Pixels of another class than before."""
        return int(self.changes.sum() - np.trace(self.changes))

    def rows(self) -> list[tuple[str, int, int, int]]:
        """Per class that occurs, void last: its name, pixels before, taken away, added.

        Returns:
            Rows.
        """
        before, after = self.changes.sum(axis=1), self.changes.sum(axis=0)
        same = np.diag(self.changes)
        names = [*self.space.names, 'void']
        return [
            (name, int(before[k]), int(before[k] - same[k]), int(after[k] - same[k]))
            for k, name in enumerate(names)
            if before[k] or after[k]
        ]


def import_labels(
    bag: Path,
    source: Path,
    *,
    name: str = '',
    label_space: str = '',
    replace: bool = False,
) -> ImportReport:
    """Bring corrected masks into `labels/` of a recording; all of them or, on an error, none.

    Args:
        bag: The recording that they were exported from.
        source: Folder of what the tool wrote.
        name: Of its format; '' tells it from the files.
        label_space: Of the masks; '' takes what the recording says.
        replace: Whether labels that are there already may become others.

    Returns:
        What came back.

    Raises:
        DatasetError: Masks are damaged, of other sizes, classes or stamps, or would replace
            labels; the message lists them.
        ValueError: The recording cannot be read, or its folder not be written.
    """
    with BagReader(bag) as reader:
        space = find_classes(reader, label_space)
        known = read_masks(bag, reader, space)
        chosen = find_format(source, name)
        found = chosen.read(source, space)
        if not found:
            raise DatasetError(f'{source} holds no mask in the format {chosen.name}')
        return _bring_in(bag, found, known, space, chosen.name, replace=replace)


def _bring_in(
    bag: Path,
    found: Mapping[int, ReadMask],
    known: RecordedMasks,
    space: LabelSpace,
    name: str,
    *,
    replace: bool,
) -> ImportReport:
    target = label_folder(bag) or (bag / 'labels' if bag.is_dir() else _beside(bag))
    problems: list[str] = []
    others: list[int] = []
    unchanged = 0
    changes = np.zeros((len(space) + 1, len(space) + 1), np.int64)
    files = [f'{stamp_ns}.png' for stamp_ns in found]
    with write_folder(target, lambda folder: _replaced(folder, files)) as scratch:
        for stamp_ns, read in found.items():
            try:
                before, mask = _check(stamp_ns, read, known)
            except DatasetError as error:
                problems.append(str(error))
                continue
            table = _count_changes(before, mask, len(space))
            changes += table
            same = int(table.sum()) == int(np.trace(table))
            unchanged += same
            if stamp_ns in known.corrected and not same:
                others.append(stamp_ns)
            save_picture(scratch / f'{stamp_ns}.png', mask)
        if others and not replace:
            problems.append(
                f'{target} has other labels of {_list(others)} already: --replace puts the new '
                'ones in their place'
            )
        _refuse(problems)
        _write_map(target, scratch, space)
        for stamp_ns in found:
            _prove(scratch / f'{stamp_ns}.png', found[stamp_ns](), space)
    return ImportReport(target, name, space, tuple(found), unchanged, len(others), changes)


def _check(stamp_ns: int, read: ReadMask, known: RecordedMasks) -> tuple[Mask, Mask]:
    """The mask that was there, and the one that came."""
    if stamp_ns not in known:
        nearest = min(known, key=lambda each: abs(each - stamp_ns))
        raise DatasetError(
            f'{stamp_ns} is the stamp of no mask of the recording, the nearest is {nearest}: is '
            'it the export of another recording?'
        )
    before, mask = known[stamp_ns], read()
    if mask.shape != before.shape:
        raise DatasetError(
            f'the mask of {stamp_ns} is {mask.shape[1]}x{mask.shape[0]} pixels, expected '
            f'{before.shape[1]}x{before.shape[0]}: correct and export it in full size'
        )
    return before, mask


def _count_changes(before: Mask, after: Mask, classes: int) -> NDArray[np.int64]:
    old, new = (np.minimum(each, classes).astype(np.int64) for each in (before, after))
    counts = np.bincount((old * (classes + 1) + new).reshape(-1), minlength=(classes + 1) ** 2)
    return counts.reshape(classes + 1, classes + 1)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        more = f'\nand {len(problems) - _SHOWN} more' if len(problems) > _SHOWN else ''
        raise DatasetError('nothing was imported:\n' + '\n'.join(problems[:_SHOWN]) + more)


def _write_map(target: Path, scratch: Path, space: LabelSpace) -> None:
    """Say what the ids mean, unless the folder says it already for the labels that stay."""
    there = [target / each for each in MAP_FILES if (target / each).is_file()]
    if not there:
        write_classes(scratch / 'classes.json', space)
        return
    for path in there:
        shutil.copy2(path, scratch / path.name)


def _prove(path: Path, mask: Mask, space: LabelSpace) -> None:
    """Read a written label as training will read it."""
    read = read_label_image(path, space, find_label_map(path.parent, space))
    if (read != mask).any():
        raise DatasetError(
            f'{path.name} would be read otherwise than it is meant, because of the list of '
            f'classes beside it ({", ".join(MAP_FILES)}): remove that, or make its ids those of '
            f'{space.name}'
        )


def _replaced(folder: Path, files: Sequence[str]) -> list[str]:
    maps = [name for name in MAP_FILES if (folder / name).is_file()]
    return [*(name for name in files if (folder / name).is_file()), *maps]


def _beside(bag: Path) -> Path:
    return bag.with_name(f'{bag.stem}_labels')


def _list(stamps: Sequence[int]) -> str:
    shown = ', '.join(map(str, stamps[:3]))
    return shown if len(stamps) <= 3 else f'{shown} and {len(stamps) - 3} more'
