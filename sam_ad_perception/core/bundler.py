"""The one place where what sensors deliver becomes bundles: for the node and for bags alike.

A `Bundler` holds all that belongs together at a reference time: the synchronizer, the last moments
of the event stream, the geometry of each camera, the tree of transforms. What it cannot place is
missing, with the reason in words; it never guesses a calibration.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.deferred import check_image_size
from sam_ad_perception.core.ego_motion import EgoMotion
from sam_ad_perception.core.event_buffer import EventBuffer
from sam_ad_perception.core.event_packets import EventDecodeError, EventPacket
from sam_ad_perception.core.events import EventDecoder, empty_events
from sam_ad_perception.core.parameters import parameter
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.core.synchronizer import Synchronizer, make_synchronizer
from sam_ad_perception.core.synchronizer_config import SynchronizerConfig, to_ns
from sam_ad_perception.core.synchronizer_types import (
    DroppedReference,
    Outcome,
    SensorReport,
    SyncedSet,
)
from sam_ad_perception.core.transforms import TransformError, TransformTree


@dataclass(frozen=True)
class BundlerConfig:
    """How sensor data becomes bundles."""

    sync: SynchronizerConfig = field(default_factory=SynchronizerConfig)
    event_window_s: float = parameter(
        0.03,
        'Events of this long before the reference stamp enter a bundle (MUSES trains on 30 ms).',
        ge=0.001,
        le=1.0,
        unit='s',
    )
    max_events: int = parameter(
        10_000_000, 'At most this many events are held (13 bytes each).', ge=1000
    )
    fixed_frame: str = parameter(
        'odom',
        'Frame against which the vehicle moves: lidar points are moved to the reference time '
        'where TF connects the two.',
    )


@dataclass(frozen=True)
class Dropped:
    """A reference frame that gets no bundle.

    Attributes:
        stamp_ns: Stamp of the reference frame, nanoseconds.
        reason: Why, in one sentence.
        reference: Its sensor.
    """

    stamp_ns: int
    reason: str
    reference: Modality


BundleResult = SensorBundle | Dropped

_Outcome = Outcome[Modality, SensorFrame]
_Set = SyncedSet[Modality, SensorFrame]


class Bundler:
    """Collects frames of all sensors and returns a bundle, or the reason for none, per reference.

    A bundle shows the view of the camera, also while the camera is down. A set that is complete
    before any camera geometry is known waits for it, at most the synchronizer's `deadline_s`.

    Time is an argument: see `core.synchronizer` for what `now_ns` may be.

    Attributes:
        transforms: The tree of frames; its owner keeps it up to date.
        ego_motion: The vehicle's motion, from `transforms` or from twists given to it.
    """

    def __init__(
        self, config: BundlerConfig | None = None, transforms: TransformTree | None = None
    ) -> None:
        """Make a bundler that has seen nothing.

        Args:
            config: Its configuration, the defaults where None.
            transforms: A tree that is already filled, or None for an empty one.
        """
        self.config = config or BundlerConfig()
        self.transforms = transforms or TransformTree()
        self.ego_motion = EgoMotion(self.transforms, self.config.fixed_frame)
        sync = self.config.sync
        self._sync: Synchronizer[Modality, SensorFrame] = make_synchronizer(sync)
        self._now = 0
        self._deadline_ns = to_ns(sync.deadline_s)
        self._cameras: dict[Modality, CameraModel] = {}
        self._waiting: deque[tuple[int, _Set]] = deque()
        self._counters: Counter[str] = Counter()
        self._decoder = EventDecoder()
        self._event_offset_ns = to_ns(sync.event.offset_s)
        self._event_window_ns = to_ns(self.config.event_window_s)
        # A sensor that takes over leads with frames as old as its predecessor's silence.
        longest_wait_s = max(each.max_age_s for each in sync.sensors.values()) + sync.deadline_s
        self._events = EventBuffer(
            self._event_window_ns + to_ns(longest_wait_s), self.config.max_events
        )
        self._events_end_ns: int | None = None

    def set_camera(self, modality: Modality, camera: CameraModel) -> list[BundleResult]:
        """Set the geometry of an image-like sensor: its CameraInfo came, or it is configured.

        Args:
            modality: Whose geometry.
            camera: The model; it holds until the next one.

        Returns:
            Bundles that had waited for it.
        """
        self._cameras[modality] = camera
        return self._release()

    def add_frame(self, frame: SensorFrame, now_ns: int) -> list[BundleResult]:
        """Take a frame of any sensor, of the event camera only a rendered picture.

        Args:
            frame: The frame, stamped as its sensor stamped it (the configured offset is
                subtracted here). Its `camera`, where set, is as if given to `set_camera`; where
                it is None, the last one set is used.
            now_ns: When it arrived, nanoseconds.

        Returns:
            The bundles and drops that became due.

        Raises:
            ValueError: It holds events, see `add_events`.
        """
        if isinstance(frame.data, Events):
            raise ValueError('event data must come through add_events or add_event_packet')
        results: list[BundleResult] = []
        if frame.camera is not None:
            results += self.set_camera(frame.modality, frame.camera)
        self._now = now_ns
        return results + self._take(self._sync.add(frame.modality, frame.stamp_ns, frame, now_ns))

    def add_event_packet(self, packet: EventPacket, now_ns: int) -> list[BundleResult]:
        """Take a packet of the event camera.

        Args:
            packet: The packet.
            now_ns: When it arrived, nanoseconds.

        Returns:
            The bundles and drops that became due.

        Raises:
            EventDecodeError: The packet cannot be decoded; it is counted, nothing else changes.
        """
        try:
            events = self._decoder.decode(packet)
        except EventDecodeError:
            self._counters['event.undecodable'] += 1
            raise
        end_ns = packet.stamp_ns if self._decoder.end_ns is None else self._decoder.end_ns
        return self.add_events(events, end_ns, packet.frame_id, now_ns)

    def add_events(
        self, events: Events, end_ns: int, frame_id: str, now_ns: int
    ) -> list[BundleResult]:
        """Take events that are decoded already.

        Args:
            events: The events since the last call, ordered by time, on the clock that stamps.
            end_ns: Up to when the sensor has reported, at least the last event's time.
            frame_id: Frame of the sensor.
            now_ns: When they arrived, nanoseconds.

        Returns:
            The bundles and drops that became due.
        """
        frame = SensorFrame(Modality.EVENT, end_ns, frame_id, empty_events(events.size))
        set_back = self._events_end_ns is not None and end_ns < self._events_end_ns
        if not set_back:
            self._hold_events(events, end_ns)
        self._now = now_ns
        results = self._take(self._sync.add(Modality.EVENT, end_ns, frame, now_ns))
        if set_back:  # only now: sets from before time was set back still needed the old events
            self._hold_events(events, end_ns)
        return results

    def poll(self, now_ns: int) -> list[BundleResult]:
        """Let time pass.

        Args:
            now_ns: The time, nanoseconds.

        Returns:
            The bundles and drops that became due.
        """
        self._now = now_ns
        return self._take(self._sync.poll(now_ns))

    def flush(self) -> list[BundleResult]:
        """Give out all that waits, with what there is: the end of a recording."""
        results = self._take(self._sync.flush())
        while self._waiting:
            results.append(self._drop_viewless(self._waiting.popleft()[1]))
        return results

    @property
    def next_deadline_ns(self) -> int | None:
        """When to `poll` at the latest to get what becomes due in time, nanoseconds, or None."""
        deadlines = [] if not self._waiting else [self._waiting[0][0]]
        if self._sync.next_deadline_ns is not None:
            deadlines.append(self._sync.next_deadline_ns)
        return min(deadlines, default=None)

    @property
    def counters(self) -> dict[str, int]:
        """What happened so far, as `<sensor>.<fate>`.

        The fates of `Synchronizer.counters`; for a reference also `no_view` and `no_data` (its
        set became no bundle); for a frame that was in a set but not in its bundle `misplaced`;
        for a sweep whose motion is not known `not_deskewed`;
        for events those of `EventDecoder.counters`, `undecodable` (packets) and `overrun`
        (events); and `time_jumps` of all.
        """
        counts = {f'{key}.{fate}': n for (key, fate), n in self._sync.counters.items()}
        counts |= {f'event.{fate}': n for fate, n in self._decoder.counters.items()}
        counts |= self._counters
        counts['event.overrun'] = self._events.dropped
        counts['time_jumps'] = self._sync.time_jumps
        return counts

    @property
    def timing(self) -> dict[Modality, SensorReport]:
        """Each sensor's rhythm and latency, see `Synchronizer.report`."""
        return self._sync.report()

    def _hold_events(self, events: Events, end_ns: int) -> None:
        """Put events into the buffer."""
        self._events.add(events)
        self._events_end_ns = end_ns

    def _take(self, outcomes: list[_Outcome]) -> list[BundleResult]:
        """Turn what the synchronizer gave into results, in order."""
        results: list[BundleResult] = []
        for outcome in outcomes:
            if isinstance(outcome, DroppedReference):
                results.append(Dropped(outcome.stamp_ns, outcome.reason, outcome.reference))
            else:
                self._waiting.append((self._now + self._deadline_ns, outcome))
                results += self._release()
        return results + self._release()

    def _release(self) -> list[BundleResult]:
        """Make the bundles that have a view, drop those that waited too long for one."""
        results: list[BundleResult] = []
        while self._waiting:
            deadline_ns, ready = self._waiting[0]
            view = self._view(ready)
            if view is not None:
                results.append(self._bundle(ready, view))
            elif deadline_ns <= self._now:
                results.append(self._drop_viewless(ready))
            else:
                break
            self._waiting.popleft()
        return results

    def _view(self, ready: _Set) -> CameraModel | None:
        """The camera view of a set: its own camera frame's geometry, else the last one known."""
        held = ready.items.get(Modality.CAMERA)
        own = held[1].camera if held else None
        return own or self._cameras.get(Modality.CAMERA)

    def _drop_viewless(self, ready: _Set) -> Dropped:
        """Give up a set that has no camera geometry."""
        self._counters[f'{ready.reference}.no_view'] += 1
        return Dropped(
            ready.stamp_ns,
            'no camera geometry: neither a camera_info nor a configured model came',
            ready.reference,
        )

    def _bundle(self, ready: _Set, view: CameraModel) -> BundleResult:
        """Place every frame of a set in the view; what cannot be placed is missing."""
        frames: dict[Modality, SensorFrame] = {}
        T_camera: dict[Modality, NDArray[np.float64]] = {}
        missing = dict(ready.absent)
        notes: dict[Modality, str] = {}
        for modality, (stamp_ns, raw) in ready.items.items():
            try:
                frame = self._complete(raw, stamp_ns, ready.stamp_ns)
                if modality is not Modality.CAMERA:
                    T_camera[modality] = self._locate(frame, view, ready.stamp_ns)
            except ValueError as err:  # TransformError is one
                missing[modality] = str(err)
                self._counters[f'{modality}.misplaced'] += 1
                continue
            if modality is Modality.LIDAR:
                frame, note = self._deskew(frame, ready.stamp_ns)
                notes |= note
            frames[modality] = frame
        lacking = [m for m in missing if getattr(self.config.sync, m.value).required]
        if lacking or not frames:
            self._counters[f'{ready.reference}.no_data'] += 1
            names = lacking or list(ready.items)
            reasons = '; '.join(f'{m}: {missing[m]}' for m in names)
            kind = 'a required sensor is missing' if lacking else 'no sensor can be used'
            return Dropped(ready.stamp_ns, f'{kind}: {reasons}', ready.reference)
        required = tuple(m for m, each in self.config.sync.sensors.items() if each.required)
        return SensorBundle(
            ready.stamp_ns, ready.reference, view, frames, missing, T_camera, notes, required
        )

    def _complete(self, raw: SensorFrame, stamp_ns: int, reference_ns: int) -> SensorFrame:
        """Give a frame its corrected stamp, its geometry and, for events, its window.

        Raises:
            ValueError: An image-like frame has no geometry, or one of another size.
        """
        modality = raw.modality
        if modality is Modality.LIDAR:
            return replace(raw, stamp_ns=stamp_ns)
        camera = raw.camera or self._cameras.get(modality)
        if camera is None:
            raise ValueError(f'no camera_info of the {modality} sensor came')
        data = raw.data
        if isinstance(data, PointCloud):
            raise ValueError(f'{modality} data must be an image, got {type(data).__name__}')
        check_image_size(modality, data, camera)
        if isinstance(data, Events):
            stamp_ns, data = self._window(data, stamp_ns, reference_ns)
        return replace(raw, stamp_ns=stamp_ns, data=data, camera=camera)

    def _deskew(
        self, frame: SensorFrame, reference_ns: int
    ) -> tuple[SensorFrame, dict[Modality, str]]:
        """Tell a sweep how its lidar moved, or say why it is taken as it came.

        Where nothing at all tells of motion, that is no shortcoming of this one sweep.
        """
        try:
            frame = replace(frame, motion=self.ego_motion.of_sweep(frame, reference_ns))
        except TransformError as err:
            self._counters['lidar.not_deskewed'] += 1
            known = self.ego_motion.known
            return frame, {Modality.LIDAR: f'not deskewed: {err}'} if known else {}
        cloud = frame.data
        if isinstance(cloud, PointCloud) and cloud.time_offset_ns is None and cloud.time_note:
            return frame, {Modality.LIDAR: f'moved as a whole: {cloud.time_note}'}
        return frame, {}

    def _window(self, empty: Events, stamp_ns: int, reference_ns: int) -> tuple[int, Events]:
        """Cut the events up to the reference, and the time up to which they are complete."""
        offset_ns = self._event_offset_ns
        if self._events_end_ns is not None and self._events_end_ns - offset_ns >= reference_ns:
            stamp_ns = reference_ns
        stamp_ns = min(stamp_ns, reference_ns)
        # A sensor that lags still gives the whole window before its own stamp.
        length_ns = self._event_window_ns + reference_ns - stamp_ns
        events = self._events.window(reference_ns + offset_ns, length_ns)
        if events is None or events.size != empty.size:
            return stamp_ns, empty
        start_ns = stamp_ns - self._event_window_ns
        t_ns = events.t_ns - offset_ns if offset_ns else events.t_ns
        return stamp_ns, replace(events, t_ns=t_ns, start_ns=start_ns)

    def _locate(self, frame: SensorFrame, view: CameraModel, stamp_ns: int) -> NDArray[np.float64]:
        """Look up (4, 4) `T_camera_x` of a frame, metres.

        Raises:
            TransformError: A link is missing, or the frame has no name.
        """
        own = frame.frame_id or (frame.camera.frame_id if frame.camera else '')
        for name, whose in ((view.frame_id, 'camera'), (own, str(frame.modality))):
            if not name:
                raise TransformError(f'the {whose} has no frame_id, so it cannot be placed')
        return self.transforms.lookup(view.frame_id, own, stamp_ns)
