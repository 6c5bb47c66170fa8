"""What differs between sensors: one record per kind, and the names by which sensors go.

`Modality` is the name of a sensor wherever data is passed: a kind (`thermal`), or one of several
sensors of a kind that a vehicle has (`thermal_left`), whose `kind` says what it is. What the code
needs to know of a kind stands in its `SensorKind`; the kinds of the package are in
`core.builtin_sensors`, others come from installed packages by the entry points of
`sam_ad_perception.sensors`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar

from sam_ad_perception.core.registry import Reference, Registry, resolve

GROUP = 'sam_ad_perception.sensors'
IMAGE, EVENTS, POINTS = 'image', 'events', 'points'
FORMS = (IMAGE, EVENTS, POINTS)
"""What a sensor's data is: an array, `Events` or a `PointCloud`."""
VIEW, RANGING = 'view', 'ranging'
ROLES = ('', VIEW, RANGING)
"""What perception needs one kind for: in its images masks are made; its points tell how far away
the scene is."""
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
_NAME = re.compile(r'[a-z][a-z0-9_]*')
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class SensorKind:
    """What is special to one kind of sensor.

    A function may be given by where it is (`package.module:name`): it is imported when it is
    needed, so that a record costs nothing.

    Attributes:
        name: Its name in topics, parameters, zoo entries and files: letters, digits, `_`.
        title: What people call it, with its article: `the thermal camera`.
        color: Of its lines and bars in reports, `#rrggbb`.
        form: What its data is, one of `FORMS`.
        topic: Relative topic of its measurements.
        info_topic: Relative topic of its CameraInfo; empty for a sensor without a lens.
        message_types: Types that the topic may have, ROS names; the first is the usual one.
        topic_words: Words in the name of a recorded topic that tell this kind from others.
        leads: Whether its frames may be the reference frames of bundles.
        role: What perception needs it for, one of `ROLES`; see `Modality.VIEW` and
            `Modality.RANGING`.
        synchronization: Fields of `SensorConfig` that differ from its defaults.
        reading: Fields of the node's parameters of this input that differ from their defaults.
        encoding: Image encoding that its pixels are converted to and recorded in.
        decode: `(pixels, encoding) -> pixels` of its images; None for another form.
        health: Its thresholds, a dataclass made of `parameter` with a field `enabled`; None
            where nothing but repetition is checked.
        judge: `(image measures, running levels, thresholds) -> (findings, figures)`, see
            `core.health.judgement`.
        watch: What looks at its frames over time, a `core.health.watch.Watch`; None for nothing.
        picture: `(data) -> (H, W, 3) uint8 RGB` for people; None where depth shows it.
        sample: `(random generator, (H, W), stamp_ns) -> data`: noise of the right shape, for
            warming up; None where the sensor takes no part in it.
        representations: Forms in which networks may take it, by the name in zoo entries; see
            `modeling.inputs.camera_view.Representation`.
        simulation: How the simulator makes it; None where it does not.
    """

    name: str
    title: str
    form: str = IMAGE
    topic: str = ''
    info_topic: str = ''
    color: str = '#7f8a99'
    message_types: tuple[str, ...] = IMAGE_TYPES
    topic_words: frozenset[str] = frozenset()
    leads: bool = False
    role: str = ''
    synchronization: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    reading: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    encoding: str = ''
    decode: Reference | None = None
    health: Reference | None = None
    judge: Reference | None = None
    watch: Reference | None = None
    picture: Reference | None = None
    sample: Reference | None = None
    representations: Mapping[str, Reference] = field(default_factory=lambda: _NOTHING)
    simulation: SimulatedSensor | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f'name of a sensor kind must be lower-case letters, digits and _, '
                f'got {self.name!r}'
            )
        if self.form not in FORMS:
            raise ValueError(f'form of sensor {self.name!r} must be one of {FORMS}, '
                             f'got {self.form!r}')  # fmt: skip
        if self.role not in ROLES:
            raise ValueError(f'role of sensor {self.name!r} must be one of {ROLES}, '
                             f'got {self.role!r}')  # fmt: skip
        if not re.fullmatch(r'#[0-9a-f]{6}', self.color):
            raise ValueError(f'color of sensor {self.name!r} must be #rrggbb, got {self.color!r}')
        if self.form == IMAGE and self.decode is None:
            raise ValueError(f'sensor {self.name!r} is an image, so it needs decode, got None')
        if not self.topic:
            raise ValueError(f'topic of sensor {self.name!r} must not be empty')

    @property
    def has_lens(self) -> bool:
        """Whether it has geometry of its own, a CameraInfo."""
        return bool(self.info_topic)

    @property
    def takes_video(self) -> bool:
        """Whether it may be recorded as video: it sends images, and people can look at them."""
        return self.picture is not None and IMAGE_TYPES[0] in self.message_types

    def call(self, function: str, *arguments: Any) -> Any:
        """Call one of the record's functions.

        Args:
            function: Its field: `decode`, `judge`, `picture`, `sample`.
            *arguments: What it takes.

        Returns:
            What it returns.
        """
        reference = getattr(self, function)
        assert reference is not None, f'{self.name} has no {function}'
        return resolve(reference)(*arguments)


