"""Rotation of a camera between its frames, from images alone.

Corners are tracked from frame to frame (Lucas and Kanade 1981, in pyramids). Their flow has a
part from rotation, the same at every depth, and a part from translation, which points away from
the focus of expansion (Longuet-Higgins and Prazdny 1980). Across the line to that focus there is
rotation alone: three unknowns, linear, without any depth. A vehicle moves along its own axis, so
that one focus holds for a drive, but for pitching: then the body turns and the path does not.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.clock_offsets.motion_track import MotionTrack

CHANNELS = ('pitch', 'yaw', 'roll', 'activity')
"""Rotation of the camera about its x, y and z axes, radians, and mean change of brightness."""

MAX_WIDTH = 320
_CORNERS, _MINIMUM_CORNERS = 400, 12
_MAX_GAP_S = 0.5
_PITCH_PERIOD_S = 2.5
_ACTIVITY_WIDTH = 64


class ImageMotion:
    """Follows one camera of any kind: colour, thermal or depth.

    Args:
        focal_px: Focal length in pixels of the images that will come, or None where unknown: then
            0.8 image widths. Wrong by some part, it makes the rotations wrong by that part.
    """

    def __init__(self, focal_px: float | None = None) -> None:
        self._focal_px = focal_px
        self._contrast = cv2.createCLAHE(4.0, (8, 8))
        self._focal = 0.8
        self._times: list[float] = []
        self._flows: list[NDArray[np.float64]] = []
        self._activity: list[float] = []
        self._last: tuple[NDArray[np.uint8], NDArray[np.float32]] | None = None

    def add(self, image: NDArray[np.generic], time_s: float) -> None:
        """Take a frame; one that is not newer than the last is passed over.

        Args:
            image: (H, W) or (H, W, 3), any type; NaN counts as 0.
            time_s: Its time, seconds after the common epoch.
        """
        if self._times and time_s <= self._times[-1]:
            return
        gray, small = self._prepare(image)
        if self._last is not None:
            last_gray, last_small = self._last
            lost = time_s - self._times[-1] > _MAX_GAP_S or last_gray.shape != gray.shape
            flow = np.zeros((0, 4)) if lost else _track(last_gray, gray)
            self._flows.append(flow / self._focal)
            change = np.nan if lost else float(np.mean(np.abs(small - last_small)))
            self._activity.append(change)
        self._times.append(time_s)
        self._last = gray, small

    def track(self) -> MotionTrack:
        """Tell the motion so far: channels `CHANNELS`."""
        times = np.array(self._times)
        rotations = np.full((len(self._flows), 3), np.nan)
        usable = [i for i, flow in enumerate(self._flows) if len(flow) >= _MINIMUM_CORNERS]
        if usable:
            flows = [self._flows[i] for i in usable]
            middles = 0.5 * (times[1:] + times[:-1])[usable]
            rotations[usable] = _rotations(flows, middles)
        increments = np.column_stack([rotations, np.array(self._activity)])
        return MotionTrack(CHANNELS, times, np.zeros(len(CHANNELS)), increments)

    def _prepare(
        self, image: NDArray[np.generic]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Make two small pictures: one to track corners in, one to see changes in."""
        pixels: NDArray[Any] = np.nan_to_num(np.asarray(image, dtype=np.float32))
        if pixels.ndim == 3:
            pixels = pixels.mean(axis=2)
        height, width = pixels.shape
        self._focal = (self._focal_px or 0.8 * width) / width
        scale = min(1.0, MAX_WIDTH / width)
        if scale < 1.0:
            size = MAX_WIDTH, max(16, round(height * scale))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        low, high = np.percentile(pixels[::2, ::2], (2, 98))
        stretched = (pixels - low) * (255.0 / max(high - low, 1e-6))
        even = cv2.GaussianBlur(np.clip(stretched, 0, 255), (0, 0), 1.0).astype(np.uint8)
        height, width = even.shape
        size = _ACTIVITY_WIDTH, max(8, round(height * _ACTIVITY_WIDTH / width))
        small = cv2.resize(even, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        return self._contrast.apply(even), small


def _track(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Follow corners from one picture to the next.

    Returns:
        (N, 4) middle of the way (x, y) from the image centre, and the way (u, v), image widths.
    """
    corners = cv2.goodFeaturesToTrack(before, _CORNERS, 0.002, 4, blockSize=5)
    if corners is None:
        return np.zeros((0, 4))
    moved, there = _follow(before, after, corners)
    back, again = _follow(after, before, moved)
    error = np.linalg.norm((back - corners).reshape(-1, 2), axis=1)
    good = there & again & (error < 0.5)
    start, end = corners.reshape(-1, 2)[good], moved.reshape(-1, 2)[good]
    height, width = before.shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.hstack([0.5 * (start + end) - centre, end - start]).astype(np.float64) / width


def _follow(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Where points went, and whether that is known."""
    moved, known, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, None, winSize=(21, 21), maxLevel=3
    )  # type: ignore[call-overload]
    return moved, known.ravel() > 0


def _rotations(
    flows: list[NDArray[np.float64]], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rotation of each pair of frames.

    Args:
        flows: For each pair (N, 4) place and way, in focal lengths.
        times: Middle of each pair, seconds.

    Returns:
        (pairs, 3) rotation of the camera about its optical axes x, y, z, radians.
    """
    focus = _find_focus(flows[:: max(1, len(flows) // 40)])
    places = np.tile(focus, (len(flows), 1))
    found = np.array([_solve(flow, place)[0] for flow, place in zip(flows, places, strict=True)])
    for _ in range(2):
        pitch = np.cumsum(found[:, 0]) - 0.5 * found[:, 0]
        places[:, 1] = focus[1] + pitch - _slow_part(pitch, times)
        found = np.array(
            [_solve(flow, place)[0] for flow, place in zip(flows, places, strict=True)]
        )
    return found


def _find_focus(flows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The focus of expansion that leaves the least of the flows unexplained, focal lengths."""
    best, step = np.zeros(2), 0.1
    error = sum(_solve(flow, best)[1] for flow in flows)
    while step > 0.004:
        moves = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        places = [best + step * np.array(move) for move in moves]
        errors = [sum(_solve(flow, place)[1] for flow in flows) for place in places]
        at = int(np.argmin(errors))
        if errors[at] < error and float(np.max(np.abs(places[at]))) < 0.5:
            best, error = places[at], errors[at]
        else:
            step /= 2
    return best


def _solve(
    flow: NDArray[np.float64], focus: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Fit the rotation to the flow across the lines to the focus, outliers weighted down.

    Returns:
        (3,) rotation, radians; the median of what is left, focal lengths.
    """
    x, y, u, v = flow.T
    nx, ny = focus[1] - y, x - focus[0]
    length = np.hypot(nx, ny) + 0.02  # near the focus the direction is not known
    nx, ny = nx / length, ny / length
    # u = x y wx - (1 + x^2) wy + y wz,  v = (1 + y^2) wx - x y wy - x wz
    A = np.column_stack(
        [nx * x * y + ny * (1 + y * y), -nx * (1 + x * x) - ny * x * y, nx * y - ny * x]
    )
    across = nx * u + ny * v
    weights = np.ones(len(across))
    solution, left = np.zeros(3), np.zeros(0)
    for _ in range(5):
        weighted = A * weights[:, None]
        damped = weighted.T @ A + 1e-9 * np.eye(3)
        solution = np.linalg.solve(damped, weighted.T @ across)
        left = np.abs(across - A @ solution)
        weights = 1.0 / (1.0 + (left / (2.0 * np.median(left) + 1e-5)) ** 2)
    return solution, float(np.median(left))


def _slow_part(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moving average over `_PITCH_PERIOD_S`."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.searchsorted(times, times - 0.5 * _PITCH_PERIOD_S)
    last = np.searchsorted(times, times + 0.5 * _PITCH_PERIOD_S)
    return np.asarray((sums[last] - sums[first]) / (last - first))
