"""Labelled rosbags: what `sam_ad label` writes, or a bag with a folder of label images.

    <root>/{train,val,test}/<bag>       recordings by split, or
    <root>/<bag>, or <root> is a bag    all are training data

The truth of a bag is the folder `labels/` in it (or `<bag>_labels/` beside it) with one
`<stamp in ns>.png` per labelled frame, as annotation tools can write it; where there is none, the
truth that `sam_ad simulate` wrote. The masks of `sam_ad label` are predictions: they are learned
from only where `data.pseudo_labels` asks for it, and never measured against.

Bundles are made as on the vehicle; those that have a label are kept in a folder, because a
recording can only be read in order.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sam_ad_perception.bags.bundles import BundleOptions, read_bundles
from sam_ad_perception.bags.labelling.recording import check_sensors
from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.core.geometry.calibration import Calibration, load_calibration
from sam_ad_perception.core.label_files import find_label_space
from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from sam_ad_perception.core.sensors import SensorBundle
from sam_ad_perception.core.settings.yaml_records import build_record
from training.datasets.own.recorded_labels import (
    TOLERANCE_NS,
    TRUTH_TOPIC,
    LabelReport,
    StampMatcher,
    find_labels,
    has_messages,
    label_files,
    label_folder,
)
from training.datasets.own.simulated import LABEL_SPACE as SIMULATED_SPACE
from training.frames.code_digest import code_digest
from training.frames.frame import DatasetError, LabelledFrame
from training.frames.frame_store import DamagedEntryError, load_frame, save_frame
from training.frames.image_folders import sorted_files
from training.networks.checkpoint import save_atomically

INFO_TOPIC = '/semantic/label_info'
REPORT = 'report.json'
_SPLITS = ('train', 'val', 'test')
_MAKING = threading.Lock()


@dataclass(frozen=True)
class RecordingOptions:
    """What a recording does not say of itself.

    Attributes:
        label_space: Key of `LABEL_SPACES`, or a YAML file of own classes; empty takes what the
            recording says of itself.
        calibration: File of transforms and camera geometry that the recordings lack.
        pseudo_labels: Whether predictions may be learned from where there is no truth.
        skip_refused: Whether labels and recordings that cannot be used are left out, counted and
            named in `Recordings.problems`; else the first one is an error.
    """

    label_space: str = ''
    calibration: Path | None = None
    pseudo_labels: bool = False
    skip_refused: bool = False


class Recordings:
    """Labelled frames of recordings.

    Args:
        bags: The recordings.
        folder: Where their bundles are kept; what is there of the same bags, labels, options and
            code is used.
        label_space: See `RecordingOptions`, as of the others.
        calibration: Likewise.
        progress: Called with recordings done and in all.
        pseudo_labels: See `RecordingOptions`.
        skip_refused: Likewise.

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
        *,
        pseudo_labels: bool = False,
        skip_refused: bool = False,
    ) -> None:
        if not bags:
            raise DatasetError('there is no recording')
        self._options = RecordingOptions(label_space, calibration, pseudo_labels, skip_refused)
        self._folder = folder
        if calibration is not None and not calibration.is_file():
            raise DatasetError(f'calibration {calibration} is not a file')
        self.failed: list[str] = []
        self._space = self._find_space(bags)
        self.reports: dict[Path, LabelReport] = {}
        self.files: list[Path] = []
        self._bags: list[Path] = []
        for number, bag in enumerate(bags):
            try:
                self._take(bag)
            except DatasetError as error:
                self._refuse(error)
            if progress is not None:
                progress(number + 1, len(bags))
        if not self.files:
            raise DatasetError('; '.join(self.problems) or 'no recording has a labelled frame')

    @property
    def space(self) -> LabelSpace:
        """The classes of its labels."""
        return self._space

    @property
    def problems(self) -> list[str]:
        """What is wrong with the labels, one sentence each, with the recording."""
        of_labels = [
            f'{bag}: {text}' for bag, report in self.reports.items() for text in report.problems
        ]
        return [*self.failed, *of_labels]

    @property
    def notes(self) -> list[str]:
        """What is worth knowing of the labels, one sentence each, with the recording."""
        found = []
        for bag, report in self.reports.items():
            if report.moved:
                found.append(f'{bag}: {report.moved}')
            if report.pseudo:
                found.append(f'{bag}: labels are predictions of a network, not truth')
        return found

    def table(self) -> list[tuple[str, ...]]:
        """Per recording: its name, where its labels are from, frames used, labels, why not more.

        Returns:
            Rows of text.
        """
        rows: list[tuple[str, ...]] = []
        for bag, report in self.reports.items():
            kind = f'{report.source}, predictions' if report.pseudo else report.source
            why = '; '.join(filter(None, (report.moved, report.unused, *report.refused[:1])))
            counts = (str(len(report.frames)), str(report.labels))
            rows.append((bag.name, kind, *counts, why))
        return rows

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.files)

    def read(self, index: int) -> LabelledFrame:
        """Read one frame; a file that is not as it was written is made anew.

        Args:
            index: From 0.

        Returns:
            The frame; its name is that of the bag and its stamp.

        Raises:
            DatasetError: The file cannot be made anew.
        """
        path = self.files[index]
        try:
            return load_frame(path)
        except DamagedEntryError:
            with _MAKING:
                self._make(self._bags[index], path.parent)
        try:
            return load_frame(path)
        except DamagedEntryError as error:
            raise DatasetError(f'{error}, and making it anew did not help') from error

    def _find_space(self, bags: list[Path]) -> LabelSpace:
        named = self._options.label_space
        if named:
            try:
                return find_label_space(named)
            except ValueError as error:
                raise DatasetError(str(error)) from error
        spaces: dict[LabelSpace, Path] = {}
        for bag in bags:
            try:
                spaces.setdefault(_space_of(bag), bag)
            except DatasetError as error:
                self._refuse(error)
        if not spaces:
            raise DatasetError('; '.join(self.failed))
        if len(spaces) > 1:
            names = sorted(space.name for space in spaces)
            raise DatasetError(f'the recordings have labels of {names}, expected one')
        return next(iter(spaces))

    def _refuse(self, error: DatasetError) -> None:
        if not self._options.skip_refused:
            raise error
        if str(error) not in self.failed:
            self.failed.append(str(error))

    def _take(self, bag: Path) -> None:
        place = self._place(bag)
        report = self._keep(bag, place)
        if report.refused and not self._options.skip_refused:
            more = f' ({len(report.refused)} labels are refused)' if report.refused[1:] else ''
            raise DatasetError(f'{report.refused[0]}{more}')
        if not report.frames and not report.refused:
            raise DatasetError(f'{bag}: no label has the stamp of a bundle: {report.unused}')
        self.reports[bag] = report
        self.files += [place / name for name in report.frames]
        self._bags += [bag] * len(report.frames)

    def _place(self, bag: Path) -> Path:
        facts = (
            *_facts(bag, self._options.calibration),
            repr(self._space),
            self._options.pseudo_labels,
            TOLERANCE_NS,
            code_digest('core', 'bags', 'training/frames', 'training/datasets'),
        )
        key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
        return self._folder / f'{bag.name}_{key}'

    def _keep(self, bag: Path, place: Path) -> LabelReport:
        """Write a recording's labelled frames, once."""
        path = place / REPORT
        try:
            report = build_record(LabelReport, json.loads(path.read_text('utf-8')), str(path))
            if all((place / name).is_file() for name in report.frames):
                return report
        except (OSError, ValueError):
            pass  # not there, or not whole: it is made anew
        return self._make(bag, place)

    def _make(self, bag: Path, place: Path) -> LabelReport:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        reading = _Reading(bag, self._space, self._options)
        names = []
        for frame in reading.frames():
            names.append(f'{frame.bundle.stamp_ns}.frame')
            save_frame(frame, place / names[-1])
        report = dataclasses.replace(reading.report, frames=tuple(names))
        text = json.dumps(dataclasses.asdict(report))
        save_atomically(text.encode(), place / REPORT)
        return report


