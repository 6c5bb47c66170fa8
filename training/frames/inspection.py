"""Look at every frame of a split: what is missing, what is odd, what the labels hold."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import UNLABELED
from sam_ad_perception.core.sensors import Events, LazyImage, PointCloud
from training.frames.frame import Dataset, DatasetError, LabelledFrame
from training.frames.image_folders import DatasetLayout, FileDataset, FrameFiles, sorted_files

_NEVER_BLANK = ('camera', 'thermal', 'depth', 'nir')
_COMMON = 0.9
"""A size that so many frames have makes the others odd."""


@dataclass
class Findings:
    """What was found of a split.

    Attributes:
        split: Its name.
        published: Number of frames that were published; 0 where nobody published it.
        found: Number of frames that are there, whole or not.
        problems: What is wrong, one sentence each.
        sizes: Number of frames of each size, `WxH`.
        pixels: (256,) int64, pixels of each label id.
        conditions: Number of frames of each condition.
        cases: Number of frames of each sensor failure.
        sound: Indices of the frames that can be used.
        digests: Fingerprint of each frame's camera file to the frame's name.
        sensors: Number of frames in which each sensor shows something.
        lacking: Names of the frames in which a sensor shows nothing that others have.
        incomplete: Names of frames that lack a file.
        read: Number of frames that were read, sound or not.
        notes: What is worth knowing and hurts nobody, one sentence each.
    """

    split: str
    published: int
    found: int
    problems: list[str] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    conditions: Counter[str] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)
    sound: list[int] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    sensors: Counter[str] = field(default_factory=Counter)
    lacking: dict[str, list[str]] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    read: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Look:
    """What one frame showed."""

    name: str
    size: str = ''
    pixels: NDArray[np.int64] | None = None
    condition: str = ''
    case: str = ''
    problem: str = ''
    sensors: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()


def inspect_dataset(
    dataset: Dataset,
    split: str,
    *,
    found: int,
    published: int,
    workers: int = 2,
    advance: Callable[[], None] = lambda: None,
    indices: Sequence[int] | None = None,
) -> Findings:
    """Read every frame of a split once, or some of them.

    Args:
        dataset: The frames of the split of which no file is missing.
        split: Its name.
        found: Number of all its frames.
        published: Number of frames that were published; 0 where nobody published it.
        workers: Threads that read.
        advance: Called for each frame.
        indices: Of the frames that are read; None for all.

    Returns:
        What was found.
    """
    findings = Findings(split, published, found)
    if published and found != published:
        findings.problems.append(f'{found} frames, {published} were published')

    def look(index: int) -> _Look:
        try:
            frame = dataset.read(index)
        except DatasetError as error:
            return _Look('', problem=str(error))
        height, width = frame.labels.shape
        pixels = np.bincount(frame.labels.reshape(-1), minlength=256)
        blank = tuple(name for name, data in _measurements(frame) if _is_blank(data))
        return _Look(
            frame.name,
            f'{width}x{height}',
            pixels,
            frame.condition,
            frame.case,
            sensors=tuple(name for name in frame.inputs if name not in blank),
            blank=blank,
        )

    # Frames are read in threads, and counted here in their order.
    picked = range(len(dataset)) if indices is None else indices
    sizes: dict[str, str] = {}
    shown: list[_Look] = []
    refused: Counter[str] = Counter()
    with ThreadPoolExecutor(workers) as pool:
        for index, seen in zip(picked, pool.map(look, picked), strict=True):
            advance()
            findings.read += 1
            if seen.pixels is None:
                refused[seen.problem] += 1
                continue
            findings.sound.append(index)
            findings.pixels += seen.pixels
            findings.sizes[seen.size] += 1
            findings.conditions[seen.condition] += bool(seen.condition)
            findings.cases[seen.case] += bool(seen.case)
            findings.sensors.update(seen.sensors)
            shown.append(seen)
            sizes[seen.name] = seen.size
            findings.problems += [
                f'{seen.name}: {name} has one value everywhere, or none, so it shows nothing'
                for name in seen.blank
                if name in _NEVER_BLANK
            ]
            if seen.pixels[UNLABELED] == seen.pixels.sum():
                findings.problems.append(f'{seen.name} has no labelled pixel')
    # What befell several frames is said once; then what is odd among sizes.
    findings.problems += [t if n == 1 else f'{t} ({n} frames)' for t, n in refused.items()]
    findings.problems += _odd_sizes(sizes)
    for sensor in findings.sensors:
        lacking = [each.name for each in shown if sensor not in each.sensors]
        if lacking:
            findings.lacking[sensor] = lacking
    return findings


def _measurements(frame: LabelledFrame) -> list[tuple[str, object]]:
    sensed = [(str(modality), each.data) for modality, each in frame.bundle.frames.items()]
    return [*sensed, *frame.pictures.items()]


def _is_blank(data: object) -> bool:
    """Whether an image has one value everywhere, or none, or a sweep or a stream is empty."""
    if isinstance(data, LazyImage):
        data = data.get()
    if isinstance(data, PointCloud):
        return len(data.points) == 0
    if isinstance(data, Events):
        return len(data.x) == 0
    if not isinstance(data, np.ndarray):
        return False
    known = data[np.isfinite(data)] if data.dtype.kind == 'f' else data.reshape(-1)
    return bool((known == known[:1]).all())


def _odd_sizes(sizes: Mapping[str, str]) -> list[str]:
    counts = Counter(sizes.values())
    if not counts:
        return []
    usual, count = counts.most_common(1)[0]
    if count < _COMMON * len(sizes):
        return []
    return [f'{name} is {size}, the others are {usual}' for name, size in sizes.items()
            if size != usual]  # fmt: skip


def inspect_files(layout: DatasetLayout, frames: Sequence[FrameFiles]) -> list[str]:
    """Name files that are missing, and labels that no frame has.

    Args:
        layout: The dataset.
        frames: Frames of a split.

    Returns:
        One sentence per file.
    """
    problems = [f'{path} is missing' for each in frames for path in each.missing()]
    expected = {each.files['labels'] for each in frames}
    for folder in sorted({path.parent for path in expected}):
        there = sorted_files(folder, f'*{layout.label_suffix}')
        problems += [f'{path} belongs to no picture' for path in there if path not in expected]
    return problems


def whole_frames(layout: DatasetLayout, frames: Sequence[FrameFiles]) -> FileDataset:
    """The frames of which no file is missing.

    Args:
        layout: The dataset.
        frames: Frames of a split.

    Returns:
        Those that can be read; the others are its `incomplete` ones.
    """
    whole = [each for each in frames if not each.missing()]
    return FileDataset(layout, whole, [each for each in frames if each.missing()])


def digest_pictures(frames: Iterable[FrameFiles]) -> dict[str, str]:
    """Fingerprint the camera's files.

    Args:
        frames: Frames whose files exist.

    Returns:
        Fingerprint to frame name.
    """
    return {_digest(each.files['camera']): each.name for each in frames}


def _digest(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha1').hexdigest()


def compare_splits(splits: Sequence[Findings]) -> None:
    """Add to the findings which pictures are in two splits.

    Args:
        splits: All splits of a dataset.
    """
    for number, later in enumerate(splits):
        for earlier in splits[:number]:
            for digest in later.digests.keys() & earlier.digests.keys():
                later.problems.append(
                    f'{later.digests[digest]} is the same picture as '
                    f'{earlier.digests[digest]} of {earlier.split}'
                )
