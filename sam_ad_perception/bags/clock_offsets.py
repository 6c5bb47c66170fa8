"""Estimate the clock offset of each sensor of a recording against its camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.reader import BagError, BagMessage, BagReader
from sam_ad_perception.bags.topics import PACKET_TYPE, TopicMapping
from sam_ad_perception.core.clock_offsets.event_matching import EventMatching
from sam_ad_perception.core.clock_offsets.image_motion import ImageMotion
from sam_ad_perception.core.clock_offsets.motion_matching import LagEstimate, estimate_lags
from sam_ad_perception.core.clock_offsets.stamp_timing import StampTiming, measure_timing
from sam_ad_perception.core.clock_offsets.sweep_motion import SweepMotion
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import (
    EVENT_ARRAY_TYPES,
    EventPacket,
    packet_from_event_array,
    packet_from_message,
)
from sam_ad_perception.core.findings import Finding
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.messages.from_ros import (
    camera_from_message,
    frame_from_message,
    stamp_of,
)
from sam_ad_perception.core.messages.transforms import TransformFeed
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.sensors import CameraModel, Modality, PointCloud

FRAME_SPACING_NS = 60_000_000
"""Frames nearer than this add work and no knowledge: what moved between them is too little."""

MAX_STANDARD_ERROR_S = 0.01
"""An offset that is less sure than this is not told."""

_MINIMUM_CORRELATION = 0.3
_FLOOR_S = 0.001  # what is left of parallax, calibration and exposure, whatever the statistics say
_FOREIGN_CLOCK_NS = 200_000_000
_PEEKED = 20


@dataclass(frozen=True)
class OffsetOptions:
    """What to look at.

    Attributes:
        start_s: From so long after the first message, seconds.
        duration_s: For so long, seconds.
        max_offset_s: Offsets are looked for within this, after arrivals were evened out where a
            clock is off by more than 0.2 s; seconds.
    """

    start_s: float = 0.0
    duration_s: float = 60.0
    max_offset_s: float = 0.25


@dataclass(frozen=True)
class SensorOffset:
    """What could be told of one sensor.

    Attributes:
        timing: From stamps and arrivals.
        hint_s: How far its stamps run ahead of the camera's if both took equally long to arrive,
            seconds; 0 for the camera.
        offset_s: `offset_s` of the synchronizer, to be subtracted from its stamps, seconds; None
            where it cannot be told.
        standard_error_s: Its uncertainty, seconds, or None.
        method: What it was told from, or ''.
        remark: Why it cannot be told, or what else was found.
        clock: What cannot be right about its clock by stamps and arrivals, as the node, `label`
            and `doctor` tell it; None for nothing.
        clock_offset_s: What that clock is off at the first frame that was looked at, seconds; None
            where that is not known.
    """

    timing: StampTiming
    hint_s: float
    offset_s: float | None = None
    standard_error_s: float | None = None
    method: str = ''
    remark: str = ''
    clock: Finding | None = None
    clock_offset_s: float | None = None


@dataclass
class _Watch:
    """One sensor while the recording is read."""

    epoch_ns: int
    motion: ImageMotion | SweepMotion | None = None
    stamps: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    looked_at: int | None = None
    bad: str = ''


def estimate_offsets(
    reader: BagReader,
    mapping: TopicMapping,
    options: OffsetOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Mapping[Modality, SensorOffset]:
    """Estimate the offset of each sensor of a recording.

    Args:
        reader: The recording, open.
        mapping: Which topic is which sensor.
        options: What to look at.
        progress: Called with milliseconds done and of all.

    Returns:
        For each sensor that sent anything, the camera first.

    Raises:
        BagError: There is no camera to compare with, or the recording is damaged.
    """
    if not mapping.sensors.get(Modality.VIEW) or not mapping.sensors[Modality.VIEW].data:
        raise BagError(f'{reader.path} has no camera images, to which offsets refer')
    reading = _Reading(reader, mapping, options or OffsetOptions())
    reading.read(progress or (lambda done, total: None))
    return reading.results()


class _Reading:
    """One pass through a recording."""

    def __init__(self, reader: BagReader, mapping: TopicMapping, options: OffsetOptions) -> None:
        self._reader, self._options = reader, options
        self._start = reader.start_ns + round(options.start_s * 1e9)
        self._topics = {s.data: m for m, s in mapping.sensors.items() if s.data}
        self._transforms = self._read_transforms(mapping)
        self._cameras = self._read_cameras(mapping)
        epochs = self._epochs()
        self._watches = {m: _Watch(epochs[m], self._make_motion(m)) for m in self._topics.values()}
        self._decoder = EventDecoder()
        self._matching = self._make_matching()

    def read(self, progress: Callable[[int, int], None]) -> None:
        """Read all that is to be looked at."""
        stop = min(self._start + round(self._options.duration_s * 1e9), self._reader.end_ns + 1)
        total = (stop - self._start) // 1_000_000
        stream = self._reader.messages(set(self._topics), start_ns=self._start, stop_ns=stop)
        for message in stream:
            modality = self._topics[message.topic]
            try:
                self._take(modality, message)
            except ValueError as err:
                self._watches[modality].bad = str(err)
            if modality is Modality.VIEW:
                progress((message.received_ns - self._start) // 1_000_000, total)
        progress(total, total)

    def results(self) -> dict[Modality, SensorOffset]:
        """Tell each sensor's offset."""
        camera = self._watches[Modality.VIEW]
        if not camera.stamps:
            raise BagError(f'{self._reader.path} has no camera images from {self._start} ns on')
        timings = {
            m: measure_timing(np.array(w.stamps), np.array(w.received))
            for m, w in self._watches.items()
            if w.stamps
        }
        delay = timings[Modality.VIEW].delay_s
        found = {Modality.VIEW: SensorOffset(timings[Modality.VIEW], 0.0, 0.0, 0.0, 'itself')}
        clocks = self._judge_clocks()
        for modality, timing in timings.items():
            if modality is Modality.VIEW:
                continue
            hint = delay - timing.delay_s
            estimate = self._match if self._watches[modality].motion is None else self._compare
            lag, error, method, remark = estimate(modality)
            coarse = 1e-9 * (self._watches[modality].epoch_ns - camera.epoch_ns)
            clock = clocks.clock_findings.get(modality)
            drifts = clock is not None and clock.code in ('clock.drift', 'clock.step')
            told = error <= MAX_STANDARD_ERROR_S and not drifts  # one offset is not enough for it
            found[modality] = SensorOffset(
                timing,
                hint,
                lag + coarse if told else None,
                error if told else None,
                method if told else '',
                remark,
            )
        for modality, finding in clocks.clock_findings.items():
            off = clocks.clock_offsets.get(modality)
            stamps = self._watches[modality].stamps
            off_s = 1e-9 * off.at(stamps[0]) if off is not None and stamps else None
            if modality in found:
                found[modality] = replace(found[modality], clock=finding, clock_offset_s=off_s)
        return found

    def _judge_clocks(self) -> PlausibilityMonitor:
        """Hold stamps against arrivals, as wherever this recording is used."""
        monitor = PlausibilityMonitor()
        for modality, watch in self._watches.items():
            monitor.observe_all(modality, zip(watch.stamps, watch.received, strict=True))
        monitor.read_ahead_done()
        return monitor

    def _take(self, modality: Modality, message: BagMessage) -> None:
        """Take one message into account."""
        watch = self._watches[modality]
        packet = self._packet(message)
        if packet is not None:
            events = self._decoder.decode(packet)
            end = self._decoder.end_ns
            watch.stamps.append(packet.stamp_ns if end is None else end)
            watch.received.append(message.received_ns)
            watch.motion = None  # packets tell more than any image made of them
            if self._matching is not None:
                self._matching.add_events(events, watch.epoch_ns)
            return
        content = self._reader.deserialize(message)
        stamp = stamp_of(content)
        watch.stamps.append(stamp)
        watch.received.append(message.received_ns)
        if watch.looked_at is not None and stamp - watch.looked_at < FRAME_SPACING_NS:
            return
        data = frame_from_message(content, modality).data
        watch.looked_at = stamp
        time_s = 1e-9 * (stamp - watch.epoch_ns)
        if isinstance(watch.motion, SweepMotion):
            assert isinstance(data, PointCloud)
            watch.motion.add(data, time_s)
        elif watch.motion is not None:
            assert isinstance(data, np.ndarray)
            watch.motion.add(data, time_s)
            if modality is Modality.VIEW and self._matching is not None:
                self._matching.add_frame(data, time_s)

    def _packet(self, message: BagMessage) -> EventPacket | None:
        """Read a message of events; None for a message of another kind."""
        if message.type in EVENT_ARRAY_TYPES:
            self._reader.check_type(message)
            return packet_from_event_array(message.data)
        if message.type == PACKET_TYPE:
            return packet_from_message(self._reader.deserialize(message))
        return None

    def _stamp(self, message: BagMessage) -> int:
        """Stamp of a message, nanoseconds."""
        packet = self._packet(message)
        return packet.stamp_ns if packet else stamp_of(self._reader.deserialize(message))

    def _compare(self, modality: Modality) -> tuple[float, float, str, str]:
        """Lag, its error, method and remark, from the motion of two sensors."""
        reference = self._watches[Modality.VIEW].motion
        other = self._watches[modality]
        assert reference is not None
        assert other.motion is not None
        estimates = estimate_lags(
            reference.track(), other.motion.track(), self._options.max_offset_s
        )
        best, *rest = estimates
        error = float(np.hypot(best.standard_error_s, _FLOOR_S))
        if error > MAX_STANDARD_ERROR_S:
            return best.lag_s, error, '', other.bad or _why_not(estimates)
        others = [e for e in rest if e.standard_error_s <= MAX_STANDARD_ERROR_S]
        remark = '; '.join(
            f'{e.channel}: {1e3 * e.lag_s:.1f} +- {1e3 * e.standard_error_s:.1f} ms'
            for e in others
        )
        method = f'{best.channel} of both, {best.explained:.0%} explained'
        return best.lag_s, error, method, remark

    def _match(self, modality: Modality) -> tuple[float, float, str, str]:
        """Lag, its error, method and remark, from events and changes of the image."""
        unknown = float('nan'), float('inf'), ''
        if self._matching is None:
            return *unknown, 'camera and events need a camera_info each'
        found = self._matching.estimate(self._options.max_offset_s)
        if found is None or found.correlation < _MINIMUM_CORRELATION:
            why = 'the events do not go with the changes of the image'
            return *unknown, self._watches[modality].bad or why
        error = float(np.hypot(found.standard_error_s, _FLOOR_S))
        if error > MAX_STANDARD_ERROR_S:
            return *unknown, f'uncertain by {1e3 * error:.0f} ms'
        method = f'events against image changes, correlation {found.correlation:.2f}'
        return found.lag_s, error, method, ''

    def _epochs(self) -> dict[Modality, int]:
        """Zero of each sensor's time, nanoseconds.

        A clock that is off by more than a transport can take is first set by the arrivals.
        """
        delays = {}
        for topic, modality in self._topics.items():
            ages = []
            for message in self._reader.messages([topic], start_ns=self._start):
                ages.append(message.received_ns - self._stamp(message))
                if len(ages) == _PEEKED:
                    break
            delays[modality] = int(np.median(ages)) if ages else 0
        camera = delays[Modality.VIEW]
        epochs = {}
        for modality, delay in delays.items():
            ahead = camera - delay
            epochs[modality] = self._start - camera
            epochs[modality] += ahead if abs(ahead) > _FOREIGN_CLOCK_NS else 0
        return epochs

    def _read_transforms(self, mapping: TopicMapping) -> TransformTree:
        """The fixed transforms."""
        tree = TransformTree()
        feed = TransformFeed(tree, mapping.sensor_names)
        for message in self._reader.messages(mapping.tf_static) if mapping.tf_static else ():
            feed.take(self._reader.deserialize(message), message.topic, static=True)
        return tree

    def _read_cameras(self, mapping: TopicMapping) -> dict[Modality, CameraModel]:
        """Geometry of those that have a camera_info that can be read."""
        cameras = {}
        for modality, topics in mapping.sensors.items():
            for message in self._reader.messages([topics.info]) if topics.info else ():
                try:
                    info = self._reader.deserialize(message)
                    cameras[modality] = camera_from_message(info, rectified=topics.rectified)
                except ValueError:
                    break  # its focal length is guessed, as where there is no camera_info
                break
        return cameras

    def _make_motion(self, modality: Modality) -> ImageMotion | SweepMotion:
        if modality is Modality.RANGING:
            return SweepMotion()
        camera = self._cameras.get(modality)
        return ImageMotion(float(camera.K[0, 0]) if camera else None)

    def _make_matching(self) -> EventMatching | None:
        camera, events = (self._cameras.get(m) for m in (Modality.VIEW, Modality.EVENT))
        if camera is None or events is None:
            return None
        T: NDArray[np.float64] | None = None
        try:
            T = self._transforms.lookup(camera.frame_id, events.frame_id)
        except ValueError:
            T = None  # side by side, then
        return EventMatching(camera, events, T)


def _why_not(estimates: list[LagEstimate]) -> str:
    """Why no channel tells; what holds for several is said once."""
    names: dict[str, list[str]] = {}
    for each in estimates:
        why = each.reason or f'uncertain by {1e3 * each.standard_error_s:.0f} ms'
        names.setdefault(why, []).append(each.channel)
    return '; '.join(f'{", ".join(who)}: {why}' for why, who in names.items())
