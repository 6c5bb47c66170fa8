"""Which sensor a topic may be: by what its message holds, then by words of its name.

An image is depth where it is 16UC1 or 32FC1 and not called thermal; thermal where it is called so
(`thermal`, `lwir`, `boson`, ...), or where it is called infrared and its 16-bit counts stand on a
pedestal, as those of thermal cameras do; else a camera. `flir` is a maker of both: colours make it
a camera. An image that is called infrared and is not thermal is near infrared: a camera if nothing
else is there. A picture that is dots on a plain ground shows events. A cloud with colours, in an
optical frame or called like a stereo camera comes behind every lidar's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sam_ad_perception.bags.formats.message_types import (
    CLOUD_TYPES,
    IMAGE_TYPES,
    PACKET_TYPES,
    VIDEO_TYPES,
)
from sam_ad_perception.bags.reader import BagTopic
from sam_ad_perception.bags.topic_samples import TopicSample
from sam_ad_perception.core.events.packets import ENCODINGS as EVENT_ENCODINGS
from sam_ad_perception.core.sensor_kinds import EVENTS, IMAGE, POINTS, SENSOR_KINDS
from sam_ad_perception.core.sensors import Modality

THERMAL_WORDS = frozenset(
    {
        *('thermal', 'lwir', 'boson', 'lepton', 'optris', 'seek', 'microbolometer', 'tau'),
        *('teax', 'xenics', 'gobi', 'workswell', 'infiray', 'vayu'),
    }
)
INFRARED_WORDS = frozenset({'ir', 'infrared', 'infra', 'nir'})
DEPTH_WORDS = Modality.DEPTH.record.topic_words
EVENT_WORDS = Modality.EVENT.record.topic_words
GREY_WORDS = frozenset({'infra', 'mono', 'gray', 'grey'})
RESULT_WORDS = frozenset(
    {
        *('semantic', 'label', 'labels', 'labeled', 'mask', 'segmentation', 'confidence'),
        *('overlay', 'debug', 'registered', 'heatmap', 'costmap', 'map', 'truth', 'annotated'),
        *('filtered', 'radar', 'obstacles', 'clusters', 'theora'),
    }
)
_CLOUD_RESULT_WORDS = frozenset(
    {
        *(
            'ground',
            'nonground',
            'obstacle',
            'cluster',
            'clustered',
            'segmented',
            'cropped',
            'crop',
        ),
        *('downsampled', 'voxel', 'voxels', 'voxelized', 'sampled', 'inliers', 'outliers'),
        *('accumulated', 'aggregated', 'submap', 'globalmap', 'localmap', 'features', 'edges'),
    }
)
"""What programs call clouds that they have made of sweeps."""
_DEPTH_RESULT_WORDS = frozenset({'registered', 'map'})
"""What drivers of depth cameras call their own images, and what results are called."""
_OWN_DEPTH = re.compile(r'(^|/)depth_registered/(image_rect|image_raw|measured)$')
_MAKER_WORDS = frozenset({'flir'})
_RENDERED_WORDS = frozenset({'rendering', 'rendered', 'renderer'})
_COLOUR_WORDS = frozenset({'rgb', 'color', 'colour'})
_LIDAR_IMAGE_WORDS = frozenset({'range', 'signal', 'reflec', 'nearir', 'reflectivity', 'ambient'})
_LIDAR_WORDS = frozenset(
    {
        *('lidar', 'velodyne', 'ouster', 'hesai', 'pandar', 'rslidar', 'robosense', 'livox'),
        *('luminar', 'innoviz', 'seyond', 'innovusion', 'lslidar', 'vlp', 'os', 'laser', 'sick'),
    }
)
_STEREO_WORDS = frozenset(
    {
        *('stereo', 'oak', 'zed', 'realsense', 'kinect', 'k4a', 'astra', 'rgbd', 'camera', 'cam'),
        *('depth', 'disparity', 'color', 'rgb'),
    }
)
_RADAR_FIELDS = frozenset({'doppler', 'rcs', 'snr', 'radial_speed', 'velocity', 'v_r'})
_HOT_COUNTS = 15_000
"""Depths in millimetres that all lie beyond 15 m are none: they are counts, of kelvin/100 say."""
_PEDESTAL = 0.7
"""Counts of thermal cameras lie close together, far from zero; those of light begin at zero."""


@dataclass(frozen=True)
class Verdict:
    """What a topic may be.

    Attributes:
        modality: The sensor; None where it is none that is read.
        rank: 0 for a plain one; higher for what is taken only if nothing lower is there.
        reason: Why it is no sensor, or why it ranks behind others; '' for a plain one.
        doubt: Whether somebody should look, for another answer is possible.
        other: The sensor that it may be instead; None for no other.
    """

    modality: Modality | None
    rank: int = 0
    reason: str = ''
    doubt: bool = False
    other: Modality | None = None


def judge_topic(topic: BagTopic, sample: TopicSample | None = None) -> Verdict:
    """Say which sensor a topic may be.

    Args:
        topic: The topic.
        sample: What a message of it tells; None where only its name is known.

    Returns:
        The verdict.
    """
    words = words_of(topic.name)
    if (brought := _judge_brought(topic, words)) is not None:
        return brought
    found = words & RESULT_WORDS
    if topic.type in CLOUD_TYPES:
        found |= words & _CLOUD_RESULT_WORDS
    if found and not _is_measured_depth(topic, words, found, sample):
        return Verdict(None, reason=f'called {", ".join(sorted(found))}: a result')
    if topic.type in PACKET_TYPES:
        encoding = sample.encoding if sample else ''
        if encoding and encoding not in EVENT_ENCODINGS:
            return Verdict(Modality.EVENT, 9, f'its encoding {encoding!r} is not known here')
        return Verdict(Modality.EVENT)
    if topic.type in CLOUD_TYPES:
        return _judge_cloud(words, sample)
    if topic.type not in (*IMAGE_TYPES, *VIDEO_TYPES):
        return Verdict(None, reason=f'{topic.type} is no sensor')
    if sample is None or sample.problem or sample.encoding == 'video':
        return _judge_by_name(words)
    return _judge_image(words, sample)


def _is_measured_depth(
    topic: BagTopic, words: set[str], found: set[str], sample: TopicSample | None
) -> bool:
    """Whether an image that is called like a result is a depth camera's own.

    `depth/depth_map`, `depth/depth_registered` and the 16UC1 images of `depth_registered` are;
    `depth_registered/image_rect` in 32FC1 is what perception publishes.
    """
    if sample is None or not words & DEPTH_WORDS or found - _DEPTH_RESULT_WORDS:
        return False
    wide = sample.encoding.startswith(('16UC1', '32FC1', 'mono16'))
    return wide and not (sample.encoding == '32FC1' and _OWN_DEPTH.search(topic.name))


def _judge_brought(topic: BagTopic, words: set[str]) -> Verdict | None:
    """Judge a topic called like one of several sensors of a kind, or of a kind of a package."""
    for modality in Modality:
        if modality.kind is not modality and topic.name.endswith(f'/{modality.topic}'):
            fits = topic.type in modality.record.message_types
            return Verdict(modality) if fits else Verdict(None, reason=f'no {topic.type} is one')
    for name, kind in SENSOR_KINDS.foreign.items():
        own_type = topic.type not in (*IMAGE_TYPES, *CLOUD_TYPES, *PACKET_TYPES, *VIDEO_TYPES)
        if topic.type in kind.message_types and (own_type or words & kind.topic_words):
            return Verdict(Modality(name))
    return None


def words_of(name: str) -> set[str]:
    """Words of a topic name, lower case, numbers cut off."""
    return {word.rstrip('0123456789') for word in re.split(r'[^a-z0-9]+', name.lower())}


def _judge_by_name(words: set[str]) -> Verdict:
    """Judge an image that was not read."""
    if words & EVENT_WORDS and words & _RENDERED_WORDS:
        return Verdict(Modality.EVENT)
    if words & (THERMAL_WORDS | _MAKER_WORDS | {'ir', 'infrared'}):
        return Verdict(Modality.THERMAL)
    return Verdict(Modality.DEPTH if words & DEPTH_WORDS else Modality.CAMERA)


def _judge_image(words: set[str], sample: TopicSample) -> Verdict:
    """Judge an image by what it holds."""
    if sample.is_specks or (words & EVENT_WORDS and words & _RENDERED_WORDS):
        return Verdict(Modality.EVENT, reason='a picture of events')
    encoding = sample.encoding
    is_wide = encoding in ('mono16', '16UC1', '32FC1', '16SC1', '32SC1', '64FC1')
    called_thermal = bool(words & THERMAL_WORDS) or (
        is_wide and bool(words & _MAKER_WORDS) and not words & DEPTH_WORDS
    )
    if is_wide and words & _LIDAR_IMAGE_WORDS:
        return Verdict(None, reason='a picture that a lidar draws of its ranges or intensities')
    if called_thermal:
        return _judge_thermal(encoding, is_wide, sample)
    if words & DEPTH_WORDS and not words & _COLOUR_WORDS:
        if encoding.startswith(('16UC1', '32FC1', 'mono16', '64FC1')):
            return Verdict(Modality.DEPTH)
        return Verdict(None, reason=f'called depth, but {encoding}: a picture of depths')
    if words & INFRARED_WORDS and (is_wide or sample.is_grey):
        return _judge_infrared(words, is_wide, sample)
    if encoding == '16UC1' and sample.pedestal > _PEDESTAL and sample.lowest > _HOT_COUNTS:
        return Verdict(
            Modality.THERMAL,
            3,
            f'no depths: all values lie between {sample.lowest} and a little more',
            True,
            Modality.DEPTH,
        )
    if encoding in ('16UC1', '32FC1', '64FC1'):
        return Verdict(Modality.DEPTH, reason=f'{encoding}: depths, not colours')
    if encoding.startswith(('16S', '32S', '8S')):
        return Verdict(None, reason=f'{encoding} is neither colour nor grey nor depth')
    if words & _MAKER_WORDS and sample.is_grey:
        return Verdict(
            Modality.THERMAL, 1, f'{encoding} of a maker of cameras and thermal cameras', True
        )
    return Verdict(Modality.CAMERA)


def _judge_thermal(encoding: str, is_wide: bool, sample: TopicSample) -> Verdict:
    """Judge an image that is called thermal."""
    if is_wide:
        return Verdict(Modality.THERMAL)
    if sample.is_grey:
        return Verdict(Modality.THERMAL, 1, f'{encoding}: a picture of 8 bits')
    return Verdict(Modality.THERMAL, 2, f'{encoding}: temperatures in false colours', True)


def _judge_infrared(words: set[str], is_wide: bool, sample: TopicSample) -> Verdict:
    """Judge a grey image that is called infrared: thermal, or light beyond red?"""
    if is_wide and sample.pedestal > _PEDESTAL:
        return Verdict(Modality.THERMAL, 0, 'its counts are those of a thermal camera', True)
    return Verdict(
        Modality.CAMERA,
        5,
        'called infrared, with values of light, not of heat: near infrared',
        'infra' not in words,
        Modality.THERMAL,
    )


def _judge_cloud(words: set[str], sample: TopicSample | None) -> Verdict:
    """Judge a cloud: how much speaks for a stereo camera."""
    if sample is None:
        stereo = bool(words & DEPTH_WORDS)
        return Verdict(None if stereo else Modality.LIDAR, reason='a depth camera' * stereo)
    fields = set(sample.fields)
    if fields & _RADAR_FIELDS and 'ring' not in fields:
        return Verdict(None, reason='its fields are those of a radar')
    signs = []
    if fields & {'rgb', 'rgba'} and not fields & {'ring', 'intensity', 't', 'time', 'timestamp'}:
        signs.append('its points have colours')
    if sample.is_optical and 'optical' in sample.frame_id and 'ring' not in fields:
        signs.append(f'it is in the optical frame {sample.frame_id!r}')
    if words & _STEREO_WORDS and not words & _LIDAR_WORDS and 'ring' not in fields:
        signs.append(f'it is called {", ".join(sorted(words & _STEREO_WORDS))}')
    if signs:
        return Verdict(Modality.LIDAR, 5, f'a stereo or depth camera: {"; ".join(signs)}', True)
    known = bool(words & _LIDAR_WORDS or fields & {'ring', 't', 'time', 'timestamp'})
    known = known or sample.intensity_varies
    doubtful = 'its intensity is constant' if sample.points else 'a message of it holds no point'
    return Verdict(Modality.LIDAR, 0 if known else 1, '' if known else doubtful)


def form_of_type(kind: str) -> str:
    """Guess from the name of a message type what a sensor that sends it measures.

    Args:
        kind: The type, for example `livox_ros_driver2/msg/CustomMsg`.

    Returns:
        One of `core.sensor_kinds.FORMS`.
    """
    name = kind.lower()
    if 'event' in name:
        return EVENTS
    marks = ('image', 'camera', 'video', 'thermal', 'ffmpeg', 'theora', 'stereo')
    return IMAGE if any(mark in name for mark in marks) else POINTS
