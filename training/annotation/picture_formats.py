"""Masks as pictures: plain ids, Pascal VOC, Cityscapes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from sam_ad_perception.core.labels import LABEL_SPACES, UNLABELED, LabelSpace
from training.annotation.exchange import (
    Mask,
    Picture,
    ReadMask,
    collect,
    save_picture,
    stamp_in,
)
from training.datasets.cityscapes import LABEL_IDS
from training.frames.frame import DatasetError
from training.frames.label_images import decode_lossless, read_ids, read_label_image
from training.frames.label_maps import find_label_map

PICTURES = ('.png', '.bmp', '.tif', '.tiff', '.jpg', '.jpeg', '.webp')
VOC_MASKS = 'SegmentationClass'
_CITYSCAPES = re.compile(r'(\d+)_(\d{9})_gtFine_(color|labelIds|labelTrainIds)\.png')
_BASE = 1_000_000_000


class IdWriter:
    """`images/` and `masks/`: grey pictures of ids, 255 void, and `classes.json`.

    Args:
        folder: Where to.
        space: The classes.
        recording: Not used here.
    """

    def __init__(self, folder: Path, space: LabelSpace, recording: str) -> None:
        self._folder, self._space = folder, space

    def add(self, stamp_ns: int, picture: Picture, mask: Mask) -> None:
        """See `exchange.MaskWriter`."""
        save_picture(self._folder / f'images/{stamp_ns}.png', picture)
        save_picture(self._folder / f'masks/{stamp_ns}.png', mask)

    def finish(self) -> None:
        """See `exchange.MaskWriter`."""
        write_classes(self._folder / 'classes.json', self._space)


def write_classes(path: Path, space: LabelSpace) -> None:
    """Write what ids mean, as `label_images.read_label_map` reads it.

    Args:
        path: The JSON file.
        space: The classes.
    """
    rows = [{'id': c.id, 'name': c.name, 'color': list(c.color)} for c in space.classes]
    path.write_text(json.dumps({'classes': rows}, indent=1) + '\n')


def read_id_folder(folder: Path, space: LabelSpace) -> Mapping[int, ReadMask]:
    """Read `masks/`, or pictures named by stamps in the folder itself: ids, palette or colours."""
    place = folder / 'masks' if (folder / 'masks').is_dir() else folder
    return _pictures(place, space)


def has_ids(folder: Path) -> bool:
    """Whether a folder holds masks as pictures named by stamps."""
    return (folder / 'masks').is_dir() or any(
        path.suffix.lower() in PICTURES and path.stem.isdigit() for path in folder.glob('*')
    )


class VocWriter:
    """Pascal VOC: masks with a palette; index 0 is background, classes from 1, 255 void.

    Void is black in the palette, so that tools which read colours take it for background.

    Args:
        folder: Where to.
        space: The classes.
        recording: Not used here.
    """

    def __init__(self, folder: Path, space: LabelSpace, recording: str) -> None:
        if len(space) > UNLABELED - 1:
            raise DatasetError(f'voc holds at most {UNLABELED - 1} classes, got {len(space)}')
        self._folder, self._space, self._stamps = folder, space, list[int]()
        palette = np.zeros((256, 3), np.uint8)
        palette[1 : len(space) + 1] = space.palette[: len(space)]
        self._palette = palette.reshape(-1).tolist()

    def add(self, stamp_ns: int, picture: Picture, mask: Mask) -> None:
        """See `exchange.MaskWriter`."""
        self._stamps.append(stamp_ns)
        save_picture(self._folder / f'JPEGImages/{stamp_ns}.png', picture)
        indices = np.where(mask == UNLABELED, mask, mask + 1).astype(np.uint8)
        drawn = Image.fromarray(indices).convert('P')
        drawn.putpalette(self._palette)
        path = self._folder / VOC_MASKS / f'{stamp_ns}.png'
        path.parent.mkdir(exist_ok=True)
        drawn.save(path)

    def finish(self) -> None:
        """See `exchange.MaskWriter`."""
        lines = ['# label:color_rgb:parts:actions', 'background:0,0,0::']
        lines += [f'{c.name}:{",".join(map(str, c.color))}::' for c in self._space.classes]
        (self._folder / 'labelmap.txt').write_text('\n'.join(lines) + '\n')
        sets = self._folder / 'ImageSets/Segmentation/default.txt'
        sets.parent.mkdir(parents=True)
        sets.write_text('\n'.join(map(str, self._stamps)) + '\n')


def read_voc(folder: Path, space: LabelSpace) -> Mapping[int, ReadMask]:
    """Read `SegmentationClass/` by palette or colours, with `labelmap.txt` beside it."""
    return _pictures(folder / VOC_MASKS, space)


def has_voc(folder: Path) -> bool:
    """Whether a folder holds Pascal VOC masks."""
    return (folder / VOC_MASKS).is_dir()


def _pictures(place: Path, space: LabelSpace) -> Mapping[int, ReadMask]:
    label_map = find_label_map(place, space)

    def reader_of(path: Path) -> ReadMask:
        return lambda: read_label_image(path, space, label_map)

    paths = sorted(p for p in place.rglob('*') if p.suffix.lower() in PICTURES)
    return collect([(stamp_in(p.stem, p), p, reader_of(p)) for p in paths])


class CityscapesWriter:
    """Cityscapes: `leftImg8bit` and `gtFine`, the stamp as seconds and nanoseconds in the name.

    Train ids are not written, as the data set has none either: datumaro takes their 0, which is
    road, for nothing.

    Args:
        folder: Where to.
        space: The classes; those of Cityscapes.
        recording: Takes the place of the city.

    Raises:
        DatasetError: Other classes.
    """

    def __init__(self, folder: Path, space: LabelSpace, recording: str) -> None:
        if space.names != LABEL_SPACES['cityscapes'].names:
            raise DatasetError(
                f'cityscapes holds the 19 classes of Cityscapes alone, got those of {space.name}: '
                'export as voc, coco, cvat, labelstudio or masks'
            )
        self._folder, self._space = folder, space
        self._city = re.sub(r'[^A-Za-z0-9]', '', recording) or 'recording'
        self._ids = np.zeros(256, np.uint8)
        self._ids[: len(LABEL_IDS)] = LABEL_IDS

    def add(self, stamp_ns: int, picture: Picture, mask: Mask) -> None:
        """See `exchange.MaskWriter`."""
        seconds, rest = divmod(stamp_ns, _BASE)
        name = f'default/{self._city}/{self._city}_{seconds:06d}_{rest:09d}'
        truth, ids = self._folder / 'gtFine', self._ids[mask]
        save_picture(self._folder / f'leftImg8bit/{name}_leftImg8bit.png', picture)
        save_picture(truth / f'{name}_gtFine_labelIds.png', ids)
        # Ids without a number of an instance: regions of the class, as the data set has them.
        save_picture(truth / f'{name}_gtFine_instanceIds.png', ids.astype(np.uint16))
        save_picture(truth / f'{name}_gtFine_color.png', self._space.palette[mask])

    def finish(self) -> None:
        """See `exchange.MaskWriter`."""


def read_cityscapes(folder: Path, space: LabelSpace) -> Mapping[int, ReadMask]:
    """Read `gtFine`; colours, label ids and train ids of one frame must say the same.

    Where a tool has written `label_colors.txt`, its ids are numbers of that list, so that colours
    alone count.
    """
    own_ids = (folder / 'label_colors.txt').is_file()
    frames: dict[int, dict[str, Path]] = {}
    for path in sorted((folder / 'gtFine').rglob('*.png')):
        found = _CITYSCAPES.search(path.name)
        if found is None and '_instanceIds' not in path.name:
            raise DatasetError(
                f'{path} is not named <city>_<seconds>_<nanoseconds>_gtFine_<kind>.png; keep the '
                'names of the export'
            )
        if found is not None and not (own_ids and found[3] != 'color'):
            stamp_ns = int(found[1]) * _BASE + int(found[2])
            if frames.setdefault(stamp_ns, {}).setdefault(found[3], path) != path:
                raise DatasetError(f'{path} is there twice')

    def reader_of(files: dict[str, Path]) -> ReadMask:
        return lambda: _read_kinds(files, space)

    return {stamp_ns: reader_of(frames[stamp_ns]) for stamp_ns in sorted(frames)}


def _read_kinds(files: dict[str, Path], space: LabelSpace) -> Mask:
    read: dict[str, Mask] = {}
    for kind, path in files.items():
        if kind == 'labelIds':
            read[kind] = _from_label_ids(path)
        elif kind == 'color':
            read[kind] = _from_colours(path, space)
        else:
            read[kind] = read_label_image(path, space)
    (first, mask), *others = read.items()
    for kind, other in others:
        if other.shape != mask.shape or (other != mask).any():
            apart = (
                'sizes' if other.shape != mask.shape else f'{int((other != mask).sum())} pixels'
            )
            raise DatasetError(
                f'{files[first]} and the {kind} beside it differ in {apart}: remove those that '
                'were not corrected'
            )
    return mask


def _from_colours(path: Path, space: LabelSpace) -> Mask:
    """Black is void here, also in a picture that has no other colour."""
    rgb = np.asarray(decode_lossless(path).convert('RGB'), np.int32)
    codes = (rgb << np.array([16, 8, 0])).sum(axis=2)
    known = {0: UNLABELED}
    known |= {(c.color[0] << 16) + (c.color[1] << 8) + c.color[2]: c.id for c in space.classes}
    values, places = np.unique(codes, return_inverse=True)
    strange = [f'#{v:06x}' for v in values.tolist() if v not in known]
    if strange:
        raise DatasetError(f'{path} has the colours {strange[:5]}, which no class has')
    ids = np.array([known[v] for v in values.tolist()], np.uint8)
    return ids[places].reshape(codes.shape)


def _from_label_ids(path: Path) -> Mask:
    table = np.full(256, UNLABELED, np.uint8)
    table[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
    return np.asarray(table[read_ids(path)], np.uint8)


def has_cityscapes(folder: Path) -> bool:
    """Whether a folder holds Cityscapes masks."""
    return (folder / 'gtFine').is_dir()
