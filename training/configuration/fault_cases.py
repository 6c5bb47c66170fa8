"""Names of the sensor faults that training and evaluation may put on frames."""

from __future__ import annotations

from collections.abc import Sequence

from sam_ad_perception.simulation.faults.effects import KINDS, TRANSPORT

DELIVER_CASES = (
    'camera:motion_blur',
    'camera:over_exposure',
    'camera:under_exposure',
    'lidar:lidar_jitter',
    'event:event_low_resolution',
)
"""The sensor-failure cases of DELIVER: MB, OE, UE, LJ, EL."""


SELECTIONS = ('none', 'deliver', 'all')


def fault_cases(sensors: Sequence[str], selection: str) -> list[str]:
    """List faults that can befall some sensors.

    Faults on the way from the sensor to the computer are not among them: a message that does not
    come is a sensor less, which the subsets measure.

    Args:
        sensors: The sensors.
        selection: One of `SELECTIONS`.

    Returns:
        `sensor:kind` each.

    Raises:
        ValueError: Another selection.
    """
    if selection not in SELECTIONS:
        raise ValueError(f'faults must be one of {SELECTIONS}, got {selection!r}')
    if selection == 'none':
        return []
    every = [
        f'{sensor}:{name}'
        for sensor in sensors
        for name, kind in KINDS.items()
        if name not in TRANSPORT and sensor in kind.modalities
    ]
    return every if selection == 'all' else [case for case in DELIVER_CASES if case in every]
