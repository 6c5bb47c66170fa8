"""Own data in folders: pictures, masks, thermal images, depth and clouds; see `data_file`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.geometry.calibration import Calibration, load_calibration
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.sensors import Modality, SensorBundle, SensorFrame
from training.datasets.own.data_file import OwnData, read_data_file
from training.datasets.own.recordings import Recordings, is_bag
from training.frames.frame import (
    Dataset,
    DatasetError,
    LabelledFrame,
    bundle_in_view,
    nominal_camera,
)
from training.frames.image_files import read_grey, read_rgb
from training.frames.image_folders import (
    DatasetLayout,
    FileDataset,
    FrameFiles,
    read_list,
    sorted_files,
)
from training.frames.label_images import read_label_image
from training.frames.label_maps import LabelMap, find_label_map
from training.frames.measurements import read_cloud, read_depth

NAME = 'folders'
SPLITS = ('train', 'val', 'test')
SENSORS = ('camera', 'thermal', 'depth', 'lidar')
HELD_BACK = 0.2
"""Share of the drives (or of the last frames of one drive) that is measured on by default."""
_ENDINGS = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.npy', '.bin')
_LABEL_FOLDERS = ('masks', 'labels', 'annotations', 'gt')
_CAMERA_FOLDERS = ('images', 'camera', 'rgb', 'image')


class FolderDataset(FileDataset):
    """Frames of own folders.

    Args:
        space: The classes.
        layout: Reads a frame.
        frames: The frames.
        incomplete: Frames that lack a label or a picture.
        problems: What is wrong with the folders, one sentence each.
    """

    def __init__(
        self,
        space: LabelSpace,
        layout: DatasetLayout,
        frames: Sequence[FrameFiles],
        incomplete: Sequence[FrameFiles],
        problems: Sequence[str],
    ) -> None:
        super().__init__(layout, frames, incomplete)
        self._space = space
        self.problems = list(problems)

    @property
    def space(self) -> LabelSpace:
        """The classes of its labels."""
        return self._space


def open_folders(source: Path, split: str, cache: Path) -> Dataset:
    """Open a split of own data.

    Args:
        source: The YAML file.
        split: `train`, `val` or `test`.
        cache: Where frames of recordings are kept.

    Returns:
        The split.

    Raises:
        DatasetError: The file or a folder cannot be used, or the split has no frame.
    """
    data = read_data_file(source)
    if split not in SPLITS:
        raise DatasetError(f'split must be one of {SPLITS}, got {split!r}')
    bags = _recordings(data, split)
    if bags:
        calibration = data.root / data.file.calibration if data.file.calibration else None
        return Recordings(bags, cache, str(source), calibration)
    if any(_recordings(data, each) for each in SPLITS) and not data.file.camera:
        raise DatasetError(
            f'{source} names recordings, but none of {split}: add `{split}: FOLDER`'
        )
    whole, incomplete, strays = find_frames(data)
    chosen = choose_split(data, [*whole, *incomplete], split)
    names = {frame.name for frame in chosen}
    frames = [frame for frame in whole if frame.name in names]
    if not frames:
        lacking = [f.name for f in incomplete if f.name in names]
        why = f', {len(lacking)} lack a file, first {lacking[0]}' if lacking else ''
        raise DatasetError(f'{source}: {split} has no frame with picture and label{why}')
    reader = _Reader(data)
    layout = DatasetLayout(NAME, '', {}, lambda *_: list(frames), reader.read, own_ids=False)
    without = [frame for frame in incomplete if frame.name in names]
    problems = strays + [f'{frame.missing()[0]} is missing' for frame in without]
    return FolderDataset(data.space, layout, frames, without, problems)


def named_sensors(data: OwnData, known: Collection[str]) -> list[str]:
    """Say which sensors the frames that are learned from have.

    Args:
        data: The file of own data.
        known: All that a network has: recordings bring what is in them.

    Returns:
        The sensors of the folders, or `known`.

    Raises:
        DatasetError: The network has none of them.
    """
    if _recordings(data, 'train'):
        return list(known)
    found = [role for role in SENSORS if role == 'camera' or getattr(data.file, role)]
    if not set(found) & set(known):
        raise DatasetError(f'{data.source} has {found}, the network to start from {list(known)}')
    return found


def _recordings(data: OwnData, split: str) -> list[Path]:
    """The recordings that a split names; none where it is of folders."""
    named = getattr(data.file, split)
    bags = [] if _is_share(named) else [data.root / path for path in _listed(named)]
    return bags if all(is_bag(bag) for bag in bags) else []


def find_frames(data: OwnData) -> tuple[list[FrameFiles], list[FrameFiles], list[str]]:
    """Find the frames of all folders.

    Args:
        data: The file of own data.

    Returns:
        Frames with picture and label, frames that lack one, and a sentence for each label that
        belongs to none.

    Raises:
        DatasetError: There is no picture at all, or a pattern finds nothing.
    """
    found: dict[str, dict[str, Path]] = {}
    for role in (*SENSORS, 'labels'):
        pattern = _pattern(data, role)
        if pattern:
            found[role] = _files(data.root, pattern, role, data.source)
    names = sorted(set(found['camera']) | (found['labels'].keys() & _of_sensors(found)))
    whole: list[FrameFiles] = []
    incomplete: list[FrameFiles] = []
    for name in names:
        files = {role: files[name] for role, files in found.items() if name in files}
        for role in ('camera', 'labels'):
            if role not in files:  # a path that is missing, so that it can be named
                files[role] = _expected_file(data, role, name, found[role])
        frame = FrameFiles(name, files)
        (whole if not frame.missing() else incomplete).append(frame)
    stray = sorted(found['labels'].keys() - set(names))
    strays = [f'{found["labels"][name]} belongs to no picture' for name in stray]
    return whole, incomplete, strays


def _expected_file(data: OwnData, role: str, name: str, others: Mapping[str, Path]) -> Path:
    pattern = _pattern(data, role)
    if '*' not in pattern:
        ending = next(path.suffix for path in others.values())
        return data.root / pattern / f'{name}{ending}'
    for part in name.split('/'):
        pattern = pattern.replace('*', part, 1)
    return data.root / pattern


def _of_sensors(found: Mapping[str, Mapping[str, Path]]) -> set[str]:
    return {name for role, files in found.items() if role != 'labels' for name in files}


def _pattern(data: OwnData, role: str) -> str:
    given = str(getattr(data.file, role))
    if given:
        return given
    usual = {'camera': _CAMERA_FOLDERS, 'labels': _LABEL_FOLDERS}.get(role, ())
    there = next((name for name in usual if (data.root / name).is_dir()), '')
    if not there and usual:
        raise DatasetError(
            f'{data.source} does not say where `{role}` is, and {data.root} has none of the '
            f'folders {", ".join(usual)}'
        )
    return there


def _files(root: Path, pattern: str, role: str, source: Path) -> dict[str, Path]:
    """Files of a pattern by what its `*` stand for."""
    if not any(c in pattern for c in '*?['):
        pattern = f'{pattern.rstrip("/")}/*'
    expression = re.escape(pattern).replace(r'\*\*/', '(?:(.*)/)?').replace(r'\*', '([^/]*)')
    expression = expression.replace(r'\?', '([^/])')
    found: dict[str, Path] = {}
    for path in sorted_files(root, pattern):
        relative = path.relative_to(root).as_posix()
        match = re.fullmatch(expression, relative, re.IGNORECASE)
        if match is None or path.suffix.lower() not in _ENDINGS or not path.is_file():
            continue
        parts = [part for part in match.groups() if part]
        name = '/'.join([*parts[:-1], re.sub(r'\.[^.]*$', '', parts[-1])])
        if name in found:
            raise DatasetError(f'{source}: {role} has two files of the name {name!r}: {path}')
        found[name] = path
    if not found:
        raise DatasetError(f'{source}: {role}: {root / pattern} finds no file of {_ENDINGS}')
    return found


def choose_split(data: OwnData, frames: Sequence[FrameFiles], split: str) -> list[FrameFiles]:
    """Choose the frames of a split.

    Args:
        data: The file of own data.
        frames: All frames.
        split: Which split.

    Returns:
        Its frames.

    Raises:
        DatasetError: What is named finds no frame, or a frame is in two splits.
    """
    chosen: dict[str, set[str]] = {}
    for each in SPLITS:
        named = getattr(data.file, each)
        if named is not None and not _is_share(named):
            chosen[each] = _named_frames(data, frames, each, named)
    left = [f for f in frames if not any(f.name in names for names in chosen.values())]
    named = {each: getattr(data.file, each) for each in ('val', 'test')}
    shares = {each: value for each, value in named.items() if _is_share(value)}
    if data.file.val is None and 'val' not in chosen and data.file.train is None:
        shares['val'] = HELD_BACK
    for each in ('test', 'val'):
        if each in shares:
            part = _last_share(left, float(shares[each]))
            chosen[each] = {f.name for f in part}
            left = [f for f in left if f.name not in chosen[each]]
    chosen.setdefault('train', {f.name for f in left})
    for one, other in (('train', 'val'), ('train', 'test'), ('val', 'test')):
        shared = sorted(chosen.get(one, set()) & chosen.get(other, set()))
        if shared:
            raise DatasetError(
                f'{data.source}: {one} and {other} share {len(shared)} frames, first {shared[0]}'
            )
    if split not in chosen:
        raise DatasetError(f'{data.source} names no frames of {split}')
    return [f for f in frames if f.name in chosen[split]]


def _last_share(frames: Sequence[FrameFiles], share: float) -> list[FrameFiles]:
    """The last drives, or the last frames of the only one: neighbours in time are alike."""
    drives: dict[str, list[FrameFiles]] = {}
    for frame in sorted(frames, key=lambda f: f.name):
        drives.setdefault(frame.name.rpartition('/')[0], []).append(frame)
    if len(drives) == 1:
        (alone,) = drives.values()
        return alone[len(alone) - max(1, round(share * len(alone))) :]
    taken: list[FrameFiles] = []
    for name in sorted(drives, reverse=True):
        if taken and len(taken) >= share * len(frames):
            break
        taken += drives[name]
    return taken


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _listed(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else []


def _named_frames(
    data: OwnData, frames: Sequence[FrameFiles], split: str, named: object
) -> set[str]:
    found: set[str] = set()
    for item in _listed(named):
        before = len(found)
        if item.endswith('.txt'):
            wanted = read_list(data.root / item)
            names = {frame.name for frame in frames}
            strange = [name for name in wanted if name not in names]
            if strange:
                hint = Path(strange[0]).suffix
                told = f'; names are without {hint!r}' if hint in _ENDINGS else ''
                raise DatasetError(
                    f'{data.root / item} names {len(strange)} frames that are not there, first '
                    f'{strange[0]!r}{told}'
                )
            found |= set(wanted)
            continue
        for frame in frames:
            path = frame.files['camera'].relative_to(data.root).as_posix()
            if fnmatch.fnmatch(path, item) or path.startswith(f'{item.rstrip("/")}/') or (
                frame.name == item or frame.name.startswith(f'{item.rstrip("/")}/')
            ):  # fmt: skip
                found.add(frame.name)
        if len(found) == before:
            raise DatasetError(f'{data.source}: {split}: {item!r} finds no frame in {data.root}')
    return found


class _Reader:
    """Reads frames of own folders.

    Args:
        data: The file of own data.
    """

    def __init__(self, data: OwnData) -> None:
        self.data = data
        self._maps: dict[Path, LabelMap | None] = {}
        self._calibration: Calibration | None = None
        if data.file.calibration:
            path = data.root / Path(data.file.calibration).expanduser()
            try:
                self._calibration = load_calibration(path)
            except (ValueError, OSError) as error:
                raise DatasetError(str(error)) from error

    def read(self, files: FrameFiles) -> LabelledFrame:
        """Read one frame; see `DatasetLayout.read`."""
        colour = read_rgb(files.files['camera'])
        path = files.files['labels']
        if path.parent not in self._maps:
            self._maps[path.parent] = find_label_map(path.parent, self.data.space)
        labels = read_label_image(path, self.data.space, self._maps[path.parent])
        if labels.shape != colour.shape[:2]:
            raise DatasetError(
                f'{path} is {labels.shape[1]}x{labels.shape[0]}, its picture is '
                f'{colour.shape[1]}x{colour.shape[0]}'
            )
        images: dict[Modality, NDArray[Any]] = {Modality.CAMERA: colour}
        readers: dict[str, Callable[[Path], NDArray[Any]]]
        readers = {'thermal': read_grey, 'depth': read_depth}
        for name, read in readers.items():
            if name in files.files:
                images[Modality(name)] = read(files.files[name])
        bundle = self._place(images, files)
        return LabelledFrame(files.name, bundle, labels)

    def _place(self, images: dict[Modality, NDArray[Any]], files: FrameFiles) -> SensorBundle:
        """The sensors in the camera's view: by the calibration, else all in one view."""
        known = self._calibration
        if known is None:
            if 'lidar' in files.files:
                raise DatasetError(
                    f'{files.files["lidar"]}: clouds need `calibration`, a file of transforms and '
                    'of the geometry of the camera'
                )
            return bundle_in_view(images)
        size = images[Modality.CAMERA].shape
        view = known.cameras.get(Modality.CAMERA, nominal_camera((size[0], size[1])))
        tree = TransformTree()
        known.fill(tree)
        frames, T_camera = {}, {}
        for modality, image in images.items():
            model = known.cameras.get(modality, view)
            name = model.frame_id
            frames[modality] = SensorFrame(modality, 0, name, image, model)
            if modality is not Modality.CAMERA:
                T_camera[modality] = _link(tree, view.frame_id, name)
        if 'lidar' in files.files:
            cloud = read_cloud(files.files['lidar'])
            frames[Modality.LIDAR] = SensorFrame(Modality.LIDAR, 0, 'lidar', cloud)
            T_camera[Modality.LIDAR] = _link(tree, view.frame_id, 'lidar')
        return SensorBundle(0, Modality.CAMERA, view, frames, T_camera=T_camera)


def _link(tree: TransformTree, parent: str, child: str) -> NDArray[np.float64]:
    if parent == child:
        return np.eye(4)
    try:
        return tree.lookup(parent, child, 0)
    except ValueError as error:
        text = f'calibration links {child!r} and {parent!r} nowhere: {error}'
        raise DatasetError(text) from error
