"""Samples of topics: one message of each, and how much of the recording it covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.formats.message_types import (
    CLOUD_TYPES,
    IMAGE_TYPES,
    PACKET_TYPES,
    VIDEO_TYPES,
)
from sam_ad_perception.bags.reader import BagMessage, BagReader, BagTopic
from sam_ad_perception.core.events.packets import (
    EVENT_ARRAY,
    EVENT_ARRAY_TYPES,
    EventPacket,
    packet_from_event_array,
    packet_from_message,
)
from sam_ad_perception.core.images.lazy_image import check_megapixels
from sam_ad_perception.core.messages.compressed_images import compressed_to_array, video_codec
from sam_ad_perception.core.messages.from_ros import cloud_from_message, frame_of, image_to_array
from sam_ad_perception.core.messages.image_encodings import EncodingError, image_size, to_rgb
from sam_ad_perception.core.messages.image_size import image_size_of
from sam_ad_perception.core.messages.livox import LIVOX_TYPES, sweep_from_livox
from sam_ad_perception.core.sensors import PointCloud
from sam_ad_perception.core.synchronization.bundler import BundlerConfig

SAMPLED_TYPES = (*IMAGE_TYPES, *VIDEO_TYPES, *CLOUD_TYPES, *PACKET_TYPES)


@dataclass(frozen=True)
class TopicSample:
    """What a message from the middle of a topic tells.

    Attributes:
        encoding: Of an image, as it decodes; of video, the codec; of event packets theirs.
        size: `(H, W)` of an image or of an event camera, pixels.
        frame_id: Frame of the message.
        fields: Names of the fields of a cloud.
        is_grey: Whether all channels of a colour image are equal.
        is_specks: Whether an image is single dots of few colours on a plain ground.
        pedestal: 1st percentile over 99th percentile of the values of a grey image of 16 bits.
        lowest: 1st percentile of those values.
        points: Of a cloud, how many.
        intensity_varies: Whether the intensity of a cloud changes from point to point.
        is_optical: Whether all points lie in front of an optical frame (z forward).
        coverage: Time from the first to the last message, as a share of the recording.
        problem: Why the message cannot be read; '' where it can.
    """

    encoding: str = ''
    size: tuple[int, int] | None = None
    frame_id: str = ''
    fields: tuple[str, ...] = field(default_factory=tuple)
    is_grey: bool = False
    is_specks: bool = False
    pedestal: float = 0.0
    lowest: int = 0
    points: int = 0
    intensity_varies: bool = False
    is_optical: bool = False
    coverage: float = 1.0
    problem: str = ''


def sample_topics(reader: BagReader) -> Mapping[str, TopicSample]:
    """Read one message of each topic that may be a sensor.

    Args:
        reader: The recording, open.

    Returns:
        Topic name to what its message tells.
    """
    return {
        topic.name: _sample(reader, topic)
        for topic in reader.topics
        if topic.type in SAMPLED_TYPES and topic.count
    }


def _sample(reader: BagReader, topic: BagTopic) -> TopicSample:
    """Read a message from the middle of a topic: the first ones of a camera may be black."""
    first_ns, last_ns = reader.span(topic.name)
    coverage = min(1.0, (last_ns - first_ns) / max(1, reader.end_ns - reader.start_ns))
    middle_ns = (first_ns + last_ns) // 2
    message = next(reader.messages([topic.name], start_ns=middle_ns), None)
    message = message or next(reader.messages([topic.name]), None)
    if message is None:
        return TopicSample(coverage=0.0, problem='its messages are damaged')
    try:
        sample = _read(reader, message)
    except ValueError as err:
        sample = TopicSample(problem=str(err))
    return replace(sample, coverage=coverage)


def _read(reader: BagReader, message: BagMessage) -> TopicSample:
    """Read what a message tells."""
    if message.type in LIVOX_TYPES:
        reader.check_type(message)
        sweep = sweep_from_livox(message.data)
        assert isinstance(sweep.data, PointCloud)
        return _sample_cloud(sweep.data, sweep.frame_id)
    if message.type in PACKET_TYPES:
        reader.check_type(message)
        return _sample_packet(
            packet_from_event_array(message.data)
            if message.type in EVENT_ARRAY_TYPES
            else packet_from_message(reader.deserialize(message))
        )
    content = reader.deserialize(message)
    if message.type in VIDEO_TYPES:
        return TopicSample('video')
    if message.type in CLOUD_TYPES:
        cloud, _ = cloud_from_message(content)
        return _sample_cloud(cloud, frame_of(content))
    if (size := image_size_of(content)) is not None:
        check_megapixels('image', size, BundlerConfig().max_megapixels)
    if hasattr(content, 'format'):
        if video_codec(str(content.format)):
            return TopicSample('video', frame_id=frame_of(content))
        pixels, encoding = compressed_to_array(content)
    else:
        pixels, encoding = image_to_array(content)
    return replace(_sample_image(pixels, encoding), frame_id=frame_of(content))


def _sample_image(pixels: NDArray[Any], encoding: str) -> TopicSample:
    """Describe an image."""
    size = image_size(pixels, encoding)
    pedestal, low = 0.0, 0.0
    if pixels.ndim == 2 and pixels.dtype.itemsize == 2:
        low, high = np.percentile(pixels[::4, ::4], (1, 99))
        pedestal = float(low / high) if high > 0 else 0.0
    try:
        rgb = to_rgb(pixels, encoding)
    except EncodingError:
        return TopicSample(encoding, size, pedestal=pedestal, lowest=int(low))
    spread = rgb[::2, ::2].max(axis=2).astype(np.int16) - rgb[::2, ::2].min(axis=2)
    is_grey = bool(np.mean(spread <= 6) > 0.99)
    return TopicSample(
        encoding,
        size,
        is_grey=is_grey,
        is_specks=_is_specks(rgb),
        pedestal=pedestal,
        lowest=int(low),
    )


def _is_specks(rgb: NDArray[np.uint8]) -> bool:
    """Whether a picture is dots of few colours on a plain ground, as events are drawn."""
    r, g, b = (rgb[..., k].astype(np.uint32) for k in range(3))
    colours, counts = np.unique(r << 16 | g << 8 | b, return_counts=True)
    ground = colours[np.argmax(counts)]
    dots = (r << 16 | g << 8 | b) != ground
    share = float(dots.mean())
    if len(colours) > 32 or not 0.0005 < share < 0.5:
        return False
    changes = float((dots[:, 1:] != dots[:, :-1]).mean())
    return changes > 0.5 * share  # a dot begins and ends; an area does so once for many pixels


def _sample_packet(packet: EventPacket) -> TopicSample:
    """Describe a packet of events; that of an array is named after its message alone."""
    encoding = '' if packet.encoding == EVENT_ARRAY else packet.encoding
    size = packet.size if all(packet.size) else None
    return TopicSample(encoding, size, frame_id=packet.frame_id)


def _sample_cloud(cloud: PointCloud, frame_id: str) -> TopicSample:
    """Describe a cloud."""
    names = tuple(name for name, *_ in cloud.source.fields) if cloud.source else ()
    shown = cloud.intensity[:4096] if cloud.intensity is not None else None
    varies = shown is not None and len(shown) > 0 and bool(shown.max() > shown.min())
    forward = bool(len(cloud.points)) and bool((cloud.points[:, 2] > 0).all())
    return TopicSample(
        frame_id=frame_id,
        fields=names,
        points=len(cloud.points),
        intensity_varies=varies,
        is_optical=forward,
    )
