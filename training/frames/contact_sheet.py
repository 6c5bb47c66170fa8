"""One picture of some frames of a dataset: what each sensor shows beside the coloured labels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.images.rendering import (
    colorize,
    picture_depth,
    picture_events,
    picture_thermal,
)
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.sensors import Events, Modality, PointCloud
from sam_ad_perception.modeling.inputs.preparation import lidar_depth
from training.frames.frame import LabelledFrame

TILE_WIDTH = 240
SHEET_WIDTH = 4 * TILE_WIDTH
_GAP, _TEXT = 4, 18


def draw_sheet(frames: list[tuple[str, LabelledFrame]], space: LabelSpace) -> NDArray[np.uint8]:
    """Draw frames in columns, what belongs to one frame side by side.

    Args:
        frames: Title and frame, at least one.
        space: Gives the colours of the labels.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    strips = [_row(title, frame, space) for title, frame in frames]
    cell = max(strip.shape[1] for strip in strips)
    columns = max(1, SHEET_WIDTH // cell)
    lines = []
    for first in range(0, len(strips), columns):
        line = strips[first : first + columns]
        height = max(strip.shape[0] for strip in line) + _GAP
        line += [np.zeros((1, cell, 3), np.uint8)] * (columns - len(line))
        lines.append(np.concatenate([_pad(strip, height, cell) for strip in line], axis=1))
    return np.concatenate([*lines, _legend(space, columns * cell)])


def _pad(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    below, right = height - image.shape[0], width - image.shape[1]
    return np.pad(image, ((0, below), (0, right), (0, 0)))


def _row(title: str, frame: LabelledFrame, space: LabelSpace) -> NDArray[np.uint8]:
    height, width = frame.labels.shape
    size = (TILE_WIDTH, max(1, round(TILE_WIDTH * height / width)))
    tiles: list[NDArray[np.uint8]] = []
    for name, image in _images(frame, space):
        # labels and sparse pictures must not get colours that they do not have
        way = cv2.INTER_AREA if name == Modality.CAMERA else cv2.INTER_NEAREST
        resized = np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)
        tile = np.pad(resized, ((_TEXT, 0), (0, _GAP), (0, 0)))
        tiles.append(_write(tile, name, (2, _TEXT - 5)))
    strip = np.concatenate(tiles, axis=1)
    head = np.zeros((_TEXT, strip.shape[1], 3), np.uint8)
    return np.concatenate([_write(head, title, (2, _TEXT - 5)), strip])


def _images(frame: LabelledFrame, space: LabelSpace) -> list[tuple[str, NDArray[np.uint8]]]:
    """What is shown of a frame: the camera, the labels, then the rest."""
    shown: dict[str, NDArray[np.uint8]] = {}
    for modality, measured in frame.bundle.frames.items():
        data = measured.data
        if isinstance(data, PointCloud):
            depth = lidar_depth(frame.bundle)
            if depth is not None:
                shown[modality] = picture_depth(depth.depth)
        elif isinstance(data, Events):
            shown[modality] = picture_events(data)
        elif isinstance(data, np.ndarray):
            shown[modality] = _picture(data)
    shown |= {name: _picture(image) for name, image in frame.pictures.items()}
    labels = {'labels': colorize(frame.labels, space)}
    camera = {'camera': shown.pop('camera')} if 'camera' in shown else {}
    return [(str(name), image) for name, image in {**camera, **labels, **shown}.items()]


def _picture(image: NDArray[Any]) -> NDArray[np.uint8]:
    """An image of any kind in colours: those that it has, or what lies between its extremes."""
    if image.ndim == 3 and image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    if image.ndim == 2 and image.dtype in (np.uint8, np.uint16):
        return _three(picture_thermal(image))
    values = image.astype(np.float32)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (
        255 / max(high - low, 1e-6)
    )
    return _three(scaled.astype(np.uint8))


def _three(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _legend(space: LabelSpace, width: int) -> NDArray[np.uint8]:
    """The classes with their colours."""
    columns = max(1, width // 160)
    rows = -(-len(space) // columns)
    legend = np.zeros((rows * _TEXT + _GAP, width, 3), np.uint8)
    for each in space.classes:
        row, column = divmod(each.id, columns)
        x, y = column * 160 + 2, row * _TEXT + 3
        legend[y : y + 12, x : x + 12] = each.color
        _write(legend, f'{each.id} {each.name}', (x + 17, y + 11))
    return legend


def _write(image: NDArray[np.uint8], text: str, at: tuple[int, int]) -> NDArray[np.uint8]:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return image
