"""Frames that belong together, placed in the camera's view: transforms, motion, event windows.

What cannot be placed is missing, with the reason in words; a calibration is never guessed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.events.buffer import EventBuffer
from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import EventDecodeError, EventPacket
from sam_ad_perception.core.geometry.cameras import place_in_view
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.geometry.transforms import TransformError
from sam_ad_perception.core.images.lazy_image import (
    check_image_size,
)
from sam_ad_perception.core.lidar.ego_motion import EgoMotion
from sam_ad_perception.core.sensor_kinds import POINTS
from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)
from sam_ad_perception.core.synchronization.camera_geometry import CameraGeometry
from sam_ad_perception.core.synchronization.config import BundlerConfig, to_ns
from sam_ad_perception.core.synchronization.measured_times import (
    MeasuredTimes,
    merge_sweeps,
    sweep_times,
)
from sam_ad_perception.core.synchronization.results import BundleResult, DroppedFrame, SyncedSet

SensorSet = SyncedSet[Modality, SensorFrame]

FAR_NS = 30_000_000
"""A sweep measured farther from the image, and not deskewed, is told: 0.4 m at 50 km/h."""


class Placement:
    """Makes bundles of sets: knows each sensor's geometry, the transforms and the event stream.

    Attributes:
        config: Its configuration.
        transforms: The tree of frames; its owner keeps it up to date.
        cameras: The geometry of each sensor.
        ego_motion: The vehicle's motion, from `transforms` or from twists given to it.
        counts: What happened, as `<sensor>.<fate>`, see `Bundler.counters`.
        events_end_ns: Up to when the event camera has reported, on the clock that stamps.
    """

    def __init__(
        self,
        config: BundlerConfig,
        transforms: TransformTree,
        event_history_ns: int,
        *,
        recorded: bool = False,
        event_decoder: EventDecoder | None = None,
    ) -> None:
        """Make a placement that knows no sensor.

        Args:
            config: Its configuration.
            transforms: The tree of frames.
            event_history_ns: So much of the event stream is held besides one window, nanoseconds.
            recorded: Whether all camera_infos are given before the first frame, and kept.
            event_decoder: Decodes the packets, also for other views; None for one of its own.
        """
        self.config = config
        self.transforms = transforms
        self.ego_motion = EgoMotion(transforms, config.fixed_frame)
        self.counts: Counter[str] = Counter()
        self.events_end_ns: int | None = None
        self.cameras = CameraGeometry(transforms, config.max_megapixels, recorded=recorded)
        self._decoder = event_decoder or EventDecoder()
        self._event_offset_ns = to_ns(config.sync.sensors[Modality.EVENT].offset_s)
        self._event_window_ns = to_ns(config.event_window_s)
        self._events = EventBuffer(self._event_window_ns + event_history_ns, config.max_events)
        self.event_size: tuple[int, int] | None = None

    def decode_packet(self, packet: EventPacket) -> tuple[Events, int]:
        """Decode a packet of the event camera.

        Args:
            packet: The packet, in the order of the stream.

        Returns:
            Its events, and up to when the sensor has reported, nanoseconds.

        Raises:
            EventDecodeError: The packet cannot be decoded; it is counted, nothing else changes.
        """
        try:
            events = self._decoder.decode(packet)
        except EventDecodeError:
            self.counts['event.undecodable'] += 1
            raise
        end_ns = packet.stamp_ns if self._decoder.end_ns is None else self._decoder.end_ns
        return events, end_ns

    def hold_events(self, events: Events, end_ns: int) -> None:
        """Keep events for the windows that are cut later.

        Args:
            events: Ordered by time, on the clock that stamps.
            end_ns: Up to when the sensor has reported, nanoseconds.
        """
        self._events.add(events)
        self.events_end_ns = end_ns
        self.event_size = events.size

    @property
    def counters(self) -> dict[str, int]:
        """What happened so far, as `<sensor>.<fate>`."""
        counts = {f'event.{fate}': n for fate, n in self._decoder.counters.items()}
        counts |= self.counts
        counts['event.overrun'] = self._events.dropped
        return counts

    def view_of(self, ready: SensorSet, *, final: bool = False) -> CameraModel | None:
        """Find the camera view of a set: its own camera frame's geometry, else the last one known.

        Args:
            ready: The set.
            final: Whether it waits no longer: an image of an unknown lens is a view, too.

        Returns:
            The view; None while there is none, or while an image's own camera_info is awaited.
        """
        if not final and self.cameras.awaits(raw for _, raw in ready.items.values()):
            return None
        held = ready.items.get(Modality.VIEW)
        if held is None:
            return self.cameras.camera_at(ready.stamp_ns)
        return self.cameras.view_of(held[1], final=final)

    def drop_viewless(self, ready: SensorSet) -> DroppedFrame:
        """Give up a set that has no camera geometry.

        Args:
            ready: The set.

        Returns:
            The drop, counted.
        """
        self.counts[f'{ready.reference}.no_view'] += 1
        return DroppedFrame(
            ready.stamp_ns,
            'no camera geometry: neither a camera_info nor a configured model came',
            ready.reference,
        )

    def awaits_motion(self, ready: SensorSet, longest_ns: int) -> bool:
        """Whether what tells of a sweep's motion is on its way.

        Args:
            ready: The set.
            longest_ns: What lags further is not waited for, nanoseconds.
        """
        for modality, (stamp_ns, raw) in ready.items.items():
            if modality.record.form == POINTS:
                frame = replace(raw, stamp_ns=stamp_ns)
                try:
                    lag_ns = self.ego_motion.lag_ns(frame, ready.stamp_ns)
                except TransformError:
                    continue
                if 0 < lag_ns <= longest_ns:
                    return True
        return False

    def bundle(self, ready: SensorSet, view: CameraModel) -> BundleResult:
        """Place every frame of a set in the view; what cannot be placed is missing.

        Args:
            ready: The set.
            view: The camera's view.

        Returns:
            The bundle, or why there is none.
        """
        frames: dict[Modality, SensorFrame] = {}
        T_camera: dict[Modality, NDArray[np.float64]] = {}
        missing = dict(ready.absent)
        notes: dict[Modality, str] = {}
        for modality, (stamp_ns, raw) in ready.items.items():
            told: list[str] = []
            try:
                if modality is Modality.VIEW:
                    frame = self._complete(raw, stamp_ns, ready.stamp_ns, told, view)
                else:
                    frame = self._complete(raw, stamp_ns, ready.stamp_ns, told)
                    T_camera[modality] = self._locate(frame, view, ready.stamp_ns, told)
            except ValueError as err:  # TransformError is one
                missing[modality] = str(err)
                self.counts[f'{modality}.misplaced'] += 1
                continue
            if modality.record.form == POINTS:
                frame = replace(frame, measured_ns=ready.measured_ns.get(modality))
                if modality in ready.beside:
                    frame = self._merge(frame, ready, view)
                frame, note = self._deskew(frame, ready.stamp_ns)
                told += note.values()
            if told:
                notes[modality] = '; '.join(told)
            frames[modality] = frame
        lacking = [m for m in missing if self.config.sync.sensors[m].required]
        if lacking or not frames:
            self.counts[f'{ready.reference}.no_data'] += 1
            names = lacking or list(ready.items)
            reasons = '; '.join(f'{m}: {missing[m]}' for m in names)
            kind = 'a required sensor is missing' if lacking else 'no sensor can be used'
            return DroppedFrame(ready.stamp_ns, f'{kind}: {reasons}', ready.reference)
        required = tuple(m for m, each in self.config.sync.sensors.items() if each.required)
        return SensorBundle(
            ready.stamp_ns, ready.reference, view, frames, missing, T_camera, notes, required
        )

    def _complete(
        self,
        raw: SensorFrame,
        stamp_ns: int,
        reference_ns: int,
        told: list[str],
        view: CameraModel | None = None,
    ) -> SensorFrame:
        """Give a frame its corrected stamp, its geometry and, for events, its window.

        Args:
            raw: The frame as it came.
            stamp_ns: Its corrected stamp.
            reference_ns: The set's stamp.
            told: Takes what is to be told of it.
            view: The camera's own geometry; None for another sensor.

        Raises:
            ValueError: An image-like frame has no geometry, or one of another size.
        """
        modality = raw.modality
        if modality.record.form == POINTS:
            return replace(raw, stamp_ns=stamp_ns)
        choice = self.cameras.of_image(raw)
        camera = view or (choice.camera if choice else None)
        if camera is None:
            raise ValueError(f'no camera_info of the {modality} sensor came')
        if view is None and camera.unknown_lens:
            raise ValueError(f'its lens is unknown: {camera.unknown_lens}')
        data = raw.data
        if isinstance(data, PointCloud):
            raise ValueError(f'{modality} data must be an image, got {type(data).__name__}')
        check_image_size(modality, data, camera)
        if choice is not None and choice.note:
            told.append(choice.note)
        named = choice.camera.frame_id if choice else ''
        used = self.cameras.frame_of(named, raw.frame_id)
        if named and raw.frame_id and raw.frame_id != named == used:
            told.append(f'its images are in frame {raw.frame_id!r}, its camera_info in {named!r}')
        elif named and used != named:
            told.append(
                f'its camera_info names the frame {named!r}, which nobody places: {used!r} of its '
                'image is used'
            )
        if isinstance(data, Events):
            stamp_ns, data = self._window(data, stamp_ns, reference_ns)
        return replace(raw, stamp_ns=stamp_ns, data=data, camera=camera)

    def measure_sweep(self, frame: SensorFrame) -> MeasuredTimes | None:
        """Find when a sweep measured what the camera sees.

        Args:
            frame: A lidar frame, as its driver stamped it.

        Returns:
            The times after its stamp; None where its points carry none.
        """
        if frame.modality.record.form != POINTS:
            return None
        view = self.cameras.camera_at(frame.stamp_ns)
        if view is None or view.unknown_lens:
            return sweep_times(frame, None, None)
        return sweep_times(frame, view, self._pose_of(frame, view))

    def _pose_of(self, frame: SensorFrame, view: CameraModel) -> NDArray[np.float64] | None:
        """(4, 4) `T_camera_x` of a frame at its own time, else the newest; None where unknown."""
        for stamp_ns in (frame.stamp_ns, None):
            try:
                T = self.transforms.lookup(view.frame_id, frame.frame_id, stamp_ns)
                return place_in_view(T, view)
            except TransformError:
                continue
        return None

    def _merge(self, frame: SensorFrame, ready: SensorSet, view: CameraModel) -> SensorFrame:
        """Take of a sweep and of the one beside it what was measured nearer to the reference."""
        stamp_ns, raw = ready.beside[frame.modality]
        other = replace(raw, stamp_ns=stamp_ns)
        if other.frame_id != frame.frame_id:
            return frame
        merged = merge_sweeps(frame, other, ready.stamp_ns)
        self.counts['lidar.merged'] += 1
        times = sweep_times(merged, view, self._pose_of(merged, view))
        if times is None:
            return frame
        mean = sum(times.offsets_ns) // len(times.offsets_ns)
        return replace(merged, measured_ns=merged.stamp_ns + mean)

    def _deskew(
        self, frame: SensorFrame, reference_ns: int
    ) -> tuple[SensorFrame, dict[Modality, str]]:
        """Tell a sweep how its lidar moved, or say why it is taken as it came.

        Where nothing at all tells of motion, that is no shortcoming of this one sweep, unless it
        was measured long before or after the reference.
        """
        try:
            frame = replace(frame, motion=self.ego_motion.of_sweep(frame, reference_ns))
        except TransformError as err:
            self.counts['lidar.not_deskewed'] += 1
            if self.ego_motion.known:
                return frame, {frame.modality: f'not deskewed: {err}'}
            off_ns = frame.time_ns - reference_ns
            if abs(off_ns) <= FAR_NS:
                return frame, {}
            side = 'before' if off_ns < 0 else 'after'
            return frame, {
                frame.modality: f'measured {abs(off_ns) / 1e6:.0f} ms {side} the reference and '
                'not deskewed: neither transforms nor odometry tell the motion'
            }
        cloud = frame.data
        if isinstance(cloud, PointCloud) and cloud.time_offset_ns is None and cloud.time_note:
            return frame, {frame.modality: f'moved as a whole: {cloud.time_note}'}
        return frame, {}

    def _window(self, empty: Events, stamp_ns: int, reference_ns: int) -> tuple[int, Events]:
        """Cut the events up to the reference, and the time up to which they are complete."""
        offset_ns = self._event_offset_ns
        if self.events_end_ns is not None and self.events_end_ns - offset_ns >= reference_ns:
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

    def _locate(
        self, frame: SensorFrame, view: CameraModel, stamp_ns: int, told: list[str]
    ) -> NDArray[np.float64]:
        """Look up (4, 4) `T_camera_x` of a frame, metres.

        Raises:
            TransformError: A link is missing, a frame has no name, or the camera's lens is
                unknown.
        """
        if view.unknown_lens:
            raise TransformError(f'the lens of the camera is unknown: {view.unknown_lens}')
        own = self.cameras.frame_of(frame.camera.frame_id if frame.camera else '', frame.frame_id)
        for name, whose in ((view.frame_id, str(Modality.VIEW)), (own, str(frame.modality))):
            if not name:
                raise TransformError(f'the {whose} has no frame_id, so it cannot be placed')
        T = self.transforms.lookup(view.frame_id, own, stamp_ns)
        if doubt := self.transforms.doubt(view.frame_id, own):
            told.append(doubt)
        return place_in_view(T, view, frame.camera)
