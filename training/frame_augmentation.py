"""Random changes to one frame of a dataset, the same for all its sensors and its labels.

By the functions of `torchvision.transforms.v2`. Their classes draw from torch's one generator, so
that reading ahead would change what the training draws; here a frame has its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from sam_ad_perception.core.labels import UNLABELED
from sam_ad_perception.core.sensors import Modality
from training.augmentation_config import AugmentationConfig
from training.datasets.frames import LabelledFrame
from training.sensor_faults import fault_cases, spoil_bundle

_BLUR_PX = 3


@dataclass(frozen=True)
class Cut:
    """Which piece of a scaled frame is taken.

    Attributes:
        size: `(H, W)` of the scaled frame, pixels.
        top: First row, negative where rows are missing above.
        left: First column likewise.
        flip: Whether the piece is mirrored.
    """

    size: tuple[int, int]
    top: int = 0
    left: int = 0
    flip: bool = False


def draw_cut(config: AugmentationConfig, size: tuple[int, int], rng: np.random.Generator) -> Cut:
    """Draw scale, place and mirroring of a piece.

    Scales are as likely to be below as above their geometric mean.

    Args:
        config: What is drawn from.
        size: `(H, W)` of the network's input, to which the scale relates, pixels.
        rng: Source of randomness.

    Returns:
        The piece.
    """
    low, high = np.log(config.scales)
    scale = float(np.exp(rng.uniform(low, high)))
    scaled = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    room = [have - want for have, want in zip(scaled, config.piece_of(size), strict=True)]
    top, left = (int(rng.integers(min(r, 0), max(r, 0) + 1)) for r in room)
    return Cut(scaled, top, left, bool(rng.random() < config.flip))


def take_cut(
    inputs: dict[str, Tensor], labels: Tensor, cut: Cut, size: tuple[int, int]
) -> tuple[dict[str, Tensor], Tensor]:
    """Take a piece of all sensors and of the labels.

    Args:
        inputs: (C, H, W) by modality at the size of the scaled frame.
        labels: (H, W) uint8 of the same size.
        cut: Which piece.
        size: Its `(H, W)`, pixels.

    Returns:
        The pieces: 0 and 255 where the frame does not reach.
    """
    images = {name: tv_tensors.Image(image) for name, image in inputs.items()}
    pieces = {name: _piece(image, cut, size, 0.0) for name, image in images.items()}
    mask = _piece(tv_tensors.Mask(labels[None]), cut, size, UNLABELED)
    return pieces, mask[0]


def _piece(image: Tensor, cut: Cut, size: tuple[int, int], fill: float) -> Tensor:
    above, left = max(-cut.top, 0), max(-cut.left, 0)
    below = max(cut.top + size[0] - cut.size[0], 0)
    right = max(cut.left + size[1] - cut.size[1], 0)
    padded = F.pad(image, [left, above, right, below], fill=fill)
    piece = F.crop(padded, cut.top + above, cut.left + left, *size)
    return (F.horizontal_flip(piece) if cut.flip else piece).as_subclass(torch.Tensor)


def spoil_sensors(
    frame: LabelledFrame, config: AugmentationConfig, rng: np.random.Generator
) -> LabelledFrame:
    """Let faults befall sensors, as often as is configured.

    Args:
        frame: The frame.
        config: What is drawn from.
        rng: Source of randomness.

    Returns:
        A frame with spoilt measurements; the same where nothing happens.

    Raises:
        ValueError: The sensor's data are not of the kind that the fault befalls: the dataset
            has a finished picture of it.
    """
    for name, share in config.faults.items():
        if share > 0 and rng.random() < share:
            cases = fault_cases([name], 'all')
            case = cases[int(rng.integers(len(cases)))]
            frame = replace(frame, bundle=spoil_bundle(frame.bundle, case, rng))
    return frame


def vary_camera(
    frame: LabelledFrame, config: AugmentationConfig, rng: np.random.Generator
) -> LabelledFrame:
    """Change the colours of the camera's picture, or blur it, as often as is configured.

    Args:
        frame: The frame.
        config: What is drawn from.
        rng: Source of randomness.

    Returns:
        A frame with a picture of its own; the same where there is no camera or nothing changes.
    """
    draws = rng.random(2)
    changes = rng.uniform(-1, 1, 4)
    sigma = float(rng.uniform(0.1, 2.0))
    camera = frame.bundle.frames.get(Modality.CAMERA)
    if camera is None or not isinstance(camera.data, np.ndarray):
        return frame
    if draws[0] >= config.colour and draws[1] >= config.blur:
        return frame
    image = torch.from_numpy(np.array(camera.data)).permute(2, 0, 1)
    if draws[0] < config.colour:
        image = _shift_colours(image, config, changes)
    if draws[1] < config.blur:
        image = F.gaussian_blur(image, [_BLUR_PX, _BLUR_PX], [sigma, sigma])
    data = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    frames = {**frame.bundle.frames, Modality.CAMERA: replace(camera, data=data)}
    return replace(frame, bundle=replace(frame.bundle, frames=frames))


def _shift_colours(
    image: Tensor, config: AugmentationConfig, changes: NDArray[np.float64]
) -> Tensor:
    brightness, contrast, saturation, hue = (float(c) for c in changes)
    image = F.adjust_brightness(image, 1 + config.brightness * brightness)
    image = F.adjust_contrast(image, 1 + config.contrast * contrast)
    image = F.adjust_saturation(image, 1 + config.saturation * saturation)
    return F.adjust_hue(image, config.hue * hue)
