"""The radar of MUSES: a polar picture, placed in the camera's view by our own core.

One column per azimuth of a turn, one row per range bin. Its first 11 rows hold the time of each
azimuth (seconds and nanoseconds, 4 bytes each) and, in the last of them, whether it is valid.
Facts: the data set's tools.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.lidar.depth_image import rasterize
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.sensors import CameraModel, PointCloud, SensorFrame
from training.frames.frame import DatasetError
from training.frames.image_files import read_grey

AZIMUTHS = 400
HEADER = 11
BIN_M = 0.0438
REACH_M = 150.0
HEIGHT_M = 1.62
"""Of the radar above the ground, on which all that it sees is taken to lie, metres."""
NEAREST_M = 1.0
_FIELD = slice(145, 255)  # azimuths ahead of the vehicle
_ENLARGED = 10 / 1920  # of the view's width: the published networks see points of 10x10 pixels


def read_radar(path: Path, stamp_ns: int) -> PointCloud:
    """Read what the radar saw ahead, up to 150 m.

    Args:
        path: PNG of 8 bits.
        stamp_ns: What the times of the points are relative to, nanoseconds.

    Returns:
        Points on the ground, radar frame (x forward, y left, z up), with the echo's strength
        (0 to 255) as intensity.

    Raises:
        DatasetError: It is not such a picture.
    """
    polar = read_grey(path)
    if polar.dtype != np.uint8 or polar.shape[1] != AZIMUTHS or polar.shape[0] <= HEADER:
        raise DatasetError(
            f'{path} is {polar.shape} {polar.dtype}, expected {AZIMUTHS} columns of 8 bits with '
            f'more than {HEADER} rows'
        )
    azimuths = -np.deg2rad(-180 + 360 / AZIMUTHS * np.arange(1, AZIMUTHS + 1))[_FIELD]
    polar = polar[: HEADER + int(REACH_M / BIN_M), _FIELD]
    echo = polar[HEADER:]
    distance = BIN_M * np.arange(1, len(echo) + 1)
    seen = (echo > 0) & (polar[HEADER - 1] > 0) & (distance >= NEAREST_M)[:, None]
    rows, columns = np.nonzero(seen)
    points = np.stack(
        [
            distance[rows] * np.cos(azimuths[columns]),
            distance[rows] * np.sin(azimuths[columns]),
            np.full(len(rows), -HEIGHT_M),
        ],
        axis=1,
    )
    offsets = _times(polar)[columns] - stamp_ns if stamp_ns else None
    return PointCloud(points.astype(np.float32), echo[seen].astype(np.float32), offsets)


def _times(polar: NDArray[Any]) -> NDArray[np.int64]:
    """(azimuths,) int64, nanoseconds."""
    header = np.ascontiguousarray(polar[:8].T)
    seconds, rest = (header[:, i : i + 4].copy().view('<u4')[:, 0] for i in (0, 4))
    return seconds.astype(np.int64) * 1_000_000_000 + rest.astype(np.int64)


def draw_radar(
    frame: SensorFrame, T_camera_radar: NDArray[np.float64], camera: CameraModel
) -> NDArray[np.float32]:
    """Draw a sweep in the camera's view, the nearest point of each pixel, points enlarged.

    Args:
        frame: The sweep, with its motion where that is known.
        T_camera_radar: (4, 4) transform of the radar's frame into the camera's, metres.
        camera: The view.

    Returns:
        (H, W, 3) float32: range in metres, strength of the echo, 0; all 0 without a point.
    """
    cloud = frame.data
    assert isinstance(cloud, PointCloud)
    assert cloud.intensity is not None
    distance = np.linalg.norm(cloud.points[:, :2], axis=1)
    values = np.stack([distance, cloud.intensity, np.zeros_like(distance)], axis=1)
    image, _ = rasterize(deskew_points(frame, T_camera_radar), values, camera, camera.size)
    side = max(1, round(_ENLARGED * camera.width))
    picture = np.ascontiguousarray(np.nan_to_num(image).transpose(1, 2, 0))
    return np.asarray(cv2.dilate(picture, np.ones((side, side), np.uint8)), np.float32)
