"""Label spaces as plain values: how own classes are written down, and how they travel."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.labels import LABEL_SPACES, UNLABELED, LabelClass, LabelSpace

_FIELDS = ('name', 'names', 'colours', 'colors', 'ignore', 'aliases')


def find_label_space(name: str) -> LabelSpace:
    """Look a label space up.

    Args:
        name: Key of `LABEL_SPACES`, or path of a YAML file that `label_space_from` reads.

    Returns:
        The space.

    Raises:
        ValueError: There is neither; the message names the nearest one.
    """
    if name in LABEL_SPACES:
        return LABEL_SPACES[name]
    path = Path(name).expanduser()
    if path.suffix in ('.yaml', '.yml') and path.is_file():
        try:
            content = yaml.safe_load(path.read_text(encoding='utf-8'))
        except (OSError, yaml.YAMLError) as error:
            raise ValueError(f'label_space {path} cannot be read: {error}') from error
        if isinstance(content, Mapping):  # the file of a data set holds more than its classes
            content = {key: content[key] for key in _FIELDS if key in content}
        return label_space_from(content, path.stem, str(path))
    raise ValueError(
        f'label_space must be one of {sorted(LABEL_SPACES)} or a YAML file with `names`, got '
        f'{name!r}{did_you_mean(name, LABEL_SPACES)}'
    )


def label_space_from(content: Any, name: str, where: str) -> LabelSpace:
    """Make a label space of plain values.

    Args:
        content: `names` (a list in the order of the ids, or id to name), `colours` (a list, or
            name to colour: `[r, g, b]` or `'#rrggbb'`), `ignore` (the id of pixels without a
            label), `aliases` (other name to class), `name`.
        name: Of the space, where the values do not give one.
        where: Place named in errors.

    Returns:
        The space; classes without a colour get one of their own.

    Raises:
        ValueError: A value is missing or of the wrong kind.
    """
    if not isinstance(content, Mapping) or 'names' not in content:
        raise ValueError(f'{where} must hold `names`, the classes in the order of their ids')
    unknown = sorted(set(map(str, content)) - set(_FIELDS))
    if unknown:
        raise ValueError(f'{where} has unknown fields {unknown}, expected some of {_FIELDS}')
    names = _names(content['names'], where)
    colours = _colours(content.get('colours', content.get('colors')), names, where)
    classes = tuple(LabelClass(i, n, colours[n]) for i, n in enumerate(names))
    ignore = content.get('ignore', UNLABELED)
    if not isinstance(ignore, int) or isinstance(ignore, bool):
        raise ValueError(f'{where}.ignore must be an id, got {ignore!r}')
    aliases = content.get('aliases') or {}
    stray = [to for to in aliases.values() if to not in names]
    if stray:
        raise ValueError(f'{where}.aliases name {stray}, which are no classes of {names}')
    pairs = tuple((str(alias), str(to)) for alias, to in aliases.items())
    try:
        return LabelSpace(str(content.get('name', name)), classes, ignore, pairs)
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error


def label_space_values(space: LabelSpace) -> dict[str, Any]:
    """Write a label space as plain values that `label_space_from` reads back.

    Args:
        space: The space.

    Returns:
        Values for YAML or JSON.
    """
    values: dict[str, Any] = {
        'name': space.name,
        'names': list(space.names),
        'colours': [list(c.color) for c in space.classes],
        'ignore': space.ignore_id,
    }
    if space.aliases:
        values['aliases'] = dict(space.aliases)
    return values


def _names(names: Any, where: str) -> list[str]:
    if isinstance(names, Mapping):
        if not all(isinstance(key, int) for key in names):
            raise ValueError(f'{where}.names must be a list, or id to name, got {names!r}')
        if sorted(names) != list(range(len(names))):
            raise ValueError(f'{where}.names must have the ids 0, 1, 2, ..., got {sorted(names)}')
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ValueError(f'{where}.names must be a list of class names, got {names!r}')
    return names


def _colours(colours: Any, names: list[str], where: str) -> dict[str, tuple[int, int, int]]:
    if colours is None:
        return {n: _own_colour(i) for i, n in enumerate(names)}
    if isinstance(colours, list):
        if len(colours) != len(names):
            raise ValueError(
                f'{where}.colours must give one colour per class, got {len(colours)} for '
                f'{len(names)} names'
            )
        colours = dict(zip(names, colours, strict=True))
    if not isinstance(colours, Mapping):
        raise ValueError(f'{where}.colours must be a list or a mapping, got {colours!r}')
    stray = sorted(set(map(str, colours)) - set(names))
    if stray:
        raise ValueError(f'{where}.colours name {stray}, which are no classes of {names}')
    known = {n: _colour(value, f'{where}.colours.{n}') for n, value in colours.items()}
    twice = [n for n in known if list(known.values()).count(known[n]) > 1]
    if twice:
        raise ValueError(f'{where}.colours give one colour to {twice}')
    return {n: known.get(n, _own_colour(i)) for i, n in enumerate(names)}


def _colour(value: Any, where: str) -> tuple[int, int, int]:
    try:
        if isinstance(value, str):
            value = list(bytes.fromhex(value.removeprefix('#')))
        red, green, blue = (int(v) for v in value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} must be [r, g, b] or '#rrggbb', got {value!r}") from error
    if not all(0 <= v <= 255 for v in (red, green, blue)):
        raise ValueError(f'{where} must have values from 0 to 255, got {value!r}')
    return red, green, blue


def _own_colour(index: int) -> tuple[int, int, int]:
    """A colour that differs from those of the other ids: hues by the golden ratio."""
    value = 0.95 - 0.25 * ((index // 12) % 3)
    rgb = colorsys.hsv_to_rgb((0.08 + index * 0.618034) % 1.0, 0.75, value)
    return round(255 * rgb[0]), round(255 * rgb[1]), round(255 * rgb[2])
