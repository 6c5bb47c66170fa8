"""Labelled rosbags: what `sam_ad label` writes, or a bag with a folder of label images.

    <root>/{train,val,test}/<bag>       recordings by split, or
    <root>/<bag>, or <root> is a bag    all are training data

The truth of a bag is the folder `labels/` in it (or `<bag>_labels/` beside it) with one
`<stamp in ns>.png` per labelled frame, as annotation tools can write it; where there is none, the
truth that `sam_ad simulate` wrote, else the masks of `sam_ad label`.

Bundles are made as on the vehicle; those whose stamp has a label are kept in a folder, because a
recording can only be read in order.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.bundles import BundleOptions, read_bundles
from sam_ad_perception.bags.labelling import check_sensors
from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.bags.topics import guess_topics
from sam_ad_perception.core.calibration import Calibration, load_calibration
from sam_ad_perception.core.conversions import image_to_array, stamp_of
from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from sam_ad_perception.core.sensors import SensorBundle
from training.datasets.files import check_ids, read_labels, sorted_files
from training.datasets.frames import DatasetError, LabelledFrame
from training.datasets.simulated import LABEL_SPACE as SIMULATED_SPACE

TRUTH_TOPIC, MASK_TOPIC = '/ground_truth/image', '/semantic/image'
INFO_TOPIC = '/semantic/label_info'
_SPLITS = ('train', 'val', 'test')


class Recordings:
    """Labelled frames of recordings.

    Args:
        bags: The recordings.
        folder: Where their bundles are kept; what is there of the same bags is used.
        label_space: Key of `LABEL_SPACES`; empty takes what the first recording says of itself.
        calibration: File of transforms and camera geometry that the recordings lack.
        progress: Called with recordings done and in all.

    Raises:
        DatasetError: A recording cannot be read, has no labels, or labels of other classes.
    """

    def __init__(
        self,
        bags: list[Path],
        folder: Path,
        label_space: str = '',
        calibration: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if not bags:
            raise DatasetError('there is no recording')
        if label_space and label_space not in LABEL_SPACES:
            raise DatasetError(
                f'label_space must be one of {sorted(LABEL_SPACES)}, got {label_space!r}'
            )
        if calibration is not None and not calibration.is_file():
            raise DatasetError(f'calibration {calibration} is not a file')
        spaces = {label_space or _space_of(bag) for bag in bags}
        if len(spaces) > 1:
            raise DatasetError(f'the recordings have labels of {sorted(spaces)}, expected one')
        self._space = LABEL_SPACES[spaces.pop()]
        self._calibration = calibration
        self.files: list[Path] = []
        for number, bag in enumerate(bags):
            self.files += self._keep(bag, folder)
            if progress is not None:
                progress(number + 1, len(bags))

    @property
    def space(self) -> LabelSpace:
        """The classes of its labels."""
        return self._space

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.files)

    def read(self, index: int) -> LabelledFrame:
        """Read one frame.

        Args:
            index: From 0.

        Returns:
            The frame; its name is that of the bag and its stamp.
        """
        with self.files[index].open('rb') as file:
            frame = pickle.load(file)
        assert isinstance(frame, LabelledFrame)
        return frame

    def _keep(self, bag: Path, folder: Path) -> list[Path]:
        """Write a recording's labelled frames, once."""
        place = folder / f'{bag.name}_{_fingerprint(bag, self._calibration)}'
        done = place / 'done'
        if not done.exists():
            place.mkdir(parents=True, exist_ok=True)
            for frame in read_labelled(bag, self._space, self._calibration):
                with (place / f'{frame.bundle.stamp_ns}.frame').open('wb') as file:
                    pickle.dump(frame, file, pickle.HIGHEST_PROTOCOL)
            done.touch()
        files = sorted(place.glob('*.frame'))
        if not files:
            raise DatasetError(f'{bag}: no label has the stamp of a bundle')
        return files


def read_labelled(
    bag: Path, space: LabelSpace, calibration: Path | None = None
) -> Iterator[LabelledFrame]:
    """Read a recording as labelled frames.

    Args:
        bag: The recording.
        space: Classes of its labels.
        calibration: File of transforms and camera geometry that it lacks.

    Yields:
        One frame per bundle whose stamp has a label.

    Raises:
        DatasetError: It cannot be read, has no labels or none of this size.
    """
    try:
        known = load_calibration(calibration) if calibration else Calibration()
        with BagReader(bag) as reader:
            labels = _label_readers(bag, reader)
            mapping = guess_topics(reader.topics)
            check_sensors(reader, mapping, known)
            for bundle in read_bundles(reader, mapping, BundleOptions(calibration=known)):
                if not isinstance(bundle, SensorBundle) or bundle.stamp_ns not in labels:
                    continue
                mask = labels[bundle.stamp_ns]()
                check_ids(mask, space, bag)
                yield LabelledFrame(f'{bag.name}/{bundle.stamp_ns}', bundle, mask)
    except DatasetError:
        raise
    except (ValueError, OSError) as error:
        raise DatasetError(f'{bag}: {error}') from error


