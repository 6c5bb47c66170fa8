"""When a sweep counts as spoilt: the thresholds of the lidar."""

from __future__ import annotations

from dataclasses import dataclass

from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.settings.thresholds import duration, share


@dataclass(frozen=True)
class LidarHealthConfig:
    """Thresholds of the lidar."""

    enabled: bool = parameter(True, 'Whether sweeps are checked.')
    min_points: int = parameter(20, 'Empty: fewer returns than this.', ge=0)
    sparse_ratio: float = share(0.5, 'Sparse: below this share of the running number of returns.')
    lost_ratio: float = share(0.1, 'Too sparse to be used: below this share of it.')
    min_reach_m: float = parameter(
        2.0, 'Covered: 90 % of the returns are nearer than this.', ge=0.0, unit='m'
    )
    reach_ratio: float = share(
        0.25, 'Short-sighted: their 90th percentile is below this share of its running value.'
    )
    blocked_deg: float = parameter(
        15.0,
        'Blocked or dirty: so much of the azimuth side by side returns nothing, or nothing but '
        'dirt.',
        ge=5.0,
        le=360.0,
        unit='deg',
    )
    blocked_share: float = share(
        0.15, 'Blocked: a sector returns less than this share of its running number.'
    )
    dirt_m: float = parameter(
        1.6, 'Dirty: returns from nearer than this, ...', ge=0.3, le=10.0, unit='m'
    )
    dirt_share: float = parameter(
        0.6, '... which are at least this share of those of a sector.', ge=0.1, le=1.0
    )
    lost_packets_share: float = share(
        0.05, 'Packets lost: this share of the azimuth is missing in gaps of up to 10 degrees.'
    )
    dead_ring_share: float = share(
        0.2,
        'Dead rings: a quarter of a degree of elevation returns less than this share of what it '
        'did, ...',
    )
    dead_bands: int = parameter(2, '... in so many of them at least.', ge=1, le=240)
    clutter_share: float = share(
        0.5,
        'Clutter: this share of the points within 12 m stand alone, confirmed by no neighbour, or '
        '...',
    )
    clutter_rise: float = share(0.04, '... so much more of them than usual.')
    turn_likeness: float = share(
        0.5,
        'Mirrored or turned: a sweep correlates with the one before by this, once it is turned '
        'back, ...',
    )
    turn_margin: float = parameter(0.25, '... and by so much less as it is.', ge=0.0, le=2.0)
    turn_holds_s: float = duration(
        60.0, 'What stays turned for so long is the new normal.', at_least=1.0
    )
    tilt_change_deg: float = parameter(
        2.2, 'Tilted: the ground leans by this against its running plane, or ...',
        ge=0.5, le=90.0, unit='deg',
    )  # fmt: skip
    max_tilt_deg: float = parameter(
        8.0,
        '... by this against the lidar, and against the camera where its place is known.',
        ge=1.0,
        le=90.0,
        unit='deg',
    )
    height_change_m: float = parameter(
        0.3, 'Height: the ground is so much nearer or further below than usual.',
        ge=0.05, unit='m',
    )  # fmt: skip
