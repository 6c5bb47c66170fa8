"""The faults of a camera, in two halves: one may be looked at while checks are built.

Each family (noise, blur, weather, light, dirt, frozen parts, rows, order, bytes) has members in
both halves, so that a check built on the one half is measured on the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.real_faults import camera_damage as damage
from benchmarks.real_faults.camera_damage import Image, Rng
from benchmarks.real_faults.faults import Damage, Fault, Half, each, steady

NOISE = frozenset({'noisy'})
BLUR = frozenset({'blurred'})
HAZE = frozenset({'hazy', 'low_contrast'})
DIRT = frozenset({'covered'})
FROST = DIRT | HAZE | BLUR
SNOW = HAZE | NOISE | DIRT
LIGHT = frozenset({'saturated', 'low_contrast', 'black'})
BLOCKS = frozenset({'blocky', 'blurred'})
FROZEN_PART = frozenset({'frozen_part'})
FROZEN = frozenset({'frozen'})
REPLAYED = frozenset({'replayed', 'frozen'})
ROWS = frozenset({'torn'})
LINES = frozenset({'dead_lines', 'torn'})
COLORS = frozenset({'wrong_colors'})
PACKETS = ROWS | FROZEN | FROZEN_PART | frozenset({'repeated', 'replayed'}) | BLOCKS

# Without glass_blur, which takes seconds for a picture.
_IMAGECORRUPTIONS: Mapping[str, tuple[Half, frozenset[str]]] = {
    'gaussian_noise': ('looked_at', NOISE),
    'shot_noise': ('measured_only', NOISE),
    'impulse_noise': ('looked_at', NOISE),
    'speckle_noise': ('measured_only', NOISE),
    'defocus_blur': ('looked_at', BLUR),
    'motion_blur': ('looked_at', BLUR),
    'zoom_blur': ('measured_only', BLUR),
    'gaussian_blur': ('measured_only', BLUR),
    'snow': ('measured_only', SNOW),
    'frost': ('measured_only', FROST),
    'fog': ('looked_at', HAZE),
    'brightness': ('looked_at', LIGHT),
    'contrast': ('measured_only', HAZE),
    'elastic_transform': ('measured_only', ROWS | BLUR),
    'pixelate': ('measured_only', BLOCKS),
    'jpeg_compression': ('looked_at', BLOCKS),
    'spatter': ('looked_at', DIRT | NOISE),
    'saturate': ('measured_only', COLORS),
}
_ALBUMENTATIONS: Mapping[str, tuple[Half, frozenset[str]]] = {
    'RandomRain': ('looked_at', HAZE | NOISE | BLUR),
    'RandomSnow': ('looked_at', SNOW | LIGHT),
    'RandomFog': ('measured_only', HAZE),
    'RandomSunFlare': ('looked_at', DIRT | frozenset({'saturated'})),
    'RandomGravel': ('measured_only', DIRT | NOISE),
    'ISONoise': ('measured_only', NOISE),
    'CoarseDropout': ('looked_at', DIRT),
    'RandomGamma': ('measured_only', LIGHT),
    'Posterize': ('measured_only', frozenset({'low_contrast', 'blocky'})),
    'RingingOvershoot': ('looked_at', BLUR | NOISE),
}
_PLAIN: Mapping[str, tuple[Half, frozenset[str], Damage]] = {
    'mud': ('looked_at', DIRT, steady(damage.mud)),
    'tape': ('measured_only', DIRT, steady(damage.tape)),
    'drops': ('measured_only', DIRT | BLUR, steady(damage.drops)),
    'half_black': ('looked_at', DIRT | FROZEN_PART | ROWS, steady(damage.half_black)),
    'freeze': ('looked_at', FROZEN, damage.freeze),
    'freeze_lower': ('measured_only', FROZEN_PART, damage.freeze_lower),
    'freeze_left': ('looked_at', FROZEN_PART, damage.freeze_left),
    'freeze_with_noise': ('looked_at', FROZEN, damage.freeze_with_noise),
    'freeze_reencoded': ('measured_only', FROZEN, damage.freeze_reencoded),
    'ring_of_2': ('measured_only', REPLAYED, damage.ring_of_2),
    'ring_of_5': ('looked_at', REPLAYED, damage.ring_of_5),
    'doubled': ('looked_at', frozenset({'repeated'}), damage.doubled),
    'wrong_stride': ('looked_at', ROWS, steady(damage.wrong_stride)),
    'torn': ('measured_only', ROWS, damage.torn),
    'sheared_band': ('looked_at', ROWS, each(damage.sheared_band)),
    'rolled': ('measured_only', ROWS, steady(damage.rolled)),
    'fields_swapped': ('measured_only', ROWS, steady(damage.fields_swapped)),
    'upside_down': ('looked_at', frozenset({'upside_down'}), steady(damage.upside_down)),
    'mirrored': ('measured_only', frozenset({'mirrored'}), steady(damage.mirrored)),
    'bgr': ('looked_at', COLORS, steady(damage.bgr)),
    'green_blue_swapped': ('measured_only', COLORS, steady(damage.green_blue_swapped)),
    'channel_lost': ('measured_only', COLORS, steady(damage.channel_lost)),
    'chroma_lost': ('looked_at', COLORS, steady(damage.chroma_lost)),
    'bits_shifted': ('measured_only', NOISE | ROWS | COLORS, steady(damage.bits_shifted)),
    'dead_rows': ('looked_at', LINES, steady(damage.dead_rows)),
    'bright_columns': ('measured_only', LINES, steady(damage.bright_columns)),
    'row_banding': ('looked_at', frozenset({'banded'}), each(damage.row_banding)),
    'row_noise': ('measured_only', LINES | NOISE | frozenset({'banded'}), each(damage.row_noise)),
    'jpeg_cut': ('looked_at', DIRT | FROZEN_PART | ROWS, each(damage.jpeg_cut)),
    'jpeg_bytes': ('measured_only', ROWS | BLOCKS | COLORS, each(damage.jpeg_bytes)),
    'h264_lost': ('measured_only', PACKETS, damage.h264_lost),
    'h264_bytes': ('looked_at', PACKETS, damage.h264_bytes),
}
_FIXED = frozenset({'frost', 'elastic_transform', 'RandomGravel', 'CoarseDropout', 'spatter'})
"""Of the packages' faults, those that stay where they are."""
_NEEDS = {
    'h264_lost': ('av',),
    'h264_bytes': ('av',),
    'jpeg_cut': ('PIL',),
    'jpeg_bytes': ('PIL',),
}


