"""Which recordings and faults each sensor has: here a further sensor plugs in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.real_faults import event_suite, lidar_suite, thermal_suite
from benchmarks.real_faults.camera_faults import camera_faults
from benchmarks.real_faults.camera_recordings import faulty_clips, healthy_recordings
from benchmarks.real_faults.faults import Fault
from benchmarks.real_faults.recordings import Recording
from sam_ad_perception.core.sensors import Modality


@dataclass(frozen=True)
class Suite:
    """What one sensor is measured with.

    Attributes:
        clips: `(folder of the sample data) -> recordings` that faults befall.
        healthy: Likewise, recordings in which any finding is a false alarm.
        faults: `() -> faults`.
    """

    clips: Callable[[Path], Sequence[Recording]]
    healthy: Callable[[Path], Sequence[Recording]]
    faults: Callable[[], Sequence[Fault]]


SUITES: dict[Modality, Suite] = {
    Modality.CAMERA: Suite(faulty_clips, healthy_recordings, camera_faults),
    Modality.THERMAL: Suite(
        thermal_suite.faulty_clips, thermal_suite.healthy_recordings, thermal_suite.faults
    ),
    Modality.EVENT: Suite(
        event_suite.faulty_clips, event_suite.healthy_recordings, event_suite.faults
    ),
    Modality.LIDAR: Suite(
        lidar_suite.faulty_clips, lidar_suite.healthy_recordings, lidar_suite.faults
    ),
}
