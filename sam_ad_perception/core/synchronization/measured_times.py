"""When a frame was measured: the times of a sweep's points in a camera's view, of an event packet.

A header stamp is one moment, and drivers choose it differently: first point, last point, trigger.
What belongs to an exposure is what was measured nearest to it, so frames are compared by the
times of what they measured. A rotating lidar crosses a camera's view in a part of its turn only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_ad_perception.core.geometry.transforms import transform_points
from sam_ad_perception.core.lidar.projection import view_bounds
from sam_ad_perception.core.sensors import CameraModel, PointCloud, SensorFrame

SAMPLES = 16
"""So many times stand for those of all points of a sweep in the view, evenly by number."""
_LOOKED_AT = 8192  # points of a sweep; each 16th of a sweep of 131,072
_FEWEST_IN_VIEW = 16  # of those looked at; with fewer, all points of the sweep count


@dataclass(frozen=True)
class MeasuredTimes:
    """When a frame was measured, relative to its stamp.

    Attributes:
        offsets_ns: Times minus the stamp, ascending, nanoseconds; at least one.
        is_stream: Whether all between the first and the last was measured, as by an event camera;
            otherwise each time is that of an equal share of the frame.
    """

    offsets_ns: tuple[int, ...] = (0,)
    is_stream: bool = False

    @property
    def reach_ns(self) -> int:
        """The farthest of the times from the stamp, nanoseconds."""
        return max(-self.offsets_ns[0], self.offsets_ns[-1], 0)

    @property
    def settles_ns(self) -> int:
        """From here on, relative to the stamp, no later frame measured anything nearer."""
        return self.offsets_ns[-1] if self.is_stream else self.offsets_ns[0]

    def distance_ns(self, since_stamp_ns: int) -> int:
        """How far what was measured lies from a time.

        Args:
            since_stamp_ns: The time minus the frame's stamp, nanoseconds.

        Returns:
            The mean over the times; of a stream the distance to its nearest part.
        """
        offsets = self.offsets_ns
        if self.is_stream:
            return max(offsets[0] - since_stamp_ns, since_stamp_ns - offsets[-1], 0)
        if len(offsets) == 1:
            return abs(offsets[0] - since_stamp_ns)
        return sum(abs(each - since_stamp_ns) for each in offsets) // len(offsets)


AT_STAMP = MeasuredTimes()
"""Of a frame that was measured at its stamp."""


def sweep_times(
    frame: SensorFrame, view: CameraModel | None, T_camera_lidar: ArrayLike | None
) -> MeasuredTimes | None:
    """Find when a sweep measured what a camera sees.

    Args:
        frame: A lidar frame.
        view: The camera's view; None where it is not known yet: then all points count.
        T_camera_lidar: (4, 4) rigid transform into the camera's frame, metres; None likewise.

    Returns:
        The times; None where the points carry none.
    """
    cloud = frame.data
    if not isinstance(cloud, PointCloud) or cloud.time_offset_ns is None:
        return None
    # An odd step: of clouds that are stored ring by ring or column by column it meets them all.
    step = -(-len(cloud.time_offset_ns) // _LOOKED_AT) | 1
    times = cloud.time_offset_ns[::step]
    if len(times) == 0:
        return None
    if view is not None and T_camera_lidar is not None:
        seen = times[_in_view(cloud.points[::step], view, T_camera_lidar)]
        times = seen if len(seen) >= _FEWEST_IN_VIEW else times
    at = (2 * np.arange(SAMPLES) + 1) * len(times) // (2 * SAMPLES)
    return MeasuredTimes(tuple(np.sort(times)[at].tolist()))


def describe_sweep_times(cloud: PointCloud, sweep_stamp: str) -> str:
    """Tell when a sweep is taken to be measured, and how that was found.

    Args:
        cloud: The sweep.
        sweep_stamp: See `SensorConfig.sweep_stamp`.

    Returns:
        One sentence.
    """
    if cloud.time_offset_ns is not None:
        return f'points count at their own times: {cloud.time_note}'
    guessed = sweep_stamp == 'auto'
    told = 'middle' if guessed else sweep_stamp
    hint = ', a guess: the parameter bundler.sync.lidar.sweep_stamp tells' if guessed else ''
    reason = f'{cloud.time_note}: ' if cloud.time_note else ''
    return f'{reason}the stamp counts as the {told} of the sweep{hint}'


def merge_sweeps(frame: SensorFrame, other: SensorFrame, reference_ns: int) -> SensorFrame:
    """Take of two sweeps in a row what each measured nearer to a time.

    The sensor comes to the same direction one turn later. A point and the one a turn apart from
    it are equally far from `reference_ns` where they lie half a turn before and after it.

    Args:
        frame: The sweep that is nearer; the result carries its stamp.
        other: The one before or after it, of the same frame, with times of its points.
        reference_ns: The time, nanoseconds.

    Returns:
        The sweep, first the points of `frame`, then those of `other`, without a source.
    """
    own, added = frame.data, other.data
    assert isinstance(own, PointCloud)
    assert isinstance(added, PointCloud)
    assert own.time_offset_ns is not None
    assert added.time_offset_ns is not None
    apart = other.stamp_ns - frame.stamp_ns
    middle = 2 * (reference_ns - frame.stamp_ns)
    if apart > 0:
        kept = 2 * own.time_offset_ns >= middle - apart
        taken = 2 * (added.time_offset_ns + apart) < middle + apart
    else:
        kept = 2 * own.time_offset_ns <= middle - apart
        taken = 2 * (added.time_offset_ns + apart) > middle + apart
    intensity = None
    if own.intensity is not None and added.intensity is not None:
        intensity = np.concatenate([own.intensity[kept], added.intensity[taken]])
    merged = replace(
        own,
        points=np.concatenate([own.points[kept], added.points[taken]]),
        intensity=intensity,
        time_offset_ns=np.concatenate(
            [own.time_offset_ns[kept], added.time_offset_ns[taken] + apart]
        ),
        source=None,  # its points are those of two messages
    )
    return replace(frame, data=merged)


def _in_view(
    points: NDArray[np.floating], view: CameraModel, T_camera_lidar: ArrayLike
) -> NDArray[np.bool_]:
    """(N,) whether a point lies in the pyramid that a camera sees."""
    x, y, z = transform_points(T_camera_lidar, points).T
    left, right, top, bottom = view_bounds(view)
    with np.errstate(invalid='ignore'):  # an open side times zero
        inside = (x >= left * z) & (x <= right * z) & (y >= top * z) & (y <= bottom * z) & (z > 0)
    return np.asarray(inside)
