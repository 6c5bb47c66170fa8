"""Datasets that are folders of image files: their published splits, and reading one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sam_ad_perception.core.labels import LABEL_SPACES, UNLABELED, LabelSpace
from training.datasets.frames import DatasetError, LabelledFrame


@dataclass(frozen=True)
class FrameFiles:
    """The files of one frame.

    Attributes:
        name: Unique within its split.
        files: By role; `camera` and `labels` are always among them.
        condition: See `LabelledFrame`.
        case: Likewise.
    """

    name: str
    files: Mapping[str, Path]
    condition: str = ''
    case: str = ''

    def missing(self) -> list[Path]:
        """Those that do not exist."""
        return [path for path in self.files.values() if not path.is_file()]


@dataclass(frozen=True)
class DatasetLayout:
    """A published dataset: where its files are and what is in them.

    Attributes:
        name: Its name on the command line.
        space: Key of `LABEL_SPACES`.
        published: Split to the number of frames that were published with labels.
        find: Lists the frames of a split below a root, whether or not all their files exist.
        read: Reads one frame.
        withheld: For each split that has no labels or does not exist, a sentence that says so.
        label_suffix: How the names of label files end.
    """

    name: str
    space: str
    published: Mapping[str, int]
    find: Callable[[Path, str], list[FrameFiles]]
    read: Callable[[FrameFiles], LabelledFrame]
    withheld: Mapping[str, str] = field(default_factory=dict)
    label_suffix: str = '.png'

    def check_split(self, split: str) -> None:
        """Refuse a split that was not published with labels.

        Args:
            split: Its name.

        Raises:
            DatasetError: It was not.
        """
        if split not in self.published:
            why = self.withheld.get(split, f'{self.name} has no split {split!r}')
            raise DatasetError(f'{why}; labelled splits are {", ".join(self.published)}')


class FileDataset:
    """The frames of one split.

    Args:
        layout: The dataset.
        frames: Its frames.
    """

    def __init__(self, layout: DatasetLayout, frames: Sequence[FrameFiles]) -> None:
        self.layout = layout
        self.frames = tuple(frames)

    @property
    def space(self) -> LabelSpace:
        """The classes of its labels."""
        return LABEL_SPACES[self.layout.space]

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.frames)

    def read(self, index: int) -> LabelledFrame:
        """Read one frame and check its labels.

        Args:
            index: From 0.

        Returns:
            The frame.

        Raises:
            DatasetError: A file cannot be used; the message names it.
        """
        files = self.frames[index]
        try:
            frame = self.layout.read(files)
        except DatasetError:
            raise
        except (ValueError, OSError) as error:
            raise DatasetError(f'{files.files["labels"]}: {error}') from error
        check_ids(frame.labels, self.space, files.files['labels'])
        return frame


def open_split(layout: DatasetLayout, root: Path, split: str, partial: bool) -> FileDataset:
    """Open a split and check that it is whole.

    Args:
        layout: The dataset.
        root: Its folder.
        split: One of its published splits.
        partial: Whether a part of the published frames will do; frames that lack a file are
            left out then.

    Returns:
        The split.

    Raises:
        DatasetError: The split was not published, files are missing, or the number of frames is
            another one than was published.
    """
    layout.check_split(split)
    if not root.is_dir():
        raise DatasetError(f'{root} is not a folder')
    frames = layout.find(root, split)
    if not frames:
        raise DatasetError(f'{root} has no frame of {layout.name} {split}')
    missing = [path for each in frames for path in each.missing()]
    wanted = layout.published[split]
    if partial:
        frames = [each for each in frames if not each.missing()]
        if len(frames) > wanted:
            raise DatasetError(_count_text(layout, split, len(frames)))
        return FileDataset(layout, frames)
    hint = f'see python -m training.prepare {layout.name} {root}; partial=true takes what is there'
    if missing:
        raise DatasetError(
            f'{layout.name} {split} lacks {len(missing)} files, first {missing[0]}; {hint}'
        )
    if len(frames) != wanted:
        raise DatasetError(f'{_count_text(layout, split, len(frames))}; {hint}')
    return FileDataset(layout, frames)


def _count_text(layout: DatasetLayout, split: str, count: int) -> str:
    return f'{layout.name} {split} has {count} frames, {layout.published[split]} were published'


def read_list(path: Path) -> list[str]:
    """Read a list of names, one a line.

    Args:
        path: Text file.

    Returns:
        The names without line ends and blank lines.

    Raises:
        DatasetError: It cannot be read, or names a frame twice.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding='utf-8').splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'{path} cannot be read: {error}') from error
    names = [name for name in names if name]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DatasetError(f'{path} names {twice!r} more than once')
    return names


