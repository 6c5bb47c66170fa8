"""What the simulator has each kind of sensor measure: the sources that sensor records name.

Each takes the renderer of a drive, the name of a sensor in the rig and the time in nanoseconds,
and gives the data of a `SensorFrame`, by the true clock and without faults.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import EVENT_WINDOW_NS, Events, PointCloud
from sam_ad_perception.simulation.drives.renderer import Renderer


def measure_color(renderer: Renderer, sensor: str, stamp_ns: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a camera."""
    return renderer.picture(renderer.look(sensor, stamp_ns))


def measure_heat(renderer: Renderer, sensor: str, stamp_ns: int) -> NDArray[np.uint16]:
    """(H, W) uint16 of a thermal camera, counts of 10 mK."""
    return renderer.heat(renderer.look(sensor, stamp_ns))


def measure_events(renderer: Renderer, sensor: str, stamp_ns: int) -> Events:
    """Events of the window that ends at the time."""
    return renderer.events(sensor, stamp_ns - EVENT_WINDOW_NS, stamp_ns)


def measure_points(renderer: Renderer, sensor: str, stamp_ns: int) -> PointCloud:
    """Points of the sweep that ends at the time, in the lidar's frame."""
    return renderer.sweep(sensor, stamp_ns).cloud
