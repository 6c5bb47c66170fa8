"""The index of a checked dataset folder: its sound frames, so that nobody has to look again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam_ad_perception.core.settings.yaml_records import build_record
from training.frames.frame import DatasetError
from training.frames.image_folders import DatasetLayout, FrameFiles


@dataclass(frozen=True)
class IndexFrame:
    """A frame.

    Attributes:
        name: See `FrameFiles`.
        files: Paths relative to the root, by role.
        condition: See `FrameFiles`.
        case: Likewise.
    """

    name: str
    files: Mapping[str, str]
    condition: str = ''
    case: str = ''


@dataclass(frozen=True)
class IndexSplit:
    """A split.

    Attributes:
        published: How many frames were published.
        found: How many there are.
        problems: What is wrong, one sentence each.
        sizes: Image size as `WxH` to the number of frames.
        pixels: Label id, as text, to the number of pixels.
        frames: The frames that can be used.
    """

    published: int
    found: int
    problems: tuple[str, ...]
    sizes: Mapping[str, int]
    pixels: Mapping[str, int]
    frames: tuple[IndexFrame, ...]


@dataclass(frozen=True)
class DatasetIndex:
    """What `training.prepare` found in a folder.

    Attributes:
        dataset: Name of the dataset.
        splits: By name.
    """

    dataset: str
    splits: Mapping[str, IndexSplit]


def index_frames(frames: Sequence[FrameFiles], root: Path) -> tuple[IndexFrame, ...]:
    """Write frames down relative to a root.

    Args:
        frames: The frames.
        root: Folder of the dataset.

    Returns:
        The same, for the index.
    """
    return tuple(
        IndexFrame(
            frame.name,
            {role: path.relative_to(root).as_posix() for role, path in frame.files.items()},
            frame.condition,
            frame.case,
        )
        for frame in frames
    )


def read_index(path: Path, layout: DatasetLayout, root: Path, split: str) -> list[FrameFiles]:
    """Read the frames of a split from an index.

    Args:
        path: JSON file that `training.prepare` wrote.
        layout: The dataset that is expected in it.
        root: Folder of the dataset; it may have moved since.
        split: Which split.

    Returns:
        Its sound frames.

    Raises:
        DatasetError: The file is no index, or of another dataset, or lacks the split.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        index = build_record(DatasetIndex, content, path.name)
    except (OSError, ValueError) as error:
        raise DatasetError(f'{path} is no index: {error}') from error
    if index.dataset != layout.name or split not in index.splits:
        raise DatasetError(
            f'{path} is an index of {index.dataset} with {", ".join(index.splits) or "no split"}, '
            f'expected {layout.name} {split}'
        )
    return [
        FrameFiles(
            frame.name,
            {role: root / name for role, name in frame.files.items()},
            frame.condition,
            frame.case,
        )
        for frame in index.splits[split].frames
    ]
