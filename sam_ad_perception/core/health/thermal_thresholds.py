"""When a thermal image counts as spoilt: the thresholds of the thermal camera."""

from __future__ import annotations

from dataclasses import dataclass

from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.settings.thresholds import duration, factor, grey_level, share


@dataclass(frozen=True)
class ThermalHealthConfig:
    """Thresholds of the thermal camera."""

    enabled: bool = parameter(True, 'Whether frames of the thermal camera are checked.')
    min_contrast_8bit: float = grey_level(
        4.0,
        'Shutter or dead: in 8-bit images the 2nd and the 98th percentile are nearer than this.',
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
    shutter_ratio: float = share(
        0.05,
        'Shutter: contrast below this share of the running one, and noise above `max_noise_share` '
        'of it.',
    )
    contrast_ratio: float = share(0.3, 'Low contrast: below this share of the running one.')
    clipped_share: float = share(
        0.3, 'Overexposed: this share of the pixels has the highest value.'
    )
    saturated_share: float = share(
        0.5, 'Overexposed beyond use: this share of the pixels has the highest value.'
    )
    shutter_noise_share: float = share(
        0.23,
        'Shutter seen through automatic gain: the noise is at least this share of the contrast '
        '(0.24 where there is nothing but noise), and twice what it was.',
    )
    max_noise_share: float = share(
        0.04, 'Noisy: the noise is above this share of the contrast, and ...'
    )
    noise_ratio: float = factor(3.0, '... so many times the running one.')
    min_sharpness: float = share(0.16, 'Blurred: edges less sudden than this, see the camera.')
    sharpness_ratio: float = share(
        0.5, 'Blurred: edges less sudden than this share of the running figure.'
    )
    zero_share: float = share(
        0.02,
        'Zeros: this share of the pixels in the middle of the picture is 0 and no other is near '
        'it, or of all pixels more than usual.',
    )
    zero_share_out: float = share(0.5, 'Zeros beyond use: this share of the pixels.')
    lost_rows_share: float = share(
        0.02,
        'Lost rows: this share holds one value between others, or repeats the row above and '
        'usually does not. Stuck columns likewise.',
    )
    likeness: float = share(
        0.7,
        'Inverted or of another gain: the picture correlates with the one before by this, with '
        'either sign, ...',
    )
    gain_change: float = parameter(
        1.5, '... and its contrast is so many times higher or lower at once, ...', ge=1.05
    )
    gain_change_8bit: float = parameter(
        2.5, '... in 8-bit pictures, whose camera sets its gain by itself.', ge=1.05
    )
    level_holds_s: float = duration(
        60.0, 'Palette or gain that stay for so long are the new normal.', at_least=1.0
    )
    covered_ratio: float = share(
        0.4, 'Covered: tiles vary by less than this share of what they did, or ...'
    )
    steady_likeness: float = share(
        0.4, '... they usually correlate with the picture before by this, and now ...'
    )
    covered_likeness: float = share(0.15, '... by less than this, nothing but noise, ...')
    covered_share: float = share(0.2, '... which are this share of the tiles with texture, ...')
    covered_after_s: float = duration(1.0, '... for so long: a lorry that passes is gone by then.')
    frozen_share: float = share(
        0.2, 'Frozen in parts: this share of the view more than usual stays to the bit.'
    )
    still_ratio: float = factor(
        1.06,
        'Frozen under noise: pictures 8 frames apart differ by no more than this many times what '
        'neighbours do, while the camera sees motion, or ...',
    )
    evolution_ratio: float = factor(1.3, '... without a camera, where it never was below this.')
