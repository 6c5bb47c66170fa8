"""Which topic of a recording is which sensor: by what it holds and its name, always overridable.

`choose_topics` reads a message of each candidate first; `guess_topics` knows types and names.
The rules, in words. A topic without messages is nothing, and so is one whose name says that it is
a result (`semantic`, `label`, `mask`, `depth_registered`, ...). Which sensor the others may be
says `topic_roles`. `TFMessage` is tf or (by its name) tf_static; `Odometry`, else a stamped
twist, is odometry. `CameraInfo` belongs to the image in the same namespace. An image without one
takes the only CameraInfo that is left and whose name fits its sensor.

Where several fit, the first of this order is taken: one that can be read; the one that is most of
its kind (counts rather than a picture of them, a lidar rather than a stereo camera, packets rather
than pictures of events); one with a CameraInfo; one that covers the recording; an ordinary image
rather than one of an event or near-infrared camera; rectified rather than raw; one that looks
ahead (`front`, `center`) rather than elsewhere; one that is not named `right`, `rear` or `back`;
uncompressed, if it has as many messages; the one with more messages; the cloud with more points;
the first by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sam_ad_perception.bags.formats.message_types import (
    CLOUD_TYPES,
    IMAGE_TYPES,
    PACKET_TYPE,
    PACKET_TYPES,
    VIDEO_TYPES,
    unread_reason,
)
from sam_ad_perception.bags.lens_readings import read_lens
from sam_ad_perception.bags.reader import BagError, BagReader, BagTopic
from sam_ad_perception.bags.topic_mapping import (
    Candidate,
    SensorTopics,
    TopicMapping,
    info_roles,
    read_role,
    roles,
)
from sam_ad_perception.bags.topic_roles import (
    EVENT_WORDS,
    GREY_WORDS,
    RESULT_WORDS,
    Verdict,
    judge_topic,
    words_of,
)
from sam_ad_perception.bags.topic_samples import TopicSample, sample_topics
from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.messages.transforms import namespace_of, nearness
from sam_ad_perception.core.plausibility.lens_reading import named_rectified
from sam_ad_perception.core.sensor_kinds import EVENTS, POINTS, image_of
from sam_ad_perception.core.sensors import Modality

__all__ = [
    'IMAGE_TYPES',
    'INFO_TYPE',
    'ODOMETRY_TYPES',
    'PACKET_TYPE',
    'TF_TYPE',
    'Candidate',
    'SensorTopics',
    'TopicMapping',
    'choose_topics',
    'geometry_beside',
    'guess_topics',
    'image_of',
    'info_roles',
    'read_role',
    'roles',
]

INFO_TYPE = 'sensor_msgs/msg/CameraInfo'
TF_TYPE = 'tf2_msgs/msg/TFMessage'
ODOMETRY_TYPES = (
    'nav_msgs/msg/Odometry',
    'geometry_msgs/msg/TwistWithCovarianceStamped',
    'geometry_msgs/msg/TwistStamped',
)
"""What tells the vehicle's twist where no transform does; the first are preferred."""
_PICTURES = (*IMAGE_TYPES, *VIDEO_TYPES)
_PARTLY = 0.8
"""A topic covers less of the recording than another where it has less than this share of it."""


def choose_topics(
    reader: BagReader,
    overrides: Mapping[str, str] | None = None,
    rectified: Mapping[Modality, bool] | None = None,
) -> TopicMapping:
    """Find the sensors of a recording: a message of each candidate is read first.

    Whether the camera's images are rectified is told from some of them, see `lens_readings`.

    Args:
        reader: The recording, open.
        overrides: As for `guess_topics`.
        rectified: Whether a sensor's image is rectified; for the camera its images tell else.

    Returns:
        The mapping; it may be empty.

    Raises:
        BagError: As `guess_topics`.
    """
    mapping = guess_topics(reader.topics, overrides, rectified, sample_topics(reader))
    return read_lens(reader, mapping, rectified or {})


