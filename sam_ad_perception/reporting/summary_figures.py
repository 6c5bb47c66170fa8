"""The figures of the report: quality by condition, latency by stage, and the few in large type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.stability.mask_stability import MaskStability
from sam_ad_perception.core.status import FrameStatus, total_latency_ms
from sam_ad_perception.reporting.drive_log import DriveLog, FrameLog, merge_confusions
from sam_ad_perception.reporting.fault_table import FaultRow
from sam_ad_perception.reporting.outages import judged_share
from sam_ad_perception.reporting.page import LatencyRow, QualityRow


def rate_conditions(frames: Sequence[FrameLog], space: LabelSpace) -> list[QualityRow]:
    """Rate the masks of a drive: all of them, and those without a fault in each condition.

    Args:
        frames: The run.
        space: Names the classes.

    Returns:
        The whole drive first, then a row per condition; empty without truth.
    """
    groups = [('whole drive', list(frames))]
    for condition in dict.fromkeys(frame.condition for frame in frames if frame.condition):
        well = [f for f in frames if f.condition == condition and not f.faults]
        groups.append((f'{condition}, no fault', well))
    faulty = [frame for frame in frames if frame.faults]
    if faulty:
        groups.append(('during faults', faulty))
    rows = []
    for name, group in groups:
        confusion = merge_confusions(frame.confusion for frame in group)
        if confusion is not None:
            masks = sum(frame.status.dropped is None for frame in group)
            row = rate_quality(name, confusion, space, masks, len(group))
            rows.append(replace(row, judged=judged_share(group)))
    return rows


def rate_quality(
    name: str, confusion: ConfusionMatrix, space: LabelSpace, frames: int, expected: int
) -> QualityRow:
    """Summarize a confusion matrix as a row of the report's table."""
    values = confusion.iou()
    iou = {c.name: None if np.isnan(values[c.id]) else float(values[c.id]) for c in space.classes}
    return QualityRow(name, confusion.miou_of_present(), iou, frames, expected)


def rate_latency(statuses: Sequence[FrameStatus]) -> list[LatencyRow]:
    """Percentiles of every stage that the statuses report, and of the whole.

    Args:
        statuses: Those of dropped frames, which have no latency, are left out.

    Returns:
        One row per stage in the order of the first status, then `total`.
    """
    timed = [status.latency_ms for status in statuses if status.latency_ms]
    stages = list(dict.fromkeys(stage for latency in timed for stage in latency))
    columns = {stage: [latency.get(stage, 0.0) for latency in timed] for stage in stages}
    if timed:
        columns.pop('total', None)  # it comes last
        columns['total'] = [total_latency_ms(latency) for latency in timed]
    return [
        LatencyRow(stage, *(float(p) for p in np.percentile(values, (50, 95, 99))))
        for stage, values in columns.items()
    ]


def headline(
    log: DriveLog,
    faults: Sequence[FaultRow],
    latency: Sequence[LatencyRow],
    stability: MaskStability | None = None,
) -> dict[str, str]:
    """The few figures that tell how the run went.

    Args:
        log: The run.
        faults: Its table of faults.
        latency: Its latencies, the total last.
        stability: Of its masks; None where that was not looked at.

    Returns:
        Caption -> figure with its unit.
    """
    figures = {'masks': f'{log.published} / {len(log.frames)}'}
    if log.confusion is not None:
        judged = judged_share(log.frames) or 0.0
        of = '' if judged >= 0.995 else f', {100 * judged:.0f} % of the pixels judged'
        figures[f'mIoU of the drive{of}'] = f'{100 * log.confusion.miou_of_present():.1f} %'
    stamps = [f.status.stamp_ns for f in log.frames if f.status.dropped is None]
    if len(stamps) > 1:
        figures['longest gap, bag time'] = f'{np.diff(stamps).max() * 1e-6:.0f} ms'
    if stability is not None and stability.pairs:
        figures['flicker'] = f'{100 * stability.changed:.1f} %'
        figures['mTC'] = f'{100 * stability.consistency:.1f} %'
    unlike = [f.status.unlike_training for f in log.frames]
    told = [each for each in unlike if each is not None]
    if told:
        figures['unlike training'] = f'{100 * np.mean(np.array(told) > 1):.0f} %'
    if faults:
        noticed = sum(row.noticed_ms is not None for row in faults)
        figures['faults noticed'] = f'{noticed} / {len(faults)}'
    if latency:
        figures['median latency, wall clock'] = f'{latency[-1].p50:.0f} ms'
    return figures


def make_legend(space: LabelSpace, confusion: ConfusionMatrix | None) -> dict[str, str]:
    """Class name -> `#rrggbb`, for the classes that occur; for all where that is not known."""
    present = [True] * len(space) if confusion is None else np.isfinite(confusion.iou())
    return {c.name: '#{:02x}{:02x}{:02x}'.format(*c.color) for c in space.classes if present[c.id]}