def find_bags(root: Path, split: str) -> list[Path]:
    """Find the recordings of a split.

    Args:
        root: A recording, or a folder of them, or a folder of splits.
        split: `train`, `val` or `test`.

    Returns:
        The recordings.

    Raises:
        DatasetError: There are none.
    """
    if split not in _SPLITS:
        raise DatasetError(f'split must be one of {_SPLITS}, got {split!r}')
    if not root.exists():
        raise DatasetError(f'{root} does not exist')
    by_split = any((root / each).is_dir() for each in _SPLITS)
    place = root / split if by_split else root
    if not by_split and split != 'train':
        raise DatasetError(f'{root} has no folder {split}/: all its recordings are for training')
    found = [place] if _is_bag(place) else [p for p in sorted_files(place, '*') if _is_bag(p)]
    if not found:
        raise DatasetError(f'{place} holds no recording')
    return found


def _is_bag(path: Path) -> bool:
    ends = ('*.mcap', '*.db3')
    return path.suffix in ('.mcap', '.db3') or any(next(path.glob(e), None) for e in ends)


def _label_folder(bag: Path) -> Path | None:
    folders = (bag / 'labels', bag.with_name(f'{bag.stem}_labels'))
    return next((folder for folder in folders if folder.is_dir()), None)


def _label_readers(bag: Path, reader: BagReader) -> Mapping[int, Callable[[], NDArray[np.uint8]]]:
    """How to get the labels of each stamp."""
    folder = _label_folder(bag)
    if folder is not None:
        files = sorted_files(folder, '*.png')
        strange = [file.name for file in files if not file.stem.isdigit()]
        if strange:
            raise DatasetError(f'{folder}/{strange[0]} is not named by its stamp in nanoseconds')
        return {int(file.stem): lambda file=file: read_labels(file) for file in files}  # type: ignore[misc]
    masks: dict[int, Callable[[], NDArray[np.uint8]]] = {}
    topic = TRUTH_TOPIC if _has(reader, TRUTH_TOPIC) else MASK_TOPIC
    for message in reader.messages([topic]):
        image = reader.deserialize(message)
        mask, _ = image_to_array(image)
        if mask.dtype != np.uint8 or mask.ndim != 2:
            raise DatasetError(f'{bag}: {topic} is {mask.dtype} {mask.shape}, expected mono8')
        packed = cv2.imencode('.png', mask)[1]  # a drive's masks do not fit into memory
        masks[stamp_of(image)] = lambda packed=packed: _unpack(packed)  # type: ignore[misc]
    if not masks:
        raise DatasetError(
            f'{bag} has no labels: no folder labels/, no topic {TRUTH_TOPIC} or {MASK_TOPIC}'
        )
    return masks


def _unpack(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)


def _has(reader: BagReader, topic: str) -> bool:
    return any(each.name == topic and each.count for each in reader.topics)


def _space_of(bag: Path) -> str:
    """Key of the label space that a recording states."""
    try:
        with BagReader(bag) as reader:
            if _label_folder(bag) is None and _has(reader, TRUTH_TOPIC):
                return SIMULATED_SPACE
            for message in reader.messages([INFO_TOPIC]):
                classes = reader.deserialize(message).class_map
                named = {int(c.class_id): str(c.class_name) for c in classes}
                for key, space in LABEL_SPACES.items():
                    if all(named.get(each.id) == each.name for each in space.classes):
                        return key
                raise DatasetError(f'{bag}: {INFO_TOPIC} names classes of no known label space')
    except BagError as error:
        raise DatasetError(str(error)) from error
    raise DatasetError(
        f'{bag} does not say what its labels mean (no {INFO_TOPIC}): give label_space'
    )


def _fingerprint(bag: Path, calibration: Path | None) -> str:
    """Changes with the recording, its labels and the calibration."""
    folder = _label_folder(bag)
    files = [bag] if bag.is_file() else sorted(f for f in bag.glob('*') if f.is_file())
    files += sorted(folder.glob('*.png')) if folder else []
    files += [calibration] if calibration else []
    facts = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(repr((str(bag.resolve()), facts)).encode()).hexdigest()[:12]