def read_image(path: Path) -> NDArray[Any]:
    """Read an image as it was written.

    Args:
        path: PNG or JPEG.

    Returns:
        (H, W) or (H, W, C), uint8 or uint16, channels in the order of OpenCV: blue first.

    Raises:
        DatasetError: It is absent or damaged.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DatasetError(f'{path} is {"damaged" if path.is_file() else "missing"}')
    return np.asarray(image)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read a colour picture; an alpha channel is dropped, one channel is repeated.

    Args:
        path: PNG or JPEG of 8 bits.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: It is absent, damaged, or has other than 8 bits.
    """
    image = read_image(path)
    if image.dtype != np.uint8:
        raise DatasetError(f'{path} has {image.dtype} pixels, expected uint8')
    if image.ndim == 2:
        return np.ascontiguousarray(np.repeat(image[:, :, None], 3, axis=2))
    return np.ascontiguousarray(image[:, :, 2::-1])


def read_grey(path: Path) -> NDArray[Any]:
    """Read a picture of one channel, also where it was stored as three equal ones.

    Args:
        path: PNG or JPEG.

    Returns:
        (H, W) uint8 or uint16.

    Raises:
        DatasetError: It is absent or damaged.
    """
    image = read_image(path)
    return image if image.ndim == 2 else np.ascontiguousarray(image[:, :, 0])


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read label ids; of a file with palette the ids, not the colours; of several the first.

    Args:
        path: PNG of 8 bits.

    Returns:
        (H, W) uint8.

    Raises:
        DatasetError: It is absent, damaged, or has other than 8 bits.
    """
    try:
        with Image.open(path) as image:
            labels = np.array(image)
    except FileNotFoundError as error:
        raise DatasetError(f'{path} is missing') from error
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(f'{path} is damaged: {error}') from error
    labels = labels if labels.ndim == 2 else labels[:, :, 0]
    if labels.dtype != np.uint8:
        raise DatasetError(f'{path} has {labels.dtype} labels, expected uint8')
    return np.ascontiguousarray(labels)


def check_ids(labels: NDArray[np.uint8], space: LabelSpace, path: Path) -> None:
    """Refuse ids that the label space does not have.

    Args:
        labels: (H, W) uint8.
        space: The classes.
        path: Named in the error.

    Raises:
        DatasetError: There is such an id.
    """
    counts = np.bincount(labels.reshape(-1), minlength=256)
    counts[[*range(len(space)), UNLABELED]] = 0
    strange = np.flatnonzero(counts).tolist()
    if strange:
        raise DatasetError(
            f'{path} has label ids {strange}, {space.name} has 0 to {len(space) - 1} and 255'
        )


def label_table(ids: Mapping[int, int]) -> NDArray[np.uint8]:
    """Make a table for `core.labels.apply_mapping` of pairs of ids; all others become 255.

    Args:
        ids: Id in the file to id of the label space.

    Returns:
        (256,) uint8.
    """
    table = np.full(256, UNLABELED, np.uint8)
    for source, target in ids.items():
        table[source] = target
    return table


def sorted_files(folder: Path, pattern: str) -> list[Path]:
    """Find files by a pattern in a fixed order, hidden ones left out.

    Args:
        folder: Where; may be absent.
        pattern: As of `Path.glob`.

    Returns:
        The files.
    """
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith('.')]


def first_existing(paths: Iterable[Path]) -> Path:
    """The first path that exists, else the first."""
    listed = list(paths)
    return next((path for path in listed if path.exists()), listed[0])
