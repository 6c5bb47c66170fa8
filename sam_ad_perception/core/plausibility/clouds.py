"""Values of point clouds that cannot be: byte order, unit, coordinates that stand for no return.

Each check looks at some thousand points, so that it costs microseconds; only where something is
found are all points looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.sensors import Modality

LIDAR = str(Modality.LIDAR)
_SAMPLES = 1024
_LEAST_M, _MOST_M = 1e-4, 1e8
_FAR_M = 200.0
"""No lidar measures half of its points beyond this: the ground before it returns most."""
_REPEATED = 100
UNITS = ((1e3, 'millimetres'), (1e2, 'centimetres'), (1 / 0.0254, 'inches'), (1 / 0.3048, 'feet'))
_TYPICAL_M = (0.5, 120.0)


def exchanges_bytes(axes: list[NDArray[Any]]) -> bool:
    """Whether coordinates are only plausible with their bytes in the other order.

    Args:
        axes: x, y and z, (height, width) each, in the byte order that the message names.

    Returns:
        True where most are beyond any world as they are, and nearly none read the other way.
    """
    samples = [_thin(axis) for axis in axes]
    if not samples[0].size or _plausible(samples) > 0.6:
        return False
    other = [each.view(each.dtype.newbyteorder('S')) for each in samples]
    return _plausible(other) > 0.95


def bytes_exchanged(is_bigendian: bool) -> Finding:
    """The finding of a cloud that was read against its flag.

    Args:
        is_bigendian: What the message says.
    """
    return Finding(
        'cloud.byte_order',
        LIDAR,
        f'its coordinates make sense only against is_bigendian ({str(is_bigendian).lower()}): '
        'read so',
        'let the driver set is_bigendian as its bytes are',
    )


def find_repeated(points: NDArray[np.floating]) -> NDArray[np.bool_] | None:
    """Find points that all lie at one coordinate: a `no return` that was moved with the others.

    Args:
        points: (N, 3), metres.

    Returns:
        (N,) True for each of them; None where there are fewer than a hundred, or one in fifty.
    """
    step = max(1, len(points) // _SAMPLES)
    samples = points[::step]
    least = max(_REPEATED // step, len(samples) // 50, 4)
    x = np.sort(samples[:, 0])
    if len(x) <= least or not (x[least - 1 :] == x[: len(x) - least + 1]).any():
        return None
    for axis in range(3):
        values, counts = np.unique(samples[:, axis], return_counts=True)
        best = int(counts.argmax()) if len(counts) else 0
        if not len(counts) or counts[best] < least:
            return None
        samples = samples[samples[:, axis] == values[best]]
    repeated: NDArray[np.bool_] = np.all(points == samples[0], axis=1)
    if np.count_nonzero(repeated) < max(_REPEATED, len(points) // 50):
        return None
    return repeated


def no_return(count: int, point: NDArray[np.floating]) -> Finding:
    """The finding of points that were removed by `find_repeated`.

    Args:
        count: How many.
        point: (3,), where they were, metres.
    """
    where = ', '.join(f'{value:.3f}' for value in point)
    return Finding(
        'cloud.no_return',
        LIDAR,
        f'{count} points lie at one coordinate ({where}): no returns, removed',
        figure=float(count),
    )


def check_cloud(points: NDArray[np.floating]) -> Finding | None:
    """Check the coordinates of a sweep.

    The middle of the points is taken off first: those of a map or of UTM lie far from its origin.

    Args:
        points: (N, 3), metres.

    Returns:
        What cannot be right, or None.
    """
    samples = points[:: max(1, len(points) // _SAMPLES)]
    if len(samples) < 20 or float(np.abs(samples).max()) < _FAR_M:
        return None
    samples = samples.astype(np.float64)
    with np.errstate(over='ignore', invalid='ignore'):
        offsets = samples - np.median(samples, axis=0)
        ranges = np.abs(offsets).max(axis=1)
    middle = float(np.median(ranges))
    wild = float(np.mean(ranges > 1e5))
    if middle < _FAR_M and wild < 0.2:
        return None
    if wild > 0.2:
        high = float(ranges.max())
        return Finding(
            'cloud.values',
            LIDAR,
            f'{100 * wild:.0f} % of its points are beyond 100 km, up to {high:.2g} m: '
            'not coordinates',
            'look at the offsets, datatypes and byte order of its PointCloud2 fields',
            out=True,
            figure=high,
        )
    return _wrong_unit(float(np.median(np.abs(samples).max(axis=1))), '')


def beyond_reach(offsets: NDArray[np.float64], whence: str) -> Finding | None:
    """Check that points are within the reach of a lidar.

    Args:
        offsets: (N, 3) from somewhere near the sensor, metres.
        whence: From where, in words.

    Returns:
        What cannot be right, or None.
    """
    samples = offsets[:: max(1, len(offsets) // _SAMPLES)]
    if len(samples) < 20:
        return None
    middle = float(np.median(np.abs(samples).max(axis=1)))
    return _wrong_unit(middle, whence) if middle > _FAR_M else None


def _wrong_unit(own: float, whence: str) -> Finding:
    """The finding of a cloud whose points are too far away, on average."""
    units = [
        f'{own / scale:.3g} m if in {name}'
        for scale, name in UNITS
        if _TYPICAL_M[0] <= own / scale <= _TYPICAL_M[1]
    ]
    unit = f' ({", ".join(units)})' if units else ''
    return Finding(
        'cloud.unit',
        LIDAR,
        f'half of its points are beyond {own:.0f} m{whence}, which no lidar measures{unit}',
        'PointCloud2 is in metres (REP 103): scale it in the driver',
        out=True,
        figure=own,
    )


def _thin(axis: NDArray[Any]) -> NDArray[Any]:
    """Some values of a field, contiguous, in their own byte order."""
    height, width = axis.shape
    rows = max(1, height // 16)
    columns = max(1, width * min(height, 16) // 128)
    return np.ascontiguousarray(axis[::rows, ::columns]).reshape(-1)


def _plausible(axes: list[NDArray[Any]]) -> float:
    """Share of the points whose coordinates all can be metres; those without a return left out."""
    with np.errstate(invalid='ignore'):  # signalling NaN, of bytes in the wrong order
        values = np.stack([axis.astype(np.float64) for axis in axes])
    size = np.abs(values)
    if bool(((size > _LEAST_M) & (size < _MOST_M)).all()):
        return 1.0
    with np.errstate(invalid='ignore'):
        fits = (size == 0) | ((size > _LEAST_M) & (size < _MOST_M))
    told = ~np.isnan(values).any(axis=0) & (values != 0).any(axis=0)
    if not told.any():
        return 1.0
    return float(fits[:, told].all(axis=0).mean())
