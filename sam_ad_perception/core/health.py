"""Is what a sensor delivers worth using? Black, blurred, frozen, empty, bursting: with a reason.

Each frame of a bundle is measured (`health_measures`), then judged (`health_judgement`) by fixed
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

from sam_ad_perception.core.health_config import HealthConfig
from sam_ad_perception.core.health_judgement import (
    HealthFinding,
    HealthKind,
    Judgement,
    Levels,
    Severity,
    judge_camera,
    judge_cloud,
    judge_depth,
    judge_events,
    judge_thermal,
)
from sam_ad_perception.core.health_measures import (
    event_density,
    measure_cloud,
    measure_image,
    sample_events,
    warm_up,
)
from sam_ad_perception.core.sensors import (
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)

EVENT_WINDOW_NS = 30_000_000
"""So much of the events before a frame's stamp is counted."""
MAX_SENSORS = 64
"""So many sensors are remembered at once; the one not heard for longest is forgotten."""
MOVING_SHARE = 0.05
"""The camera sees motion when this share of its pixels changed by more than noise can."""

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
        for modality in Modality:
            frame = bundle.frames.get(modality)
            if frame is None or not getattr(self.config, modality).enabled:
                continue
            sensor = self._sensor((bundle.camera.frame_id, modality, frame.frame_id), frame)
            found = sensor.take(frame, self.config, moving)
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
            sensor = self._sensors[key] = _Sensor()
        self._sensors.move_to_end(key)
        if len(self._sensors) > MAX_SENSORS:
            self._sensors.popitem(last=False)
        return sensor

    def _tell(self, key: tuple[str, Modality], found: tuple[HealthFinding, ...]) -> None:
        with self._lock:
            before = self._told.pop(key, SensorHealth())
            while len(self._told) >= MAX_SENSORS:
                del self._told[next(iter(self._told))]
            counts = Counter(before.counts)
            counts.update({str(finding.kind) for finding in found})
            unusable = any(finding.severity is Severity.UNUSABLE for finding in found)
            self._told[key] = SensorHealth(
                before.frames + 1,
                dict(counts),
                before.unhealthy + bool(found),
                before.unusable + unusable,
                found[-1].reason if found else before.last_reason,
            )


