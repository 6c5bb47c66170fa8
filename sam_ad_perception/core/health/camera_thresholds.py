"""When a colour picture counts as spoilt: thresholds of the camera."""

from __future__ import annotations

from dataclasses import dataclass

from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.settings.thresholds import duration, factor, grey_level, share


@dataclass(frozen=True)
class CameraHealthConfig:
    """Thresholds of the camera, in grey levels of 255 where not said otherwise."""

    enabled: bool = parameter(True, 'Whether frames of the camera are checked.')
    black_level: float = grey_level(12.0, 'Black: 98 % of the pixels are at most this bright.')
    clipped_share: float = share(0.5, 'Overexposed: at least this share of the pixels is white.')
    saturated_share: float = share(
        0.95, 'Overexposed beyond use: at least this share of the pixels is white.'
    )
    saturated_rise: float = share(
        0.25, 'Overexposed: by this share of the pixels more are white than usual.'
    )
    min_contrast: float = grey_level(
        10.0, 'Low contrast: the 2nd and the 98th percentile are nearer than this.'
    )
    contrast_ratio: float = share(
        0.4,
        'Low contrast: below this share of the running contrast, and lower than it was of late.',
    )
    min_sharpness: float = share(
        0.185,
        'Blurred: edges less sudden than this (1 is a step, 0.3 one blurred by a Gaussian of 1 '
        'pixel, 0.16 of 3 pixels, 0.125 the least that can be).',
    )
    sharpness_ratio: float = share(
        0.5, 'Blurred: edges less sudden than this share of the running figure.'
    )
    max_noise: float = grey_level(
        10.0, 'Noisy: the noise has a standard deviation above this, and ...'
    )
    noise_ratio: float = factor(2.5, '... so many times the running one; or ...')
    loud_noise: float = grey_level(16.0, '... above this, whatever is usual.')
    ruinous_noise: float = grey_level(45.0, 'Noisy beyond use: the noise is above this.')
    speck_share: float = share(
        0.008, 'Noisy: this share of the pixels stands out of all its neighbours.'
    )
    seam_share: float = share(
        0.58,
        'Torn: between two rows this share of the width steps by more than twice what it does '
        'above and below.',
    )
    roughness_ratio: float = factor(
        1.6, 'Torn: neighbouring rows differ by so many times more than usual, columns do not.'
    )
    dead_lines: int = parameter(
        2, 'Dead lines: so many rows or columns differ from both neighbours all along.', ge=1
    )
    band_depth: float = share(
        0.06, 'Banded: rows change their light by this share all along, and ...'
    )
    band_purity: float = share(0.65, '... this share of their changes is one wave over the view.')
    blocks: float = factor(
        1.4, 'Blocky: steps between blocks of 8 pixels are so many times those within, ...'
    )
    blocks_ratio: float = factor(1.35, '... so many times more than usual.')
    haze_ratio: float = share(
        0.5,
        'Hazy: detail is below this share of the running figure in most of the view, though '
        'edges are sharp.',
    )
    color_jump: float = grey_level(
        20.0, 'Wrong colours: all the view changes its colour by this at once.'
    )
    constant_share: float = share(
        0.05,
        'Covered: this share of the view is of one value to the bit, neither black nor white, or '
        'is black and was not.',
    )
    covered_ratio: float = share(
        0.45, 'Covered: detail and motion of a part are below this share of what they were, ...'
    )
    covered_share: float = share(0.1, '... which is this share of the view, ...')
    splash_after_s: float = duration(0.2, '... for so long where all of it went at once, or ...')
    covered_after_s: float = duration(
        2.0, '... for so long where it grew, as a lorry that comes into view.'
    )
    covered_share_out: float = share(0.6, 'Covered or frozen beyond use: this share of the view.')
    frozen_share: float = share(
        0.1, 'Frozen in parts: this share of the view stays to the bit while the rest moves.'
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
    turn_holds_s: float = duration(
        60.0, 'Colours or an orientation that stay for so long are the new normal.', at_least=1.0
    )
