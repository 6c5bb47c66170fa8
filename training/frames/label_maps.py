"""What a file beside label pictures says about their values: `labelmap.txt` and its like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from training.frames.frame import DatasetError

MAP_FILES = ('labelmap.txt', 'label_colors.txt', 'classes.json')
VOID_NAMES = ('background', 'unlabeled', 'unlabelled', 'void', 'ignore', 'unknown')
Colour = tuple[int, int, int]
Row = tuple[int | None, str, Colour | None]


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


def hex_colour(colour: Colour) -> str:
    """Write a colour as `#rrggbb`.

    Args:
        colour: Red, green and blue, 0 to 255.

    Returns:
        The text.
    """
    return '#{:02x}{:02x}{:02x}'.format(*colour)


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
                raise DatasetError(f'{path} gives the colour {hex_colour(colour)} to two classes')
            colours[colour] = label
    return LabelMap(path, ids, colours)


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
