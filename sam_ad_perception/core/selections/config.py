"""Selections of classes: their parameters, and their ids in the label space in use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.console.suggestions import nearest
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.settings.parameters import parameter

_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
RESERVED = frozenset(
    {
        *'xyz',
        *('image', 'camera_info', 'confidence', 'color', 'overlay', 'points'),
        *('points_registered', 'points_channels', 'autoware', 'status', 'label_info'),
    }
)
"""Names of other topics below `semantic/`, and of the coordinates of a cloud."""


@dataclass(frozen=True)
class SelectionConfig:
    """One selection of classes, and what is made of it."""

    classes: tuple[str, ...] = parameter(('',), 'Classes that belong to it, by their names.')
    dilate_px: int = parameter(
        0, 'The selected area grows by so much to each side.', ge=0, le=100, unit='px'
    )
    keep: bool = parameter(
        False, 'Depth and points hold these classes only (true), or all but them (false).'
    )
    organized: bool = parameter(
        False,
        'Points keep height and width of the sweep, those left out are NaN; else they are cut out '
        'and the cloud has one row.',
    )


@dataclass(frozen=True, eq=False)
class Selection:
    """A selection in terms of ids.

    Attributes:
        chosen: (256,) uint8 by id, 255 for the classes that belong to it, else 0.
        dilate_px: See `SelectionConfig`, as the others.
        keep: Likewise.
        organized: Likewise.
    """

    chosen: NDArray[np.uint8]
    dilate_px: int = 0
    keep: bool = False
    organized: bool = False


def check_names(selections: Mapping[str, SelectionConfig]) -> None:
    """Check what can be checked without the label space.

    Args:
        selections: By name.

    Raises:
        ValueError: A name is no topic name, or is taken; or classes are not named.
    """
    for name, each in selections.items():
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise ValueError(
                f'selections.{name}: the name must be letters, digits and underscores, and none '
                f'of {sorted(RESERVED)}'
            )
        if '' in each.classes:
            raise ValueError(
                f'selections.{name}.classes must name classes, got {list(each.classes)}'
            )


def resolve(selections: Mapping[str, SelectionConfig], space: LabelSpace) -> dict[str, Selection]:
    """Find the classes of selections in a label space.

    Args:
        selections: By name.
        space: Of the masks; other names of its classes (`aliases`) count too.

    Returns:
        The selections by name.

    Raises:
        ValueError: The space has no such class; the message names the nearest one.
    """
    ids = {other: space.id_of(own) for other, own in space.aliases}
    ids |= {each.name: each.id for each in space.classes}
    found = {}
    for name, each in selections.items():
        chosen = np.zeros(256, np.uint8)
        for wanted in each.classes:
            if wanted not in ids:
                raise ValueError(f'selections.{name}.classes: {_unknown(wanted, ids, space)}')
            chosen[ids[wanted]] = 255
        chosen.flags.writeable = False
        found[name] = Selection(chosen, each.dilate_px, each.keep, each.organized)
    return found


def _unknown(wanted: str, ids: Mapping[str, int], space: LabelSpace) -> str:
    """Word the refusal of a class that is not there, with the nearest one."""
    near = nearest(wanted, ids)
    guess = f'did you mean {near!r}?' if near else f'it has {", ".join(map(repr, ids))}'
    return f'label space {space.name!r} has no class {wanted!r}; {guess}'
