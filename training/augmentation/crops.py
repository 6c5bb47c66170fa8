"""Pieces of frames at a random scale: what a network learns from in place of whole frames.

The piece is cut out of the measurements before anything is made of them, so that nothing is
decoded, coloured or drawn that nobody sees. All sensors follow: the view becomes that of the
piece, and each is drawn into it by its geometry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.images.area_resize import shrink_picture
from sam_ad_perception.core.labels import UNLABELED
from sam_ad_perception.core.sensors import CameraModel, Modality
from training.configuration.augmentation import AugmentationConfig
from training.frames.frame import LabelledFrame


@dataclass(frozen=True)
class Cut:
    """Which piece of a scaled frame is taken.

    Attributes:
        size: `(H, W)` of the scaled frame, pixels.
        top: First row, negative where rows are missing above.
        left: First column likewise.
        flip: Whether the piece is mirrored.
    """

    size: tuple[int, int]
    top: int = 0
    left: int = 0
    flip: bool = False


@dataclass(frozen=True)
class _Span:
    """A piece along one axis.

    Attributes:
        source: First and last pixel (exclusive) of the frame, as shares of its length.
        before: Pixels of the piece before the frame begins.
        length: Pixels of the piece that show the frame.
        after: Pixels of the piece behind its end.
    """

    source: tuple[float, float]
    before: int
    length: int
    after: int

    def pixels(self, length: int) -> slice:
        """The pixels of a picture of this length that are shown, at least one."""
        first = min(round(self.source[0] * length), length - 1)
        return slice(first, max(round(self.source[1] * length), first + 1))


def draw_cut(
    config: AugmentationConfig,
    size: tuple[int, int],
    rng: np.random.Generator,
    frame: tuple[int, int] | None = None,
) -> Cut:
    """Draw scale, place and mirroring of a piece.

    Args:
        config: What is drawn from.
        size: `(H, W)` of the network's input, to which the scale relates, pixels.
        rng: Source of randomness.
        frame: `(H, W)` of the frame, whose proportions are kept where that is configured.

    Returns:
        The piece.
    """
    if config.scale_draw == 'uniform':
        scale = float(rng.uniform(*config.scales))
    else:
        low, high = np.log(config.scales)
        scale = float(np.exp(rng.uniform(low, high)))
    scaled = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    if config.keep_aspect and frame is not None:
        factor = scale * min(size) / min(frame)
        scaled = (max(1, round(frame[0] * factor)), max(1, round(frame[1] * factor)))
    room = [have - want for have, want in zip(scaled, config.piece_of(size), strict=True)]
    top, left = (int(rng.integers(min(r, 0), max(r, 0) + 1)) for r in room)
    return Cut(scaled, top, left, bool(rng.random() < config.flip))


def crop_frame(frame: LabelledFrame, cut: Cut, piece: tuple[int, int]) -> LabelledFrame:
    """Take the part of a frame that a piece shows, at the size at which it is shown.

    Edges fall on whole pixels of the frame: the piece may lie half a pixel of the frame off.

    Args:
        frame: The frame.
        cut: Which piece.
        piece: Its size `(H, W)`, pixels.

    Returns:
        A frame whose view, camera and labels are those of the part, without what lies outside of
        the frame; the other sensors keep what they measured.
    """
    rows, columns = _spans(cut, piece)
    shown = (rows.length, columns.length)
    view = scale_camera(_crop_camera(frame.bundle.camera, rows, columns), shown)
    frames = dict(frame.bundle.frames)
    camera = frames.get(Modality.CAMERA)
    if camera is not None and isinstance(camera.data, np.ndarray):
        data = _resize(_crop(camera.data, rows, columns), shown)
        frames[Modality.CAMERA] = replace(camera, data=data, camera=camera.camera and view)
    labels = cv2.resize(
        _crop(frame.labels, rows, columns), shown[::-1], interpolation=cv2.INTER_NEAREST_EXACT
    )
    return replace(
        frame,
        bundle=replace(frame.bundle, camera=view, frames=frames),
        labels=np.asarray(labels, np.uint8),
        pictures={name: _crop(image, rows, columns) for name, image in frame.pictures.items()},
    )


def place_piece(
    inputs: Mapping[str, Tensor], labels: Tensor, cut: Cut, piece: tuple[int, int]
) -> tuple[dict[str, Tensor], Tensor]:
    """Put the part of a frame where it lies in the piece, and mirror it where that was drawn.

    Args:
        inputs: (C, h, w) by modality, of `crop_frame`'s frame.
        labels: (h, w) uint8 likewise.
        cut: Which piece.
        piece: Its size `(H, W)`, pixels.

    Returns:
        (C, H, W) and (H, W): 0 and 255 where the frame does not reach.
    """
    rows, columns = _spans(cut, piece)
    border = (columns.before, columns.after, rows.before, rows.after)

    def place(image: Tensor, fill: int) -> Tensor:
        placed = F.pad(image, border, value=fill) if any(border) else image
        return placed.flip(-1) if cut.flip else placed

    return {name: place(image, 0) for name, image in inputs.items()}, place(labels, UNLABELED)


def _spans(cut: Cut, piece: tuple[int, int]) -> tuple[_Span, _Span]:
    spans = []
    for scaled, first, want in zip(cut.size, (cut.top, cut.left), piece, strict=True):
        begin, end = max(first, 0), min(first + want, scaled)
        before = begin - first
        source = (begin / scaled, end / scaled)
        spans.append(_Span(source, before, end - begin, want - before - (end - begin)))
    return spans[0], spans[1]


def _crop(image: NDArray[Any], rows: _Span, columns: _Span) -> NDArray[Any]:
    return image[rows.pixels(image.shape[0]), columns.pixels(image.shape[1])]


def _crop_camera(camera: CameraModel, rows: _Span, columns: _Span) -> CameraModel:
    down, across = rows.pixels(camera.height), columns.pixels(camera.width)
    K = camera.K.copy()
    K[0, 2] -= across.start
    K[1, 2] -= down.start
    return replace(camera, width=across.stop - across.start, height=down.stop - down.start, K=K)


def _resize(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """As the camera's picture is resized on the vehicle."""
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    if image.ndim == 3 and (image.shape[0] > size[0] or image.shape[1] > size[1]):
        return shrink_picture(image, size)
    return np.asarray(cv2.resize(image, size[::-1]))
