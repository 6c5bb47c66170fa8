"""Lidar sweeps on the image plane in one go: deskew, transform, cull, project."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from sam_ad_perception.core.geometry.cameras import unproject_pixels
from sam_ad_perception.core.geometry.projection_kernels import (
    project_kernel,
    projection_parameters,
)
from sam_ad_perception.core.lidar.deskew import pose_table
from sam_ad_perception.core.sensors import CameraModel, PointCloud, ProjectedPoints, SensorFrame

_MARGIN = 1.02, 0.01
"""The bounds of a view are widened by this factor and by this much: they only spare work."""


def project_sweep(
    frame: SensorFrame, T_camera_lidar: ArrayLike, camera: CameraModel
) -> ProjectedPoints:
    """Project a sweep, each point as of the reference time where the lidar's motion is known.

    The same as `project_points(camera, deskew_points(frame, T_camera_lidar))` for the points in
    view, without rounding in between, and without the work for those far outside.

    Args:
        frame: A lidar frame.
        T_camera_lidar: (4, 4) rigid transform of the lidar's frame at the reference time, metres.
        camera: The view; its lens distortion is applied.

    Returns:
        The points.

    Raises:
        ValueError: Points that are not (N, 3), a transform that is not rigid, a skewed camera.
    """
    assert isinstance(frame.data, PointCloud)
    points = np.ascontiguousarray(frame.data.points)
    rows, start, rate = pose_table(frame, T_camera_lidar)
    times = frame.data.time_offset_ns if len(rows) > 1 else None
    if (
        points.ndim != 2
        or points.shape[1] != 3
        or (times is not None and len(times) != len(points))
    ):
        raise ValueError(f'points must be (N, 3), with a time each, got {points.shape}')
    xyz = np.empty((len(points) + 1, 3))  # a kernel writes before it knows whether it keeps
    index = np.empty(len(points) + 1, np.int32)
    bounds = view_bounds(camera)
    if times is None:
        count = _cull_still(points, rows[0], bounds, xyz, index)
    else:
        times = np.ascontiguousarray(times)
        count = _cull_moving(points, times, start, rate, rows, bounds, xyz, index)
    uv, z = np.empty((count, 2)), np.empty(count)
    project_kernel(xyz[:count], *projection_parameters(camera), uv, z)
    return ProjectedPoints(uv, z, index[:count], xyz[:count], frame.data)


@lru_cache(maxsize=16)
def view_bounds(camera: CameraModel) -> NDArray[np.float64]:
    """Find the pyramid that a view can show, a little widened.

    Args:
        camera: The view.

    Returns:
        (4,) float64, least and greatest `x / z`, then `y / z`; infinite where it is open.
    """
    u = np.linspace(-0.5, camera.width - 0.5, 50)
    v = np.linspace(-0.5, camera.height - 0.5, 50)
    sides = [(u, v[:1]), (u, v[-1:]), (u[:1], v), (u[-1:], v)]
    border = np.concatenate([np.stack(np.broadcast_arrays(*side), axis=1) for side in sides])
    rays = unproject_pixels(camera, border)[:, :2]
    if not np.all(np.isfinite(rays)):  # the lens shows nothing there, so the view is a disc
        return np.array([-np.inf, np.inf, -np.inf, np.inf])
    factor, widening = _MARGIN
    middle, half = 0.5 * (rays.max(0) + rays.min(0)), 0.5 * np.ptp(rays, axis=0)
    low, high = middle - factor * half - widening, middle + factor * half + widening
    return np.array([low[0], high[0], low[1], high[1]])


@njit(cache=True, nogil=True)
def _cull_still(points, pose, bounds, xyz, index):  # type: ignore[no-untyped-def]
    """Keep what lies in the pyramid of the view; `pose` is (24,), see `pose_table`."""
    left, right, top, bottom = bounds[0], bounds[1], bounds[2], bounds[3]
    n = np.uint64(0)  # unsigned: an index that may be negative costs a check
    for i in range(points.shape[0]):
        px = np.float64(points[i, 0])
        py = np.float64(points[i, 1])
        pz = np.float64(points[i, 2])
        x = pose[0] * px + pose[1] * py + pose[2] * pz + pose[3]
        y = pose[4] * px + pose[5] * py + pose[6] * pz + pose[7]
        z = pose[8] * px + pose[9] * py + pose[10] * pz + pose[11]
        xyz[n, 0] = x
        xyz[n, 1] = y
        xyz[n, 2] = z
        index[n] = i
        inside = (x >= left * z) & (x <= right * z) & (y >= top * z) & (y <= bottom * z)
        n += np.uint64(inside & (z > 0.0))
    return n


@njit(cache=True, nogil=True)
def _cull_moving(points, times, start, rate, poses, bounds, xyz, index):  # type: ignore[no-untyped-def]
    """The same with the pose of each point's time; `poses` is (M, 24), see `pose_table`."""
    left, right, top, bottom = bounds[0], bounds[1], bounds[2], bounds[3]
    last = np.float64(poses.shape[0] - 1)
    n = np.uint64(0)
    for i in range(points.shape[0]):
        position = min(max((times[i] - start) * rate, 0.0), last)
        k = np.uint64(position)
        f = position - np.float64(k)
        px = np.float64(points[i, 0])
        py = np.float64(points[i, 1])
        pz = np.float64(points[i, 2])
        x = (
            (poses[k, 0] + f * poses[k, 12]) * px
            + (poses[k, 1] + f * poses[k, 13]) * py
            + (poses[k, 2] + f * poses[k, 14]) * pz
            + (poses[k, 3] + f * poses[k, 15])
        )
        y = (
            (poses[k, 4] + f * poses[k, 16]) * px
            + (poses[k, 5] + f * poses[k, 17]) * py
            + (poses[k, 6] + f * poses[k, 18]) * pz
            + (poses[k, 7] + f * poses[k, 19])
        )
        z = (
            (poses[k, 8] + f * poses[k, 20]) * px
            + (poses[k, 9] + f * poses[k, 21]) * py
            + (poses[k, 10] + f * poses[k, 22]) * pz
            + (poses[k, 11] + f * poses[k, 23])
        )
        xyz[n, 0] = x
        xyz[n, 1] = y
        xyz[n, 2] = z
        index[n] = i
        inside = (x >= left * z) & (x <= right * z) & (y >= top * z) & (y <= bottom * z)
        n += np.uint64(inside & (z > 0.0))
    return n
