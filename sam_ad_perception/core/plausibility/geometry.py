"""Geometry that cannot be: lens centres, frames that are no optical ones, names that differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensors import CameraModel, Modality

_FIRST_LOOK, _SAMPLES = 192, 1024
_FEW = 0.001
_BODY_SHARE, _BODY_RATIO = 0.02, 10.0
_MIN_POINTS = 50
_SAME_FACTOR = 0.06
_OPTICAL_FROM_BODY = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
"""REP 103: x forward, y left, z up, to x right, y down, z forward."""


def check_principal_point(camera: CameraModel, modality: Modality) -> Finding | None:
    """Check that the lens looks at the middle half of the image, or that it was cropped.

    Where both coordinates are off by one and the same factor, K is of an image of another size.

    Args:
        camera: The geometry.
        modality: Its sensor.

    Returns:
        What cannot be right, or None; of an unknown lens nothing is said.
    """
    if camera.unknown_lens:
        return None
    u, v = float(camera.K[0, 2]), float(camera.K[1, 2])
    across, down = u / camera.width, v / camera.height
    if 0.25 < across < 0.75 and 0.25 < down < 0.75:
        return None
    scaled = (
        min(across, down) > 0
        and abs(across - down) < _SAME_FACTOR * max(across, down, 0.5)
        and (max(across, down) < 0.35 or min(across, down) > 0.65)
    )
    text = (
        f'the lens centre of its camera_info is at ({u:.0f}, {v:.0f}) in an image of '
        f'{camera.width}x{camera.height}'
    )
    if scaled:
        text += f', as that of one {2 * across:.2g} times its size: K and size do not go together'
    else:
        text += ', outside of its middle half: cropped without a shift of K?'
    return Finding(
        'geometry.principal_point',
        str(modality),
        text,
        'calibrate at the size, binning and region of interest that are published',
        out=scaled,
        figure=across,
    )


def check_view(
    points: NDArray[np.floating], T_camera_lidar: NDArray[np.float64], camera: CameraModel
) -> Finding | None:
    """Check that some of a sweep's points fall into the image.

    Args:
        points: (N, 3), metres, the lidar's frame.
        T_camera_lidar: (4, 4) float64, metres.
        camera: The view.

    Returns:
        What cannot be right, or None; with fewer than 50 points nothing is said.
    """
    if len(points) < _MIN_POINTS:
        return None
    few = points[:: max(1, len(points) // _FIRST_LOOK)]
    if _count_seen(few, T_camera_lidar, camera) > 1:
        return None
    samples = points[:: max(1, len(points) // _SAMPLES)]
    seen = _count_seen(samples, T_camera_lidar, camera)
    if seen > max(_FEW * len(samples), 1):
        return None
    count = _count_seen(points, T_camera_lidar, camera)
    body = _count_seen(points, T_camera_lidar, camera, _OPTICAL_FROM_BODY)
    is_body = body > max(_BODY_SHARE * len(points), _BODY_RATIO * count)
    if count and not is_body:
        return None
    frame = camera.frame_id
    text = f'{count} of {len(points)} points fall into the image'
    if is_body:
        text += f', {body} would if {frame!r} were a body frame (x forward)'
        remedy = f'is {frame!r} an optical frame (z forward, REP 103)? Name one in camera_info'
    else:
        remedy = (
            f'is {frame!r} an optical frame, and is the transform between it and the lidar right?'
        )
    return Finding(
        'geometry.view',
        str(Modality.LIDAR),
        text,
        remedy,
        out=True,
        figure=float(count),
    )


def _count_seen(
    points: NDArray[np.floating],
    T: NDArray[np.float64],
    camera: CameraModel,
    turn: NDArray[np.float64] | None = None,
) -> int:
    """Points in front of the camera and within its image; its lens distortion is left out."""
    # Few calls, and no division: this is done for every sweep.
    P = (camera.K if turn is None else camera.K @ turn) @ T[:3]
    u, v, z = P[:, :3] @ points.T + P[:, 3:]
    inside = (z > 0.1) & (u >= -0.5 * z) & (v >= -0.5 * z)
    inside &= (u < (camera.width - 0.5) * z) & (v < (camera.height - 0.5) * z)
    return int(np.count_nonzero(inside))