class _Reading:
    """One pass over a recording.

    Args:
        bag: The recording.
        space: Classes of its labels.
        options: What it does not say of itself.
    """

    def __init__(self, bag: Path, space: LabelSpace, options: RecordingOptions) -> None:
        self.bag, self.space, self.options = bag, space, options
        self.report = LabelReport('', False, 0, ())

    def frames(self) -> Iterator[LabelledFrame]:
        """Read the frames that have a usable label; afterwards the report is whole.

        Raises:
            DatasetError: The recording cannot be read or has no labels.
        """
        bag, named = self.bag, self.options.calibration
        refused: list[str] = []
        try:
            known = load_calibration(named) if named else Calibration()
            with BagReader(bag) as reader:
                source = find_labels(
                    bag, reader, self.space, pseudo_labels=self.options.pseudo_labels
                )
                matcher = StampMatcher(list(source.masks))
                mapping = choose_topics(reader)
                check_sensors(reader, mapping, known)
                for bundle in read_bundles(reader, mapping, BundleOptions(calibration=known)):
                    if not isinstance(bundle, SensorBundle):
                        continue
                    stamp = matcher.take(bundle.stamp_ns)
                    if stamp is None:
                        continue
                    name = f'{bag.name}/{bundle.stamp_ns}'
                    try:
                        yield LabelledFrame(
                            name, bundle, source.masks[stamp](), pseudo=source.pseudo
                        )
                    except ValueError as error:
                        refused.append(str(error))
        except DatasetError:
            raise
        except (ValueError, OSError) as error:
            raise DatasetError(f'{bag}: {error}') from error
        self.report = LabelReport(
            source.name,
            source.pseudo,
            len(source.masks),
            (),
            matcher.describe_moved(),
            matcher.describe_unused(),
            tuple(refused),
        )


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
    found = [place] if is_bag(place) else [p for p in sorted_files(place, '*') if is_bag(p)]
    if not found:
        raise DatasetError(f'{place} holds no recording')
    return found


