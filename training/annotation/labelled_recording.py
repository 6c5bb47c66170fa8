"""What a labelled recording says of its masks, and what a person sees below them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.bundles import read_bundles
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.core.images.alignment import warp_to_camera
from sam_ad_perception.core.images.lazy_image import decode_lazy
from sam_ad_perception.core.images.rendering import picture_depth
from sam_ad_perception.core.label_files import find_label_space, label_space_from
from sam_ad_perception.core.labels import LABEL_SPACES, UNLABELED, LabelSpace
from sam_ad_perception.core.messages.from_ros import image_to_array, stamp_of, status_from_message
from sam_ad_perception.core.routing.day_or_night import estimate_condition
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.modeling.inputs.preparation import lidar_depth
from training.annotation.exchange import Mask, Picture
from training.annotation.picks import FrameFacts
from training.datasets.own.recorded_labels import (
    MASK_TOPIC,
    StampMatcher,
    find_labels,
    has_messages,
    label_folder,
)
from training.frames.frame import DatasetError

CONFIDENCE_TOPIC, STATUS_TOPIC = '/semantic/confidence', '/semantic/status'
INFO_TOPIC, POINTS_TOPIC = '/semantic/label_info', '/semantic/points'


def find_classes(reader: BagReader, named: str = '') -> LabelSpace:
    """Tell which classes the masks of a recording have.

    Args:
        reader: The recording, open.
        named: Label space that the user names; '' takes what the recording says.

    Returns:
        The label space: one that is built in where its names are those, else one of the names.

    Raises:
        DatasetError: The recording says nothing, or the name leads nowhere.
    """
    try:
        if named:
            return find_label_space(named)
        for message in reader.messages([INFO_TOPIC]):
            classes = reader.deserialize(message).class_map
            known = {int(c.class_id): str(c.class_name) for c in classes}
            for space in LABEL_SPACES.values():
                if tuple(known.get(k, '') for k in range(len(known))) == space.names:
                    return space
            return label_space_from({'names': known}, 'recorded', INFO_TOPIC)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    raise DatasetError(
        f'{reader.path} does not say what its masks mean (no {INFO_TOPIC}): give --label-space'
    )


def read_masks(bag: Path, reader: BagReader, space: LabelSpace) -> RecordedMasks:
    """Read the masks that a recording has now: corrected ones, else those of the network.

    Args:
        bag: The recording.
        reader: The same, open.
        space: The classes.

    Returns:
        Masks by stamp, each decoded when it is asked for.

    Raises:
        DatasetError: It has none.
    """
    if not has_messages(reader, MASK_TOPIC):
        raise DatasetError(f'{bag} has no masks ({MASK_TOPIC}): label it first, with sam_ad label')
    return RecordedMasks(bag, reader, space)


class RecordedMasks(Mapping[int, Mask]):
    """Masks by stamp, nanoseconds; corrected ones go before those of the network.

    Args:
        bag: The recording.
        reader: The same, open.
        space: The classes.
    """

    def __init__(self, bag: Path, reader: BagReader, space: LabelSpace) -> None:
        self._packed: dict[int, NDArray[np.uint8]] = {}
        for message in reader.messages([MASK_TOPIC]):
            image = reader.deserialize(message)
            mask, _ = image_to_array(image)
            # a drive's masks do not fit into memory
            self._packed[stamp_of(image)] = cv2.imencode('.png', mask)[1]
        self._truth = {}
        if label_folder(bag) is not None:
            self._truth = dict(find_labels(bag, reader, space).masks)

    def __getitem__(self, stamp_ns: int) -> Mask:
        """Read one mask, (H, W) uint8."""
        if stamp_ns in self._truth:
            return self._truth[stamp_ns]()
        packed = self._packed[stamp_ns]
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)

    def __iter__(self) -> Iterator[int]:
        """Stamps in the order of time."""
        return iter(sorted({*self._packed, *self._truth}))

    def __len__(self) -> int:
        """How many there are."""
        return len({*self._packed, *self._truth})

    @property
    def corrected(self) -> Collection[int]:
        """Stamps of which there is truth."""
        return self._truth.keys()


def read_facts(reader: BagReader, *, condition: bool) -> list[FrameFacts]:
    """Read what a recording says of each of its masks.

    Args:
        reader: The recording, open.
        condition: Whether day or night is told too, for which pictures are decoded.

    Returns:
        One record per mask of the network, in the order of their stamps.

    Raises:
        DatasetError: A message cannot be read.
    """
    confidence: dict[int, float] = {}
    statuses: dict[int, FrameStatus] = {}
    drawn: dict[int, NDArray[np.bool_]] = {}
    for message in reader.messages([MASK_TOPIC, CONFIDENCE_TOPIC, STATUS_TOPIC]):
        content = reader.deserialize(message)
        if message.topic == STATUS_TOPIC:
            statuses[stamp_of(content)] = status_from_message(content)
            continue
        stamp_ns, (pixels, _) = stamp_of(content), image_to_array(content)
        if message.topic == MASK_TOPIC:
            confidence[stamp_ns] = math.nan
            drawn[stamp_ns] = pixels != UNLABELED
        elif (inside := drawn.pop(stamp_ns, None)) is not None and inside.any():
            confidence[stamp_ns] = float(pixels[inside].mean()) / 255.0
    start_ns = min(confidence, default=0)
    facts = []
    for stamp_ns in sorted(confidence):
        status = statuses.get(stamp_ns, FrameStatus(stamp_ns))
        facts.append(
            FrameFacts(
                stamp_ns,
                (stamp_ns - start_ns) / 1e9,
                confidence[stamp_ns],
                status.used,
                tuple(status.missing),
                status.expert,
            )
        )
    return _tell_conditions(reader, facts) if condition else facts


def _tell_conditions(reader: BagReader, facts: list[FrameFacts]) -> list[FrameFacts]:
    """Add day or night: of the camera's picture, else of its last usable one."""
    seen = {}
    for stamp_ns, bundle in bundles_of(reader, [f.stamp_ns for f in facts]):
        frame = decode_lazy(bundle).frames.get(Modality.CAMERA)
        image = frame.data if frame is not None else None
        if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3:
            seen[stamp_ns] = estimate_condition(cast(Picture, image)).name
    told, last = [], next((seen[f.stamp_ns] for f in facts if f.stamp_ns in seen), '')
    for each in facts:
        if each.stamp_ns in seen and Modality.CAMERA not in each.missing:
            last = seen[each.stamp_ns]
        told.append(dataclasses.replace(each, condition=last))
    return told


