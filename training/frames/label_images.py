"""Label pictures, read by what they are: grey ids, palette, colours, or ids beside instances.

A picture whose meaning is not certain is refused: nothing is taken for an id that is a colour,
and nothing that was stored with loss is a label.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sam_ad_perception.core.labels import UNLABELED, LabelSpace
from training.frames.frame import DatasetError
from training.frames.image_files import check_size, count_ids, read_content
from training.frames.label_maps import Colour, LabelMap, hex_colour
from training.frames.png_pixels import unpack_png

LOSSLESS = ('PNG', 'BMP', 'PPM', 'TIFF', 'GIF')
_LOSSY_TIFF = ('jpeg', 'webp')


def decode_lossless(path: Path) -> Image.Image:
    """Decode a picture that was stored without loss.

    Args:
        path: The file.

    Returns:
        The picture with its palette, if it has one.

    Raises:
        DatasetError: It is absent, damaged, or was stored with loss (a JPEG, whatever its name).
    """
    return _decode(path, read_content(path))


def _decode(path: Path, content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
        kind = str(image.format)
        if kind not in LOSSLESS or str(image.info.get('compression')) in _LOSSY_TIFF:
            raise DatasetError(
                f'{path} is stored as {kind}, which changes values; labels must be stored without '
                'loss, as PNG: export them again from where they were drawn'
            )
        check_size(path, (image.height, image.width))
        image.load()
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


def _read_pixels(path: Path) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """The values of a picture that was stored without loss, and its (N, 3) palette, if any."""
    content = read_content(path)
    pixels = unpack_png(content)
    if pixels is not None:
        return pixels.values, pixels.palette
    image = _decode(path, content)
    palette = None
    if image.mode == 'P':
        palette = np.asarray((image.getpalette('RGB') or [])[:768], np.uint8).reshape(-1, 3)
    return np.asarray(image), palette


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
    labels, _ = _read_pixels(path)
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
    values, palette = _read_pixels(path)
    if palette is not None:
        return _from_palette(values, palette, path, space, label_map)
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
    used = np.flatnonzero(counts)
    if (table[used] == used).all():
        return ids.copy()  # what Pillow decodes is read-only
    return np.asarray(cv2.LUT(ids, table.astype(np.uint8)), np.uint8)


def _from_palette(
    ids: NDArray[np.uint8],
    stored: NDArray[np.uint8],
    path: Path,
    space: LabelSpace,
    label_map: LabelMap | None,
) -> NDArray[np.uint8]:
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(stored)] = stored
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
        f'{path} has a palette in which {index} is {hex_colour(colour)}, which is no colour of '
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
                f'that no class of {space.name} has, first {hex_colour(_rgb(rgb[row, column]))} '
                f'in row {row}, column {column}; {_advice(path)}'
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


def _rgb(colour: NDArray[np.uint8]) -> Colour:
    return int(colour[0]), int(colour[1]), int(colour[2])


def _advice(path: Path) -> str:
    return f'put a labelmap.txt (name:r,g,b::) or classes.json into {path.parent}'
