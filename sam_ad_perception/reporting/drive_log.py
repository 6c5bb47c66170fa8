"""What a run did, frame by frame, read back from the bag that it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.core.conversions import (
    compressed_to_array,
    image_to_array,
    stamp_of,
    status_from_message,
)
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.status import FrameStatus

MASK_TOPIC = 'semantic/image'
STATUS_TOPIC = 'semantic/status'
DEPTH_TOPIC = 'depth_registered/image_rect'


@dataclass(frozen=True)
class FrameLog:
    """One reference frame.

    Attributes:
        status: What the node said of it.
        miou: Mean IoU of its mask over the classes in truth or mask; None without truth or mask.
    """

    status: FrameStatus
    miou: float | None = None


@dataclass(frozen=True, eq=False)
class DriveLog:
    """A whole run.

    Attributes:
        frames: Ordered by stamp; every reference frame that has a status.
        masks: Stamp, nanoseconds -> (H, W) uint8 label ids.
        depths: Stamp, nanoseconds -> (H, W) float32, metres.
        confusion: Over all pixels of all masks that have a truth.
    """

    frames: tuple[FrameLog, ...]
    masks: Mapping[int, NDArray[np.uint8]]
    depths: Mapping[int, NDArray[np.float32]]
    confusion: ConfusionMatrix

    @property
    def published(self) -> int:
        """Number of masks."""
        return len(self.masks)


def read_drive_log(
    outputs: Path, space: LabelSpace, truth: Mapping[int, NDArray[np.uint8]] | None = None
) -> DriveLog:
    """Read a labelled bag, made live by the recorder or offline by `sam_ad label`.

    Args:
        outputs: The bag; its topics may stand below a namespace.
        space: Label space of its masks.
        truth: Stamp, nanoseconds -> (H, W) uint8 true ids, where known.

    Returns:
        The log.

    Raises:
        BagError: The bag is unreadable or holds no status.
    """
    statuses: dict[int, FrameStatus] = {}
    masks: dict[int, NDArray[np.uint8]] = {}
    depths: dict[int, NDArray[np.float32]] = {}
    with BagReader(outputs) as bag:
        for message in bag.messages([t.name for t in bag.topics if _kind(t.name)]):
            content, kind = bag.deserialize(message), _kind(message.topic)
            if kind == STATUS_TOPIC:
                status = status_from_message(content)
                statuses[status.stamp_ns] = status
            elif kind == MASK_TOPIC:
                masks[stamp_of(content)] = _pixels(content)
            else:
                depths[stamp_of(content)] = _pixels(content)
    if not statuses:
        raise BagError(f'{outputs} holds no message on {STATUS_TOPIC}')
    return _compare([statuses[s] for s in sorted(statuses)], masks, depths, space, truth or {})


def read_truth(inputs: Path, topic: str = '/ground_truth/image') -> dict[int, NDArray[np.uint8]]:
    """Read the true labels that the simulator wrote.

    Args:
        inputs: A simulated bag.
        topic: Topic of the label images.

    Returns:
        Stamp, nanoseconds -> (H, W) uint8 ids; empty where the bag has no such topic.

    Raises:
        BagError: The bag is unreadable.
    """
    with BagReader(inputs) as bag:
        contents = (bag.deserialize(message) for message in bag.messages([topic]))
        return {stamp_of(content): _pixels(content) for content in contents}


def _kind(topic: str) -> str | None:
    """Which of the topics above a name means, whatever its namespace."""
    for kind in (MASK_TOPIC, STATUS_TOPIC, DEPTH_TOPIC):
        if topic == kind or topic.endswith(f'/{kind}'):
            return kind
    return None


def _pixels(message: Any) -> NDArray[Any]:
    compressed = hasattr(message, 'format')
    array, _ = compressed_to_array(message) if compressed else image_to_array(message)
    # The array is a view of the message; the log outlives it.
    return array.copy()


def _compare(
    statuses: list[FrameStatus],
    masks: dict[int, NDArray[np.uint8]],
    depths: dict[int, NDArray[np.float32]],
    space: LabelSpace,
    truth: Mapping[int, NDArray[np.uint8]],
) -> DriveLog:
    total = ConfusionMatrix(len(space), space.ignore_id)
    frames: list[FrameLog] = []
    for status in statuses:
        frame = FrameLog(status)
        if status.stamp_ns in masks and status.stamp_ns in truth:
            single = ConfusionMatrix(len(space), space.ignore_id)
            for matrix in (single, total):
                matrix.update(masks[status.stamp_ns], truth[status.stamp_ns])
            frame = replace(frame, miou=single.miou())
        frames.append(frame)
    return DriveLog(tuple(frames), masks, depths, total)
