"""Depth images (REP 118) from lidar points, and rasters of point values.

Pixel centres have integer coordinates, so a point falls into the pixel `floor(u + 0.5)`,
`floor(v + 0.5)`. Of several points in one pixel the nearest (smallest z) wins, of equal ones the
first. Points without a pixel, non-finite ones included, are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from sam_ad_perception.core.geometry.cameras import project_points, scale_camera
from sam_ad_perception.core.lidar.densification import fill_edge_aware, fill_nearest
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.lidar.occlusion import OcclusionConfig, cull_occluded
from sam_ad_perception.core.lidar.projection import project_sweep
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    PointMotion,
    ProjectedPoints,
    SensorFrame,
)
from sam_ad_perception.core.settings.parameters import parameter


@dataclass(frozen=True)
class DepthConfig:
    """How a sweep becomes a depth image."""

    occlusion: OcclusionConfig = field(default_factory=OcclusionConfig)
    fill: str = parameter(
        'none',
        'Depth of pixels without a point: none; nearest takes that of the nearest measured pixel; '
        'edge_aware keeps to one surface and, where there is an image, to its edges.',
        choices=('none', 'nearest', 'edge_aware'),
    )
    fill_radius_px: int = parameter(
        8, 'Pixels further than this from every measured one stay empty.', ge=1, le=64, unit='px'
    )


@dataclass(frozen=True, eq=False)
class DepthImage:
    """Depth as the camera sees it.

    Attributes:
        depth: (H, W) float32, metres along the optical axis, NaN where unknown (REP 118).
        returns: The same before gaps were filled: NaN where no point fell.
        projected: The points; those that the camera cannot see have no pixel.
    """

    depth: NDArray[np.float32]
    returns: NDArray[np.float32]
    projected: ProjectedPoints

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(H, W) bool, True where a point fell; the rest of `depth` is filled or NaN."""
        return np.isfinite(self.returns)


def project_depth(points: NDArray[np.floating], camera: CameraModel) -> NDArray[np.float32]:
    """Render all points into a depth image as REP 118 defines it (`32FC1`).

    Args:
        points: (N, 3) float32 or float64, metres, the camera's optical frame.
        camera: The view; its lens distortion is applied.

    Returns:
        (H, W) float32, metres along the optical axis, NaN where no point falls.

    Raises:
        ValueError: `points` is not (N, 3), or an array of integers: metres lose their decimals.
    """
    if getattr(points, 'dtype', None) is not None and points.dtype.kind != 'f':
        raise ValueError(
            f'points are {points.dtype}, expected floats in metres; millimetres are points / 1000'
        )
    uv, z = project_points(camera, points)
    depth = np.full(camera.size, np.nan, dtype=np.float32)
    _fill_depth(uv, z, depth)
    return depth


def render_depth(
    frame: SensorFrame,
    T_camera_lidar: ArrayLike,
    camera: CameraModel,
    config: DepthConfig,
    guide: NDArray[np.uint8] | None = None,
) -> DepthImage:
    """Render a sweep into a depth image without what the camera cannot see, filled if wanted.

    Args:
        frame: A lidar frame; where its motion is known, each point is shown as of the reference
            time.
        T_camera_lidar: (4, 4) rigid transform of the lidar's frame at the reference time, metres.
        camera: The view; its lens distortion is applied.
        config: What is removed and what is filled.
        guide: (H, W, 3) or (H, W) uint8 image of the view, for filling along its edges.

    Returns:
        The depth image.

    Raises:
        ValueError: A wrong shape, or a transform that is not rigid.
    """
    projected = project_sweep(frame, T_camera_lidar, camera)
    uv, z = projected.uv, projected.z
    if config.occlusion.enabled:
        uv[cull_occluded(uv, z, camera, config.occlusion)] = np.nan
    returns = np.full(camera.size, np.nan, dtype=np.float32)
    _fill_depth(uv, z, returns)
    depth = returns
    if config.fill == 'nearest':
        depth = fill_nearest(returns, config.fill_radius_px)
    elif config.fill == 'edge_aware':
        depth = fill_edge_aware(returns, config.fill_radius_px, guide)
    return DepthImage(depth, returns, projected)


