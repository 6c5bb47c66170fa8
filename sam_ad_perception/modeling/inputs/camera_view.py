"""Resampling of sensor images into the camera view, and the protocol of representations."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.images.alignment import (
    SamplingMap,
    estimate_surface,
    surface_map,
    warp_by_map,
    warp_to_camera,
)
from sam_ad_perception.core.images.thermal import ThermalRanges
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.sensors import (
    CameraModel,
    Modality,
    PointCloud,
    SensorBundle,
    SensorFrame,
)

ALIGNMENTS = ('plane', 'rotation', 'depth')
"""How an image comes into the camera's view: as if the scene were a plane at `distance_m`, as if
it were infinitely far, or by the depth that the lidar sees (a plane where there is none)."""


class BadFrameError(ValueError):
    """A frame that cannot be used; the message is the reason why its sensor counts as missing."""


class RenderContext:
    """What a representation may know beside its own frame, and where it leaves its notes.

    Attributes:
        ranges: Running ranges of the thermal streams.
        notes: For each sensor that is used with a shortcoming, which, in words; the bundle's own
            to begin with.
    """

    def __init__(
        self, bundle: SensorBundle, view: CameraModel, ranges: ThermalRanges | None = None
    ) -> None:
        """Take the bundle of one reference time.

        Args:
            bundle: The bundle.
            view: The camera's view at the network's size.
            ranges: Kept as long as the streams; None begins anew.
        """
        self._bundle = bundle
        self._view = view
        self._maps: dict[tuple[str, int, int], SamplingMap] = {}
        self.ranges = ranges or ThermalRanges()
        self.notes: dict[str, str] = {str(m): note for m, note in bundle.notes.items()}

    def note(self, sensor: str, text: str) -> None:
        """Add a shortcoming of a sensor that is used; the same once.

        Args:
            sensor: Its modality.
            text: What is not as the network expects.
        """
        told = self.notes.get(sensor, '')
        if text not in told:
            self.notes[sensor] = f'{told}; {text}' if told else text

    def surface_map(
        self, frame: SensorFrame, view: CameraModel, T_view: NDArray[np.float64]
    ) -> SamplingMap | None:
        """Where a frame of the bundle sees what the camera sees, by the lidar's depth.

        Args:
            frame: An image-like frame with its geometry.
            view: The camera's view on the grid wanted.
            T_view: (4, 4) transform of the sensor's frame into the camera's, metres.

        Returns:
            See `core.images.alignment.surface_map`; None without lidar points in the view. Made
            once per frame and grid.
        """
        assert frame.camera is not None
        key = (str(frame.modality), *view.size)
        if self._surface is not None and key not in self._maps:
            self._maps[key] = surface_map(frame.camera, view, T_view, self._surface)
        return self._maps.get(key)

    @cached_property
    def _surface(self) -> NDArray[np.float32] | None:
        """(h, w) depth of the scene on a grid over the view, metres; None without lidar points."""
        sweep = usable_sweep(self._bundle)
        return None if sweep is None else estimate_surface(deskew_points(*sweep), self._view)


class Representation(Protocol):
    """How one sensor's frame becomes a network input."""

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""

    def render(
        self,
        frame: SensorFrame,
        view: CameraModel,
        T_view: NDArray[np.float64] | None,
        context: RenderContext | None = None,
    ) -> NDArray[np.float32]:
        """Render a frame.

        Args:
            frame: The sensor's frame.
            view: The camera's view at the network's size.
            T_view: (4, 4) transform of the sensor's frame into the camera's, metres; None for
                the camera itself.
            context: The other sensors and the streams' past; None knows neither.

        Returns:
            (channels, H, W) float32, normalised.

        Raises:
            BadFrameError: The frame cannot be used.
        """


def looks_at_others(form: Representation) -> bool:
    """Whether a form places its sensor in the view with the help of another sensor's frame."""
    return getattr(form, 'alignment', None) == 'depth'


