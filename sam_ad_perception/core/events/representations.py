"""Events as images: the forms that networks are trained on, each in one pass over the events.

All functions take the events of a window as they are, at the size of the sensor; bringing the
image into the camera's view is the business of `core.images.alignment`. Kernels are
single-threaded, release the interpreter lock and are cached on disk.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import Events

EVENT_COLOURS = ((0, 0, 0), (0, 0, 255), (255, 0, 0), (255, 0, 255))
"""RGB of pixels without events, with ON, with OFF, with both: what CARLA's event camera (which
made DELIVER) and the renderer of the ROS event camera drivers draw."""


def accumulate_counts(events: Events) -> NDArray[np.uint16]:
    """Count events per pixel and polarity, as MUSES does (over 30 ms, there wrapping at 256).

    Args:
        events: N events.

    Returns:
        (2, H, W) uint16, ON counts then OFF counts, saturating at 65535.
    """
    counts = np.zeros((2, *events.size), np.uint16)
    _count(events.x, events.y, events.polarity, counts)
    return counts


def event_image(
    events: Events, colours: tuple[tuple[int, int, int], ...] = EVENT_COLOURS
) -> NDArray[np.uint8]:
    """Draw where events were, one colour for each combination of polarities.

    Args:
        events: N events.
        colours: RGB of pixels without events, with ON, with OFF, with both.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: There are not four colours of three values in 0..255.
    """
    table = colour_table(colours)
    seen = np.zeros(events.size, np.uint8)
    _mark(events.x, events.y, events.polarity, seen)
    image = np.empty((*events.size, 3), np.uint8)
    _paint(seen, table, image)
    return image


def colour_table(colours: tuple[tuple[int, int, int], ...]) -> NDArray[np.uint8]:
    """Check the colours of `event_image`.

    Args:
        colours: RGB of pixels without events, with ON, with OFF, with both.

    Returns:
        (4, 3) uint8.

    Raises:
        ValueError: There are not four colours of three values in 0..255.
    """
    table = np.asarray(colours)
    if table.shape != (4, 3) or table.min() < 0 or table.max() > 255:
        raise ValueError(
            f'colours must be four of three values in 0..255 (none, ON, OFF, both), got {colours}'
        )
    return table.astype(np.uint8)


def voxel_grid(events: Events, bins: int, start_ns: int, end_ns: int) -> NDArray[np.float32]:
    """Sum polarities in bins of time, each event shared by the two bins nearest to it.

    `V(b) = sum p max(0, 1 - |b - (B - 1) (t - start) / (end - start)|)`, `p` 1 for ON and -1 for
    OFF: Zhu et al., "Unsupervised Event-based Learning of Optical Flow, Depth, and Egomotion",
    CVPR 2019, eq. 1-3, with the window's limits in place of the first and the last event, so
    that the grid does not depend on when those happened.

    Args:
        events: N events; those outside the window are left out.
        bins: Number of bins B, at least 2.
        start_ns: Begin of the window, the time of bin 0, nanoseconds.
        end_ns: End of the window, the time of the last bin, nanoseconds.

    Returns:
        (B, H, W) float32.

    Raises:
        ValueError: There are less than two bins, or the window is empty.
    """
    if bins < 2:
        raise ValueError(f'bins must be at least 2, got {bins}')
    if end_ns <= start_ns:
        raise ValueError(f'end_ns must be after start_ns {start_ns}, got {end_ns}')
    grid = np.zeros((bins, *events.size), np.float32)
    sums = np.zeros((*events.size, 2), np.float32)
    scale = np.float32((bins - 1) / (end_ns - start_ns))
    _spread(events.x, events.y, events.polarity, events.t_ns, start_ns, scale, sums, grid)
    return grid


def time_surface(events: Events, end_ns: int, tau_ns: float) -> NDArray[np.float32]:
    """How long ago each pixel saw its last event of each polarity, fading exponentially.

    `S = exp(-(end - t) / tau)`: Lagorce et al., "HOTS: A Hierarchy of Event-Based Time-Surfaces
    for Pattern Recognition", TPAMI 2017, eq. 2-3, over the whole sensor at one time.

    Args:
        events: N events, ordered by time, none after `end_ns`.
        end_ns: When the surface is looked at, nanoseconds.
        tau_ns: After this time 1/e is left, nanoseconds.

    Returns:
        (2, H, W) float32 in 0..1, ON then OFF; 0 where there was no event.

    Raises:
        ValueError: `tau_ns` is not positive.
    """
    if not tau_ns > 0:
        raise ValueError(f'tau_ns must be positive, got {tau_ns}')
    surface = np.full((2, *events.size), -np.inf, np.float32)
    _keep_last(events.x, events.y, events.polarity, events.t_ns, end_ns, surface)
    surface *= np.float32(1 / tau_ns)
    return np.exp(surface, out=surface)


@njit(nogil=True, cache=True)
def _count(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    polarity: NDArray[np.bool_],
    counts: NDArray[np.uint16],
) -> None:
    """Add events to (2, H, W) counts, ON then OFF, saturating at 65535."""
    for i in range(x.size):
        channel = 0 if polarity[i] else 1
        if counts[channel, y[i], x[i]] < 65535:
            counts[channel, y[i], x[i]] += 1


@njit(nogil=True, cache=True)
def _mark(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    polarity: NDArray[np.bool_],
    seen: NDArray[np.uint8],
) -> None:
    """Set bit 0 of (H, W) `seen` where there was an ON event, bit 1 where there was an OFF."""
    for i in range(x.size):
        seen[y[i], x[i]] |= 1 if polarity[i] else 2


@njit(nogil=True, cache=True)
def _paint(seen: NDArray[np.uint8], table: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    """Write the colour of each pixel of (H, W) `seen` into (H, W, 3): a tenth of `table[seen]`."""
    height, width = seen.shape
    for v in range(height):
        for u in range(width):
            for c in range(3):
                image[v, u, c] = table[seen[v, u], c]


@njit(nogil=True, cache=True)
def _spread(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    polarity: NDArray[np.bool_],
    t_ns: NDArray[np.int64],
    start_ns: int,
    scale: np.floating,
    sums: NDArray[np.float32],
    grid: NDArray[np.float32],
) -> None:
    """Add events to a grid (B, H, W).

    Between two bins, `sum p` and `sum p f` are all there is to know, `f` being how far an event
    is on the way. They lie side by side in `sums` (H, W, 2), zero before and after: one place in
    memory for each event, in half of what the grid takes.
    """
    bins, _, width = grid.shape
    flat = sums.reshape(-1)
    current = np.int64(-1)
    for i in range(x.size):
        position = np.float32(t_ns[i] - start_ns) * scale
        low = np.int64(position)
        if position < 0 or low > bins - 2:
            if position < 0 or position > bins - 1:
                continue
            low = bins - 2  # exactly at the end
        if low != current:
            if current >= 0:
                _settle(sums, grid, current)
            current = low
        sign = np.float32(polarity[i]) * np.float32(2) - np.float32(1)
        at = 2 * (np.int64(y[i]) * width + np.int64(x[i]))
        flat[at] += sign
        flat[at + 1] += sign * (position - np.float32(low))
    if current >= 0:
        _settle(sums, grid, current)


@njit(nogil=True, cache=True)
def _settle(sums: NDArray[np.float32], grid: NDArray[np.float32], low: np.int64) -> None:
    """Bring the sums between the bins `low` and `low + 1` into both, and set them to zero."""
    flat = sums.reshape(-1)
    here, there = grid[low].reshape(-1), grid[low + 1].reshape(-1)
    for i in range(here.size):
        upper = flat[2 * i + 1]
        here[i] += flat[2 * i] - upper
        there[i] += upper
    flat[:] = 0


@njit(nogil=True, cache=True)
def _keep_last(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    polarity: NDArray[np.bool_],
    t_ns: NDArray[np.int64],
    end_ns: int,
    surface: NDArray[np.float32],
) -> None:
    """Write `t - end` of each event into (2, H, W), ON then OFF; the last one stays."""
    for i in range(x.size):
        surface[0 if polarity[i] else 1, y[i], x[i]] = np.float32(t_ns[i] - end_ns)
