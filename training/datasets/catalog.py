"""Every dataset by its name on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from training.datasets import (
    bdd100k,
    camvid,
    cityscapes,
    deliver,
    fmb,
    mcubes,
    mfnet,
    muses,
)
from training.datasets.files import DatasetLayout, FileDataset, open_split
from training.datasets.frames import Dataset, DatasetError
from training.datasets.index import read_index
from training.datasets.recordings import Recordings, find_bags

RECORDINGS = 'recordings'
LAYOUTS: Mapping[str, DatasetLayout] = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            cityscapes.LAYOUT,
            bdd100k.LAYOUT,
            mfnet.LAYOUT,
            fmb.LAYOUT_14,
            fmb.LAYOUT_15,
            deliver.LAYOUT,
            muses.LAYOUT,
            muses.LAYOUT_PROJECTED,
            mcubes.LAYOUT,
            camvid.LAYOUT,
        )
    }
)
"""The published datasets."""
DATASETS = (*LAYOUTS, RECORDINGS)


def layout_of(name: str) -> DatasetLayout:
    """Look a published dataset up.

    Args:
        name: Its name.

    Returns:
        Its layout.

    Raises:
        DatasetError: There is none of this name.
    """
    if name not in LAYOUTS:
        raise DatasetError(f'dataset must be one of {list(DATASETS)}, got {name!r}')
    return LAYOUTS[name]


def open_dataset(
    name: str,
    root: Path,
    split: str,
    *,
    partial: bool = False,
    index: Path | None = None,
    cache: Path = Path('runs/recordings'),
    label_space: str = '',
    calibration: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Open a split of a dataset.

    Args:
        name: One of `DATASETS`.
        root: Its folder.
        split: One of its splits.
        partial: Whether less than the published number of frames will do.
        index: File that `training.prepare` wrote: its frames are taken, without looking at the
            folder; damaged ones are not among them.
        cache: Where frames of recordings are kept.
        label_space: Of recordings that do not state it.
        calibration: File of transforms and camera geometry that recordings lack.
        progress: Called with recordings done and in all.

    Returns:
        The split.

    Raises:
        DatasetError: There is no such dataset or split, or it is not whole.
    """
    if name == RECORDINGS:
        bags = find_bags(root, split)
        return Recordings(bags, cache, label_space, calibration, progress)
    layout = layout_of(name)
    if index is None:
        return open_split(layout, root, split, partial)
    layout.check_split(split)
    frames = read_index(index, layout, root, split)
    wanted = layout.published[split]
    if len(frames) != wanted and not (partial and len(frames) < wanted):
        raise DatasetError(
            f'{index} has {len(frames)} sound frames of {name} {split}, {wanted} were published; '
            'partial=true takes what is there'
        )
    return FileDataset(layout, frames)
