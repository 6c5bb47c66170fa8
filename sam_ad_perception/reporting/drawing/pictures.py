"""Tiles, still pictures and the video of the report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = (150, 240)
CAPTION_HEIGHT = 20
Image = NDArray[np.uint8]
_CAPTION, _WARNING = (235, 235, 235), (255, 120, 110)


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture with its caption.

    Attributes:
        caption: One line, plain ASCII as OpenCV draws it.
        picture: (H, W, 3) uint8 RGB of any size, or None for `no signal`.
        warning: Whether something is wrong with it; it is framed in red.
    """

    caption: str
    picture: Image | None
    warning: bool = False


def compose_tiles(tiles: Sequence[Tile], columns: int, size: tuple[int, int] = TILE) -> Image:
    """Lay tiles out in a grid, row by row.

    Args:
        tiles: In reading order.
        columns: Tiles per row.
        size: (H, W) of each picture, pixels; pictures are fitted in and keep their aspect.

    Returns:
        (rows * (H + caption), columns * W, 3) uint8 RGB.

    Raises:
        ValueError: There is no tile, or `columns` is not positive.
    """
    if not tiles or columns < 1:
        raise ValueError(f'need tiles and columns, got {len(tiles)} tiles, {columns} columns')
    height, width = size
    rows = -(-len(tiles) // columns)
    canvas = np.full((rows * (height + CAPTION_HEIGHT), columns * width, 3), 24, np.uint8)
    for index, tile in enumerate(tiles):
        top = index // columns * (height + CAPTION_HEIGHT)
        left = index % columns * width
        put_tile(canvas[top : top + height + CAPTION_HEIGHT, left : left + width], tile)
    return canvas


def put_tile(cell: Image, tile: Tile) -> None:
    """Draw a tile into a cell of a canvas: the caption above, the picture fitted in below.

    Args:
        cell: (H, W, 3) uint8 RGB, changed in place; the caption takes 20 pixels of H.
        tile: What to draw.
    """
    height, width = cell.shape[:2]
    color = _WARNING if tile.warning else _CAPTION
    write_text(cell, shorten(tile.caption, int(width / 7.0)), (6, 14), 0.4, color)
    view = cell[CAPTION_HEIGHT:]
    if tile.picture is None:
        place = width // 2 - 45, (height - CAPTION_HEIGHT) // 2
        write_text(view, 'no signal', place, 0.6, (220, 70, 70))
    else:
        _fit(view, tile.picture)
    if tile.warning:
        view[:2], view[-2:], view[:, :2], view[:, -2:] = (_WARNING,) * 4


def shorten(text: str, letters: int) -> str:
    """Cut a text that is too long, with an ellipsis of three dots."""
    return text if len(text) <= letters else text[: letters - 3].rstrip() + '...'


def _fit(view: Image, picture: Image) -> None:
    height, width = view.shape[:2]
    scale = min(height / picture.shape[0], width / picture.shape[1])
    h, w = max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale))
    smaller = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    top, left = (height - h) // 2, (width - w) // 2
    fitted = cv2.resize(picture, (w, h), interpolation=smaller)
    # Noise of single pixels would be most of the video's bytes.
    view[top : top + h, left : left + w] = cv2.medianBlur(fitted, 3)


def write_text(
    view: Image, text: str, origin: tuple[int, int], scale: float, color: tuple[int, int, int]
) -> None:
    """Write plain ASCII, in place.

    Args:
        view: (H, W, 3) uint8 RGB, may be a window of a larger picture.
        text: One line.
        origin: Left end of the base line, pixels (u, v).
        scale: Of OpenCV's font; 1 is about 22 pixels high.
        color: RGB.
    """
    # OpenCV draws into contiguous arrays only.
    drawn = np.ascontiguousarray(view)
    cv2.putText(drawn, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
    view[:] = drawn


def encode_jpeg(picture: Image, quality: int = 86, widest: int = 480) -> bytes:
    """Compress an (H, W, 3) uint8 RGB picture for the page, made smaller where it is wider."""
    height, width = picture.shape[:2]
    if width > widest:
        size = widest, max(1, round(height * widest / width))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, 'OpenCV compresses every uint8 RGB picture'
    return data.tobytes()


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keeps OpenCV from remarking, on the process's own stderr, that WebM has no codec tags."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Video:
    """Writes a WebM (VP8) video, which every browser plays.

    Args:
        path: The file, ending in `.webm`.
        rate_hz: Frames per second.

    Raises:
        OSError: From `add`, when the video cannot be opened for writing.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self.path = path
        self._rate_hz = rate_hz
        self._writer: cv2.VideoWriter | None = None

    def add(self, picture: Image) -> None:
        """Append one (H, W, 3) uint8 RGB picture; all must have the first one's size."""
        if self._writer is None:
            fourcc = cv2.VideoWriter.fourcc(*'VP80')
            size = (picture.shape[1], picture.shape[0])
            with _quiet_stderr():
                self._writer = cv2.VideoWriter(str(self.path), fourcc, self._rate_hz, size)
            if not self._writer.isOpened():
                raise OSError(f'cannot write the video {self.path}')
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def close(self) -> bytes | None:
        """Finish the file.

        Returns:
            Its bytes; None when no picture was added.
        """
        if self._writer is None:
            return None
        self._writer.release()
        self._writer = None
        return self.path.read_bytes()
