"""A labelled cloud as a person sees it: from behind and above the vehicle."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.labels import UNLABELED, LabelSpace

BACKGROUND, DIM, RING = (20, 23, 28), (74, 80, 90), (52, 58, 68)
EYE = (-13.0, 0.0, 9.0)
"""Where the view is taken from, metres, lidar frame (x forward, y left, z up)."""
PITCH = np.deg2rad(24.0)
FOCAL_SHARE = 0.62
"""Focal length over the width of the picture."""
_NEAR_M, _BIG_M = 1.0, 30.0
_RINGS_M = (10.0, 20.0, 40.0)
_GROUND_M = -1.8


def picture_points(
    points: NDArray[np.float32],
    labels: NDArray[np.uint8],
    space: LabelSpace,
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Draw a sweep in the colours of its labels.

    Args:
        points: (N, 3) float32, metres, in a frame with x forward and z up.
        labels: (N,) uint8 ids; unlabelled points are dim.
        space: Gives the colours.
        size: `(H, W)` of the picture, pixels.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = np.full((*size, 3), BACKGROUND, np.uint8)
    _draw_rings(picture)
    uv, depth = _project(points.astype(np.float64), size)
    inside = (depth > _NEAR_M) & np.all((uv >= 0) & (uv < (size[1] - 1, size[0] - 1)), axis=1)
    # Painter's algorithm: numpy's last assignment to a pixel holds, so the nearest comes last.
    order = np.flatnonzero(inside)
    order = order[np.argsort(-depth[order], kind='stable')]
    order = order[np.argsort(labels[order] != UNLABELED, kind='stable')]
    colors = space.palette[labels[order]]
    colors[labels[order] == UNLABELED] = DIM
    # Near points fill 2x2 pixels, far ones the same pixel four times.
    near = (depth[order] < _BIG_M).astype(np.intp)
    u, v = uv[order].astype(np.intp).T
    columns = (u[:, None] + near[:, None] * (0, 1, 0, 1)).ravel()
    rows = (v[:, None] + near[:, None] * (0, 0, 1, 1)).ravel()
    picture[rows, columns] = np.repeat(colors, 4, axis=0)
    return picture


def _project(
    points: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 2) pixels (u, v), and (N,) depth, metres."""
    forward, left, up = (points - EYE).T
    depth = np.cos(PITCH) * forward - np.sin(PITCH) * up
    rise = np.sin(PITCH) * forward + np.cos(PITCH) * up
    scale = FOCAL_SHARE * size[1] / np.maximum(depth, 1e-6)
    return np.stack([size[1] / 2 - scale * left, size[0] / 2 - scale * rise], axis=1), depth


def _draw_rings(picture: NDArray[np.uint8]) -> None:
    """Circles on the ground around the lidar, and the vehicle, for scale."""
    size = picture.shape[0], picture.shape[1]
    angle = np.linspace(-np.pi, np.pi, 181)
    for radius in _RINGS_M:
        circle = np.stack(
            [radius * np.cos(angle), radius * np.sin(angle), np.full_like(angle, _GROUND_M)], 1
        )
        uv, depth = _project(circle, size)
        line = np.rint(uv[depth > _NEAR_M]).astype(np.int32)
        cv2.polylines(picture, [line], False, RING, 1, cv2.LINE_AA)
    corners = np.array([[2, 0.9], [2, -0.9], [-2, -0.9], [-2, 0.9]])
    uv, _ = _project(np.column_stack([corners, np.full(4, _GROUND_M)]), size)
    cv2.polylines(picture, [np.rint(uv).astype(np.int32)], True, (150, 160, 172), 1, cv2.LINE_AA)
