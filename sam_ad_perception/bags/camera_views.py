"""The cameras of a recording: each image topic with its CameraInfo is a view with a name.

A view is named after what distinguishes its topic from those of the other cameras:
`/camera/front/image_rect` and `/camera/left/image_rect` are `front` and `left`. All views have the
other sensors in common. Of pictures that share a CameraInfo one is a view: the best by the rules
of `bags.topics`; likewise of those that share a frame, unless their topics name two cameras.
Depth, thermal and event pictures are no cameras, nor is near infrared where light is recorded,
too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sam_ad_perception.bags.lens_readings import read_lens
from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.bags.topic_mapping import Candidate, TopicMapping
from sam_ad_perception.bags.topic_roles import EVENT_WORDS, words_of
from sam_ad_perception.bags.topic_samples import TopicSample, sample_topics
from sam_ad_perception.bags.topics import INFO_TYPE, geometry_beside, guess_topics, image_of
from sam_ad_perception.core.sensors import Modality

_PICTURE_WORDS = frozenset(
    {'image', 'images', 'img', 'raw', 'rect', 'rectified', 'color', 'colour', 'mono', 'rgb'}
)
_ONE_CAMERA = _PICTURE_WORDS | {
    *('copy', 'grey', 'gray', 'crop', 'cropped', 'small', 'resized', 'scaled', 'undistorted'),
    *('undistort', 'debug', 'processed', 'republished', 'compressed', 'decompressed', 'throttled'),
    *('throttle', 'out', 'output', 'relay', 'proc', 'hd', 'low', 'high', 'full', 'preview'),
}
"""Words of topics that tell of one camera's picture, not of another camera."""
_SINGLE = ('camera', 'camera_info')  # a role that is given names the one camera that is labelled


@dataclass(frozen=True)
class CameraViews:
    """The cameras that are labelled.

    Attributes:
        mappings: Name of each view -> which topic is which sensor; one empty name for a single
            camera.
        left_out: What looks like a sensor and is not read: topic, number of messages, why.
    """

    mappings: Mapping[str, TopicMapping]
    left_out: tuple[tuple[str, str, str], ...] = field(default_factory=tuple)

    @property
    def topics(self) -> dict[str, str]:
        """Name of each view -> topic of its images; '' where only its geometry is there."""
        found = {}
        for name, mapping in self.mappings.items():
            camera = mapping.sensors.get(Modality.CAMERA)
            found[name] = camera.data if camera is not None else ''
        return found


def choose_views(
    reader: BagReader,
    overrides: Mapping[str, str] | None = None,
    rectified: Mapping[Modality, bool] | None = None,
    wanted: Mapping[str, str] | None = None,
) -> CameraViews:
    """Find the cameras of a recording.

    Args:
        reader: The recording, open.
        overrides: As for `choose_topics`; one that names the camera or its geometry makes it the
            only one.
        rectified: As for `choose_topics`.
        wanted: Names of the views, each with the topic of its images, or '' where its name tells;
            None for every camera there is.

    Returns:
        The views; a recording without camera has one, too, in which its sensors are.

    Raises:
        BagError: A view or an override names what the recording does not have.
    """
    given, samples = dict(overrides or {}), sample_topics(reader)
    base = guess_topics(reader.topics, given, rectified, samples)
    single = [role for role in _SINGLE if role in given]
    if wanted and single:
        raise BagError(
            f'both the views {", ".join(wanted)} and the role {single[0]} are given: a view names '
            'the images of each camera, that role those of a single one'
        )
    if single:
        read = read_lens(reader, base, rectified or {})
        return CameraViews({'': read}, tuple(base.left_out()))
    infos = [t.name for t in reader.topics if t.type == INFO_TYPE and t.count]
    cameras, reasons = _find_cameras(base, infos, samples)
    if wanted:
        named = _match(wanted, name_views(cameras), reader)
    elif len(cameras) > 1:
        named = name_views(cameras)
    else:
        read = read_lens(reader, base, rectified or {})
        return CameraViews({'': read}, _left_out(base, reasons, (), several=False))
    mappings = {
        name: read_lens(
            reader,
            guess_topics(reader.topics, given | {'camera': topic}, rectified, samples),
            rectified or {},
        )
        for name, topic in named.items()
    }
    taken = tuple(named.values())
    reasons |= {topic: 'none names it' for topic in cameras if topic not in taken}
    return CameraViews(mappings, _left_out(base, reasons, taken, several=True))


def list_cameras(reader: BagReader, overrides: Mapping[str, str] | None = None) -> dict[str, str]:
    """Find the cameras of a recording by a message of each, without a look at their lenses.

    Args:
        reader: The recording, open.
        overrides: As for `choose_topics`.

    Returns:
        Name of the view that each would be -> topic of its images; the one chosen first.
    """
    samples = sample_topics(reader)
    base = guess_topics(reader.topics, dict(overrides or {}), None, samples)
    infos = [t.name for t in reader.topics if t.type == INFO_TYPE and t.count]
    return name_views(_find_cameras(base, infos, samples)[0])


