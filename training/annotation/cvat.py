"""CVAT for images 1.1: one XML file, per frame and class one `<mask>` of run lengths."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import LabelSpace
from training.annotation.coco import fill_polygons
from training.annotation.exchange import (
    Layers,
    Mask,
    Picture,
    ReadMask,
    class_ids,
    class_masks,
    collect,
    find_class,
    save_picture,
    stamp_in,
)
from training.annotation.run_lengths import decode_runs, encode_runs
from training.frames.frame import DatasetError

FILE = 'annotations.xml'


class CvatWriter:
    """Writes `images/` and `annotations.xml`.

    Args:
        folder: Where to.
        space: The classes.
        recording: Name of the task.
    """

    def __init__(self, folder: Path, space: LabelSpace, recording: str) -> None:
        self._folder, self._space = folder, space
        self._root = ET.Element('annotations')
        ET.SubElement(self._root, 'version').text = '1.1'
        task = ET.SubElement(ET.SubElement(self._root, 'meta'), 'task')
        ET.SubElement(task, 'name').text = recording
        labels = ET.SubElement(task, 'labels')
        for each in space.classes:
            label = ET.SubElement(labels, 'label')
            ET.SubElement(label, 'name').text = each.name
            ET.SubElement(label, 'color').text = '#{:02x}{:02x}{:02x}'.format(*each.color)
            ET.SubElement(label, 'type').text = 'mask'
        self._count = 0

    def add(self, stamp_ns: int, picture: Picture, mask: Mask) -> None:
        """See `exchange.MaskWriter`."""
        name = f'{stamp_ns}.png'
        save_picture(self._folder / 'images' / name, picture)
        height, width = mask.shape
        image = ET.SubElement(
            self._root,
            'image',
            {
                'id': str(self._count),
                'name': name,
                'width': str(width),
                'height': str(height),
            },
        )
        self._count += 1
        for label, drawn in class_masks(mask, self._space):
            left, top, wide, high = cv2.boundingRect(drawn.astype(np.uint8))
            runs = encode_runs(drawn[top : top + high, left : left + wide].reshape(-1))
            ET.SubElement(
                image,
                'mask',
                {
                    'label': self._space.names[label],
                    'source': 'auto',
                    'occluded': '0',
                    'rle': ', '.join(map(str, runs)),
                    'left': str(left),
                    'top': str(top),
                    'width': str(wide),
                    'height': str(high),
                    'z_order': '0',
                },
            )

    def finish(self) -> None:
        """See `exchange.MaskWriter`."""
        ET.indent(self._root)
        ET.ElementTree(self._root).write(self._folder / FILE, 'utf-8', xml_declaration=True)


def has_cvat(folder: Path) -> bool:
    """Whether a folder holds CVAT annotations."""
    return (folder / FILE).is_file()


def read_cvat(folder: Path, space: LabelSpace) -> Mapping[int, ReadMask]:
    """Read masks and polygons; a higher `z_order`, then a later one, lies above.

    Args:
        folder: With `annotations.xml`.
        space: The classes.

    Returns:
        How to read the mask of each stamp.

    Raises:
        DatasetError: The file is damaged.
    """
    path = folder / FILE
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise DatasetError(f'{path} is no XML: {error}') from error
    ids = class_ids(space)

    def reader_of(image: ET.Element) -> ReadMask:
        return lambda: _draw_image(image, ids, f'{path}: {image.get("name")}')

    return collect(
        [
            (stamp_in(Path(image.get('name', '')).stem, path), path, reader_of(image))
            for image in root.iter('image')
        ]
    )


def _draw_image(image: ET.Element, ids: Mapping[str, int], where: str) -> Mask:
    try:
        size = int(image.attrib['height']), int(image.attrib['width'])
        layers = Layers(size, where)
        for shape in sorted(image, key=lambda each: int(each.get('z_order', 0))):
            if shape.tag == 'tag':
                continue
            label = find_class(shape.attrib['label'], ids, where)
            layers.put(label, _draw_shape(shape, size, where))
        return layers.mask
    except KeyError as error:
        raise DatasetError(f'{where}: the attribute {error} is missing') from error
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f'{where}: {error}') from error


def _draw_shape(shape: ET.Element, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    values = shape.attrib
    if shape.tag == 'polygon':
        corners = [pair.split(',') for pair in values['points'].split(';')]
        return fill_polygons([np.array(corners, np.float64)], size)
    if shape.tag != 'mask':
        raise DatasetError(f'{where}: a {shape.tag} is no mask; draw masks or polygons')
    left, top, wide, high = (int(float(values[k])) for k in ('left', 'top', 'width', 'height'))
    if min(left, top) < 0 or left + wide > size[1] or top + high > size[0]:
        raise DatasetError(
            f'{where}: a mask of {wide}x{high} pixels at {left}, {top} lies outside of the image'
        )
    drawn = np.zeros(size, bool)
    counts = [int(float(n)) for n in values['rle'].split(',')]
    drawn[top : top + high, left : left + wide] = decode_runs(counts, wide * high).reshape(
        high, wide
    )
    return drawn
