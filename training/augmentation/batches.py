"""Random changes to a batch that keep its sensors consistent with each other and the labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.configuration.augmentation import CorruptionConfig
from training.configuration.data import SubsetConfig
from training.frames.frame import Batch


def augment_batch(batch: Batch, rng: np.random.Generator) -> Batch:
    """Mirror some frames, and vary contrast, brightness and noise per sensor.

    Args:
        batch: A batch of any sensors.
        rng: Source of randomness.

    Returns:
        A new batch of the same shapes.
    """
    count = len(batch.labels)
    flip = torch.from_numpy(rng.random(count) < 0.5)
    inputs = {name: _mirror(image, flip) for name, image in batch.inputs.items()}
    for name, change in (('camera', _vary_camera), ('thermal', _vary_thermal)):
        if name in inputs:
            inputs[name] = change(inputs[name], rng)
    if 'event' in inputs:
        inputs['event'] = inputs['event'] * _uniform(rng, 0.8, 1.25, (count, 1, 1, 1))
    if 'lidar' in inputs:
        keep = _uniform(rng, 0, 1, (count, 1, *inputs['lidar'].shape[-2:])) > 0.05
        inputs['lidar'] = inputs['lidar'] * keep
    return Batch(inputs, _mirror(batch.labels, flip), batch.present, batch.refusals)


def drop_sensors(
    batch: Batch,
    config: CorruptionConfig,
    rng: np.random.Generator,
    required: Sequence[str] = (),
) -> Batch:
    """Let sensors fail altogether.

    Args:
        batch: A batch of any sensors.
        config: How often; nothing is drawn for what is never to happen.
        rng: Source of randomness.
        required: Sensors that are never dropped.

    Returns:
        A new batch, with at least one sensor.
    """
    inputs = dict(batch.inputs)
    failing = [n for n in inputs if config.drop.get(n, 0.0) > 0 and n not in required]
    for place in rng.permutation(len(failing)) if failing else ():  # so that any may be the last
        name = failing[place]
        if rng.random() < config.drop[name] and len(inputs) > 1:
            others = [n for n in inputs if n != name]
            if all(set(others) & set(batch.sensors_of(p)) for p in range(len(batch.labels))):
                del inputs[name]
    present = {name: there for name, there in batch.present.items() if name in inputs}
    return Batch(inputs, batch.labels, present, batch.refusals)


def corrupt_batch(batch: Batch, config: CorruptionConfig, rng: np.random.Generator) -> Batch:
    """Spoil frames of sensors.

    Args:
        batch: A batch of any sensors.
        config: How often; nothing is drawn for what is never to happen.
        rng: Source of randomness.

    Returns:
        A new batch.
    """
    inputs = dict(batch.inputs)
    for name, image in inputs.items():
        for kind, change in (
            (config.exposure, _expose),
            (config.veil, _veil),
            (config.noise, _add_noise),
            (config.blackout, _black_out),
            (config.jitter, _shift),
        ):
            share = kind.get(name, 0.0)
            if share > 0:
                chosen = torch.from_numpy(rng.random(len(image)) < share).view(-1, 1, 1, 1)
                image = torch.where(chosen, change(image, config, rng), image)
        inputs[name] = image
    return Batch(inputs, batch.labels, batch.present, batch.refusals)


def choose_subset(
    present: Sequence[str],
    subsets: SubsetConfig,
    rng: np.random.Generator,
    required: Sequence[str] = (),
) -> list[str]:
    """Choose the sensors that a batch keeps.

    Args:
        present: Sensors of the batch, at least one.
        subsets: How often sensors are dropped; at least one stays.
        rng: Source of randomness.
        required: Sensors that are never dropped.

    Returns:
        The kept sensors, in order.
    """
    if rng.random() < subsets.single and not required:
        return [present[int(rng.integers(len(present)))]]
    kept = [name for name in present if rng.random() >= subsets.drop or name in required]
    return kept or [present[int(rng.integers(len(present)))]]


def _mirror(image: Tensor, flip: Tensor) -> Tensor:
    shape = (-1, *[1] * (image.ndim - 1))
    return torch.where(flip.view(shape), image.flip(-1), image)


def _uniform(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...]) -> Tensor:
    return low + (high - low) * torch.from_numpy(rng.random(shape, dtype=np.float32))


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def _add_noise(image: Tensor, config: CorruptionConfig, rng: np.random.Generator) -> Tensor:
    return image + config.noise_std * _normal(rng, tuple(image.shape))


def _expose(image: Tensor, config: CorruptionConfig, rng: np.random.Generator) -> Tensor:
    """Give each frame its own light, between its own lowest and highest value."""
    low, high = image.amin(dim=(2, 3), keepdim=True), image.amax(dim=(2, 3), keepdim=True)
    reach = config.exposure_stops
    gain = torch.exp2(_uniform(rng, -reach, reach, (len(image), 1, 1, 1)))
    return torch.minimum(low + (image - low) * gain, high)


def _veil(image: Tensor, config: CorruptionConfig, rng: np.random.Generator) -> Tensor:
    """Draw each frame towards its mean."""
    mean = image.mean(dim=(2, 3), keepdim=True)
    return mean + (image - mean) * _uniform(rng, config.veil_kept, 1.0, (len(image), 1, 1, 1))


def _black_out(image: Tensor, config: CorruptionConfig, rng: np.random.Generator) -> Tensor:
    return image.amin(dim=(2, 3), keepdim=True).expand_as(image)


def _shift(image: Tensor, config: CorruptionConfig, rng: np.random.Generator) -> Tensor:
    """Move each frame by its own number of pixels; 0 comes in from outside."""
    reach = config.jitter_px
    padded = F.pad(image, (reach, reach, reach, reach))
    height, width = image.shape[-2:]
    moves = rng.integers(0, 2 * reach + 1, (len(image), 2))
    moved = [
        each[:, v : v + height, u : u + width] for each, (v, u) in zip(padded, moves, strict=True)
    ]
    return torch.stack(moved)


def _vary_camera(image: Tensor, rng: np.random.Generator) -> Tensor:
    count = len(image)
    image = image * _uniform(rng, 0.7, 1.3, (count, 1, 1, 1))
    image = image + 0.3 * _normal(rng, (count, 1, 1, 1)) + 0.1 * _normal(rng, (count, 3, 1, 1))
    return image + 0.05 * _normal(rng, tuple(image.shape))


def _vary_thermal(image: Tensor, rng: np.random.Generator) -> Tensor:
    count = len(image)
    image = image * _uniform(rng, 0.8, 1.2, (count, 1, 1, 1))
    image = image + 0.15 * _normal(rng, (count, 1, 1, 1))
    return image + 0.03 * _normal(rng, tuple(image.shape))
