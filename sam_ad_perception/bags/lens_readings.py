"""Whether a recording's camera images are rectified, measured on some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.formats.message_types import CLOUD_TYPES, IMAGE_TYPES
from sam_ad_perception.bags.reader import BagError, BagMessage, BagReader
from sam_ad_perception.bags.topic_mapping import SensorTopics, TopicMapping
from sam_ad_perception.core.geometry.cameras import scale_camera
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.messages.compressed_images import video_codec
from sam_ad_perception.core.messages.from_ros import frame_from_message, read_camera_info
from sam_ad_perception.core.messages.transforms import TransformFeed
from sam_ad_perception.core.plausibility.lens_reading import (
    MIN_SHIFT_PX,
    Evidence,
    SeenImages,
    look_at_image,
    no_evidence,
    readings_differ,
    wrong_reading,
)
from sam_ad_perception.core.sensors import CameraModel, Modality, PointCloud

_LOOKS, _ENOUGH = 8, 6.0
_NEAR_NS = 120_000_000


def read_lens(
    reader: BagReader, mapping: TopicMapping, given: Mapping[Modality, bool]
) -> TopicMapping:
    """Find out whether the camera's images are rectified, where it makes a difference.

    Args:
        reader: The recording, open.
        mapping: Which topic is which sensor; its reading is that of the topic's name.
        given: What the user said, which is not questioned.

    Returns:
        The mapping with the reading that the images have, where they tell, and a remark.
    """
    topics = mapping.sensors.get(Modality.VIEW)
    if topics is None or not topics.data or not topics.info or Modality.VIEW in given:
        return mapping
    try:
        readings = _readings(reader, topics)
        if readings is None or readings_differ(*readings) < MIN_SHIFT_PX:
            return mapping
        evidence = _look(reader, mapping, topics, readings)
    except (BagError, ValueError):  # told of where it is read
        return mapping
    named = topics.rectified
    if evidence.rectified is None:
        text = (
            f'whether {topics.data} is rectified, its images do not tell '
            f'({evidence.words}): taken as {_word(named)} by its name'
        )
        told = replace(topics, reading=f'by its name, {evidence.words}', doubt=text)
    elif evidence.rectified is named:
        told = replace(topics, reading=evidence.words)
    else:
        found = wrong_reading(
            evidence,
            f'its topic {topics.data} is named as of {_word(named)} images',
            f'read as {_word(not named)} ones, by straight edges and depth edges; '
            f'--rectified camera:={str(named).lower()} overrules',
        )
        told = replace(
            topics, rectified=not named, reading=f'not as named: {evidence.words}', finding=found
        )
    return replace(mapping, sensors={**mapping.sensors, Modality.VIEW: told})


def _word(rectified: bool) -> str:
    return 'rectified' if rectified else 'raw'


def _readings(reader: BagReader, topics: SensorTopics) -> tuple[CameraModel, CameraModel] | None:
    """The geometry of a camera_info by P and by K and D."""
    message = next(reader.messages([topics.info]), None)
    if message is None:
        return None
    info = reader.deserialize(message)
    rectified, raw = (read_camera_info(info, rectified=each) for each in (True, False))
    return rectified, raw


def _look(
    reader: BagReader,
    mapping: TopicMapping,
    topics: SensorTopics,
    readings: tuple[CameraModel, CameraModel],
) -> Evidence:
    """Look at images from all over the recording, with the sweep beside each."""
    first_ns, last_ns = reader.span(topics.data)
    lidar = mapping.sensors.get(Modality.RANGING)
    tree = _fixed_transforms(reader, mapping)
    evidence, seen = no_evidence(), SeenImages()
    for share in (np.arange(_LOOKS) + 0.5) / _LOOKS:
        start_ns = first_ns + int(share * (last_ns - first_ns))
        message = next(reader.messages([topics.data], start_ns=start_ns), None)
        image = None if message is None else _image(reader, message)
        if message is None or image is None or not seen.is_new(image):
            continue
        models = [_of_size(each, (image.shape[0], image.shape[1])) for each in readings]
        if models[0] is None or models[1] is None:
            continue
        points, T = None, None
        if lidar is not None and lidar.data:
            points, frame = _sweep(reader, lidar.data, message.received_ns)
            T = _transform(tree, models[0].frame_id, frame)
        evidence = evidence.joined(look_at_image(image, models[0], models[1], points, T))
        if abs(evidence.total) > _ENOUGH:
            break
    return evidence


def _image(reader: BagReader, message: BagMessage) -> NDArray[np.uint8] | None:
    """The image of a message; None of video, which does not begin anywhere."""
    if message.type not in IMAGE_TYPES:
        return None
    content = reader.deserialize(message)
    if video_codec(str(getattr(content, 'format', ''))):
        return None
    try:
        data = frame_from_message(content, Modality.VIEW).data
    except ValueError:
        return None
    return np.asarray(data, np.uint8) if isinstance(data, np.ndarray) else None


def _of_size(camera: CameraModel, size: tuple[int, int]) -> CameraModel | None:
    """The geometry at the size of an image; None where it is of another aspect."""
    if abs(size[0] * camera.width - size[1] * camera.height) > max(camera.size):
        return None
    return scale_camera(camera, size)


def _sweep(
    reader: BagReader, topic: str, received_ns: int
) -> tuple[NDArray[np.floating] | None, str]:
    """Points of the sweep that was recorded next to a time, and their frame."""
    near = [
        each
        for each in reader.messages(
            [topic], start_ns=received_ns - _NEAR_NS, stop_ns=received_ns + _NEAR_NS
        )
        if each.type in CLOUD_TYPES
    ]
    if not near:
        return None, ''
    best = min(near, key=lambda each: abs(each.received_ns - received_ns))
    try:
        frame = frame_from_message(reader.deserialize(best), Modality.RANGING)
    except ValueError:
        return None, ''
    assert isinstance(frame.data, PointCloud)
    return frame.data.points, frame.frame_id


def _fixed_transforms(reader: BagReader, mapping: TopicMapping) -> TransformTree:
    """The fixed transforms of a recording."""
    tree = TransformTree()
    feed = TransformFeed(tree, mapping.sensor_names)
    for message in reader.messages(mapping.tf_static) if mapping.tf_static else ():
        feed.take(reader.deserialize(message), message.topic, static=True)
    return tree


def _transform(tree: TransformTree, camera: str, lidar: str) -> NDArray[np.float64] | None:
    """Where the lidar is, in the camera's frame; None where fixed transforms do not tell."""
    try:
        return tree.lookup(camera, lidar)
    except ValueError:
        return None