class _Sensor:
    """What is known of one sensor.

    Attributes:
        fresh: Whether the frame taken last was a new one.
        moving: Whether that image differs from the one before by more than noise; None at first.
    """

    def __init__(self) -> None:
        self.fresh = False
        self.moving: bool | None = None
        self._stamp_ns: int | None = None
        self._found: tuple[HealthFinding, ...] = ()
        self._samples: NDArray[Any] | None = None
        self._levels: dict[str, float] = {}
        self._frames = 0
        self._repeats = 0
        self._good_frames_due = 0

    def is_stale(self, stamp_ns: int, forget_s: float) -> bool:
        """Whether a frame of this stamp starts anew: time went back, or long nothing came."""
        return self._stamp_ns is not None and not (0 <= stamp_ns - self._stamp_ns < 1e9 * forget_s)

    def take(
        self, frame: SensorFrame, config: HealthConfig, moving: bool | None
    ) -> tuple[HealthFinding, ...]:
        """Judge a frame.

        Args:
            frame: The frame.
            config: Thresholds.
            moving: Whether the camera sees motion, or None.

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
            found, figures = self._judge(frame, config, moving)
        except ValueError:
            # A malformed frame has no health: whoever renders it says what is wrong with it.
            self._found = ()
            return self._found
        unusable = any(finding.severity is Severity.UNUSABLE for finding in found)
        self._learn(figures, elapsed_s, config, refused=bool(found))
        self._found = tuple(found) + self._recover(unusable, config.recovery_frames)
        return self._found

    def _judge(self, frame: SensorFrame, config: HealthConfig, moving: bool | None) -> Judgement:
        """Measure a frame and judge it by the figures; then compare it with the one before."""
        data, levels = frame.data, self._levels
        if isinstance(data, Events):
            density = event_density(data, frame.stamp_ns, EVENT_WINDOW_NS)
            found, figures = judge_events(density, moving, levels, config.event)
            samples: NDArray[Any] = sample_events(data)
        elif isinstance(data, PointCloud):
            cloud = measure_cloud(data)
            found, figures = judge_cloud(cloud, levels, config.lidar)
            samples = cloud.samples
        else:
            assert isinstance(data, np.ndarray)
            image = measure_image(data)
            samples = image.samples
            if self._samples is not None and self._samples.dtype != samples.dtype:
                levels.clear()  # a driver that changed its encoding: nothing is usual any more
                self._frames = 0
            found, figures = _judge_image(image, frame.modality, levels, config)
            if frame.modality is Modality.CAMERA:
                self.moving = _differs(samples, self._samples, 4.0 + 6.0 * image.noise)
        found = found + self._frozen(samples, config.frozen_repeats, judged=found)
        # A copy of what may be a view: the message that holds the pixels goes away.
        self._samples = np.array(samples)
        return found, figures

    def _frozen(
        self, samples: NDArray[Any], repeats: int, judged: Sequence[HealthFinding]
    ) -> list[HealthFinding]:
        """Compare with the frame before: noise alone makes two frames of a live sensor differ.

        A frame that is unusable by its own figures, as a black one, is told as such.
        """
        before = self._samples
        same = (
            before is not None
            and samples.size > 0
            and before.dtype == samples.dtype
            and np.array_equal(before, samples, equal_nan=samples.dtype.kind == 'f')
        )
        self._repeats = self._repeats + 1 if same else 0
        refused = any(finding.severity is Severity.UNUSABLE for finding in judged)
        if refused or not repeats or self._repeats < repeats:
            return []
        reason = f'frozen: the same content under {self._repeats + 1} different stamps'
        return [
            HealthFinding(HealthKind.FROZEN, reason, Severity.UNUSABLE, self._repeats, repeats)
        ]

    def _learn(
        self,
        figures: Mapping[str, float],
        elapsed_s: float,
        config: HealthConfig,
        *,
        refused: bool,
    ) -> None:
        """Move the running levels: slowly while frames are refused, quickly while few came."""
        if refused and not self._levels:
            return
        self._frames += not refused
        weight = 1 - math.exp(-elapsed_s / (config.accept_s if refused else config.level_s))
        if not refused:
            weight = max(weight, 1 / self._frames)
        for name, value in figures.items():
            before = self._levels.get(name, value)
            self._levels[name] = before + weight * (value - before)

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


def _judge_image(
    image: Any, modality: Modality, levels: Levels, config: HealthConfig
) -> Judgement:
    if modality is Modality.CAMERA:
        return judge_camera(image, levels, config.camera)
    if modality is Modality.THERMAL:
        return judge_thermal(image, levels, config.thermal)
    return judge_depth(image, levels, config.depth)


def _differs(samples: NDArray[Any], before: NDArray[Any] | None, least: float) -> bool | None:
    """Whether more pixels differ by `least` than a standing camera explains."""
    if before is None or before.shape != samples.shape or before.dtype != samples.dtype:
        return None
    change = np.abs(np.subtract(samples, before, dtype=np.float32))
    return bool(np.count_nonzero(change > least) > MOVING_SHARE * samples.size)


def _without_unusable(
    bundle: SensorBundle, findings: Mapping[Modality, tuple[HealthFinding, ...]]
) -> SensorBundle:
    """Take out the unusable frames, and note what is wrong with the others."""
    if not findings:
        return bundle
    missing, notes = dict(bundle.missing), dict(bundle.notes)
    for modality, found in findings.items():
        refused = [f.reason for f in found if f.severity is Severity.UNUSABLE]
        if refused:
            missing[modality] = '; '.join(refused)
            notes.pop(modality, None)
        else:
            known = [notes[modality]] if modality in notes else []
            notes[modality] = '; '.join([*known, *(f.reason for f in found)])
    frames = {m: f for m, f in bundle.frames.items() if m not in missing}
    return replace(bundle, frames=frames, missing=missing, notes=notes)
