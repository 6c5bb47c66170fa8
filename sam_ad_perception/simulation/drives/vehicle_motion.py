"""Motion of the vehicle that carries the sensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.simulation.street.plan import EGO_LATERAL
from sam_ad_perception.simulation.street.road import Road


@dataclass(frozen=True, eq=False)
class VehicleMotion:
    """A vehicle in the right lane that sways, pitches and rolls a little.

    Attributes:
        road: The road.
        speed: Mean speed, m/s.
        phases: (4,) of its oscillations, radians.
    """

    road: Road
    speed: float
    phases: NDArray[np.float64]

    def poses(self, elapsed_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Where the vehicle is.

        Args:
            elapsed_ns: (N,) times since the start, nanoseconds; may be negative.

        Returns:
            (N, 4, 4) `T_odom_base`, metres.
        """
        t = elapsed_ns * 1e-9
        p, speed = self.phases, self.speed
        along = speed * t + 0.5 * np.sin(0.6 * t + p[0])
        rate, amplitude = 2 * np.pi / 7.0, 0.25
        pose = self.road.poses(along, EGO_LATERAL + amplitude * np.sin(rate * t + p[1]))
        yaw = pose[:, 2] + np.arctan(amplitude * rate * np.cos(rate * t + p[1]) / speed)
        pitch = 0.004 * np.sin(2 * np.pi * 1.3 * t + p[2])
        roll = 0.003 * np.sin(2 * np.pi * 0.9 * t + p[3])
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        cr, sr = np.cos(roll), np.sin(roll)
        T = np.zeros((len(t), 4, 4))
        T[:, 0, :3] = np.stack([cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr], axis=1)
        T[:, 1, :3] = np.stack([sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr], axis=1)
        T[:, 2, :3] = np.stack([-sp, cp * sr, cp * cr], axis=1)
        T[:, :2, 3] = pose[:, :2]
        T[:, 3, 3] = 1.0
        return T
