"""Depth images and clouds from single files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import PointCloud
from training.frames.frame import DatasetError
from training.frames.image_files import read_image


def read_depth(path: Path) -> NDArray[np.float32]:
    """Read a depth image.

    Args:
        path: 16-bit picture of millimetres, 0 unknown; or an array (.npy) of metres.

    Returns:
        (H, W) float32, metres, NaN where unknown.

    Raises:
        DatasetError: It is neither.
    """
    if path.suffix.lower() == '.npy':
        metres = np.asarray(_load(path), np.float32)
        if metres.ndim != 2:
            raise DatasetError(f'{path} has shape {metres.shape}, expected (H, W)')
    else:
        image = read_image(path)
        if image.ndim != 2 or image.dtype != np.uint16:
            raise DatasetError(
                f'{path} is {image.dtype} of shape {image.shape}, expected one channel of 16 '
                'bits, millimetres: a coloured or 8-bit picture of depth has no distances'
            )
        metres = image.astype(np.float32) * np.float32(1e-3)
    return np.where(metres > 0, metres, np.float32(np.nan))


def read_cloud(path: Path) -> PointCloud:
    """Read a cloud.

    Args:
        path: Array (.npy) of (N, 3) or more columns, or float32 rows of x, y, z, intensity (.bin).

    Returns:
        The points that are finite, metres; intensity where there is a fourth column.

    Raises:
        DatasetError: It is neither.
    """
    if path.suffix.lower() == '.bin':
        values = np.fromfile(path, np.float32)
        if values.size % 4:
            raise DatasetError(f'{path} has {values.size} float32 values, expected rows of 4')
        rows = values.reshape(-1, 4)
    else:
        rows = np.asarray(_load(path), np.float32)
    if rows.ndim != 2 or rows.shape[1] < 3:
        raise DatasetError(f'{path} has shape {rows.shape}, expected (N, 3) or more columns')
    rows = rows[np.isfinite(rows[:, :3]).all(axis=1)]
    intensity = np.ascontiguousarray(rows[:, 3]) if rows.shape[1] > 3 else None
    return PointCloud(np.ascontiguousarray(rows[:, :3]), intensity)


def _load(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f'{path} cannot be read: {error}') from error
