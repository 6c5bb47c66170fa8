"""Datasets that are folders of image files: their published splits, and reading one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam_ad_perception.core.labels import LABEL_SPACES, UNLABELED, LabelSpace
from training.frames.benchmark_protocol import BenchmarkProtocol
from training.frames.frame import DatasetError, LabelledFrame
from training.frames.image_files import count_ids


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
        own_ids: Whether its files hold the ids of the label space, so that colours of a palette
            that belong to other ids contradict them.
        protocol: How its official evaluator makes the mean; None where there is none.
    """

    name: str
    space: str
    published: Mapping[str, int]
    find: Callable[[Path, str], list[FrameFiles]]
    read: Callable[[FrameFiles], LabelledFrame]
    withheld: Mapping[str, str] = field(default_factory=dict)
    label_suffix: str = '.png'
    own_ids: bool = True
    protocol: BenchmarkProtocol | None = None

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
        incomplete: Frames that lack a file, which are not among them.
    """

    def __init__(
        self,
        layout: DatasetLayout,
        frames: Sequence[FrameFiles],
        incomplete: Sequence[FrameFiles] = (),
    ) -> None:
        self.layout = layout
        self.frames = tuple(frames)
        self.incomplete = tuple(incomplete)

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
            if self.layout.own_ids:
                check_palette(files.files['labels'], self.space)
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
        whole = [each for each in frames if not each.missing()]
        if len(whole) > wanted:
            raise DatasetError(_count_text(layout, split, len(whole)))
        if not whole:
            raise DatasetError(
                f'{root}: none of the {len(frames)} frames of {layout.name} {split} has all its '
                f'files, first missing {missing[0]}{_list_hint(frames[0])}'
            )
        return FileDataset(layout, whole, [each for each in frames if each.missing()])
    hint = f'see python -m training.prepare {layout.name} {root}; partial=true takes what is there'
    if missing:
        raise DatasetError(
            f'{layout.name} {split} lacks {len(missing)} files, first {missing[0]}; {hint}'
        )
    if len(frames) != wanted:
        raise DatasetError(f'{_count_text(layout, split, len(frames))}; {hint}')
    return FileDataset(layout, frames)


def _list_hint(frame: FrameFiles) -> str:
    """What is odd about a name that a list gives."""
    ending = Path(frame.name).suffix.lower()
    if ending not in ('.png', '.jpg', '.jpeg', '.npy', '.bin'):
        return ''
    return f'; the list of the split names {frame.name!r}, expected names without {ending!r}'


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
        # some editors put a byte order mark before the first name
        names = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'{path} cannot be read: {error}') from error
    names = [name for name in names if name]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DatasetError(f'{path} names {twice!r} more than once')
    return names


def check_palette(path: Path, space: LabelSpace) -> None:
    """Refuse a label file whose palette gives the colours of classes to other ids.

    Files that VOC tools write have a background before the first class, so that all ids are one
    too high.

    Args:
        path: The file; only its header is read.
        space: The classes that its ids should be of.

    Raises:
        DatasetError: The palette is of other ids.
    """
    try:
        with Image.open(path) as image:
            flat = image.getpalette('RGB') if image.mode == 'P' else None
    except (OSError, ValueError, SyntaxError):
        return  # whoever reads it says more
    if not flat:
        return
    colours = [(flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]) for i in range(len(flat) // 3)]
    known = {c.color: c.id for c in space.classes}
    moved = [i for i, c in enumerate(colours) if any(c) and known.get(c, i) != i]
    right = sum(known.get(c) == i for i, c in enumerate(colours) if any(c))
    if len(moved) >= max(2, right):
        first = moved[0]
        name = space.names[known[colours[first]]]
        raise DatasetError(
            f'{path} has a palette in which {first} is the colour of {name!r}, whose id in '
            f'{space.name} is {known[colours[first]]}: its ids are of another list of classes'
        )


def check_ids(labels: NDArray[np.uint8], space: LabelSpace, path: Path) -> None:
    """Refuse ids that the label space does not have.

    Args:
        labels: (H, W) uint8.
        space: The classes.
        path: Named in the error.

    Raises:
        DatasetError: There is such an id.
    """
    beyond = cv2.inRange(labels, len(space), UNLABELED - 1)
    if cv2.countNonZero(beyond):
        counts = count_ids(labels)
        counts[[*range(len(space)), UNLABELED]] = 0
        strange = np.flatnonzero(counts).tolist()
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
        pattern: As of `Path.glob`; its last part matches `.JPG` for `.jpg` too.

    Returns:
        The files.
    """
    *above, name = pattern.split('/')
    any_case = ''.join(f'[{c.lower()}{c.upper()}]' if c.isalpha() else c for c in name)
    found = sorted(folder.glob('/'.join([*above, any_case])))
    return [path for path in found if not path.name.startswith('.')]


def first_existing(paths: Iterable[Path]) -> Path:
    """The first path that exists, else the first."""
    listed = list(paths)
    return next((path for path in listed if path.exists()), listed[0])
