"""Where the camera sees each point of a sweep."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from sam_ad_perception.core.lidar.occlusion import OcclusionConfig, cull_occluded
from sam_ad_perception.core.lidar.projection import project_sweep
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    ProjectedPoints,
    Segmentation,
    SensorBundle,
    SensorFrame,
)

UNSEEN = -1


def visible_pixels(
    frame: SensorFrame,
    T_camera_lidar: ArrayLike,
    camera: CameraModel,
    depth: NDArray[np.float32] | None = None,
    *,
    occlusion: OcclusionConfig | None = None,
    tolerance_m: float = 0.3,
    relative_tolerance: float = 0.02,
) -> NDArray[np.int32]:
    """Find the pixel of each point of a sweep, where the camera sees it.

    Args:
        frame: A lidar frame; where its motion is known, each point is seen as of the reference
            time.
        T_camera_lidar: (4, 4) rigid transform of the lidar's frame at the reference time, metres.
        camera: The view; its lens distortion is applied.
        depth: (H, W) float32, metres, NaN where unknown; a point that lies further behind it than
            the tolerance is hidden. None: no check.
        occlusion: What hides a point, see `core.lidar.occlusion`; the defaults where None.
        tolerance_m: Constant part of the tolerance, metres.
        relative_tolerance: Part of the tolerance that grows with depth.

    Returns:
        (N,) int32, `row * width + column` of each point of the sweep; -1 for points outside the
        view, behind the camera or hidden.

    Raises:
        ValueError: A wrong shape, or a transform that is not rigid.
    """
    projected = project_sweep(frame, T_camera_lidar, camera)
    occlusion = occlusion or OcclusionConfig()
    if occlusion.enabled:
        projected.uv[cull_occluded(projected.uv, projected.z, camera, occlusion)] = np.nan
    return locate(
        projected, camera, depth, tolerance_m=tolerance_m, relative_tolerance=relative_tolerance
    )


def locate(
    projected: ProjectedPoints,
    camera: CameraModel,
    depth: NDArray[np.float32] | None = None,
    *,
    tolerance_m: float = 0.3,
    relative_tolerance: float = 0.02,
) -> NDArray[np.int32]:
    """Find the pixel of each point of a sweep that was projected already.

    Args:
        projected: Its points; those that the camera cannot see have no pixel.
        camera: See `visible_pixels`, as all others.
        depth: Likewise.
        tolerance_m: Likewise.
        relative_tolerance: Likewise.

    Returns:
        See `visible_pixels`.

    Raises:
        ValueError: The depth image is not of the camera's size.
    """
    if depth is not None and depth.shape != camera.size:
        raise ValueError(f'depth must be {camera.size} like its camera, got {depth.shape}')
    pixels = np.full(len(projected.cloud.points), UNSEEN, np.int32)
    _locate(
        projected.uv,
        projected.z,
        projected.index,
        camera.height,
        camera.width,
        np.empty((0, 0), np.float32) if depth is None else depth,
        1.0 + relative_tolerance,
        tolerance_m,
        pixels,
    )
    return pixels


def read_pixels(
    image: NDArray[np.uint8], pixels: NDArray[np.int32], unseen: int
) -> NDArray[np.uint8]:
    """Read what an image says of each point.

    Args:
        image: (H, W) uint8 of the view.
        pixels: (N,) int32, of `visible_pixels`.
        unseen: Value of points that the camera does not see.

    Returns:
        (N,) uint8.
    """
    values: NDArray[np.uint8] = image.reshape(-1)[pixels]  # of -1 the last pixel, put right next
    values[pixels == UNSEEN] = unseen
    return values


class SweepView:
    """Where the camera sees each point of a bundle's sweep: found once, when first asked.

    Attributes:
        frame: The sweep; None where the bundle has none, or its place in the view is unknown.

    Args:
        bundle: What was segmented.
        result: The result; its depth image, where it has one, hides what is behind.
    """

    def __init__(self, bundle: SensorBundle, result: Segmentation) -> None:
        frame = bundle.frames.get(Modality.LIDAR)
        self._T_camera = bundle.T_camera.get(Modality.LIDAR)
        if self._T_camera is None or frame is None or not isinstance(frame.data, PointCloud):
            frame = None
        self.frame = frame
        self._result = result

    @property
    def cloud(self) -> PointCloud:
        """The points; only where there is a frame."""
        assert self.frame is not None
        assert isinstance(self.frame.data, PointCloud)
        return self.frame.data

    @cached_property
    def pixels(self) -> NDArray[np.int32]:
        """(N,) int32, see `visible_pixels`; only where there is a frame."""
        result = self._result
        # The depth image may be that of another lidar that stood in.
        if result.projected is not None and result.projected.cloud is self.cloud:
            return locate(result.projected, result.camera, result.depth)
        assert self.frame is not None
        assert self._T_camera is not None
        return visible_pixels(self.frame, self._T_camera, result.camera, result.depth)


@njit(cache=True, nogil=True)
def _locate(uv, z, index, height, width, depth, factor, tolerance, pixels):  # type: ignore[no-untyped-def]
    for i in range(z.shape[0]):
        u = uv[i, 0] + 0.5
        v = uv[i, 1] + 0.5
        if not (u >= 0 and u < width and v >= 0 and v < height):  # also NaN
            continue
        row, column = np.int64(v), np.int64(u)
        if depth.size and z[i] > depth[row, column] * factor + tolerance:
            continue
        pixels[index[i]] = row * width + column
