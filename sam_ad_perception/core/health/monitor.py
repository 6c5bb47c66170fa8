"""The health monitor: finds black, blurred, frozen, empty or noisy frames, and says why.

Each frame of a bundle is measured (`measures`), then judged (`judgement`) by fixed
thresholds and by the sensor's own running levels, so that night and fog, which come slowly and
stay, are not taken for faults. An unusable frame is taken out of the bundle, where its sensor is
then missing with the reason; a degraded one stays, and is told. Degrading is immediate; a sensor
that was taken out is back after `HealthConfig.recovery_frames` good frames.

Findings depend on the frames and their stamps alone.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.health.config import HealthConfig
from sam_ad_perception.core.health.judgement import (
    HealthFinding,
    HealthKind,
    Judgement,
    Severity,
    check_cloud,
    check_events,
)
from sam_ad_perception.core.health.measures import (
    event_density,
    measure_cloud,
    measure_image,
    sample_events,
    warm_up,
)
from sam_ad_perception.core.health.repetition import differs, is_same, warm_up_comparison
from sam_ad_perception.core.health.watch import Circumstances, Watch, warm_up_watches
from sam_ad_perception.core.registry import resolve
from sam_ad_perception.core.sensors import (
    EVENT_WINDOW_NS,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorData,
    SensorFrame,
    remove_sensors,
)

MAX_SENSORS = 64
"""So many sensors are remembered at once; the one not heard for longest is forgotten."""

_Key = tuple[str, Modality, str]


@dataclass(frozen=True, eq=False)
class CheckedBundle:
    """A bundle without its unusable frames.

    Attributes:
        bundle: The bundle; a sensor taken out is missing, with the reason, and one that is used
            nevertheless has a note.
        findings: What was found, by sensor; sensors without a finding are left out.
    """

    bundle: SensorBundle
    findings: Mapping[Modality, tuple[HealthFinding, ...]]


@dataclass(frozen=True)
class SensorHealth:
    """What was found about one sensor so far.

    Attributes:
        frames: Frames checked.
        counts: Frames by kind of finding.
        unhealthy: Frames with any finding.
        unusable: Frames taken out.
        last_reason: The newest finding in words; empty without any.
    """

    frames: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    unhealthy: int = 0
    unusable: int = 0
    last_reason: str = ''

    def joined(self, other: SensorHealth) -> SensorHealth:
        """Add what was found in another view."""
        return SensorHealth(
            self.frames + other.frames,
            dict(Counter(self.counts) + Counter(other.counts)),
            self.unhealthy + other.unhealthy,
            self.unusable + other.unusable,
            other.last_reason or self.last_reason,
        )


class HealthMonitor:
    """Checks frames and remembers each sensor's usual figures.

    State is kept per view, sensor and frame_id, so that several cameras in one process do not mix.
    A stamp that goes back, or a long silence, starts a sensor's state anew. One thread at a time
    may call `check` and `reset`; `summary` may be called from any.

    Args:
        config: Thresholds; the defaults where None.
    """

    def __init__(self, config: HealthConfig | None = None) -> None:
        warm_up()
        warm_up_watches()
        warm_up_comparison()
        self.config = config or HealthConfig()
        self._sensors: OrderedDict[_Key, _Sensor] = OrderedDict()
        self._lock = threading.Lock()
        self._told: dict[tuple[str, Modality], SensorHealth] = {}

    def check(self, bundle: SensorBundle) -> CheckedBundle:
        """Check every frame of a bundle.

        Args:
            bundle: The bundle. Frames are checked once: one that came in the bundle before, under
                the same stamp, is as it was judged then.

        Returns:
            The bundle without its unusable frames, and the findings.
        """
        findings: dict[Modality, tuple[HealthFinding, ...]] = {}
        moving: bool | None = None
        # The camera first: whether it sees motion decides whether silent events are a fault.
        for modality, thresholds in self.config.sensors.items():
            frame = bundle.frames.get(modality)
            if frame is None or not thresholds.enabled:
                continue
            sensor = self._sensor((bundle.camera.frame_id, modality, frame.frame_id), frame)
            around = Circumstances(moving=moving, T_camera=bundle.T_camera.get(modality))
            found = sensor.take(frame, self.config, around)
            if modality is Modality.CAMERA and not found:
                moving = sensor.moving
            if found:
                findings[modality] = found
            if sensor.fresh:
                self._tell((bundle.camera.frame_id, modality), found)
        return CheckedBundle(_without_unusable(bundle, findings), findings)

    def reset(self) -> None:
        """Forget all sensors and all counts."""
        self._sensors.clear()
        with self._lock:
            self._told.clear()

    def summary(self, view: str | None = None) -> dict[Modality, SensorHealth]:
        """What was found so far, by sensor.

        Args:
            view: Frame of the camera of one view; None for all views together.
        """
        with self._lock:
            told = [(key, each) for key, each in self._told.items() if view in (None, key[0])]
        found: dict[Modality, SensorHealth] = {}
        for (_, modality), each in told:
            found[modality] = found.get(modality, SensorHealth()).joined(each)
        return found

    def _sensor(self, key: _Key, frame: SensorFrame) -> _Sensor:
        sensor = self._sensors.get(key)
        if sensor is None or sensor.is_stale(frame.stamp_ns, self.config.forget_s):
            sensor = self._sensors[key] = _Sensor(frame.modality)
        self._sensors.move_to_end(key)
        if len(self._sensors) > MAX_SENSORS:
            self._sensors.popitem(last=False)
        return sensor

    def _tell(self, key: tuple[str, Modality], found: tuple[HealthFinding, ...]) -> None:
        with self._lock:
            before = self._told.pop(key, SensorHealth())
            while len(self._told) >= MAX_SENSORS:
                del self._told[next(iter(self._told))]
            counts = dict(before.counts)
            for kind in {str(finding.kind) for finding in found}:
                counts[kind] = counts.get(kind, 0) + 1
            unusable = any(finding.severity is Severity.UNUSABLE for finding in found)
            reason = found[-1].reason if found else before.last_reason
            frames, unhealthy = before.frames + 1, before.unhealthy + bool(found)
            taken_out = before.unusable + unusable
            self._told[key] = SensorHealth(frames, counts, unhealthy, taken_out, reason)


class _Sensor:
    """What is known of one sensor.

    Attributes:
        fresh: Whether the frame taken last was a new one.
        moving: Whether that image differs from the one before by more than noise; None at first.
    """

    def __init__(self, modality: Modality) -> None:
        watch = modality.record.watch
        self._watch: Watch | None = resolve(watch)() if watch else None
        self.fresh = False
        self.moving: bool | None = None
        self._stamp_ns: int | None = None
        self._found: tuple[HealthFinding, ...] = ()
        self._samples: NDArray[Any] | None = None
        self._before: SensorData | None = None
        self._levels: dict[str, float] = {}
        self._frames = 0
        self._repeats = 0
        self._repeated_s = 0.0
        self._refused: dict[str, float] = {}
        self._refused_s = 0.0
        self._good_frames_due = 0

    def is_stale(self, stamp_ns: int, forget_s: float) -> bool:
        """Whether a frame of this stamp starts anew: time went back, or long nothing came."""
        return self._stamp_ns is not None and not (0 <= stamp_ns - self._stamp_ns < 1e9 * forget_s)

    def take(
        self, frame: SensorFrame, config: HealthConfig, around: Circumstances
    ) -> tuple[HealthFinding, ...]:
        """Judge a frame.

        Args:
            frame: The frame.
            config: Thresholds.
            around: What the other sensors know.

        Returns:
            What is wrong with it.
        """
        self.fresh = frame.stamp_ns != self._stamp_ns
        if not self.fresh:
            return self._found
        before_ns = frame.stamp_ns if self._stamp_ns is None else self._stamp_ns
        elapsed_s = (frame.stamp_ns - before_ns) * 1e-9
        self._stamp_ns = frame.stamp_ns
        try:
            found, figures = self._judge(frame, config, around, elapsed_s)
        except ValueError:
            # A malformed frame has no health: whoever renders it says what is wrong with it.
            self._found = ()
            return self._found
        unusable = any(finding.severity is Severity.UNUSABLE for finding in found)
        if not self._repeats:
            self._learn(figures, elapsed_s, config, refused=bool(found))
        self._found = tuple(found) + self._recover(unusable, config.recovery_frames)
        return self._found

    def _judge(
        self, frame: SensorFrame, config: HealthConfig, around: Circumstances, elapsed_s: float
    ) -> Judgement:
        """Measure a frame and judge it by the figures; then compare it with the one before."""
        data, levels, image = frame.data, self._levels, None
        thresholds, judge = config.sensors[frame.modality], frame.modality.record.judge
        if isinstance(data, Events):
            density = event_density(data, frame.stamp_ns, EVENT_WINDOW_NS)
            found, figures = check_events(density, around.moving, levels, thresholds)
            samples: NDArray[Any] = sample_events(data)
        elif isinstance(data, PointCloud):
            cloud = measure_cloud(data)
            found, figures = check_cloud(cloud, levels, thresholds)
            samples = cloud.samples
        else:
            assert isinstance(data, np.ndarray)
            image = measure_image(data)
            samples = image.samples
            if self._samples is not None and self._samples.dtype != samples.dtype:
                levels.clear()  # a driver that changed its encoding: nothing is usual any more
                self._frames = 0
            found, figures = resolve(judge)(image, levels, thresholds) if judge else ([], {})
            if frame.modality is Modality.CAMERA:
                self.moving = differs(samples, self._samples, 4.0 + 6.0 * image.noise)
        found = found + self._frozen(data, samples, config, elapsed_s, judged=found)
        if self._watch is not None:
            kinds = frozenset(finding.kind for finding in found)
            around = Circumstances(elapsed_s, around.moving, around.T_camera, image, kinds)
            found = found + self._watch.look(frame, around, thresholds)
        # A copy of what may be a view: the message that holds the pixels goes away.
        self._samples = np.array(samples)
        self._before = data
        return found, figures

    def _frozen(
        self,
        data: SensorData,
        samples: NDArray[Any],
        config: HealthConfig,
        elapsed_s: float,
        judged: Sequence[HealthFinding],
    ) -> list[HealthFinding]:
        """Compare with the frame before: noise alone makes two frames of a live sensor differ.

        Samples that differ settle it; where they are equal, all values are compared. A frame that
        is unusable by its own figures, as a black one, is told as such. A driver may send each
        frame twice: one that repeats is used until that lasts.
        """
        before = self._samples
        same = (
            before is not None
            and self._before is not None
            and samples.size > 0
            and before.dtype == samples.dtype
            and np.array_equal(before[:1], samples[:1], equal_nan=samples.dtype.kind == 'f')
            and np.array_equal(before, samples, equal_nan=samples.dtype.kind == 'f')
            and is_same(self._before, data)
        )
        self._repeats = self._repeats + 1 if same else 0
        self._repeated_s = self._repeated_s + elapsed_s if same else 0.0
        refused = any(finding.severity is Severity.UNUSABLE for finding in judged)
        least = config.frozen_repeats
        if refused or not same or not least:
            return []
        if self._repeats < least or self._repeated_s < config.frozen_s:
            reason = (
                f'repeated: the frame before under another stamp, {self._repeats} times so far'
            )
            kind, severity = HealthKind.REPEATED, Severity.DEGRADED
        else:
            reason = (
                f'frozen: the same content under {self._repeats + 1} different stamps (of a '
                'simulator without noise: health.frozen_repeats 0)'
            )
            kind, severity = HealthKind.FROZEN, Severity.UNUSABLE
        return [HealthFinding(kind, reason, severity, self._repeats, least)]

    def _learn(
        self,
        figures: Mapping[str, float],
        elapsed_s: float,
        config: HealthConfig,
        *,
        refused: bool,
    ) -> None:
        """Move the running levels by healthy frames alone, quickly while few came.

        Frames that are refused have levels of their own, which become the running ones once that
        lasted: what lasts is the new normal.
        """
        weight = 1 - math.exp(-elapsed_s / config.level_s)
        if refused:
            if self._levels:
                self._refused_s += elapsed_s
                _move(self._refused, figures, weight)
            if self._refused_s >= config.accept_s:
                self._levels, self._refused, self._refused_s = self._refused, {}, 0.0
                if self._watch is not None:
                    self._watch.learn(1.0)
            return
        self._frames += 1
        self._refused_s = max(0.0, self._refused_s - elapsed_s)
        if not self._refused_s:
            self._refused = {}
        weight = max(weight, 1 / self._frames)
        _move(self._levels, figures, weight)
        if self._watch is not None:
            self._watch.learn(weight)

    def _recover(self, unusable: bool, frames: int) -> tuple[HealthFinding, ...]:
        """Hold back a sensor that was taken out until it was good for a while."""
        if unusable:
            self._good_frames_due = frames
            return ()
        self._good_frames_due = max(self._good_frames_due - 1, 0)
        if not self._good_frames_due:
            return ()
        good = frames - self._good_frames_due
        reason = f'recovering: {good} of {frames} good frames'
        return (HealthFinding(HealthKind.RECOVERING, reason, Severity.UNUSABLE, good, frames),)


def _move(levels: dict[str, float], figures: Mapping[str, float], weight: float) -> None:
    """Move running levels towards figures; the first figure is the level."""
    for name, value in figures.items():
        before = levels.get(name, value)
        levels[name] = before + weight * (value - before)


def _without_unusable(
    bundle: SensorBundle, findings: Mapping[Modality, tuple[HealthFinding, ...]]
) -> SensorBundle:
    """Take out the unusable frames, and note what is wrong with the others."""
    if not findings:
        return bundle
    refusals: dict[Modality, str] = {}
    notes = dict(bundle.notes)
    for modality, found in findings.items():
        refused = [f.reason for f in found if f.severity is Severity.UNUSABLE]
        if refused:
            refusals[modality] = '; '.join(refused)
        else:
            known = [notes[modality]] if modality in notes else []
            notes[modality] = '; '.join([*known, *(f.reason for f in found)])
    return remove_sensors(replace(bundle, notes=notes), refusals)
