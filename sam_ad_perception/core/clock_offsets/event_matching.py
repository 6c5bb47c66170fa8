"""Clock offset of an event camera from brightness changes that a camera sees, too.

An event says that the logarithm of the light on a pixel has changed by a fixed step (Lichtsteiner
et al. 2008). So the polarities of all events between two frames, summed up for each pixel, are
the difference of the logarithms of the frames, but for a factor. The sums are taken over windows
moved by a lag, and the lag and a small shift between the views are fitted to all pairs of frames
by Gauss-Newton. Any motion will do, also a steady one.

What is near appears shifted in the other view along the line between the two cameras, which would
look like a lag where the left and the right of the street differ. So edges count by how little
such a shift changes them. A focal length that is wrong by 1 % moves the result by some
milliseconds at 8 m/s; so both geometries must be known.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.geometry.cameras import project_points, unproject_pixels
from sam_ad_perception.core.sensors import CameraModel, Events

WIDTH = 80
_BIN_S = 0.005
_MAX_GAP_S = 0.5
_SCANNED_PAIRS = 150
_MAX_SHIFT = 12
_BLOCKS = 8

Picture = NDArray[np.float32]
_Pair = tuple[float, float, Picture]
"""Times of two frames, and the difference of their logarithms."""


@dataclass(frozen=True)
class EventMatch:
    """By how much the events' clock runs ahead of the camera's.

    Attributes:
        lag_s: Stamp of the events minus stamp of the camera for one moment, seconds.
        standard_error_s: Its uncertainty, from leaving out each eighth of the drive, seconds.
        correlation: Of changes and events at this lag, 0 to 1.
    """

    lag_s: float
    standard_error_s: float
    correlation: float


class EventMatching:
    """Collects frames and events of a drive.

    Args:
        camera: Geometry of the frames.
        event_camera: Geometry of the events.
        T_camera_event: (4, 4) pose of the event camera in the camera's optical frame, metres;
            None where unknown: then they look the same way, side by side.
    """

    def __init__(
        self,
        camera: CameraModel,
        event_camera: CameraModel,
        T_camera_event: NDArray[np.float64] | None = None,
    ) -> None:
        self._camera = camera
        self._event_camera = event_camera
        T = np.eye(4) if T_camera_event is None else T_camera_event
        self._R = T[:3, :3]
        apart = float(np.hypot(T[0, 3], T[1, 3]))
        self._baseline = (1.0, 0.0) if apart < 1e-3 else (T[0, 3] / apart, T[1, 3] / apart)
        self._frames: list[tuple[float, Picture]] = []
        self._bins: defaultdict[int, NDArray[np.float32]] = defaultdict(self._blank)
        self._size = (0, 0)
        self._cells: NDArray[np.int64] | None = None

    def add_frame(self, image: NDArray[Any], time_s: float) -> None:
        """Take a camera frame; one that is not newer than the last is passed over.

        Args:
            image: (H, W, 3) uint8.
            time_s: Its stamp, seconds after an epoch.
        """
        if self._frames and time_s <= self._frames[-1][0]:
            return
        height, width = image.shape[:2]
        self._size = (max(16, round(height * WIDTH / width)), WIDTH)
        gray = image.astype(np.float32).mean(axis=2)
        small = cv2.resize(gray, self._size[::-1], interpolation=cv2.INTER_AREA)
        light = cv2.GaussianBlur(np.log(small + 10.0), (0, 0), 1.0)
        self._frames.append((time_s, np.asarray(light, dtype=np.float32)))

    def add_events(self, events: Events, epoch_ns: int) -> None:
        """Take events; those before the first frame are passed over.

        Args:
            events: N events.
            epoch_ns: The epoch, nanoseconds.
        """
        if not self._frames or not len(events.t_ns):
            return
        if self._cells is None:
            self._cells = self._map(events.size)
        cells = self._cells[events.y, events.x]
        bins = ((events.t_ns - epoch_ns) // round(_BIN_S * 1e9)).astype(np.int64)
        signs = np.where(np.asarray(events.polarity) > 0, 1.0, -1.0)
        count = self._size[0] * self._size[1]
        for each in np.unique(bins):
            at = (bins == each) & (cells >= 0)
            sums = np.bincount(cells[at], signs[at], minlength=count)
            self._bins[int(each)] += sums.reshape(self._size).astype(np.float32)

    def estimate(self, max_lag_s: float = 0.25) -> EventMatch | None:
        """Find the lag.

        Args:
            max_lag_s: It is looked for within this, seconds.

        Returns:
            The best lag, however poor; None where nothing can be compared.
        """
        pairs = [
            (one[0], other[0], _centred(other[1] - one[1]))
            for one, other in zip(self._frames, self._frames[1:], strict=False)
            if other[0] - one[0] < _MAX_GAP_S
        ]
        pairs = [pair for pair in pairs if np.any(self._sum(*pair[:2]))]
        if len(pairs) < 2 * _BLOCKS:
            return None
        lag, shift = self._scan(pairs, max_lag_s)
        parts: list[tuple[NDArray[np.float64], NDArray[np.float64], float]] = []
        for _ in range(8):
            parts = [part for pair in pairs if (part := self._part(pair, lag, shift)) is not None]
            if len(parts) < 2 * _BLOCKS:
                return None
            gain, step, *more = _solve(parts)
            lag += float(np.clip(step, -0.02, 0.02))
            shift = shift + np.clip(np.array(more) / max(gain, 0.1), -2, 2)
            if abs(lag) > max_lag_s + 0.02:
                return None
        left = [
            _solve([part for i, part in enumerate(parts) if i * _BLOCKS // len(parts) != k])[1]
            for k in range(_BLOCKS)
        ]
        spread = np.sum((np.array(left) - np.mean(left)) ** 2)
        error = float(np.sqrt((_BLOCKS - 1) / _BLOCKS * spread))
        return EventMatch(lag, error, float(np.mean([part[2] for part in parts])))

    def _blank(self) -> NDArray[np.float32]:
        return np.zeros(self._size, dtype=np.float32)

    def _map(self, size: tuple[int, int]) -> NDArray[np.int64]:
        """Cell of the small picture that each pixel (H, W) of the events falls into, or -1."""
        v, u = np.mgrid[: size[0], : size[1]]
        rays = unproject_pixels(
            self._event_camera, np.column_stack([u.ravel(), v.ravel()]).astype(float)
        )
        uv, _ = project_points(self._camera, rays @ self._R.T)
        scale = np.array(self._size[::-1]) / np.array([self._camera.width, self._camera.height])
        column, row = np.nan_to_num(np.rint((uv + 0.5) * scale - 0.5), nan=-1.0).T
        inside = (column >= 0) & (column < self._size[1]) & (row >= 0) & (row < self._size[0])
        cells = np.where(inside, row * self._size[1] + column, -1).astype(np.int64)
        return cells.reshape(size)

    def _sum(self, start_s: float, end_s: float) -> Picture:
        """Polarities between two times, blurred like the frames; not yet centred."""
        total = self._blank()
        first, last = int(np.floor(start_s / _BIN_S)), int(np.floor(end_s / _BIN_S))
        for each in range(first, last + 1):
            if each in self._bins:
                covered = min(end_s / _BIN_S, each + 1) - max(start_s / _BIN_S, each)
                total += np.float32(covered) * self._bins[each]
        return np.asarray(cv2.GaussianBlur(total, (0, 0), 1.0), dtype=np.float32)

    def _scan(self, pairs: list[_Pair], max_lag_s: float) -> tuple[float, NDArray[np.float64]]:
        """Go through lags and whole-pixel shifts of the frames: lag, and (2,) shift."""
        chosen = pairs[:: max(1, len(pairs) // _SCANNED_PAIRS)]
        steps = round(max_lag_s / 0.01)
        lags = 0.01 * np.arange(-steps, steps + 1)
        likeness = np.zeros((len(lags), *self._size))
        for start, end, change in chosen:
            spectrum = np.conj(np.fft.rfft2(change))
            sums = [_centred(self._sum(start + lag, end + lag)) for lag in lags]
            likeness += np.fft.irfft2(np.fft.rfft2(np.stack(sums)) * spectrum, s=self._size)
        near = np.r_[-_MAX_SHIFT : _MAX_SHIFT + 1]
        likeness = likeness[:, near][:, :, near]
        at, row, column = np.unravel_index(np.argmax(likeness), likeness.shape)
        return float(lags[at]), np.array([column - _MAX_SHIFT, row - _MAX_SHIFT], dtype=float)

    def _part(
        self, pair: _Pair, lag: float, shift: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float] | None:
        """What one pair of frames tells: normal matrix (4, 4), right side (4,), correlation."""
        start, end, change = pair
        height, width = self._size
        warp = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
        moved = _centred(cv2.warpAffine(change, warp, (width, height)))
        raw = self._sum(start + lag, end + lag)
        seen = _centred(raw)
        if not np.any(moved) or not np.any(seen):
            return None
        later = self._sum(start + lag + 0.01, end + lag + 0.01)
        earlier = self._sum(start + lag - 0.01, end + lag - 0.01)
        drift = (later - earlier) / np.float32(0.02 * np.linalg.norm(raw - raw.mean()))
        drift -= drift.mean()
        gx = cv2.Sobel(moved, cv2.CV_32F, 1, 0, scale=0.125)
        gy = cv2.Sobel(moved, cv2.CV_32F, 0, 1, scale=0.125)
        along = self._baseline[0] * gx + self._baseline[1] * gy
        across = self._baseline[0] * gy - self._baseline[1] * gx
        even = cv2.GaussianBlur(across**2, (0, 0), 1.0)
        uneven = cv2.GaussianBlur(along**2, (0, 0), 1.0)
        weights = ((even / (even + uneven + 1e-9)) ** 2).ravel().astype(np.float64)
        # seen + step * drift = gain * (moved - dx * gx - dy * gy)
        columns = [moved, -drift, -gx, -gy]
        A = np.column_stack([column.ravel() for column in columns]).astype(np.float64)
        weighted = A * weights[:, None]
        return weighted.T @ A, weighted.T @ seen.ravel(), float(np.sum(moved * seen))


def _centred(picture: NDArray[Any]) -> Picture:
    """Zero mean and unit norm; all zero where it is flat."""
    centred = picture - picture.mean()
    norm = float(np.linalg.norm(centred))
    return np.asarray(centred / max(norm, 1e-9), dtype=np.float32)


def _solve(
    parts: list[tuple[NDArray[np.float64], NDArray[np.float64], float]],
) -> NDArray[np.float64]:
    """Gain, step of the lag in seconds, gain times shift, from the parts together."""
    matrix = np.sum([part[0] for part in parts], axis=0)
    right = np.sum([part[1] for part in parts], axis=0)
    damping = 1e-9 * np.diag(np.diag(matrix)) + 1e-12 * np.eye(len(right))
    return np.asarray(np.linalg.solve(matrix + damping, right))
