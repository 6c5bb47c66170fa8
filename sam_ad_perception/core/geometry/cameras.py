"""Cameras: projection with lens distortion, its inverse, and maps between views.

Pixel centres have integer coordinates, as in OpenCV: `u = 0` is the middle of the first column.
Camera frames are optical frames (REP 103: x right, y down, z forward), metres.
Rigid transforms are in `core.geometry.transforms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_ad_perception.core.geometry.projection_kernels import (
    project_kernel,
    projection_parameters,
    unproject_kernel,
)
from sam_ad_perception.core.geometry.transforms import invert_transform
from sam_ad_perception.core.sensors import DISTORTION_COEFFICIENTS, CameraModel

_OUTSIDE = -1.0e4  # a map coordinate that no image holds; NaN is undefined in cv2.remap


def project_points(
    camera: CameraModel, points: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project camera-frame points into the image, with the lens distortion of the model.

    The numbers are those of `cv2.projectPoints` and `cv2.fisheye.projectPoints` with identity
    pose. Two rules go beyond them. A point at or behind the image plane (`z <= 0`) has no pixel.
    A point further off the axis than the first turning point of the radial function has none
    either: there the polynomial folds back and would put points from outside the view into the
    image. (The small tangential terms are not part of that bound.)

    Args:
        camera: The view.
        points: (N, 3) float32 or float64, metres, the camera's optical frame. NaN is allowed.

    Returns:
        `uv` (N, 2) float64, pixels, NaN where there is no pixel, not limited to the image; and
        `z` (N,) float64, metres along the optical axis, as it came.

    Raises:
        ValueError: `points` is not (N, 3), or `camera.K` has skew.
    """
    points = _as_rows(points, 3, 'points')
    uv = np.empty((points.shape[0], 2))
    z = np.empty(points.shape[0])
    project_kernel(points, *projection_parameters(camera), uv, z)
    return uv, z


