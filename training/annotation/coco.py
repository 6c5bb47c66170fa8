"""COCO: one JSON file; per frame and class one annotation of run lengths (`iscrowd: 1`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import LabelSpace
from training.annotation.exchange import (
    Layers,
    Mask,
    Picture,
    ReadMask,
    class_ids,
    class_masks,
    collect,
    find_class,
    find_json,
    read_json,
    save_picture,
    stamp_in,
)
from training.annotation.run_lengths import decode_coco, encode_coco
from training.frames.frame import DatasetError

FILE = 'annotations/instances_default.json'


class CocoWriter:
    """Writes `images/default/` and one JSON file.

    Args:
        folder: Where to.
        space: The classes; ids of categories begin at 1.
        recording: Said in the file.
    """

    def __init__(self, folder: Path, space: LabelSpace, recording: str) -> None:
        self._folder, self._space, self._recording = folder, space, recording
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, stamp_ns: int, picture: Picture, mask: Mask) -> None:
        """See `exchange.MaskWriter`."""
        name = f'{stamp_ns}.png'
        save_picture(self._folder / 'images/default' / name, picture)
        number, (height, width) = len(self._images) + 1, mask.shape
        self._images.append({'id': number, 'file_name': name, 'height': height, 'width': width})
        for label, drawn in class_masks(mask, self._space):
            left, top, wide, high = cv2.boundingRect(drawn.astype(np.uint8))
            self._annotations.append(
                {
                    'id': len(self._annotations) + 1,
                    'image_id': number,
                    'category_id': label + 1,
                    'segmentation': {'counts': encode_coco(drawn), 'size': [height, width]},
                    'area': int(drawn.sum()),
                    'bbox': [left, top, wide, high],
                    'iscrowd': 1,
                }
            )

    def finish(self) -> None:
        """See `exchange.MaskWriter`."""
        categories = [
            {'id': c.id + 1, 'name': c.name, 'supercategory': ''} for c in self._space.classes
        ]
        content = {
            'info': {'description': f'masks of {self._recording}'},
            'licenses': [],
            'categories': categories,
            'images': self._images,
            'annotations': self._annotations,
        }
        path = self._folder / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


def find_coco(folder: Path) -> list[Path]:
    """Find the JSON files of COCO in a folder.

    Args:
        folder: The folder.

    Returns:
        Those that have images, categories and annotations.
    """
    files = [*folder.glob('*.json'), *(folder / 'annotations').glob('*.json')]
    parts = {'images', 'annotations', 'categories'}
    return find_json(files, lambda content: isinstance(content, dict) and parts <= set(content))


def has_coco(folder: Path) -> bool:
    """Whether a folder holds COCO annotations."""
    return bool(find_coco(folder))


def read_coco(folder: Path, space: LabelSpace) -> Mapping[int, ReadMask]:
    """Read run lengths and polygons; a later annotation lies above an earlier one.

    Args:
        folder: With `annotations/*.json`.
        space: The classes.

    Returns:
        How to read the mask of each stamp.

    Raises:
        DatasetError: A file is damaged, or a class is unknown.
    """
    found: list[tuple[int, Path, ReadMask]] = []
    ids = class_ids(space)
    for path in find_coco(folder):
        content = read_json(path)
        try:
            names = {c['id']: find_class(c['name'], ids, str(path)) for c in content['categories']}
            by_image: dict[Any, list[dict[str, Any]]] = {}
            for each in content['annotations']:
                by_image.setdefault(each['image_id'], []).append(each)
            for image in content['images']:
                stem = Path(str(image['file_name'])).stem
                drawn = by_image.get(image['id'], [])
                read = _reader(image, drawn, names, f'{path}: {image["file_name"]}')
                found.append((stamp_in(stem, path), path, read))
        except (KeyError, TypeError) as error:
            raise DatasetError(f'{path} is not COCO: {error!r} is missing or wrong') from error
    return collect(found)


def _reader(
    image: dict[str, Any], drawn: list[dict[str, Any]], names: dict[Any, int], where: str
) -> ReadMask:
    def read() -> Mask:
        size = int(image['height']), int(image['width'])
        layers = Layers(size, where)
        for each in drawn:
            try:
                layers.put(names[each['category_id']], _draw(each['segmentation'], size))
            except (KeyError, ValueError, TypeError) as error:
                raise DatasetError(f'{where}: annotation {each.get("id")}: {error}') from error
        return layers.mask

    return read


def _draw(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    if isinstance(segmentation, dict):
        height, width = segmentation['size']
        return decode_coco(segmentation['counts'], (int(height), int(width)))
    return fill_polygons([np.reshape(each, (-1, 2)) for each in segmentation], size)


def fill_polygons(polygons: list[NDArray[np.float64]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill outlines that a person drew: the pixels whose centre lies inside of one of them.

    Args:
        polygons: (N, 2) corners (u, v) each, pixels; the centre of the first pixel is 0.5, 0.5.
        size: `(H, W)`, pixels.

    Returns:
        (H, W) bool.
    """
    drawn = np.zeros(size, bool)
    for corners in polygons:
        u, v = np.asarray(corners, np.float64).T
        following = np.roll(u, -1), np.roll(v, -1)
        for row in range(size[0]):
            middle = row + 0.5
            crossed = (v <= middle) != (following[1] <= middle)
            share = (middle - v[crossed]) / (following[1][crossed] - v[crossed])
            at = np.sort(u[crossed] + share * (following[0][crossed] - u[crossed]))
            for left, right in np.clip(np.ceil(at - 0.5), 0, size[1]).astype(int).reshape(-1, 2):
                drawn[row, left:right] = True
    return drawn
