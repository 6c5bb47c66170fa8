"""The images of an event camera that a network sees, in the camera's view.

What a network was trained on is what it must get: each form states its window, its constants and
its normalisation, and the zoo entry of a network names one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.events.representations import (
    EVENT_COLOURS,
    accumulate_counts,
    colour_table,
    event_image,
    time_surface,
    voxel_grid,
)
from sam_ad_perception.core.sensors import Events, SensorFrame
from sam_ad_perception.modeling.inputs.camera_view import (
    BadFrameError,
    RenderContext,
    image_of,
)
from sam_ad_perception.modeling.inputs.forms import WarpedForm, check_positive

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class EventCounts(WarpedForm):
    """Events per pixel and polarity (ON, OFF) over a fixed time, warped.

    The default is log(1 + n). `log: false` with `mean` and `std` in counts gives the form of
    networks trained on MUSES (CAFuser: mean 0.1258 and 0.1273, std 0.544 and 0.476).

    Attributes:
        duration_ms: Time before the frame's stamp whose events count, milliseconds.
        log: Whether the logarithm is taken.
        mean: Subtracted in the view, for ON and OFF.
        std: Divided by then, for ON and OFF.

    Raises:
        ValueError: A duration or std is not positive, or `alignment` is unknown.
    """

    duration_ms: float = 30.0
    log: bool = True
    mean: tuple[float, float] = (0.0, 0.0)
    std: tuple[float, float] = (1.0, 1.0)
    channels: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(duration_ms=self.duration_ms, std=min(self.std))

    def draw(self, frame: SensorFrame, context: RenderContext | None) -> NDArray[np.float32]:
        """See `WarpedForm.draw`."""
        counts = accumulate_counts(window_of(frame, self.duration_ms, context)).astype(np.float32)
        if self.log:
            np.log1p(counts, out=counts)
        return counts

    def scale_warped(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `WarpedForm.scale_warped`."""
        mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        return (image - mean) / std


@dataclass(frozen=True)
class EventImage(WarpedForm):
    """A colour picture of where events were, warped, in 0..1: the form of DELIVER.

    A picture that a driver's renderer made enters as it is; events are drawn, ON blue and OFF
    red on black by default.

    Attributes:
        duration_ms: Time before the frame's stamp whose events are drawn, milliseconds.
        colours: RGB, 0..255, of pixels without events, with ON, with OFF, with both.

    Raises:
        ValueError: `alignment` is unknown, the duration is not positive, or the colours are not
            four of three values.
    """

    duration_ms: float = 30.0
    colours: tuple[Colour, Colour, Colour, Colour] = EVENT_COLOURS
    channels: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(duration_ms=self.duration_ms)
        colour_table(self.colours)

    @property
    def byte_ends(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """See `PictureForm`."""
        return (0.0,) * 3, (1.0,) * 3

    def draw(self, frame: SensorFrame, context: RenderContext | None) -> NDArray[np.float32]:
        """See `WarpedForm.draw`."""
        if isinstance(frame.data, Events):
            picture = event_image(window_of(frame, self.duration_ms, context), self.colours)
        else:
            picture = image_of(frame, ('uint8',), 3)
        return picture.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class EventVoxelGrid(WarpedForm):
    """Polarities summed in bins of time (`core.events.representations.voxel_grid`), warped.

    Attributes:
        duration_ms: Time before the frame's stamp that the bins span, milliseconds.
        bins: Number of bins, the channels.
        normalize: Whether the values that are not 0 get mean 0 and deviation 1, as training code
            for DSEC does.

    Raises:
        ValueError: `alignment` is unknown, the duration is not positive, or there are less than
            two bins.
    """

    duration_ms: float = 30.0
    bins: int = 5
    normalize: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(duration_ms=self.duration_ms)
        if self.bins < 2:
            raise ValueError(f'bins must be at least 2, got {self.bins}')

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""
        return self.bins

    def draw(self, frame: SensorFrame, context: RenderContext | None) -> NDArray[np.float32]:
        """See `WarpedForm.draw`."""
        events = window_of(frame, self.duration_ms, context)
        start_ns = frame.stamp_ns - int(self.duration_ms * 1e6)
        grid = voxel_grid(events, self.bins, start_ns, frame.stamp_ns)
        if self.normalize:
            filled = grid != 0
            values = grid[filled]
            if values.size:
                grid[filled] = (values - values.mean()) / max(float(values.std()), 1e-6)
        return grid


@dataclass(frozen=True)
class EventTimeSurface(WarpedForm):
    """Time since the last ON and OFF event of each pixel, fading exponentially, warped.

    See `core.events.representations.time_surface`.

    Attributes:
        duration_ms: Events older than this before the frame's stamp are forgotten, milliseconds.
        tau_ms: After this time 1/e is left, milliseconds.

    Raises:
        ValueError: `alignment` is unknown, or the duration or `tau_ms` is not positive.
    """

    duration_ms: float = 30.0
    tau_ms: float = 10.0
    channels: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(duration_ms=self.duration_ms, tau_ms=self.tau_ms)

    def draw(self, frame: SensorFrame, context: RenderContext | None) -> NDArray[np.float32]:
        """See `WarpedForm.draw`."""
        events = window_of(frame, self.duration_ms, context)
        return time_surface(events, frame.stamp_ns, self.tau_ms * 1e6)


def window_of(
    frame: SensorFrame, duration_ms: float, context: RenderContext | None = None
) -> Events:
    """Get the events of the last moments before a frame's stamp.

    Args:
        frame: A frame of the event camera.
        duration_ms: How long before the stamp the window begins, milliseconds.
        context: Takes a note where the frame does not reach back so far.

    Returns:
        The events of `(stamp - duration, stamp]`, as views.

    Raises:
        BadFrameError: It holds no events at all, or a rendered image instead.
    """
    events = frame.data
    if isinstance(events, np.ndarray):
        raise BadFrameError(
            'event data is a rendered image, from which no other form can be made: the network '
            'needs the events'
        )
    if not isinstance(events, Events):
        raise BadFrameError(f'event data must be Events, got {type(events).__name__}')
    if min(events.size) <= 0:
        raise BadFrameError(f'event sensor has size {events.size}')
    start_ns = frame.stamp_ns - int(duration_ms * 1e6)
    if context is not None and events.start_ns is not None and events.start_ns > start_ns:
        held_ms = (frame.stamp_ns - events.start_ns) / 1e6
        context.note(
            str(frame.modality),
            f'events of {held_ms:g} ms, the network was trained on {duration_ms:g} ms: raise '
            'bundler.event_window_s',
        )
    limits = (start_ns, frame.stamp_ns)
    first, last = np.searchsorted(events.t_ns, limits, 'right')
    if first >= last:
        raise BadFrameError(f'no events in the last {duration_ms:g} ms')
    cut = slice(int(first), int(last))
    return replace(
        events,
        x=events.x[cut],
        y=events.y[cut],
        polarity=events.polarity[cut],
        t_ns=events.t_ns[cut],
    )
