"""The camera_infos of one view: each is read as the images of its sensor are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.node import Node

from sam_ad_perception.core.messages.from_ros import frame_of, read_camera_info, stamp_of
from sam_ad_perception.core.plausibility.monitor import PlausibilityMonitor
from sam_ad_perception.core.plausibility.reading_watch import LensReadings
from sam_ad_perception.core.sensors import CameraModel, Modality
from sam_ad_perception.nodes.ros.configuration import ImageConfig, SegmentationConfig
from sam_ad_perception.nodes.ros.diagnostics import TopicMonitor
from sam_ad_perception.nodes.ros.rclpy_helpers import InfoSubscription

_KEPT = 512
"""camera_infos of the last seconds: images of that time may wait for what belongs to them."""


class GeometryInput:
    """Reads camera_infos, those of the camera by P or by K and D as its images ask for.

    Attributes:
        cameras: Geometry by the newest camera_info of each sensor.

    Args:
        node: Its executor runs the callbacks.
        config: The node's parameters.
        checks: Sees which reading the camera's images have.
        take: Told the sensor, the geometry and the stamp of each camera_info, nanoseconds.
        replace: Told stamp and geometry of the camera's last camera_infos, where they are read
            anew: those that were told before hold no more.
    """

    def __init__(
        self,
        node: Node,
        config: SegmentationConfig,
        checks: PlausibilityMonitor,
        take: Callable[[Modality, CameraModel, int], object],
        replace: Callable[[list[tuple[int, CameraModel]]], object],
    ) -> None:
        self.cameras: dict[Modality, CameraModel] = {}
        self._node = node
        self._config = config
        self._checks = checks
        self._take, self._replace = take, replace
        self._contents: dict[Modality, tuple[Any, ...]] = {}
        self._subscriptions: list[InfoSubscription] = []
        reading = config.inputs[Modality.CAMERA]
        assert isinstance(reading, ImageConfig)
        self._settled = reading.rectified != 'auto'
        self._is_flat = reading.starts_rectified
        self._other: CameraModel | None = None
        self._topic = ''
        self._past: deque[tuple[int, CameraModel, CameraModel]] = deque(maxlen=_KEPT)

    def subscribe(
        self, sensors: Iterable[Modality], name: Callable[[str], str]
    ) -> dict[str, TopicMonitor]:
        """Subscribe to the geometry of some sensors.

        Args:
            sensors: Which.
            name: Makes the name of a topic.

        Returns:
            Monitors of the topics, by their names.
        """
        monitors = {}
        self._topic = self._node.resolve_topic_name(name(Modality.CAMERA.topic))
        for modality in sensors:
            monitor = TopicMonitor(f'camera_info/{modality}', float('inf'))
            monitors[monitor.name] = monitor
            self._subscriptions.append(
                InfoSubscription(
                    self._node,
                    name(modality.info_topic),
                    monitor,
                    self._reader(modality, monitor.name),
                    self._config.qos,
                )
            )
        return monitors

    def destroy(self) -> None:
        """Unsubscribe."""
        for each in self._subscriptions:
            each.destroy()
        self._subscriptions = []

    @property
    def reading(self) -> str:
        """How the camera's images are read, and why, in words."""
        word = 'rectified' if self._is_flat else 'raw'
        if self._settled:
            return f'{word}, as camera.rectified says'
        watch = self._checks.readings
        if watch.decided is None:
            return f'{word}, the images do not tell yet ({watch.words})'
        return f'{word}, told from the images ({watch.words})'

    def follow(self) -> None:
        """Read the camera_infos anew where the images turned out to be of the other reading.

        That happens once at most.
        """
        told = self._checks.readings.decided
        if self._settled or told is None or told is self._is_flat:
            return
        self._is_flat = told
        self._past = deque(((s, b, a) for s, a, b in self._past), maxlen=_KEPT)
        if self._past:
            _, self.cameras[Modality.CAMERA], self._other = self._past[-1]
        self._node.get_logger().warning(f'camera: from here on its images are {self.reading}')
        self._replace([(stamp_ns, camera) for stamp_ns, camera, _ in self._past])

    def _reader(self, modality: Modality, name: str) -> Callable[[Any], None]:
        """Make the callback of one sensor's camera_infos."""
        reading = self._config.inputs[modality]
        own_centre = getattr(reading, 'own_centre', False)

        def take(message: Any) -> None:
            self.follow()
            content, stamp_ns = _content(message), stamp_of(message)
            is_view = modality is Modality.CAMERA
            flat = self._is_flat if is_view else reading.starts_rectified
            if content == self._contents.get(modality):
                camera = self.cameras[modality]
            else:
                camera = read_camera_info(message, rectified=flat, own_centre=own_centre)
                if camera.unknown_lens:
                    self._node.get_logger().warning(
                        f'{name}: nothing can be projected: {camera.unknown_lens}'
                    )
                if is_view:
                    other = read_camera_info(message, rectified=not flat, own_centre=own_centre)
                    self._watch(camera, other)
            self._contents[modality] = content
            self.cameras[modality] = camera
            if is_view and self._other is not None:
                self._past.append((stamp_ns, camera, self._other))
            self._take(modality, camera, stamp_ns)

        return take

    def _watch(self, camera: CameraModel, other: CameraModel) -> None:
        """Let the pass see whether the camera's images are read as they are."""
        self._other = other
        flat, drawn = (camera, other) if self._is_flat else (other, camera)
        starts = self._config.camera.starts_rectified
        told = LensReadings(flat, drawn, starts, self._settled, self._topic)
        self._checks.readings.set_readings(told)


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
