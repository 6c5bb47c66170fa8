"""All sensor topics of the segmentation node: each message becomes one call to the bundler."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.subscription import Subscription

from sam_ad_perception.core.bundler import Bundler, BundleResult
from sam_ad_perception.core.calibration import Calibration
from sam_ad_perception.core.conversions import (
    ConversionError,
    camera_from_message,
    defer_image,
    frame_of,
    packet_from_message,
    stamp_of,
    twist_from_message,
)
from sam_ad_perception.core.event_packets import (
    EVENT_ARRAY_TYPES,
    EventPacket,
    packet_from_event_array,
)
from sam_ad_perception.core.sensors import Deferred, Modality, PointCloud, SensorFrame
from sam_ad_perception.core.synchronizer_types import SensorReport
from sam_ad_perception.nodes.cloud_input import CloudInput, Sweep
from sam_ad_perception.nodes.configuration import EventConfig, ImageConfig, SegmentationConfig
from sam_ad_perception.nodes.diagnostics import ReasonCounter, TopicMonitor
from sam_ad_perception.nodes.event_input import IMAGE_TYPE, PACKET_TYPE, EventInput
from sam_ad_perception.nodes.image_input import ImageInput
from sam_ad_perception.nodes.ros import (
    TransformInput,
    guard,
    refuse,
    sensor_qos,
    subscribe,
)
from sam_ad_perception.nodes.topics import INFO_TOPICS, ODOMETRY, SENSOR_TOPICS, in_view

MAX_ARRIVALS = 1000


class SensorInputs:
    """Subscriptions of one camera view of the segmentation node.

    Geometry is subscribed at once, measurements between `start` and `stop`.
    Within one round of the executor rclpy runs callbacks in the order in which the subscriptions
    were made, so what a reference frame needs comes before the camera.

    Attributes:
        bundler: Takes what comes; another one after `restart`.
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
        self._info_contents: dict[Modality, tuple[Any, ...]] = {}
        self._arrivals: OrderedDict[tuple[Modality, int], float] = OrderedDict()
        self._point_times = ReasonCounter(period=3600.0)
        self._images: list[ImageInput] = []
        self._events: EventInput | None = None
        self._subscriptions: list[Subscription] = []
        self.sensors = tuple(m for m in SENSOR_TOPICS if config.bundler.sync.sensors[m].enabled)
        self.monitors = {
            str(m): TopicMonitor(str(m), config.bundler.sync.sensors[m].max_age_s)
            for m in self.sensors
        }
        if Modality.LIDAR in self.sensors:
            self.monitors['odometry'] = TopicMonitor('odometry', float('inf'))
        self.bundler = self._make_bundler()
        self._infos = [self._subscribe_info(m) for m in self._info_sensors()]

    def start(self) -> None:
        """Subscribe to the measurements."""
        qos = sensor_qos(self._config.qos)
        if Modality.LIDAR in self.sensors:
            self._clouds.add(
                self._topic(SENSOR_TOPICS[Modality.LIDAR]),
                self.monitors[Modality.LIDAR],
                self._take_sweep,
            )
            self._subscriptions.append(
                subscribe(
                    self._node,
                    'nav_msgs/msg/Odometry',
                    self._topic(ODOMETRY),
                    guard(self._node, self.monitors['odometry'], self._take_odometry),
                    qos,
                )
            )
        if Modality.EVENT in self.sensors:
            self._events = self._subscribe_events()
        images = {
            Modality.DEPTH: self._config.depth.transport,
            Modality.THERMAL: self._config.thermal.transport,
            Modality.CAMERA: self._config.camera.transport,
        }
        for modality, transport in images.items():
            if modality in self.sensors:
                take = guard(self._node, self.monitors[modality], self._take_image(modality))
                self._images.append(
                    ImageInput(
                        self._node, self._topic(SENSOR_TOPICS[modality]), transport, qos, take
                    )
                )

    def stop(self) -> None:
        """Unsubscribe from the measurements."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        if Modality.LIDAR in self.sensors:
            self._clouds.remove(self.monitors[Modality.LIDAR])
        for image in self._images:
            image.destroy()
        if self._events is not None:
            self._events.destroy()
        self._subscriptions, self._images, self._events = [], [], None
        self._arrivals.clear()

    def destroy(self) -> None:
        """Unsubscribe from everything."""
        self.stop()
        for subscription in self._infos:
            self._node.destroy_subscription(subscription)
        self._infos = []

    def restart(self) -> list[BundleResult]:
        """Forget all that was measured: time was set back. Geometry and fixed transforms stay.

        Returns:
            What had been waiting.
        """
        waiting = self.bundler.flush()
        self._past.update(self.bundler.counters)
        self._transforms.tree.clear_dynamic()
        self.bundler = self._make_bundler()
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
        if not self.bundler.counters.get('lidar.not_deskewed') or self.bundler.ego_motion.known:
            return {}
        frame = self._config.bundler.fixed_frame
        told = f'sweeps are not deskewed: no frame {frame!r} and no odometry tell the motion'
        return {str(Modality.LIDAR): told}

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
        """Let image topics on `auto` and the event topic see what is published now."""
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

    def _make_bundler(self) -> Bundler:
        bundler = Bundler(self._config.bundler, self._transforms.tree)
        for modality, camera in self._cameras.items():
            bundler.set_camera(modality, camera)
        return bundler

    def _info_sensors(self) -> list[Modality]:
        """Sensors whose geometry is needed; the camera's always: it is the view of the mask."""
        return [m for m in INFO_TOPICS if m is Modality.CAMERA or m in self.sensors]

    def _subscribe_info(self, modality: Modality) -> Subscription:
        """Subscribe to one sensor's geometry."""
        monitor = TopicMonitor(f'camera_info/{modality}', float('inf'))
        self.monitors[monitor.name] = monitor
        inputs: dict[Modality, ImageConfig | EventConfig] = {
            Modality.CAMERA: self._config.camera,
            Modality.THERMAL: self._config.thermal,
            Modality.EVENT: self._config.event,
            Modality.DEPTH: self._config.depth,
        }
        rectified = inputs[modality].rectified
        own_centre = getattr(inputs[modality], 'own_centre', False)

        def take(message: Any) -> None:
            content = _content(message)
            if content == self._info_contents.get(modality):
                return
            camera = camera_from_message(message, rectified=rectified, own_centre=own_centre)
            self._info_contents[modality] = content
            self._cameras[modality] = camera
            self._on_results(self.bundler.set_camera(modality, camera))

        return subscribe(
            self._node,
            'sensor_msgs/msg/CameraInfo',
            self._topic(INFO_TOPICS[modality]),
            guard(self._node, monitor, take),
            sensor_qos(self._config.qos),
        )

    def _take_image(self, modality: Modality) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            arrival = time.monotonic()
            image = self._defer(message, modality)
            frame = SensorFrame(modality, stamp_of(message), frame_of(message), image)
            self._add(frame, arrival)

        return take

    def _defer(self, message: Any, modality: Modality) -> Deferred:
        """Leave decoding to the worker, and count there what does not decode."""
        image, monitor = defer_image(message, modality), self.monitors[modality]

        def read() -> NDArray[np.generic]:
            try:
                return image.get()
            except Exception as err:
                refuse(self._node, monitor, err)
                if isinstance(err, ValueError):
                    raise
                raise ConversionError(f'{type(err).__name__}: {err}') from err

        return Deferred(read, image.size)

    def _take_sweep(self, sweep: Sweep) -> None:
        arrival = time.monotonic()
        frame = sweep()
        assert isinstance(frame.data, PointCloud)
        if self._point_times.add(frame.data.time_note):
            self._node.get_logger().info(f'lidar: {frame.data.time_note}')
        self._add(frame, arrival)

    def _subscribe_events(self) -> EventInput:
        """Subscribe to the event camera."""
        monitor = self.monitors[Modality.EVENT]
        arrays = guard(
            self._node, monitor, lambda data: self._take_packet(packet_from_event_array(data))
        )
        packets = guard(
            self._node, monitor, lambda message: self._take_packet(packet_from_message(message))
        )
        pictures = guard(self._node, monitor, self._take_image(Modality.EVENT))
        callbacks = dict.fromkeys(EVENT_ARRAY_TYPES, arrays)
        return EventInput(
            self._node,
            self._topic(SENSOR_TOPICS[Modality.EVENT]),
            sensor_qos(self._config.qos, self._config.qos.event_depth),
            callbacks | {PACKET_TYPE: packets, IMAGE_TYPE: pictures},
            self._tell_unusable,
        )

    def _tell_unusable(self, text: str) -> None:
        """Count and, now and then, log that the event topic carries what cannot be read."""
        monitor = self.monitors[Modality.EVENT]
        if monitor.bad.add(text):
            self._node.get_logger().warning(f'{monitor.name}: {text}')

    def _take_packet(self, packet: EventPacket) -> None:
        self._remember(Modality.EVENT, packet.stamp_ns, time.monotonic())
        self._on_results(self.bundler.add_event_packet(packet, self.now_ns()))

    def _take_odometry(self, message: Any) -> None:
        self.bundler.ego_motion.add_twist(*twist_from_message(message))

    def _add(self, frame: SensorFrame, arrival: float) -> None:
        self._remember(frame.modality, frame.stamp_ns, arrival)
        self._on_results(self.bundler.add_frame(frame, self.now_ns()))

    def _remember(self, modality: Modality, stamp_ns: int, arrival: float) -> None:
        self._arrivals[modality, stamp_ns] = arrival
        while len(self._arrivals) > MAX_ARRIVALS:
            self._arrivals.popitem(last=False)


def _content(message: Any) -> tuple[Any, ...]:
    """All of a CameraInfo but its stamp: the same content needs no new camera model."""
    roi = message.roi
    return (
        frame_of(message),
        message.width,
        message.height,
        message.distortion_model,
        tuple(message.d),
        tuple(message.k),
        tuple(message.r),
        tuple(message.p),
        (message.binning_x, message.binning_y),
        (roi.x_offset, roi.y_offset, roi.height, roi.width),
    )
