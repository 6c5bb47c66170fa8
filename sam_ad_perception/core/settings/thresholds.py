"""Thresholds as parameters: shares, factors, durations and grey levels, each with its range."""

from __future__ import annotations

from sam_ad_perception.core.settings.parameters import parameter


def share(default: float, description: str) -> float:
    """Declare a share of something.

    Args:
        default: Its value where nobody says otherwise.
        description: One sentence.

    Returns:
        The field, from 0 to 1; see `parameters.parameter`.
    """
    return parameter(default, description, ge=0.0, le=1.0)


def factor(default: float, description: str) -> float:
    """Declare how many times more something has to be than usual.

    Args:
        default: As of `share`.
        description: As of `share`.

    Returns:
        The field, 1 or more; see `parameters.parameter`.
    """
    return parameter(default, description, ge=1.0)


def duration(default: float, description: str, *, at_least: float = 0.0) -> float:
    """Declare how long something lasts.

    Args:
        default: As of `share`, seconds.
        description: As of `share`.
        at_least: Smallest value allowed, seconds.

    Returns:
        The field, in seconds; see `parameters.parameter`.
    """
    return parameter(default, description, ge=at_least, unit='s')


def grey_level(default: float, description: str) -> float:
    """Declare a level, or a difference of levels, of a picture of 8 bits.

    Args:
        default: As of `share`.
        description: As of `share`.

    Returns:
        The field, from 0 to 255; see `parameters.parameter`.
    """
    return parameter(default, description, ge=0.0, le=255.0)
