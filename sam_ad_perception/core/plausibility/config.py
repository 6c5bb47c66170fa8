"""Parameters of the plausibility pass, and the codes of what it finds."""

from __future__ import annotations

from dataclasses import dataclass

from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.settings.thresholds import duration

CODES: tuple[str, ...] = (
    'clock.ahead',
    'clock.behind',
    'clock.none',
    'clock.uptime',
    'clock.drift',
    'clock.stamp',
    'clock.step',
    'cloud.byte_order',
    'cloud.no_return',
    'cloud.unit',
    'cloud.values',
    'events.order',
    'events.outside',
    'geometry.principal_point',
    'geometry.rectified',
    'geometry.view',
    'image.bit_depth',
    'image.byte_order',
    'image.corrupt',
    'image.depth_unit',
    'image.false_colour',
    'image.polarity',
    'image.role',
    'point_time.constant',
    'point_time.origin',
    'point_time.outlier',
    'point_time.span',
    'point_time.unit',
)
"""All codes of `core.findings.Finding`; they stay as they are from version to version."""


@dataclass(frozen=True)
class PlausibilityConfig:
    """What is checked before a sensor's data is used."""

    enabled: bool = parameter(
        True, 'Whether clocks, values and geometry of the sensors are checked.'
    )
    clock: str = parameter(
        'leave_out',
        'A sensor whose clock cannot be right is left out, or its stamps are corrected by what '
        'the arrivals tell, or it is used with a note.',
        choices=('leave_out', 'correct', 'note'),
    )
    max_ahead_s: float = parameter(
        0.02,
        'Stamps may be later than their arrival by this much: jitter of clocks that are '
        'synchronized.',
        ge=0.0,
        le=10.0,
        unit='s',
    )
    max_behind_s: float = duration(
        3.0,
        'Stamps that are always older than this on arrival, while those of other sensors are '
        'not, are of another clock.',
        at_least=0.1,
    )
    accept: tuple[str, ...] = parameter(
        ('none',),
        'Findings that do not take a sensor out, by code (none for no such finding).',
        choices=('none', *CODES),
    )
    thermal_polarity: str = parameter(
        'white_hot',
        'Whether warm is bright in the images of the thermal camera, or dark (they are inverted '
        'then).',
        choices=('white_hot', 'black_hot'),
    )
