"""When a window of events counts as spoilt: the thresholds of the event camera."""

from __future__ import annotations

from dataclasses import dataclass

from sam_ad_perception.core.settings.parameters import parameter
from sam_ad_perception.core.settings.thresholds import duration, factor, share


@dataclass(frozen=True)
class EventHealthConfig:
    """Thresholds of the event camera, in events per pixel of one bundle's window."""

    enabled: bool = parameter(True, 'Whether windows of events are checked.')
    burst_density: float = parameter(
        1.5, 'Burst: more events per pixel than this, and ...', ge=0.0
    )
    burst_ratio: float = factor(2.5, '... than so many times the running density.')
    silence_ratio: float = share(
        0.02,
        'Silent: at most this share of the running density while the camera sees motion; without '
        'motion, no event at all.',
    )
    min_density: float = parameter(
        0.01, 'A running density below this says nothing about silence.', ge=0.0
    )
    polarity_share: float = parameter(
        0.02, 'One polarity: the rarer one has less than this share of the events, or ...',
        ge=0.0, le=0.5,
    )  # fmt: skip
    polarity_change: float = parameter(
        4.0, '... the ratio of the two is so many times higher or lower than usual.', ge=1.5
    )
    hot_pixels: int = parameter(
        8, 'Hot pixels: so many more than 1.5 times the usual number fire by themselves.', ge=1
    )
    hot_pixels_new: int = parameter(50, 'What counts as usual of a sensor that is new.', ge=0)
    stuck_lines: float = parameter(
        0.9, 'Stuck: so many more rows or columns than usual fire as a whole.', ge=0.1
    )
    dead_lines: float = parameter(
        3.0, 'Dead: so many more rows or columns than usual have no event.', ge=0.1
    )
    dead_tiles: int = parameter(
        3, 'Dead region: so many of 64 parts have no event, which they never were without.', ge=1
    )
    collapse_ratio: float = share(
        0.15,
        'Rate collapse: from one window to the next the rate falls below this share, unless the '
        'camera sees no motion.',
    )
    collapse_holds_s: float = duration(
        60.0, 'A rate that stays low for so long is the new normal.', at_least=1.0
    )
    lost_packets_share: float = share(
        0.2,
        'Packets lost: so much more of the milliseconds than usual are without an event, between '
        'others with many.',
    )
