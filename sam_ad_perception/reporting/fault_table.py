"""What each fault of a drive did: how soon it was noticed, the gap and the loss that it made."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.reporting.drive_log import FrameLog, merge_confusions


@dataclass(frozen=True)
class FaultRow:
    """One fault, from its first frame to its last.

    Attributes:
        sensor: The faulty sensor.
        kind: What was wrong with it, as the simulator knows.
        start_s: First faulty frame, seconds since the first frame of the drive.
        end_s: First frame after it.
        condition: Light and weather when it began.
        told: What the node said of the sensor; empty where it never said anything.
        noticed_ms: From the first faulty frame to the first one of which the node said so.
        back_ms: From the first good frame to the first one that used the sensor again without
            reservation; None where the drive ended before.
        gap_ms: Longest time between two masks from just before to just after the fault.
        masks: Masks of the faulty frames.
        frames: Faulty frames.
        miou: Mean IoU of those masks; None without truth.
        miou_without: Mean IoU on the same frames without the fault, where that was measured.
    """

    sensor: str
    kind: str
    start_s: float
    end_s: float
    condition: str
    told: str
    noticed_ms: float | None
    back_ms: float | None
    gap_ms: float
    masks: int
    frames: int
    miou: float | None = None
    miou_without: float | None = None

    @property
    def loss(self) -> float | None:
        """Mean IoU that the fault cost."""
        if self.miou is None or self.miou_without is None:
            return None
        return self.miou_without - self.miou


def rate_faults(
    frames: Sequence[FrameLog], without: Mapping[int, ConfusionMatrix] | None = None
) -> list[FaultRow]:
    """Rate every fault that the recording tells of.

    Args:
        frames: The run, ordered by stamp.
        without: For the faulty frames, by stamp, the confusion of a mask made without the fault.

    Returns:
        One row per fault, in the order of their starts.
    """
    rows = []
    sensors = sorted({sensor for frame in frames for sensor in frame.faults})
    for sensor in sensors:
        runs = itertools.groupby(range(len(frames)), lambda i: frames[i].faults.get(sensor))  # noqa: B023
        for kind, indices in runs:
            if kind is not None:
                run = list(indices)
                rows.append(_rate(frames, sensor, kind, run[0], run[-1] + 1, without or {}))
    return sorted(rows, key=lambda row: row.start_s)


def _rate(
    frames: Sequence[FrameLog],
    sensor: str,
    kind: str,
    first: int,
    end: int,
    without: Mapping[int, ConfusionMatrix],
) -> FaultRow:
    """One row: frames from `first` to before `end` are faulty."""
    stamps = [frame.status.stamp_ns for frame in frames]
    faulty = frames[first:end]
    period_ns = stamps[1] - stamps[0] if len(stamps) > 1 else 0
    end_ns = stamps[end] if end < len(stamps) else stamps[-1] + period_ns
    noticed = next((i for i in range(first, end) if _told(frames[i], sensor)), None)
    back = next((i for i in range(end, len(frames)) if _is_back(frames[i], sensor)), None)
    done = [
        stamps[i]
        for i in range(max(first - 1, 0), min(end + 1, len(frames)))
        if frames[i].status.dropped is None
    ]
    masks = sum(frame.status.dropped is None for frame in faulty)
    mine = merge_confusions(frame.confusion for frame in faulty)
    twin = merge_confusions(without.get(frame.status.stamp_ns) for frame in faulty)
    return FaultRow(
        sensor,
        kind,
        1e-9 * (stamps[first] - stamps[0]),
        1e-9 * (end_ns - stamps[0]),
        faulty[0].condition,
        '' if noticed is None else _told(frames[noticed], sensor),
        None if noticed is None else 1e-6 * (stamps[noticed] - stamps[first]),
        None if back is None else 1e-6 * (stamps[back] - stamps[end]),
        1e-6 * max((b - a for a, b in itertools.pairwise(done)), default=end_ns - stamps[first]),
        masks,
        len(faulty),
        None if mine is None else mine.miou_of_present(),
        None if twin is None else twin.miou_of_present(),
    )


def _told(frame: FrameLog, sensor: str) -> str:
    """What the node said against a sensor at a frame."""
    return frame.status.missing.get(sensor) or frame.status.notes.get(sensor) or ''


def _is_back(frame: FrameLog, sensor: str) -> bool:
    return sensor in frame.status.used and not _told(frame, sensor)
