"""The images of an event camera that a network sees, in the camera's view.

What a network was trained on is what it must get: each form states its window, its constants and
its normalisation, and the zoo entry of a network names one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

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
from sam_ad_perception.core.sensors import CameraModel, Events, SensorFrame
from sam_ad_perception.modeling.inputs.camera_view import (
    BadFrameError,
    RenderContext,
    check_alignment,
    image_of,
    warp_to_view,
)

Colour = tuple[int, int, int]


class _Placement(Protocol):
    """How every form of events comes into the view: by the fields of the same names."""

    @property
    def alignment(self) -> str: ...

    @property
    def distance_m(self) -> float: ...


@dataclass(frozen=True)
class EventCounts:
    """Events per pixel and polarity (ON, OFF) over a fixed time, warped.

    The default is log(1 + n). `log: false` with `mean` and `std` in counts gives the form of
    networks trained on MUSES (CAFuser: mean 0.1258 and 0.1273, std 0.544 and 0.476).

    Attributes:
        duration_ms: Time before the frame's stamp whose events count, milliseconds.
        distance_m: Distance of the plane on which the two cameras' views are made to agree.
        alignment: One of `ALIGNMENTS`.
        log: Whether the logarithm is taken.
        mean: Subtracted in the view, for ON and OFF.
        std: Divided by then, for ON and OFF.

    Raises:
        ValueError: A duration or std is not positive, or `alignment` is unknown.
    """

    duration_ms: float = 30.0
    distance_m: float = 20.0
    alignment: str = 'plane'
    log: bool = True
    mean: tuple[float, float] = (0.0, 0.0)
    std: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        check_alignment(self.alignment)
        _check_positive(duration_ms=self.duration_ms, std=min(self.std))

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""
        return 2

    def render(
        self,
        frame: SensorFrame,
        view: CameraModel,
        T_view: NDArray[np.float64] | None,
        context: RenderContext | None = None,
    ) -> NDArray[np.float32]:
        """See `Representation.render`."""
        counts = accumulate_counts(window_of(frame, self.duration_ms, context)).astype(np.float32)
        if self.log:
            np.log1p(counts, out=counts)
        image = _warp(counts, frame, view, T_view, self, context)
        mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        return (image - mean) / std


@dataclass(frozen=True)
class EventImage:
    """A colour picture of where events were, warped, in 0..1: the form of DELIVER.

    A picture that a driver's renderer made enters as it is; events are drawn, ON blue and OFF
    red on black by default.

    Attributes:
        duration_ms: Time before the frame's stamp whose events are drawn, milliseconds.
        distance_m: Distance of the plane on which the two cameras' views are made to agree.
        alignment: One of `ALIGNMENTS`.
        colours: RGB, 0..255, of pixels without events, with ON, with OFF, with both.

    Raises:
        ValueError: `alignment` is unknown, the duration is not positive, or the colours are not
            four of three values.
    """

    duration_ms: float = 30.0
    distance_m: float = 20.0
    alignment: str = 'plane'
    colours: tuple[Colour, Colour, Colour, Colour] = EVENT_COLOURS

    def __post_init__(self) -> None:
        check_alignment(self.alignment)
        _check_positive(duration_ms=self.duration_ms)
        colour_table(self.colours)

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""
        return 3

    @property
    def byte_ends(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """See `PictureForm`."""
        return (0.0,) * 3, (1.0,) * 3

    def render(
        self,
        frame: SensorFrame,
        view: CameraModel,
        T_view: NDArray[np.float64] | None,
        context: RenderContext | None = None,
    ) -> NDArray[np.float32]:
        """See `Representation.render`."""
        if isinstance(frame.data, Events):
            picture = event_image(window_of(frame, self.duration_ms, context), self.colours)
        else:
            picture = image_of(frame, ('uint8',), 3)
        scaled = picture.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        return _warp(scaled, frame, view, T_view, self, context)


@dataclass(frozen=True)
class EventVoxelGrid:
    """Polarities summed in bins of time (`core.events.representations.voxel_grid`), warped.

    Attributes:
        duration_ms: Time before the frame's stamp that the bins span, milliseconds.
        bins: Number of bins, the channels.
        normalize: Whether the values that are not 0 get mean 0 and deviation 1, as training code
            for DSEC does.
        distance_m: Distance of the plane on which the two cameras' views are made to agree.
        alignment: One of `ALIGNMENTS`.

    Raises:
        ValueError: `alignment` is unknown, the duration is not positive, or there are less than
            two bins.
    """

    duration_ms: float = 30.0
    bins: int = 5
    normalize: bool = True
    distance_m: float = 20.0
    alignment: str = 'plane'

    def __post_init__(self) -> None:
        check_alignment(self.alignment)
        _check_positive(duration_ms=self.duration_ms)
        if self.bins < 2:
            raise ValueError(f'bins must be at least 2, got {self.bins}')

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""
        return self.bins

    def render(
        self,
        frame: SensorFrame,
        view: CameraModel,
        T_view: NDArray[np.float64] | None,
        context: RenderContext | None = None,
    ) -> NDArray[np.float32]:
        """See `Representation.render`."""
        events = window_of(frame, self.duration_ms, context)
        start_ns = frame.stamp_ns - int(self.duration_ms * 1e6)
        grid = voxel_grid(events, self.bins, start_ns, frame.stamp_ns)
        if self.normalize:
            filled = grid != 0
            values = grid[filled]
            if values.size:
                grid[filled] = (values - values.mean()) / max(float(values.std()), 1e-6)
        return _warp(grid, frame, view, T_view, self, context)


@dataclass(frozen=True)
class EventTimeSurface:
    """Time since the last ON and OFF event of each pixel, fading exponentially, warped.

    See `core.events.representations.time_surface`.

    Attributes:
        duration_ms: Events older than this before the frame's stamp are forgotten, milliseconds.
        tau_ms: After this time 1/e is left, milliseconds.
        distance_m: Distance of the plane on which the two cameras' views are made to agree.
        alignment: One of `ALIGNMENTS`.

    Raises:
        ValueError: `alignment` is unknown, or the duration or `tau_ms` is not positive.
    """

    duration_ms: float = 30.0
    tau_ms: float = 10.0
    distance_m: float = 20.0
    alignment: str = 'plane'

    def __post_init__(self) -> None:
        check_alignment(self.alignment)
        _check_positive(duration_ms=self.duration_ms, tau_ms=self.tau_ms)

    @property
    def channels(self) -> int:
        """Channels of the rendered image."""
        return 2

    def render(
        self,
        frame: SensorFrame,
        view: CameraModel,
        T_view: NDArray[np.float64] | None,
        context: RenderContext | None = None,
    ) -> NDArray[np.float32]:
        """See `Representation.render`."""
        events = window_of(frame, self.duration_ms, context)
        surface = time_surface(events, frame.stamp_ns, self.tau_ms * 1e6)
        return _warp(surface, frame, view, T_view, self, context)


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


def _warp(
    channels: NDArray[np.float32],
    frame: SensorFrame,
    view: CameraModel,
    T_view: NDArray[np.float64] | None,
    form: _Placement,
    context: RenderContext | None,
) -> NDArray[np.float32]:
    """Bring (C, H, W) into the view."""
    way = (form.alignment, form.distance_m, context)
    return np.stack([warp_to_view(image, frame, view, T_view, *way) for image in channels])


def _check_positive(**values: float) -> None:
    """Refuse numbers that are not positive, by name."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f'{name} must be positive, got {value}')
