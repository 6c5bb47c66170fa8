"""Inputs that are drawn where the network runs: the raw frame is uploaded, not the picture of it.

A 1080p image has 6 MB, what a network sees of it 12 MB of floats that take a CPU milliseconds.
Whether a frame can be used is found out on the host, before anything is uploaded: the router must
know without waiting for a GPU. Forms without a row in `DEVICE_FORMS` are rendered on the host, as
is a frame that is not of the common kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sam_ad_perception.core.lidar.deskew import deskew_points, pose_table
from sam_ad_perception.core.sensors import CameraModel, SensorFrame
from sam_ad_perception.modeling.device_work import upload
from sam_ad_perception.modeling.inputs.camera_view import Representation, check_cloud, image_of
from sam_ad_perception.modeling.inputs.representations import LidarImage, Rgb, brightness_of

_LOOK = 16
"""Of so many points one is looked at to tell whether a sweep reaches into the view."""

_NOBODY = torch.iinfo(torch.int64).max


@dataclass(frozen=True, eq=False)
class RawInput:
    """A frame that was checked, and what is left to do with it.

    Attributes:
        arrays: What is uploaded.
        draw: Makes (C, H, W) float32 of them on the device of the tensors that it gets.
    """

    arrays: tuple[NDArray[Any], ...]
    draw: Callable[..., Tensor]

    @torch.inference_mode()
    def finish(self, device: torch.device) -> Tensor:
        """Upload and draw, without waiting for it.

        Args:
            device: Where the network runs.

        Returns:
            (C, H, W) float32, what the representation's `render` gives, but for rounding.
        """
        return self.draw(*(upload(array, device) for array in self.arrays))


def take_raw(
    form: Representation,
    frame: SensorFrame,
    view: CameraModel,
    T_view: NDArray[np.float64] | None,
) -> RawInput | None:
    """Check a frame that is to be drawn on a device.

    Args:
        form: How the network sees the sensor.
        frame: The sensor's frame.
        view: The camera's view at the network's size.
        T_view: See `Representation.render`.

    Returns:
        The checked frame; None where it is to be rendered on the host.

    Raises:
        BadFrameError: The frame cannot be used.
    """
    take = DEVICE_FORMS.get(type(form))
    return None if take is None else take(form, frame, view, T_view)


def _take_camera(
    form: Rgb, frame: SensorFrame, view: CameraModel, T_view: NDArray[np.float64] | None
) -> RawInput | None:
    """See `take_raw`; an image that is to be shrunk one way and stretched the other is not."""
    image = image_of(frame, ('uint8',), 3)
    height, width = image.shape[:2]
    if (height > view.height and width < view.width) or (
        height < view.height and width > view.width
    ):
        return None
    return RawInput((image,), partial(_draw_camera, form, view.size))


def _draw_camera(form: Rgb, size: tuple[int, int], image: Tensor) -> Tensor:
    """Resize and normalise (H, W, 3) uint8, by whole numbers as the host does."""
    picture = image.permute(2, 0, 1).float()
    if image.shape[0] > size[0] or image.shape[1] > size[1]:
        picture = _average(_average(picture, 1, size[0]), 2, size[1])
    else:
        picture = F.interpolate(picture[None], size, mode='bilinear')[0]
    picture = picture.round().contiguous()
    for channel, mean, std in zip(picture, form.mean, form.std, strict=True):
        channel.mul_(1 / 255 / std).sub_(mean / std)
    return picture


def _average(picture: Tensor, axis: int, size: int) -> Tensor:
    """Average what falls into each pixel of a smaller picture along one axis."""
    if picture.shape[axis] == size:
        return picture
    parts = _parts(picture.shape[axis], size, picture.device)
    shape = [-1 if each == axis else 1 for each in range(picture.ndim)]
    index, weight = parts[0]
    total = picture.index_select(axis, index).mul_(weight.view(shape))
    for index, weight in parts[1:]:
        total.addcmul_(picture.index_select(axis, index), weight.view(shape))
    return total


@lru_cache(maxsize=8)
def _parts(inside: int, outside: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Pixels that fall into each pixel of a smaller picture, one of each at a time, and shares."""
    step = inside / outside
    begin = torch.arange(outside, dtype=torch.float64, device=device) * step
    first = begin.long()
    parts = []
    for part in range(math.ceil(step) + 1):
        index = first + part
        share = torch.minimum(begin + step, index + 1) - torch.maximum(begin, index)
        parts.append((index.clamp(max=inside - 1), (share.clamp(min=0) / step).float()))
    return parts


