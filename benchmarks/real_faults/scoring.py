"""What the health checks say of a damaged clip, and of healthy recordings."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.real_faults.faults import Fault
from benchmarks.real_faults.recordings import Recording, bundle_of
from sam_ad_perception.core.health.judgement import HealthFinding, HealthKind, Severity
from sam_ad_perception.core.health.monitor import HealthMonitor
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.sensors import Modality, SensorFrame

FOUND_SHARE = 0.5
"""A fault is found where so many of its frames have a finding."""


@dataclass(frozen=True)
class Cell:
    """One fault at one severity on one clip.

    Attributes:
        sensor: Whose.
        fault: Its name.
        half: Of the faults.
        severity: 1 to 3.
        clip: The recording's name.
        frames: Frames with the fault.
        found: At least half of them have a finding, after healthy ones.
        named: At least half of them have one of the right kind.
        delay_s: From the first faulty frame to the first right finding; None for never.
        found_from_start: As `found`, where the fault is there from the first frame.
        named_from_start: As `named`, likewise.
        taken_out: Share of the faulty frames that were not used.
        kinds: Frames by kind of finding.
    """

    sensor: str
    fault: str
    half: str
    severity: int
    clip: str
    frames: int
    found: bool
    named: bool
    delay_s: float | None
    found_from_start: bool
    named_from_start: bool
    taken_out: float
    kinds: dict[str, int]


@dataclass(frozen=True)
class Alarms:
    """False alarms in healthy recordings of one data set.

    Attributes:
        sensor: Whose.
        data_set: Which.
        frames: Healthy frames.
        alarms: Those with a finding.
        taken_out: Those not used.
        hours: How long the recordings are; 0 for single pictures.
        kinds: Frames by kind of finding.
    """

    sensor: str
    data_set: str
    frames: int
    alarms: int
    taken_out: int
    hours: float
    kinds: dict[str, int]


def check_stream(
    frames: Sequence[Any],
    rate_hz: float,
    modality: Modality,
    monitor: HealthMonitor | None = None,
    first: int = 0,
) -> list[tuple[HealthFinding, ...]]:
    """Check frames one after the other.

    Args:
        frames: The data of each.
        rate_hz: Their rate.
        modality: Their sensor.
        monitor: What checks them; a new one where None.
        first: Number of the first frame, from which its stamp follows.

    Returns:
        What was found in each.
    """
    monitor = monitor or HealthMonitor()
    checks = PlausibilityMonitor()
    told = []
    for number, data in enumerate(frames, first):
        bundle = bundle_of(data, number, rate_hz, modality)
        frame, implausible = _plausible(bundle.frames[modality], checks)
        found = monitor.check(replace(bundle, frames={modality: frame})).findings
        told.append((*implausible, *found.get(modality, ())))
    return told


def _plausible(
    frame: SensorFrame, checks: PlausibilityMonitor
) -> tuple[SensorFrame, list[HealthFinding]]:
    """What the checks where messages are read mend in a frame, and what they find."""
    data = frame.data
    if isinstance(data, np.ndarray) and frame.modality is Modality.THERMAL:
        images = checks.checks(frame.modality)
        assert images is not None
        pixels, found = images.check_in(data, 'mono16' if data.itemsize == 2 else 'mono8')
        native = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder('=')))
        frame = replace(frame, data=native, findings=found)
    frame = checks.check_frame(frame)
    findings = [
        HealthFinding(
            f.code, f.text, Severity.UNUSABLE if f.out else Severity.DEGRADED, f.figure, 0.0
        )
        for f in frame.findings
    ]
    return frame, findings


def kinds_of(findings: Sequence[HealthFinding]) -> set[str]:
    """Kinds of finding, but that a sensor recovers, which is none of its own."""
    return {str(f.kind) for f in findings} - {str(HealthKind.RECOVERING)}


def is_taken_out(findings: Sequence[HealthFinding]) -> bool:
    """Whether the frame is not used."""
    return any(finding.severity is Severity.UNUSABLE for finding in findings)


def score_cell(
    fault: Fault, severity: int, clip: Recording, modality: Modality, most: int | None = None
) -> Cell:
    """Let a fault befall a clip, once after healthy frames and once from the first frame.

    Args:
        fault: The fault.
        severity: 1 to 3.
        clip: The recording.
        modality: Its sensor.
        most: At most so many faulty frames.
    """
    before = clip.frames[: clip.head]
    healthy = clip.frames[clip.head :][:most]
    seed = zlib.crc32(f'{fault.name} {severity} {clip.name}'.encode())
    faulty = fault.damage(before, healthy, severity, np.random.default_rng(seed))
    after = check_stream([*before, *faulty], clip.rate_hz, modality)[len(before) :]
    start = check_stream(faulty, clip.rate_hz, modality, first=len(before))
    right = [n for n, found in enumerate(after) if kinds_of(found) & fault.causes]
    counts = Counter(kind for found in after for kind in kinds_of(found))
    least = FOUND_SHARE * len(faulty)
    return Cell(
        str(modality), fault.name, fault.half, severity, clip.name, len(faulty),
        found=sum(bool(kinds_of(found)) for found in after) >= least,
        named=len(right) >= least,
        delay_s=right[0] / clip.rate_hz if right else None,
        found_from_start=sum(bool(kinds_of(found)) for found in start) >= least,
        named_from_start=sum(bool(kinds_of(found) & fault.causes) for found in start) >= least,
        taken_out=sum(is_taken_out(found) for found in after) / len(faulty),
        kinds=dict(counts.most_common()),
    )  # fmt: skip


def score_healthy(recording: Recording, modality: Modality, most: int | None = None) -> Alarms:
    """Count the findings in a healthy recording.

    Args:
        recording: The recording.
        modality: Its sensor.
        most: At most so many frames.
    """
    frames = recording.frames[:most]
    if recording.still:
        found = [check_stream([data], 1.0, modality)[0] for data in frames]
    else:
        found = check_stream(frames, recording.rate_hz, modality)
    counts = Counter(kind for each in found for kind in kinds_of(each))
    return Alarms(
        str(modality),
        recording.data_set,
        len(frames),
        sum(bool(kinds_of(each)) for each in found),
        sum(is_taken_out(each) for each in found),
        0.0 if recording.still else len(frames) / recording.rate_hz / 3600,
        dict(counts),
    )


def joined(alarms: Sequence[Alarms]) -> list[Alarms]:
    """Add up the recordings of each data set."""
    sums: dict[tuple[str, str], Alarms] = {}
    for each in alarms:
        key = (each.sensor, each.data_set)
        known = sums.get(key, Alarms(*key, 0, 0, 0, 0.0, {}))
        sums[key] = Alarms(
            *key,
            known.frames + each.frames,
            known.alarms + each.alarms,
            known.taken_out + each.taken_out,
            known.hours + each.hours,
            dict(Counter(known.kinds) + Counter(each.kinds)),
        )
    return list(sums.values())