def rasterize(
    points: NDArray[np.floating],
    values: NDArray[np.floating],
    camera: CameraModel,
    size: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Render values of points (range, intensity, height ...) into a grid over the camera's view.

    Args:
        points: (N, 3) float32 or float64, metres, the camera's optical frame.
        values: (N, C), one row per point.
        camera: The view; its lens distortion is applied.
        size: `(H, W)` of the output, pixels; the camera is scaled to it (`scale_camera`).

    Returns:
        (C, H, W) float32, 0 where no point falls; and (H, W) bool, True where one does.

    Raises:
        ValueError: A wrong shape, or as many rows of values as there are points is not given.
    """
    values = np.asarray(values)
    if values.ndim != 2 or len(values) != len(points):
        raise ValueError(f'values must be ({len(points)}, C), got {values.shape}')
    values = np.ascontiguousarray(values, dtype=np.float32)
    nearest = find_nearest(*project_points(scale_camera(camera, size), points), size)
    raster = np.zeros((values.shape[1], *size), dtype=np.float32)
    _fill_values(nearest, values, raster)
    return raster, nearest >= 0


def find_nearest(
    uv: NDArray[np.float64], z: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.int32]:
    """Find the nearest of the points that fall on each pixel; of equally near ones the first.

    Args:
        uv: (N, 2), pixels; NaN for a point that has none.
        z: (N,), metres along the optical axis.
        size: `(H, W)` of the output, pixels.

    Returns:
        (H, W) int32, rows of `uv`, -1 where no point falls.
    """
    nearest = np.full(size, -1, dtype=np.int32)
    _fill_nearest(uv, z, nearest)
    return nearest


def warm_up() -> None:
    """Compile every kernel that a sweep meets, or load it, before the first sweep comes."""
    camera = CameraModel(8, 8, np.array([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]))
    motion = PointMotion(-10_000_000, 10_000_000, np.stack([np.eye(4)] * 2))
    for kind in (np.float32, np.float64):  # the latter for clouds in a map's frame
        points = np.ones((2, 3), kind)
        cloud = PointCloud(points, None, np.array([-10_000_000, 0]))
        for each in (None, motion):
            frame = SensorFrame(Modality.LIDAR, 0, 'lidar', cloud, motion=each)
            render_depth(frame, np.eye(4), camera, DepthConfig(fill='edge_aware'))
            rasterize(deskew_points(frame, np.eye(4)), points, camera, camera.size)


@njit(cache=True, nogil=True)
def _fill_depth(uv, z, depth):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for i in range(z.shape[0]):
        u = uv[i, 0] + 0.5
        v = uv[i, 1] + 0.5
        if u >= 0 and u < width and v >= 0 and v < height:  # False for NaN
            row, column = np.int64(v), np.int64(u)
            # not <= is also True for NaN, the empty pixel
            if not depth[row, column] <= z[i]:
                depth[row, column] = z[i]


@njit(cache=True, nogil=True)
def _fill_nearest(uv, z, nearest):  # type: ignore[no-untyped-def]
    height, width = nearest.shape
    for i in range(z.shape[0]):
        u = uv[i, 0] + 0.5
        v = uv[i, 1] + 0.5
        if u >= 0 and u < width and v >= 0 and v < height:  # False for NaN
            row, column = np.int64(v), np.int64(u)
            holder = nearest[row, column]
            if holder < 0 or z[i] < z[holder]:
                nearest[row, column] = i


@njit(cache=True, nogil=True)
def _fill_values(nearest, values, raster):  # type: ignore[no-untyped-def]
    height, width = nearest.shape
    for row in range(height):
        for column in range(width):
            i = nearest[row, column]
            if i >= 0:
                for channel in range(values.shape[1]):
                    raster[channel, row, column] = values[i, channel]
