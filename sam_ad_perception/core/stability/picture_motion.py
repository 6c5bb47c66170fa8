"""How a picture came out of the one before it: dense optical flow, and what both pictures see."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

WIDEST = 640
"""Flow is estimated on pictures of at most so many pixels on the longer side."""

SLACK = 0.5
SLACK_SHARE = 0.01
"""A pixel is seen in both pictures where the flow there and back ends within
`sqrt(SLACK + SLACK_SHARE * (length there^2 + length back^2))` pixels of its start (Sundaram et
al., "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow", 2010)."""

SAME_SCENE = 0.3
"""With fewer pixels seen in both pictures they are not of one scene: a cut, or a gap."""


@dataclass(frozen=True, eq=False)
class Motion:
    """How a picture came out of the one before.

    Attributes:
        flow: (H, W, 2) float32, pixels (u, v): where each pixel of the picture now was in the
            picture before, relative to itself.
        visible: (H, W) bool: both pictures see it.
    """

    flow: NDArray[np.float32]
    visible: NDArray[np.bool_]

    @property
    def is_same_scene(self) -> bool:
        """Whether the two pictures show enough of the same to be compared."""
        return bool(self.visible.mean() >= SAME_SCENE)

    @property
    def sources(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where each pixel was in the picture before: u and v, each (H, W) float32 pixels."""
        v, u = np.indices(self.flow.shape[:2], dtype=np.float32)
        return np.add(u, self.flow[..., 0]), np.add(v, self.flow[..., 1])


def estimate_motion(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> Motion:
    """Estimate the motion between two pictures by DIS optical flow, there and back.

    Args:
        before: (H, W) or (H, W, 3) uint8 RGB.
        now: The same shape and type, of the next frame.

    Returns:
        The motion.

    Raises:
        ValueError: Another type, or the shapes differ.
    """
    first, second = grey('before', before), grey('now', now)
    if first.shape != second.shape:
        raise ValueError(f'before {before.shape} and now {now.shape} differ in shape')
    height, width = second.shape
    scale = min(1.0, WIDEST / max(height, width))
    if scale == 1:
        return measure_motion(first, second)
    small = max(1, round(width * scale)), max(1, round(height * scale))
    first, second = (
        np.asarray(cv2.resize(each, small, interpolation=cv2.INTER_AREA), np.uint8)
        for each in (first, second)
    )
    motion = measure_motion(first, second)
    stretch = np.array([width / small[0], height / small[1]], np.float32)
    back = np.asarray(cv2.resize(motion.flow, (width, height)) * stretch, np.float32)
    whole = cv2.resize(motion.visible.astype(np.uint8), (width, height))
    return Motion(back, np.asarray(whole > 0))


def measure_motion(
    before: NDArray[np.uint8],
    now: NDArray[np.uint8],
    preset: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
) -> Motion:
    """Measure the motion between two pictures at their own size.

    OpenCV's result depends neither on the number of its threads nor on pictures seen before.

    Args:
        before: (H, W) uint8 grey values.
        now: The same size, of the next frame.
        preset: One of `cv2.DISOPTICAL_FLOW_PRESET_*`.

    Returns:
        The motion.
    """
    search = cv2.DISOpticalFlow.create(preset)
    back, there = (
        np.asarray(search.calc(*pair, np.zeros((*now.shape, 2), np.float32)), np.float32)
        for pair in ((now, before), (before, now))
    )
    return Motion(back, _returns(back, there))


def grey(name: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make a picture grey.

    Args:
        name: What it is, for the error.
        picture: (H, W) or (H, W, 3) uint8 RGB.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: Another shape or type.
    """
    is_colour = picture.ndim == 3 and picture.shape[2] == 3
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or is_colour) or not picture.size:
        raise ValueError(
            f'{name} must be (H, W) or (H, W, 3) uint8, got {picture.shape} {picture.dtype}'
        )
    if is_colour:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.ascontiguousarray(picture)


def _returns(back: NDArray[np.float32], there: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each pixel comes back to itself, and its place before lies in the picture."""
    height, width = back.shape[:2]
    u, v = Motion(back, np.empty(0, np.bool_)).sources
    forward = cv2.remap(there, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = ((back + forward) ** 2).sum(axis=2)
    length = (back**2).sum(axis=2) + (forward**2).sum(axis=2)
    inside = (u >= -0.5) & (v >= -0.5) & (u <= width - 0.5) & (v <= height - 0.5)
    return np.asarray(inside & (error <= SLACK + SLACK_SHARE * length))
