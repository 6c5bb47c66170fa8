"""Sensor messages in, synchronized bundles out: for the node and for recordings alike.

A `Bundler` holds all that belongs together at a reference time: the synchronizer, the last moments
of the event stream, the geometry of each camera, the tree of transforms. What it cannot place is
missing, with the reason in words; it never guesses a calibration.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from sam_ad_perception.core.events.decoding import EventDecoder, empty_events
from sam_ad_perception.core.events.packets import EventPacket
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.lidar.ego_motion import EgoMotion
from sam_ad_perception.core.sensors import CameraModel, Events, Modality, SensorFrame
from sam_ad_perception.core.synchronization.config import BundlerConfig, to_ns
from sam_ad_perception.core.synchronization.measured_times import MeasuredTimes
from sam_ad_perception.core.synchronization.placement import Placement, SensorSet
from sam_ad_perception.core.synchronization.results import (
    BundleResult,
    DroppedFrame,
    DroppedReference,
    Outcome,
    SensorReport,
)
from sam_ad_perception.core.synchronization.synchronizer import Synchronizer, make_synchronizer

__all__ = ['BundleResult', 'Bundler', 'BundlerConfig', 'DroppedFrame']

_Outcome = Outcome[Modality, SensorFrame]


class Bundler:
    """Collects frames of all sensors and returns a bundle, or the reason for none, per reference.

    A bundle shows the view of the camera, also while the camera is down. A set that is complete
    before its camera geometry is known waits for it, at most the synchronizer's `deadline_s`.
    Then a camera image is a view of an unknown lens: nothing can be projected into it.

    Time is an argument: see `core.synchronization.synchronizer` for what `now_ns` may be.
    """

    def __init__(
        self,
        config: BundlerConfig | None = None,
        transforms: TransformTree | None = None,
        *,
        wait_s: float | None = None,
        event_decoder: EventDecoder | None = None,
    ) -> None:
        """Make a bundler that has seen nothing.

        Args:
            config: Its configuration, the defaults where None.
            transforms: A tree that is already filled, or None for an empty one.
            wait_s: See `Synchronizer`; for recordings, which are associated without a deadline and
                whose camera_infos are given before the first frame.
            event_decoder: Decodes the packets, also for other views; None for one of its own.
        """
        self.config = config or BundlerConfig()
        sync = self.config.sync
        # A sensor that takes over leads with frames as old as its predecessor's silence.
        longest_wait_s = max(each.max_age_s for each in sync.sensors.values())
        longest_wait_s += sync.deadline_s + (wait_s or 0.0)
        tree = transforms if transforms is not None else TransformTree()
        recorded = wait_s is not None
        self._placement = Placement(
            self.config,
            tree,
            to_ns(longest_wait_s),
            recorded=recorded,
            event_decoder=event_decoder,
        )
        self._sync: Synchronizer[Modality, SensorFrame] = make_synchronizer(sync, wait_s)
        self._now = 0
        self._deadline_ns = to_ns(sync.deadline_s)
        self._is_live = not recorded
        self._waiting: deque[tuple[int, SensorSet]] = deque()

    @property
    def transforms(self) -> TransformTree:
        """The tree of frames; its owner keeps it up to date."""
        return self._placement.transforms

    @property
    def ego_motion(self) -> EgoMotion:
        """The vehicle's motion, from `transforms` or from twists given to it."""
        return self._placement.ego_motion

    def set_camera(
        self, modality: Modality, camera: CameraModel, stamp_ns: int | None = None
    ) -> list[BundleResult]:
        """Take the geometry of an image-like sensor: its CameraInfo came, or it is configured.

        Args:
            modality: Whose geometry.
            camera: The model.
            stamp_ns: Stamp of the CameraInfo, nanoseconds, as its sensor stamped it: it describes
                the image of that stamp and those after it. None for a configured model, which
                holds where no CameraInfo does.

        Returns:
            Bundles that had waited for it.

        Raises:
            ValueError: It is of more pixels than `max_megapixels` allows.
        """
        self._placement.cameras.add(modality, camera, stamp_ns)
        return self._release()

    def replace_cameras(
        self, modality: Modality, infos: Iterable[tuple[int, CameraModel]]
    ) -> list[BundleResult]:
        """Forget the camera_infos of a sensor, and take others: they were read wrongly.

        Args:
            modality: Whose geometry; a configured model stays.
            infos: Stamp, nanoseconds, and model of each.

        Returns:
            Bundles that had waited for it.

        Raises:
            ValueError: One is of more pixels than `max_megapixels` allows.
        """
        self._placement.cameras.forget(modality)
        for stamp_ns, camera in infos:
            self._placement.cameras.add(modality, camera, stamp_ns)
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
            results += self.set_camera(frame.modality, frame.camera, frame.stamp_ns)
        self._now = now_ns
        measured = self._placement.measure_sweep(frame)
        return results + self._take(
            self._sync.add(frame.modality, frame.stamp_ns, frame, now_ns, measured)
        )

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
        events, end_ns = self._placement.decode_packet(packet)
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
        before = self._placement.events_end_ns
        on_time_reset = before is not None and end_ns < before
        if not on_time_reset:
            self._placement.hold_events(events, end_ns)
        self._now = now_ns
        start_ns = min(int(events.t_ns[0]), end_ns) if events.t_ns.size else end_ns
        measured = MeasuredTimes((start_ns - end_ns, 0), is_stream=True)
        results = self._take(self._sync.add(Modality.EVENT, end_ns, frame, now_ns, measured))
        if on_time_reset:  # only now: sets from before it still needed the old events
            self._placement.hold_events(events, end_ns)
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
        return results + self._release(final=True)

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
        counts |= self._placement.counters
        counts['time_jumps'] = self._sync.time_jumps
        return counts

    @property
    def event_size(self) -> tuple[int, int] | None:
        """`(H, W)` that the newest events name, pixels; None before the first."""
        return self._placement.event_size

    @property
    def timing(self) -> dict[Modality, SensorReport]:
        """Each sensor's rhythm and latency, see `Synchronizer.report`."""
        return self._sync.report()

    def _take(self, outcomes: list[_Outcome]) -> list[BundleResult]:
        """Turn what the synchronizer gave into results, in order."""
        results: list[BundleResult] = []
        for outcome in outcomes:
            if isinstance(outcome, DroppedReference):
                results.append(DroppedFrame(outcome.stamp_ns, outcome.reason, outcome.reference))
            else:
                self._waiting.append((self._now + self._deadline_ns, outcome))
                results += self._release()
        return results + self._release()

    def _release(self, *, final: bool = False) -> list[BundleResult]:
        """Make the bundles that have a view, drop those that waited too long for one.

        Live, a sweep whose motion is on its way is waited for, too, as long as for a view.
        """
        results: list[BundleResult] = []
        while self._waiting:
            deadline_ns, ready = self._waiting[0]
            late = final or deadline_ns <= self._now
            view = self._placement.view_of(ready, final=late)
            awaits = self._is_live and not late and view is not None
            if awaits and self._placement.awaits_motion(ready, self._deadline_ns):
                break
            if view is not None:
                results.append(self._placement.bundle(ready, view))
            elif late:
                results.append(self._placement.drop_viewless(ready))
            else:
                break
            self._waiting.popleft()
        return results