def _take_lidar(
    form: LidarImage, frame: SensorFrame, view: CameraModel, T_view: NDArray[np.float64] | None
) -> RawInput | None:
    """See `take_raw`; a view with lens distortion, and a sweep hardly in front, are not."""
    cloud = check_cloud(frame)
    if T_view is None or view.is_distorted or cloud.points.dtype != np.float32:
        return None
    times = cloud.time_offset_ns
    few = replace(
        cloud,
        points=cloud.points[::_LOOK],
        time_offset_ns=None if times is None else times[::_LOOK],
    )
    placed = deskew_points(replace(frame, data=few), T_view)
    if not ((np.linalg.norm(placed, axis=1) < form.max_range_m) & (placed[:, 2] > 0)).any():
        return None
    rows, start, rate = pose_table(frame, T_view)
    if times is None or len(rows) == 1:
        times = np.zeros(1, np.int64)
    intensity = np.zeros(1, np.float32)
    if cloud.intensity is not None:
        intensity = cloud.intensity / np.float32(brightness_of(cloud.intensity))
    poses = partial(_poses_at, start=start, rate=rate)
    return RawInput(
        (cloud.points, intensity, times, rows), partial(_draw_lidar, form, view, poses)
    )


def _poses_at(times: Tensor, rows: Tensor, *, start: int, rate: float) -> Tensor:
    """(N, 3, 4) pose at each time; see `pose_table`."""
    position = ((times - start).double() * rate).clamp(0, len(rows) - 1)
    before = position.long()
    at = rows[before]
    return (at[:, :12] + (position - before)[:, None] * at[:, 12:]).view(-1, 3, 4)


def _draw_lidar(
    form: LidarImage,
    view: CameraModel,
    poses: Callable[[Tensor, Tensor], Tensor],
    points: Tensor,
    intensity: Tensor,
    times: Tensor,
    rows: Tensor,
) -> Tensor:
    """Place (N, 3) points, project them, and give each pixel what its nearest point has."""
    pose = poses(times, rows)
    placed = ((pose[:, :, :3] * points[:, None].double()).sum(2) + pose[:, :, 3]).float()
    distance = placed.square().sum(1).sqrt()
    x, y, z = placed.double().unbind(1)
    (fx, _, cx), (_, fy, cy), _ = view.K.tolist()
    column = (fx * (x / z) + cx + 0.5).floor()
    row = (fy * (y / z) + cy + 0.5).floor()
    seen = (distance < form.max_range_m) & (z > 0)
    seen &= (column >= 0) & (column < view.width) & (row >= 0) & (row < view.height)
    pixels = view.height * view.width  # the one behind the last takes what is not seen
    pixel = torch.where(seen, row * view.width + column, float(pixels)).long()
    # floats above 0 are ordered as their bits are; of equal ones the first point wins
    order = placed[:, 2].contiguous().view(torch.int32).long() << 32
    order += torch.arange(len(points), device=points.device)
    nearest = torch.full((pixels + 1,), _NOBODY, device=points.device)
    nearest = nearest.scatter_reduce_(0, pixel, order, 'amin')[:-1]
    values = torch.stack(
        [
            distance.log1p() / math.log1p(form.max_range_m),
            intensity.clamp(0, 1.5).expand(len(points)),
            1 - (placed[:, 1] / 5).clamp(-3, 3),
        ]
    )
    winner = (nearest & 0xFFFFFFFF).clamp_(max=len(points) - 1)
    drawn = torch.where(nearest == _NOBODY, 0, values[:, winner])
    return drawn.nan_to_num_().view(-1, *view.size)


DEVICE_FORMS: Mapping[type, Callable[..., RawInput | None]] = MappingProxyType(
    {Rgb: _take_camera, LidarImage: _take_lidar}
)
"""How frames are taken for the forms that can be drawn on a device."""
