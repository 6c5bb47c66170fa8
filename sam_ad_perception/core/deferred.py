"""Images that are read late: in the thread that uses them, and only if it does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel, Deferred, Events, Modality, SensorBundle


def check_image_size(
    modality: Modality, image: NDArray[np.generic] | Events | Deferred, camera: CameraModel
) -> None:
    """Check that an image is the one that its geometry describes.

    Args:
        modality: Its sensor.
        image: The image; one whose size is not known yet passes.
        camera: The geometry.

    Raises:
        ValueError: It is not.
    """
    size = image.shape[:2] if isinstance(image, np.ndarray) else image.size
    if size is not None and size != camera.size:
        raise ValueError(
            f'the {modality} image is {size[1]}x{size[0]} pixels, '
            f'its camera_info says {camera.width}x{camera.height}'
        )


def read_deferred(bundle: SensorBundle) -> SensorBundle:
    """Read all images of a bundle that were not read yet.

    Args:
        bundle: The bundle.

    Returns:
        The same with pixels; a sensor whose image cannot be read is missing, with the reason.
    """
    frames, missing = dict(bundle.frames), dict(bundle.missing)
    for modality, frame in bundle.frames.items():
        if not isinstance(frame.data, Deferred):
            continue
        try:
            image = frame.data.get()
            if frame.camera is not None:
                check_image_size(modality, image, frame.camera)
        except ValueError as err:
            missing[modality] = f'unreadable: {err}'
            del frames[modality]
        else:
            frames[modality] = replace(frame, data=image)
    notes = {m: note for m, note in bundle.notes.items() if m in frames}
    return replace(bundle, frames=frames, missing=missing, notes=notes)