def unproject_pixels(camera: CameraModel, uv: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give the viewing ray of each pixel: the inverse of `project_points`.

    Args:
        camera: The view.
        uv: (N, 2) float, pixels; need not be inside the image.

    Returns:
        (N, 3) float64 rays `(x, y, 1)` in the optical frame, NaN where the lens model reaches no
        such pixel from before the camera.

    Raises:
        ValueError: `uv` is not (N, 2), or `camera.K` has skew.
    """
    uv = _as_rows(uv, 2, 'uv')
    rays = np.empty((uv.shape[0], 3))
    unproject_kernel(uv, *projection_parameters(camera), rays)
    return rays


def rectified_model(camera: CameraModel) -> CameraModel:
    """Return the distortion-free view with the same size, intrinsics and frame."""
    return replace(camera, D=np.zeros(0), distortion_model='plumb_bob')


def scale_camera(camera: CameraModel, size: tuple[int, int]) -> CameraModel:
    """Describe the same view on another pixel grid.

    Both grids cover the same area, so it is pixel edges that scale, not pixel centres:
    `u' = (u + 0.5) s - 0.5`. This matches `cv2.resize` and `align_corners=False`.

    Args:
        camera: The view.
        size: New size `(H, W)`, pixels.
    """
    height, width = size
    if (height, width) == camera.size:
        return camera
    s_u, s_v = width / camera.width, height / camera.height
    scale = np.array([[s_u, 0, 0.5 * s_u - 0.5], [0, s_v, 0.5 * s_v - 0.5], [0, 0, 1]])
    return replace(camera, width=width, height=height, K=scale @ camera.K)


def sampling_map(
    source: CameraModel,
    target: CameraModel,
    T_target_source: NDArray[np.float64],
    distance_m: float = np.inf,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """For each pixel of `target`, find where `source` sees the same thing.

    The scene is taken to be a plane at `distance_m` along the target's optical axis. At infinity
    (the default) the translation has no effect and the map is a pure rotation.

    Args:
        source: View to sample from.
        target: View to fill.
        T_target_source: (4, 4), maps source-frame points into the target's frame, metres.
        distance_m: Distance of the plane, metres, positive.

    Returns:
        `map_u`, `map_v` (H, W) float32, source pixels for `cv2.remap`, and `valid` (H, W) bool.
        The half pixel around the outer pixel centres belongs to the image and is clamped to
        them, so that no border value is mixed in; where `valid` is False the map points far out.

    Raises:
        ValueError: `T_target_source` is not a rigid transform, or `distance_m` is not positive.
    """
    if not distance_m > 0:
        raise ValueError(f'distance_m must be positive, got {distance_m}')
    T_source_target = invert_transform(T_target_source)
    v, u = np.mgrid[0 : target.height, 0 : target.width].astype(np.float64)
    rays = unproject_pixels(target, np.column_stack([u.ravel(), v.ravel()]))
    # R (ray * distance) + t, divided by the distance: the pixel is the same, infinity is finite
    seen = rays @ T_source_target[:3, :3].T + T_source_target[:3, 3] / distance_m
    uv, _ = project_points(source, seen)
    limit = np.array([source.width, source.height]) - 0.5
    valid: NDArray[np.bool_] = np.all((uv >= -0.5) & (uv < limit), axis=1)
    uv = np.where(valid[:, None], np.clip(uv, 0.0, limit - 0.5), _OUTSIDE)
    map_u, map_v = uv.T.astype(np.float32).reshape(2, *target.size)
    return map_u, map_v, valid.reshape(target.size)


def place_in_view(
    T_frame_x: NDArray[np.float64], camera: CameraModel, source: CameraModel | None = None
) -> NDArray[np.float64]:
    """Turn a transform between frames into one between the centres of cameras.

    Args:
        T_frame_x: (4, 4), maps points of a sensor's frame into `camera.frame_id`, metres.
        camera: The view.
        source: The geometry of the sensor, where it is a camera.

    Returns:
        (4, 4) `T_camera_x`, metres, with the `offset` of both.
    """
    if not any(camera.offset) and (source is None or not any(source.offset)):
        return T_frame_x
    T = T_frame_x.copy()
    if source is not None:
        T[:3, 3] -= T[:3, :3] @ np.array(source.offset)
    T[:3, 3] += camera.offset
    return T


def projection_offset(p: ArrayLike) -> NDArray[np.float64]:
    """Offset that the fourth column of `CameraInfo.P` adds to points before the pinhole.

    The second camera of a stereo pair has `P = K [I | t]`: pixels of a point X given in
    `frame_id` (the first camera's frame) are those of `X + t` in the camera itself. Compose
    `make_transform(np.eye(3), t)` to the left of `T_frame_x` to use such a camera.

    Args:
        p: 12 values, row-major 3x4.

    Returns:
        (3,) float64, metres.

    Raises:
        ValueError: `p` is not a usable projection matrix.
    """
    P = _info_matrix('p', p, (3, 4))
    return np.asarray(np.linalg.solve(P[:, :3], P[:, 3]), dtype=np.float64)


def camera_model_from_info(
    width: int,
    height: int,
    k: ArrayLike,
    d: ArrayLike,
    r: ArrayLike,
    p: ArrayLike,
    distortion_model: str,
    frame_id: str,
    *,
    rectified: bool,
    own_centre: bool = False,
    binning: tuple[int, int] = (0, 0),
    roi: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> CameraModel:
    """Read the fields of a `sensor_msgs/CameraInfo` as the geometry of one image.

    A raw image has K and D; a rectified one has the left 3x3 block of P and no distortion.
    `frame_id` is taken as the optical frame of the very image described, so R, which turns the
    raw frame into the rectified one, is checked and not applied.

    Args:
        width: Full-resolution width, pixels, as in the message.
        height: Full-resolution height, pixels.
        k: 9 values, row-major.
        d: Distortion coefficients. Zeros beyond the model's own are dropped, missing ones added.
        r: 9 values, row-major; all zeros (unset) counts as identity.
        p: 12 values, row-major.
        distortion_model: As in the message; empty is accepted where `d` has no non-zero value,
            `fisheye` and `kannala_brandt` mean `equidistant`.
        frame_id: The message's `header.frame_id`.
        rectified: Whether the image is `image_rect` rather than `image_raw`.
        own_centre: Declares that `frame_id` sits in this camera's own centre although P has a
            fourth column (KITTI bags do this); P's column is then ignored. Without it the
            column becomes the model's `offset`, as ROS defines it.
        binning: `(binning_x, binning_y)`; 0 means 1. Pixels merge, so edges scale.
        roi: `(x_offset, y_offset, height, width)`, full-resolution pixels; all zeros is the
            whole image.

    Raises:
        ValueError: Names the field of the message that is unset, malformed or not supported.
    """
    K = _info_matrix('p', p, (3, 4)) if rectified else _info_matrix('k', k, (3, 3))
    _check_rotation(r)
    offset = (0.0, 0.0, 0.0)
    if rectified and not own_centre and np.any(np.abs(K[:, 3]) > 1e-9 * K[0, 0]):
        x, y, z = projection_offset(p).tolist()
        offset = (x, y, z)
    if rectified:
        model, D = 'plumb_bob', np.zeros(0)
    else:
        model, D = _distortion(distortion_model, d)
    camera = CameraModel(width, height, K[:, :3], D, model, frame_id, offset=offset)
    return _crop_and_bin(camera, binning, roi)


def _as_rows(array: NDArray[np.floating], columns: int, name: str) -> NDArray[np.floating]:
    """Check the shape, and give the kernels one of the two layouts they are compiled for."""
    array = np.asarray(array)
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f'{name} must be (N, {columns}), got {array.shape}')
    return np.ascontiguousarray(array, np.float32 if array.dtype == np.float32 else np.float64)


def _info_matrix(name: str, values: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.size != shape[0] * shape[1]:
        raise ValueError(f'CameraInfo.{name} must have {shape[0] * shape[1]} values, got {matrix}')
    matrix = matrix.reshape(shape)
    if not np.any(matrix):
        raise ValueError(f'CameraInfo.{name} is all zeros: the camera is not calibrated')
    ideal = np.array([[matrix[0, 0], 0, matrix[0, 2]], [0, matrix[1, 1], matrix[1, 2]], [0, 0, 1]])
    if (
        not np.all(np.isfinite(matrix))
        or min(matrix[0, 0], matrix[1, 1]) <= 0
        or not np.array_equal(matrix[:, :3], ideal)
    ):
        raise ValueError(
            f'CameraInfo.{name} must be [fx 0 cx; 0 fy cy; 0 0 1] with positive focal lengths, '
            f'got {matrix.tolist()}'
        )
    return matrix


def _check_rotation(r: ArrayLike) -> None:
    R = np.asarray(r, dtype=np.float64)
    if R.size == 9 and not np.any(R):
        return
    if R.size != 9 or not np.allclose(R.reshape(3, 3) @ R.reshape(3, 3).T, np.eye(3), atol=1e-3):
        raise ValueError(f'CameraInfo.r must be a 3x3 rotation, got {R.tolist()}')


def _distortion(model: str, d: ArrayLike) -> tuple[str, NDArray[np.float64]]:
    """Name and coefficients in the form that `CameraModel` takes."""
    D = np.asarray(d, dtype=np.float64).reshape(-1)
    if model in ('fisheye', 'kannala_brandt'):
        model = 'equidistant'
    if model in ('', 'none') and not np.any(D):
        return 'plumb_bob', np.zeros(0)
    counts = DISTORTION_COEFFICIENTS.get(model)
    if counts is None:
        raise ValueError(
            f'CameraInfo.distortion_model must be one of {sorted(DISTORTION_COEFFICIENTS)}, '
            f'got {model!r} with {D.size} coefficients'
        )
    wanted: Sequence[int] = sorted(counts)
    if np.any(D[wanted[-1] :]):
        raise ValueError(
            f'CameraInfo.d of a {model} camera must have at most {wanted[-1]} non-zero values, '
            f'got {D.tolist()}'
        )
    if D.size not in wanted:
        D = np.pad(D[: wanted[-1]], (0, max(0, wanted[-1] - D.size)))
    return model, D


def _crop_and_bin(
    camera: CameraModel, binning: tuple[int, int], roi: tuple[int, int, int, int]
) -> CameraModel:
    x, y, height, width = roi
    if height or width or x or y:
        height, width = height or camera.height - y, width or camera.width - x
        if x + width > camera.width or y + height > camera.height or min(x, y) < 0:
            raise ValueError(
                f'CameraInfo.roi {width}x{height} at ({x}, {y}) exceeds the full image '
                f'{camera.width}x{camera.height}'
            )
        K = camera.K - np.array([[0, 0, x], [0, 0, y], [0, 0, 0]])
        camera = replace(camera, width=width, height=height, K=K)
    binning_x, binning_y = max(binning[0], 1), max(binning[1], 1)
    return scale_camera(camera, (camera.height // binning_y, camera.width // binning_x))
