"""A drive through a simulated street: every sensor at any time, with exact calibration."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    Modality,
    SensorBundle,
    SensorData,
    SensorFrame,
)
from sam_ad_perception.simulation import camera as light
from sam_ad_perception.simulation import lidar
from sam_ad_perception.simulation.events import detect_events, join, log_intensity
from sam_ad_perception.simulation.primitives import Primitives
from sam_ad_perception.simulation.raycast import GROUND_HIT, SKY_HIT, Hits, cast
from sam_ad_perception.simulation.scene import Scene
from sam_ad_perception.simulation.shadows import map_shadows
from sam_ad_perception.simulation.thermal import measure_thermal
from sam_ad_perception.simulation.vehicle import VehicleMotion, make_camera, mount

SUBFRAME_NS = 10_000_000
"""Spacing of the renderings between which events are interpolated."""
EVENT_WINDOW_NS = 30_000_000
"""Length of the event frame of a bundle."""
SWEEP_NS = 100_000_000
SENSORS = (Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR)
_LATENCY_NS = {
    Modality.CAMERA: 12_000_000,
    Modality.THERMAL: 15_000_000,
    Modality.EVENT: 3_000_000,
    Modality.LIDAR: 8_000_000,
}
_SUBFRAMES_KEPT = 6


@dataclass(frozen=True)
class DriveConfig:
    """What to simulate.

    Attributes:
        seed: Decides street, traffic, weather and noise.
        duration_s: Length of the drive, seconds.
        size: Size of the camera image `(H, W)`, pixels.
        thermal_size: Size of the thermal image `(H, W)`, pixels.
        event_size: Size of the event sensor `(H, W)`, pixels.
        camera_rate_hz: Frames per second.
        thermal_rate_hz: Frames per second.
        lidar_rate_hz: Sweeps published per second; a sweep takes 0.1 s whatever the rate.
        event_packet_ms: Length of an event packet, whole milliseconds.
        speed_mps: Mean speed of the ego vehicle, metres per second.
        start_ns: Stamp of the first camera frame, nanoseconds.

    Raises:
        ValueError: A field is out of range.
    """

    seed: int = 0
    duration_s: float = 10.0
    size: tuple[int, int] = (400, 640)
    thermal_size: tuple[int, int] = (256, 320)
    event_size: tuple[int, int] = (200, 320)
    camera_rate_hz: float = 10.0
    thermal_rate_hz: float = 10.0
    lidar_rate_hz: float = 10.0
    event_packet_ms: int = 10
    speed_mps: float = 8.0
    start_ns: int = 1_700_000_000_000_000_000

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f'seed must be at least 0, got {self.seed}')
        for name in (
            'duration_s', 'camera_rate_hz', 'thermal_rate_hz', 'lidar_rate_hz', 'event_packet_ms',
            'speed_mps',
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} must be positive, got {getattr(self, name)}')
        for name in ('size', 'thermal_size', 'event_size'):
            if min(getattr(self, name)) < 16:
                raise ValueError(f'{name} must be at least 16 x 16, got {getattr(self, name)}')


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What a camera sees, exactly.

    Attributes:
        stamp_ns: Time, nanoseconds.
        labels: (H, W) uint8, Cityscapes train ids.
        depth: (H, W) float32, z in the camera's frame, metres; NaN where there is no surface.
    """

    stamp_ns: int
    labels: NDArray[np.uint8]
    depth: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TimedFrame:
    """A frame and when it reaches the computer.

    Attributes:
        frame: The measurement. An event frame holds one packet; its stamp is its start.
        arrival_ns: Host time of its arrival, nanoseconds.
    """

    frame: SensorFrame
    arrival_ns: int


@dataclass(frozen=True, eq=False)
class _View:
    """One camera at one time, and what its pixels hit."""

    stamp_ns: int
    camera: CameraModel
    T_world: NDArray[np.float64]
    primitives: Primitives
    hits: Hits


