"""Cheap figures of a frame from which its health is judged: a few thousand samples, no copies.

Images are seen through a grid of at most `ROWS` x `COLUMNS` pixels; edges are followed over a few
pixels at every second point of it, so that a 1080p image costs a fraction of a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Events, PointCloud

ROWS, COLUMNS = 72, 128
"""At most so many rows and columns of an image are looked at."""
REACH = 4
"""An edge is the difference of two pixels `2 * REACH` apart."""
MIN_EDGES = 40
"""With fewer edges nothing is said about sharpness."""
MAX_POINTS = 4096
"""At most so many points of a cloud are looked at."""
MIN_EVENTS, MAX_EVENTS = 100, 1024
"""Windows with fewer events are not compared, and of others about so many."""
NEAR_M = 0.3
"""Nearer points are the `no return` of drivers that write zeros."""


@dataclass(frozen=True, eq=False)
class ImageStatistics:
    """Figures of an image.

    Attributes:
        samples: (h, w), the grid, in the image's dtype; of a float image its finite values count.
        low: 2nd percentile of the samples, in the image's unit.
        middle: Median likewise.
        high: 98th percentile likewise.
        valid: Share of the samples that are finite.
        saturated: Share of the samples in the top 2 % of the dtype's range; 0 for floats.
        clipped: Share of the samples that have the highest value of all; 0 for floats.
        sharpness: How suddenly edges rise along rows and along columns: energy of steps between
            neighbours over energy of the whole edges, noise taken off. A step within one pixel
            gives 1, one blurred by a Gaussian of 1 pixel 0.3, of 3 pixels 0.16, and 0.125 is
            the least; detail finer than the edges adds to it. None with too few edges.
        noise: Standard deviation of the noise, in the image's unit.
    """

    samples: NDArray[Any]
    low: float
    middle: float
    high: float
    valid: float
    saturated: float
    clipped: float
    sharpness: tuple[float, float] | None
    noise: float

    @property
    def contrast(self) -> float:
        """98th minus 2nd percentile, in the image's unit."""
        return self.high - self.low


@dataclass(frozen=True, eq=False)
class CloudStatistics:
    """Figures of a point cloud.

    Attributes:
        samples: (n, 3) float32, a regular choice of its points, metres.
        count: Points with a return, estimated from the samples.
        finite: Share of the samples with finite coordinates.
        reach_m: 90th percentile of the range of those with a return, metres; 0 without any.
    """

    samples: NDArray[np.float32]
    count: float
    finite: float
    reach_m: float


def measure_image(image: NDArray[Any]) -> ImageStatistics:
    """Measure an image.

    Args:
        image: (H, W) uint8, uint16 or float32 (NaN where there is no value), or (H, W, 3) uint8,
            whose second channel is looked at.

    Returns:
        Its figures.

    Raises:
        ValueError: It has another shape or dtype, or no pixels.
    """
    plane = image[:, :, 1] if image.ndim == 3 and image.shape[2] == 3 else image
    if (
        plane.ndim != 2
        or plane.size == 0
        or plane.dtype.name not in ('uint8', 'uint16', 'float32')
    ):
        raise ValueError(
            'image must be (H, W) uint8, uint16 or float32, or (H, W, 3) uint8, and not empty, '
            f'got {image.shape} {image.dtype}'
        )
    # One kind of array for pictures of messages, which are read-only, and of simulators.
    plane = plane.view()
    plane.flags.writeable = False
    rows, columns = grid_positions(plane.shape[0], ROWS), grid_positions(plane.shape[1], COLUMNS)
    samples = _take_grid(plane, rows, columns)
    whole = plane.dtype.kind != 'f'
    values = samples.ravel() if whole else samples[np.isfinite(samples)]
    if values.size == 0:
        return ImageStatistics(samples, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, 0.0)
    valid = values.size / samples.size
    saturated = clipped = noise = 0.0
    if whole:
        full = np.iinfo(plane.dtype).max
        low, middle, high, saturated, clipped = _count_levels(
            values, full.bit_length() - 8, full - full // 50
        )
    else:
        low, middle, high = _percentiles(values)
    sharpness = None
    if valid == 1 and high > low and min(plane.shape) > 2 * REACH:
        measure_noise = _noise_of_bytes if plane.dtype == np.uint8 else _noise
        noise = float(measure_noise(plane, rows[::2], columns[::2]))
        least = max(0.1 * (high - low), 6.0 * noise, 8.0 if whole else 0.0)
        sharpness = _sharpness(_edge_energy(plane, rows[::2], columns[::2], least), noise)
    return ImageStatistics(samples, low, middle, high, valid, saturated, clipped, sharpness, noise)


