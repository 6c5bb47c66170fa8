"""The frame-by-frame log of a run, read back from the bag that it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.bags.reader import BagError, BagReader
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.messages.from_ros import (
    compressed_to_array,
    image_to_array,
    stamp_of,
    status_from_message,
)
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.reporting.stamped_stream import StampedStream, find_topics

MASK_TOPIC = 'semantic/image'
STATUS_TOPIC = 'semantic/status'
TRUE_MASK_TOPIC, TRUE_STATUS_TOPIC = 'ground_truth/image', 'ground_truth/status'
_CONDITION = 'condition'


@dataclass(frozen=True)
class FrameLog:
    """One reference frame.

    Attributes:
        status: What the node said of it.
        confusion: Of its mask against the truth; None without mask or truth.
        condition: Light and weather, where the recording tells; else empty.
        faults: For each sensor that is known to be faulty, the kinds of its faults.
        pixels: Of its mask, where there is a truth.
    """

    status: FrameStatus
    confusion: ConfusionMatrix | None = None
    condition: str = ''
    faults: Mapping[str, str] = field(default_factory=dict)
    pixels: int = 0


@dataclass(frozen=True)
class DriveLog:
    """A whole run.

    Attributes:
        frames: Ordered by stamp; every reference frame that has a status.
    """

    frames: tuple[FrameLog, ...]

    @property
    def published(self) -> int:
        """Number of masks."""
        return sum(frame.status.dropped is None for frame in self.frames)

    @property
    def confusion(self) -> ConfusionMatrix | None:
        """Over all masks that have a truth; None where there is no truth."""
        return merge_confusions(frame.confusion for frame in self.frames)


def merge_confusions(matrices: Iterable[ConfusionMatrix | None]) -> ConfusionMatrix | None:
    """Add confusion matrices up; those that are None count nothing, None if there is no other."""
    total: ConfusionMatrix | None = None
    for each in matrices:
        if each is None:
            continue
        if total is None:
            total = ConfusionMatrix(each.num_classes, each.ignore_id)
        total.merge(each)
    return total


def read_drive_log(inputs: Path, outputs: Path, space: LabelSpace, view: str = '') -> DriveLog:
    """Read what a run made of a recording, and compare it with the truth where there is one.

    Args:
        inputs: The recording that went in; the simulator's hold a truth.
        outputs: The bag that came out, made live by the recorder or offline by `sam_ad label`.
        space: Label space of its masks.
        view: Name of one of several camera views; '' for the only one.

    Returns:
        The log.

    Raises:
        BagError: A bag is unreadable, or the second one holds no status.
    """
    statuses = {
        s.stamp_ns: s for s in _read(outputs, of_view(view, STATUS_TOPIC), status_from_message)
    }
    if not statuses:
        raise BagError(f'{outputs} holds no message on {of_view(view, STATUS_TOPIC)}')
    told = dict(_read(inputs, TRUE_STATUS_TOPIC, _truth_of))
    frames = []
    with ExitStack() as stack:
        made, given = (stack.enter_context(BagReader(path)) for path in (outputs, inputs))
        masks = StampedStream(made, of_view(view, MASK_TOPIC), read_pixels)
        truths = StampedStream(given, of_view(view, TRUE_MASK_TOPIC), read_pixels)
        for stamp_ns in sorted(statuses):
            known = dict(told.get(stamp_ns, {}))
            confusion = None
            truth = truths.at(stamp_ns)
            mask = None if truth is None else masks.at(stamp_ns)
            if mask is not None and truth is not None:
                confusion = ConfusionMatrix(len(space), space.ignore_id)
                confusion.update(mask, truth)
            condition = known.pop(_CONDITION, '')
            pixels = 0 if mask is None else mask.size
            frames.append(FrameLog(statuses[stamp_ns], confusion, condition, known, pixels))
    return DriveLog(tuple(frames))


def of_view(view: str, topic: str) -> str:
    """Name a topic of a camera view.

    Args:
        view: Its name; '' for the only one.
        topic: Relative name.
    """
    return f'{view}/{topic}' if view else topic


def read_pixels(message: Any) -> NDArray[Any]:
    """The pixels of an image message, raw or compressed, which outlive the message."""
    compressed = hasattr(message, 'format')
    array, _ = compressed_to_array(message) if compressed else image_to_array(message)
    return np.array(array)


def _read(path: Path, name: str, read: Callable[[Any], Any]) -> list[Any]:
    """All messages of the topics that end with a name."""
    with BagReader(path) as bag:
        topics = find_topics(bag, name)
        return [read(bag.deserialize(message)) for message in bag.messages(topics)]


def _truth_of(message: Any) -> tuple[int, dict[str, str]]:
    """Stamp, and what the simulator knows: the condition, and the faults of each sensor."""
    return stamp_of(message), {str(entry.name): str(entry.message) for entry in message.status}