def name_views(topics: Sequence[str]) -> dict[str, str]:
    """Name the views of several cameras after what distinguishes their topics.

    Args:
        topics: Topics of their images.

    Returns:
        Name -> topic; a name is one that ROS allows.
    """
    paths = [_path_of(topic) for topic in topics]
    while len(paths) > 1 and all(len(p) > 1 for p in paths) and len({p[0] for p in paths}) == 1:
        paths = [path[1:] for path in paths]
    while len(paths) > 1 and all(len(p) > 1 for p in paths) and len({p[-1] for p in paths}) == 1:
        paths = [path[:-1] for path in paths]
    named: dict[str, str] = {}
    for path, topic in zip(paths, topics, strict=True):
        plain = re.sub(r'[^A-Za-z0-9]+', '_', '_'.join(path)).strip('_')
        first = plain if plain[:1].isalpha() else f'camera_{plain}'.rstrip('_')
        name, number = first, 2
        while name in named:
            name = f'{first}_{number}'
            number += 1
        named[name] = topic
    return named


def _path_of(topic: str) -> list[str]:
    """The parts of a topic name that tell which camera it is of."""
    parts = image_of(topic).strip('/').split('/')
    while len(parts) > 1 and words_of(parts[-1]) <= _PICTURE_WORDS:
        parts.pop()
    return parts


def _left_out(
    base: TopicMapping, reasons: Mapping[str, str], taken: Collection[str], *, several: bool
) -> tuple[tuple[str, str, str], ...]:
    """List what no view reads: topic, messages, why."""
    rows = []
    for name, count, reason in base.left_out():
        if name in taken:
            continue
        if name in reasons:
            why = reasons[name]
            more = '' if why and why in reason else f'; {why}'
            told = f'no view: {why}' if several else f'{reason}{more}' * (why != '')
            reason = f'{told} (--view NAME:={name} takes it)' if told else reason
        rows.append((name, count, reason))
    chosen = next((t.data for m, t in base.sensors.items() if m is Modality.CAMERA), '')
    if several and chosen and chosen not in taken:
        count = next(str(c.count) for c in base.candidates if c.name == chosen)
        rows.append((chosen, count, f'no view: none names it (--view NAME:={chosen} takes it)'))
    return tuple(rows)


def _find_cameras(
    base: TopicMapping, infos: Sequence[str], samples: Mapping[str, TopicSample]
) -> tuple[list[str], dict[str, str]]:
    """Find the topics that are views, the one chosen first.

    Returns:
        Those; and of other pictures of cameras why they are none, '' for one that differs from a
        view by its transport alone.
    """
    cameras: list[str] = []
    reasons: dict[str, str] = {}
    by_info: dict[str, str] = {}
    by_frame: dict[str, list[str]] = defaultdict(list)
    for each in base.candidates:
        if each.role is not Modality.CAMERA:
            continue
        beside = geometry_beside(each.name, infos)
        info, sample = beside[0] if beside else '', samples.get(each.name)
        frame = sample.frame_id if sample else ''
        reason = '' if each.chosen else _why_none(each, info, by_info)
        if not each.chosen and not reason:
            same = [view for view in by_frame[frame] if not _are_apart(each.name, view)]
            if same:
                reason = f'its frame {frame!r} is that of {same[0]}'
        if each.chosen or not reason:
            cameras.append(each.name)
            by_info.setdefault(info, each.name)
            by_frame[frame].append(each.name)
        else:
            reasons[each.name] = reason
    return cameras, reasons


def _are_apart(one: str, other: str) -> bool:
    """Whether two topics name two cameras: each is of something that the other is not.

    `/front/image` and `/rear/image` are; `/zed/rgb/image` and `/zed/left/image` need not be.
    """
    first, second = (
        {part.lower() for part in re.findall('[A-Za-z]+|[0-9]+', image_of(name))} - _ONE_CAMERA
        for name in (one, other)
    )
    return bool(first - second and second - first)


def _why_none(each: Candidate, info: str, by_info: Mapping[str, str]) -> str:
    """Say why a picture is no view of its own; '' where it is one."""
    if not info:
        return 'it has no camera_info'
    if info in by_info:
        return f'it shares {info} with {by_info[info]}'
    if each.reason:
        return each.reason
    if words_of(each.name) & EVENT_WORDS:
        return 'it is the picture of an event camera'
    return ''


def _match(
    wanted: Mapping[str, str], known: Mapping[str, str], reader: BagReader
) -> dict[str, str]:
    """Find the topic of each view that is asked for."""
    listed = ', '.join(f'{name} ({topic})' for name, topic in known.items()) or 'none'
    found: dict[str, str] = {}
    for name, topic in wanted.items():
        if topic:
            found[name] = topic
            continue
        fitting = [t for guess, t in known.items() if guess.lower() == name.lower()]
        fitting = fitting or [
            t for t in known.values() if name.lower() in t.lower().strip('/').split('/')
        ]
        if len(fitting) != 1:
            what = 'is no camera' if not fitting else f'may be {" or ".join(fitting)}'
            raise BagError(
                f'the view {name} {what} of {reader.path}, whose cameras are {listed}: '
                f'--view {name}:=TOPIC names its images'
            )
        found[name] = fitting[0]
    twice = [t for t in found.values() if list(found.values()).count(t) > 1]
    if twice:
        names = [name for name, topic in found.items() if topic == twice[0]]
        raise BagError(f'the views {" and ".join(names)} are the same camera, {twice[0]}')
    return found