def is_bag(path: Path) -> bool:
    """Whether a path is a recording: a folder with storage files, or one of them."""
    ends = ('*.mcap', '*.db3')
    return path.suffix in ('.mcap', '.db3') or any(next(path.glob(e), None) for e in ends)


def _space_of(bag: Path) -> LabelSpace:
    """The label space that a recording states."""
    try:
        with BagReader(bag) as reader:
            if label_folder(bag) is None and has_messages(reader, TRUTH_TOPIC):
                return LABEL_SPACES[SIMULATED_SPACE]
            for message in reader.messages([INFO_TOPIC]):
                classes = reader.deserialize(message).class_map
                named = {int(c.class_id): str(c.class_name) for c in classes}
                for space in LABEL_SPACES.values():
                    if all(named.get(each.id) == each.name for each in space.classes):
                        return space
                raise DatasetError(
                    f'{bag}: {INFO_TOPIC} names the classes {sorted(named.values())}, which are '
                    'of no label space that is built in: name a YAML file of them with '
                    'data.label_space= (training) or --label-space'
                )
    except BagError as error:
        raise DatasetError(str(error)) from error
    raise DatasetError(
        f'{bag} does not say what its labels mean (no {INFO_TOPIC}): give label_space, with '
        'data.label_space= (training) or --label-space'
    )


def _facts(bag: Path, calibration: Path | None) -> tuple[object, ...]:
    """Change with the recording, its labels and the calibration."""
    folder = label_folder(bag)
    files = [bag] if bag.is_file() else sorted(f for f in bag.glob('*') if f.is_file())
    files += label_files(folder) if folder else []
    files += [calibration] if calibration else []
    facts = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return str(bag.resolve()), tuple(facts)
