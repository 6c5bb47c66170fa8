"""What goes wrong with sensors: kinds of faults, their schedule, and their effect on the data.

`corrupt` is a pure function on the data of one `SensorFrame`: the simulator applies it on its
schedule, training may apply it as augmentation, and the health checks are tested with it. What
concerns the way from the sensor to the computer (`late`, `clock_jump`, `double_rate`, `dropout`,
`frozen`) is applied by `drive`, what concerns the message (`wrong_encoding`, `truncated`) by
`recording`.

Over- and under-exposure, motion blur, lidar jitter and event low resolution are the corner cases
of the DELIVER data set (Zhang et al., "Delivering Arbitrary-Modal Semantic Segmentation", CVPR
2023); their strengths here are ours. The others are what vehicles report: a cable, a driver that
repeats its buffer, a clock without synchronisation, the shutter of an uncooled thermal camera.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.registry import Reference, resolve
from sam_ad_perception.core.sensor_kinds import EVENTS, IMAGE, POINTS
from sam_ad_perception.core.sensors import Events, Modality, PointCloud, SensorData
from sam_ad_perception.simulation.faults.events import (
    add_burst,
    lower_resolution,
    silence,
)

Image = NDArray[Any]
THERMAL_SPAN = 4000.0
"""Counts of a 16-bit thermal picture that one unit of strength refers to: 40 K at 10 mK."""
_GAMMA = 2.2
_GREY_LEVELS = ('rgb8', 'bgr8', 'mono8', 'mono16')
"""Encodings of pictures of light or heat, which exposure and blur change."""


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault.

    Attributes:
        modalities: Kinds of sensors that it can befall.
        strength: Default strength.
        unit: What the strength counts.
        description: One sentence.
        apply: Of a fault that a sensor's record brings, what it does, see `SensorFault`.
    """

    modalities: tuple[Modality, ...]
    strength: float
    unit: str
    description: str
    apply: Reference | None = None


def _list_kinds() -> dict[str, FaultKind]:
    """Every fault: those of the way to the computer, of data of a form, of one kind of sensor."""
    every = [m for m in Modality if m.kind is m and m.record.simulation is not None]

    def of(form: str) -> tuple[Modality, ...]:
        return tuple(m for m in every if m.record.form == form)

    _ALL, _E, _L = tuple(every), of(EVENTS), of(POINTS)
    _PICTURES = tuple(m for m in of(IMAGE) if m.record.encoding in _GREY_LEVELS)
    kinds = {
        'dropout': FaultKind(_ALL, 1.0, 'share of frames', 'frames are not published'),
        'frozen': FaultKind(_ALL, 1.0, '', 'the same data again and again, with new stamps'),
        'late': FaultKind(_ALL, 0.1, 's', 'right stamp, but it arrives later'),
        'clock_jump': FaultKind(_ALL, 10.0, 's', 'stamps are shifted'),
        'double_rate': FaultKind(_ALL, 1.0, '', 'twice as many frames'),
        'wrong_encoding': FaultKind(_ALL, 1.0, '', 'messages that claim another encoding'),
        'truncated': FaultKind(_ALL, 0.5, 'share kept', 'messages that lack the end of the data'),
        'black': FaultKind(_PICTURES, 1.0, '', 'all pixels at the lowest value'),
        'saturated': FaultKind(_PICTURES, 1.0, '', 'all pixels at the highest value'),
        'over_exposure': FaultKind(_PICTURES, 3.0, 'stops', 'too much light'),
        'under_exposure': FaultKind(_PICTURES, 4.0, 'stops', 'too little light'),
        'motion_blur': FaultKind(_PICTURES, 0.04, 'share of width', 'smeared along the rows'),
        'blur': FaultKind(_PICTURES, 0.008, 'share of width', 'out of focus, or a dirty lens'),
        'noise': FaultKind(_PICTURES, 0.15, 'share of range', 'white noise'),
        'low_contrast': FaultKind(_PICTURES, 0.12, 'share kept', 'veiled towards the mean'),
        'shutter': FaultKind(
            (Modality.THERMAL,), 1.0, '', 'the shutter is closed to correct non-uniformity'
        ),
        'nan_cloud': FaultKind(_L, 1.0, 'share of points', 'coordinates that are no numbers'),
        'empty_cloud': FaultKind(_L, 1.0, '', 'no points'),
        'sparse_cloud': FaultKind(_L, 0.03, 'share kept', 'hardly any points'),
        'lidar_jitter': FaultKind(_L, 1.0, 'degrees', 'the mount shakes: 1 degree and 1 cm'),
        'event_burst': FaultKind(_E, 60.0, '1/pixel/s', 'a flood of spurious events'),
        'event_silence': FaultKind(_E, 1.0, '', 'packets without events'),
        'event_low_resolution': FaultKind(_E, 4.0, 'factor', 'blocks of pixels fire as one'),
    }
    for modality in every:
        assert modality.record.simulation is not None
        for name, fault in modality.record.simulation.faults.items():
            if name in kinds:
                raise ValueError(f'fault {name!r} of sensor {modality} is there already')
            kinds[name] = FaultKind(
                (modality,), fault.strength, fault.unit, fault.description, fault.apply
            )
    return kinds


