"""Parameters of the synchronizer: one set for each sensor, and what holds for all."""

from __future__ import annotations

from dataclasses import dataclass, field

from sam_ad_perception.core.parameters import parameter
from sam_ad_perception.core.sensors import Modality


@dataclass(frozen=True)
class SensorConfig:
    """How one sensor takes part in synchronization."""

    enabled: bool = parameter(True, 'Whether the sensor takes part at all.')
    required: bool = parameter(False, 'Drop (and count) each bundle that lacks this sensor.')
    policy: str = parameter(
        'nearest',
        'nearest waits for the frame nearest to the reference, latest takes the newest there is.',
        choices=('nearest', 'latest'),
    )
    offset_s: float = parameter(
        0.0, 'Fixed offset of the clock that stamps, subtracted from stamps.', unit='s'
    )
    tolerance_s: float = parameter(
        0.05, 'A frame farther than this from the reference is not used.', ge=0.0, unit='s'
    )
    max_age_s: float = parameter(
        0.5, 'A sensor silent for so long is absent: nobody waits for it.', ge=0.001, unit='s'
    )
    lead_period_s: float = parameter(
        0.0,
        'As the reference, only frames at least so long after the last reference lead.',
        ge=0.0,
        unit='s',
    )
    queue_size: int = parameter(
        30, 'At most this many frames are held; beyond, the oldest one goes.', ge=2
    )


@dataclass(frozen=True)
class SynchronizerConfig:
    """How the live sensors are synchronized."""

    reference: tuple[str, ...] = parameter(
        ('camera', 'thermal', 'event', 'lidar'),
        'Sensors that may lead, in order of priority.',
        choices=tuple(m.value for m in Modality),
    )
    deadline_s: float = parameter(
        0.05,
        'A bundle leaves at the latest so long after its reference arrived.',
        ge=0.0,
        unit='s',
    )
    time_jump_s: float = parameter(
        0.5, 'Time that goes back by more than this starts anew.', ge=0.001, unit='s'
    )
    camera: SensorConfig = field(default_factory=SensorConfig)
    thermal: SensorConfig = field(default_factory=SensorConfig)
    event: SensorConfig = field(
        default_factory=lambda: SensorConfig(lead_period_s=0.05, queue_size=2000)
    )
    lidar: SensorConfig = field(
        default_factory=lambda: SensorConfig(policy='latest', tolerance_s=0.11)
    )
    depth: SensorConfig = field(default_factory=lambda: SensorConfig(enabled=False))

    def __post_init__(self) -> None:
        if len(set(self.reference)) != len(self.reference):
            raise ValueError(f'reference must not name a sensor twice, got {self.reference}')

    @property
    def sensors(self) -> dict[Modality, SensorConfig]:
        """The configuration of each live sensor."""
        return {modality: getattr(self, modality.value) for modality in Modality}


def to_ns(seconds: float) -> int:
    """Seconds to nanoseconds, rounded."""
    return round(seconds * 1e9)