@dataclass(frozen=True, eq=False)
class SimulatedSensor:
    """How the simulator makes a kind of sensor.

    Attributes:
        measure: `(renderer, name in the rig, stamp_ns) -> data`, by the true clock and without
            faults; see `simulation.drives.measurements`.
        stream: Number of its random stream in the default rig; None draws one from the name.
        focal_widths: Default focal length in image widths; 0 for a sensor without a lens.
        position: Where the default rig has it: x forward, y left, z up in base_link, metres.
        latency_s: From the end of a measurement to its arrival, seconds.
        faults: Faults of its data beside those that the simulator knows, by name.
    """

    measure: Reference
    focal_widths: float = 0.0
    position: tuple[float, float, float] = (1.6, 0.0, 1.65)
    latency_s: float = 0.01
    stream: int | None = None
    faults: Mapping[str, SensorFault] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, eq=False)
class SensorFault:
    """A fault of a sensor's data.

    Attributes:
        apply: `(data, strength, random generator) -> data`.
        strength: Its default strength.
        unit: What the strength counts.
        description: One sentence.
    """

    apply: Reference
    strength: float = 1.0
    unit: str = ''
    description: str = ''


class _Modalities(type):
    """Lets the class of all sensors be listed: `for m in Modality`, `'radar' in Modality`."""

    def __iter__(cls) -> Iterator[Modality]:
        """The kinds, the package's own first, then the sensors that `declare_sensor` added."""
        yield from (_modality_of(name) for name in SENSOR_KINDS)
        yield from list(_DECLARED.values())

    def __len__(cls) -> int:
        return len(SENSOR_KINDS) + len(_DECLARED)

    @property
    def VIEW(cls) -> Modality:
        """The kind in whose images masks are made: the camera."""
        return _kind_for(VIEW)

    @property
    def RANGING(cls) -> Modality:
        """The kind whose points tell how far away the scene is: the lidar."""
        return _kind_for(RANGING)

    def __contains__(cls, name: object) -> bool:
        return name in _DECLARED or name in SENSOR_KINDS


