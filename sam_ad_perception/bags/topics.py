"""Which topic of a recording is which sensor: guessed from types and names, always overridable.

The rules, in words. A topic without messages is nothing, and so is one whose name says that it is
a result (`semantic`, `label`, `mask`, `depth_registered`, ...). Then, by type:

* `Image` and `CompressedImage` are thermal if a word of the name is `thermal`, `ir`, `lwir`,
  `infrared`, `flir` or `boson`; depth if one is `depth` or `disparity`; else camera.
  An image that is named as rendered from events (`dvs_rendering`, `event_camera_renderer`) is
  event.
* `EventPacket` and `EventArray` are event, before rendered images; `PointCloud2` is lidar,
  `TFMessage` tf or (by its name) tf_static; `Odometry`, else a stamped twist, is odometry.
* `CameraInfo` belongs to the image in the same namespace. An image without one takes the only
  CameraInfo that is left and whose name fits its sensor.

Where several fit, the first of this order is taken: one with a CameraInfo; an ordinary image
rather than one of an event or near-infrared camera; rectified rather than raw; one that looks
ahead (`front`, `center`) rather than elsewhere; one that is not named `right`, `rear` or `back`;
uncompressed; the one with more messages; the first by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sam_ad_perception.bags.reader import BagError, BagTopic
from sam_ad_perception.core.event_packets import EVENT_ARRAY_TYPES
from sam_ad_perception.core.sensors import Modality

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
PACKET_TYPE = 'event_camera_msgs/msg/EventPacket'
INFO_TYPE = 'sensor_msgs/msg/CameraInfo'
TF_TYPE = 'tf2_msgs/msg/TFMessage'
ODOMETRY_TYPES = (
    'nav_msgs/msg/Odometry',
    'geometry_msgs/msg/TwistWithCovarianceStamped',
    'geometry_msgs/msg/TwistStamped',
)
"""What tells the vehicle's twist where no transform does; the first are preferred."""
DATA_TYPES: Mapping[Modality, tuple[str, ...]] = {
    Modality.CAMERA: IMAGE_TYPES,
    Modality.THERMAL: IMAGE_TYPES,
    Modality.EVENT: (PACKET_TYPE, *EVENT_ARRAY_TYPES, *IMAGE_TYPES),
    Modality.LIDAR: ('sensor_msgs/msg/PointCloud2',),
    Modality.DEPTH: IMAGE_TYPES,
}
INFO_ROLES = {
    'camera_info': Modality.CAMERA,
    'thermal_info': Modality.THERMAL,
    'event_info': Modality.EVENT,
    'depth_info': Modality.DEPTH,
}
ROLES = (*(m.value for m in Modality), *INFO_ROLES, 'tf', 'tf_static', 'odometry')
"""What `--topic ROLE:=NAME` may name."""

_THERMAL = {'thermal', 'ir', 'lwir', 'infrared', 'flir', 'boson'}
_DEPTH = {'depth', 'disparity', 'compresseddepth'}
_EVENT = {'event', 'events', 'dvs', 'prophesee', 'davis'}
_RENDERED = {'rendering', 'rendered', 'renderer'}
_RESULT = {
    *('semantic', 'label', 'labels', 'labeled', 'mask', 'segmentation', 'confidence', 'overlay'),
    *('debug', 'registered', 'heatmap', 'costmap', 'map', 'truth', 'annotated', 'filtered'),
    *('radar', 'obstacles', 'clusters', 'theora', 'compresseddepth'),
}


@dataclass(frozen=True)
class SensorTopics:
    """Where one sensor is recorded.

    Attributes:
        data: Topic of its measurements; '' where only its CameraInfo is there.
        info: Topic of its CameraInfo; '' for none.
        rectified: Whether the image is rectified: then `CameraInfo.P` holds, else K and D.
    """

    data: str
    info: str = ''
    rectified: bool = False


