"""All sensor topics of the segmentation node: each message becomes one call to the bundler."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.subscription import Subscription

from sam_ad_perception.bags.formats.video import VideoTopic, codec_of_message
from sam_ad_perception.core.events.packets import (
    EVENT_ARRAY_TYPES,
    EventPacket,
    packet_from_event_array,
)
from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.messages.from_ros import (
    ConversionError,
    defer_image,
    frame_of,
    packet_from_message,
    stamp_of,
    twist_from_message,
)
from sam_ad_perception.core.sensor_kinds import IMAGE, POINTS
from sam_ad_perception.core.sensors import (
    CameraModel,
    LazyImage,
    Modality,
    PointCloud,
    SensorFrame,
)
from sam_ad_perception.core.synchronization.bundler import Bundler, BundleResult
from sam_ad_perception.core.synchronization.measured_times import describe_sweep_times
from sam_ad_perception.core.synchronization.results import SensorReport
from sam_ad_perception.nodes.inputs.checks import make_checks
from sam_ad_perception.nodes.inputs.clouds import CloudInput, Sweep
from sam_ad_perception.nodes.inputs.events import IMAGE_TYPE, PACKET_TYPE, EventInput
from sam_ad_perception.nodes.inputs.geometry import GeometryInput
from sam_ad_perception.nodes.inputs.images import ImageInput
from sam_ad_perception.nodes.ros.configuration import ImageConfig, SegmentationConfig
from sam_ad_perception.nodes.ros.diagnostics import ReasonCounter, TopicMonitor
from sam_ad_perception.nodes.ros.rclpy_helpers import (
    TransformInput,
    guard,
    refuse,
    sensor_qos,
    subscribe,
)
from sam_ad_perception.nodes.ros.topics import ODOMETRY, in_view

MAX_ARRIVALS = 1000


class SensorInputs:
    """Subscriptions of one camera view of the segmentation node.

    Geometry is subscribed at once, measurements between `start` and `stop`.
    Within one round of the executor rclpy runs callbacks in the order in which the subscriptions
    were made, so what a reference frame needs comes before the camera.

    Attributes:
        bundler: Takes what comes; another one after `restart`.
        checks: Tells what cannot be right about what comes.
        monitors: One per sensor, and one per camera_info topic (`camera_info/<sensor>`).
    """

    def __init__(
        self,
        node: Node,
        config: SegmentationConfig,
        calibration: Calibration,
        transforms: TransformInput,
        clouds: CloudInput,
        on_results: Callable[[list[BundleResult]], object],
        *,
        view: str = '',
    ) -> None:
        """Subscribe to geometry.

        Args:
            node: Its executor runs the callbacks.
            config: The node's parameters.
            calibration: Geometry that holds until topics bring other.
            transforms: The input of `/tf` and `/tf_static`, which the views of a node share.
            clouds: The input of point clouds, which they share, too.
            on_results: Told what the bundler returned.
            view: In front of each topic.
        """
        self._node = node
        self._view = view
        self._config = config
        self._transforms = transforms
        self._clouds = clouds
        self._on_results = on_results
        self._cameras = dict(calibration.cameras)
        self._past: Counter[str] = Counter()
        self._arrivals: OrderedDict[tuple[Modality, int], float] = OrderedDict()
        self._point_times = ReasonCounter(period=3600.0)
        self._images: list[ImageInput] = []
        self._events: EventInput | None = None
        self._subscriptions: list[Subscription] = []
        self.sensors = tuple(m for m in Modality if config.bundler.sync.sensors[m].enabled)
        self.monitors = {
            str(m): TopicMonitor(
                str(m), config.bundler.sync.sensors[m].max_age_s, topics=self._names(m)
            )
            for m in self.sensors
        }
        if self._sweeps():
            self.monitors['odometry'] = TopicMonitor('odometry', float('inf'))
        self.checks = make_checks(node, config)
        self._geometry = GeometryInput(
            node, config, self.checks, self._on_geometry, self._on_other_reading
        )
        self.bundler = self._make_bundler()
        self.monitors |= self._geometry.subscribe(self._info_sensors(), self._topic)

    def start(self) -> None:
        """Subscribe to the measurements."""
        qos = sensor_qos(self._config.qos)
        for modality in self._sweeps():
            self._clouds.add(
                self._topic(modality.topic),
                self.monitors[modality],
                partial(self._on_sweep, modality),
            )
        if self._sweeps():
            self._subscriptions.append(
                subscribe(
                    self._node,
                    'nav_msgs/msg/Odometry',
                    self._topic(ODOMETRY),
                    guard(self._node, self.monitors['odometry'], self._on_odometry),
                    qos,
                )
            )
        if Modality.EVENT in self.sensors:
            self._events = self._subscribe_events()
        for modality in reversed(self.sensors):
            reading = self._config.inputs.get(modality)
            if isinstance(reading, ImageConfig):
                take = guard(self._node, self.monitors[modality], self._on_image(modality))
                topic = self._topic(modality.topic)
                tell = partial(self._tell_withheld, self.monitors[modality])
                self._images.append(
                    ImageInput(self._node, topic, reading.transport, qos, take, tell)
                )

    def stop(self) -> None:
        """Unsubscribe from the measurements."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for modality in self._sweeps():
            self._clouds.remove(self.monitors[modality])
        for image in self._images:
            image.destroy()
        if self._events is not None:
            self._events.destroy()
        self._subscriptions, self._images, self._events = [], [], None
        self._arrivals.clear()

    def destroy(self) -> None:
        """Unsubscribe from everything."""
        self.stop()
        self._geometry.destroy()

    def restart(self) -> list[BundleResult]:
        """Forget all that was measured: time was set back. Geometry and fixed transforms stay.

        Returns:
            What had been waiting.
        """
        waiting = self.bundler.flush()
        self._past.update(self.bundler.counters)
        self._transforms.tree.clear_dynamic()
        self.bundler = self._make_bundler()
        self.checks.reset()
        self._arrivals.clear()
        return waiting

    @property
    def counters(self) -> Counter[str]:
        """Those of the bundler, over all restarts."""
        return self._past + Counter(self.bundler.counters)

    @property
    def timing(self) -> dict[str, SensorReport]:
        """Each sensor's rhythm and latency since the last restart, by its name."""
        return {str(modality): each for modality, each in self.bundler.timing.items()}

    @property
    def standing_notes(self) -> dict[str, str]:
        """For sensors with a shortcoming that every frame has, which, in words."""
        told = {str(m): found.sentence for m, found in self.checks.clock_findings.items()}
        if self.bundler.counters.get('lidar.not_deskewed') and not self.bundler.ego_motion.known:
            frame = self._config.bundler.fixed_frame
            still = f'sweeps are not deskewed: no frame {frame!r} and no odometry tell the motion'
            known = told.get(Modality.RANGING)
            told[str(Modality.RANGING)] = f'{known}; {still}' if known else still
        return told

    @property
    def reading(self) -> str:
        """How the camera's images are read, rectified or raw, and why, in words."""
        return self._geometry.reading

    def refusals(self, now: float) -> dict[Modality, str]:
        """Tell of sensors whose last message could not be read.

        Args:
            now: Steady time, seconds.

        Returns:
            For each, the reason; those that were silent since then are left out.
        """
        found = {m: self.monitors[m].standing_refusal(now) for m in self.sensors}
        # What would have been right, the log says: this goes out with every frame.
        short = {m: text.partition(', expected')[0] for m, text in found.items()}
        return {modality: f'unreadable: {text}' for modality, text in short.items() if text}

    def choose_transports(self) -> None:
        """Let topics of images, clouds and events see what is published now."""
        self._clouds.choose()
        for image in self._images:
            image.choose()
        if self._events is not None:
            self._events.choose()

    def arrival(self, modality: Modality, stamp_ns: int) -> float | None:
        """When a frame came.

        Args:
            modality: Its sensor.
            stamp_ns: Its header stamp, nanoseconds.

        Returns:
            Steady time, seconds; None where it is not known any more.
        """
        return self._arrivals.pop((modality, stamp_ns), None)

    def now_ns(self) -> int:
        """The node's time, nanoseconds."""
        return int(self._node.get_clock().now().nanoseconds)

    def _topic(self, name: str) -> str:
        return in_view(self._view, name)

    def _names(self, modality: Modality) -> dict[str, str]:
        """Where a sensor's messages come from, after remapping."""
        topic = self._topic(modality.topic)
        names = {'topic': self._node.resolve_topic_name(topic)}
        if modality.record.form == IMAGE:
            compressed = self._node.resolve_topic_name(f'{topic}/compressed')
            names['topic/compressed'] = compressed
        return names

    def _make_bundler(self) -> Bundler:
        bundler = Bundler(self._config.bundler, self._transforms.tree)
        told = self._geometry.cameras
        known = {m: c for m, c in told.items() if not c.unknown_lens}
        for modality, camera in {**told, **self._cameras, **known}.items():
            bundler.set_camera(modality, camera)
        return bundler

    def _admits(self, modality: Modality, stamp_ns: int) -> bool:
        """Hold a stamp against its arrival, and say whether its message is used."""
        self.checks.observe(modality, stamp_ns, self.now_ns())
        return self.checks.admit(modality, stamp_ns) is None

    def _info_sensors(self) -> list[Modality]:
        """Sensors whose geometry is needed; the camera's always: it is the view of the mask."""
        needed = {Modality.VIEW, *self.sensors}
        return [m for m in Modality if m.info_topic and m in needed]

    def _sweeps(self) -> list[Modality]:
        """Sensors whose data are points."""
        return [m for m in self.sensors if m.record.form == POINTS]

    def _on_geometry(self, modality: Modality, camera: CameraModel, stamp_ns: int) -> None:
        self._on_results(self.bundler.set_camera(modality, camera, stamp_ns))

    def _on_other_reading(self, infos: list[tuple[int, CameraModel]]) -> None:
        self._on_results(self.bundler.replace_cameras(Modality.VIEW, infos))

    def _on_image(self, modality: Modality) -> Callable[[Any], None]:
        video = VideoTopic(self._config.bundler.max_megapixels)

        def take(message: Any) -> None:
            arrival = time.monotonic()
            if codec_of_message(message):  # each picture follows from those before
                for frame in video.read(message, modality):
                    if self._admits(modality, frame.stamp_ns):
                        self._add(frame, arrival)
                return
            if not self._admits(modality, stamp_of(message)):
                return
            image = self._defer(message, modality)
            frame = SensorFrame(modality, stamp_of(message), frame_of(message), image)
            self._add(frame, arrival)

        return take

    def _defer(self, message: Any, modality: Modality) -> LazyImage:
        """Leave decoding to the worker, and count there what does not decode."""
        checks, monitor = self.checks.checks(modality), self.monitors[modality]
        image = defer_image(message, modality, checks)

        def read() -> NDArray[np.generic]:
            try:
                pixels = image.get()
                guarded.findings = image.findings
                return pixels
            except Exception as err:
                refuse(self._node, monitor, err)
                if isinstance(err, ValueError):
                    raise
                raise ConversionError(f'{type(err).__name__}: {err}') from err

        guarded = LazyImage(read, image.size)
        return guarded

    def _on_sweep(self, modality: Modality, sweep: Sweep) -> None:
        arrival = time.monotonic()
        frame = replace(sweep(), modality=modality)
        assert isinstance(frame.data, PointCloud)
        convention = self._config.bundler.sync.sensors[frame.modality].sweep_stamp
        if self._point_times.add(frame.data.time_note):
            told = describe_sweep_times(frame.data, convention)
            self._node.get_logger().info(f'{modality}: {told}')
        if self._admits(modality, frame.stamp_ns):
            self._add(self.checks.check_frame(frame, self.now_ns()), arrival)

    def _subscribe_events(self) -> EventInput:
        """Subscribe to the event camera."""
        monitor = self.monitors[Modality.EVENT]
        arrays = guard(
            self._node, monitor, lambda data: self._on_packet(packet_from_event_array(data))
        )
        packets = guard(
            self._node, monitor, lambda message: self._on_packet(packet_from_message(message))
        )
        pictures = guard(self._node, monitor, self._on_image(Modality.EVENT))
        callbacks = dict.fromkeys(EVENT_ARRAY_TYPES, arrays)
        return EventInput(
            self._node,
            self._topic(Modality.EVENT.topic),
            sensor_qos(self._config.qos, self._config.qos.event_depth),
            callbacks | {PACKET_TYPE: packets, IMAGE_TYPE: pictures},
            self._tell_unusable,
        )

    def _tell_withheld(self, monitor: TopicMonitor, reason: str) -> None:
        """Note, and log once, that what is published cannot be taken."""
        if monitor.withhold(reason):
            self._node.get_logger().warning(f'{monitor.name}: {reason}')

    def _tell_unusable(self, text: str) -> None:
        """Count and, now and then, log that the event topic carries what cannot be read."""
        monitor = self.monitors[Modality.EVENT]
        monitor.withhold(text)
        if monitor.bad.add(text):
            self._node.get_logger().warning(f'{monitor.name}: {text}')

    def _on_packet(self, packet: EventPacket) -> None:
        if not self._admits(Modality.EVENT, packet.stamp_ns):
            return
        stamp_ns = self.checks.corrected_stamp(Modality.EVENT, packet.stamp_ns)
        packet = replace(packet, stamp_ns=stamp_ns)
        self._remember(Modality.EVENT, packet.stamp_ns, time.monotonic())
        self._on_results(self.bundler.add_event_packet(packet, self.now_ns()))

    def _on_odometry(self, message: Any) -> None:
        self.bundler.ego_motion.add_twist(*twist_from_message(message))

    def _add(self, frame: SensorFrame, arrival: float) -> None:
        self._geometry.follow()
        stamp_ns = self.checks.corrected_stamp(frame.modality, frame.stamp_ns)
        frame = replace(frame, stamp_ns=stamp_ns)
        self._remember(frame.modality, frame.stamp_ns, arrival)
        self._on_results(self.bundler.add_frame(frame, self.now_ns()))

    def _remember(self, modality: Modality, stamp_ns: int, arrival: float) -> None:
        self._arrivals[modality, stamp_ns] = arrival
        while len(self._arrivals) > MAX_ARRIVALS:
            self._arrivals.popitem(last=False)
