"""When a frame counts as spoilt: the thresholds of `core.health`, one record per sensor."""

from __future__ import annotations

from dataclasses import dataclass, field

from sam_ad_perception.core.parameters import parameter


@dataclass(frozen=True)
class CameraHealthConfig:
    """Thresholds of the camera, in grey levels of 255 where not said otherwise."""

    enabled: bool = parameter(True, 'Whether frames of the camera are checked.')
    black_level: float = parameter(
        12.0, 'Black: 98 % of the pixels are at most this bright.', ge=0.0, le=255.0
    )
    clipped_share: float = parameter(
        0.5, 'Overexposed: at least this share of the pixels is white.', ge=0.0, le=1.0
    )
    saturated_share: float = parameter(
        0.95, 'Overexposed beyond use: at least this share of the pixels is white.', ge=0.0, le=1.0
    )
    saturated_rise: float = parameter(
        0.25, 'Overexposed: by this share of the pixels more are white than usual.', ge=0.0, le=1.0
    )
    min_contrast: float = parameter(
        10.0,
        'Low contrast: the 2nd and the 98th percentile are nearer than this.',
        ge=0.0,
        le=255.0,
    )
    contrast_ratio: float = parameter(
        0.4, 'Low contrast: below this share of the running contrast.', ge=0.0, le=1.0
    )
    min_sharpness: float = parameter(
        0.185,
        'Blurred: edges less sudden than this (1 is a step, 0.3 one blurred by a Gaussian of 1 '
        'pixel, 0.16 of 3 pixels, 0.125 the least that can be).',
        ge=0.0,
        le=1.0,
    )
    sharpness_ratio: float = parameter(
        0.5, 'Blurred: edges less sudden than this share of the running figure.', ge=0.0, le=1.0
    )
    max_noise: float = parameter(
        10.0, 'Noisy: the noise has a standard deviation above this, and ...', ge=0.0, le=255.0
    )
    noise_ratio: float = parameter(2.5, '... so many times the running one.', ge=1.0)


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


@dataclass(frozen=True)
class EventHealthConfig:
    """Thresholds of the event camera, in events per pixel of one bundle's window."""

    enabled: bool = parameter(True, 'Whether windows of events are checked.')
    burst_density: float = parameter(
        1.5, 'Burst: more events per pixel than this, and ...', ge=0.0
    )
    burst_ratio: float = parameter(2.5, '... than so many times the running density.', ge=1.0)
    silence_ratio: float = parameter(
        0.02,
        'Silent: at most this share of the running density while the camera sees motion; without '
        'motion, no event at all.',
        ge=0.0,
        le=1.0,
    )
    min_density: float = parameter(
        0.01, 'A running density below this says nothing about silence.', ge=0.0
    )


@dataclass(frozen=True)
class LidarHealthConfig:
    """Thresholds of the lidar."""

    enabled: bool = parameter(True, 'Whether sweeps are checked.')
    min_points: int = parameter(20, 'Empty: fewer returns than this.', ge=0)
    sparse_ratio: float = parameter(
        0.5, 'Sparse: below this share of the running number of returns.', ge=0.0, le=1.0
    )
    lost_ratio: float = parameter(
        0.1, 'Too sparse to be used: below this share of it.', ge=0.0, le=1.0
    )
    min_reach_m: float = parameter(
        2.0, 'Covered: 90 % of the returns are nearer than this.', ge=0.0, unit='m'
    )
    reach_ratio: float = parameter(
        0.25, 'Short-sighted: their 90th percentile is below this share of its running value.',
        ge=0.0, le=1.0,
    )  # fmt: skip


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
class HealthConfig:
    """How spoilt frames are told from good ones, for all sensors."""

    recovery_frames: int = parameter(
        2,
        'A sensor taken out comes back with so many good frames in a row (1: with the first).',
        ge=1,
        le=1000,
    )
    frozen_repeats: int = parameter(
        1,
        'Frozen: so many frames in a row repeat the one before although their stamps are new; 0 '
        'for never (a simulator without noise).',
        ge=0,
        le=1000,
    )
    level_s: float = parameter(
        5.0, 'Time constant of the running levels.', ge=0.1, le=600.0, unit='s'
    )
    accept_s: float = parameter(
        60.0,
        'Their time constant while frames are refused: what lasts becomes the new normal.',
        ge=0.1,
        le=3600.0,
        unit='s',
    )
    forget_s: float = parameter(
        5.0, 'A sensor silent for so long is met anew.', ge=0.1, le=600.0, unit='s'
    )
    camera: CameraHealthConfig = field(default_factory=CameraHealthConfig)
    thermal: ThermalHealthConfig = field(default_factory=ThermalHealthConfig)
    event: EventHealthConfig = field(default_factory=EventHealthConfig)
    lidar: LidarHealthConfig = field(default_factory=LidarHealthConfig)
    depth: DepthHealthConfig = field(default_factory=DepthHealthConfig)


UNCHECKED = HealthConfig(
    camera=CameraHealthConfig(enabled=False),
    thermal=ThermalHealthConfig(enabled=False),
    event=EventHealthConfig(enabled=False),
    lidar=LidarHealthConfig(enabled=False),
    depth=DepthHealthConfig(enabled=False),
)
"""Checks nothing: for frames that are no stream, as those of a data set in random order."""
