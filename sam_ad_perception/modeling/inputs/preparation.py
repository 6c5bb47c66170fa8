"""From a bundle to the network's inputs, and from its logits to a mask in the camera's view.

Training and driving use this one code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.images.thermal import ThermalRanges
from sam_ad_perception.core.lidar.depth_image import DepthConfig, DepthImage, render_depth
from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame
from sam_ad_perception.modeling.inputs.camera_view import (
    BadFrameError,
    RenderContext,
    Representation,
    usable_sweep,
)

if TYPE_CHECKING:
    from sam_ad_perception.modeling.inputs.on_device import RawInput

TakeRaw: TypeAlias = Callable[
    [Representation, SensorFrame, CameraModel, NDArray[np.float64] | None], 'RawInput | None'
]


@dataclass(frozen=True, eq=False)
class PreparedBundle:
    """A bundle as the network takes it.

    Attributes:
        inputs: For each usable modality, (C, H, W) float32 at the network's size.
        missing: For each other registered modality, why it is not used.
        notes: For each used modality with a shortcoming, which, in words; the bundle's included.
        raw: For each usable modality that is drawn where the network runs, what is drawn.
    """

    inputs: Mapping[str, NDArray[np.float32]]
    missing: Mapping[str, str]
    notes: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, RawInput] = field(default_factory=dict)

    @property
    def usable(self) -> frozenset[str]:
        """The modalities that the network gets."""
        return frozenset((*self.inputs, *self.raw))


def prepare_bundle(
    bundle: SensorBundle,
    forms: Mapping[str, Representation],
    size: tuple[int, int],
    ranges: ThermalRanges | None = None,
    take_raw: TakeRaw | None = None,
) -> PreparedBundle:
    """Render every usable sensor of a bundle in the camera's view at the network's size.

    The view is stretched to the size, without padding. A frame that cannot be used makes its
    sensor missing, with the reason; it never spoils the others.

    Args:
        bundle: The bundle.
        forms: The form in which the network sees each registered modality.
        size: Network input size `(H, W)`, pixels.
        ranges: Running ranges of the thermal streams, kept from bundle to bundle; None takes the
            bundle as the first of its streams.
        take_raw: `device_inputs.take_raw` where what it takes is drawn where the network runs;
            where None, all is rendered here.

    Returns:
        The inputs and the missing sensors.
    """
    view = scale_camera(bundle.camera, size)
    context = RenderContext(bundle, view, ranges)
    inputs: dict[str, NDArray[np.float32]] = {}
    raw: dict[str, RawInput] = {}
    missing: dict[str, str] = {}
    reasons = {str(name): reason for name, reason in bundle.missing.items()}
    frames = {str(name): frame for name, frame in bundle.frames.items()}
    transforms = {str(name): T for name, T in bundle.T_camera.items()}
    for name, form in forms.items():
        if name not in frames:
            missing[name] = reasons.get(name, 'not in the bundle')
            continue
        try:
            place = (frames[name], view, transforms.get(name))
            taken = None if take_raw is None else take_raw(form, *place)
            if taken is not None:
                raw[name] = taken
            else:
                inputs[name] = form.render(*place, context)
        except BadFrameError as error:
            missing[name] = str(error)
    for name in frames.keys() - forms.keys():
        missing[name] = 'the network has no input for it'
    missing |= {n: r for n, r in reasons.items() if n not in missing}
    return PreparedBundle(inputs, missing, context.notes, raw)


def lidar_depth(bundle: SensorBundle, config: DepthConfig | None = None) -> DepthImage | None:
    """Show the bundle's lidar sweep in the camera's view, as of the reference time.

    Args:
        bundle: The bundle; where it has the camera's own frame, its image guides the filling.
        config: What is removed and what is filled; the defaults where None.

    Returns:
        The depth image at the camera's size; None without a usable sweep.
    """
    sweep = usable_sweep(bundle)
    if sweep is None:
        return None
    camera = bundle.frames.get(Modality.VIEW)
    image = camera.data if camera is not None else None
    is_guide = isinstance(image, np.ndarray) and image.shape == (*bundle.camera.size, 3)
    guide = np.asarray(image, np.uint8) if is_guide else None
    frame, T_camera_lidar = sweep
    return render_depth(frame, T_camera_lidar, bundle.camera, config or DepthConfig(), guide)
