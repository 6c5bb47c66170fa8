"""A drive through a simulated street: every sensor at any time, with exact calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.lidar.deskew import point_times
from sam_ad_perception.core.lidar.ego_motion import sample_motion
from sam_ad_perception.core.registry import resolve
from sam_ad_perception.core.sensors import (
    EVENT_WINDOW_NS,
    CameraModel,
    Events,
    Modality,
    PointCloud,
    SensorBundle,
    SensorData,
    SensorFrame,
)
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.renderer import SWEEP_NS, Renderer
from sam_ad_perception.simulation.faults.effects import TRANSPORT, Fault, corrupt, drop_non_finite
from sam_ad_perception.simulation.sensors.lidar import Sweep
from sam_ad_perception.simulation.sensors.rig import RigSensor, simulated_sensors
from sam_ad_perception.simulation.street.scene import Scene
from sam_ad_perception.simulation.weather.conditions import Condition

__all__ = ['EVENT_WINDOW_NS', 'SWEEP_NS', 'Drive', 'DriveConfig', 'GroundTruth']

_HINDERING = ('late', 'clock_jump', 'wrong_encoding', 'truncated')
"""Faults on the way that keep a message out of its bundle."""
_FAULT_STREAM = 10


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What a camera sees, exactly.

    Attributes:
        stamp_ns: Time, nanoseconds.
        labels: (H, W) uint8, Cityscapes train ids.
        depth: (H, W) float32, z in the camera's frame at the stamp, metres; NaN where there is no
            surface. A rolling shutter moves its pixels, as those of the labels.
        faults: For each sensor of the rig that is faulty at that time, the kinds of its faults.
    """

    stamp_ns: int
    labels: NDArray[np.uint8]
    depth: NDArray[np.float32]
    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Drive:
    """One simulated drive. All results depend on the configuration and the stamp alone.

    Sensors go by their names in the rig; those of the default rig are their modalities.

    Attributes:
        config: What is simulated.
        scene: The street.
        sensors: The rig, by name.
        cameras: Undistorted geometry of cameras, thermal and event cameras, by name.
        T_base: (4, 4) float64 `T_base_x` of each sensor, metres.
    """

    def __init__(self, config: DriveConfig) -> None:
        self.config = config
        self.scene = Scene(
            config.seed, config.duration_s * config.speed_mps, config.speed_mps, config.scene
        )
        self.sensors: Mapping[str, RigSensor] = {s.name: s for s in config.sensors}
        models = {name: sensor.camera() for name, sensor in self.sensors.items()}
        self.cameras: Mapping[str, CameraModel] = {n: c for n, c in models.items() if c}
        self.T_base: Mapping[str, NDArray[np.float64]] = {
            name: sensor.T_base() for name, sensor in self.sensors.items()
        }
        self._renderer = Renderer(config, self.scene, self.cameras, self.T_base)

    def pose(self, stamp_ns: int) -> NDArray[np.float64]:
        """(4, 4) `T_odom_base` at a time, metres; base_link lies on the ground, x forward."""
        return self._renderer.pose(stamp_ns)

    def condition(self, stamp_ns: int) -> Condition:
        """Light and weather at a time, nanoseconds."""
        return self._renderer.condition(stamp_ns)

    def condition_name(self, stamp_ns: int) -> str:
        """The name of what the schedule has at a time, nanoseconds; in a tunnel `tunnel`."""
        if self._renderer.inside_tunnel(stamp_ns) > 0.5:
            return 'tunnel'
        schedule, elapsed_s = self.config.schedule, (stamp_ns - self.config.start_ns) * 1e-9
        begun = [name for start_s, name in schedule if start_s <= elapsed_s]
        return begun[-1] if begun else schedule[0][1]

    def faults(self, sensor: str, stamp_ns: int) -> tuple[Fault, ...]:
        """The faults of a sensor at a true time, nanoseconds, in the order of the schedule."""
        elapsed = stamp_ns - self.config.start_ns
        return tuple(f for f in self.config.faults if f.sensor == sensor and f.is_active(elapsed))

    def frame_stamps(self, sensor: str) -> list[int]:
        """True times of a sensor's frames, nanoseconds; of event packets, their starts.

        The first packets come before the first frames, so that each frame has its 30 ms.

        Raises:
            ValueError: There is no such sensor.
        """
        rig, c = self._sensor(sensor), self.config
        count = -(-round(c.duration_s * 1e9) // rig.period_ns)
        early = -(-EVENT_WINDOW_NS // rig.packet_ns) if rig.packet_ns else 0
        return [c.start_ns + i * rig.period_ns for i in range(-early, count)]

    def measure(self, sensor: str, stamp_ns: int) -> SensorFrame:
        """What one sensor measures at a time, without its faults and by the true clock.

        Args:
            sensor: Its name.
            stamp_ns: Time, nanoseconds; of a lidar sweep its end, of an event frame the end of
                its 30 ms.

        Returns:
            The frame: RGB uint8; uint16 counts of 10 mK; events; points in the lidar's frame.

        Raises:
            ValueError: There is no such sensor.
        """
        measure = resolve(self._sensor(sensor).source.measure)
        data: SensorData = measure(self._renderer, sensor, stamp_ns)
        return self._frame(sensor, stamp_ns, data)

    def observe(self, sensor: str, stamp_ns: int, packet_ns: int = 0) -> SensorFrame | None:
        """What one sensor delivers at a time, with the faults of its data, by the true clock.

        Args:
            sensor: Its name.
            stamp_ns: Time, nanoseconds, as for `measure`.
            packet_ns: If not 0, an event sensor's packet of this length (nanoseconds) that
                starts at `stamp_ns`, instead of the 30 ms that end there.

        Returns:
            The frame; a cloud may hold points that are no numbers. None at a dropout.

        Raises:
            ValueError: There is no such sensor.
        """
        active = self.faults(sensor, stamp_ns)
        kinds = {fault.kind for fault in active}
        if 'dropout' in kinds:
            return None
        seen_ns = self._last_good(sensor, active) if 'frozen' in kinds else stamp_ns
        span = (stamp_ns, stamp_ns + packet_ns) if packet_ns else (
            stamp_ns - EVENT_WINDOW_NS, stamp_ns
        )  # fmt: skip
        data: SensorData
        if packet_ns:
            data = self.events_between(seen_ns, seen_ns + packet_ns, sensor)
        else:
            data = self.measure(sensor, seen_ns).data
        if isinstance(data, Events) and seen_ns != stamp_ns:
            data = replace(data, t_ns=data.t_ns + (stamp_ns - seen_ns))
        for number, fault in enumerate(active):
            if fault.kind not in TRANSPORT:
                rng = self._renderer.rng(sensor, stamp_ns, _FAULT_STREAM + number)
                data = corrupt(data, fault.kind, fault.strength, rng, span)
        return self._frame(sensor, stamp_ns, data)

    def measure_sweep(self, stamp_ns: int, sensor: str = Modality.RANGING) -> Sweep:
        """The lidar sweep that ends at `stamp_ns`, with rings and true labels of its points."""
        return self._renderer.sweep(sensor, stamp_ns)

    def events_between(self, start_ns: int, end_ns: int, sensor: str = Modality.EVENT) -> Events:
        """Events with start <= t < end, nanoseconds, ordered by time."""
        return self._renderer.events(sensor, start_ns, end_ns)

    def truth(self, stamp_ns: int, sensor: str = Modality.VIEW) -> GroundTruth:
        """True labels and depth of a view at a time.

        Args:
            stamp_ns: Time, nanoseconds.
            sensor: Whose view: a camera, thermal or event camera.

        Returns:
            The truth at that camera's size.

        Raises:
            ValueError: There is no such camera.
        """
        view = self._renderer.look(sensor, stamp_ns)
        faults = {
            name: tuple(fault.kind for fault in self.faults(name, stamp_ns))
            for name in self.sensors
        }
        return GroundTruth(
            stamp_ns,
            self._renderer.labels(view),
            self._renderer.depth(view),
            {name: kinds for name, kinds in faults.items() if kinds},
        )

    def flow(
        self, stamp_ns: int, later_ns: int, sensor: str = Modality.VIEW
    ) -> NDArray[np.float32]:
        """True optical flow of a view from one time to another.

        Args:
            stamp_ns: Time of the view, nanoseconds.
            later_ns: The other time, nanoseconds; may be earlier.
            sensor: Whose view: a camera, thermal or event camera.

        Returns:
            (H, W, 2) float32, pixels (u, v), see `flow.measure_flow`.

        Raises:
            ValueError: There is no such camera.
        """
        return self._renderer.flow(self._renderer.look(sensor, stamp_ns), later_ns)

    def bundle(self, stamp_ns: int) -> tuple[SensorBundle, GroundTruth]:
        """The first sensor of each kind at one time, with their faults, and the truth.

        Args:
            stamp_ns: Time of camera and thermal frame, end of the lidar sweep and of the 30 ms
                of events, nanoseconds.

        Returns:
            A bundle in the camera view, which knows how the lidar moved over its sweep, and the
            camera view's truth. Sensors whose messages a
            fault hinders on their way are missing.

        Raises:
            ValueError: The rig has no camera.
        """
        names = {m: self._first(m) for m in simulated_sensors()}
        name = names[Modality.VIEW]
        if name is None:
            raise ValueError(f'a bundle needs a camera, the rig has {list(self.sensors)}')
        frames, missing = self._gather(names, stamp_ns)
        lidar = names.get(Modality.RANGING)
        if lidar is not None and Modality.RANGING in frames:
            sweep = frames[Modality.RANGING]
            motion = sample_motion(
                lambda t_ns: self.pose(t_ns) @ self.T_base[lidar], *point_times(sweep), stamp_ns
            )
            frames[Modality.RANGING] = replace(sweep, motion=motion)
        T_camera_base = np.linalg.inv(self.T_base[name])
        bundle = SensorBundle(
            stamp_ns=stamp_ns,
            reference=next(iter(frames), Modality.VIEW),
            camera=self.cameras[name],
            frames=frames,
            missing=missing,
            T_camera={
                m: T_camera_base @ self.T_base[sensor]
                for m, sensor in names.items()
                if m in frames and sensor is not None and m is not Modality.VIEW
            },
        )
        return bundle, self.truth(stamp_ns, name)

    def _gather(
        self, names: Mapping[Modality, str | None], stamp_ns: int
    ) -> tuple[dict[Modality, SensorFrame], dict[Modality, str]]:
        """The frames of a bundle, and why there are no others."""
        frames: dict[Modality, SensorFrame] = {}
        missing: dict[Modality, str] = {}
        for modality, sensor in names.items():
            if sensor is None:
                missing[modality] = 'not in the rig'
                continue
            lost = [f.kind for f in self.faults(sensor, stamp_ns) if f.kind in _HINDERING]
            frame = None if lost else self.observe(sensor, stamp_ns)
            if frame is None:
                missing[modality] = f'simulated fault: {lost[0] if lost else "dropout"}'
                continue
            if isinstance(frame.data, PointCloud):
                frame = replace(frame, data=drop_non_finite(frame.data))
            frames[modality] = frame
        return frames, missing

    def _first(self, modality: Modality) -> str | None:
        """Name of the first sensor of a kind."""
        return next((n for n, s in self.sensors.items() if s.modality is modality), None)

    def _sensor(self, sensor: str) -> RigSensor:
        if sensor not in self.sensors:
            raise ValueError(
                f'sensor must be one of {[*map(str, self.sensors)]}, got {str(sensor)!r}'
            )
        return self.sensors[sensor]

    def _frame(self, sensor: str, stamp_ns: int, data: SensorData) -> SensorFrame:
        rig = self.sensors[sensor]
        return SensorFrame(rig.modality, stamp_ns, rig.frame_id, data, self.cameras.get(sensor))

    def _last_good(self, sensor: str, active: tuple[Fault, ...]) -> int:
        """True time of the last frame before a freeze, of the first one if there is none."""
        start_s = min(f.start_s for f in active if f.kind == 'frozen')
        start_ns = self.config.start_ns + round(start_s * 1e9)
        stamps = self.frame_stamps(sensor)
        return max((s for s in stamps if s < start_ns), default=stamps[0])
