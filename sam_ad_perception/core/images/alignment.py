"""Bring images of other sensors (thermal, events, labels) into the camera's view.

By rotation, by a plane, or by the surface that the lidar sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.geometry.cameras import sampling_map, scale_camera, unproject_pixels
from sam_ad_perception.core.geometry.projection_kernels import (
    project_kernel,
    projection_parameters,
)
from sam_ad_perception.core.geometry.transforms import check_transform, invert_transform
from sam_ad_perception.core.lidar.depth_image import project_depth
from sam_ad_perception.core.sensors import CameraModel

Interpolation = Literal['linear', 'nearest']
SamplingMap = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
"""`map_u`, `map_v` (H, W), pixels of the source, and `valid` (H, W), for each target pixel."""

_FLAGS = {'linear': cv2.INTER_LINEAR, 'nearest': cv2.INTER_NEAREST}
_DTYPES = (np.uint8, np.uint16, np.int16, np.float32)
_CHANNELS_AT_ONCE = 4  # cv2.remap with a border value takes no more
_MAPS_KEPT = 8  # 18 MB each at 1920x1080
_RAYS_KEPT = 4  # 33 MB each at 1920x1080
_CELL = 4  # pixels of a view per cell of its surface
_GROUND_BELOW_M = 0.5  # what lies this much below the camera goes on downwards as ground
_EDGE_PX = 1.0  # difference in parallax from which two surfaces are apart
_OUTSIDE = -1.0e4  # a map coordinate that no image holds


def warp_to_camera(
    image: NDArray[np.generic],
    source: CameraModel,
    target: CameraModel,
    T_target_source: NDArray[np.float64],
    *,
    interpolation: Interpolation = 'linear',
    size: tuple[int, int] | None = None,
    distance_m: float = np.inf,
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Resample an image as the target camera would see it, lens distortion of both included.

    Without a depth per pixel the scene is taken to be a plane at `distance_m`. At infinity, the
    default, the translation between the sensors is ignored and only the rotation counts; the
    error is then `f * baseline / depth` pixels. The maps are cached, by the content of the two
    models, the transform and the distance.

    The image is sampled, not averaged: where the output is much coarser than `image`, warp at
    full size and shrink the result.

    Args:
        image: (H, W) or (H, W, C), uint8, uint16, int16 or float32.
        source: Geometry of `image`.
        target: The view wanted.
        T_target_source: (4, 4), maps source-frame points into the target's frame, metres.
        interpolation: `linear`, or `nearest` for labels and counts.
        size: `(H, W)` of the output, pixels; the target's view at that resolution. None takes
            the target's own size.
        distance_m: Distance of the scene along the target's optical axis, metres.

    Returns:
        The image, (H, W) or (H, W, C) in the dtype of `image`, 0 where `valid` is False; and
        `valid` (H, W) bool, read-only: whether the source's image covers the pixel.

    Raises:
        ValueError: The image's size is not its model's, its dtype or the interpolation is not
            supported, or the transform is not rigid.
    """
    image = _check_image(image, source, interpolation)
    T = check_transform(T_target_source, 'T_target_source')
    if np.isinf(distance_m):  # the translation has no effect: do not let it split the cache
        T = np.block([[T[:3, :3], np.zeros((3, 1))], [T[3:]]])
    view = target if size is None else scale_camera(target, size)
    map_u, map_v, valid = _cached_map(_View.of(source), _View.of(view), T.tobytes(), distance_m)
    return _remap(image, map_u, map_v, _FLAGS[interpolation]), valid


def warp_by_map(
    image: NDArray[np.generic],
    source: CameraModel,
    maps: SamplingMap,
    *,
    interpolation: Interpolation = 'linear',
) -> NDArray[np.generic]:
    """Resample an image by a map into another view.

    Args:
        image: (H, W) or (H, W, C), uint8, uint16, int16 or float32.
        source: Geometry of `image`.
        maps: As `surface_map` gives it.
        interpolation: `linear`, or `nearest` for labels and counts.

    Returns:
        The image in the size of the map, 0 where the map is not valid.

    Raises:
        ValueError: The image's size is not its model's, or its dtype or the interpolation is not
            supported.
    """
    image = _check_image(image, source, interpolation)
    return _remap(image, maps[0], maps[1], _FLAGS[interpolation])