@dataclass(frozen=True)
class TopicMapping:
    """Which topics are read, and as what.

    Attributes:
        sensors: The sensors found.
        tf: Topics of moving transforms.
        tf_static: Topics of fixed transforms.
        odometry: Topic that tells the vehicle's twist; '' for none.
        passed_over: For each sensor, other topics that would have fitted, best first.
    """

    sensors: Mapping[Modality, SensorTopics]
    tf: tuple[str, ...] = ()
    tf_static: tuple[str, ...] = ()
    odometry: str = ''
    passed_over: Mapping[Modality, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every topic that is read."""
        used = [name for s in self.sensors.values() for name in (s.data, s.info) if name]
        return (*used, *self.tf, *self.tf_static, *filter(None, [self.odometry]))

    def rows(self) -> list[tuple[str, str, str]]:
        """The mapping for a reader: role, topic, and a remark, one row for each topic."""
        rows = []
        for modality, topics in self.sensors.items():
            rectified = 'rectified' if topics.rectified else 'raw'
            kind = rectified if f'{modality}_info' in INFO_ROLES else ''
            other = ', '.join(self.passed_over.get(modality, ()))
            remark = '; '.join(filter(None, (kind, other and f'not taken: {other}')))
            if topics.data:
                rows.append((modality.value, topics.data, remark))
            if topics.info:
                rows.append((f'{modality}_info', topics.info, ''))
        rows += [('tf', name, '') for name in self.tf]
        rows += [('tf_static', name, '') for name in self.tf_static]
        rows += [('odometry', self.odometry, '')] if self.odometry else []
        return rows


def guess_topics(
    topics: Iterable[BagTopic],
    overrides: Mapping[str, str] | None = None,
    rectified: Mapping[Modality, bool] | None = None,
) -> TopicMapping:
    """Find the sensors among the topics of a recording, by the rules of this module.

    Args:
        topics: The recording's topics.
        overrides: Role (see `ROLES`) to topic; an empty topic switches the role off.
        rectified: Whether a sensor's image is rectified, where its name does not tell.

    Returns:
        The mapping; it may be empty.

    Raises:
        BagError: An override names an unknown role, an absent topic, or one of another type.
    """
    listed = {topic.name: topic for topic in topics}
    given = dict(overrides or {})
    _check(listed, given)
    infos = [t.name for t in listed.values() if t.type == INFO_TYPE and t.count]
    ranked = _rank([t for t in listed.values() if t.count], infos, set(given.values()))
    sensors: dict[Modality, SensorTopics] = {}
    passed_over: dict[Modality, tuple[str, ...]] = {}
    for modality in Modality:
        found = ranked[modality]
        data = given.get(modality.value, found[0] if found else '')
        others = tuple(name for name in found if name != data) if data else ()
        if others:
            passed_over[modality] = others
        role = f'{modality}_info'
        info, image = '', data
        if role in INFO_ROLES:
            taken = {s.info for s in sensors.values()}
            # Without its image the camera still gives the view.
            image = data or (found[0] if found and modality is Modality.CAMERA else '')
            info = given.get(role, _find_info(modality, image, infos, taken))
        if data or (info and modality is Modality.CAMERA):
            # A camera that is known by its CameraInfo alone is taken as the node takes it.
            flat = (rectified or {}).get(modality, not image or _is_rectified(image))
            sensors[modality] = SensorTopics(data, info, flat)
    return TopicMapping(
        sensors,
        _transforms(listed, given, 'tf'),
        _transforms(listed, given, 'tf_static'),
        given.get('odometry', _find_odometry(listed.values())),
        passed_over,
    )


def _check(listed: Mapping[str, BagTopic], given: Mapping[str, str]) -> None:
    """Refuse overrides that cannot be followed."""
    for role, name in given.items():
        if role not in ROLES:
            raise BagError(f'unknown role {role!r}, expected one of {list(ROLES)}')
        if not name:
            continue
        if name not in listed:
            raise BagError(f'{role} is to be {name}, but the bag has only {sorted(listed)}')
        if role in INFO_ROLES:
            allowed: tuple[str, ...] = (INFO_TYPE,)
        elif role in ('tf', 'tf_static'):
            allowed = (TF_TYPE,)
        elif role == 'odometry':
            allowed = ODOMETRY_TYPES
        else:
            allowed = DATA_TYPES[Modality(role)]
        if listed[name].type not in allowed:
            raise BagError(
                f'{role} is to be {name}, which is a {listed[name].type}, '
                f'expected {" or ".join(allowed)}'
            )


def _rank(
    topics: Sequence[BagTopic], infos: Sequence[str], given: set[str]
) -> dict[Modality, list[str]]:
    """Order the candidates of each sensor, best first; a topic given a role is no candidate."""
    ranked: dict[Modality, list[tuple[tuple[object, ...], str]]] = {m: [] for m in Modality}
    for topic in topics:
        modality = _modality(topic)
        if modality is None or topic.name in given:
            continue
        words = _words(topic.name)
        score = (
            modality is Modality.EVENT and topic.type in IMAGE_TYPES,
            modality is Modality.LIDAR or not _siblings(topic.name, infos),
            bool(words & (_EVENT | {'infra', 'mono', 'gray', 'grey'}))
            and modality is Modality.CAMERA,
            not _is_rectified(topic.name),
            not words & {'front', 'center', 'centre', 'forward'},
            bool(words & {'right', 'rear', 'back'}),
            topic.type.endswith('CompressedImage'),
            -topic.count,
        )
        ranked[modality].append((score, topic.name))
    return {modality: [name for _, name in sorted(found)] for modality, found in ranked.items()}


def _modality(topic: BagTopic) -> Modality | None:
    """The sensor that a topic may be, or None."""
    words = _words(topic.name)
    if words & _RESULT:
        return None
    if topic.type in IMAGE_TYPES:
        if words & _EVENT and words & _RENDERED:
            return Modality.EVENT
        if words & _THERMAL:
            return Modality.THERMAL
        return Modality.DEPTH if words & _DEPTH else Modality.CAMERA
    if topic.type in DATA_TYPES[Modality.EVENT]:
        return Modality.EVENT
    if topic.type in DATA_TYPES[Modality.LIDAR] and not words & _DEPTH:
        return Modality.LIDAR
    return None


def _find_info(modality: Modality, data: str, infos: Sequence[str], taken: set[str]) -> str:
    """The CameraInfo of an image: its neighbour, else the only one left that fits by its name."""
    if beside := _siblings(data, infos):
        return beside[0]
    marks = {Modality.THERMAL: _THERMAL, Modality.EVENT: _EVENT, Modality.DEPTH: _DEPTH}
    foreign = set().union(*(words for m, words in marks.items() if m is not modality))
    own = marks.get(modality)
    fitting = [
        name
        for name in infos
        if name not in taken
        and not _words(name) & (_RESULT | foreign)
        and (own is None or _words(name) & own)
    ]
    return fitting[0] if len(fitting) == 1 else ''


def _siblings(data: str, infos: Sequence[str]) -> list[str]:
    """CameraInfo topics in the namespace of an image topic, nearest first."""
    base = data.removesuffix('/compressed')
    near = (f'{base.rpartition("/")[0]}/camera_info', f'{base}/camera_info')
    return [name for name in near if data and name in infos]


def _find_odometry(topics: Iterable[BagTopic]) -> str:
    """The topic that tells the vehicle's twist: by its type, then the one with more messages."""
    found = [
        (ODOMETRY_TYPES.index(t.type), -t.count, t.name)
        for t in topics
        if t.type in ODOMETRY_TYPES and t.count
    ]
    return min(found)[2] if found else ''


def _transforms(
    listed: Mapping[str, BagTopic], given: Mapping[str, str], role: str
) -> tuple[str, ...]:
    """Topics of transforms: the one given, else all whose last word is the role."""
    if role in given:
        return (given[role],) if given[role] else ()
    return tuple(
        t.name for t in listed.values() if t.type == TF_TYPE and t.name.split('/')[-1] == role
    )


def _is_rectified(name: str) -> bool:
    """Whether a name says that its image is rectified."""
    return bool(_words(name) & {'rect', 'rectified'})


def _words(name: str) -> set[str]:
    """Words of a topic name, lower case, numbers cut off."""
    return {word.rstrip('0123456789') for word in re.split(r'[^a-z0-9]+', name.lower())}
