"""The image that a network sees of each sensor: in the camera's view, at the network's size.

One record per kind. Its fields are the constants of the form, so that `models/zoo.yaml` states
them; `render` is the one code that trains and drives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.alignment import warp_to_camera
from sam_ad_perception.core.depth import rasterize
from sam_ad_perception.core.events import accumulate_counts
from sam_ad_perception.core.geometry import scale_camera
from sam_ad_perception.core.sensors import CameraModel, Events, PointCloud, SensorFrame
from sam_ad_perception.core.transforms import transform_points


class BadFrameError(ValueError):
    """A frame that cannot be used; the message is the reason why its sensor counts as missing."""


class Representation(Protocol):
    """How one sensor's frame becomes a network input."""

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""

    def render(
        self, frame: SensorFrame, view: CameraModel, T_view: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        """Render a frame.

        Args:
            frame: The sensor's frame.
            view: The camera's view at the network's size.
            T_view: (4, 4) transform of the sensor's frame into the camera's, metres; None for
                the camera itself.

        Returns:
            (channels, H, W) float32, normalised.

        Raises:
            BadFrameError: The frame cannot be used.
        """


@dataclass(frozen=True)
class Rgb:
    """Camera colours, resized to the network's size, normalised per channel.

    Attributes:
        mean: Mean of R, G, B in [0, 1].
        std: Standard deviation likewise.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""
        return 3

    def render(
        self, frame: SensorFrame, view: CameraModel, T_view: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        """See `Representation.render`."""
        image = _image_of(frame, ('uint8',), 3)
        shrink = image.shape[0] > view.height or image.shape[1] > view.width
        resized = cv2.resize(
            image,
            (view.width, view.height),
            interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR,
        )
        std = np.asarray(self.std, np.float32)
        scaled = resized.astype(np.float32) * (1 / 255 / std) - np.asarray(self.mean) / std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)


@dataclass(frozen=True)
class ThermalPercentile:
    """Thermal image between two percentiles of its own values, warped into the view.

    Attributes:
        low: Percentile that becomes -1.
        high: Percentile that becomes 1.
        limit: Values are clipped to this.
        distance_m: Distance of the plane on which the two cameras' views are made to agree.
    """

    low: float = 1.0
    high: float = 99.0
    limit: float = 3.0
    distance_m: float = 20.0

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""
        return 1

    def render(
        self, frame: SensorFrame, view: CameraModel, T_view: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        """See `Representation.render`."""
        image = _image_of(frame, ('uint8', 'uint16'), 1)
        low, high = np.percentile(image[::4, ::4], (self.low, self.high))
        if high <= low:
            raise BadFrameError(f'thermal image is uniform at {low:g}')
        scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(2 / (high - low)) - 1
        clipped = np.clip(scaled, -self.limit, self.limit)
        return _warp(clipped, frame, view, T_view, self.distance_m)[None]


@dataclass(frozen=True)
class EventCounts:
    """Events per pixel and polarity (ON, OFF) over a fixed time, log(1 + n), warped.

    Attributes:
        duration_ms: Time before the frame's stamp whose events count, milliseconds.
        distance_m: Distance of the plane on which the two cameras' views are made to agree.
    """

    duration_ms: float = 30.0
    distance_m: float = 20.0

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""
        return 2

    def render(
        self, frame: SensorFrame, view: CameraModel, T_view: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        """See `Representation.render`."""
        events = frame.data
        if not isinstance(events, Events):
            raise BadFrameError(f'event data must be Events, got {type(events).__name__}')
        if min(events.size) <= 0:
            raise BadFrameError(f'event sensor has size {events.size}')
        start = np.searchsorted(events.t_ns, frame.stamp_ns - int(self.duration_ms * 1e6), 'right')
        if start >= events.t_ns.size:
            raise BadFrameError(f'no events in the last {self.duration_ms:g} ms')
        if start > 0:
            events = Events(
                events.x[start:],
                events.y[start:],
                events.polarity[start:],
                events.t_ns[start:],
                events.size,
            )
        counts = np.log1p(accumulate_counts(events, events.size).astype(np.float32))
        images = [_warp(c, frame, view, T_view, self.distance_m) for c in counts]
        return np.stack(images)


@dataclass(frozen=True)
class LidarImage:
    """Range, intensity and height of the nearest point per pixel; zero where there is none.

    Range is log(1 + r) / log(1 + max), so that near surfaces keep their detail. Intensity is
    relative to the sweep's 95th percentile, since drivers scale it differently. Height is
    above the camera, over 5 m, shifted by +1 so that the ground is not zero.

    Attributes:
        max_range_m: Points beyond are dropped, metres.
    """

    max_range_m: float = 100.0

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""
        return 3

    def render(
        self, frame: SensorFrame, view: CameraModel, T_view: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        """See `Representation.render`."""
        cloud = check_cloud(frame)
        if T_view is None:
            raise BadFrameError('no transform from the lidar into the camera')
        points = transform_points(T_view, cloud.points)
        distance = np.linalg.norm(points, axis=1)
        near = (distance < self.max_range_m) & (points[:, 2] > 0)
        if not near.any():
            raise BadFrameError('no lidar point in front of the camera')
        intensity = np.zeros(len(points), np.float32)
        if cloud.intensity is not None:
            scale = max(float(np.percentile(cloud.intensity[::8], 95)), 1e-6)
            intensity = np.clip(cloud.intensity / np.float32(scale), 0, 1.5)
        values = np.stack(
            [
                np.log1p(distance) / np.log1p(self.max_range_m),
                intensity,
                1 - np.clip(points[:, 1] / 5, -3, 3),
            ],
            axis=1,
        )
        image, _ = rasterize(points[near], values[near].astype(np.float32), view, view.size)
        return np.nan_to_num(image, copy=False)


REPRESENTATIONS: Mapping[str, type[Representation]] = MappingProxyType(
    {
        'rgb': Rgb,
        'thermal_percentile': ThermalPercentile,
        'event_counts': EventCounts,
        'lidar_image': LidarImage,
    }
)
"""The forms that a zoo entry may name."""


def check_cloud(frame: SensorFrame) -> PointCloud:
    """Get a usable point cloud from a frame.

    Args:
        frame: A lidar frame.

    Returns:
        Its cloud.

    Raises:
        BadFrameError: It is no cloud, empty, of a wrong shape or not finite.
    """
    cloud = frame.data
    if not isinstance(cloud, PointCloud):
        raise BadFrameError(f'lidar data must be a PointCloud, got {type(cloud).__name__}')
    if cloud.points.ndim != 2 or cloud.points.shape[1] != 3:
        raise BadFrameError(f'point cloud has shape {cloud.points.shape}, expected (N, 3)')
    if len(cloud.points) == 0:
        raise BadFrameError('point cloud is empty')
    if not np.isfinite(cloud.points).all():
        raise BadFrameError('point cloud holds NaN or infinite coordinates')
    if cloud.intensity is not None and cloud.intensity.shape != (len(cloud.points),):
        raise BadFrameError(
            f'point cloud has {len(cloud.points)} points but intensity of shape '
            f'{cloud.intensity.shape}'
        )
    return cloud


def _image_of(frame: SensorFrame, dtypes: tuple[str, ...], channels: int) -> NDArray[Any]:
    image: Any = frame.data
    if not isinstance(image, np.ndarray):
        raise BadFrameError(f'{frame.modality} data must be an image, got {type(image).__name__}')
    if image.dtype.name not in dtypes:
        raise BadFrameError(
            f'{frame.modality} image is {image.dtype.name}, expected {" or ".join(dtypes)}'
        )
    shape = '(H, W)' if channels == 1 else f'(H, W, {channels})'
    if image.ndim != (2 if channels == 1 else 3) or image.shape[2:] not in ((), (channels,)):
        raise BadFrameError(f'{frame.modality} image has shape {image.shape}, expected {shape}')
    if 0 in image.shape:
        raise BadFrameError(f'{frame.modality} image has zero size {image.shape}')
    return image


def _warp(
    image: NDArray[np.float32],
    frame: SensorFrame,
    view: CameraModel,
    T_view: NDArray[np.float64] | None,
    distance_m: float,
) -> NDArray[np.float32]:
    """Bring an image into the view; one much finer than the view is averaged, not sampled."""
    if frame.camera is None:
        raise BadFrameError(f'no camera_info of the {frame.modality} camera')
    if T_view is None:
        raise BadFrameError(f'no transform from the {frame.modality} camera into the camera')
    if image.shape != frame.camera.size:
        raise BadFrameError(
            f'{frame.modality} image is {image.shape}, its camera_info says {frame.camera.size}'
        )
    factor = max(1, round(frame.camera.width / view.width))
    finer = scale_camera(view, (view.height * factor, view.width * factor))
    warped, _ = warp_to_camera(image, frame.camera, finer, T_view, distance_m=distance_m)
    out = np.asarray(warped, dtype=np.float32)
    if factor > 1:
        shrunk = cv2.resize(out, (view.width, view.height), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk, dtype=np.float32)
    return out
