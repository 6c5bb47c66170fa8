"""When a colour picture counts as spoilt: thresholds of the camera."""

from __future__ import annotations

from dataclasses import dataclass

from sam_ad_perception.core.settings.parameters import parameter


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
        0.4,
        'Low contrast: below this share of the running contrast, and lower than it was of late.',
        ge=0.0,
        le=1.0,
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
    noise_ratio: float = parameter(2.5, '... so many times the running one; or ...', ge=1.0)
    loud_noise: float = parameter(16.0, '... above this, whatever is usual.', ge=0.0, le=255.0)
    ruinous_noise: float = parameter(
        45.0, 'Noisy beyond use: the noise is above this.', ge=0.0, le=255.0
    )
    speck_share: float = parameter(
        0.008, 'Noisy: this share of the pixels stands out of all its neighbours.', ge=0.0, le=1.0
    )
    seam_share: float = parameter(
        0.58,
        'Torn: between two rows this share of the width steps by more than twice what it does '
        'above and below.',
        ge=0.0,
        le=1.0,
    )
    roughness_ratio: float = parameter(
        1.6,
        'Torn: neighbouring rows differ by so many times more than usual, columns do not.',
        ge=1.0,
    )
    dead_lines: int = parameter(
        2, 'Dead lines: so many rows or columns differ from both neighbours all along.', ge=1
    )
    band_depth: float = parameter(
        0.06, 'Banded: rows change their light by this share all along, and ...', ge=0.0, le=1.0
    )
    band_purity: float = parameter(
        0.65, '... this share of their changes is one wave over the view.', ge=0.0, le=1.0
    )
    blocks: float = parameter(
        1.4, 'Blocky: steps between blocks of 8 pixels are so many times those within, ...', ge=1.0
    )
    blocks_ratio: float = parameter(1.35, '... so many times more than usual.', ge=1.0)
    haze_ratio: float = parameter(
        0.5,
        'Hazy: detail is below this share of the running figure in most of the view, though '
        'edges are sharp.',
        ge=0.0,
        le=1.0,
    )
    color_jump: float = parameter(
        20.0, 'Wrong colours: all the view changes its colour by this at once.', ge=0.0, le=255.0
    )
    constant_share: float = parameter(
        0.05,
        'Covered: this share of the view is of one value to the bit, neither black nor white, or '
        'is black and was not.',
        ge=0.0,
        le=1.0,
    )
    covered_ratio: float = parameter(
        0.45, 'Covered: detail and motion of a part are below this share of what they were, ...',
        ge=0.0, le=1.0,
    )  # fmt: skip
    covered_share: float = parameter(
        0.1, '... which is this share of the view, ...', ge=0.0, le=1.0
    )
    splash_after_s: float = parameter(
        0.2, '... for so long where all of it went at once, or ...', ge=0.0, unit='s'
    )
    covered_after_s: float = parameter(
        2.0, '... for so long where it grew, as a lorry that comes into view.', ge=0.0, unit='s'
    )
    covered_share_out: float = parameter(
        0.6, 'Covered or frozen beyond use: this share of the view.', ge=0.0, le=1.0
    )
    frozen_share: float = parameter(
        0.1,
        'Frozen in parts: this share of the view stays to the bit while the rest moves.',
        ge=0.0,
        le=1.0,
    )
    frozen_motion_px: float = parameter(
        0.4,
        'Frozen under noise: nothing moves from one frame to the next, where the view moved by '
        'this in each frame before.',
        ge=0.0,
        unit='px',
    )
    replayed_hits: int = parameter(
        2, 'Replayed: so many frames in a row are copies of earlier ones.', ge=1
    )
    turn_holds_s: float = parameter(
        60.0,
        'Colours or an orientation that stay for so long are the new normal.',
        ge=1.0,
        unit='s',
    )