class _Kinds(Mapping[str, FaultKind]):
    """Lists the kinds when they are first asked for: by then all sensors are known."""

    @cached_property
    def _listed(self) -> dict[str, FaultKind]:
        return _list_kinds()

    def __getitem__(self, name: str) -> FaultKind:
        return self._listed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


KINDS: Mapping[str, FaultKind] = _Kinds()
"""Every kind by name."""

TRANSPORT = ('dropout', 'frozen', 'late', 'clock_jump', 'double_rate', 'wrong_encoding',
             'truncated')  # fmt: skip
"""Kinds that leave the data as they are, see the module's text."""


@dataclass(frozen=True)
class Fault:
    """One fault on the schedule of a drive.

    Attributes:
        sensor: Name of the sensor; in the default rig its modality.
        kind: One of `KINDS`.
        start_s: First time, seconds since the start of the drive.
        end_s: End, exclusive.
        strength: In the unit of the kind; None takes the kind's default.

    Raises:
        ValueError: The kind is unknown, the interval empty or the strength negative.
    """

    sensor: str
    kind: str
    start_s: float
    end_s: float
    strength: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f'fault kind must be one of {list(KINDS)}, got {self.kind!r}'
                f'{did_you_mean(self.kind, KINDS)}'
            )
        if not self.start_s < self.end_s:
            raise ValueError(
                f'fault {self.kind!r} must start before it ends, got {self.start_s} to '
                f'{self.end_s} s'
            )
        if self.strength is not None and self.strength < 0 and self.kind != 'clock_jump':
            raise ValueError(
                f'fault {self.kind!r} must have a strength of at least 0, got {self.strength}'
            )

    @property
    def amount(self) -> float:
        """The strength, the kind's default where none was given."""
        return KINDS[self.kind].strength if self.strength is None else self.strength

    def is_active(self, elapsed_ns: int) -> bool:
        """Whether a measurement at this time since the start (ns) is faulty."""
        return self.start_s <= elapsed_ns * 1e-9 < self.end_s


def parse_fault(text: str) -> Fault:
    """Reads `SENSOR:KIND:START:END[:STRENGTH]`, times in seconds.

    Args:
        text: For example `camera:black:2.0:3.0`.

    Returns:
        The fault.

    Raises:
        ValueError: It is none.
    """
    parts = text.split(':')
    if len(parts) not in (4, 5):
        raise ValueError(f'a fault is SENSOR:KIND:START:END[:STRENGTH], got {text!r}')
    try:
        numbers = [float(part) for part in parts[2:]]
    except ValueError:
        raise ValueError(f'times and strength of a fault must be numbers, got {text!r}') from None
    return Fault(parts[0], parts[1], *numbers)


def corrupt(
    data: SensorData,
    kind: str,
    strength: float | None,
    rng: np.random.Generator,
    span_ns: tuple[int, int] | None = None,
) -> SensorData:
    """What a sensor with this fault delivers instead of `data`.

    Args:
        data: Picture (H, W) or (H, W, 3) uint8, or (H, W) uint16 thermal counts; cloud; events.
        kind: One of `KINDS` that is not in `TRANSPORT`.
        strength: In the kind's unit; None takes the default.
        rng: Source of noise.
        span_ns: Start and end of the time that an event packet covers, nanoseconds; by default
            from its first event to its last.

    Returns:
        New data of the same type, shape and dtype, clouds and events with other numbers of
        points; a cloud may hold coordinates that are not finite.

    Raises:
        ValueError: The kind is unknown, concerns the transport, or does not befall such data.
    """
    if kind not in KINDS or kind in TRANSPORT:
        known = [name for name in KINDS if name not in TRANSPORT]
        raise ValueError(f'fault kind must be one of {known}, got {kind!r}')
    amount = KINDS[kind].strength if strength is None else strength
    apply = KINDS[kind].apply
    if apply is not None:
        spoilt: SensorData = resolve(apply)(data, amount, rng)
        return spoilt
    if isinstance(data, PointCloud) and kind in _CLOUD_FAULTS:
        return _CLOUD_FAULTS[kind](data, amount, rng)
    if isinstance(data, Events) and kind in _EVENT_FAULTS:
        if span_ns is None:
            span_ns = (int(data.t_ns[0]), int(data.t_ns[-1]) + 1) if len(data.t_ns) else (0, 0)
        return _EVENT_FAULTS[kind](data, amount, rng, span_ns)
    if isinstance(data, np.ndarray) and kind in _PICTURE_FAULTS:
        return _PICTURE_FAULTS[kind](data, amount, rng)
    wanted = ' or '.join(KINDS[kind].modalities)
    raise ValueError(f'fault {kind!r} befalls {wanted}, got {type(data).__name__}')


def _range_of(image: Image) -> tuple[float, float]:
    """Value and length of a picture's working range: what a display would show."""
    if image.dtype == np.uint8:
        return 0.0, 255.0
    return float(np.median(image)) - THERMAL_SPAN / 2, THERMAL_SPAN


