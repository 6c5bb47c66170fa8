"""Configuration of a simulated drive: street, sensors, conditions, faults."""

from __future__ import annotations

from dataclasses import dataclass

from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.simulation.faults.effects import KINDS, Fault
from sam_ad_perception.simulation.sensors.rig import RigSensor, default_rig
from sam_ad_perception.simulation.street.scene import SCENES, STREET
from sam_ad_perception.simulation.weather.conditions import Schedule, check_schedule


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
        scene: Kind of street, see `scene.SCENES`.
        condition: Light and weather, see `conditions.CONDITIONS`; joined as `night+rain`.
        conditions: Light and weather that change, instead of `condition`: time in seconds since
            the start, and the condition from then on.
        condition_ramp_s: How long each change takes, seconds.
        faults: What goes wrong, and when.
        rig: The sensors, instead of the four whose sizes and rates are given above.

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
    scene: str = STREET
    condition: str = 'day'
    conditions: Schedule = ()
    condition_ramp_s: float = 1.0
    faults: tuple[Fault, ...] = ()
    rig: tuple[RigSensor, ...] = ()

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f'seed must be at least 0, got {self.seed}')
        for name in (
            'duration_s', 'camera_rate_hz', 'thermal_rate_hz', 'lidar_rate_hz', 'event_packet_ms',
            'speed_mps',
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} must be positive, got {getattr(self, name)}')
        if not self.condition_ramp_s >= 0:
            raise ValueError(f'condition_ramp_s must be at least 0, got {self.condition_ramp_s}')
        for name in ('size', 'thermal_size', 'event_size'):
            if min(getattr(self, name)) < 16:
                raise ValueError(f'{name} must be at least 16 x 16, got {getattr(self, name)}')
        if self.scene not in SCENES:
            raise ValueError(f'scene must be one of {list(SCENES)}, got {self.scene!r}')
        check_schedule(self.schedule)
        self._check_sensors()

    def _check_sensors(self) -> None:
        sensors = {str(sensor.name): sensor for sensor in self.sensors}
        if len(sensors) < len(self.sensors) or '' in sensors:
            raise ValueError(
                f'rig must name each sensor once, got {[str(s.name) for s in self.sensors]}'
            )
        for fault in self.faults:
            sensor = sensors.get(fault.sensor)
            if sensor is None:
                raise ValueError(
                    f'faults must name one of the sensors {list(sensors)}, got {fault.sensor!r}'
                    f'{did_you_mean(fault.sensor, sensors)}'
                )
            if sensor.modality not in KINDS[fault.kind].modalities:
                raise ValueError(
                    f'faults: {fault.kind!r} befalls {[*map(str, KINDS[fault.kind].modalities)]}, '
                    f'{fault.sensor!r} is a {sensor.modality} sensor'
                )

    @property
    def schedule(self) -> Schedule:
        """The conditions with their times, at least one."""
        return self.conditions or ((0.0, self.condition),)

    @property
    def sensors(self) -> tuple[RigSensor, ...]:
        """The sensors of the drive."""
        return self.rig or default_rig(
            self.size,
            self.thermal_size,
            self.event_size,
            (self.camera_rate_hz, self.thermal_rate_hz, self.lidar_rate_hz),
            self.event_packet_ms,
        )
