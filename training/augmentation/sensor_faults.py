"""Faults of the simulator on a frame of any data set."""

from __future__ import annotations

import dataclasses

import numpy as np

from sam_ad_perception.core.sensors import EVENT_WINDOW_NS, Modality, PointCloud, SensorBundle
from sam_ad_perception.simulation.faults.effects import corrupt, drop_non_finite


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
