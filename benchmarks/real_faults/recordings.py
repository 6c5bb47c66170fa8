"""Recordings of one sensor: frames with their stamps, whole or in clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sam_ad_perception.core.sensors import CameraModel, Modality, SensorBundle, SensorFrame

START_NS = 1_000_000_000_000
CAMVID_RATE = 30.0
"""CamVid numbers the frames of its videos; each drive's pictures are so many numbers apart."""


@dataclass(frozen=True)
class Recording:
    """Frames of one sensor.

    Attributes:
        name: Unique within its sensor.
        data_set: What it is counted under.
        rate_hz: Its rate.
        load: Reads its frames.
        head: So many of its frames are healthy before a fault sets in; 0 for a recording that
            only counts false alarms.
        still: Whether its frames are single pictures that are met one by one.
    """

    name: str
    data_set: str
    rate_hz: float
    load: Callable[[], list[Any]]
    head: int = 0
    still: bool = False

    @cached_property
    def frames(self) -> list[Any]:
        """Its frames, read once."""
        return self.load()


def bundle_of(data: Any, number: int, rate_hz: float, modality: Modality) -> SensorBundle:
    """Make a bundle of one frame.

    Args:
        data: The frame's data.
        number: Of the frame, from which its stamp follows.
        rate_hz: Of the recording.
        modality: Its sensor.
    """
    shape = getattr(data, 'shape', None) or (480, 640)
    view = CameraModel(shape[1], shape[0], np.diag([shape[1], shape[1], 1.0]), frame_id='view')
    stamp_ns = START_NS + round(number * 1e9 / rate_hz)
    frame = SensorFrame(modality, stamp_ns, 'sensor', data, view)
    return SensorBundle(stamp_ns, modality, view, {modality: frame})


def read_video(path: Path, first: int = 0, count: int | None = None) -> list[Any]:
    """Read frames of a video, RGB."""
    video = cv2.VideoCapture(str(path))
    frames: list[Any] = []
    number = 0
    while count is None or len(frames) < count:
        read, image = video.read()
        if not read:
            break
        if number >= first:
            frames.append(np.ascontiguousarray(image[:, :, ::-1]))
        number += 1
    video.release()
    return frames


def read_pictures(paths: Sequence[Path]) -> list[Any]:
    """Read pictures, RGB."""
    images = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    return [np.ascontiguousarray(each[:, :, ::-1]) for each in images if each is not None]


def read_camera_bag(path: Path) -> list[Any]:
    """Read the pictures of a bag's only camera, RGB."""
    from rosbags.highlevel import AnyReader

    frames = []
    with AnyReader([path]) as reader:
        connections = [c for c in reader.connections if c.msgtype.endswith('CompressedImage')]
        for connection, _, raw in reader.messages(connections):
            message: Any = reader.deserialize(raw, connection.msgtype)
            image = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            frames.append(np.ascontiguousarray(image[:, :, ::-1]))
    return frames