class Drive:
    """One simulated drive. All results depend on the configuration and the stamp alone.

    Attributes:
        config: What is simulated.
        scene: The street.
        cameras: Undistorted geometry of camera, thermal and event camera.
        T_base: (4, 4) float64 `T_base_x` of each sensor, metres.
    """

    def __init__(self, config: DriveConfig) -> None:
        self.config = config
        self.scene = Scene(config.seed, config.duration_s * config.speed_mps, config.speed_mps)
        sizes = (config.size, config.thermal_size, config.event_size)
        self.cameras: Mapping[Modality, CameraModel] = {
            m: make_camera(m, size) for m, size in zip(SENSORS, sizes, strict=False)
        }
        self.T_base: Mapping[Modality, NDArray[np.float64]] = {m: mount(m) for m in SENSORS}
        phases = np.random.default_rng([config.seed, 1]).uniform(0, 2 * np.pi, 4)
        self._motion = VehicleMotion(self.scene.road, config.speed_mps, phases)
        self._subframes: OrderedDict[int, NDArray[np.float64]] = OrderedDict()

    def pose(self, stamp_ns: int) -> NDArray[np.float64]:
        """(4, 4) `T_odom_base` at a time, metres; base_link lies on the ground, x forward."""
        return self._motion.poses(np.array([stamp_ns - self.config.start_ns]))[0]

    def frame_stamps(self, modality: Modality) -> list[int]:
        """Stamps of a sensor's frames, nanoseconds; of event packets, their starts.

        The first packets come before the first frames, so that each frame has its 30 ms.
        """
        c = self.config
        if modality is Modality.EVENT:
            period = c.event_packet_ms * 1_000_000
            early = -(-EVENT_WINDOW_NS // period)
            count = -(-round(c.duration_s * 1e9) // period)
            return [c.start_ns + i * period for i in range(-early, count)]
        rates = {
            Modality.CAMERA: c.camera_rate_hz,
            Modality.THERMAL: c.thermal_rate_hz,
            Modality.LIDAR: c.lidar_rate_hz,
        }
        if modality not in rates:
            raise ValueError(f'modality must be one of {[*map(str, SENSORS)]}, got {modality}')
        period = round(1e9 / rates[modality])
        count = -(-round(c.duration_s * 1e9) // period)
        return [c.start_ns + i * period for i in range(count)]

    def measure(self, modality: Modality, stamp_ns: int) -> SensorFrame:
        """What one sensor delivers at a time.

        Args:
            modality: Camera, thermal, event or lidar.
            stamp_ns: Time, nanoseconds; of a lidar sweep its end, of an event frame the end of
                its 30 ms.

        Returns:
            The frame: RGB uint8; uint16 counts of 10 mK; events; points in the lidar's frame.

        Raises:
            ValueError: There is no such sensor.
        """
        data: SensorData
        if modality is Modality.LIDAR:
            return SensorFrame(modality, stamp_ns, 'lidar', self.measure_sweep(stamp_ns).cloud)
        if modality is Modality.EVENT:
            data = self.events_between(stamp_ns - EVENT_WINDOW_NS, stamp_ns)
        elif modality is Modality.CAMERA:
            linear = self._light(self._look(modality, stamp_ns))
            data = light.develop(linear, self._rng(0, stamp_ns))
        elif modality is Modality.THERMAL:
            data = self._feel(stamp_ns)
        else:
            raise ValueError(f'modality must be one of {[*map(str, SENSORS)]}, got {modality}')
        camera = self.cameras[modality]
        return SensorFrame(modality, stamp_ns, camera.frame_id, data, camera)

    def measure_sweep(self, stamp_ns: int) -> lidar.Sweep:
        """The lidar sweep that ends at `stamp_ns`, with rings and true labels of its points."""
        steps = np.arange(lidar.COLUMNS) - (lidar.COLUMNS - 1)
        offset_ns = np.rint(steps * (SWEEP_NS / lidar.COLUMNS)).astype(np.int64)
        poses = self._motion.poses(stamp_ns - self.config.start_ns + offset_ns)
        rng = self._rng(3, stamp_ns)
        return lidar.measure_lidar(
            self._primitives(stamp_ns),
            self.scene.road,
            poses @ self.T_base[Modality.LIDAR],
            offset_ns,
            rng,
        )

    def events_between(self, start_ns: int, end_ns: int) -> Events:
        """Events with start <= t < end, nanoseconds, ordered by time."""
        origin = self.config.start_ns
        first, last = (start_ns - origin) // SUBFRAME_NS, -(-(end_ns - origin) // SUBFRAME_NS)
        parts = [
            detect_events(
                self._subframe(k),
                self._subframe(k + 1),
                origin + k * SUBFRAME_NS,
                SUBFRAME_NS,
                self._rng(2, origin + k * SUBFRAME_NS),
            )
            for k in range(first, last)
        ]
        return join(parts, start_ns, end_ns, self.config.event_size)

    def truth(self, stamp_ns: int, modality: Modality = Modality.CAMERA) -> GroundTruth:
        """True labels and depth of a view at a time.

        Args:
            stamp_ns: Time, nanoseconds.
            modality: Whose view: camera, thermal or event.

        Returns:
            The truth at that camera's size.
        """
        return self._truth(self._look(modality, stamp_ns))

    def bundle(self, stamp_ns: int) -> tuple[SensorBundle, GroundTruth]:
        """All four sensors at one time, and the truth.

        Args:
            stamp_ns: Time of camera and thermal frame, end of the lidar sweep and of the 30 ms
                of events, nanoseconds.

        Returns:
            A complete bundle in the camera view, and the camera view's truth.
        """
        view = self._look(Modality.CAMERA, stamp_ns)
        image = light.develop(self._light(view), self._rng(0, stamp_ns))
        camera = self.cameras[Modality.CAMERA]
        frames = {
            Modality.CAMERA: SensorFrame(Modality.CAMERA, stamp_ns, camera.frame_id, image, camera)
        }
        frames |= {m: self.measure(m, stamp_ns) for m in SENSORS[1:]}
        T_camera_base = np.linalg.inv(self.T_base[Modality.CAMERA])
        return (
            SensorBundle(
                stamp_ns=stamp_ns,
                reference=Modality.CAMERA,
                camera=camera,
                frames=frames,
                T_camera={m: T_camera_base @ self.T_base[m] for m in SENSORS[1:]},
            ),
            self._truth(view),
        )

    def frames(self) -> Iterator[TimedFrame]:
        """All frames of the drive in the order of arrival; event frames are packets."""
        packet_ns = self.config.event_packet_ms * 1_000_000
        plan = [
            (
                stamp + (packet_ns if m is Modality.EVENT else 0) + _LATENCY_NS[m],
                SENSORS.index(m),
                stamp,
            )
            for m in SENSORS
            for stamp in self.frame_stamps(m)
        ]
        for arrival_ns, sensor, stamp in sorted(plan):
            modality = SENSORS[sensor]
            if modality is Modality.EVENT:
                camera = self.cameras[modality]
                events = self.events_between(stamp, stamp + packet_ns)
                frame = SensorFrame(modality, stamp, camera.frame_id, events, camera)
            else:
                frame = self.measure(modality, stamp)
            yield TimedFrame(frame, arrival_ns)

    def _rng(self, sensor: int, stamp_ns: int) -> np.random.Generator:
        # Times before the start, which the first sweep needs, are negative.
        elapsed = stamp_ns - self.config.start_ns
        return np.random.default_rng([self.config.seed, 2 + sensor, abs(elapsed), elapsed < 0])

    def _primitives(self, stamp_ns: int) -> Primitives:
        x, y = self.pose(stamp_ns)[:2, 3]
        return self.scene.primitives((stamp_ns - self.config.start_ns) * 1e-9, x, y)

    def _look(self, modality: Modality, stamp_ns: int) -> _View:
        if modality not in self.cameras:
            raise ValueError(
                f'modality must be one of {[*map(str, self.cameras)]}, got {modality}'
            )
        camera, T = self.cameras[modality], self.pose(stamp_ns) @ self.T_base[modality]
        primitives = self._primitives(stamp_ns)
        return _View(stamp_ns, camera, T, primitives, cast(primitives, camera, T))

    def _light(self, view: _View) -> NDArray[np.float32]:
        """(H, W, 3) linear light of a view."""
        weather, (x, y) = self.scene.weather, view.T_world[:2, 3]
        shadows = map_shadows(view.primitives, np.array(weather.sun), float(x), float(y))
        return light.shade(
            view.hits,
            view.primitives,
            shadows,
            self.scene.road,
            weather,
            view.camera,
            view.T_world,
        )

    def _truth(self, view: _View) -> GroundTruth:
        road, hits = self.scene.road, view.hits
        labels = light.label(hits, view.primitives, road, view.camera, view.T_world)
        return GroundTruth(view.stamp_ns, labels, _surface_depth(hits.index, hits.depth))

    def _feel(self, stamp_ns: int) -> NDArray[np.uint16]:
        view, scene = self._look(Modality.THERMAL, stamp_ns), self.scene
        return measure_thermal(
            view.hits,
            view.primitives,
            scene.road,
            scene.weather,
            view.camera,
            view.T_world,
            self._rng(1, stamp_ns),
        )

    def _subframe(self, k: int) -> NDArray[np.float64]:
        """Log intensity of the event camera's view at sub-frame `k`, from a small cache."""
        image = self._subframes.get(k)
        if image is None:
            stamp_ns = self.config.start_ns + k * SUBFRAME_NS
            image = self._subframes[k] = log_intensity(
                self._light(self._look(Modality.EVENT, stamp_ns))
            )
            while len(self._subframes) > _SUBFRAMES_KEPT:
                self._subframes.popitem(last=False)
        return image


def _surface_depth(index: NDArray[np.int32], depth: NDArray[np.float64]) -> NDArray[np.float32]:
    surface = (index > SKY_HIT) | (index == GROUND_HIT)
    return np.where(surface, depth, np.nan).astype(np.float32)
