"""Every dataset by its name on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sam_ad_perception.core.registry import Registry
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
from training.datasets.own import folders
from training.datasets.own.folders import open_folders
from training.datasets.own.recordings import Recordings, find_bags
from training.frames.frame import Dataset, DatasetError
from training.frames.image_folders import DatasetLayout, FileDataset, open_split
from training.frames.index import read_index

RECORDINGS, FOLDERS = 'recordings', folders.NAME
LAYOUTS: Registry[DatasetLayout] = Registry(
    'sam_ad_perception.datasets',
    'dataset',
    DatasetLayout,
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
    },
)
"""The published datasets, and those of installed packages: entry points of this group, each a
`DatasetLayout`."""


def dataset_names() -> list[str]:
    """The names that a dataset may have on the command line."""
    return [*LAYOUTS, RECORDINGS, FOLDERS]


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
        broken = LAYOUTS.broken.get(name)
        why = f'; it cannot be used: {broken}' if broken else ''
        raise DatasetError(f'dataset must be one of {dataset_names()}, got {name!r}{why}')
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
    pseudo_labels: bool = False,
    skip_refused: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Open a split of a dataset.

    Args:
        name: One of `dataset_names`.
        root: Its folder; of own folders the YAML file that tells them.
        split: One of its splits.
        partial: Whether less than the published number of frames will do.
        index: File that `training.prepare` wrote: its frames are taken, without looking at the
            folder; damaged ones are not among them.
        cache: Where frames of recordings are kept.
        label_space: Of recordings that do not state it.
        calibration: File of transforms and camera geometry that recordings lack.
        pseudo_labels: Whether predictions stand for truth in recordings that have none.
        skip_refused: Whether labels of recordings that cannot be used are left out and counted.
        progress: Called with recordings done and in all.

    Returns:
        The split.

    Raises:
        DatasetError: There is no such dataset or split, or it is not whole.
    """
    if name == FOLDERS:
        return open_folders(root, split, cache)
    if name == RECORDINGS:
        bags = find_bags(root, split)
        return Recordings(
            bags,
            cache,
            label_space,
            calibration,
            progress,
            pseudo_labels=pseudo_labels,
            skip_refused=skip_refused,
        )
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
