"""An imaging radar: the echo power of each direction as a grey image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.health.judgement import HealthFinding, Severity
from sam_ad_perception.core.sensor_kinds import SensorFault, SensorKind, SimulatedSensor
from sam_ad_perception.core.sensors import CameraModel, SensorFrame
from sam_ad_perception.core.settings.parameters import parameter

Power = NDArray[np.uint8]


def to_power(pixels: NDArray[Any], encoding: str) -> Power:
    """Take the pixels of a message as they are."""
    if encoding != 'mono8' or pixels.ndim != 2:
        raise ValueError(f'a radar image must be mono8, got {encoding}')
    return np.asarray(pixels, np.uint8)


@dataclass(frozen=True)
class RadarHealthConfig:
    """Thresholds of the radar."""

    enabled: bool = parameter(True, 'Whether radar images are checked.')
    max_power: float = parameter(200.0, 'Jammed: the mean power is above this.', ge=0.0, le=255.0)


def judge_radar(
    measures: Any, levels: Mapping[str, float], config: RadarHealthConfig
) -> tuple[list[HealthFinding], dict[str, float]]:
    """Find a radar that somebody jams: everything is bright."""
    power = float(measures.samples.mean())
    if power <= config.max_power:
        return [], {'power': power}
    reason = f'jammed: mean power {power:.0f} of 255'
    finding = HealthFinding('jammed', reason, Severity.UNUSABLE, power, config.max_power)
    return [finding], {'power': power}


def picture_power(power: Power) -> NDArray[np.uint8]:
    """Colour the power for people."""
    return np.asarray(
        cv2.cvtColor(cv2.applyColorMap(power, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB), np.uint8
    )


def sample_power(rng: np.random.Generator, size: tuple[int, int], stamp_ns: int) -> Power:
    """Noise for warming up."""
    return rng.integers(0, 120, size).astype(np.uint8)


def measure_power(renderer: Any, sensor: str, stamp_ns: int) -> Power:
    """Simulate: near surfaces return more."""
    depth = renderer.depth(renderer.look(sensor, stamp_ns))
    power = 180.0 / (1.0 + np.nan_to_num(depth, nan=1e3) / 15.0)
    grain = renderer.rng(sensor, stamp_ns).normal(0.0, 6.0, power.shape)
    return np.clip(power + grain, 0, 255).astype(np.uint8)


def jam(power: Power, share: float, rng: np.random.Generator) -> Power:
    """Lift all power towards the highest."""
    noise = rng.normal(0.0, 8.0, power.shape)
    return np.clip(power + share * (245.0 - power) + noise, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class RadarPower:
    """Power over 255 in the camera's view."""

    distance_m: float = 20.0

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""
        return 1

    def render(
        self,
        frame: SensorFrame,
        view: CameraModel,
        T_view: NDArray[np.float64] | None,
        context: Any = None,
    ) -> NDArray[np.float32]:
        """See `modeling.inputs.camera_view.Representation`."""
        from sam_ad_perception.modeling.inputs.camera_view import image_of, warp_to_view

        power = image_of(frame, ('uint8',), 1).astype(np.float32) / np.float32(255)
        return warp_to_view(power, frame, view, T_view, 'plane', self.distance_m, context)[None]


RADAR = SensorKind(
    name='radar',
    title='the radar',
    color='#5f7f2f',
    topic='radar/image_rect',
    info_topic='radar/camera_info',
    topic_words=frozenset({'radar'}),
    encoding='mono8',
    decode=to_power,
    health=RadarHealthConfig,
    judge=judge_radar,
    picture=picture_power,
    sample=sample_power,
    representations={'radar_power': RadarPower},
    simulation=SimulatedSensor(
        measure_power,
        focal_widths=0.6,
        position=(1.7, 0.2, 1.0),
        faults={'radar_jam': SensorFault(jam, 1.0, 'share', 'somebody jams the radar')},
    ),
)