@cache
def warm_up() -> None:
    """Compile what images need, or load it, so that no frame waits for it; once per process."""
    slope = np.arange(40 * 40).reshape(40, 40)
    for dtype in (np.uint8, np.uint16, np.float32):
        measure_image(slope.astype(dtype))
    measure_image(np.repeat(slope[:, :, None].astype(np.uint8), 3, axis=2))
    measure_cloud(PointCloud(np.ones((4, 3), np.float32)))
    quantile(np.ones(3), 0.5)
    quantile(np.ones(3, np.float32), 0.5)


def measure_cloud(cloud: PointCloud) -> CloudStatistics:
    """Measure a point cloud.

    Args:
        cloud: The sweep.

    Returns:
        Its figures.

    Raises:
        ValueError: Its points are not (N, 3).
    """
    points = cloud.points
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f'points must be (N, 3), got {points.shape}')
    samples = points[:: max(1, -(-len(points) // MAX_POINTS))]
    with np.errstate(over='ignore'):
        samples = np.ascontiguousarray(samples, np.float32)
    returned, finite = _ranges(samples)
    share = returned.size / max(len(samples), 1)
    tenth = round(0.9 * (returned.size - 1))
    reach = float(np.partition(returned, tenth)[tenth]) if returned.size else 0.0
    return CloudStatistics(samples, share * len(points), finite / max(len(samples), 1), reach)


def event_density(events: Events, end_ns: int, window_ns: int) -> float:
    """Count the events before a time, per pixel.

    Args:
        events: Ordered by time.
        end_ns: Last time that counts, nanoseconds.
        window_ns: How far back, nanoseconds.

    Returns:
        Events per pixel of the sensor.
    """
    first, last = np.searchsorted(events.t_ns, (end_ns - window_ns, end_ns), side='right')
    return float(last - first) / max(events.size[0] * events.size[1], 1)


def sample_events(events: Events) -> NDArray[np.uint16]:
    """Choose some events by which two windows are told apart.

    Args:
        events: Ordered by time.

    Returns:
        (2, n) uint16, columns and rows of every so many-th event; empty where there are too few to
        be sure of anything.
    """
    count = events.x.size
    if count < MIN_EVENTS:
        return np.empty((2, 0), np.uint16)
    step = max(1, count // MAX_EVENTS)
    return np.stack([events.x[::step], events.y[::step]])


@lru_cache(maxsize=64)
def grid_positions(length: int, most: int) -> NDArray[np.int64]:
    """Choose rows or columns of a picture, evenly spread and clear of the ends.

    Args:
        length: Of the side, pixels.
        most: How many at most.

    Returns:
        (min(length, most),) int64, read-only.
    """
    count = min(length, most)
    positions = ((np.arange(count) + 0.5) * (length / count)).astype(np.int64)
    positions.flags.writeable = False
    return positions


def _sharpness(along: NDArray[np.float64], noise: float) -> tuple[float, float] | None:
    """Energy of steps over energy of edges; what is left of a NaN among them is no figure."""
    if min(along[0, 2], along[1, 2]) < MIN_EDGES or not np.isfinite(along).all():
        return None
    # 2 REACH steps carry the noise of two pixels each, the whole edge that of two.
    steps = along[:, 0] - along[:, 2] * 4 * REACH * noise**2
    whole = along[:, 1] - along[:, 2] * 2 * noise**2
    ratio = np.maximum(steps, 0.0) / whole
    return float(ratio[0]), float(ratio[1])


def _percentiles(values: NDArray[Any]) -> tuple[float, float, float]:
    last = values.size - 1
    places = (round(0.02 * last), last // 2, round(0.98 * last))
    parted = np.partition(values, places)
    return float(parted[places[0]]), float(parted[places[1]]), float(parted[places[2]])


@njit(cache=True, nogil=True)
def _take_grid(plane, rows, columns):  # type: ignore[no-untyped-def]
    out = np.empty((rows.shape[0], columns.shape[0]), plane.dtype)
    for i in range(rows.shape[0]):
        row = plane[rows[i]]
        for j in range(columns.shape[0]):
            out[i, j] = row[columns[j]]
    return out


@njit(cache=True, nogil=True)
def _count_levels(values, shift, bright):  # type: ignore[no-untyped-def]
    """As `_percentiles` of whole numbers; then the shares that are bright, and the highest.

    Counted by their upper 8 bits, then by the `shift` bits below in the part where a place lies.
    """
    upper = np.zeros(257, np.int64)
    lower = np.zeros((3, 257), np.int64)
    above, highest, top = 0, values[0], 0
    for value in values:
        upper[value >> shift] += 1
        above += value >= bright
        if value > highest:
            highest, top = value, 0
        top += value == highest
    last = len(values) - 1
    places = (round(0.02 * last), last // 2, round(0.98 * last))
    parts, found = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for k in range(3):
        left = places[k]
        while left >= upper[parts[k]]:
            left -= upper[parts[k]]
            parts[k] += 1
        found[k] = left
    if shift > 0:
        for value in values:
            for k in range(3):
                if value >> shift == parts[k]:
                    lower[k, value - (parts[k] << shift)] += 1
    out = np.zeros(3, np.float64)
    for k in range(3):
        below = 0
        while shift > 0 and found[k] >= lower[k, below]:
            found[k] -= lower[k, below]
            below += 1
        out[k] = (parts[k] << shift) + below
    return out[0], out[1], out[2], above / len(values), top / len(values)


@njit(cache=True, nogil=True)
def quantile(values, share):  # type: ignore[no-untyped-def]
    """What numpy.quantile says of a few numbers, in a hundredth of its time.

    Args:
        values: (N,), finite, at least one.
        share: From 0 to 1.

    Returns:
        A float, between two values where none lies there.
    """
    ordered = np.sort(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below]) + (float(ordered[above]) - float(ordered[below])) * (
        place - below
    )


@njit(cache=True, nogil=True)
def _ranges(points):  # type: ignore[no-untyped-def]
    """Ranges of the points with a return, and how many are finite."""
    out, n, finite = np.empty(len(points), np.float32), 0, 0
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        distance = np.sqrt(x * x + y * y + z * z)
        if np.isfinite(distance):
            finite += 1
            if distance > NEAR_M:
                out[n] = distance
                n += 1
    return out[:n], finite


@njit(cache=True, nogil=True)
def _noise(plane, rows, columns):  # type: ignore[no-untyped-def]
    """Standard deviation of the noise, from the lower quartile of second differences.

    The second difference of white noise has 6 times its variance; the lower quartile of its
    magnitude, 0.3186 standard deviations, is that of the flat parts of a picture.
    """
    values = np.empty(rows.shape[0] * columns.shape[0], np.float32)
    n = 0
    for v in rows:
        for u in columns:
            if 1 <= u < plane.shape[1] - 1:
                a, b, c = plane[v, u - 1], plane[v, u], plane[v, u + 1]
                values[n] = abs(np.float32(a) - 2 * np.float32(b) + np.float32(c))
                n += 1
    if n == 0:
        return 0.0
    half = max(n // 2, 1)
    # Whole numbers: the mean of the lower half moves smoothly where a quantile would jump.
    return np.mean(np.partition(values[:n], half - 1)[:half]) / (0.3247 * np.sqrt(6.0))


@njit(cache=True, nogil=True)
def _noise_of_bytes(plane, rows, columns):  # type: ignore[no-untyped-def]
    """As `_noise`, of bytes, whose second differences are counted instead of sorted."""
    counts, n = np.zeros(1024, np.int64), 0
    for v in rows:
        for u in columns:
            if 1 <= u < plane.shape[1] - 1:
                a, b, c = plane[v, u - 1], plane[v, u], plane[v, u + 1]
                counts[abs(np.int64(a) - 2 * np.int64(b) + np.int64(c))] += 1
                n += 1
    if n == 0:
        return 0.0
    half = max(n // 2, 1)
    left, total = half, 0
    for value in range(1024):
        some = min(left, counts[value])
        total += some * value
        left -= some
        if left == 0:
            break
    return total / half / (0.3247 * np.sqrt(6.0))


@njit(cache=True, nogil=True)
def _edge_energy(plane, rows, columns, least):  # type: ignore[no-untyped-def]
    """Energy of neighbour steps, energy of edges, and their number, along rows and columns."""
    height, width = plane.shape
    out = np.zeros((2, 3), np.float64)
    for v in rows:
        for u in columns:
            if REACH <= u < width - REACH:
                whole = np.float32(plane[v, u + REACH]) - np.float32(plane[v, u - REACH])
                if abs(whole) >= least:
                    for k in range(-REACH, REACH):
                        step = np.float32(plane[v, u + k + 1]) - np.float32(plane[v, u + k])
                        out[0, 0] += step * step
                    out[0, 1] += whole * whole
                    out[0, 2] += 1
            if REACH <= v < height - REACH:
                whole = np.float32(plane[v + REACH, u]) - np.float32(plane[v - REACH, u])
                if abs(whole) >= least:
                    for k in range(-REACH, REACH):
                        step = np.float32(plane[v + k + 1, u]) - np.float32(plane[v + k, u])
                        out[1, 0] += step * step
                    out[1, 1] += whole * whole
                    out[1, 2] += 1
    return out
