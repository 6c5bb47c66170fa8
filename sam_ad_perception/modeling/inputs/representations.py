"""The image that a network sees of each sensor: in the camera's view, at the network's size.

One record per kind. Its fields are the constants of the form, so that `models/zoo.yaml` states
them; `render` is the one code that trains and drives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.images.area_resize import shrink_picture
from sam_ad_perception.core.lidar.depth_image import find_nearest
from sam_ad_perception.core.lidar.deskew import deskew_points
from sam_ad_perception.core.lidar.projection import project_sweep
from sam_ad_perception.core.registry import Reference, resolve
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.modeling.inputs.camera_view import (
    BadFrameError,
    Representation,
    check_cloud,
    image_of,
)
from sam_ad_perception.modeling.inputs.forms import NormalizedPicture, RangeForm, RenderRequest
from sam_ad_perception.modeling.inputs.published_pictures import PrerenderedImage


@dataclass(frozen=True)
class Rgb(NormalizedPicture):
    """Camera colours, resized to the network's size, normalised per channel.

    Attributes:
        mean: Mean of R, G, B in [0, 1].
        std: Standard deviation likewise.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def show(self, request: RenderRequest) -> NDArray[np.float32]:
        """See `Form.show`."""
        frame, view = request.frame, request.view
        image = image_of(frame, ('uint8',), 3)
        if image.shape[0] > view.height or image.shape[1] > view.width:
            resized = shrink_picture(image, view.size)
        else:
            resized = np.asarray(cv2.resize(image, (view.width, view.height)), np.uint8)
        out = np.empty((3, *view.size), np.float32)
        for channel, plane in enumerate(cv2.split(resized)):
            cv2.LUT(plane, _normalised(self.mean[channel], self.std[channel]), dst=out[channel])
        return out


@lru_cache(maxsize=16)
def _normalised(mean: float, std: float) -> NDArray[np.float32]:
    """(256,) float32: what each value of a channel becomes."""
    values = np.arange(256, dtype=np.float32) * (1 / 255 / np.float32(std))
    return np.asarray(values - np.float64(mean) / np.float32(std), np.float32)


@dataclass(frozen=True)
class LidarImage(RangeForm):
    """Range, intensity and height of the nearest point per pixel; zero where there is none.

    Range is log(1 + r) / log(1 + max), so that near surfaces keep their detail. Intensity is
    relative to the sweep's 95th percentile, since drivers scale it differently. Height is
    above the camera, over 5 m, shifted by +1 so that the ground is not zero.
    """

    channels: ClassVar[int] = 3

    def show(self, request: RenderRequest) -> NDArray[np.float32]:
        """See `Form.show`."""
        frame, view, T_view, _ = request
        cloud = check_cloud(frame)
        if T_view is None:
            raise BadFrameError('no transform from the lidar into the camera')
        seen = project_sweep(frame, T_view, view)
        # numpy's norm takes ten times as long for rows of three
        distance = np.sqrt(np.einsum('ij,ij->i', seen.xyz, seen.xyz))
        seen.uv[distance >= self.max_range_m] = np.nan
        nearest = find_nearest(seen.uv, seen.z, view.size)
        filled = nearest >= 0
        if not filled.any():
            self._check_ahead(deskew_points(frame, T_view))
        shown = nearest[filled]  # all that follows is done for these only, most are hidden
        image = np.zeros((3, *view.size), np.float32)
        image[0, filled] = np.log1p(distance[shown]) / np.log1p(self.max_range_m)
        if cloud.intensity is not None:
            intensity = cloud.intensity[seen.index[shown]]
            scale = np.float32(brightness_of(cloud.intensity))
            image[1, filled] = np.nan_to_num(np.clip(intensity / scale, 0, 1.5))
        image[2, filled] = 1 - np.clip(seen.xyz[shown, 1] / 5, -3, 3)
        return image

    def _check_ahead(self, points: NDArray[np.floating]) -> None:
        """Refuse a sweep that is all behind the camera or too far away, wherever it looks."""
        near = np.einsum('ij,ij->i', points, points) < self.max_range_m**2
        if not np.any(near & (points[:, 2] > 0)):
            raise BadFrameError('no lidar point in front of the camera')


def brightness_of(intensity: NDArray[np.float32]) -> float:
    """Tell in what unit a lidar reports intensity, since drivers scale it differently.

    Args:
        intensity: (N,) of a sweep.

    Returns:
        The 95th percentile, above 0.
    """
    return max(float(np.percentile(intensity[::8], 95)), 1e-6)


class _Representations(Mapping[str, type[Representation]]):
    """The forms that the records of all sensors name, and that of published pictures."""

    @cached_property
    def _listed(self) -> dict[str, Reference]:
        forms = {name: form for m in Modality for name, form in m.record.representations.items()}
        return {**forms, 'picture': PrerenderedImage}

    def __getitem__(self, name: str) -> type[Representation]:
        form: type[Representation] = resolve(self._listed[name])
        return form

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


REPRESENTATIONS: Mapping[str, type[Representation]] = _Representations()
"""The forms that a zoo entry may name."""