def camera_faults() -> tuple[Fault, ...]:
    """List the faults, those of packages that are absent included."""
    theirs = [
        Fault(f'imagecorruptions:{name}', half, causes, _by_imagecorruptions(name),
              needs=('imagecorruptions', 'skimage', 'pkg_resources'))
        for name, (half, causes) in _IMAGECORRUPTIONS.items()
    ] + [
        Fault(f'albumentations:{name}', half, causes, _by_albumentations(name),
              needs=('albumentations',))
        for name, (half, causes) in _ALBUMENTATIONS.items()
    ]  # fmt: skip
    plain = [
        Fault(name, half, causes, act, used=name == 'doubled', needs=_NEEDS.get(name, ()))
        for name, (half, causes, act) in _PLAIN.items()
    ]
    return (*theirs, *plain)


def _by_imagecorruptions(name: str) -> Damage:
    """Severity 1, 2, 3 is the package's 1, 3, 5."""

    def corrupt(image: Image, severity: int, rng: Rng) -> Image:
        from imagecorruptions import corruptions
        from PIL import Image as Pillow

        if not hasattr(np, 'float_'):
            np.float_ = np.float64  # the package is older than numpy 2
        corruptions.gaussian = _gaussian  # ... and than scikit-image 0.23
        np.random.seed(int(rng.integers(1 << 31)))
        out = getattr(corruptions, name)(Pillow.fromarray(image), 2 * severity - 1)
        return np.clip(np.asarray(out), 0, 255).astype(np.uint8)

    return (steady if name in _FIXED else each)(corrupt)


def _gaussian(image: Any, sigma: Any, multichannel: bool = False, **options: Any) -> Any:
    """Take the word `multichannel` that scikit-image dropped."""
    from skimage.filters import gaussian

    return gaussian(image, sigma=sigma, channel_axis=-1 if multichannel else None, **options)


def _by_albumentations(name: str) -> Damage:
    """The package's defaults, stronger from severity to severity."""

    def corrupt(image: Image, severity: int, rng: Rng) -> Image:
        import albumentations

        low, mid, high = 0.25 * severity, 0.3 * severity, 0.33 * severity
        options = {
            'RandomRain': {'rain_type': ('drizzle', 'heavy', 'torrential')[severity - 1]},
            'RandomSnow': {'snow_point_range': (low / 2, mid / 2)},
            'RandomFog': {'fog_coef_range': (mid, high)},
            'RandomSunFlare': {'src_radius': 100 * severity},
            'RandomGravel': {'number_of_patches': 4 * severity},
            'ISONoise': {'intensity': (mid, high), 'color_shift': (0.02, 0.1)},
            'CoarseDropout': {
                'num_holes_range': (severity, 2 * severity),
                'hole_height_range': (0.2, 0.4),
                'hole_width_range': (0.2, 0.4),
            },
            'RandomGamma': {'gamma_limit': (100 + 120 * severity, 110 + 120 * severity)},
            'Posterize': {'num_bits': 4 - severity},
            'RingingOvershoot': {'blur_limit': (7, 7 + 4 * severity)},
        }[name]
        act = getattr(albumentations, name)(p=1.0, **options)
        act.set_random_seed(int(rng.integers(1 << 31)))
        return np.asarray(act(image=image)['image'], np.uint8)

    return (steady if name in _FIXED else each)(corrupt)