@runtime_checkable
class PictureForm(Protocol):
    """A form whose channels are those of a picture of bytes, whatever the frame shows."""

    @property
    def byte_ends(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What the bytes 0 and 255 of each channel become in the rendered image."""


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
    if cloud.time_offset_ns is not None and cloud.time_offset_ns.shape != (len(cloud.points),):
        raise BadFrameError(
            f'point cloud has {len(cloud.points)} points but times of shape '
            f'{cloud.time_offset_ns.shape}'
        )
    return cloud


def usable_sweep(bundle: SensorBundle) -> tuple[SensorFrame, NDArray[np.float64]] | None:
    """Get the sweep of a bundle, where it can be used and its place is known.

    Args:
        bundle: The bundle.

    Returns:
        Its frame and (4, 4) `T_camera_lidar`, metres; None without one.
    """
    frame = bundle.frames.get(Modality.RANGING)
    T_camera_lidar = bundle.T_camera.get(Modality.RANGING)
    if frame is None or T_camera_lidar is None:
        return None
    try:
        check_cloud(frame)
    except BadFrameError:
        return None
    return frame, T_camera_lidar


def check_alignment(alignment: str) -> None:
    """Refuse an unknown way into the view.

    Args:
        alignment: One of `ALIGNMENTS`.

    Raises:
        ValueError: It is none.
    """
    if alignment not in ALIGNMENTS:
        raise ValueError(f'alignment must be one of {ALIGNMENTS}, got {alignment!r}')


def image_of(frame: SensorFrame, dtypes: tuple[str, ...], channels: int) -> NDArray[Any]:
    """Get a usable image from a frame.

    Args:
        frame: The frame.
        dtypes: Names of the numpy types that it may have.
        channels: 1 for (H, W), else the size of the third axis.

    Returns:
        Its image.

    Raises:
        BadFrameError: It is no image, or of another type or shape.
    """
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


def geometry_of(
    frame: SensorFrame, size: tuple[int, ...], T_view: NDArray[np.float64] | None
) -> tuple[CameraModel, NDArray[np.float64]]:
    """Get what is needed to place an image-like frame.

    Args:
        frame: The frame.
        size: `(H, W)` of its image, pixels.
        T_view: (4, 4) transform into the camera's frame, or None where unknown.

    Returns:
        The frame's geometry and the transform.

    Raises:
        BadFrameError: One of them is missing, or the geometry is of another size.
    """
    if frame.camera is None:
        raise BadFrameError(f'no camera_info of the {frame.modality} camera')
    if T_view is None:
        raise BadFrameError(f'no transform from the {frame.modality} camera into the camera')
    if size != frame.camera.size:
        raise BadFrameError(
            f'{frame.modality} image is {size}, its camera_info says {frame.camera.size}'
        )
    return frame.camera, T_view


def warp_to_view(
    image: NDArray[np.float32],
    frame: SensorFrame,
    view: CameraModel,
    T_view: NDArray[np.float64] | None,
    alignment: str,
    distance_m: float,
    context: RenderContext | None,
) -> NDArray[np.float32]:
    """Bring an image into the view; one much finer than the view is averaged, not sampled.

    Args:
        image: (H, W) or (H, W, C) float32 at the size of the frame's camera.
        frame: Whose image it is.
        view: The camera's view at the network's size.
        T_view: (4, 4) transform of the sensor's frame into the camera's, metres.
        alignment: One of `ALIGNMENTS`; `depth` without lidar becomes `plane`, with a note.
        distance_m: Distance of the plane, metres.
        context: Knows the lidar's depth, takes the note.

    Returns:
        (H, W) or (H, W, C) float32 at the view's size; 0 where the sensor does not see what the
        camera sees.

    Raises:
        BadFrameError: Geometry or transform is missing or does not fit.
    """
    camera, T = geometry_of(frame, image.shape[:2], T_view)
    factor = max(1, round(camera.width / view.width))
    finer = scale_camera(view, (view.height * factor, view.width * factor))
    maps = None
    if alignment == 'depth' and context is not None:
        maps = context.surface_map(frame, finer, T)
        if maps is None:
            context.note(
                str(frame.modality),
                f'aligned to a plane at {distance_m:g} m, for there is no lidar depth',
            )
    if maps is not None:
        warped = warp_by_map(image, camera, maps)
    else:
        far = np.inf if alignment == 'rotation' else distance_m
        warped, _ = warp_to_camera(image, camera, finer, T, distance_m=far)
    out = np.asarray(warped, dtype=np.float32)
    if factor > 1:
        shrunk = cv2.resize(out, (view.width, view.height), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk, dtype=np.float32)
    return out
