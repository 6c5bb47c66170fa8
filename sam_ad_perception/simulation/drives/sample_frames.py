"""A few frames of a drive, with the sensors and the number of points that one asks for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from sam_ad_perception.core.sensors import Modality, PointCloud, SensorBundle
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig

STEP_NS = 100_000_000
"""From one frame to the next."""


def sample_frames(
    config: DriveConfig, count: int, sensors: Collection[Modality], points: int = 0
) -> list[SensorBundle]:
    """Simulate the first frames of a drive.

    Args:
        config: The drive; its length must be enough.
        count: Number of frames, 0.1 s apart.
        sensors: Those that are kept.
        points: Number of points of a sweep; 0 for those that were measured.

    Returns:
        The bundles.

    Raises:
        ValueError: The rig has no camera, or none of the sensors.
    """
    drive = Drive(config)
    bundles = []
    for number in range(count):
        bundle, _ = drive.bundle(config.start_ns + number * STEP_NS)
        frames = {m: frame for m, frame in bundle.frames.items() if m in sensors}
        if not frames:
            raise ValueError(f'the rig has none of the sensors {[*map(str, sensors)]}')
        sweep = frames.get(Modality.LIDAR)
        if points and sweep is not None and isinstance(sweep.data, PointCloud):
            frames[Modality.LIDAR] = replace(sweep, data=spread_points(sweep.data, points))
        missing = {m: 'not asked for' for m in bundle.frames if m not in frames}
        bundles.append(
            replace(
                bundle,
                reference=next(iter(frames)),
                frames=frames,
                missing={**bundle.missing, **missing},
                T_camera={m: T for m, T in bundle.T_camera.items() if m in frames},
            )
        )
    return bundles


def spread_points(cloud: PointCloud, count: int) -> PointCloud:
    """Take points of a sweep evenly, or several times, until there are so many.

    Args:
        cloud: The sweep, at least one point.
        count: How many, 1 or more.

    Returns:
        A sweep in the same order of time.
    """
    index = np.arange(count) * len(cloud.points) // count
    intensity, offset = cloud.intensity, cloud.time_offset_ns
    return replace(
        cloud,
        points=cloud.points[index],
        intensity=None if intensity is None else intensity[index],
        time_offset_ns=None if offset is None else offset[index],
    )
