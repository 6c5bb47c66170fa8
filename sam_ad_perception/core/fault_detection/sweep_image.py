"""A sweep seen as an image of azimuth and elevation, made from a few thousand of its points.

Rings are not asked for: few clouds carry them, and a ring is a band of elevation. Angles come
from a polynomial that is right to 1e-5 radians, so that a sweep costs a fraction of a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

COLUMNS, SECTORS, ROWS, BANDS = 360, 72, 12, 240
"""Degrees of azimuth; sectors of 5 degrees; coarse rows and fine bands of elevation."""
LOWEST_DEG, HIGHEST_DEG = -30.0, 30.0
"""Elevations beyond are counted at the ends."""
MAX_POINTS = 8192
"""At most so many points of a sweep are looked at."""
NEAR_M = 0.3
"""Nearer points are the `no return` of drivers that write zeros."""
WEDGE_STEPS, WEDGE = 7, 0.02
"""Wedges that are looked at by turns, and half the width of one: a slope."""
STEEPEST, CELL = 0.577, 0.0087
"""The steepest slope that is looked at there, and the size of a cell, half a degree: neighbours
lie in one, or in the next ones."""
MOST_IN_WEDGES = 12_000
MANY_POINTS, RUN = 60_000, 256
SPARSE = 8
"""With fewer returns in a cell and those around it, on the whole, nothing is said."""


@dataclass(frozen=True, eq=False)
class SweepImage:
    """What a sweep looks like from the lidar; azimuth from behind, counter-clockwise.

    Attributes:
        columns: (360,) samples with a return, by degree of azimuth.
        near: (72,) those nearer than the limit, by sector.
        bands: (240,) samples by quarter of a degree of elevation, from below.
        depth: (12, 72) float32, mean of the square root of the range in metres, by elevation (5
            degrees each, from below) and sector; NaN without a sample.
        count: All samples with a return.
        step: A sample stands for so many points.
    """

    columns: NDArray[np.int64]
    near: NDArray[np.int64]
    bands: NDArray[np.int64]
    depth: NDArray[np.float32]
    count: int
    step: int

    @property
    def sectors(self) -> NDArray[np.int64]:
        """(72,) samples by sector."""
        return self.columns.reshape(SECTORS, -1).sum(axis=1)


def plain(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """The points in the one form for which the functions of this module are compiled.

    Args:
        points: (N, 3) of any layout, metres.

    Returns:
        (N, 3) float32, contiguous, read-only; a view where they are so already.
    """
    with np.errstate(over='ignore'):
        view = np.ascontiguousarray(points, np.float32).view()
    view.flags.writeable = False
    return view


def look_at(points: NDArray[np.float32], near_m: float) -> SweepImage:
    """See a sweep as an image.

    Args:
        points: (N, 3), see `plain`, the lidar's frame, metres.
        near_m: Returns nearer than this are counted as near.

    Returns:
        Its image.
    """
    step = max(1, -(-len(points) // MAX_POINTS))
    columns, near = np.zeros(COLUMNS, np.int64), np.zeros(SECTORS, np.int64)
    bands = np.zeros(BANDS, np.int64)
    total, number = np.zeros((ROWS, SECTORS), np.float32), np.zeros((ROWS, SECTORS), np.float32)
    count = _fill(points, step, near_m, columns, near, bands, total, number)
    with np.errstate(invalid='ignore'):
        depth = total / number
    return SweepImage(columns, near, bands, depth, count, step)


def isolated_share(points: NDArray[np.float32], turn: int, reach_m: float) -> tuple[float, int]:
    """Share of the near returns that no neighbour confirms: drops, flakes, another lidar's light.

    Eight narrow wedges of the sweep are looked at in full.

    Args:
        points: (N, 3), see `plain`, the lidar's frame, metres.
        turn: Which wedges, counted by sweeps.
        reach_m: Returns up to here count as near.

    Returns:
        The share, and how many near returns there were; 0 where they are too sparse to tell.
    """
    slant = (turn % WEDGE_STEPS + 0.5) / WEDGE_STEPS
    lonely, near = _count_lonely(points, slant, reach_m)
    return lonely / max(near, 1), near


@dataclass(frozen=True)
class Likeness:
    """How a sweep looks like the one before.

    Attributes:
        as_it_is: Correlation without turning anything.
        best: The best one.
        turn: Of the best one: sectors, counter-clockwise from the one before to this one.
        mirrored: Whether the best one is mirrored, left for right, before it is turned.
        other: The best one that is mirrored where `best` is not, or the other way round.
    """

    as_it_is: float
    best: float
    turn: int = 0
    mirrored: bool = False
    other: float = -1.0


def best_turn(
    image: NDArray[np.floating], before: NDArray[np.floating], enough: float = 1.0
) -> Likeness:
    """How an image has to be turned or mirrored to look as the one before.

    Args:
        image: (12, 72) depth of a sweep.
        before: That of an earlier one.
        enough: With such a correlation as it is no other is looked for.
    """
    a, b = _detail(image), _detail(before)
    as_it_is = float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-9))
    if as_it_is >= enough:
        return Likeness(as_it_is, as_it_is)
    table = _correlations(a, b, a[:, ::-1].copy())
    mirrored, turn = divmod(int(np.argmax(table)), SECTORS)
    other = float(table[1 - mirrored].max())
    return Likeness(as_it_is, float(table[mirrored, turn]), turn, bool(mirrored), other)


def _detail(depth: NDArray[np.floating]) -> NDArray[np.float32]:
    """What varies with azimuth: each elevation's own distance is taken off; 0 where unknown."""
    known = np.isfinite(depth)
    filled = np.where(known, depth, 0.0)
    mean = filled.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    return np.where(known, filled - mean, 0.0).astype(np.float32)


