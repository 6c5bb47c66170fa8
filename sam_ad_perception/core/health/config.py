"""When a frame counts as spoilt: thresholds of the health monitor, one record per sensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sam_ad_perception.core.registry import resolve
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.settings.parameter_tables import Tabled, complete_table, table
from sam_ad_perception.core.settings.parameters import parameter


@dataclass(frozen=True)
class ThermalHealthConfig:
    """Thresholds of the thermal camera."""

    enabled: bool = parameter(True, 'Whether frames of the thermal camera are checked.')
    min_contrast_8bit: float = parameter(
        4.0,
        'Shutter or dead: in 8-bit images the 2nd and the 98th percentile are nearer than this.',
        ge=0.0,
        le=255.0,
    )
    min_contrast_16bit: float = parameter(
        20.0,
        'Shutter or dead: in 16-bit images the 2nd and the 98th percentile are nearer than this.',
        ge=0.0,
        le=65535.0,
    )
    min_contrast_k: float = parameter(
        0.2,
        'Shutter or dead: in images of temperatures the 2nd and the 98th percentile are nearer '
        'than this.',
        ge=0.0,
        unit='K',
    )
    shutter_ratio: float = parameter(
        0.05,
        'Shutter: contrast below this share of the running one, and noise above `max_noise_share` '
        'of it.',
        ge=0.0,
        le=1.0,
    )
    contrast_ratio: float = parameter(
        0.3, 'Low contrast: below this share of the running one.', ge=0.0, le=1.0
    )
    clipped_share: float = parameter(
        0.3, 'Overexposed: this share of the pixels has the highest value.', ge=0.0, le=1.0
    )
    saturated_share: float = parameter(
        0.5,
        'Overexposed beyond use: this share of the pixels has the highest value.',
        ge=0.0,
        le=1.0,
    )
    shutter_noise_share: float = parameter(
        0.23,
        'Shutter seen through automatic gain: the noise is at least this share of the contrast '
        '(0.24 where there is nothing but noise), and twice what it was.',
        ge=0.0,
        le=1.0,
    )
    max_noise_share: float = parameter(
        0.04, 'Noisy: the noise is above this share of the contrast, and ...', ge=0.0, le=1.0
    )
    noise_ratio: float = parameter(3.0, '... so many times the running one.', ge=1.0)
    min_sharpness: float = parameter(
        0.16, 'Blurred: edges less sudden than this, see the camera.', ge=0.0, le=1.0
    )
    sharpness_ratio: float = parameter(
        0.5, 'Blurred: edges less sudden than this share of the running figure.', ge=0.0, le=1.0
    )
    zero_share: float = parameter(
        0.02,
        'Zeros: this share of the pixels in the middle of the picture is 0 and no other is near '
        'it, or of all pixels more than usual.',
        ge=0.0,
        le=1.0,
    )
    zero_share_out: float = parameter(
        0.5, 'Zeros beyond use: this share of the pixels.', ge=0.0, le=1.0
    )
    lost_rows_share: float = parameter(
        0.02,
        'Lost rows: this share holds one value between others, or repeats the row above and '
        'usually does not. Stuck columns likewise.',
        ge=0.0,
        le=1.0,
    )
    likeness: float = parameter(
        0.7,
        'Inverted or of another gain: the picture correlates with the one before by this, with '
        'either sign, ...',
        ge=0.0,
        le=1.0,
    )
    gain_change: float = parameter(
        1.5, '... and its contrast is so many times higher or lower at once, ...', ge=1.05
    )
    gain_change_8bit: float = parameter(
        2.5, '... in 8-bit pictures, whose camera sets its gain by itself.', ge=1.05
    )
    level_holds_s: float = parameter(
        60.0, 'Palette or gain that stay for so long are the new normal.', ge=1.0, unit='s'
    )
    covered_ratio: float = parameter(
        0.4, 'Covered: tiles vary by less than this share of what they did, or ...', ge=0.0, le=1.0
    )
    steady_likeness: float = parameter(
        0.4, '... they usually correlate with the picture before by this, and now ...',
        ge=0.0, le=1.0,
    )  # fmt: skip
    covered_likeness: float = parameter(
        0.15, '... by less than this, nothing but noise, ...', ge=0.0, le=1.0
    )
    covered_share: float = parameter(
        0.2, '... which are this share of the tiles with texture, ...', ge=0.0, le=1.0
    )
    covered_after_s: float = parameter(
        1.0, '... for so long: a lorry that passes is gone by then.', ge=0.0, unit='s'
    )
    frozen_share: float = parameter(
        0.2, 'Frozen in parts: this share of the view more than usual stays to the bit.',
        ge=0.0, le=1.0,
    )  # fmt: skip
    still_ratio: float = parameter(
        1.06,
        'Frozen under noise: pictures 8 frames apart differ by no more than this many times what '
        'neighbours do, while the camera sees motion, or ...',
        ge=1.0,
    )
    evolution_ratio: float = parameter(
        1.3, '... without a camera, where it never was below this.', ge=1.0
    )


@dataclass(frozen=True)
class DepthHealthConfig:
    """Thresholds of a depth image."""

    enabled: bool = parameter(True, 'Whether depth images are checked.')
    min_valid_share: float = parameter(
        0.005, 'Empty: a smaller share of the pixels than this has a value.', ge=0.0, le=1.0
    )
    sparse_ratio: float = parameter(
        0.3, 'Sparse: below this share of the running share of pixels.', ge=0.0, le=1.0
    )


@dataclass(frozen=True)
class FrozenHealthConfig:
    """Of a sensor whose record names no thresholds: only repeated frames are found."""

    enabled: bool = parameter(True, 'Whether repeated frames are found.')


@dataclass(frozen=True)
class HealthConfig(Tabled):
    """How spoilt frames are told from good ones, for all sensors."""

    recovery_frames: int = parameter(
        2,
        'A sensor taken out comes back with so many good frames in a row (1: with the first).',
        ge=1,
        le=1000,
    )
    frozen_repeats: int = parameter(
        1,
        'Frozen: so many frames in a row repeat the one before although their stamps are new, and '
        '...; 0 for never (a simulator without noise).',
        ge=0,
        le=1000,
    )
    frozen_s: float = parameter(
        0.15,
        '... have done so for this long; until then they are used (a driver that sends each frame '
        'twice).',
        ge=0.0,
        le=60.0,
        unit='s',
    )
    level_s: float = parameter(
        5.0, 'Time constant of the running levels.', ge=0.1, le=600.0, unit='s'
    )
    accept_s: float = parameter(
        60.0,
        'What frames that are refused for so long show is the new normal.',
        ge=0.1,
        le=3600.0,
        unit='s',
    )
    forget_s: float = parameter(
        5.0, 'A sensor silent for so long is met anew.', ge=0.1, le=600.0, unit='s'
    )
    sensors: Mapping[Modality, Any] = table(lambda: _default_checks())

    def __post_init__(self) -> None:
        complete_table(self, 'sensors', _default_checks())


def _default_checks() -> dict[Modality, Any]:
    """The thresholds of each sensor."""
    return {m: resolve(m.record.health or FrozenHealthConfig)() for m in Modality}


def __getattr__(name: str) -> HealthConfig:
    if name != 'UNCHECKED':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    off = {m: replace(each, enabled=False) for m, each in _default_checks().items()}
    return HealthConfig(sensors=off)


UNCHECKED: HealthConfig
"""Checks nothing: for frames that are no stream, as those of a data set in random order."""
