"""Figures of a colour picture by place: tiles of the view, rows and columns that do not continue.

The picture is seen through the grid of `measures`, in tiles of 8 x 8 of its points; all rows are
followed along a few columns, and all columns along a few rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.health.measures import COLUMNS, ROWS, grid_positions, quantile

TILES = (9, 16)
"""Rows and columns of tiles."""
SIDE = 8
"""Points of the grid along a tile."""
LINES = 32
"""So many columns follow the rows, and so many rows the columns."""
PAIRS = 8
"""So many pairs of neighbouring rows are held against each other."""


LARGE, TURNS = 800_000, 4
"""Of pictures with more pixels than this, rows and columns are followed in turn, in so many."""
LOG = np.log(np.arange(256, dtype=np.float32) + 8.0)
"""Logarithm of light by grey level."""


@dataclass(frozen=True, eq=False)
class LineFigures:
    """Figures of the rows of a picture, or of its columns.

    Attributes:
        seams: (N - 3,) float32, share of the length along which a line steps more to the next than
            it did from the one before and the next does to the one after.
        dead: Lines that differ from both their neighbours, which are alike.
        step: Mean step between neighbouring lines, but what a whole line steps by.
        blocks: How much more is stepped between blocks of 8 pixels than within; 1 for no more.
    """

    seams: NDArray[np.float32]
    dead: int
    step: float
    blocks: float


@dataclass(frozen=True, eq=False)
class PictureFigures:
    """Figures of one picture.

    Attributes:
        samples: (72, 128, 3) uint8, the grid.
        green: (72, 128) uint8, its green.
        light: (72, 2) float32, mean of the logarithm of green along each row, left and right.
        mean: (9, 16, 3) float32, mean colour of each tile.
        energy: (9, 16) float32, mean step between points of the picture 2 pixels apart.
        spread: (9, 16) uint8, highest minus lowest green of a tile's points.
        change: (9, 16) float32, mean change of green against the picture before; None for the
            first.
        same: (9, 16) float32, share of the points whose green is that of the picture before.
        rows: Of its rows; of a large picture three times in four those of the one before.
        columns: Of its columns, likewise.
        shift: Pixels by which rows continue the ones above best; 0 where they do as they are.
        specks: Share of the points that stand out of all four neighbours.
        relative: (9, 16) float64, detail of each tile over its light.
        cast: By how much green exceeds red and blue in nine tiles of ten; negative for less.
    """

    samples: NDArray[np.uint8]
    green: NDArray[np.uint8]
    light: NDArray[np.float32]
    mean: NDArray[np.float32]
    energy: NDArray[np.float32]
    spread: NDArray[np.uint8]
    change: NDArray[np.float32] | None
    same: NDArray[np.float32] | None
    rows: LineFigures
    columns: LineFigures
    shift: float
    specks: float
    relative: NDArray[np.float64]
    cast: float

    @property
    def roughness(self) -> float:
        """Mean step between neighbouring rows over that between neighbouring columns."""
        return self.rows.step / max(self.columns.step, 0.5)

    @property
    def blocks(self) -> float:
        """How much more is stepped between blocks of 8 x 8 pixels than within them."""
        return (self.rows.blocks + self.columns.blocks) / 2


def measure_picture(
    image: NDArray[np.uint8],
    noise: float,
    before: PictureFigures | None = None,
    number: int = 0,
) -> PictureFigures:
    """Measure a picture by place.

    Args:
        image: (H, W, 3) uint8, at least 72 x 128.
        noise: Standard deviation of its noise, grey levels.
        before: Figures of the picture before, of the same size; None for the first.
        number: Of the picture, by which rows and columns take turns.

    Returns:
        Its figures.
    """
    # One pass over the tiles: means, detail, change against the picture before.
    image = image.view()
    image.flags.writeable = False
    height, width = image.shape[:2]
    samples, dense = np.empty((ROWS, COLUMNS, 3), np.uint8), np.empty((ROWS, COLUMNS), np.uint8)
    light = np.zeros((ROWS, 2), np.float32)
    least = max(8.0, 4.0 * noise)
    tiles, specks = _measure_tiles(
        image,
        grid_positions(height, ROWS),
        grid_positions(width, COLUMNS),
        dense if before is None else before.green,
        samples,
        dense,
        light,
        least,
    )
    tiles /= SIDE * SIDE
    relative, cast = _relate(tiles)
    # Rows and columns; of a large picture they take turns, the others are kept.
    green = image[:, :, 1]
    every = before is None or height * width <= LARGE
    if every or number % TURNS == 0:
        rows = _figures_of(_follow_rows(green, grid_positions(width, LINES), least))
        shift = _agreed(_shifts(green, grid_positions(height - 1, PAIRS), least))
    else:
        assert before is not None
        rows, shift = before.rows, before.shift
    if every or number % TURNS == 2:
        columns = _figures_of(_follow_columns(green, grid_positions(height, LINES), least))
    else:
        assert before is not None
        columns = before.columns
    return PictureFigures(
        samples,
        dense,
        light,
        mean=tiles[:, :, :3],
        energy=tiles[:, :, 3],
        spread=(tiles[:, :, 6] * (SIDE * SIDE)).astype(np.uint8),
        change=None if before is None else tiles[:, :, 4],
        same=None if before is None else tiles[:, :, 5],
        rows=rows,
        columns=columns,
        shift=shift,
        specks=specks,
        relative=relative,
        cast=cast,
    )


def warm_up_pictures() -> None:
    """Compile what `measure_picture` needs, or load it."""
    slope = (np.arange(80 * 130) % 251).astype(np.uint8).reshape(80, 130)
    image = np.repeat(slope[:, :, None], 3, axis=2)
    before = measure_picture(image, 1.0)
    now = measure_picture(image, 1.0, before)
    assert now.change is not None
    compare_later(now.green, before.green, now.change)
    for flip in (slice(None), slice(None, None, -1)):
        correlate(now.green[::2, ::2], before.green[::2, ::2][flip])


def _figures_of(lines: NDArray[np.float32]) -> LineFigures:
    """Sum up what was followed; what all of a line steps by is light, no disorder."""
    dead, step, blocks = _sum_lines(lines)
    return LineFigures(lines[:, 0], dead, step, blocks)


def _agreed(shifts: NDArray[np.float32]) -> float:
    """The shift that most pairs of rows agree in; 0 where they do not."""
    middle = quantile(shifts, 0.5)
    return middle if np.count_nonzero(shifts == middle) > PAIRS // 2 else 0.0


@njit(cache=True, nogil=True)
def correlate(a, b):  # type: ignore[no-untyped-def]
    """Correlation of two pictures of one size.

    Args:
        a: (H, W) uint8.
        b: (H, W) uint8.

    Returns:
        From -1 to 1; 0 where one is constant.
    """
    sums = np.zeros(5, np.int64)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            x, y = np.int64(a[i, j]), np.int64(b[i, j])
            sums[0] += x
            sums[1] += y
            sums[2] += x * x
            sums[3] += x * y
            sums[4] += y * y
    n = a.size
    square = float(sums[2] * n - sums[0] ** 2) * float(sums[4] * n - sums[1] ** 2)
    return float(sums[3] * n - sums[0] * sums[1]) / np.sqrt(square) if square > 0 else 0.0


@njit(cache=True, nogil=True)
def compare_later(green, earlier, change):  # type: ignore[no-untyped-def]
    """How much more a picture differs from an earlier one than from the one before.

    Args:
        green: (72, 128) uint8 of the picture.
        earlier: (72, 128) uint8 of one some frames before.
        change: (9, 16) float32, see `PictureFigures`.

    Returns:
        The ratio of all differences, and the highest of 3 x 4 parts of the view.
    """
    later, one = np.zeros((3, 4), np.float64), np.zeros((3, 4), np.float64)
    for i in range(green.shape[0]):
        for j in range(green.shape[1]):
            later[i // 24, j // 32] += abs(np.int64(green[i, j]) - np.int64(earlier[i, j]))
    for i in range(change.shape[0]):
        for j in range(change.shape[1]):
            one[i // 3, j // 4] += change[i, j]
    later /= 24 * 32
    one /= 3 * 4
    ratio = later.sum() / max(one.sum(), 1e-6)
    return ratio, (later / np.maximum(one, 0.05 * one.mean() + 1e-6)).max()


@njit(cache=True, nogil=True)
def _sum_lines(lines):  # type: ignore[no-untyped-def]
    """Lines that are dead, the mean step, and how much more is stepped between blocks."""
    count = lines.shape[0]
    dead, total = 0, 0.0
    steps = lines[:, 2].copy()
    for i in range(count):
        dead += lines[i, 1] > 0.5
        total += lines[i, 2] - abs(lines[i, 3])
    # A few sharp lines are no blocks.
    most = 3.0 * np.median(steps)
    places = np.zeros(8, np.float64)
    for i in range(count // 8 * 8):
        places[i % 8] += min(steps[i], most)
    places /= count // 8
    return dead, total / count, places.max() / max(np.median(places), 0.5)


@njit(cache=True, nogil=True)
def _relate(tiles):  # type: ignore[no-untyped-def]
    """Detail of each tile over its light; the excess of green in nine tiles of ten."""
    relative = np.empty(tiles.shape[:2], np.float64)
    excess = np.empty(tiles.shape[0] * tiles.shape[1], np.float64)
    for i in range(tiles.shape[0]):
        for j in range(tiles.shape[1]):
            red, green, blue = tiles[i, j, 0], tiles[i, j, 1], tiles[i, j, 2]
            relative[i, j] = tiles[i, j, 3] / ((red + green + blue) / 3.0 + 8.0)
            excess[i * tiles.shape[1] + j] = min(green - red, green - blue)
    return relative, quantile(excess, 0.1)


@njit(cache=True, nogil=True)
def _measure_tiles(  # type: ignore[no-untyped-def]
    image, rows, columns, before, samples, dense, light, least
):
    """Sums over the points of each tile, and the share of all points that stand out."""
    height, width, _ = image.shape
    tiles = np.zeros((rows.shape[0] // 8, columns.shape[0] // 8, 7), np.float32)
    lowest = np.full(tiles.shape[:2], 255, np.int64)
    highest = np.zeros(tiles.shape[:2], np.int64)
    specks = 0
    for i in range(rows.shape[0]):
        v = min(max(rows[i], 2), height - 3)
        for j in range(columns.shape[0]):
            u = min(max(columns[j], 2), width - 3)
            g = np.int64(image[v, u, 1])
            tile = tiles[i // 8, j // 8]
            tile[0] += image[v, u, 0]
            tile[1] += g
            tile[2] += image[v, u, 2]
            left, right = np.int64(image[v, u - 1, 1]), np.int64(image[v, u + 1, 1])
            above, below = np.int64(image[v - 1, u, 1]), np.int64(image[v + 1, u, 1])
            tile[3] += abs(right - left) + abs(below - above)
            low = min(min(left, right), min(above, below))
            high = max(max(left, right), max(above, below))
            if (g > high + 3 * least or g < low - 3 * least) and high - low < 3 * least:
                specks += 1
            moved = abs(g - np.int64(before[i, j]))
            tile[4] += moved
            tile[5] += moved == 0
            dense[i, j] = g
            light[i, 2 * j // columns.shape[0]] += LOG[g]
            lowest[i // 8, j // 8] = min(lowest[i // 8, j // 8], g)
            highest[i // 8, j // 8] = max(highest[i // 8, j // 8], g)
            for k in range(3):
                samples[i, j, k] = image[v, u, k]
    for i in range(tiles.shape[0]):
        for j in range(tiles.shape[1]):
            tiles[i, j, 6] = highest[i, j] - lowest[i, j]
    light /= columns.shape[0] // 2
    return tiles, specks / (rows.shape[0] * columns.shape[0])


@njit(cache=True, nogil=True)
def _look_at(a, b, c, d, least, out):  # type: ignore[no-untyped-def]
    """Add four neighbours across lines: seam, dead, size of the middle step, the step."""
    step, up, down = abs(c - b), abs(b - a), abs(d - c)
    if step > least and step > 2 * max(up, down):
        out[0] += 1
    # b stands out of a and c, which are alike.
    if min(up, step) > least and (b > a) == (b > c) and abs(c - a) < min(up, step) // 2:
        out[1] += 1
    out[2] += step
    out[3] += c - b


@njit(cache=True, nogil=True)
def _follow_rows(plane, along, least):  # type: ignore[no-untyped-def]
    """Of each row but the first and the last two, along some columns; see `_look_at`."""
    height, count = plane.shape[0], along.shape[0]
    out = np.zeros((height - 3, 4), np.float32)
    last = np.empty((4, count), np.int64)
    # Row by row: walking down a column would leave the page at each step.
    for v in range(height):
        for k in range(count):
            last[v % 4, k] = plane[v, along[k]]
        if v >= 3:
            a, b, c, d = last[(v - 3) % 4], last[(v - 2) % 4], last[(v - 1) % 4], last[v % 4]
            for k in range(count):
                _look_at(a[k], b[k], c[k], d[k], least, out[v - 3])
    return out / np.float32(count)


@njit(cache=True, nogil=True)
def _follow_columns(plane, along, least):  # type: ignore[no-untyped-def]
    """Of each column likewise, along some rows."""
    width, count = plane.shape[1], along.shape[0]
    out = np.zeros((width - 3, 4), np.float32)
    for k in range(count):
        row = plane[along[k]]
        for u in range(width - 3):
            _look_at(
                np.int64(row[u]),
                np.int64(row[u + 1]),
                np.int64(row[u + 2]),
                np.int64(row[u + 3]),
                least,
                out[u],
            )
    return out / np.float32(count)


@njit(cache=True, nogil=True)
def _shifts(plane, rows, least):  # type: ignore[no-untyped-def]
    """By how many pixels each row is best continued by the next; 0 where nothing is better."""
    width = plane.shape[1]
    found = np.zeros(rows.shape[0], np.float32)
    step = max(1, (width - 2 * 24) // 200)
    for k in range(rows.shape[0]):
        v = rows[k]
        best, best_sum, zero_sum, count = 0, np.int64(1 << 60), np.int64(0), 0
        for shift in range(-24, 25):
            total = np.int64(0)
            count = 0
            for u in range(24, width - 24, step):
                total += abs(np.int64(plane[v + 1, u + shift]) - np.int64(plane[v, u]))
                count += 1
            if shift == 0:
                zero_sum = total
            if total < best_sum:
                best, best_sum = shift, total
        if zero_sum > least / 4 * count and best_sum < 0.85 * zero_sum:
            found[k] = best
    return found
