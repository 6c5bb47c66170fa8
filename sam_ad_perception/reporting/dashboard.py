"""One frame of a run as a picture: the mask, what each sensor gave, the cloud, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.images.rendering import (
    colorize,
    overlay,
    picture_depth,
)
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.status import FrameStatus, total_latency_ms
from sam_ad_perception.reporting.drawing import palette
from sam_ad_perception.reporting.drawing.pictures import (
    CAPTION_HEIGHT,
    TILE,
    Image,
    Tile,
    compose_tiles,
    put_tile,
    write_text,
)
from sam_ad_perception.reporting.drawing.point_view import picture_points
from sam_ad_perception.reporting.drive_log import FrameLog

OVERLAY_ALPHA = 0.55
_BLANK = (17, 20, 25)


def fit_tile(mask_size: tuple[int, int], sensors: int) -> tuple[int, int]:
    """Size of a tile with the aspect of the masks, and room for a bar per sensor.

    Args:
        mask_size: `(H, W)` of the masks, pixels.
        sensors: How many sensors there are.

    Returns:
        `(H, W)`, pixels; both are even, as videos want it.
    """
    width = TILE[1]
    height = round(width * mask_size[0] / mask_size[1])
    return int(np.clip(height, 70 + 18 * sensors, 200)) // 2 * 2, width


@dataclass(frozen=True, eq=False)
class FrameView:
    """All that belongs to one frame.

    Attributes:
        frame: What the node said, and how good the mask was.
        seconds: Since the first frame of the drive.
        bundle: What was recorded; None where no sensor gave a picture.
        mask: (H, W) uint8 label ids; None where there is none.
        depth: (H, W) float32, metres; None without lidar and depth camera.
        cloud: The labelled points: (N, 3) float32, metres, and (N,) uint8 ids; None without.
        truth: (H, W) uint8 true label ids, where known.
    """

    frame: FrameLog
    seconds: float
    bundle: SensorBundle | None = None
    mask: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    cloud: tuple[NDArray[np.float32], NDArray[np.uint8]] | None = None
    truth: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Dashboard:
    """Lays frames out, all of a drive in the same way.

    Attributes:
        space: Gives the colours.
        sensors: Which have a tile, in this order.
        with_truth: Whether the true labels have a tile.
        with_cloud: Whether the labelled cloud has a tile.
        tile: `(H, W)` of a small picture, pixels.
    """

    space: LabelSpace
    sensors: Sequence[Modality] = field(default_factory=tuple)
    with_truth: bool = False
    with_cloud: bool = True
    tile: tuple[int, int] = TILE

    def tiles(self, view: FrameView) -> list[Tile]:
        """The mask, each sensor, the cloud and the truth, as pictures of their own."""
        tiles = [self._mask(view), *(self._sensor(view, m) for m in self.sensors)]
        if self.with_cloud:
            tiles.append(self._cloud(view, (300, 480)))
        return [*tiles, self._truth(view)] if self.with_truth else tiles

    def compose(self, view: FrameView) -> Image:
        """Everything in one picture.

        Args:
            view: The frame.

        Returns:
            (H, W, 3) uint8 RGB: the mask large, the sensors right of it, below them the cloud,
            the truth and the figures.
        """
        columns = max(1, -(-len(self.sensors) // 2))
        height, side = self.tile
        cell, width = height + CAPTION_HEIGHT, (2 + columns) * side
        canvas = np.full((3 * cell, width, 3), _BLANK, np.uint8)
        put_tile(canvas[: 2 * cell, : 2 * side], self._mask(view))
        if self.sensors:
            pictures = [self._sensor(view, m) for m in self.sensors]
            sheet = compose_tiles(pictures, columns, self.tile)
            canvas[: len(sheet), 2 * side :] = sheet
        below = canvas[2 * cell :]
        left = 0
        if self.with_truth:
            put_tile(below[:, :side], self._truth(view))
            left = side
        if self.with_cloud:
            span = width - side - left
            put_tile(below[:, left : left + span], self._cloud(view, (height, span)))
        _write_figures(below[:, width - side :], view, self.sensors)
        return canvas

    def _mask(self, view: FrameView) -> Tile:
        status, mask = view.frame.status, view.mask
        if mask is None:
            return Tile(f'mask: {status.dropped or "not recorded"}', None)
        picture = colorize(mask, self.space)
        camera = view.bundle.frames.get(Modality.CAMERA) if view.bundle else None
        if Modality.CAMERA in status.used and camera is not None:
            pixels = cast(Image, camera.data)
            if pixels.shape[:2] == mask.shape:
                picture = overlay(pixels, mask, self.space, OVERLAY_ALPHA)
        return Tile('mask from ' + ' + '.join(status.used), picture)

    def _sensor(self, view: FrameView, modality: Modality) -> Tile:
        status = view.frame.status
        if modality in status.missing:
            reason = status.missing[modality]
            return Tile(f'{modality}: {reason}', self._data(view, modality), warning=True)
        if modality not in status.used and status.dropped is None:
            return Tile(f'{modality}: not used', self._data(view, modality))
        share = f', gate {100 * status.gate[modality]:.0f} %' if modality in status.gate else ''
        note = f': {status.notes[modality]}' if modality in status.notes else ''
        return Tile(f'{modality}{share}{note}', self._data(view, modality), warning=bool(note))

    def _data(self, view: FrameView, modality: Modality) -> Image | None:
        """What a sensor gave, also where it was not used."""
        record = modality.record
        if record.picture is None:
            used = modality in view.frame.status.used
            return picture_depth(view.depth) if used and view.depth is not None else None
        frame = view.bundle.frames.get(modality) if view.bundle else None
        if frame is None:
            return None
        return cast(Image, record.call('picture', frame.data))

    def _cloud(self, view: FrameView, size: tuple[int, int]) -> Tile:
        if view.cloud is None:
            return Tile('labelled cloud', None)
        points, labels = view.cloud
        picture = picture_points(points, labels, self.space, size)
        return Tile(f'labelled cloud, {len(points)} points', picture)

    def _truth(self, view: FrameView) -> Tile:
        return Tile('truth', None if view.truth is None else colorize(view.truth, self.space))


def _write_figures(cell: Image, view: FrameView, sensors: Sequence[Modality]) -> None:
    """Time, network, quality, and a bar per sensor as long as its gate weight."""
    frame, status = view.frame, view.frame.status
    cell[:] = (29, 34, 41)
    bright, grey = (236, 239, 243), (158, 168, 180)
    write_text(cell, f'{view.seconds:5.1f} s', (4, 26), 0.65, bright)
    if frame.condition:
        _write_chip(cell, frame.condition, (92, 9), palette.condition_color(frame.condition))
    write_text(cell, status.expert or 'no mask', (10, 48), 0.4, grey)
    facts = []
    if frame.confusion is not None:
        facts.append(f'mIoU {100 * frame.confusion.miou_of_present():.0f} %')
    if status.latency_ms:
        facts.append(f'{total_latency_ms(status.latency_ms):.0f} ms')
    write_text(cell, ', '.join(facts), (10, 68), 0.45, bright)
    for row, modality in enumerate(sensors):
        _write_bar(cell, status, modality, 82 + 18 * row)


def _write_bar(cell: Image, status: FrameStatus, modality: Modality, top: int) -> None:
    left, right = 70, cell.shape[1] - 12
    used, span = modality in status.used, right - left
    color = palette.rgb(palette.SENSORS[modality] if used else palette.MISSING)
    write_text(cell, str(modality), (10, top + 10), 0.4, (214, 220, 227))
    cell[top + 1 : top + 11, left:right] = (44, 51, 60)
    if not used:
        write_text(cell, 'out', (left + 5, top + 10), 0.38, color)
        return
    share = min(status.gate.get(modality, 1.0), 1.0)
    cell[top + 1 : top + 11, left : left + max(2, round(span * share))] = color
    if modality in status.notes:
        cell[top + 1 : top + 11, right - 6 : right] = palette.rgb(palette.NOTED)


def _write_chip(cell: Image, text: str, place: tuple[int, int], color: str) -> None:
    """A word on a ground of its own."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    left, top = place
    cell[top : top + 20, left : left + width + 12] = palette.rgb(color)
    write_text(cell, text, (left + 6, top + 14), 0.42, palette.rgb(palette.text_on(color)))
