"""Plausibility of the camera height above the ground of a sweep, for a unit that is wrong.

A street in feet or inches that is near enough has coordinates that metres could have, too. But its
ground lies as much further below as its walls lie further away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.lidar.ground import find_ground
from sam_ad_perception.core.plausibility.clouds import UNITS, beyond_reach
from sam_ad_perception.core.sensors import Modality

_MOST_M = 4.2
"""No vehicle on a road may be higher; what is may be on a mast, and is only named."""
_MAST_M = 20.0
"""No mast beside a road is higher."""
_USUAL_M = (0.4, 3.6)
_POINTS = 10_000
_LOOKS, _AGAIN = 10, 500


class SensorHeight:
    """Looks at the first sweeps, until one has its ground where a vehicle has it."""

    def __init__(self) -> None:
        self._settled = False
        self._looks = 0
        self._found: Finding | None = None

    def look(
        self, points: NDArray[np.floating], T_camera_lidar: NDArray[np.float64]
    ) -> Finding | None:
        """Look at a sweep, where it is still to be told.

        Args:
            points: (N, 3), metres, in a frame whose z axis points up (REP 103).
            T_camera_lidar: (4, 4) float64, metres.

        Returns:
            What cannot be right, or None: also where no ground is seen.
        """
        if self._settled:
            return None
        self._looks += 1
        if self._looks <= _LOOKS or self._looks % _AGAIN == 0:
            eye = -T_camera_lidar[:3, :3].T @ T_camera_lidar[:3, 3]
            few = np.asarray(points[:: max(1, len(points) // _POINTS)], np.float64)
            self._found = self._judge(few, eye)
        return self._found

    def _judge(self, points: NDArray[np.float64], eye: NDArray[np.float64]) -> Finding | None:
        """Find the ground in metres, else in the unit that puts it where a vehicle has it."""
        ground = find_ground(points - eye)
        if ground is not None and ground.offset <= _MOST_M:
            self._settled = True
            return None
        for scale, unit in reversed(UNITS):
            other = find_ground(points / scale - eye)
            if other is None or not _USUAL_M[0] <= other.offset <= _USUAL_M[1]:
                continue
            height = other.offset * scale
            if height <= _MOST_M:
                continue
            return _too_high(height, f' ({other.offset:.1f} m if in {unit})')
        if ground is not None:
            return _too_high(ground.offset, '')
        return beyond_reach(points - eye, ' from the camera')


def _too_high(height: float, guess: str) -> Finding:
    """The finding of a camera that is higher above the ground than on any vehicle, metres."""
    out = height > _MAST_M
    return Finding(
        'cloud.unit',
        str(Modality.LIDAR),
        f'the ground of its sweep lies {height:.1f} m below the camera, as on no vehicle{guess}',
        'PointCloud2 is in metres (REP 103): scale it in the driver'
        + ('' if out else ', unless the sensors are on a mast'),
        out=out,
        figure=height,
    )