class Modality(str, metaclass=_Modalities):
    """Name of a sensor: a kind, or one of several sensors of a kind.

    There is one object per name, so that `is` compares names. `for m in Modality` gives all, the
    kinds in the default order of reference priority (those that never lead come last).

    Args:
        name: A kind of `SENSOR_KINDS`, or a name that `declare_sensor` was given.

    Attributes:
        kind: The kind; of a kind, itself.

    Raises:
        ValueError: There is no such sensor.
    """

    __slots__ = ('_kind',)
    _kind: Modality
    CAMERA: ClassVar[Modality]
    THERMAL: ClassVar[Modality]
    EVENT: ClassVar[Modality]
    LIDAR: ClassVar[Modality]
    DEPTH: ClassVar[Modality]

    def __new__(cls, name: str) -> Modality:
        """Look a sensor up by its name."""
        if isinstance(name, Modality):
            return name
        known = _DECLARED.get(name) or _KINDS.get(name)
        if known is None and name in SENSOR_KINDS:
            known = _modality_of(name)
        if known is None:
            raise ValueError(f'unknown sensor {name!r}, expected one of {[*map(str, cls)]}')
        return known

    @property
    def kind(self) -> Modality:
        """The kind of sensor; of a kind, itself."""
        return self._kind

    @property
    def value(self) -> str:
        """The name as a plain string."""
        return str(self)

    @property
    def record(self) -> SensorKind:
        """What is special to its kind."""
        return SENSOR_KINDS[self._kind]

    @property
    def topic(self) -> str:
        """Relative topic of its measurements; that of one of several begins with its name."""
        return self.topics_of(self)[0]

    @property
    def info_topic(self) -> str:
        """Relative topic of its CameraInfo; empty for a sensor without a lens."""
        return self.topics_of(self)[1]

    def topics_of(self, name: str) -> tuple[str, str]:
        """Topics of a sensor of this kind.

        Args:
            name: Its name.

        Returns:
            Relative topics of its measurements and of its CameraInfo, see `topic`, `info_topic`.
        """
        record = self.record
        if name == self._kind:
            return record.topic, record.info_topic
        own = [t and f'{name}/{t.rpartition("/")[2]}' for t in (record.topic, record.info_topic)]
        return own[0], own[1]

    def __repr__(self) -> str:
        return f'Modality({str(self)!r})'

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        if self._kind is self:
            return Modality, (str(self),)
        return declare_sensor, (str(self), str(self._kind))


SENSOR_KINDS: Registry[SensorKind] = Registry(
    GROUP,
    'sensor',
    SensorKind,
    {
        name: f'sam_ad_perception.core.builtin_sensors:{name.upper()}'
        for name in ('camera', 'thermal', 'event', 'lidar', 'depth')
    },
)
"""The record of each kind."""
_KINDS: dict[str, Modality] = {}
_DECLARED: dict[str, Modality] = {}


def declare_sensor(name: str, kind: str) -> Modality:
    """Give a name to one of several sensors of a kind, for this process.

    Args:
        name: The name, `thermal_left` for example; letters, digits, `_`.
        kind: Its kind.

    Returns:
        The sensor; the same object for the same name.

    Raises:
        ValueError: No such kind, or the name is malformed or taken.
    """
    if kind not in SENSOR_KINDS:
        raise ValueError(
            f'kind of sensor {name!r} must be one of {list(SENSOR_KINDS)}, got {kind!r}'
        )
    if not _NAME.fullmatch(name):
        raise ValueError(f'sensor name must be lower-case letters, digits and _, got {name!r}')
    known = _DECLARED.get(name) or (_modality_of(name) if name in SENSOR_KINDS else None)
    if known is not None and known.kind != kind:
        raise ValueError(f'sensor {name!r} is of kind {known.kind}, it cannot be {kind}, too')
    if known is None:
        known = _DECLARED[name] = _make(name, _modality_of(kind))
    return known


def forget_sensor(name: str) -> None:
    """Take back a name that `declare_sensor` gave; nothing where there is none.

    Args:
        name: The name.
    """
    _DECLARED.pop(name, None)


def _make(name: str, kind: Modality | None) -> Modality:
    made = str.__new__(Modality, name)
    made._kind = kind or made
    return made


def _modality_of(kind: str) -> Modality:
    if kind not in _KINDS:
        _KINDS[kind] = _make(kind, None)
    return _KINDS[kind]


@cache
def _kind_for(role: str) -> Modality:
    return next(m for m in map(_modality_of, SENSOR_KINDS) if m.record.role == role)


Modality.CAMERA = _modality_of('camera')
Modality.THERMAL = _modality_of('thermal')
Modality.EVENT = _modality_of('event')
Modality.LIDAR = _modality_of('lidar')
Modality.DEPTH = _modality_of('depth')


def image_of(name: str) -> str:
    """Name the image topic that a transport belongs to.

    Args:
        name: For example `camera/image_raw/compressed`.

    Returns:
        For example `camera/image_raw`.
    """
    for transport in ('compressed', 'compressedDepth', 'ffmpeg', 'h264', 'theora', 'video'):
        name = name.removesuffix(f'/{transport}')
    return name