def surface_map(
    source: CameraModel,
    target: CameraModel,
    T_target_source: NDArray[np.float64],
    depth: NDArray[np.float32],
) -> SamplingMap:
    """For each pixel of `target`, find where `source` sees the same point of a surface.

    A pixel whose point is hidden from the source by a nearer one is not valid. Two points on one
    pixel of the source hide each other only if their parallax differs by a pixel or more, so
    that a slanted surface does not hide itself.

    Args:
        source: View to sample from.
        target: View to fill.
        T_target_source: (4, 4), maps source-frame points into the target's frame, metres.
        depth: (h, w) float32, metres along the target's optical axis, on any grid over the
            target's view; infinite or NaN is infinitely far. Between the cells of a coarse grid
            its inverse is interpolated, which is exact on a plane.

    Returns:
        `map_u`, `map_v` (H, W) float32, source pixels for `cv2.remap`, and `valid` (H, W) bool,
        at the target's size. As with `sampling_map`, the half pixel around the outer pixel
        centres belongs to the image; where `valid` is False the map points far out.

    Raises:
        ValueError: `T_target_source` is not a rigid transform, or `depth` is not (h, w).
    """
    if depth.ndim != 2 or 0 in depth.shape:
        raise ValueError(f'depth must be (h, w), got {depth.shape}')
    T = invert_transform(check_transform(T_target_source, 'T_target_source'))
    with np.errstate(divide='ignore', invalid='ignore'):
        inverse = np.where(depth > 0, 1 / depth, 0).astype(np.float32)
    parallax = float(source.K[0, 0] * np.linalg.norm(T[:3, 3]))
    if inverse.shape != target.size:
        inverse = _refine(inverse, target.size, parallax)
    seen = np.empty((target.height * target.width, 3), np.float32)
    _see(_rays(_View.of(target)), inverse.ravel(), T[:3, :3], T[:3, 3], seen)
    uv, closeness = np.empty((len(seen), 2)), np.empty(len(seen))
    project_kernel(seen, *projection_parameters(source), uv, closeness)
    # the points were divided by their depth in the target, so their own over that came out
    with np.errstate(divide='ignore', invalid='ignore'):
        closeness = inverse.ravel() / closeness
    ratio = source.K[0, 0] / target.K[0, 0]
    cell = max(1, int(np.ceil(ratio)))
    nearest = np.zeros((-(-source.height // cell), -(-source.width // cell)))
    maps = np.empty((2, *target.size), np.float32)
    valid = np.empty(target.size, np.bool_)
    hidden_by = _EDGE_PX / parallax if parallax > 0 else np.inf
    _hide(uv, closeness, nearest, cell, hidden_by, source.height, source.width, maps, valid)
    return maps[0], maps[1], valid


def estimate_surface(
    points: NDArray[np.floating], view: CameraModel, cell: int = _CELL
) -> NDArray[np.float32] | None:
    """Make a depth everywhere in a view from lidar points: good for warping, not for measuring.

    A cell of the grid takes its nearest point, a cell without points that of the nearest cell
    with one. Below the lowest points the ground goes on: there the height under the camera is
    kept rather than the depth.

    Args:
        points: (N, 3) float32 or float64, metres, the camera's optical frame.
        view: The camera's view.
        cell: Pixels of the view per cell, in both directions.

    Returns:
        (h, w) float32, metres along the optical axis, finite and positive; None where no point
        falls into the view.

    Raises:
        ValueError: `points` is not (N, 3).
    """
    size = (max(1, -(-view.height // cell)), max(1, -(-view.width // cell)))
    grid = scale_camera(view, size)
    depth = project_depth(points, grid)
    empty = np.isnan(depth)
    if empty.all():
        return None
    _, labels = cv2.distanceTransformWithLabels(
        empty.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    holders = np.zeros(int(labels.max()) + 1, np.int64)
    holders[labels[~empty]] = np.flatnonzero(~empty)
    _fill_surface(depth, empty, holders[labels], _rays(_View.of(grid)))
    return depth


def _check_image(
    image: NDArray[np.generic], source: CameraModel, interpolation: str
) -> NDArray[np.generic]:
    image = np.asarray(image)
    if image.ndim not in (2, 3) or image.shape[:2] != source.size:
        raise ValueError(
            f'image must be {source.size} as its camera model says, with or without channels, '
            f'got {image.shape}'
        )
    if image.dtype not in _DTYPES:
        names = ', '.join(np.dtype(dtype).name for dtype in _DTYPES)
        raise ValueError(f'image dtype must be one of {names}, got {image.dtype}')
    if interpolation not in _FLAGS:
        raise ValueError(f'interpolation must be one of {sorted(_FLAGS)}, got {interpolation!r}')
    return image


@dataclass(frozen=True)
class _View:
    """A `CameraModel` as a cache key: equal by content, without the frame's name."""

    width: int
    height: int
    K: bytes
    D: bytes
    distortion_model: str

    @classmethod
    def of(cls, camera: CameraModel) -> _View:
        return cls(
            camera.width,
            camera.height,
            camera.K.tobytes(),
            camera.D.tobytes(),
            camera.distortion_model,
        )

    def camera(self) -> CameraModel:
        K, D = np.frombuffer(self.K).reshape(3, 3), np.frombuffer(self.D)
        return CameraModel(self.width, self.height, K, D, self.distortion_model)


@lru_cache(maxsize=_MAPS_KEPT)
def _cached_map(
    source: _View, target: _View, T_target_source: bytes, distance_m: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    T = np.frombuffer(T_target_source).reshape(4, 4)
    maps = sampling_map(source.camera(), target.camera(), T, distance_m)
    for array in maps:
        array.flags.writeable = False
    return maps


def _refine(
    inverse: NDArray[np.float32], size: tuple[int, int], parallax: float
) -> NDArray[np.float32]:
    """Interpolate an inverse depth, but not over the edge of a surface."""
    height, width = size
    smooth = cv2.resize(inverse, (width, height), interpolation=cv2.INTER_LINEAR)
    sharp = cv2.resize(inverse, (width, height), interpolation=cv2.INTER_NEAREST)
    apart = np.abs(smooth - sharp) * np.float32(parallax) > _EDGE_PX
    return np.asarray(np.where(apart, sharp, smooth), dtype=np.float32)


@lru_cache(maxsize=_RAYS_KEPT)
def _rays(view: _View) -> NDArray[np.float64]:
    """(H W, 3) rays of all pixels, row by row."""
    v, u = np.mgrid[0 : view.height, 0 : view.width].astype(np.float64)
    rays = unproject_pixels(view.camera(), np.column_stack([u.ravel(), v.ravel()]))
    rays.flags.writeable = False
    return rays


def _remap(
    image: NDArray[Any], map_u: NDArray[np.float32], map_v: NDArray[np.float32], flag: int
) -> NDArray[Any]:
    if image.ndim == 2 or image.shape[2] <= _CHANNELS_AT_ONCE:
        out = cv2.remap(image, map_u, map_v, flag, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        return out.reshape(*map_u.shape, *image.shape[2:])
    groups = range(0, image.shape[2], _CHANNELS_AT_ONCE)
    parts = [
        _remap(np.ascontiguousarray(image[:, :, c : c + _CHANNELS_AT_ONCE]), map_u, map_v, flag)
        for c in groups
    ]
    return np.concatenate(parts, axis=2)


@njit(cache=True, nogil=True)
def _see(rays, inverse, R, t, seen):  # type: ignore[no-untyped-def]
    """Points of a surface in the source's frame, each divided by its depth in the target."""
    for i in range(rays.shape[0]):
        x, y, z, near = rays[i, 0], rays[i, 1], rays[i, 2], inverse[i]
        for k in range(3):
            seen[i, k] = R[k, 0] * x + R[k, 1] * y + R[k, 2] * z + t[k] * near


@njit(cache=True, nogil=True)
def _hide(uv, closeness, nearest, cell, hidden_by, height, width, maps, valid):  # type: ignore[no-untyped-def]
    """Fill maps and validity; a pixel is hidden where its cell of the source has a nearer one."""
    right, bottom = width - 0.5, height - 0.5
    for i in range(uv.shape[0]):
        u, v = uv[i, 0], uv[i, 1]
        if u >= -0.5 and u < right and v >= -0.5 and v < bottom:  # False for NaN
            row, column = np.int64(v + 0.5) // cell, np.int64(u + 0.5) // cell
            if closeness[i] > nearest[row, column]:
                nearest[row, column] = closeness[i]
    columns = valid.shape[1]
    for i in range(uv.shape[0]):
        u, v = uv[i, 0], uv[i, 1]
        row, column = i // columns, i % columns
        seen = u >= -0.5 and u < right and v >= -0.5 and v < bottom
        if seen:
            nearer = nearest[np.int64(v + 0.5) // cell, np.int64(u + 0.5) // cell]
            seen = nearer - closeness[i] < hidden_by
        valid[row, column] = seen
        maps[0, row, column] = min(max(u, 0.0), width - 1.0) if seen else _OUTSIDE
        maps[1, row, column] = min(max(v, 0.0), height - 1.0) if seen else _OUTSIDE


@njit(cache=True, nogil=True)
def _fill_surface(depth, empty, holder, rays):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for row in range(height):
        for column in range(width):
            if not empty[row, column]:
                continue
            i = holder[row, column]
            z = depth[i // width, i % width]
            below = rays[i, 1] * z
            slope = rays[row * width + column, 1]
            if row > i // width and below > _GROUND_BELOW_M and slope > 0:
                z = min(z, below / slope)
            depth[row, column] = z
