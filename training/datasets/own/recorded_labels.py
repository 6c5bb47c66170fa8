"""The labels of a recording: where its truth is, and which label belongs to which frame."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.messages.from_ros import image_to_array, stamp_of
from training.frames.frame import DatasetError
from training.frames.image_folders import check_ids, sorted_files
from training.frames.label_images import read_label_image
from training.frames.label_maps import MAP_FILES, find_label_map

TRUTH_TOPIC, MASK_TOPIC = '/ground_truth/image', '/semantic/image'
TOLERANCE_NS = 1_000_000
"""How far the stamp of a label may be from that of its frame, nanoseconds: more than rounding to
microseconds or through a float, far less than the distance of two frames."""
PICTURES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
_LIKE_LABELS = (
    'label', 'labels', 'masks', 'mask', 'annotation', 'annotations', 'segmentation',
    'segmentations', 'gt', 'ground_truth', 'truth',
)  # fmt: skip

ReadMask = Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class LabelSource:
    """Where the labels of a recording come from.

    Attributes:
        name: The folder or topic, as a person is told.
        masks: How to read the label of each stamp, nanoseconds.
        pseudo: Whether they are predictions of a network, not truth.
    """

    name: str
    masks: Mapping[int, ReadMask]
    pseudo: bool = False


@dataclass(frozen=True)
class LabelReport:
    """What became of the labels of a recording.

    Attributes:
        source: See `LabelSource.name`.
        pseudo: See `LabelSource`.
        labels: How many labels there are.
        frames: File names of the frames that have a label, in their order.
        moved: How many of the labels have another stamp than their frame, within the tolerance.
        unused: Labels that are the label of no frame, one sentence.
        refused: Labels that cannot be used, one sentence each.
    """

    source: str
    pseudo: bool
    labels: int
    frames: tuple[str, ...]
    moved: str = ''
    unused: str = ''
    refused: tuple[str, ...] = ()

    @property
    def problems(self) -> list[str]:
        """What a person should mend, one sentence each."""
        return [*self.refused, *([self.unused] if self.unused else [])]


@dataclass
class StampMatcher:
    """Finds the label of each frame by its stamp.

    Args:
        stamps: Of the labels, nanoseconds.
        tolerance_ns: Most distance of a label from its frame.
    """

    stamps: Sequence[int]
    tolerance_ns: int = TOLERANCE_NS
    used: dict[int, int] = field(default_factory=dict)
    frames: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stamps = sorted(self.stamps)

    def take(self, stamp_ns: int) -> int | None:
        """Find the label of a frame.

        Args:
            stamp_ns: Of the frame, nanoseconds.

        Returns:
            Stamp of the nearest label within the tolerance that no earlier frame has; None where
            there is none.
        """
        self.frames.append(stamp_ns)
        place = bisect_left(self.stamps, stamp_ns)
        near = [s for s in self.stamps[max(place - 1, 0) : place + 1] if s not in self.used]
        best = min(near, key=lambda s: abs(s - stamp_ns), default=None)
        if best is None or abs(best - stamp_ns) > self.tolerance_ns:
            return None
        self.used[best] = stamp_ns
        return best

    def describe_moved(self) -> str:
        """Say how many labels have another stamp than their frame; '' for none."""
        apart = [abs(label - frame) for label, frame in self.used.items() if label != frame]
        if not apart:
            return ''
        return (
            f'{len(apart)} of {len(self.stamps)} labels have another stamp than their frame, by '
            f'{max(apart)} ns at most'
        )

    def describe_unused(self) -> str:
        """Say which labels are the label of no frame; '' where all are."""
        left = [stamp for stamp in self.stamps if stamp not in self.used]
        if not left:
            return ''
        first = left[0]
        text = f'{len(left)} of {len(self.stamps)} labels have the stamp of no frame, '
        if not self.frames:
            return text + 'for the recording gives no frame at all'
        for unit, factor in (('microseconds', 10**3), ('milliseconds', 10**6), ('seconds', 10**9)):
            if self.frames[0] <= (first + 1) * factor and first * factor <= self.frames[-1]:
                return text + f'their names are in {unit}, expected nanoseconds'
        nearest = min(self.frames, key=lambda s: abs(s - first))
        return text + (
            f'the first, {first}, is {abs(first - nearest)} ns off the nearest frame {nearest} '
            f'(at most {self.tolerance_ns} ns are allowed)'
        )


def find_labels(
    bag: Path, reader: BagReader, space: LabelSpace, *, pseudo_labels: bool = False
) -> LabelSource:
    """Find the labels of a recording: its folder, the truth of the simulator, or predictions.

    Args:
        bag: The recording.
        reader: The same, open.
        space: Classes of its labels.
        pseudo_labels: Whether the masks of `sam_ad label` may be learned from, where there is no
            truth.

    Returns:
        The labels.

    Raises:
        DatasetError: There are none, they are predictions that nobody asked for, or a folder is
            named almost like one of labels.
    """
    folder = label_folder(bag)
    if folder is not None:
        return _folder_source(folder, space)
    _refuse_similar(bag)
    topic = TRUTH_TOPIC if has_messages(reader, TRUTH_TOPIC) else MASK_TOPIC
    pseudo = topic == MASK_TOPIC
    if pseudo and not has_messages(reader, MASK_TOPIC):
        raise DatasetError(
            f'{bag} has no labels: no folder labels/, no topic {TRUTH_TOPIC} or {MASK_TOPIC}'
        )
    if pseudo and not pseudo_labels:
        raise DatasetError(
            f'{bag} has no truth: {MASK_TOPIC} are predictions of a network, and nothing is '
            'measured against predictions; put corrected masks into '
            f'{bag}/labels/<stamp in ns>.png, or, to learn from predictions, set '
            'data.pseudo_labels=true'
        )
    masks: dict[int, ReadMask] = {}
    for message in reader.messages([topic]):
        image = reader.deserialize(message)
        mask, _ = image_to_array(image)
        if mask.dtype != np.uint8 or mask.ndim != 2:
            raise DatasetError(f'{bag}: {topic} is {mask.dtype} {mask.shape}, expected mono8')
        packed = cv2.imencode('.png', mask)[1]  # a drive's masks do not fit into memory
        masks[stamp_of(image)] = _Packed(packed, space, bag)
    return LabelSource(topic, masks, pseudo)


class _Packed:
    """A mask of a topic, kept as PNG until it is used."""

    def __init__(self, content: NDArray[np.uint8], space: LabelSpace, bag: Path) -> None:
        self._content, self._space, self._bag = content, space, bag

    def __call__(self) -> NDArray[np.uint8]:
        mask = np.asarray(cv2.imdecode(self._content, cv2.IMREAD_GRAYSCALE), np.uint8)
        check_ids(mask, self._space, self._bag)
        return mask


def label_folder(bag: Path) -> Path | None:
    """Find the folder of label pictures of a recording.

    Args:
        bag: The recording.

    Returns:
        `labels/` in it, or `<name>_labels/` beside it; None where there is neither.
    """
    folders = (bag / 'labels', bag.with_name(f'{bag.stem}_labels'))
    return next((folder for folder in folders if folder.is_dir()), None)


def label_files(folder: Path) -> list[Path]:
    """List the files of a folder of labels that decide about them: pictures and lists of classes.

    Args:
        folder: See `label_folder`.

    Returns:
        The files, in a fixed order.
    """
    maps = [place / name for place in (folder, folder.parent) for name in MAP_FILES]
    pictures = [p for p in sorted_files(folder, '*') if p.suffix.lower() in PICTURES]
    return [*pictures, *(path for path in maps if path.is_file())]


def _folder_source(folder: Path, space: LabelSpace) -> LabelSource:
    files = [path for path in label_files(folder) if path.suffix.lower() in PICTURES]
    if not files:
        raise DatasetError(f'{folder} holds no picture, expected <stamp in ns>.png')
    strange = [path.name for path in files if not path.stem.isdigit()]
    if strange:
        raise DatasetError(f'{folder}/{strange[0]} is not named by its stamp in nanoseconds')
    stamps = [int(path.stem) for path in files]
    if len(set(stamps)) < len(stamps):
        twice = next(stamp for stamp in stamps if stamps.count(stamp) > 1)
        raise DatasetError(f'{folder} holds two pictures of the stamp {twice}')
    label_map = find_label_map(folder, space)

    def reader_of(path: Path) -> ReadMask:
        return lambda: read_label_image(path, space, label_map)

    name = f'{folder.name}/' + (f' with {label_map.path.name}' if label_map else '')
    return LabelSource(name, {int(path.stem): reader_of(path) for path in files})


def _refuse_similar(bag: Path) -> None:
    """Refuse a folder that somebody may have meant for labels."""
    for parent in (bag, bag.parent) if bag.is_dir() else (bag.parent,):
        places = sorted(p for p in parent.iterdir() if p.is_dir())
        for place in places:
            name = place.name.casefold()
            own = name.removeprefix(f'{bag.stem.casefold()}_')
            if own not in _LIKE_LABELS or (parent != bag and own == 'truth'):
                continue
            if any(p.suffix.lower() in PICTURES and p.stem.isdigit() for p in place.iterdir()):
                raise DatasetError(
                    f'{place} holds pictures, but labels of {bag} are read from {bag}/labels or '
                    f'{bag.with_name(f"{bag.stem}_labels")}: rename it, or move it away'
                )


def has_messages(reader: BagReader, topic: str) -> bool:
    """Whether a recording holds messages of a topic."""
    return any(each.name == topic and each.count for each in reader.topics)
