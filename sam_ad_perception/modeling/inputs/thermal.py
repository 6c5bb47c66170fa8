"""The thermal image that a network sees; which form it takes is part of the network's entry.

All forms put the range of `core.images.thermal` at -1 to 1, so that 0, which also stands for
pixels that the thermal camera does not see, is its middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.images.thermal import (
    FixedRange,
    RunningRange,
    ThermalRanges,
    apply_fixed_range,
    apply_range,
    is_gain_controlled,
)
from sam_ad_perception.core.sensors import SensorFrame
from sam_ad_perception.modeling.inputs.camera_view import (
    BadFrameError,
    RenderContext,
    image_of,
)
from sam_ad_perception.modeling.inputs.forms import WarpedForm

_DTYPES = ('uint8', 'uint16', 'float32')


@dataclass(frozen=True)
class ThermalPercentile(WarpedForm):
    """Thermal image between two percentiles of its own values, warped into the view.

    A hot object changes the brightness of all the rest from one frame to the next; see
    `ThermalRunningPercentile`.

    Attributes:
        low: Percentile that becomes -1.
        high: Percentile that becomes 1.
        limit: Values are clipped to this.

    Raises:
        ValueError: `alignment` is unknown.
    """

    low: float = 1.0
    high: float = 99.0
    limit: float = 3.0

    channels: ClassVar[int] = 1

    def draw(self, frame: SensorFrame, context: RenderContext | None) -> NDArray[np.float32]:
        """See `WarpedForm.draw`."""
        image = _thermal_of(frame)
        low, high = np.percentile(image[::4, ::4], (self.low, self.high))
        if high <= low:
            raise BadFrameError(f'thermal image is uniform at {low:g}')
        scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(2 / (high - low)) - 1
        return np.clip(scaled, -self.limit, self.limit)[None]


@dataclass(frozen=True)
class ThermalRunningPercentile(WarpedForm, RunningRange):
    """Thermal image between percentiles that follow the stream slowly, warped into the view.

    It has the fields of `RunningRange` and those of `WarpedForm`.

    Raises:
        ValueError: A field is out of range.
    """

    channels: ClassVar[int] = 1

    def __post_init__(self) -> None:
        RunningRange.__post_init__(self)
        WarpedForm.__post_init__(self)

    def draw(self, frame: SensorFrame, context: RenderContext | None) -> NDArray[np.float32]:
        """See `WarpedForm.draw`."""
        image = _thermal_of(frame)
        ranges = ThermalRanges() if context is None else context.ranges
        stream = f'{frame.modality}/{frame.frame_id}'
        try:
            low, high = ranges.follow(stream, frame.stamp_ns, image, self)
        except ValueError as error:
            raise BadFrameError(str(error)) from error
        return (2 * apply_range(image, low, high) - 1)[None]


@dataclass(frozen=True, kw_only=True)
class ThermalFixedRange(WarpedForm, FixedRange):
    """Thermal image where the same temperature always has the same value, warped into the view.

    An image of 8 bits (gain controlled) has lost its temperatures: it is scaled over its 8 bits,
    with a note, unless the range itself is one of 8-bit counts.

    It has the fields of `FixedRange` and those of `WarpedForm`.

    Raises:
        ValueError: A field is out of range.
    """

    channels: ClassVar[int] = 1

    def __post_init__(self) -> None:
        FixedRange.__post_init__(self)
        WarpedForm.__post_init__(self)

    def draw(self, frame: SensorFrame, context: RenderContext | None) -> NDArray[np.float32]:
        """See `WarpedForm.draw`."""
        image = _thermal_of(frame)
        if is_gain_controlled(image) and not (self.unit == 'counts' and self.high <= 255):
            if context is not None:
                context.note(
                    str(frame.modality),
                    'the image has 8 bits (gain controlled by the camera or its driver), '
                    'the network was trained on radiometric counts',
                )
            unit_range = apply_range(image, 0, 255)
        else:
            unit_range = apply_fixed_range(image, self)
        return (2 * unit_range - 1)[None]


def _thermal_of(frame: SensorFrame) -> NDArray[Any]:
    """The image; a pixel of a float image that is no number becomes its coldest."""
    image = image_of(frame, _DTYPES, 1)
    if image.dtype != np.float32:
        return image
    finite = np.isfinite(image)
    if not finite.any():
        raise BadFrameError('thermal image has no finite pixel')
    return image if finite.all() else np.where(finite, image, image[finite].min())
