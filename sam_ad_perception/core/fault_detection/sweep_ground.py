"""Ground plane of the lidar over time: has it tilted or changed its height?

The ground within a few metres is what the wheels stand on: its tilt against the vehicle is that of
the springs, on slopes too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.fault_detection.sweep_image import near_points
from sam_ad_perception.core.health.judgement import HealthFinding
from sam_ad_perception.core.health.lidar_thresholds import LidarHealthConfig
from sam_ad_perception.core.health.watch import Circumstances, RunningLevels, make_finding
from sam_ad_perception.core.lidar.ground import GroundPlane, find_ground

REACH_M = 12.0
"""Ground further away is not the one that the wheels stand on."""
SAMPLES = 1200
"""So many near points tell it."""
MARGIN_M = 0.15
"""A point so near to the plane belongs to it."""
LOOK_EVERY = 5
"""The plane is fitted anew once in so many looks, and where points have left it."""
LEFT_SHARE = 0.7
"""Points have left the plane when it has fewer than this share of the usual ones."""
CONFIRMED = 2
"""So many fits in a row say the same."""


class GroundFault(StrEnum):
    """What can be wrong with the ground that a lidar sees."""

    TILTED = 'tilted'
    HEIGHT = 'height'


@dataclass
class GroundWatch:
    """Follows the ground plane of one lidar."""

    _levels: RunningLevels = field(default_factory=RunningLevels)
    _plane: GroundPlane | None = None
    _share: float | None = None
    _found: list[HealthFinding] = field(default_factory=list)
    _due: int = 0
    _agreed: int = 0

    @staticmethod
    def warm_up(points: NDArray[np.float32]) -> None:
        """Compile what is needed.

        Args:
            points: Of some ground.
        """
        find_ground(near_points(points, REACH_M, SAMPLES), REACH_M)

    def look(
        self, points: NDArray[np.float32], around: Circumstances, t: LidarHealthConfig
    ) -> list[HealthFinding]:
        """Judge the ground of a sweep.

        Args:
            points: (N, 3), see `sweep_image.plain`, the lidar's frame, metres.
            around: Where the camera is seen from the lidar.
            t: Thresholds.

        Returns:
            Tilted, or at another height; what was found holds until the next fit.
        """
        near = near_points(points, REACH_M, SAMPLES)
        self._share = self._share_of_usual(near)
        usual = self._levels.number('share', 0.0)
        left = self._share is not None and self._share < LEFT_SHARE * usual
        self._plane = None
        self._due -= 1
        if self._due > 0 and not (left and not self._found):
            return self._found
        self._due = LOOK_EVERY if 'normal' in self._levels else 1
        self._plane = find_ground(near, REACH_M)
        if self._plane is None:
            self._found, self._agreed = [], 0
            return []
        found = self._judge(self._plane, around, t)
        self._agreed = self._agreed + 1 if found else 0
        # A plane that nearly all have moved to needs no second look.
        moved = left and self._plane.share > LEFT_SHARE * usual
        if found and not moved and self._agreed < CONFIRMED:
            self._due = 1
            return []
        self._found = found
        return found

    def learn(self, weight: float) -> None:
        """Take the plane that was fitted last into the running one.

        Args:
            weight: Its weight; small where the sweep was refused.
        """
        if self._plane is not None and not self._agreed:
            # A fit stands for all sweeps since the one before it.
            share = 1.0 - (1.0 - weight) ** LOOK_EVERY
            self._levels.move('normal', self._plane.normal, share)
            self._levels.move('offset', self._plane.offset, share)
        if self._share is not None and not self._found and not self._agreed:
            self._levels.move('share', self._share, weight)

    def _share_of_usual(self, near: NDArray[np.float64]) -> float | None:
        """Share of the near points on the usual plane; None without one."""
        if 'normal' not in self._levels or len(near) == 0:
            return None
        height = near @ self._levels['normal'] + self._levels.number('offset', 0.0)
        return float(np.mean(np.abs(height) < MARGIN_M))

    def _judge(
        self, plane: GroundPlane, around: Circumstances, t: LidarHealthConfig
    ) -> list[HealthFinding]:
        if 'normal' in self._levels:
            usual = self._levels['normal'] / np.linalg.norm(self._levels['normal'])
            turn = _degrees_between(plane.normal, usual)
            if turn > t.tilt_change_deg:
                reason = (
                    f'the ground is tilted by {turn:.1f} degrees ({_lean(plane.normal, usual)}) '
                    'against what it was: the mount is bent, or the points are turned'
                )
                return [make_finding(GroundFault.TILTED, reason, turn, t.tilt_change_deg)]
            before = self._levels.number('offset', 0.0)
            if abs(plane.offset - before) > t.height_change_m:
                reason = (
                    f'the ground lies {plane.offset:.2f} m below the lidar, usually '
                    f'{before:.2f} m: the mount is not where it was'
                )
                change = abs(plane.offset - before)
                return [make_finding(GroundFault.HEIGHT, reason, change, t.height_change_m)]
        tilt = _degrees_between(plane.normal, np.array([0.0, 0.0, 1.0]))
        if tilt <= t.max_tilt_deg:
            return []
        seen = ''
        if around.T_camera is not None:
            # A lidar that is mounted aslant sees level ground once its mount is known.
            in_camera = plane.transformed(around.T_camera)
            other = _degrees_between(in_camera.normal, np.array([0.0, -1.0, 0.0]))
            if other <= t.max_tilt_deg:
                return []
            seen = f', and by {other:.0f} degrees in the camera'
        reason = f'the ground is tilted by {tilt:.0f} degrees{seen}: check the mount of the lidar'
        return [make_finding(GroundFault.TILTED, reason, tilt, t.max_tilt_deg)]


def _degrees_between(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return float(np.degrees(np.arccos(np.clip(np.dot(a, b), -1.0, 1.0))))


def _lean(normal: NDArray[np.floating], usual: NDArray[np.floating]) -> str:
    """Which way a normal leans against another, in words."""
    forward, left = normal[0] - usual[0], normal[1] - usual[1]
    if abs(forward) >= abs(left):
        return 'it falls ahead' if forward > 0 else 'it rises ahead'
    return 'it falls to the left' if left > 0 else 'it falls to the right'
