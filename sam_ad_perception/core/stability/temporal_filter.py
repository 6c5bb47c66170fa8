"""Masks that flicker less: logits are averaged with those of the last two frames.

What a network said of the frames before is carried along the optical flow of the pictures. A cell
that had the same class one frame ago is averaged over two frames, any other one over three, so
that an outlier of one frame goes under. Nothing of the future is used. A new object is late by
one frame at most: two frames on end that agree are the winners of their mean, too. Cells that
only the picture now sees are as the network gave them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.stability.picture_motion import Motion, grey, measure_motion

MAX_VIEWS = 64
"""So many cameras keep their last frames."""

FINENESS = 2
"""Flow is measured on pictures so many times as fine as the grid of the logits ..."""
FEWEST = 64
"""... and of at least so many pixels on either side, that it finds something to follow."""

LAYERS = 32
"""So many classes are carried at a time: OpenCV refuses pictures of more than 128 channels."""


@dataclass(frozen=True)
class StabilityConfig:
    """Whether masks are steadied over time."""

    filter: bool = parameter(
        False,
        'Average what the network says of a frame with the two frames before, carried along the '
        'optical flow of the camera: masks flicker less, a new object may be one frame late.',
    )
    max_gap_s: float = parameter(
        0.5,
        'The filter begins anew where the frame before is older than this.',
        ge=0.01,
        le=10.0,
        unit='s',
    )


@dataclass(frozen=True, eq=False)
class _Past:
    """What is kept of the frame before.

    Attributes:
        stamp_ns: When it was.
        source: What made its logits.
        picture: (h, w) uint8 grey values, as flow sees them.
        logits: (classes, h, w) float32, as the network gave them.
        older: Those of the frame before it, carried to it; None where there was none.
    """

    stamp_ns: int
    source: Hashable
    picture: NDArray[np.uint8]
    logits: NDArray[np.float32]
    older: NDArray[np.float32] | None


class TemporalFilter:
    """Steadies the logits of several camera views; the same frames give the same bits.

    Begins anew in a view where its picture is of another scene or size, where time goes back or
    leaps, and where another network or set of sensors made the logits.

    Args:
        config: Whether it does anything, and what a leap is; the defaults where None.
    """

    def __init__(self, config: StabilityConfig | None = None) -> None:
        self.config = config or StabilityConfig()
        self._views: OrderedDict[str, _Past] = OrderedDict()

    def steady(
        self,
        view: str,
        logits: NDArray[np.float32],
        picture: NDArray[np.uint8] | None,
        stamp_ns: int,
        source: Hashable,
    ) -> NDArray[np.float32]:
        """Take the next frame of a view.

        Args:
            view: Name of its camera.
            logits: (classes, h, w) float32, which cover the whole picture.
            picture: (H, W) or (H, W, 3) uint8 RGB of the camera; None where it has none, so that
                motion is not known.
            stamp_ns: Of the frame, nanoseconds.
            source: What made the logits: the network and its sensors.

        Returns:
            (classes, h, w) float32; `logits` themselves where nothing is known to average with.

        Raises:
            ValueError: The picture has another shape or type.
        """
        past = self._views.pop(view, None)
        if not self.config.filter or picture is None or not np.isfinite(logits).all():
            return logits
        small = _shrink(grey('picture', picture), logits.shape[1:])
        motion = None
        if past is not None and self._continues(past, logits, small, stamp_ns, source):
            motion = measure_motion(past.picture, small, cv2.DISOPTICAL_FLOW_PRESET_FAST)
        older = steadied = None
        if past is not None and motion is not None and motion.is_same_scene:
            older, steadied = _average(logits, past, motion)
        self._views[view] = _Past(stamp_ns, source, small, logits, older)
        while len(self._views) > MAX_VIEWS:
            self._views.popitem(last=False)
        return logits if steadied is None else steadied

    def _continues(
        self,
        past: _Past,
        logits: NDArray[np.float32],
        small: NDArray[np.uint8],
        stamp_ns: int,
        source: Hashable,
    ) -> bool:
        """Whether a frame follows the one before."""
        gap_ns = stamp_ns - past.stamp_ns
        sizes = past.logits.shape == logits.shape and past.picture.shape == small.shape
        return sizes and past.source == source and 0 < gap_ns <= 1e9 * self.config.max_gap_s


def _shrink(picture: NDArray[np.uint8], grid: tuple[int, ...]) -> NDArray[np.uint8]:
    """Make a picture a whole number of times as fine as the grid of the logits."""
    height, width = grid
    fineness = max(FINENESS, -(-FEWEST // min(height, width)))
    size = width * fineness, height * fineness
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _average(
    logits: NDArray[np.float32], past: _Past, fine: Motion
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Carry the frames before along, and average: the carried logits, and the steadied ones."""
    height, width = logits.shape[1:]
    fineness = fine.flow.shape[1] / width
    flow = cv2.resize(fine.flow, (width, height), interpolation=cv2.INTER_AREA) / fineness
    seen = cv2.resize(
        fine.visible.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
    motion = Motion(np.asarray(flow, np.float32), np.asarray(seen >= 0.5))
    # where only the frame now sees something, it stands for those before, too
    last = np.where(motion.visible, _carry(past.logits, motion), logits)
    total = logits + last
    count = np.full((height, width), 2, np.float32)
    if past.older is not None:
        older = np.where(motion.visible, _carry(past.older, motion), logits)
        differs = logits.argmax(axis=0) != last.argmax(axis=0)
        total += np.where(differs, older, np.float32(0))
        count += differs
    return last, np.asarray(total / count, np.float32)


def _carry(logits: NDArray[np.float32], motion: Motion) -> NDArray[np.float32]:
    """Carry logits of the frame before into the frame now."""
    u, v = motion.sources
    carried = np.empty_like(logits)
    for begin in range(0, len(logits), LAYERS):
        layers = np.ascontiguousarray(logits[begin : begin + LAYERS].transpose(1, 2, 0))
        moved = cv2.remap(layers, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        carried[begin : begin + LAYERS] = moved.reshape(layers.shape).transpose(2, 0, 1)
    return carried
