"""A drive as the messages that its vehicle would have recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.event_encoding import encode_packet
from sam_ad_perception.core.messages import (
    Transform,
    array_to_image,
    camera_to_message,
    cloud_to_message,
    packet_to_message,
    transforms_to_message,
)
from sam_ad_perception.core.sensors import CameraModel, Events, Modality, PointCloud, SensorFrame
from sam_ad_perception.simulation.drive import SWEEP_NS, Drive, TimedFrame
from sam_ad_perception.simulation.lidar import ring_of

IMAGE, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'
TOPICS: Mapping[str, str] = {
    '/camera/image_rect': IMAGE,
    '/camera/camera_info': INFO,
    '/thermal/image_rect': IMAGE,
    '/thermal/camera_info': INFO,
    '/events': 'event_camera_msgs/msg/EventPacket',
    '/events/camera_info': INFO,
    '/points': 'sensor_msgs/msg/PointCloud2',
    '/tf': TRANSFORMS,
    '/tf_static': TRANSFORMS,
    '/ground_truth/image': IMAGE,
}
"""Each topic of a simulated recording and its type."""

POINT = np.dtype(
    {
        'names': ['x', 'y', 'z', 'intensity', 'ring', 'time'],
        'formats': ['<f4', '<f4', '<f4', '<f4', '<u2', '<f4'],
        'offsets': [0, 4, 8, 12, 16, 18],
        'itemsize': 22,
    }
)
"""Layout of a point as the Velodyne driver has it: metres, 0 to 1, beam, seconds before the end
of the sweep (which is the message's stamp), so `time` <= 0."""

ODOM, BASE = 'odom', 'base_link'
POSE_PERIOD_NS = 10_000_000
_POSE_LATENCY_NS = 1_000_000
_INFO_PERIOD_NS = 100_000_000


class Sink(Protocol):
    """Where messages go; a bag writer is one."""

    def types(self, name: str) -> type:
        """Message class of a name such as `sensor_msgs/msg/Image`."""

    def add_topic(self, name: str, kind: str, *, latched: bool = False) -> None:
        """Announces a topic."""

    def write(self, topic: str, message: Any, received_ns: int) -> None:
        """Takes a message and the time of its arrival, nanoseconds."""


def record(
    drive: Drive,
    sink: Sink,
    *,
    encoding: str = 'evt3',
    progress: Callable[[float], None] | None = None,
) -> Mapping[str, int]:
    """Drives once and hands over all messages in the order of their arrival.

    Args:
        drive: The drive.
        sink: Takes the messages.
        encoding: Of the event packets, `evt3` or `mono`.
        progress: Called with the share that is done, 0 to 1, after each camera frame and at the
            end.

    Returns:
        Number of messages per topic.

    Raises:
        ValueError: The encoding is unknown.
    """
    for topic, kind in TOPICS.items():
        sink.add_topic(topic, kind, latched=topic == '/tf_static')
    counts: Counter[str] = Counter()
    start, total = drive.config.start_ns, drive.config.duration_s * 1e9
    for topic, message, received_ns in _messages(drive, sink.types, encoding):
        sink.write(topic, message, received_ns)
        counts[topic] += 1
        if progress is not None and topic == '/camera/image_rect':
            progress(min(1.0, max(0.0, (received_ns - start) / total)))
    if progress is not None:
        progress(1.0)
    return {topic: counts[topic] for topic in TOPICS}


Message = tuple[str, Any, int]
"""Topic, message, time of arrival in nanoseconds."""


def _messages(drive: Drive, types: Callable[[str], type], encoding: str) -> Iterator[Message]:
    static = [(BASE, _frame(drive, m), drive.config.start_ns, T) for m, T in drive.T_base.items()]
    first = drive.config.start_ns - SWEEP_NS
    yield '/tf_static', transforms_to_message(types, static), first
    poses = (
        ('/tf', transforms_to_message(types, [transform]), transform[2] + _POSE_LATENCY_NS)
        for transform in _poses(drive)
    )
    yield from merge(poses, _sensed(drive, types, encoding), key=lambda message: message[2])


def _poses(drive: Drive) -> Iterator[Transform]:
    """Odometry from the beginning of the first sweep to the end of the drive."""
    start = drive.config.start_ns
    end = start + round(drive.config.duration_s * 1e9)
    for stamp_ns in range(start - SWEEP_NS, end + POSE_PERIOD_NS, POSE_PERIOD_NS):
        yield ODOM, BASE, stamp_ns, drive.pose(stamp_ns)


def _sensed(drive: Drive, types: Callable[[str], type], encoding: str) -> Iterator[Message]:
    packets, info_ns = 0, -1
    for timed in drive.frames():
        frame, received_ns = timed.frame, timed.arrival_ns
        if isinstance(frame.data, PointCloud):
            points = pack_points(frame.data)
            message = cloud_to_message(types, points, frame.stamp_ns, frame.frame_id)
            yield '/points', message, received_ns
        elif isinstance(frame.data, Events):
            camera = _geometry(frame)
            if received_ns >= info_ns:
                info_ns = received_ns + _INFO_PERIOD_NS
                message = camera_to_message(types, camera, frame.stamp_ns)
                yield '/events/camera_info', message, received_ns
            packet_ns = drive.config.event_packet_ms * 1_000_000
            packet = encode_packet(
                frame.data, encoding, seq=packets, end_ns=frame.stamp_ns + packet_ns,
                frame_id=frame.frame_id,
            )  # fmt: skip
            packets += 1
            yield '/events', packet_to_message(types, packet), received_ns
        else:
            yield from _image(drive, types, timed)


def _image(drive: Drive, types: Callable[[str], type], timed: TimedFrame) -> Iterator[Message]:
    """Geometry before the image that it belongs to, the truth after it."""
    frame, received_ns = timed.frame, timed.arrival_ns
    stamp_ns, name = frame.stamp_ns, frame.frame_id
    is_camera = frame.modality is Modality.CAMERA
    info = camera_to_message(types, _geometry(frame), stamp_ns)
    yield f'/{frame.modality}/camera_info', info, received_ns
    pixels, encoding = np.asarray(frame.data), 'rgb8' if is_camera else 'mono16'
    image = array_to_image(types, pixels, encoding, stamp_ns, name)
    yield f'/{frame.modality}/image_rect', image, received_ns
    if is_camera:
        labels = array_to_image(types, drive.truth(stamp_ns).labels, 'mono8', stamp_ns, name)
        yield '/ground_truth/image', labels, received_ns


def pack_points(cloud: PointCloud) -> NDArray[np.void]:
    """Points as the lidar's driver lays them out.

    Args:
        cloud: A simulated sweep of N points.

    Returns:
        (N,) `POINT`.
    """
    assert cloud.intensity is not None
    assert cloud.time_offset_ns is not None
    packed = np.zeros(len(cloud.points), dtype=POINT)
    for column, axis in enumerate('xyz'):
        packed[axis] = cloud.points[:, column]
    packed['intensity'] = cloud.intensity
    packed['ring'] = ring_of(cloud.points)
    packed['time'] = cloud.time_offset_ns * 1e-9
    return packed


def _geometry(frame: SensorFrame) -> CameraModel:
    assert frame.camera is not None
    return frame.camera


def _frame(drive: Drive, modality: Modality) -> str:
    return 'lidar' if modality is Modality.LIDAR else drive.cameras[modality].frame_id
