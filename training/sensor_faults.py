"""Faults of the simulator on a frame of any data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sam_ad_perception.core.sensors import Modality, PointCloud, SensorBundle
from sam_ad_perception.simulation.drive import EVENT_WINDOW_NS
from sam_ad_perception.simulation.faults import KINDS, TRANSPORT, corrupt, drop_non_finite

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


def spoil_bundle(bundle: SensorBundle, case: str, rng: np.random.Generator) -> SensorBundle:
    """Let a fault befall one sensor of a bundle, with the strength that is its kind's default.

    Args:
        bundle: The bundle.
        case: `sensor:kind`.
        rng: Source of noise.

    Returns:
        A new bundle; the same where the sensor is not in it.

    Raises:
        ValueError: The kind is unknown, or does not befall such data.
    """
    name, kind = case.split(':')
    sensor = Modality(name)
    frame = bundle.frames.get(sensor)
    if frame is None:
        return bundle
    span = (frame.stamp_ns - EVENT_WINDOW_NS, frame.stamp_ns)
    data = corrupt(frame.data, kind, None, rng, span)
    if isinstance(data, PointCloud):
        data = drop_non_finite(data)
    frames = {**bundle.frames, sensor: dataclasses.replace(frame, data=data)}
    return dataclasses.replace(bundle, frames=frames)
