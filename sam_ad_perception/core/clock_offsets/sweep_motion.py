"""Rotation of a lidar between its sweeps, from the points alone.

Each sweep is laid out by azimuth and elevation; the next one is brought onto it by the distances
of its points from the surfaces (point to plane, Chen and Medioni 1992), each point compared with
the one seen in the same direction (projective association, Blais and Levine 1995). Points of one
azimuth are seen one sweep time apart in both, so that a steady motion within a sweep does no harm.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.clock_offsets.motion_track import MotionTrack
from sam_ad_perception.core.sensors import PointCloud

CHANNELS = ('roll', 'pitch', 'yaw')
"""Rotation of the lidar about its x, y and z axes (forward, left, up by REP 103), radians."""

_ROWS, _COLUMNS = 40, 720
_NEAREST_M, _FARTHEST_M = 1.5, 80.0
_ROW_GAP = 4
_MINIMUM_POINTS, _COMPARED_POINTS = 300, 8000
_MAX_GAP_S = 0.5

Pose = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(3, 3) rotation and (3,) translation, metres."""


class SweepMotion:
    """Follows one lidar from sweep to sweep; it needs points of a ring or a wide field."""

    def __init__(self) -> None:
        self._elevations: tuple[float, float] | None = None
        self._times: list[float] = []
        self._rotations: list[NDArray[np.float64]] = []
        self._shifts: list[NDArray[np.float64]] = []
        self._last: _Sweep | None = None
        self._motion: Pose = (np.eye(3), np.zeros(3))

    def add(self, cloud: PointCloud, time_s: float) -> None:
        """Take a sweep; one that is not newer than the last is passed over.

        Args:
            cloud: Its points, the lidar's frame; without times, all are taken as of `time_s`.
            time_s: Its stamp, seconds after the common epoch.
        """
        if self._times and time_s <= self._times[-1]:
            return
        sweep = self._arrange(cloud)
        if self._times:
            rotation = np.full(3, np.nan)
            lost = time_s - self._times[-1] > _MAX_GAP_S
            if not lost and sweep is not None and self._last is not None:
                found = _align(self._last, sweep, self._motion)
                if found is not None:
                    self._motion, shift = found
                    rotation = cv2.Rodrigues(self._motion[0])[0].ravel()
                    self._shifts.append(shift)
                else:
                    self._motion = (np.eye(3), np.zeros(3))
            self._rotations.append(rotation)
        self._times.append(time_s)
        self._last = sweep

    def track(self) -> MotionTrack:
        """Tell the motion so far: channels `CHANNELS`."""
        shifts = np.median(self._shifts, axis=0) if self._shifts else np.zeros(3)
        increments = np.array(self._rotations).reshape(-1, 3)
        return MotionTrack(CHANNELS, np.array(self._times), shifts, increments)

    def _arrange(self, cloud: PointCloud) -> _Sweep | None:
        """Lay a sweep out; None where it has too few points."""
        points = np.asarray(cloud.points, dtype=np.float64)
        distances = np.linalg.norm(points, axis=1)
        usable = (distances > _NEAREST_M) & (distances < _FARTHEST_M)
        if np.count_nonzero(usable) < _MINIMUM_POINTS:
            return None
        points, distances = points[usable], distances[usable]
        times = np.zeros(len(points))
        if cloud.time_offset_ns is not None:
            times = 1e-9 * cloud.time_offset_ns[usable]
        if self._elevations is None:
            elevations = np.arcsin(points[:, 2] / distances)
            low, high = np.percentile(elevations, (0.5, 99.5))
            self._elevations = float(low), float(max(high, low + 0.05))
        return _Sweep(points, distances, times, self._elevations)


