"""What the sensors of a moving vehicle measure: scene, condition and sensor models together."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensor_kinds import SENSOR_KINDS
from sam_ad_perception.core.sensors import CameraModel, Events
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.vehicle_motion import VehicleMotion
from sam_ad_perception.simulation.raycasting.rays import GROUND_HIT, SKY_HIT, Hits, cast
from sam_ad_perception.simulation.raycasting.shadows import map_shadows
from sam_ad_perception.simulation.raycasting.solids import Primitives
from sam_ad_perception.simulation.sensors import camera as light
from sam_ad_perception.simulation.sensors import optics
from sam_ad_perception.simulation.sensors.events import (
    NOISE_RATE,
    detect_events,
    join,
    log_intensity,
)
from sam_ad_perception.simulation.sensors.flow import measure_flow, roll_shutter
from sam_ad_perception.simulation.sensors.lidar import COLUMNS, Sweep, measure_lidar
from sam_ad_perception.simulation.sensors.lidar_weather import weather_sweep
from sam_ad_perception.simulation.sensors.thermal import measure_thermal
from sam_ad_perception.simulation.street.lamps import find_lamps
from sam_ad_perception.simulation.street.scene import Scene
from sam_ad_perception.simulation.street.tunnel import condition_inside, weather_inside
from sam_ad_perception.simulation.weather.atmosphere import add_fog, add_precipitation
from sam_ad_perception.simulation.weather.conditions import (
    DAY,
    Condition,
    condition_at,
    weather_under,
)
from sam_ad_perception.simulation.weather.daylight import Weather

SUBFRAME_NS = 10_000_000
"""Spacing of the renderings between which events are interpolated."""
SWEEP_NS = 100_000_000
_VIEWS_KEPT, _SUBFRAMES_KEPT = 3, 6
_EVENT_SHUTTER_S = 0.001
"""Time constant of an event pixel, in which drops and flakes move."""


@dataclass(frozen=True, eq=False)
class View:
    """One camera at one time, and what its pixels hit.

    Attributes:
        stamp_ns: Time, nanoseconds.
        sensor: Name of the camera.
        camera: Its geometry.
        T_world: (4, 4) its pose, `T_odom_x`.
        primitives: The solids in reach.
        hits: What each pixel sees of them.
    """

    stamp_ns: int
    sensor: str
    camera: CameraModel
    T_world: NDArray[np.float64]
    primitives: Primitives
    hits: Hits


class Renderer:
    """The sensors of one drive. Results depend on configuration and time alone.

    Args:
        config: What is simulated.
        scene: The street.
        cameras: Geometry by name of the camera-like sensors.
        T_base: (4, 4) `T_base_x` by name of all sensors, metres.
    """

    def __init__(
        self,
        config: DriveConfig,
        scene: Scene,
        cameras: Mapping[str, CameraModel],
        T_base: Mapping[str, NDArray[np.float64]],
    ) -> None:
        self.config = config
        self.scene = scene
        self.cameras = cameras
        self.T_base = T_base
        phases = np.random.default_rng([config.seed, 1]).uniform(0, 2 * np.pi, 4)
        self.motion = VehicleMotion(scene.road, config.speed_mps, phases)
        self._rigs = {sensor.name: sensor for sensor in config.sensors}
        self._views: OrderedDict[tuple[str, int], View] = OrderedDict()
        self._subframes: OrderedDict[tuple[str, int], NDArray[np.float64]] = OrderedDict()

    def pose(self, stamp_ns: int) -> NDArray[np.float64]:
        """(4, 4) `T_odom_base` at a time, metres."""
        return self.motion.poses(np.array([stamp_ns - self.config.start_ns]))[0]

    def condition(self, stamp_ns: int) -> Condition:
        """Light and weather at a time, nanoseconds; in a tunnel those that the sensors feel."""
        outside = condition_at(
            self.config.schedule, self._elapsed_s(stamp_ns), self.config.condition_ramp_s
        )
        inside = self.inside_tunnel(stamp_ns)
        return condition_inside(outside, inside) if inside > 0.0 else outside

    def inside_tunnel(self, stamp_ns: int) -> float:
        """How far inside a tunnel the vehicle is, from 0 (outside) to 1."""
        tunnel = self.scene.tunnel
        return tunnel.share(float(self.pose(stamp_ns)[0, 3])) if tunnel is not None else 0.0

    def rng(self, sensor: str, stamp_ns: int, stream: int = 0) -> np.random.Generator:
        """The generator of one measurement; streams are independent of each other."""
        # Times before the start, which the first sweep needs, are negative.
        elapsed = stamp_ns - self.config.start_ns
        source = SENSOR_KINDS[sensor].simulation if sensor in SENSOR_KINDS else None
        number = None if source is None else source.stream
        number = 100 + zlib.crc32(sensor.encode()) if number is None else number
        key = [self.config.seed, 2 + number, abs(elapsed), int(elapsed < 0)]
        return np.random.default_rng([*key, stream] if stream else key)

    def primitives(self, stamp_ns: int, later_ns: int | None = None) -> Primitives:
        """The solids in reach at a time; with `later_ns` the same ones at that time."""
        x, y = self.pose(stamp_ns)[:2, 3]
        later = None if later_ns is None else self._elapsed_s(later_ns)
        return self.scene.primitives(self._elapsed_s(stamp_ns), x, y, later)

    def look(self, sensor: str, stamp_ns: int) -> View:
        """Casts the rays of a camera at a time; the last few views are kept.

        Raises:
            ValueError: There is no such camera.
        """
        if sensor not in self.cameras:
            raise ValueError(f'sensor must be one of {[*map(str, self.cameras)]}, got {sensor}')
        view = self._views.get((sensor, stamp_ns))
        if view is None:
            camera, T = self.cameras[sensor], self.pose(stamp_ns) @ self.T_base[sensor]
            solids = self.primitives(stamp_ns)
            view = View(stamp_ns, sensor, camera, T, solids, cast(solids, camera, T))
            self._views[sensor, stamp_ns] = view
            while len(self._views) > _VIEWS_KEPT:
                self._views.popitem(last=False)
        return view

    def light(self, view: View, condition: Condition) -> NDArray[np.float32]:
        """(H, W, 3) float32, the light of a view that reaches the lens."""
        weather = weather_under(self.scene.weather, condition)
        linear = self._shade(view, weather, condition)
        tunnel = self.scene.tunnel
        if tunnel is not None:
            inside = tunnel.contains(view.hits, view.camera, view.T_world, self.scene.road)
            if inside.any():
                lit = replace(condition, lamps=max(1.0, condition.lamps))
                dark = self._shade(view, weather_inside(weather), lit)
                linear[inside] = dark[inside]
        add_fog(linear, view.hits, weather, condition, view.camera, view.T_world)
        return linear

    def _shade(self, view: View, weather: Weather, condition: Condition) -> NDArray[np.float32]:
        """(H, W, 3) float32, the light of a view without what is in the air."""
        x, y = view.T_world[:2, 3]
        lamps = find_lamps(view.primitives, self.pose(view.stamp_ns), condition.lamps)
        shadows = map_shadows(view.primitives, np.array(weather.sun), float(x), float(y))
        return light.shade(
            view.hits,
            view.primitives,
            shadows,
            self.scene.road,
            weather,
            view.camera,
            view.T_world,
            condition,
            lamps,
        )

    def picture(self, view: View) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, what a camera makes of a view."""
        c, noise = self.condition(view.stamp_ns), self.rng(view.sensor, view.stamp_ns)
        linear = self._roll(view, self.light(view, c), cv2.INTER_LINEAR)
        if c == DAY:
            return light.develop(linear, noise)
        rng = self.rng(view.sensor, view.stamp_ns, 1)
        weather, elapsed_s = weather_under(self.scene.weather, c), self._elapsed_s(view.stamp_ns)
        if c.shutter_s > 0.0:
            flow = self.flow(view, view.stamp_ns + round(c.shutter_s * 1e9))
            linear = optics.blur_motion(linear, flow)
        linear = add_precipitation(
            linear, weather, c, view.camera, c.shutter_s, self.config.speed_mps, rng
        )
        linear = optics.add_drops(linear, c, self.config.seed, elapsed_s)
        linear = optics.add_glare(linear, view.hits, weather, c, view.camera, view.T_world)
        if c.lamps > 0.0 or c.glare > 0.0:
            linear = optics.add_bloom(linear)
        return light.develop(optics.add_photon_noise(linear, c, rng), noise)

    def heat(self, view: View) -> NDArray[np.uint16]:
        """(H, W) uint16, what a thermal camera makes of a view, counts of 10 mK."""
        condition = self.condition(view.stamp_ns)
        counts = measure_thermal(
            view.hits,
            view.primitives,
            self.scene.road,
            weather_under(self.scene.weather, condition),
            view.camera,
            view.T_world,
            self.rng(view.sensor, view.stamp_ns),
            condition,
        )
        return self._roll(view, counts)

    def labels(self, view: View) -> NDArray[np.uint8]:
        """(H, W) uint8, true classes of a view."""
        made = light.label(view.hits, view.primitives, self.scene.road, view.camera, view.T_world)
        return self._roll(view, made)

    def depth(self, view: View) -> NDArray[np.float32]:
        """(H, W) float32, true depth of a view, metres; NaN where there is no surface."""
        index = view.hits.index
        surface = (index > SKY_HIT) | (index == GROUND_HIT)
        return self._roll(view, np.where(surface, view.hits.depth, np.nan).astype(np.float32))

    def _roll(
        self, view: View, image: NDArray[Any], interpolation: int = cv2.INTER_NEAREST
    ) -> NDArray[Any]:
        """What a rolling shutter makes of an image of one time."""
        rolling_s = self._rigs[view.sensor].rolling_s
        if rolling_s == 0.0:
            return image
        half_ns = round(rolling_s * 5e8)
        return roll_shutter(image, self.flow(view, view.stamp_ns + half_ns), interpolation)

    def flow(self, view: View, later_ns: int) -> NDArray[np.float32]:
        """(H, W, 2) float32, true motion of a view's pixels until another time."""
        return measure_flow(
            view.hits,
            view.primitives.geometry,
            self.primitives(view.stamp_ns, later_ns).geometry,
            view.camera,
            view.T_world,
            self.pose(later_ns) @ self.T_base[view.sensor],
        )

    def sweep(self, sensor: str, stamp_ns: int) -> Sweep:
        """The lidar sweep that ends at a time, nanoseconds."""
        steps = np.arange(COLUMNS) - (COLUMNS - 1)
        offset_ns = np.rint(steps * (SWEEP_NS / COLUMNS)).astype(np.int64)
        poses = self.motion.poses(stamp_ns - self.config.start_ns + offset_ns)
        clear = measure_lidar(
            self.primitives(stamp_ns),
            self.scene.road,
            poses @ self.T_base[sensor],
            offset_ns,
            self.rng(sensor, stamp_ns),
        )
        condition = self.condition(stamp_ns)
        return weather_sweep(clear, offset_ns, condition, self.rng(sensor, stamp_ns, 1))

    def events(self, sensor: str, start_ns: int, end_ns: int) -> Events:
        """Events with start <= t < end, nanoseconds, ordered by time."""
        rig, origin = self._rigs[sensor], self.config.start_ns
        first, last = (start_ns - origin) // SUBFRAME_NS, -(-(end_ns - origin) // SUBFRAME_NS)
        parts = []
        for k in range(first, last):
            begin_ns = origin + k * SUBFRAME_NS
            parts.append(
                detect_events(
                    self.log_intensity(sensor, k),
                    self.log_intensity(sensor, k + 1),
                    begin_ns,
                    SUBFRAME_NS,
                    self.rng(sensor, begin_ns),
                    rig.threshold,
                    1000 * rig.refractory_us,
                    NOISE_RATE + self.condition(begin_ns).event_noise_hz,
                )
            )
        return join(parts, start_ns, end_ns, self.cameras[sensor].size)

    def log_intensity(self, sensor: str, k: int) -> NDArray[np.float64]:
        """(H, W) float64, log intensity of an event camera's view at sub-frame `k`.

        Sub-frame 0 is at the start of the drive; the last few are kept.
        """
        image = self._subframes.get((sensor, k))
        if image is None:
            stamp_ns = self.config.start_ns + k * SUBFRAME_NS
            camera, T = self.cameras[sensor], self.pose(stamp_ns) @ self.T_base[sensor]
            solids = self.primitives(stamp_ns)
            view = View(stamp_ns, sensor, camera, T, solids, cast(solids, camera, T))
            # An event camera does not amplify: it sees less in the dark.
            c = self.condition(stamp_ns)
            c = replace(c, gain=c.event_gain)
            linear = add_precipitation(
                self.light(view, c), weather_under(self.scene.weather, c), c, camera,
                _EVENT_SHUTTER_S, self.config.speed_mps, self.rng(sensor, stamp_ns, 1),
            )  # fmt: skip
            image = self._subframes[sensor, k] = log_intensity(linear)
            while len(self._subframes) > _SUBFRAMES_KEPT:
                self._subframes.popitem(last=False)
        return image

    def _elapsed_s(self, stamp_ns: int) -> float:
        return (stamp_ns - self.config.start_ns) * 1e-9
