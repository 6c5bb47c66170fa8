"""The sensors of a vehicle: how many, where, how large, how fast, and how wrong their clocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensor_kinds import EVENTS, SimulatedSensor
from sam_ad_perception.core.sensors import CameraModel, Modality
from sam_ad_perception.core.settings.parameter_files import load
from sam_ad_perception.core.settings.parameters import ParameterError, parameter
from sam_ad_perception.core.settings.yaml_documents import YamlError, read_yaml
from sam_ad_perception.simulation.sensors.events import CONTRAST

_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""`R_body_optical`: x right, y down, z forward (REP 103)."""


def simulated_sensors() -> tuple[Modality, ...]:
    """The kinds of sensors that can be simulated, those of the default rig first."""
    return tuple(m for m in Modality if m.kind is m and m.record.simulation is not None)


@dataclass(frozen=True)
class RigSensor:
    """One sensor of a vehicle. Its parameters may come from a file, see `load_rig`.

    Attributes:
        name: Name, unique in the rig; its topics begin with it.
        kind: What it is, one of `simulated_sensors`.
        size: Of the image `(H, W)`, pixels; without meaning for a lidar.
        rate_hz: Frames, sweeps or event packets per second.
        position: x forward, y left, z up in base_link, metres.
        rotation: Roll, pitch, yaw of the body that looks along x, degrees: turned about x, then
            y, then z of base_link.
        focal_widths: Focal length in image widths; 0 takes the kind's default.
        clock_offset_s: By how much its clock is ahead: stamp minus true time, seconds.
        latency_s: From the end of a measurement to its arrival, seconds.
        rolling_s: Time from the first row of a picture to the last, seconds; its stamp is that of
            the middle row. 0: a global shutter.
        threshold: Change of the log intensity that makes one event of an event camera.
        refractory_us: Time after an event in which its pixel is blind, microseconds.

    Raises:
        ValueError: A field is out of range.
    """

    name: str = parameter('', 'Name, unique in the rig; a file gives it as the section')
    kind: str = parameter('camera', 'What it is: a kind of sensor that is simulated')
    size: tuple[int, int] = parameter((400, 640), 'Rows and columns', ge=16, unit='px')
    rate_hz: float = parameter(10.0, 'Frames, sweeps or packets per second', ge=0.1, unit='Hz')
    position: tuple[float, float, float] = parameter(
        (1.6, 0.0, 1.65), 'x forward, y left, z up in base_link', unit='m'
    )
    rotation: tuple[float, float, float] = parameter(
        (0.0, 0.0, 0.0), 'Roll, pitch, yaw of the body that looks along x', unit='deg'
    )
    focal_widths: float = parameter(
        0.0, 'Focal length in image widths; 0 takes the default of the kind', ge=0
    )
    clock_offset_s: float = parameter(0.0, 'Stamp minus true time', unit='s')
    latency_s: float = parameter(0.01, 'From the measurement to its arrival', ge=0, unit='s')
    rolling_s: float = parameter(
        0.0, 'From the first row to the last; 0 is a global shutter', ge=0, le=0.1, unit='s'
    )
    threshold: float = parameter(CONTRAST, 'Change of log intensity per event', ge=0.01)
    refractory_us: int = parameter(
        0, 'Time in which a pixel is blind after an event', ge=0, unit='us'
    )

    def __post_init__(self) -> None:
        where = f'sensor {str(self.name)!r}:'
        if self.name and not self.name.isidentifier():
            raise ValueError(f'sensor name must be letters, digits and _, got {str(self.name)!r}')
        known = simulated_sensors()
        if self.kind not in known:
            raise ValueError(
                f'{where} kind must be one of {[*map(str, known)]}, got {str(self.kind)!r}'
            )
        if self.has_lens and min(self.size) < 16:
            raise ValueError(f'{where} size must be at least 16 x 16, got {self.size}')
        if not self.rate_hz > 0:
            raise ValueError(f'{where} rate_hz must be positive, got {self.rate_hz}')
        if not self.threshold > 0:
            raise ValueError(f'{where} threshold must be positive, got {self.threshold}')
        for field in ('focal_widths', 'latency_s', 'rolling_s', 'refractory_us'):
            if not getattr(self, field) >= 0:
                raise ValueError(f'{where} {field} must be at least 0, got {getattr(self, field)}')

    @property
    def modality(self) -> Modality:
        """What it is."""
        return Modality(self.kind)

    @property
    def source(self) -> SimulatedSensor:
        """How its kind is simulated."""
        simulated = self.modality.record.simulation
        assert simulated is not None
        return simulated

    @property
    def has_lens(self) -> bool:
        """Whether it looks through a lens: all but a lidar."""
        return self.modality.record.has_lens

    @property
    def packet_ns(self) -> int:
        """Length of the packets of a stream, nanoseconds; 0 for a sensor that gives frames."""
        return self.period_ns if self.modality.record.form == EVENTS else 0

    @property
    def frame_id(self) -> str:
        """Frame of its measurements."""
        return f'{self.name}_optical' if self.has_lens else self.name

    @property
    def offset_ns(self) -> int:
        """Its stamps minus the true times, nanoseconds."""
        return round(self.clock_offset_s * 1e9)

    @property
    def period_ns(self) -> int:
        """Time between frames, nanoseconds."""
        return round(1e9 / self.rate_hz)

    def T_base(self) -> NDArray[np.float64]:
        """(4, 4) `T_base_x`, metres, of the optical frame, or of the lidar."""
        roll, pitch, yaw = np.deg2rad(self.rotation)
        cr, sr, cp, sp = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch)
        cy, sy = np.cos(yaw), np.sin(yaw)
        T = np.eye(4)
        T[:3, :3] = [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
        T[:3, 3] = self.position
        if self.has_lens:
            T[:3, :3] = T[:3, :3] @ _OPTICAL
        return T

    def camera(self) -> CameraModel | None:
        """Its lens, undistorted, the principal point in the middle; None for a lidar."""
        if not self.has_lens:
            return None
        height, width = self.size
        f = (self.focal_widths or self.source.focal_widths) * width
        K = np.array([[f, 0.0, (width - 1) / 2], [0.0, f, (height - 1) / 2], [0.0, 0.0, 1.0]])
        return CameraModel(width, height, K, frame_id=self.frame_id)


def default_rig(
    camera_size: tuple[int, int],
    thermal_size: tuple[int, int],
    event_size: tuple[int, int],
    rates_hz: tuple[float, float, float],
    event_packet_ms: int,
) -> tuple[RigSensor, ...]:
    """One sensor of each kind behind the windscreen and on the roof, named as its modality.

    Args:
        camera_size: `(H, W)`, pixels.
        thermal_size: See `camera_size`.
        event_size: See `camera_size`.
        rates_hz: Of camera, thermal camera and lidar.
        event_packet_ms: Length of an event packet, milliseconds.

    Returns:
        Camera, thermal, event, lidar.
    """
    sizes = camera_size, thermal_size, event_size, (16, 16)
    rates = rates_hz[0], rates_hz[1], 1000.0 / event_packet_ms, rates_hz[2]
    made = []
    for m, size, rate in zip(simulated_sensors(), sizes, rates, strict=False):
        source = m.record.simulation
        assert source is not None
        made.append(RigSensor(m, m, size, rate, source.position, latency_s=source.latency_s))
    return tuple(made)


def load_rig(path: Path) -> tuple[RigSensor, ...]:
    """Reads a rig; `config/rig.example.yaml` shows every field.

    Args:
        path: Parameter file of ROS 2 with one section per sensor, named as the sensor; the
            section `/**` holds for all of them.

    Returns:
        The sensors in the order of the file.

    Raises:
        ParameterError: The file is malformed, or a value is refused.
        OSError: The file cannot be read.
    """
    try:
        content = read_yaml(path)
    except YamlError as err:
        raise ParameterError(str(err)) from err
    if not isinstance(content, dict) or not set(content) - {'/**'}:
        raise ParameterError(f'{path} must hold `<sensor>: ros__parameters: ...`')
    names = [str(name) for name in content if name != '/**']
    try:
        return tuple(
            replace(load(RigSensor, path, name, strict=True), name=name) for name in names
        )
    except ParameterError:
        raise
    except ValueError as err:
        raise ParameterError(f'{path}: {err}') from err
