"""Parameters of the synchronizer: one set for each sensor, and what holds for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sam_ad_perception.core.sensors import EVENT_WINDOW_NS, Modality
from sam_ad_perception.core.settings.parameter_tables import Tabled, complete_table, table
from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.settings.thresholds import duration


@dataclass(frozen=True)
class SensorConfig:
    """How one sensor takes part in synchronization."""

    enabled: bool = parameter(True, 'Whether the sensor takes part at all.')
    required: bool = parameter(False, 'Drop (and count) each bundle that lacks this sensor.')
    offset_s: float = parameter(
        0.0,
        'Subtracted from stamps: what a clock runs ahead; half the exposure where a driver stamps '
        'its end, minus half of it where it stamps its start.',
        unit='s',
    )
    sweep_stamp: str = parameter(
        'auto',
        'Of a lidar whose points carry no times: what its stamps tell, the start, the middle or '
        'the end of a sweep. auto takes the middle.',
        choices=('auto', 'start', 'middle', 'end'),
    )
    tolerance_s: float = duration(
        0.05, 'A frame measured farther than this from the reference is not used.'
    )
    max_age_s: float = duration(
        0.5, 'A sensor silent for so long is absent: nobody waits for it.', at_least=0.001
    )
    min_reference_period_s: float = duration(
        0.0, 'As the reference, only frames at least so long after the last reference lead.'
    )
    queue_size: int = parameter(
        30, 'At most this many frames are held; beyond, the oldest one goes.', ge=2
    )


@dataclass(frozen=True)
class SynchronizerConfig(Tabled):
    """How the live sensors are synchronized."""

    reference: tuple[str, ...] = parameter(
        (Modality.CAMERA.value,),
        'Sensors that may lead, in order of priority.',
        factory=lambda: tuple(m.value for m in Modality if m.kind is m and m.record.leads),
    )
    deadline_s: float = duration(
        0.05, 'A bundle leaves at the latest so long after its reference arrived.'
    )
    time_jump_s: float = duration(
        0.5, 'Time that goes back by more than this starts anew.', at_least=0.001
    )
    sensors: Mapping[Modality, SensorConfig] = table(lambda: _default_sensors())

    def __post_init__(self) -> None:
        complete_table(self, 'sensors', _default_sensors())
        for name in self.reference:
            if name not in self.sensors:
                known = [*map(str, self.sensors)]
                raise ValueError(f"'reference' must be one of {known}, got {name!r}")
        if len(set(self.reference)) != len(self.reference):
            raise ValueError(f'reference must not name a sensor twice, got {self.reference}')


def _default_sensors() -> dict[Modality, SensorConfig]:
    """How each sensor takes part where nobody says otherwise."""
    return {m: SensorConfig(**m.record.synchronization) for m in Modality}


@dataclass(frozen=True)
class BundlerConfig:
    """How sensor data becomes bundles."""

    sync: SynchronizerConfig = field(default_factory=SynchronizerConfig)
    event_window_s: float = parameter(
        EVENT_WINDOW_NS / 1e9,
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
    max_megapixels: float = parameter(
        64.0,
        'Images, and views that a camera_info describes, of more pixels than this are refused '
        'before memory is taken for them.',
        ge=0.1,
        unit='Mpx',
    )


def to_ns(seconds: float) -> int:
    """Seconds to nanoseconds, rounded."""
    return round(seconds * 1e9)