def bundles_of(reader: BagReader, stamps: Collection[int]) -> Iterator[tuple[int, SensorBundle]]:
    """Read the bundles that masks were made of.

    Args:
        reader: The recording, open.
        stamps: Of the masks, nanoseconds.

    Yields:
        Stamp of the mask and the bundle, in the order of time.
    """
    matcher = StampMatcher(list(stamps))
    for bundle in read_bundles(reader, choose_topics(reader)):
        if isinstance(bundle, SensorBundle):
            stamp_ns = matcher.take(bundle.stamp_ns)
            if stamp_ns is not None:
                yield stamp_ns, bundle


def draw_bundle(bundle: SensorBundle, facts: FrameFacts) -> tuple[Picture, str]:
    """Draw what a person can see the classes in, in the view of the mask.

    Args:
        bundle: The sensors.
        facts: Of the mask; a camera that did not make it (black, frozen) is no help.

    Returns:
        (H, W, 3) uint8 RGB, and which sensor it is of; black and '' where no sensor gives one.
    """
    bundle = decode_lazy(bundle)
    order = [Modality.CAMERA, *(m for m in bundle.frames if m is not Modality.CAMERA)]
    used = [m for m in order if m in bundle.frames and (not facts.used or m in facts.used)]
    for modality in used:
        picture = _draw_sensor(bundle, modality)
        if picture is not None:
            return picture, str(modality)
    return np.zeros((*bundle.camera.size, 3), np.uint8), ''


def _draw_sensor(bundle: SensorBundle, modality: Modality) -> Picture | None:
    """One sensor in the camera's view; None where it cannot be shown there."""
    frame, record = bundle.frames[modality], modality.record
    if record.picture is None:
        depth = lidar_depth(bundle)
        return None if depth is None else picture_depth(depth.depth)
    picture = cast(Picture, record.call('picture', frame.data))
    if modality is Modality.CAMERA:
        return picture if picture.shape[:2] == bundle.camera.size else None
    T_camera = bundle.T_camera.get(modality)
    if frame.camera is None or T_camera is None or frame.camera.unknown_lens:
        return None
    warped, _ = warp_to_camera(picture, frame.camera, bundle.camera, T_camera)
    return np.asarray(warped, np.uint8)