class _Sweep:
    """Points on a grid of directions, with the surfaces that they span.

    Attributes:
        points: (rows, columns, 3) metres, NaN where there is none.
        times: (rows, columns) seconds after the stamp.
        normals: (rows, columns, 3) unit vectors, NaN where the surface is not known.
    """

    def __init__(
        self,
        points: NDArray[np.float64],
        distances: NDArray[np.float64],
        times: NDArray[np.float64],
        elevations: tuple[float, float],
    ) -> None:
        self._elevations = elevations
        rows, columns, inside = self.locate(points)
        order = np.argsort(-distances[inside])  # the nearest is written last, and stays
        rows, columns = rows[inside][order], columns[inside][order]
        self.points = np.full((_ROWS, _COLUMNS, 3), np.nan)
        self.times = np.zeros((_ROWS, _COLUMNS))
        self.points[rows, columns] = points[inside][order]
        self.times[rows, columns] = times[inside][order]
        along = np.roll(self.points, -1, axis=1) - np.roll(self.points, 1, axis=1)
        up = _next_above(self.points) - _next_above(self.points[::-1])[::-1]
        reach = np.linalg.norm(self.points, axis=2)
        normals = np.cross(along, up)
        with np.errstate(invalid='ignore', divide='ignore'):
            normals /= np.linalg.norm(normals, axis=2, keepdims=True)
            edge = np.linalg.norm(along, axis=2) > 0.1 * reach + 0.1
            edge |= np.linalg.norm(up, axis=2) > 0.5 * reach
        normals[edge] = np.nan
        self.normals = normals

    def locate(
        self, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Row and column of the direction to (N, 3) points, and whether it is on the grid."""
        x, y, z = points.T
        low, high = self._elevations
        elevation = np.arctan2(z, np.hypot(x, y))
        rows = np.rint((high - elevation) / (high - low) * (_ROWS - 1)).astype(np.int64)
        turns = (np.arctan2(y, x) + np.pi) / (2 * np.pi)
        columns = (turns * _COLUMNS).astype(np.int64) % _COLUMNS
        inside = (rows >= 0) & (rows < _ROWS)
        return np.clip(rows, 0, _ROWS - 1), columns, inside


def _next_above(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each cell the nearest point in the rows before, as lidars with few beams leave gaps."""
    above = np.full_like(points, np.nan)
    for row in range(1, len(points)):
        for step in range(min(row, _ROW_GAP), 0, -1):  # the nearest is written last
            there = np.isfinite(points[row - step, :, 0])
            above[row, there] = points[row - step, there]
    return above


def _align(before: _Sweep, after: _Sweep, guess: Pose) -> tuple[Pose, NDArray[np.float64]] | None:
    """Bring a sweep onto the one before it.

    Returns:
        The pose of the later sensor in the earlier one; and (3,) the times within the sweep at
        which its rotations are seen, seconds: means over the points, by how much each tells of
        the rotation. None where too little matches.
    """
    known = np.isfinite(after.points[..., 0]) & np.isfinite(after.normals[..., 0])
    stride = max(1, np.count_nonzero(known) // _COMPARED_POINTS)
    points, times = after.points[known][::stride], after.times[known][::stride]
    R, t = guess
    shift = np.zeros(3)
    for step in range(8):
        moved = points @ R.T + t
        rows, columns, inside = before.locate(moved)
        normals = before.normals[rows, columns]
        gaps = np.sum((moved - before.points[rows, columns]) * normals, axis=1)
        near = inside & (np.abs(gaps) < (1.0 if step < 3 else 0.3))  # NaN is not near
        if np.count_nonzero(near) < _MINIMUM_POINTS:
            return None
        moved, normals, gaps = moved[near], normals[near], gaps[near]
        weights = 1.0 / (1.0 + (gaps / (2.0 * np.median(np.abs(gaps)) + 0.005)) ** 2)
        J = np.hstack([np.cross(moved, normals), normals])
        weighted = J * weights[:, None]
        change = -np.linalg.solve(weighted.T @ J + 1e-6 * np.eye(6), weighted.T @ gaps)
        turn = cv2.Rodrigues(change[:3])[0]
        R, t = turn @ R, turn @ t + change[3:]
        told = weights[:, None] * J[:, :3] ** 2
        shift = (told * times[near][:, None]).sum(axis=0) / told.sum(axis=0)
        if step > 3 and float(np.abs(change).max()) < 2e-5:
            break
    return (R, t), shift
