"""Label pictures, read by what they are: grey ids, palette, colours, or ids beside instances.

A picture whose meaning is not certain is refused: nothing is taken for an id that is a colour,
and nothing that was stored with loss is a label.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from training.frames.frame import DatasetError
from training.frames.image_files import check_size, count_ids

LOSSLESS = ('PNG', 'BMP', 'PPM', 'TIFF', 'GIF')
MAP_FILES = ('labelmap.txt', 'label_colors.txt', 'classes.json')
VOID_NAMES = ('background', 'unlabeled', 'unlabelled', 'void', 'ignore', 'unknown')
_LOSSY_TIFF = ('jpeg', 'webp')
Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """What a file beside label pictures says about their values.

    Attributes:
        path: The file.
        ids: Value of a grey or palette picture to id of the label space; 255 for none.
        colours: Colour of a picture to id likewise.
    """

    path: Path
    ids: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)


def decode_lossless(path: Path) -> Image.Image:
    """Decode a picture that was stored without loss.

    Args:
        path: The file.

    Returns:
        The picture with its palette, if it has one.

    Raises:
        DatasetError: It is absent, damaged, or was stored with loss (a JPEG, whatever its name).
    """
    try:
        image = Image.open(io.BytesIO(path.read_bytes()))
        kind = str(image.format)
        if kind not in LOSSLESS or str(image.info.get('compression')) in _LOSSY_TIFF:
            raise DatasetError(
                f'{path} is stored as {kind}, which changes values; labels must be stored without '
                'loss, as PNG: export them again from where they were drawn'
            )
        check_size(path, (image.height, image.width))
        image.load()
    except FileNotFoundError as error:
        raise DatasetError(f'{path} is missing') from error
    except DatasetError:
        raise
    except (
        OSError,
        UnidentifiedImageError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        raise DatasetError(f'{path} is damaged: {error}') from error
    return image


def read_ids(path: Path, *, first_channel: bool = False) -> NDArray[np.uint8]:
    """Read a picture of label ids, as published data sets store them.

    Args:
        path: PNG of 8 bits: grey, or with a palette, whose indices are the ids.
        first_channel: Whether the data set keeps ids in the first of several channels.

    Returns:
        (H, W) uint8.

    Raises:
        DatasetError: It is absent, damaged, stored with loss, has other than 8 bits, or holds
            colours.
    """
    labels = np.asarray(decode_lossless(path))
    if labels.dtype == np.bool_:
        labels = labels.astype(np.uint8)
    if labels.dtype != np.uint8:
        raise DatasetError(f'{path} has {labels.dtype} labels, expected uint8')
    if labels.ndim == 3:
        labels = _one_channel(labels, path, first_channel=first_channel)
    return np.ascontiguousarray(labels)


def _one_channel(
    labels: NDArray[np.uint8], path: Path, *, first_channel: bool
) -> NDArray[np.uint8]:
    """The ids of a picture of several channels."""
    count = labels.shape[2]
    colours, alpha = labels[..., : 3 if count > 2 else 1], labels[..., -1]
    used = [bool(np.ptp(colours[..., c])) for c in range(colours.shape[2])]
    drawn = count in (2, 4) and np.ptp(alpha) and not np.isin(alpha, (0, 255)).all()
    if drawn and not (first_channel and used[0]):
        raise DatasetError(f'{path} has values in its alpha channel; ids belong into one channel')
    equal = bool((colours == colours[..., :1]).all())
    if equal:
        return np.asarray(colours[..., 0])
    if not first_channel:
        raise DatasetError(
            f'{path} has {count} channels that differ: it is a colour picture, expected label ids '
            'in one channel'
        )
    if not used[0] and any(used[1:]):
        channel = ['red', 'green', 'blue'][used.index(True)]
        raise DatasetError(f'{path} has its values in the {channel} channel, expected them in red')
    return np.asarray(colours[..., 0])


def read_label_image(
    path: Path, space: LabelSpace, label_map: LabelMap | None = None
) -> NDArray[np.uint8]:
    """Read a label picture of one's own by what it is.

    Args:
        path: Grey ids, palette, colours of the label space, or class ids in red with instance
            numbers in green and blue (RGBA).
        space: The classes.
        label_map: What a file beside the pictures says; it goes before the label space's own ids
            and colours.

    Returns:
        (H, W) uint8 ids of the label space, 255 unlabeled.

    Raises:
        DatasetError: The picture is damaged, was stored with loss, or its values contradict the
            label space; the message says which.
    """
    image = decode_lossless(path)
    if image.mode == 'P':
        return _from_palette(image, path, space, label_map)
    values = np.asarray(image)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    if values.dtype != np.uint8:
        top = int(values.max(initial=0))
        raise DatasetError(
            f'{path} has {values.dtype} values up to {top}, expected 8 bits; numbers of instances '
            'are no label ids'
        )
    if values.ndim == 2:
        return _from_ids(values, path, space, label_map)
    if values.shape[2] == 2:
        return _from_ids(_one_channel(values, path, first_channel=False), path, space, label_map)
    return _from_colours(values, path, space, label_map)


def _from_ids(
    ids: NDArray[np.uint8], path: Path, space: LabelSpace, label_map: LabelMap | None
) -> NDArray[np.uint8]:
    table = np.full(256, -1, np.int16)
    table[: len(space)] = np.arange(len(space))
    table[[UNLABELED, space.ignore_id]] = UNLABELED
    where = f'{space.name} has 0 to {len(space) - 1} and {space.ignore_id}'
    if label_map is not None and label_map.ids:
        table[:] = -1
        table[UNLABELED] = UNLABELED
        for value, label in label_map.ids.items():
            table[value] = label
        where = f'{label_map.path} names {sorted(label_map.ids)}'
    return _look_up(table, ids, path, where)


def _look_up(
    table: NDArray[np.int16], ids: NDArray[np.uint8], path: Path, where: str
) -> NDArray[np.uint8]:
    counts = count_ids(ids)
    strange = np.flatnonzero((counts > 0) & (table < 0)).tolist()
    if strange:
        raise DatasetError(f'{path} has label ids {strange}, {where}')
    return np.asarray(cv2.LUT(ids, table.astype(np.uint8)), np.uint8)


def _from_palette(
    image: Image.Image, path: Path, space: LabelSpace, label_map: LabelMap | None
) -> NDArray[np.uint8]:
    ids = np.asarray(image)
    palette = np.zeros((256, 3), np.uint8)
    flat = np.asarray((image.getpalette('RGB') or [])[:768], np.uint8)
    palette[: len(flat) // 3] = flat.reshape(-1, 3)
    used = [int(i) for i in np.flatnonzero(count_ids(ids))]
    drawn = [i for i in used if i != UNLABELED]
    colours = {i: _rgb(palette[i]) for i in drawn}
    known = _known_colours(space, label_map)
    if all(len(set(c)) == 1 for c in colours.values()) and not all(
        c in known for c in colours.values()
    ):  # a ramp of greys is the palette of nobody
        return _from_ids(ids, path, space, label_map)
    unknown = {i: c for i, c in colours.items() if c not in known}
    if not unknown:
        table = np.full(256, -1, np.int16)
        for i, colour in colours.items():
            table[i] = known[colour]
        table[UNLABELED] = known.get(_rgb(palette[UNLABELED]), UNLABELED)
        return _look_up(table, ids, path, 'the palette')
    if label_map is not None and label_map.ids and not label_map.colours:
        return _from_ids(ids, path, space, label_map)
    index, colour = next(iter(unknown.items()))
    raise DatasetError(
        f'{path} has a palette in which {index} is {_hex(colour)}, which is no colour of '
        f'{space.name}, so its indices may be of other classes; {_advice(path)}'
    )


def _from_colours(
    values: NDArray[np.uint8], path: Path, space: LabelSpace, label_map: LabelMap | None
) -> NDArray[np.uint8]:
    rgb = values[..., :3]
    clear = None
    if values.shape[2] == 4:
        alpha = values[..., 3]
        if not np.isin(alpha, (0, 255)).all():
            raise DatasetError(
                f'{path} has values in its alpha channel (up to {int(alpha.max())}); ids or '
                'colours belong into the others'
            )
        clear = alpha == 0
        if clear.all():
            raise DatasetError(f'{path} is transparent everywhere, so nothing is drawn in it')
    if (rgb == rgb[..., :1]).all():
        labels = _from_ids(np.ascontiguousarray(rgb[..., 0]), path, space, label_map)
    else:
        known = _known_colours(space, label_map)
        codes = (rgb.astype(np.int32) << np.array([16, 8, 0])).sum(axis=2)
        table = _colour_table(tuple(sorted(known.items())))
        found = np.take(table, codes)
        strange = found < 0
        if clear is not None:
            strange &= ~clear
        if not strange.any():
            labels = found.astype(np.uint8)
        elif values.shape[2] == 4 and _are_instances(rgb, space, label_map):
            labels = _from_ids(np.ascontiguousarray(rgb[..., 0]), path, space, label_map)
        else:
            row, column = (int(v[0]) for v in np.nonzero(strange))
            raise DatasetError(
                f'{path} is a colour picture, and {strange.mean():.1%} of its pixels have colours '
                f'that no class of {space.name} has, first {_hex(_rgb(rgb[row, column]))} in row '
                f'{row}, column {column}; {_advice(path)}'
            )
    if clear is not None and clear.any():
        labels = np.where(clear, np.uint8(UNLABELED), labels)
    return np.ascontiguousarray(labels)


def _are_instances(rgb: NDArray[np.uint8], space: LabelSpace, label_map: LabelMap | None) -> bool:
    """Whether red holds class ids, and green and blue the number of an instance of one class."""
    valid = set(label_map.ids) if label_map and label_map.ids else set(range(len(space)))
    pairs = np.unique(rgb.reshape(-1, 3), axis=0)
    if not set(pairs[:, 0].tolist()) <= valid | {UNLABELED, space.ignore_id}:
        return False
    numbers = (pairs[:, 1].astype(int) << 8) + pairs[:, 2]
    named = numbers[numbers > 0]
    return len(np.unique(named)) == len(named)


def _known_colours(space: LabelSpace, label_map: LabelMap | None) -> dict[Colour, int]:
    if label_map is not None and label_map.colours:
        known = dict(label_map.colours)
    else:
        known = {c.color: c.id for c in space.classes}
    known.setdefault((0, 0, 0), UNLABELED)
    return known


@lru_cache(maxsize=4)
def _colour_table(known: tuple[tuple[Colour, int], ...]) -> NDArray[np.int16]:
    table = np.full(1 << 24, -1, np.int16)
    for (r, g, b), label in known:
        table[(r << 16) + (g << 8) + b] = label
    return table


def find_label_map(folder: Path, space: LabelSpace) -> LabelMap | None:
    """Read what a file beside label pictures says about their values.

    Args:
        folder: Of the pictures; the folder above is looked into too.
        space: The classes.

    Returns:
        The first of `labelmap.txt` (CVAT, datumaro: `name:r,g,b::`), `label_colors.txt`
        (`r g b name`) and `classes.json`; None where there is none.

    Raises:
        DatasetError: It cannot be read, or names a class that the label space does not have.
    """
    places = (each / name for each in (folder, folder.parent) for name in MAP_FILES)
    path = next((place for place in places if place.is_file()), None)
    return None if path is None else read_label_map(path, space)


def read_label_map(path: Path, space: LabelSpace) -> LabelMap:
    """Read a file of classes, see `find_label_map`.

    Args:
        path: The file.
        space: The classes.

    Returns:
        What it says.

    Raises:
        DatasetError: See `find_label_map`.
    """
    try:
        text = path.read_text(encoding='utf-8-sig')
        rows = _json_rows(json.loads(text)) if path.suffix == '.json' else _text_rows(text)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(f'{path} is no list of classes: {error}') from error
    ids: dict[int, int] = {}
    colours: dict[Colour, int] = {}
    for value, name, colour in rows:
        label = _label_of(name, space, path)
        if value is not None:
            if not 0 <= value <= 255:
                raise DatasetError(f'{path} gives {name!r} the value {value}, expected 0 to 255')
            ids[value] = label
        if colour is not None:
            if colours.get(colour, label) != label:
                raise DatasetError(f'{path} gives the colour {_hex(colour)} to two classes')
            colours[colour] = label
    return LabelMap(path, ids, colours)


Row = tuple[int | None, str, Colour | None]


def _text_rows(text: str) -> list[Row]:
    rows: list[Row] = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith('#'):
            continue
        if ':' in line:
            name, colour = line.split(':')[:2]
            numbers = colour.split(',') if colour.strip() else []
        else:
            *numbers, name = line.split(maxsplit=3)
        rgb = _colour([int(n) for n in numbers]) if numbers else None
        rows.append((len(rows), name.strip(), rgb))
    return rows


def _json_rows(content: Any) -> list[Row]:
    if isinstance(content, dict) and isinstance(content.get('classes'), (list, dict)):
        content = content['classes']
    rows: list[Row] = []
    if isinstance(content, list):
        for index, item in enumerate(content):
            if isinstance(item, str):
                rows.append((index, item, None))
                continue
            colour = item.get('color', item.get('colour'))
            value = item.get('id', index)
            rows.append(
                (int(value), str(item['name']), None if colour is None else _parse(colour))
            )
        return rows
    for key, value in content.items():
        if str(key).isdigit() and isinstance(value, str):
            rows.append((int(key), value, None))
        elif isinstance(value, int):
            rows.append((value, str(key), None))
        elif isinstance(value, dict):
            rows += [(r[0], str(key), r[2]) for r in _json_rows([{'name': key, **value}])]
        else:
            rows.append((None, str(key), _parse(value)))
    return rows


def _parse(colour: Any) -> Colour:
    if isinstance(colour, str):
        return _colour(list(bytes.fromhex(colour.removeprefix('#'))))
    return _colour([int(v) for v in colour])


def _colour(numbers: list[int]) -> Colour:
    if len(numbers) != 3 or not all(0 <= n <= 255 for n in numbers):
        raise ValueError(f'a colour must be three numbers from 0 to 255, got {numbers}')
    return numbers[0], numbers[1], numbers[2]


def _label_of(name: str, space: LabelSpace, path: Path) -> int:
    plain = {_plain(known): index for index, known in enumerate(space.names)}
    if _plain(name) in plain:
        return plain[_plain(name)]
    if _plain(name) in VOID_NAMES:
        return UNLABELED
    meant = did_you_mean(_plain(name), space.names)
    raise DatasetError(f'{path} names a class {name!r} that {space.name} does not have{meant}')


def _plain(name: str) -> str:
    return name.strip().casefold().replace('_', ' ').replace('-', ' ')


def _rgb(colour: NDArray[np.uint8]) -> Colour:
    return int(colour[0]), int(colour[1]), int(colour[2])


def _hex(colour: Colour) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*colour)


def _advice(path: Path) -> str:
    return f'put a labelmap.txt (name:r,g,b::) or classes.json into {path.parent}'