def _restore(values: NDArray[np.float32], like: Image) -> Image:
    highest = np.iinfo(like.dtype).max
    return np.asarray(np.clip(np.rint(values), 0, highest).astype(like.dtype))


def _set_level(image: Image, share: float) -> Image:
    return np.full_like(image, round(share * np.iinfo(image.dtype).max))


def expose(image: Image, stops: float) -> Image:
    """A picture with 2**stops times the light.

    8-bit pictures are taken as gamma encoded (2.2), 16-bit thermal ones as linear over 40 K
    about their median, outside of which they clip.

    Args:
        image: (H, W) or (H, W, 3) uint8 or uint16.
        stops: Doublings of the light, may be negative.

    Returns:
        The same shape and dtype.
    """
    low, span = _range_of(image)
    if image.dtype == np.uint8:
        gain = 2.0 ** (stops / _GAMMA)
        return np.asarray(cv2.LUT(image, _restore(np.arange(256, dtype=np.float32) * gain,
                                                  image)))  # fmt: skip
    share = np.clip((image.astype(np.float32) - low) / span, 0.0, 1.0) * 2.0**stops
    return _restore(low + span * np.minimum(share, 1.0), image)


def _smear(image: Image, share: float) -> Image:
    length = max(1, round(share * image.shape[1])) | 1
    kernel = np.full((1, length), 1.0 / length, dtype=np.float32)
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE))


def _defocus(image: Image, share: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(share * image.shape[1], 1e-3)))


def _add_noise(image: Image, share: float, rng: np.random.Generator) -> Image:
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    return _restore(image.astype(np.float32) + share * _range_of(image)[1] * grain, image)


def _veil(image: Image, share: float) -> Image:
    mean = np.float32(image.mean())
    return _restore(mean + np.float32(share) * (image.astype(np.float32) - mean), image)


def _close_shutter(image: Image, rng: np.random.Generator) -> Image:
    """The inside of the shutter: everywhere the housing's temperature, a little noise."""
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    return _restore(np.float32(np.median(image)) + _range_of(image)[1] * 0.002 * grain, image)


def _select(cloud: PointCloud, which: NDArray[np.bool_]) -> PointCloud:
    intensity, offset = cloud.intensity, cloud.time_offset_ns
    return PointCloud(
        cloud.points[which],
        None if intensity is None else intensity[which],
        None if offset is None else offset[which],
    )


def drop_non_finite(cloud: PointCloud) -> PointCloud:
    """The points of a cloud whose coordinates are numbers."""
    return _select(cloud, np.asarray(np.isfinite(cloud.points).all(axis=1)))


def _spoil_points(cloud: PointCloud, share: float, rng: np.random.Generator) -> PointCloud:
    points = cloud.points.copy()
    points[rng.random(len(points)) < share] = np.nan
    return PointCloud(points, cloud.intensity, cloud.time_offset_ns)


def _jitter(cloud: PointCloud, degrees: float, rng: np.random.Generator) -> PointCloud:
    """Turns the cloud by +-`degrees` about each axis and moves it by +-1 cm per degree."""
    turn = np.deg2rad(rng.uniform(-degrees, degrees, 3))
    rotation = cv2.Rodrigues(turn)[0]
    moved = cloud.points @ rotation.T + 0.01 * rng.uniform(-degrees, degrees, 3)
    return PointCloud(moved.astype(np.float32), cloud.intensity, cloud.time_offset_ns)


def _thin(cloud: PointCloud, share: float, rng: np.random.Generator) -> PointCloud:
    return _select(cloud, np.asarray(rng.random(len(cloud.points)) < share))


_Rng = np.random.Generator
_PICTURE_FAULTS: Mapping[str, Callable[[Image, float, _Rng], Image]] = {
    'black': lambda image, amount, rng: _set_level(image, 0.0),
    'saturated': lambda image, amount, rng: _set_level(image, 1.0),
    'over_exposure': lambda image, amount, rng: expose(image, amount),
    'under_exposure': lambda image, amount, rng: expose(image, -amount),
    'motion_blur': lambda image, amount, rng: _smear(image, amount),
    'blur': lambda image, amount, rng: _defocus(image, amount),
    'noise': _add_noise,
    'low_contrast': lambda image, amount, rng: _veil(image, amount),
    'shutter': lambda image, amount, rng: _close_shutter(image, rng),
}
_CLOUD_FAULTS: Mapping[str, Callable[[PointCloud, float, _Rng], PointCloud]] = {
    'nan_cloud': _spoil_points,
    'empty_cloud': lambda cloud, amount, rng: _select(cloud, np.zeros(len(cloud.points), bool)),
    'sparse_cloud': _thin,
    'lidar_jitter': _jitter,
}
_EVENT_FAULTS: Mapping[str, Callable[[Events, float, _Rng, tuple[int, int]], Events]] = {
    'event_burst': add_burst,
    'event_silence': lambda events, amount, rng, span: silence(events),
    'event_low_resolution': lambda events, amount, rng, span: lower_resolution(
        events, round(amount)
    ),
}