def guess_topics(
    topics: Iterable[BagTopic],
    overrides: Mapping[str, str] | None = None,
    rectified: Mapping[Modality, bool] | None = None,
    samples: Mapping[str, TopicSample] | None = None,
) -> TopicMapping:
    """Find the sensors among the topics of a recording, by the rules of this module.

    Args:
        topics: The recording's topics.
        overrides: Role (see `roles`) to topic; an empty topic switches the role off.
        rectified: Whether a sensor's image is rectified, where its name does not tell.
        samples: What a message of each topic tells; without them, types and names decide.

    Returns:
        The mapping; it may be empty.

    Raises:
        BagError: An override names an unknown role, an absent topic, or one of another type.
    """
    listed = {topic.name: topic for topic in topics}
    given = dict(overrides or {})
    _check(listed, given)
    infos = [t.name for t in listed.values() if t.type == INFO_TYPE and t.count]
    filled = [t for t in listed.values() if t.count]
    verdicts = {t.name: judge_topic(t, (samples or {}).get(t.name)) for t in filled}
    ranked = _rank(filled, infos, set(given.values()), verdicts, samples or {})
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
        if modality.info_topic:
            taken = {s.info for s in sensors.values()}
            # Without its image the camera still gives the view.
            image = data or (found[0] if found and modality is Modality.VIEW else '')
            info = given.get(role, _find_info(modality, image, infos, taken))
        if data or (info and modality is Modality.VIEW):
            # A camera that is known by its CameraInfo alone is taken as the node takes it.
            flat = (rectified or {}).get(modality, not image or named_rectified(image))
            sensors[modality] = SensorTopics(data, info, flat)
    names = [name for s in sensors.values() for name in (s.data, s.info) if name]
    tf, foreign_tf = _transforms(listed, given, 'tf', names)
    tf_static, foreign_static = _transforms(listed, given, 'tf_static', names)
    return TopicMapping(
        sensors,
        tf,
        tf_static,
        given.get('odometry', _find_odometry(listed.values())),
        passed_over,
        (*foreign_tf, *foreign_static),
        _candidates(filled, ranked, sensors, verdicts, samples or {}),
    )


def _candidates(
    filled: Sequence[BagTopic],
    ranked: Mapping[Modality, Sequence[str]],
    sensors: Mapping[Modality, SensorTopics],
    verdicts: Mapping[str, Verdict],
    samples: Mapping[str, TopicSample],
) -> tuple[Candidate, ...]:
    """Say of every topic that looks like a sensor's what became of it."""
    taken = {s.data: m for m, s in sensors.items() if s.data}
    order = [*taken, *(name for found in ranked.values() for name in found)]
    listed = {t.name: t for t in filled}
    order += [name for name in listed if name not in order]
    made = []
    for name in dict.fromkeys(order):
        topic, verdict, sample = listed.get(name), verdicts.get(name), samples.get(name)
        if topic is None or verdict is None:
            continue
        reason = unread_reason(topic.type)
        known = (*_PICTURES, *CLOUD_TYPES, *PACKET_TYPES)
        if not reason and topic.type not in known and verdict.modality is None:
            continue
        problem = sample.problem if sample else ''
        reason = reason or (f'cannot be read: {problem}' if problem else verdict.reason)
        role = taken.get(name, verdict.modality)
        overruled = name in taken and name not in ranked.get(taken[name], ())
        made.append(
            Candidate(
                name,
                topic.type,
                topic.count,
                role,
                name in taken,
                '' if overruled else reason,
                verdict.doubt and not overruled,
                sample,
                verdict.other,
            )
        )
    return tuple(made)


def types_of(modality: Modality) -> tuple[str, ...]:
    """Types that the topic of a sensor may have in a recording."""
    record = modality.record
    more = {EVENTS: PACKET_TYPES, POINTS: CLOUD_TYPES}.get(record.form, ())
    video = VIDEO_TYPES if record.takes_video else ()
    return tuple(dict.fromkeys((*record.message_types, *more, *video)))


def _check(listed: Mapping[str, BagTopic], given: Mapping[str, str]) -> None:
    """Refuse overrides that cannot be followed."""
    for role, name in given.items():
        if role not in roles():
            raise BagError(
                f'unknown role {role!r}, expected one of {roles()}{did_you_mean(role, roles())}'
            )
        if not name:
            continue
        if name not in listed:
            raise BagError(
                f'{role} is to be {name}, but the bag has only {sorted(listed)}'
                f'{did_you_mean(name, listed)}'
            )
        if role in info_roles():
            allowed: tuple[str, ...] = (INFO_TYPE,)
        elif role in ('tf', 'tf_static'):
            allowed = (TF_TYPE,)
        elif role == 'odometry':
            allowed = ODOMETRY_TYPES
        else:
            allowed = types_of(Modality(role))
        if listed[name].type not in allowed:
            raise BagError(
                f'{role} is to be {name}, which is a {listed[name].type}, '
                f'expected {" or ".join(allowed)}'
            )


