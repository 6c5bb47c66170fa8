"""Diagnostics of the segmentation node: sensors, latency, memory, faults."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sam_ad_perception.core.fault_codes import (
    NETWORK_UNUSABLE,
    NODE_INACTIVE,
    NODE_LOADING,
    NODE_PROBLEM,
    OUTPUT_DEGRADED,
    OUTPUT_DROPPED,
    OUTPUT_NO_REFERENCE,
)
from sam_ad_perception.core.health.monitor import SensorHealth
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.nodes.inputs.sensors import SensorInputs
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.nodes.ros.diagnostics import ERROR, OK, WARN, Diagnosis
from sam_ad_perception.nodes.segmentation.model_loading import LoadedModel

CAMERA = Modality.CAMERA
KEPT_FRAMES = 300
"""Latencies are told over so many of the latest masks."""
PERCENTS = (50, 95, 99)


class StageLatencies:
    """Time per stage of the latest masks; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, deque[float]] = {}

    def add(self, latency_ms: Mapping[str, float]) -> None:
        """Take the times of one mask.

        Args:
            latency_ms: Stage to milliseconds.
        """
        with self._lock:
            for stage, ms in latency_ms.items():
                self._stages.setdefault(stage, deque(maxlen=KEPT_FRAMES)).append(ms)

    def percentiles(self) -> dict[str, tuple[float, ...]]:
        """For each stage its percentiles at `PERCENTS`, milliseconds."""
        with self._lock:
            ordered = {stage: sorted(values) for stage, values in self._stages.items()}
        return {
            stage: tuple(v[min(len(v) * percent // 100, len(v) - 1)] for percent in PERCENTS)
            for stage, v in ordered.items()
        }


@dataclass(frozen=True, eq=False)
class ViewReport:
    """What happened in one camera view so far.

    Attributes:
        name: Of the view; empty for the only one.
        frame_id: Frame of its camera; empty before its first bundle.
        active_since: Steady seconds; None while it is not active.
        masks: Masks published.
        unwanted: Bundles of which nobody wanted to know anything.
        drops: Reference frames without a mask, by reason.
        last_mask: Status of the newest mask.
        last_mask_at: When it was published, steady seconds.
        last_drop: Status of the newest drop.
        latencies: See `StageLatencies.percentiles`.
        wanted: Whether somebody listens.
        epoch: How often time was set back.
        inputs: Its sensors; None while the node is not configured.
    """

    name: str
    frame_id: str
    active_since: float | None
    masks: int
    unwanted: int
    drops: Mapping[str, int]
    last_mask: FrameStatus | None
    last_mask_at: float | None
    last_drop: FrameStatus | None
    latencies: Mapping[str, tuple[float, ...]]
    wanted: bool
    epoch: int
    inputs: SensorInputs | None

    def title(self, entry: str) -> str:
        """Name an entry of `/diagnostics` after the view."""
        return f'{self.name}/{entry}' if self.name else entry


@dataclass(frozen=True)
class NodeReport:
    """What holds for the whole node.

    Attributes:
        state: Of its life cycle.
        problem: Why it cannot run at all; empty where it can.
        waiting: Bundles that wait for the worker.
        batch: Bundles that it took last.
        progress: How far loading is; empty where it does not load.
    """

    state: str
    problem: str
    waiting: int
    batch: int
    progress: str = ''


class SegmentationDiagnostics:
    """Turns reports into entries; remembers what it told last, for rates.

    Args:
        config: The node's parameters: they say for how long no mask is no alarm.
    """

    def __init__(self, config: SegmentationConfig) -> None:
        sync = config.bundler.sync
        longest = max(each.max_age_s for each in sync.sensors.values() if each.enabled)
        self._silence_s = sync.deadline_s + longest
        self._told: dict[str, tuple[float, int, int]] = {}

    def diagnose_view(
        self,
        report: ViewReport,
        node: NodeReport,
        health: Mapping[Modality, SensorHealth],
        now: float,
    ) -> list[Diagnosis]:
        """Tell about one view: its masks, then each of its inputs.

        Args:
            report: What happened in it.
            node: What holds for the node.
            health: What was found about its sensors' frames.
            now: Steady time, seconds.

        Returns:
            The entries.
        """
        entries = [self._diagnose_output(report, node, now)]
        inputs = report.inputs
        if inputs is None:
            return entries
        counts, timing = inputs.counters, inputs.timing
        by_name = {str(modality): each for modality, each in health.items()}
        for name, monitor in inputs.monitors.items():
            start = f'{name}.'
            own = {k.removeprefix(start): n for k, n in counts.items() if k.startswith(start)}
            own.pop('received', None)  # the monitor's own count holds the bad ones, too
            told = monitor.diagnose(now, own, by_name.get(name), timing.get(name))
            values = told.values
            if name == f'camera_info/{CAMERA}':
                values += (('reading', inputs.reading),)
            if name in inputs.standing_notes:
                values += (('note', inputs.standing_notes[name]),)
            entries.append(replace(told, name=report.title(name), values=values))
        return entries

    def _diagnose_output(self, report: ViewReport, node: NodeReport, now: float) -> Diagnosis:
        drops = sum(report.drops.values())
        told_at, told_masks, told_drops = self._told.get(report.name, (now, 0, 0))
        self._told[report.name] = now, report.masks, drops
        rate = (report.masks - told_masks) / (now - told_at) if now > told_at else 0.0
        level, message, code = self._judge(report, node, now, fresh_drops=drops > told_drops)
        values = [
            ('state', node.state),
            ('rate_hz', f'{rate:.2f}'),
            ('masks', str(report.masks)),
            ('drops', str(drops)),
            ('not wanted', str(report.unwanted)),
        ]
        if report.last_mask is not None:
            values.append(('expert', report.last_mask.expert))
            values.append(('used', ','.join(report.last_mask.used)))
            values.append(('reason', report.last_mask.reason))
        values += [(f'dropped: {reason}', str(n)) for reason, n in report.drops.items()]
        if report.inputs is not None:
            jumps = report.epoch + report.inputs.counters['time_jumps']
            values.append(('time_jumps', str(jumps)))
        for stage, figures in report.latencies.items():
            for percent, ms in zip(PERCENTS, figures, strict=True):
                values.append((f'latency_ms/{stage}/p{percent}', f'{ms:.1f}'))
        return Diagnosis(report.title('output'), level, message, tuple(values), code)

    def _judge(
        self, report: ViewReport, node: NodeReport, now: float, *, fresh_drops: bool
    ) -> tuple[int, str, str]:
        """Whether masks come, and if not, why not."""
        if node.problem:
            return ERROR, node.problem, NODE_PROBLEM
        if report.active_since is None:
            code = NODE_LOADING if node.progress else NODE_INACTIVE
            return WARN, node.progress or f'the node is {node.state}', code
        mask, drop, masked_at = report.last_mask, report.last_drop, report.last_mask_at
        since = max(report.active_since, masked_at or 0.0)
        silent = now - since > self._silence_s
        if silent or mask is None or since != masked_at:
            if not report.wanted:
                return OK, 'nobody listens', ''
            why, code = 'no mask: no reference frame came', OUTPUT_NO_REFERENCE
            if drop is not None and (fresh_drops or not silent):
                why, code = drop.message, OUTPUT_DROPPED
            return (ERROR if silent else WARN), why, code
        return mask.level, mask.message, OUTPUT_DEGRADED if mask.level else ''


def diagnose_network(model: LoadedModel, device: str, node: NodeReport) -> Diagnosis:
    """Tell about the network that all views share.

    Args:
        model: What is loaded.
        device: Where it runs.
        node: What holds for the node.

    Returns:
        The entry; WARN where a network that was wanted cannot run.
    """
    # torch is loaded by now, see `model_loading`.
    from sam_ad_perception.modeling.devices import memory_mib

    unusable = model.segmenter.unusable
    message = f'{", ".join(model.segmenter.experts)} on {device}'
    message += ''.join(f'; without {key}: {why}' for key, why in unusable.items())
    values = [('queue', str(node.waiting)), ('batch', str(node.batch))]
    values += [(f'memory_mib/{name}', f'{mib:.0f}') for name, mib in memory_mib(device).items()]
    level, code = (WARN, NETWORK_UNUSABLE) if unusable else (OK, '')
    return Diagnosis('network', level, message, tuple(values), code)
