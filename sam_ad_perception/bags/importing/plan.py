"""What an import writes: messages that are made one by one, when their turn comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.core.messages.to_ros import (
    MessageTypes,
    Transform,
    camera_to_message,
    transforms_to_message,
)
from sam_ad_perception.core.sensors import CameraModel

IMAGE_TYPE = 'sensor_msgs/msg/CompressedImage'
INFO_TYPE = 'sensor_msgs/msg/CameraInfo'
CLOUD_TYPE = 'sensor_msgs/msg/PointCloud2'
TF_TYPE = 'tf2_msgs/msg/TFMessage'
EVENT_TYPE = 'event_camera_msgs/msg/EventPacket'

Progress = Callable[[int, int], None]
"""Called with the number of messages that are written, and of all."""


class ImportDataError(ValueError):
    """A source cannot be imported: names the file, what came and what was expected."""


@dataclass(frozen=True)
class PlannedMessage:
    """A message that is made when it is written.

    Attributes:
        topic: Its topic, absolute.
        type: Its type.
        received_ns: Time under which it is recorded, nanoseconds.
        make: Makes it of message classes; raises `ValueError` where a file cannot be used.
        latched: Whether its topic is transient local.
    """

    topic: str
    type: str
    received_ns: int
    make: Callable[[MessageTypes], Any]
    latched: bool = False


@dataclass(frozen=True)
class ImportPlan:
    """All that an import writes.

    Attributes:
        messages: In any order.
        remarks: What is assumed or left out, one sentence each.
    """

    messages: Sequence[PlannedMessage]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote.

    Attributes:
        counts: Messages by topic.
        types: Type by topic.
        remarks: What is assumed or left out, one sentence each.
    """

    counts: dict[str, int]
    types: dict[str, str]
    remarks: tuple[str, ...] = ()


def write_plan(
    plan: ImportPlan, out: Path, *, overwrite: bool = False, on_progress: Progress | None = None
) -> ImportReport:
    """Write the messages of a plan into a recording, in the order of time.

    Args:
        plan: The plan.
        out: Folder of the recording; it appears whole or not at all.
        overwrite: Whether a recording that is there is replaced.
        on_progress: Told after every message.

    Returns:
        What was written.

    Raises:
        ImportDataError: There is no message.
        BagError: `out` is there already, or cannot be written.
        ValueError: A file cannot be used.
    """
    if not plan.messages:
        raise ImportDataError('the source holds no message')
    counts: dict[str, int] = {}
    types: dict[str, str] = {}
    with BagWriter(out, overwrite=overwrite) as writer:
        for each in plan.messages:
            if each.topic not in types:
                writer.add_topic(each.topic, each.type, latched=each.latched)
                types[each.topic] = each.type
        ordered = sorted(plan.messages, key=lambda each: each.received_ns)
        for done, each in enumerate(ordered, 1):
            writer.write(each.topic, each.make(writer.types), each.received_ns)
            counts[each.topic] = counts.get(each.topic, 0) + 1
            if on_progress is not None:
                on_progress(done, len(ordered))
    return ImportReport(counts, types, plan.remarks)


def plan_info(topic: str, camera: CameraModel, stamp_ns: int) -> PlannedMessage:
    """Plan the CameraInfo of one image.

    Args:
        topic: Its topic.
        camera: The geometry.
        stamp_ns: Stamp of the image, nanoseconds.
    """
    return PlannedMessage(
        topic, INFO_TYPE, stamp_ns, lambda types: camera_to_message(types, camera, stamp_ns)
    )


def plan_transforms(
    links: Sequence[Transform], received_ns: int, *, static: bool
) -> PlannedMessage:
    """Plan a message of transforms.

    Args:
        links: Parent, child, stamp and `T_parent_child` of each.
        received_ns: Time under which it is recorded, nanoseconds.
        static: Whether they go to `/tf_static` rather than `/tf`.
    """
    return PlannedMessage(
        '/tf_static' if static else '/tf',
        TF_TYPE,
        received_ns,
        lambda types: transforms_to_message(types, links),
        latched=static,
    )