def _rank(
    topics: Sequence[BagTopic],
    infos: Sequence[str],
    given: set[str],
    verdicts: Mapping[str, Verdict],
    samples: Mapping[str, TopicSample],
) -> dict[Modality, list[str]]:
    """Order the candidates of each sensor, best first; a topic given a role is no candidate."""
    ranked: dict[Modality, list[tuple[tuple[object, ...], str]]] = {m: [] for m in Modality}
    counts = {topic.name: topic.count for topic in topics}
    widest = dict.fromkeys(Modality, 0.0)
    for topic in topics:
        role, sample = verdicts[topic.name].modality, samples.get(topic.name)
        if role is not None and sample is not None and not sample.problem:
            widest[role] = max(widest[role], sample.coverage)
    for topic in topics:
        verdict, sample = verdicts[topic.name], samples.get(topic.name)
        modality = verdict.modality
        if modality is None or topic.name in given:
            continue
        words = words_of(topic.name)
        score = (
            bool(sample and sample.problem),
            modality.record.form == EVENTS and topic.type in _PICTURES,
            verdict.rank,
            not modality.info_topic or not geometry_beside(topic.name, infos),
            bool(sample and sample.coverage < _PARTLY * widest[modality]),
            modality is Modality.VIEW and bool(words & (EVENT_WORDS | GREY_WORDS)),
            not named_rectified(topic.name),
            not words & {'front', 'center', 'centre', 'forward'},
            bool(words & {'right', 'rear', 'back'}),
            _transport_rank(topic, counts),
            -topic.count,
            -sample.points if sample else 0,
        )
        ranked[modality].append((score, topic.name))
    return {modality: [name for _, name in sorted(found)] for modality, found in ranked.items()}


def _transport_rank(topic: BagTopic, counts: Mapping[str, int]) -> int:
    """0 for raw, 1 for compressed, 2 for video, or raw with fewer messages than compressed."""
    if topic.type != IMAGE_TYPES[0]:
        return 1 if topic.type == IMAGE_TYPES[1] else 2
    twins = [n for n in counts if n.startswith(f'{topic.name}/')]
    most = max((counts[name] for name in twins), default=0)
    return 2 if topic.count < _PARTLY * most else 0


def _find_info(modality: Modality, data: str, infos: Sequence[str], taken: set[str]) -> str:
    """The CameraInfo of an image: its neighbour, else the only one left that fits by its name."""
    if beside := geometry_beside(data, infos):
        return beside[0]
    marks = {m: m.record.topic_words for m in Modality if m.kind is m and m.record.topic_words}
    foreign = set().union(*(words for m, words in marks.items() if m is not modality.kind))
    own = marks.get(modality.kind)
    fitting = [
        name
        for name in infos
        if name not in taken
        and not words_of(name) & (RESULT_WORDS | foreign)
        and (own is None or words_of(name) & own)
    ]
    return fitting[0] if len(fitting) == 1 else ''


def geometry_beside(data: str, infos: Sequence[str]) -> list[str]:
    """Find the CameraInfo topics in the namespace of an image topic.

    Args:
        data: The image topic.
        infos: Topics of CameraInfo.

    Returns:
        Those beside it, nearest first.
    """
    base = image_of(data)
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
    listed: Mapping[str, BagTopic], given: Mapping[str, str], role: str, sensors: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Topics of transforms, and those of other vehicles.

    The one given; else those whose last word is the role: of the root and of the namespaces that
    hold a sensor, or all where none of them holds one.
    """
    if role in given:
        return ((given[role],) if given[role] else ()), ()
    found = [
        t.name for t in listed.values() if t.type == TF_TYPE and t.name.split('/')[-1] == role
    ]
    near = {name: nearness(namespace_of(name), sensors) for name in found}
    own = max(near.values(), default=0) > 0
    taken = [name for name in found if near[name] >= 0] if own else found
    return tuple(taken), tuple(name for name in found if name not in taken)
