"""What faults of the camera cost: `python -m benchmarks.sensors.fault_costs --write` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FaultCost:
    """What a kind of finding costs a mask of all sensors, points of pixel accuracy.

    Attributes:
        lost: With the faulty camera, mean over the faults.
        absent: Without any camera.
        faults: How many pairs of fault and severity were measured, of those looked at that health
            does not take out by itself.
    """

    lost: float
    absent: float
    faults: int


CAMERA: Mapping[str, FaultCost] = {
    'banded': FaultCost(0.1, 1.0, 3),
    'blocky': FaultCost(0.2, 1.0, 2),
    'blurred': FaultCost(0.3, 1.0, 9),
    'covered': FaultCost(1.0, 1.0, 11),
    'dead_lines': FaultCost(0.4, 1.0, 3),
    'frozen': FaultCost(5.4, 1.0, 3),
    'frozen_part': FaultCost(2.9, 1.0, 2),
    'hazy': FaultCost(1.7, 1.0, 3),
    'noisy': FaultCost(0.4, 1.0, 5),
    'repeated': FaultCost(0.7, 1.0, 3),
    'torn': FaultCost(1.7, 1.0, 2),
    'wrong_colors': FaultCost(1.3, 1.0, 6),
}