def holes(columns: NDArray[np.int64], least: int, widest: int) -> tuple[int, int, int, int]:
    """Find degrees without returns between others with many.

    Args:
        columns: (360,) samples by degree.
        least: With fewer samples around nothing is known of a degree.
        widest: Wider holes are none, but hidden sectors, or the edge of what the lidar sees.

    Returns:
        Degrees in holes; holes; the widest one; degrees of which something is known.
    """
    a, b, c, d = _count_holes(columns, least, widest)
    return int(a), int(b), int(c), int(d)


def near_points(points: NDArray[np.float32], reach_m: float, most: int) -> NDArray[np.float64]:
    """Some of the points within reach.

    Args:
        points: (N, 3), see `plain`, metres.
        reach_m: How near, metres; nearer than 1 m is the vehicle itself.
        most: At most so many.

    Returns:
        (M, 3) float64.
    """
    step = max(1, len(points) // (8 * most)) | 1
    near: NDArray[np.float64] = _collect_near(points, step, reach_m)
    return near[:: max(1, len(near) // most)]


@njit(cache=True, nogil=True)
def _count_holes(columns, least, widest):  # type: ignore[no-untyped-def]
    n = len(columns)
    empty, known = np.zeros(n, np.bool_), 0
    for i in range(n):
        # The second best of the groups of five degrees around: most of a circle may be missing.
        best, second = 0.0, 0.0
        for k in range(-2, 3):
            mean = 0.0
            for j in range(-2, 3):
                mean += columns[(i + 5 * k + j) % n] / 5.0
            if mean > best:
                best, second = mean, best
            elif mean > second:
                second = mean
        known += second >= least
        empty[i] = columns[i] < 0.2 * max(second, least)
    total, number, longest = 0, 0, 0
    start = 0
    while start < n and empty[start]:
        start += 1
    if start == n:
        return 0, 0, 0, known
    run = 0
    for i in range(1, n + 1):
        if empty[(start + i) % n]:
            run += 1
        else:
            if 0 < run <= widest:
                total += run
                number += 1
                longest = max(longest, run)
            run = 0
    return total, number, longest, known


@njit(cache=True, nogil=True)
def _collect_near(points, step, reach_m):  # type: ignore[no-untyped-def]
    out, n = np.empty((len(points) // step + 1, 3), np.float64), 0
    for i in range(0, len(points), step):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        square = x * x + y * y + z * z
        if 1.0 < square < reach_m * reach_m:
            out[n, 0], out[n, 1], out[n, 2] = x, y, z
            n += 1
    return out[:n]


@njit(cache=True, nogil=True)
def _angle(y, x):  # type: ignore[no-untyped-def]
    """Angle of a vector, degrees, -180 to 180, right to 0.001."""
    ax, ay = abs(x), abs(y)
    high = max(ax, ay)
    if high == 0.0:
        return 0.0
    t = min(ax, ay) / high
    s = t * t
    a = t * (
        0.99997726
        + s
        * (-0.33262347 + s * (0.19354346 + s * (-0.11643287 + s * (0.05265332 - 0.01172120 * s))))
    )
    if ay > ax:
        a = 1.5707963267948966 - a
    if x < 0:
        a = 3.141592653589793 - a
    return (-a if y < 0 else a) * 57.29577951308232


@njit(cache=True, nogil=True)
def _fill(points, step, near_m, columns, near, bands, total, number):  # type: ignore[no-untyped-def]
    count = 0
    width, height = 360.0 / COLUMNS, (HIGHEST_DEG - LOWEST_DEG) / BANDS
    for k in range(len(points) // step):
        # Not every so many-th point: rings and columns of a cloud have a rhythm, too.
        h = (k * 2654435761) & 0xFFFFFFFF
        h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
        i = k * step + (h ^ (h >> 13)) % step
        x, y, z = float(points[i, 0]), float(points[i, 1]), float(points[i, 2])
        flat = x * x + y * y
        square = flat + z * z
        if not (square > NEAR_M * NEAR_M and square < 1e12):
            continue
        column = min(int((_angle(y, x) + 180.0) / width), COLUMNS - 1)
        elevation = _angle(z, np.sqrt(flat))
        band = min(max(int((elevation - LOWEST_DEG) / height), 0), BANDS - 1)
        sector, row = column * SECTORS // COLUMNS, band * ROWS // BANDS
        columns[column] += 1
        bands[band] += 1
        total[row, sector] += np.sqrt(np.sqrt(square))
        number[row, sector] += 1.0
        if square < near_m * near_m:
            near[sector] += 1
        count += 1
    return count


@njit(cache=True, nogil=True)
def _count_lonely(points, slant, reach_m):  # type: ignore[no-untyped-def]
    """Returns of eight wedges without a neighbour at their range; all near ones.

    A wedge lies in each octant, where the smaller horizontal coordinate is `slant` of the larger.
    """
    wide, high = int(2 * WEDGE / CELL) + 3, int(2 * STEEPEST / CELL) + 3
    # Four returns a cell are remembered: enough to confirm each other.
    ranges = np.zeros((high, 8 * wide, 4), np.float32)
    filled = np.zeros((high, 8 * wide), np.int32)
    kept = np.empty((MOST_IN_WEDGES, 3), np.float32)
    n = 0
    # Of a dense sweep every other run of points is looked at: neighbours follow each other.
    skipped = len(points) >= MANY_POINTS
    for i in range(len(points)):
        if skipped and (i // RUN) % 2:
            continue
        x, y = points[i, 0], points[i, 1]
        ax, ay = abs(x), abs(y)
        small, large = min(ax, ay), max(ax, ay)
        off = small - slant * large
        if not abs(off) < WEDGE * large:
            continue
        if n == MOST_IN_WEDGES:
            break
        flat = np.sqrt(x * x + y * y)
        z = points[i, 2]
        if not abs(z) < STEEPEST * flat:
            continue
        distance = np.sqrt(flat * flat + z * z)
        if not distance > NEAR_M:
            continue
        octant = (x < 0) + 2 * (y < 0) + 4 * (ay > ax)
        u = octant * wide + int((off / large + WEDGE) / CELL) + 1
        v = int((z / flat + STEEPEST) / CELL) + 1
        k = filled[v, u] % 4
        ranges[v, u, k] = distance
        filled[v, u] += 1
        kept[n, 0], kept[n, 1], kept[n, 2] = v, u, distance
        n += 1
    # Who has two others at its own distance in the nine cells around it?
    lonely, near, together = 0, 0, 0
    for i in range(n):
        distance = kept[i, 2]
        if distance > reach_m:
            continue
        near += 1
        v, u = int(kept[i, 0]), int(kept[i, 1])
        margin = 0.15 + 0.04 * distance
        company, number = 0, 0
        for dv in range(-1, 2):
            for du in range(-1, 2):
                number += filled[v + dv, u + du]
                if company > 2:
                    continue
                for k in range(min(filled[v + dv, u + du], 4)):
                    company += abs(ranges[v + dv, u + du, k] - distance) < margin
        lonely += company < 3  # itself, and at least two: drops meet by chance
        together += number
    # Where few returns are around the others nothing can confirm them.
    return lonely, near if together >= SPARSE * near else 0


@njit(cache=True, nogil=True)
def _correlations(a, b, mirrored):  # type: ignore[no-untyped-def]
    """Correlation of each turn of an image, and of the mirrored one, with another."""
    out = np.zeros((2, SECTORS), np.float64)
    norm = np.sqrt((a * a).sum() * (b * b).sum()) + 1e-9
    for m in range(2):
        image = mirrored if m else a
        for k in range(SECTORS):
            total = 0.0
            for v in range(ROWS):
                for u in range(SECTORS):
                    w = u + k
                    if w >= SECTORS:
                        w -= SECTORS
                    total += image[v, w] * b[v, u]
            out[m, k] = total / norm
    return out
