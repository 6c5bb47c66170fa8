"""Images that are read late: in the thread that uses them, and only if it does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import (
    CameraModel,
    Events,
    LazyImage,
    Modality,
    PointCloud,
    SensorBundle,
)


def image_size(
    image: NDArray[np.generic] | Events | LazyImage | PointCloud,
) -> tuple[int, int] | None:
    """Size `(H, W)` of an image, pixels; None where it is not known yet, or is no image."""
    if isinstance(image, np.ndarray):
        return int(image.shape[0]), int(image.shape[1])
    return None if isinstance(image, PointCloud) else image.size


def check_megapixels(what: str, size: tuple[int, int], limit: float) -> None:
    """Refuse an image, or a view, before memory is taken for it.

    Args:
        what: For the message, for example `camera_info`.
        size: `(H, W)`, pixels.
        limit: Of `BundlerConfig.max_megapixels`.

    Raises:
        ValueError: It has more pixels.
    """
    if size[0] * size[1] > limit * 1e6:
        raise ValueError(
            f'the {what} is of {size[1]}x{size[0]} pixels, more than max_megapixels '
            f'({limit:g}) allows'
        )


def check_image_size(
    modality: Modality, image: NDArray[np.generic] | Events | LazyImage, camera: CameraModel
) -> None:
    """Check that an image is the one that its geometry describes.

    Args:
        modality: Its sensor.
        image: The image; one whose size is not known yet passes.
        camera: The geometry.

    Raises:
        ValueError: It is not.
    """
    size = image_size(image)
    if size is not None and size != camera.size:
        raise ValueError(
            f'the {modality} image is {size[1]}x{size[0]} pixels, '
            f'its camera_info says {camera.width}x{camera.height}'
        )


def decode_lazy(bundle: SensorBundle) -> SensorBundle:
    """Read all images of a bundle that were not read yet.

    Args:
        bundle: The bundle.

    Returns:
        The same with pixels; a sensor whose image cannot be read is missing, with the reason.
    """
    frames, missing = dict(bundle.frames), dict(bundle.missing)
    for modality, frame in bundle.frames.items():
        if not isinstance(frame.data, LazyImage):
            continue
        try:
            image = frame.data.get()
            if frame.camera is not None:
                check_image_size(modality, image, frame.camera)
        except ValueError as err:
            missing[modality] = f'unreadable: {err}'
            del frames[modality]
        else:
            findings = (*frame.findings, *frame.data.findings)
            frames[modality] = replace(frame, data=image, findings=findings)
    notes = {m: note for m, note in bundle.notes.items() if m in frames}
    return replace(bundle, frames=frames, missing=missing, notes=notes)
