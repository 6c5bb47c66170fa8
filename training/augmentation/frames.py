"""Faults of the sensors of one frame, and changes of its camera's picture, drawn at random.

A frame has its own generator, so that reading ahead does not change what is drawn.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from sam_ad_perception.core.sensors import Modality
from training.augmentation.colours import ColourChange, change_colours
from training.augmentation.sensor_faults import spoil_bundle
from training.configuration.augmentation import AugmentationConfig
from training.configuration.fault_cases import fault_cases
from training.frames.frame import LabelledFrame

_BLUR_PX = 3


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
    image = np.asarray(camera.data, np.uint8)
    if draws[0] < config.colour:
        brightness, contrast, saturation, hue = (float(c) for c in changes)
        change = ColourChange(
            1 + config.brightness * brightness,
            1 + config.contrast * contrast,
            1 + config.saturation * saturation,
            config.hue * hue,
        )
        image = change_colours(image, change)
    if draws[1] < config.blur:
        blurred = cv2.GaussianBlur(image, (_BLUR_PX, _BLUR_PX), sigma)
        image = np.asarray(blurred, np.uint8)
    frames = {**frame.bundle.frames, Modality.CAMERA: replace(camera, data=image)}
    return replace(frame, bundle=replace(frame.bundle, frames=frames))
