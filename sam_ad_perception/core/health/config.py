"""Configuration of the health monitor: the thresholds of all sensors, and when one comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sam_ad_perception.core.registry import resolve
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.settings.parameter_tables import Tabled, complete_table, table
from sam_ad_perception.core.settings.parameters import parameter


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
