"""Outages of sensors: when and why one was not used, what ran instead, what it cost.

Times are seconds of the recording since its first reference frame.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.status import FrameStatus, total_latency_ms, without_figures
from sam_ad_perception.reporting.drive_log import DriveLog, FrameLog, merge_confusions

_RECOVERING = 'recovering'
_WORDS = 3
"""A cause is a word or three in the sentence, such as `black`; longer ones are called missing."""
_NAMED = 4
"""So many outages are named in the sentence, the rest is counted."""


@dataclass(frozen=True)
class Outage:
    """A time in which one sensor entered no mask.

    Attributes:
        sensor: Its name.
        start_s: First frame without it.
        end_s: First frame with it again, or the end of the run.
        cause: In words, as the status says it; without the frames in which it recovered.
        instead: What the masks were made of meanwhile; empty where there were none.
        frames: Reference frames.
        masks: Masks of them.
        middle_ns: Stamp of the frame that stands for it, nanoseconds.
        miou: Mean IoU of those masks; None without truth.
        miou_else: Mean IoU on the same frames without the fault where that was measured, else of
            the masks in the same light and weather that every sensor entered; None where there
            are none.
        same_frames: Whether `miou_else` is of the same frames.
    """

    sensor: str
    start_s: float
    end_s: float
    cause: str
    instead: str
    frames: int
    masks: int
    middle_ns: int
    miou: float | None = None
    miou_else: float | None = None
    same_frames: bool = False

    @property
    def kind(self) -> str:
        """The cause in a word or three."""
        head = self.cause.partition(':')[0]
        return head if len(head.split()) <= _WORDS else 'missing'

    @property
    def cost(self) -> float | None:
        """Mean IoU that it cost; None where that is not known."""
        return None if self.miou is None or self.miou_else is None else self.miou_else - self.miou


def find_outages(
    frames: Sequence[FrameLog],
    sensors: Sequence[str],
    without: Mapping[int, ConfusionMatrix] | None = None,
) -> list[Outage]:
    """Find when each sensor was not used.

    Args:
        frames: The run, ordered by stamp.
        sensors: Those that were recorded.
        without: For faulty frames, by stamp, the confusion of a mask made without the fault.

    Returns:
        The outages, by their start. A frame without a mask is one of every sensor that it names,
        or, where it names none, of the frame's `mask`.
    """
    found = []
    for sensor in (*sensors, 'mask'):
        causes = [_cause(frame.status, sensor) for frame in frames]
        runs = itertools.groupby(range(len(frames)), lambda i: bool(causes[i]))  # noqa: B023
        for out, indices in runs:
            if out:
                run = list(indices)
                found.append(_make(frames, sensor, causes, run[0], run[-1] + 1, without or {}))
    return sorted(found, key=lambda each: (each.start_s, each.sensor))


def say_summary(log: DriveLog, outages: Sequence[Outage]) -> str:
    """Say how a run went, as one engineer tells another.

    Args:
        log: The run.
        outages: From `find_outages`.

    Returns:
        A sentence: outages, masks, gaps; whose time a figure is, is said beside it.
    """
    told = [f'{o.sensor} {o.kind} {o.start_s:.1f} to {o.end_s:.1f} s' for o in outages[:_NAMED]]
    if len(outages) > _NAMED:
        told.append(f'{len(outages) - _NAMED} more outages')
    first = ', '.join(told) or 'every sensor in every mask'
    lacking = sum(f.status.dropped is None and bool(f.status.missing) for f in log.frames)
    parts = [first[0].upper() + first[1:]]
    masks = f'{log.published} of {len(log.frames)} masks'
    parts.append(f'{masks}, {lacking} without a sensor' if lacking else masks)
    stamps = [f.status.stamp_ns for f in log.frames if f.status.dropped is None]
    times = [total_latency_ms(f.status.latency_ms) for f in log.frames if f.status.latency_ms]
    gaps = []
    if len(stamps) > 1:
        gaps.append(f'longest gap {1e-6 * np.diff(stamps).max():.0f} ms of bag time')
    if times:
        gaps.append(f'slowest mask {max(times):.0f} ms on the machine that made it')
    return '; '.join([*parts, ', '.join(gaps)] if gaps else parts) + '.'


def judged_share(frames: Sequence[FrameLog]) -> float | None:
    """The share of the pixels of masks with a truth that the truth says something about.

    Args:
        frames: Of a run, or some of them.

    Returns:
        0 to 1; None without truth.
    """
    pixels = sum(frame.pixels for frame in frames if frame.confusion is not None)
    judged = sum(int(f.confusion.counts.sum()) for f in frames if f.confusion is not None)
    return judged / pixels if pixels else None


def _cause(status: FrameStatus, sensor: str) -> str:
    """Why a frame is without a sensor; '' where it is not."""
    if sensor == 'mask':
        return f'no mask: {status.dropped}' if status.dropped and not status.missing else ''
    return status.missing.get(sensor, '')


def _make(
    frames: Sequence[FrameLog],
    sensor: str,
    causes: Sequence[str],
    first: int,
    end: int,
    without: Mapping[int, ConfusionMatrix],
) -> Outage:
    """One outage: the frames from `first` to before `end`."""
    stamps = [frame.status.stamp_ns for frame in frames]
    period_ns = stamps[1] - stamps[0] if len(stamps) > 1 else 0
    end_ns = stamps[end] if end < len(stamps) else stamps[-1] + period_ns
    during = frames[first:end]
    told = causes[first:end]
    plain = [cause for cause in told if not cause.startswith(_RECOVERING)] or told
    kind, _ = Counter(map(without_figures, plain)).most_common(1)[0]
    cause = next(cause for cause in plain if without_figures(cause) == kind)
    used = Counter(' + '.join(f.status.used) for f in during if f.status.dropped is None)
    mine = merge_confusions(frame.confusion for frame in during)
    twin = merge_confusions(
        without.get(f.status.stamp_ns) for f in during if f.confusion is not None
    )
    whole = [
        f.confusion
        for f in frames
        if not f.status.missing and f.condition in {each.condition for each in during}
    ]
    other = merge_confusions(whole) if twin is None else twin
    return Outage(
        sensor,
        1e-9 * (stamps[first] - stamps[0]),
        1e-9 * (end_ns - stamps[0]),
        cause,
        used.most_common(1)[0][0] if used else '',
        len(during),
        sum(frame.status.dropped is None for frame in during),
        stamps[(first + end) // 2],
        None if mine is None else mine.miou_of_present(),
        None if mine is None or other is None else other.miou_of_present(),
        twin is not None,
    )
