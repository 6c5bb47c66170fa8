"""The plausibility pass: one monitor holds what is known of all sensors of one camera view.

Whoever reads messages (a node, a recording, `sam_ad doctor`) does four things with it:

1. `observe(sensor, stamp, arrival)` for each message, or `observe_all` ahead of a recording, then
   `read_ahead_done`;
2. `admit(sensor)`: None, or why its messages are not to be used; `corrected_stamp` where they are;
3. `checks(sensor)` is handed to `core.messages.from_ros.read_image` / `defer_image` /
   `frame_from_message`, and `check_frame` looks at each frame that was read;
4. `check_bundle` looks at what came together, takes out what cannot be right, and notes the rest.

`findings` then tells what was found and how often.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sam_ad_perception.core.findings import Finding, FindingCount
from sam_ad_perception.core.plausibility.clock import ClockModel
from sam_ad_perception.core.plausibility.clock_judgement import (
    ClockJudgement,
    ClockOffset,
    judge_clocks,
)
from sam_ad_perception.core.plausibility.clouds import check_cloud
from sam_ad_perception.core.plausibility.config import PlausibilityConfig
from sam_ad_perception.core.plausibility.events import check_events
from sam_ad_perception.core.plausibility.geometry import check_principal_point, check_view
from sam_ad_perception.core.plausibility.pixels import ImageChecks
from sam_ad_perception.core.plausibility.point_times import check_point_times
from sam_ad_perception.core.plausibility.reading_watch import ReadingWatch
from sam_ad_perception.core.plausibility.sensor_height import SensorHeight
from sam_ad_perception.core.plausibility.stamps import find_odd_stamps, odd_stamp, usual_gap_ns
from sam_ad_perception.core.plausibility.thermal_look import ThermalLook
from sam_ad_perception.core.sensors import Modality, PointCloud, SensorBundle, SensorFrame

_JUDGE_NS, _JUDGE_MOST_NS = 200_000_000, 2_000_000_000
_NEWEST = 32


@dataclass
class _Part:
    """What is known of the clocks since time began anew."""

    clocks: dict[Modality, ClockModel] = field(default_factory=dict)
    stamps: dict[Modality, deque[int]] = field(default_factory=dict)
    odd: dict[Modality, frozenset[int]] = field(default_factory=dict)
    judgement: ClockJudgement = field(default_factory=lambda: ClockJudgement({}, {}))
    judged_ns: int | None = None
    start_ns: int | None = None
    ahead: bool = False


class PlausibilityMonitor:
    """See the module's text. `findings`, `check_bundle` and images may be of any thread.

    Attributes:
        config: As given.
        readings: Told the two geometries of a camera_info, it sees which one the images have.

    Args:
        config: Margins, and what follows from a finding.
        offsets_ns: `offset_s` of each sensor, nanoseconds: subtracted from stamps before they are
            held against arrivals.
    """

    def __init__(
        self,
        config: PlausibilityConfig | None = None,
        offsets_ns: Mapping[Modality, int] | None = None,
    ) -> None:
        self.config = config or PlausibilityConfig()
        self._offsets_ns = dict(offsets_ns or {})
        self._lock = threading.Lock()
        self._checks: dict[Modality, ImageChecks] = {}
        self._heat = ThermalLook(black_hot=self.config.thermal_polarity == 'black_hot')
        self.readings, self._height = ReadingWatch(), SensorHeight()
        self.reset()

    def reset(self) -> None:
        """Forget all clocks and findings: time was set back."""
        with self._lock:
            self._parts = [_Part()]
            self._part = self._parts[0]
            self._counts: dict[tuple[str, str], FindingCount] = {}
            self._standing: dict[tuple[str, str], Finding] = {}

    def begin_part(self, number: int) -> None:
        """Go on with another part of a recording: time began anew there, and so do its clocks.

        Args:
            number: Which, from 0 on; parts that were observed before are known still.
        """
        while len(self._parts) <= number:
            self._parts.append(_Part())
        self._part = self._parts[number]

    # Clocks

    def observe(self, sensor: Modality, stamp_ns: int, arrival_ns: int) -> None:
        """Take note of a message's stamp and arrival.

        Args:
            sensor: Whose message.
            stamp_ns: Its header stamp as it came, nanoseconds.
            arrival_ns: When it arrived (was recorded), nanoseconds.
        """
        if not self.config.enabled:
            return
        part = self._part
        stamp_ns -= self._offset_ns(sensor, stamp_ns)
        part.stamps.setdefault(sensor, deque(maxlen=_NEWEST)).append(stamp_ns)
        if part.ahead:
            return
        if part.start_ns is None:
            part.start_ns = arrival_ns
        self._clock(sensor).add(stamp_ns, arrival_ns)
        # Soon at first; later what is known changes little from one look to the next.
        wait_ns = min(max(_JUDGE_NS, (arrival_ns - part.start_ns) // 10), _JUDGE_MOST_NS)
        if part.judged_ns is None or not 0 <= arrival_ns - part.judged_ns < wait_ns:
            part.judged_ns = arrival_ns
            self._judge()

    def observe_all(self, sensor: Modality, pairs: Iterable[tuple[int, int]]) -> None:
        """Take note of a whole recording of a sensor before it is used.

        Args:
            sensor: Whose messages.
            pairs: Header stamp and arrival (log time) of each, in their order, nanoseconds.
        """
        if not self.config.enabled:
            return
        told = [(s - self._offset_ns(sensor, s), a, s) for s, a in pairs]
        if not told:
            return
        stamps, arrivals = (np.array([each[k] for each in told], np.int64) for k in (0, 1))
        odd = find_odd_stamps(stamps, arrivals)
        part = self._part
        part.odd[sensor] = frozenset(told[k][2] for k in np.flatnonzero(odd))
        newest = part.stamps.setdefault(sensor, deque(maxlen=_NEWEST))
        first_ns = int(arrivals.min())
        part.start_ns = first_ns if part.start_ns is None else min(part.start_ns, first_ns)
        for (stamp, arrival, _), is_odd in zip(told, odd, strict=True):
            if is_odd:
                continue
            if len(newest) < _NEWEST:
                newest.append(stamp)
            self._clock(sensor).add(stamp, arrival)

    def read_ahead_done(self) -> None:
        """Judge the clocks of a recording once and for all: `observe` changes it no more."""
        if self.config.enabled:
            self._judge()
            self._part.ahead = True

    def admit(self, sensor: Modality, stamp_ns: int | None = None) -> Finding | None:
        """Say whether messages of a sensor may be used, or one of them.

        Args:
            sensor: Which.
            stamp_ns: Stamp of the message as it came, nanoseconds; None for all of them.

        Returns:
            Why not: its clock cannot be right, and `plausibility.clock` leaves such out, or the
            one stamp is damaged. None where they may.
        """
        found = self._part.judgement.findings.get(sensor)
        if found is not None and found.out:
            return found
        if stamp_ns is None or not self.config.enabled or not self._is_odd(sensor, stamp_ns):
            return None
        odd = self._accepted(odd_stamp(sensor, stamp_ns))
        self._count([odd])
        return odd if odd.out else None

    def _is_odd(self, sensor: Modality, stamp_ns: int) -> bool:
        """Whether a stamp is damaged: of a recording, or the newest one that arrived."""
        part = self._part
        if part.ahead:
            return stamp_ns in part.odd.get(sensor, ())
        clock = part.clocks.get(sensor)
        return clock is not None and clock.leaps(stamp_ns - self._offset_ns(sensor, stamp_ns))

    @property
    def clock_offsets(self) -> Mapping[Modality, ClockOffset]:
        """What such clocks are off, where that can be told."""
        return self._part.judgement.offsets

    @property
    def clock_findings(self) -> Mapping[Modality, Finding]:
        """The clocks that cannot be right now."""
        return self._part.judgement.findings

    def corrected_stamp(self, sensor: Modality, stamp_ns: int) -> int:
        """Take off what a clock is off, where `plausibility.clock` is `correct`.

        Args:
            sensor: Whose stamp.
            stamp_ns: As it came, nanoseconds.

        Returns:
            The stamp, nanoseconds; as it came where nothing is to be corrected.
        """
        if self.config.clock != 'correct':
            return stamp_ns
        offset = self._part.judgement.offsets.get(sensor)
        return stamp_ns if offset is None else stamp_ns - offset.at(stamp_ns)

    # Values

    def checks(self, sensor: Modality) -> ImageChecks | None:
        """The checks of a sensor's images at decoding; None where nothing is checked."""
        if not self.config.enabled:
            return None
        if sensor not in self._checks:
            black_hot = self.config.thermal_polarity == 'black_hot'
            self._checks[sensor] = ImageChecks(sensor, black_hot=black_hot)
        return self._checks[sensor]

    def check_frame(self, frame: SensorFrame, arrival_ns: int | None = None) -> SensorFrame:
        """Check a frame that was read: a sweep's coordinates and the times of its points.

        Args:
            frame: The frame, as its sensor stamped it.
            arrival_ns: When it arrived, nanoseconds.

        Returns:
            The frame, mended where that is possible, with what was found.
        """
        cloud = frame.data
        if not self.config.enabled or not isinstance(cloud, PointCloud):
            return frame
        if self._part.judgement.common_s != 0.0 or frame.modality in self._part.judgement.findings:
            arrival_ns = None
        cloud = check_point_times(
            cloud, frame.stamp_ns, self._period_ns(frame.modality), arrival_ns
        )
        found = check_cloud(cloud.points)
        more = () if found is None else (found,)
        return replace(frame, data=cloud, findings=(*frame.findings, *more))

    def count_events(
        self, counters: Mapping[str, int], size: tuple[int, int] | None = None
    ) -> None:
        """Look at what became of the events so far.

        Args:
            counters: See `check_events`.
            size: Likewise.
        """
        found = check_events(counters, size) if self.config.enabled else None
        if found is not None:
            self._stand(Modality.EVENT, ('events.outside', 'events.order'), found)

    def tell(self, found: Iterable[Finding]) -> None:
        """Let findings that were made elsewhere hold for all frames of their sensors.

        Args:
            found: The findings.
        """
        for each in found:
            self._stand(Modality(each.sensor), (each.code,), [self._accepted(each)])

    # Bundles

    def check_bundle(self, bundle: SensorBundle) -> SensorBundle:
        """Check what came together, and take out what cannot be right.

        Args:
            bundle: The bundle; its images are read.

        Returns:
            The bundle without the sensors that a finding takes out, missing with the sentence;
            the others have it as a note.
        """
        if not self.config.enabled:
            return bundle
        missing, notes = dict(bundle.missing), dict(bundle.notes)
        for sensor, found in self._part.judgement.findings.items():
            self._count([found])
            if sensor in missing or found.out:
                missing[sensor] = found.sentence
        found_by = {m: self._check_sensor(m, f, bundle) for m, f in bundle.frames.items()}
        for heat in self._heat.look(bundle):
            found_by[Modality(heat.sensor)].append(heat)
        looks = check_principal_point(bundle.camera, Modality.VIEW), self.readings.look(bundle)
        views = [self._accepted(each) for each in looks if each is not None]
        self._count(views)
        for sensor, frame_findings in found_by.items():
            findings = [self._accepted(each) for each in frame_findings]
            self._count(findings)
            known = missing if sensor in missing else notes
            refused = [f.sentence for f in findings if f.out]
            if sensor is not Modality.VIEW and not refused:
                refused = [f'camera: {f.sentence}' for f in views if f.out]
            elif sensor is Modality.VIEW:
                findings += views
            if refused:
                missing[sensor] = '; '.join(refused)
                notes.pop(sensor, None)
            else:
                told = [f.text for f in findings if f.text not in known.get(sensor, '')]
                if told:
                    before = [known[sensor]] if sensor in known else []
                    known[sensor] = '; '.join([*before, *dict.fromkeys(told)])
        frames = {m: f for m, f in bundle.frames.items() if m not in missing}
        return replace(bundle, frames=frames, missing=missing, notes=notes)

    def findings(self) -> tuple[FindingCount, ...]:
        """What was found so far, by sensor and code, the newest text of each."""
        for part in self._parts:
            for found in part.judgement.findings.values():
                self._count([found], most=1)
        for found in list(self._standing.values()):  # with what came after the last bundle
            self._count([found], most=1)
        if (read := self.readings.finding) is not None:
            self._count([self._accepted(read)], most=1)
        with self._lock:
            order = {str(m): i for i, m in enumerate(Modality)}
            return tuple(
                sorted(
                    self._counts.values(),
                    key=lambda each: (order.get(each.finding.sensor, 99), each.finding.code),
                )
            )

    def _check_sensor(
        self, sensor: Modality, frame: SensorFrame, bundle: SensorBundle
    ) -> list[Finding]:
        """All that is known against one frame of a bundle."""
        found = list(frame.findings)
        clock = self._part.judgement.findings.get(sensor)
        if clock is not None:
            found.append(clock)
        found += [f for (name, _), f in self._standing.items() if name == sensor]
        if isinstance(frame.data, PointCloud):
            found += frame.data.findings
            T = bundle.T_camera.get(sensor)
            if T is not None and not any(f.code.startswith('cloud.') and f.out for f in found):
                points = frame.data.points
                looks = check_view(points, T, bundle.camera), self._height.look(points, T)
                found += [each for each in looks if each is not None]
        elif frame.camera is not None and sensor is not Modality.VIEW:
            centre = check_principal_point(frame.camera, sensor)
            found += [] if centre is None else [centre]
        return found

    def _accepted(self, found: Finding) -> Finding:
        """A finding that the user accepts takes nothing out."""
        return replace(found, out=False) if found.code in self.config.accept else found

    def _judge(self) -> None:
        estimates = {m: e for m, c in self._part.clocks.items() if (e := c.estimate()) is not None}
        steps = {m: c.steps[-1] for m, c in self._part.clocks.items() if c.steps}
        judged = judge_clocks(estimates, steps, self.config, start_ns=self._part.start_ns or 0)
        findings = {m: self._accepted(f) for m, f in judged.findings.items()}
        if self.config.clock == 'note':
            findings = {m: replace(f, out=False) for m, f in findings.items()}
        elif self.config.clock == 'correct':
            findings = {m: self._corrected(m, f, judged) for m, f in findings.items()}
        self._part.judgement = replace(judged, findings=findings)

    @staticmethod
    def _corrected(sensor: Modality, found: Finding, judged: ClockJudgement) -> Finding:
        """A finding whose stamps are corrected takes nothing out, but says so."""
        if sensor not in judged.offsets:
            return found
        size = judged.offsets[sensor].offset_s
        return replace(found, text=f'{found.text}, corrected by {size:.3f} s', out=False)

    def _clock(self, sensor: Modality) -> ClockModel:
        return self._part.clocks.setdefault(sensor, ClockModel())

    def _offset_ns(self, sensor: Modality, stamp_ns: int) -> int:
        """The configured offset; a stamp of 0 is none, whatever is subtracted."""
        return self._offsets_ns.get(sensor, 0) if stamp_ns else 0

    def _period_ns(self, sensor: Modality) -> int | None:
        """Median interval of a sensor's newest stamps, nanoseconds."""
        return usual_gap_ns(self._part.stamps.get(sensor, ()))

    def _stand(self, sensor: Modality, codes: Iterable[str], found: list[Finding]) -> None:
        """Let findings of these codes hold until they are looked for again."""
        for code in codes:
            self._standing.pop((str(sensor), code), None)
        for each in found:
            self._standing[str(sensor), each.code] = each

    def _count(self, found: Iterable[Finding], most: int | None = None) -> None:
        with self._lock:
            for each in found:
                key = each.sensor, each.code
                before = self._counts.get(key, FindingCount(each, 0)).count
                count = before + 1 if most is None else max(before, most)
                self._counts[key] = FindingCount(each, count)
