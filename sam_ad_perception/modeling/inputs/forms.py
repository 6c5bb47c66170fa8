"""What several representations share: pictures of bytes, warped sensor images, ranges of depth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.sensors import CameraModel, SensorFrame
from sam_ad_perception.modeling.inputs.camera_view import (
    RenderContext,
    check_alignment,
    warp_to_view,
)


class RenderRequest(NamedTuple):
    """What `Representation.render` is given."""

    frame: SensorFrame
    view: CameraModel
    T_view: NDArray[np.float64] | None
    context: RenderContext | None


class Form(ABC):
    """A representation: the base of those of the package."""

    @abstractmethod
    def show(self, request: RenderRequest) -> NDArray[np.float32]:
        """Render a frame; see `Representation.render`.

        Args:
            request: Its arguments.

        Returns:
            (channels, H, W) float32, normalised.

        Raises:
            BadFrameError: The frame cannot be used.
        """

    def render(
        self,
        frame: SensorFrame,
        view: CameraModel,
        T_view: NDArray[np.float64] | None,
        context: RenderContext | None = None,
    ) -> NDArray[np.float32]:
        """See `Representation.render`."""
        return self.show(RenderRequest(frame, view, T_view, context))


@dataclass(frozen=True, kw_only=True)
class WarpedForm(Form):
    """An image of a sensor with a lens of its own, warped into the view.

    Attributes:
        distance_m: Distance of the plane on which the two cameras' views are made to agree.
        alignment: One of `camera_view.ALIGNMENTS`.

    Raises:
        ValueError: `alignment` is unknown.
    """

    distance_m: float = 20.0
    alignment: str = 'plane'

    def __post_init__(self) -> None:
        check_alignment(self.alignment)

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the rendered image."""

    @abstractmethod
    def draw(self, frame: SensorFrame, context: RenderContext | None) -> NDArray[np.float32]:
        """Draw a frame as the sensor sees it.

        Args:
            frame: The sensor's frame.
            context: The stream's past, and where notes go; None knows nothing.

        Returns:
            (channels, h, w) float32 at the size of the sensor's image. 0 is what pixels of the
            view become that the sensor does not see.

        Raises:
            BadFrameError: The frame cannot be used.
        """

    def scale_warped(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale what was warped, where that depends on the view; the image itself by default.

        Args:
            image: (channels, H, W) float32 in the view.

        Returns:
            The same shape, as the network takes it.
        """
        return image

    def show(self, request: RenderRequest) -> NDArray[np.float32]:
        """See `Form.show`."""
        frame, view, T_view, context = request
        planes = self.draw(frame, context)
        warped = [
            warp_to_view(plane, frame, view, T_view, self.alignment, self.distance_m, context)
            for plane in planes
        ]
        return self.scale_warped(warped[0][None] if len(warped) == 1 else np.stack(warped))


@dataclass(frozen=True)
class RangeForm(Form):
    """Distances, up to a limit.

    Attributes:
        max_range_m: Points beyond are dropped, metres.

    Raises:
        ValueError: `max_range_m` is not positive.
    """

    max_range_m: float = 100.0

    def __post_init__(self) -> None:
        check_positive(max_range_m=self.max_range_m)


class NormalizedPicture(Form):
    """A picture of three channels from which a mean is subtracted and which a std divides."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: ClassVar[int] = 3

    @property
    def byte_ends(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """See `PictureForm`."""
        pairs: Sequence[tuple[float, float]] = list(zip(self.mean, self.std, strict=True))
        return tuple(-m / s for m, s in pairs), tuple((1 - m) / s for m, s in pairs)


def check_positive(**values: float) -> None:
    """Refuse numbers that are not positive, by name.

    Args:
        **values: The numbers.

    Raises:
        ValueError: One is not positive.
    """
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f'{name} must be positive, got {value}')
