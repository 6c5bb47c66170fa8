"""The interface of annotation formats, and what all of them share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam_ad_perception.core.labels import LabelSpace
from training.frames.frame import DatasetError

Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]
ReadMask = Callable[[], Mask]


class MaskWriter(Protocol):
    """Writes frames in one format, one after the other."""

    def add(self, stamp_ns: int, picture: Picture, mask: Mask) -> None:
        """Write one frame.

        Args:
            stamp_ns: Its stamp, nanoseconds; it becomes the name.
            picture: (H, W, 3) uint8 RGB, what a person sees below the mask.
            mask: (H, W) uint8 ids of the label space, 255 unlabeled.
        """

    def finish(self) -> None:
        """Write what tells of all frames."""


@dataclass(frozen=True)
class MaskFormat:
    """One format.

    Attributes:
        name: As on the command line.
        writer: `(folder, label space, name of the recording)` -> writer.
        read: `(folder, label space)` -> how to read the mask of each stamp, nanoseconds.
        is_in: Whether a folder holds it.
        limits: What it cannot hold, one sentence.
        by_colour: Whether masks in it are told by colour, so that each class needs one of its own.
    """

    name: str
    writer: Callable[[Path, LabelSpace, str], MaskWriter]
    read: Callable[[Path, LabelSpace], Mapping[int, ReadMask]]
    is_in: Callable[[Path], bool]
    limits: str
    by_colour: bool = False


def check_colours(space: LabelSpace, name: str) -> None:
    """Refuse classes that colours cannot tell apart.

    Args:
        space: The classes.
        name: Of the format.

    Raises:
        DatasetError: Two classes have one colour, or one is black, as pixels without a label are.
    """
    seen = {(0, 0, 0): 'pixels without a label'}
    for each in space.classes:
        if each.color in seen:
            raise DatasetError(
                f'{name} tells classes by colour, and {each.name!r} has that of '
                f'{seen[each.color]}: export as masks, or give colours in a label space file'
            )
        seen[each.color] = repr(each.name)


def stamp_in(name: str, path: Path) -> int:
    """Read the stamp out of a name.

    Args:
        name: File name without its end.
        path: Where it stands, for the error.

    Returns:
        Nanoseconds.

    Raises:
        DatasetError: It is no number.
    """
    if not (name.isascii() and name.isdigit()):
        raise DatasetError(
            f'{path}: {name!r} is not the stamp of a frame in nanoseconds; keep the names of the '
            'export'
        )
    return int(name)


def collect(found: list[tuple[int, Path, ReadMask]]) -> dict[int, ReadMask]:
    """Put masks in the order of their stamps.

    Args:
        found: Stamp, place and reader of each.

    Returns:
        Readers by stamp.

    Raises:
        DatasetError: Two are of one stamp.
    """
    masks: dict[int, tuple[Path, ReadMask]] = {}
    for stamp_ns, path, read in found:
        if stamp_ns in masks:
            raise DatasetError(f'{masks[stamp_ns][0]} and {path} are both of the stamp {stamp_ns}')
        masks[stamp_ns] = path, read
    return {stamp_ns: masks[stamp_ns][1] for stamp_ns in sorted(masks)}


def save_picture(path: Path, picture: NDArray[np.generic]) -> None:
    """Write a picture without loss.

    Args:
        path: The PNG file; its folder is made.
        picture: (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, compress_level=3)


def class_masks(mask: Mask, space: LabelSpace) -> list[tuple[int, NDArray[np.bool_]]]:
    """Split a mask into its classes.

    Args:
        mask: (H, W) uint8 ids.
        space: The classes.

    Returns:
        Id and (H, W) bool of each class that occurs.
    """
    counts = np.bincount(mask.reshape(-1), minlength=256)
    return [(c.id, mask == c.id) for c in space.classes if counts[c.id]]


class Layers:
    """A mask put together of classes that may overlap: the later one lies above.

    Args:
        size: `(H, W)`, pixels.
        where: Place named in errors.

    Attributes:
        mask: (H, W) uint8 ids, 255 where nothing is drawn.
    """

    def __init__(self, size: tuple[int, int], where: str) -> None:
        self.mask = np.full(size, 255, np.uint8)
        self._where = where

    def put(self, label: int, drawn: NDArray[np.bool_]) -> None:
        """Lay a class over what is there.

        Args:
            label: Its id; 255 clears.
            drawn: (H, W) bool.

        Raises:
            DatasetError: It has another size.
        """
        if drawn.shape != self.mask.shape:
            raise DatasetError(
                f'{self._where} has a mask of {drawn.shape}, expected {self.mask.shape}'
            )
        self.mask[drawn] = label


def class_ids(space: LabelSpace) -> dict[str, int]:
    """Ids by the names under which tools bring classes back.

    Args:
        space: The classes.

    Returns:
        Name, as `plain_name` writes it, to id; names of void to 255.
    """
    void = dict.fromkeys(('background', 'unlabeled', 'void', 'ignore'), 255)
    return void | {plain_name(name): index for index, name in enumerate(space.names)}


def plain_name(name: str) -> str:
    """Write a class as tools may have changed it: small letters, spaces for `_` and `-`."""
    return name.strip().casefold().replace('_', ' ').replace('-', ' ')


def find_class(name: str, ids: Mapping[str, int], where: str) -> int:
    """Look a class up.

    Args:
        name: As the tool has it.
        ids: See `class_ids`.
        where: Place named in errors.

    Returns:
        Its id, 255 for void.

    Raises:
        DatasetError: There is none.
    """
    label = ids.get(plain_name(name))
    if label is None:
        raise DatasetError(f'{where} has the class {name!r}, expected one of {sorted(ids)}')
    return label


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        DatasetError: It is no JSON.
    """
    try:
        return json.loads(path.read_text('utf-8'))
    except ValueError as error:
        raise DatasetError(f'{path} is no JSON: {error}') from error


def find_json(paths: Iterable[Path], is_ours: Callable[[Any], bool]) -> list[Path]:
    """Find the JSON files whose content is of one format.

    Args:
        paths: The files.
        is_ours: Tells it from their content.

    Returns:
        Those that are, in the order of their names.

    Raises:
        DatasetError: One is no JSON.
    """
    return [path for path in sorted(paths) if is_ours(read_json(path))]
