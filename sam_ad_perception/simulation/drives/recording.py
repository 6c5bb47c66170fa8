"""A drive as the messages that its vehicle would have recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import merge
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.events.encoding import encode_packet
from sam_ad_perception.core.messages.to_ros import (
    Transform,
    array_to_image,
    camera_to_message,
    cloud_to_message,
    diagnostic_to_message,
    make,
    make_header,
    packet_to_message,
    transforms_to_message,
)
from sam_ad_perception.core.sensors import CameraModel, Events, Modality, PointCloud, SensorFrame
from sam_ad_perception.simulation.drives.delivery import TimedFrame
from sam_ad_perception.simulation.drives.drive import SWEEP_NS, Drive, GroundTruth
from sam_ad_perception.simulation.drives.render_pool import Rendered, TrueFrame, render
from sam_ad_perception.simulation.sensors.lidar import ring_of
from sam_ad_perception.simulation.sensors.rig import RigSensor

IMAGE, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
CLOUD, PACKET = 'sensor_msgs/msg/PointCloud2', 'event_camera_msgs/msg/EventPacket'
TRANSFORMS, STATUS = 'tf2_msgs/msg/TFMessage', 'diagnostic_msgs/msg/DiagnosticArray'
TOPICS: Mapping[str, str] = {
    '/camera/image_rect': IMAGE,
    '/camera/camera_info': INFO,
    '/thermal/image_rect': IMAGE,
    '/thermal/camera_info': INFO,
    '/events': PACKET,
    '/events/camera_info': INFO,
    '/points': CLOUD,
    '/tf': TRANSFORMS,
    '/tf_static': TRANSFORMS,
    '/ground_truth/image': IMAGE,
    '/ground_truth/status': STATUS,
}
"""Each topic of a recording with the default rig, and its type."""

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
_WRONG = {'rgb8': 'rgb16', 'mono8': 'mono16', 'mono16': '32FC1', '32FC1': '64FC1'}
"""Encodings that the data do not suit: a row would have to be longer."""


def sensor_topics(sensor: RigSensor) -> tuple[str, str]:
    """Topics of a sensor's data and of its geometry (a lidar has none, '')."""
    data, info = sensor.modality.topics_of(sensor.name)
    return f'/{data}', f'/{info}' if info else ''


def truth_topic(drive: Drive, sensor: str, kind: str) -> str:
    """Topic of a truth (`image`: the labels) of a sensor; the first of its kind needs no name."""
    modality = drive.sensors[sensor].modality
    first = next(n for n, s in drive.sensors.items() if s.modality is modality)
    return f'/ground_truth/{kind}' if sensor == first else f'/ground_truth/{sensor}/{kind}'


def list_topics(drive: Drive, extra: Sequence[str] = ()) -> dict[str, str]:
    """Topics of a drive's recording and their types, see `record`."""
    topics: dict[str, str] = {}
    truths: dict[str, str] = {}
    for name, sensor in drive.sensors.items():
        data, info = sensor_topics(sensor)
        topics[data] = sensor.modality.record.message_types[0]
        if info:
            topics[info] = INFO
        if sensor.modality is Modality.VIEW:
            wanted = ('image', *(each for each in ('depth', 'flow') if each in extra))
            truths |= {truth_topic(drive, name, each): IMAGE for each in wanted}
        if not sensor.has_lens and 'points' in extra:
            truths[truth_topic(drive, name, 'points')] = CLOUD
    return {
        **topics, '/tf': TRANSFORMS, '/tf_static': TRANSFORMS, **truths,
        '/ground_truth/status': STATUS,
    }  # fmt: skip


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
    workers: int = 1,
    extra: Sequence[str] = (),
    progress: Callable[[float], None] | None = None,
) -> Mapping[str, int]:
    """Drives once and hands over all messages in the order of their arrival.

    Beside the sensors' topics: `/tf` and `/tf_static`, the labels of each camera frame in
    `/ground_truth/image`, and in `/ground_truth/status` for each camera frame the conditions and
    the kinds of faults of each faulty sensor. Truth comes at every
    due time, also where a fault keeps the frame away, with the stamp that the frame would bear.

    Args:
        drive: The drive.
        sink: Takes the messages.
        encoding: Of the event packets, `evt3` or `mono`.
        workers: Number of processes that render; the messages are the same.
        extra: More ground truth: `depth` (32FC1, metres), `flow` (32FC2, pixels until the
            camera's next frame), `points` (labels of the lidar's points).
        progress: Called with the share that is done, 0 to 1, after each camera frame and at the
            end.

    Returns:
        Number of messages per topic.

    Raises:
        ValueError: The encoding or the truth is unknown, the number of workers not positive.
    """
    topics = list_topics(drive, extra)
    for topic, kind in topics.items():
        sink.add_topic(topic, kind, latched=topic == '/tf_static')
    counts: Counter[str] = Counter()
    start, total = drive.config.start_ns, drive.config.duration_s * 1e9
    rendered = render(drive, workers=workers, extra=extra)
    for topic, message, received_ns in _messages(drive, rendered, sink.types, encoding):
        sink.write(topic, message, received_ns)
        counts[topic] += 1
        if progress is not None and topic == '/ground_truth/status':
            progress(min(1.0, max(0.0, (received_ns - start) / total)))
    if progress is not None:
        progress(1.0)
    return {topic: counts[topic] for topic in topics}


Message = tuple[str, Any, int]
"""Topic, message, time of arrival in nanoseconds."""


def _messages(
    drive: Drive, rendered: Iterator[Rendered], types: Callable[[str], type], encoding: str
) -> Iterator[Message]:
    static = [
        (BASE, drive.sensors[name].frame_id, drive.config.start_ns, T)
        for name, T in drive.T_base.items()
    ]
    first = drive.config.start_ns - SWEEP_NS
    yield '/tf_static', transforms_to_message(types, static), first
    poses = (
        ('/tf', transforms_to_message(types, [transform]), transform[2] + _POSE_LATENCY_NS)
        for transform in _poses(drive)
    )
    sensed = _sensed(drive, rendered, types, encoding)
    yield from merge(poses, sensed, key=lambda message: message[2])


def _poses(drive: Drive) -> Iterator[Transform]:
    """Odometry from the beginning of the first sweep to the end of the drive."""
    start = drive.config.start_ns
    end = start + round(drive.config.duration_s * 1e9)
    for stamp_ns in range(start - SWEEP_NS, end + POSE_PERIOD_NS, POSE_PERIOD_NS):
        yield ODOM, BASE, stamp_ns, drive.pose(stamp_ns)


def _sensed(
    drive: Drive, rendered: Iterator[Rendered], types: Callable[[str], type], encoding: str
) -> Iterator[Message]:
    packets: Counter[str] = Counter()
    info_ns: dict[str, int] = {}
    for each in rendered:
        if isinstance(each, TrueFrame):
            for topic, message in _truths(drive, types, each):
                yield topic, message, each.arrival_ns
            continue
        timed = each
        frame, received_ns = timed.frame, timed.arrival_ns
        data_topic, info_topic = sensor_topics(drive.sensors[timed.sensor])
        if isinstance(frame.data, PointCloud):
            yield data_topic, _cloud(types, timed), received_ns
        elif isinstance(frame.data, Events):
            if received_ns >= info_ns.get(timed.sensor, received_ns):
                info_ns[timed.sensor] = received_ns + _INFO_PERIOD_NS
                message = camera_to_message(types, _geometry(frame), frame.stamp_ns)
                yield info_topic, message, received_ns
            period_ns = drive.sensors[timed.sensor].period_ns
            message = _packet(types, timed, encoding, packets[timed.sensor], period_ns)
            packets[timed.sensor] += 1
            yield data_topic, message, received_ns
        else:
            # Geometry before the image that it belongs to, the truth after it.
            info = camera_to_message(types, _geometry(frame), frame.stamp_ns)
            yield info_topic, info, received_ns
            yield data_topic, _image(types, timed), received_ns


def _active(timed: TimedFrame, kind: str) -> float | None:
    """Strength of a fault of a frame, None without that fault."""
    return next((fault.amount for fault in timed.faults if fault.kind == kind), None)


def _cut(timed: TimedFrame, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The data that arrive: all of them, or the first ones of a truncated message."""
    share = _active(timed, 'truncated')
    return data if share is None else data[: int(share * len(data))]


def _image(types: Callable[[str], type], timed: TimedFrame) -> Any:
    frame = timed.frame
    encoding = frame.modality.record.encoding
    pixels = np.asarray(frame.data)
    message = array_to_image(types, pixels, encoding, frame.stamp_ns, frame.frame_id)
    if _active(timed, 'wrong_encoding') is not None:
        message = replace(message, encoding=_WRONG[encoding])
    return replace(message, data=_cut(timed, message.data))


def _cloud(types: Callable[[str], type], timed: TimedFrame) -> Any:
    frame = timed.frame
    assert isinstance(frame.data, PointCloud)
    points = pack_points(frame.data)
    message = cloud_to_message(types, points, frame.stamp_ns, frame.frame_id)
    if _active(timed, 'wrong_encoding') is not None:
        # Single precision that claims to be double: fields reach beyond the point.
        fields = [replace(f, datatype=8) if f.name in 'xyz' else f for f in message.fields]
        message = replace(message, fields=fields, point_step=16)
    dense = bool(np.isfinite(frame.data.points).all())
    return replace(message, data=_cut(timed, message.data), is_dense=dense)


def _packet(
    types: Callable[[str], type], timed: TimedFrame, encoding: str, seq: int, period_ns: int
) -> Any:
    frame = timed.frame
    assert isinstance(frame.data, Events)
    packet = encode_packet(
        frame.data, encoding, seq=seq, end_ns=frame.stamp_ns + period_ns, frame_id=frame.frame_id
    )
    message = packet_to_message(types, packet)
    if _active(timed, 'wrong_encoding') is not None:
        message = replace(message, encoding='evt9')
    return replace(message, events=_cut(timed, message.events))


def _truths(
    drive: Drive, types: Callable[[str], type], true: TrueFrame
) -> Iterator[tuple[str, Any]]:
    stamp_ns, name, truth = true.stamp_ns, drive.sensors[true.sensor].frame_id, true.truth
    if true.sweep is not None:
        points = true.sweep.cloud.points
        packed = np.zeros(len(points), [*((axis, '<f4') for axis in 'xyz'), ('label', 'u1')])
        packed['x'], packed['y'], packed['z'] = points.T
        packed['label'] = true.sweep.label
        topic = truth_topic(drive, true.sensor, 'points')
        yield topic, cloud_to_message(types, packed, stamp_ns, name)
    if truth is None:
        return
    images: list[tuple[str, NDArray[Any], str]] = [('image', truth.labels, 'mono8')]
    if true.depth:
        images.append(('depth', truth.depth, '32FC1'))
    if true.flow is not None:
        # The package's own conversions know no image of two numbers per pixel.
        plane = array_to_image(types, true.flow[..., 0], '32FC1', stamp_ns, name)
        step, data = 2 * plane.step, true.flow.reshape(-1).view(np.uint8)
        message = replace(plane, encoding='32FC2', step=step, data=data)
        yield truth_topic(drive, true.sensor, 'flow'), message
    for kind, pixels, encoding in images:
        topic = truth_topic(drive, true.sensor, kind)
        yield topic, array_to_image(types, pixels, encoding, stamp_ns, name)
    if truth_topic(drive, true.sensor, 'image') == '/ground_truth/image':
        yield '/ground_truth/status', _status(drive, types, truth, stamp_ns)


def _status(drive: Drive, types: Callable[[str], type], truth: GroundTruth, stamp_ns: int) -> Any:
    """The condition, and for each faulty sensor its faults, true at the time of the frame."""
    condition = drive.condition_name(truth.stamp_ns)
    entries = [diagnostic_to_message(types, 'condition', 0, condition, ())]
    entries += [
        diagnostic_to_message(types, sensor, 1, ' '.join(kinds), ())
        for sensor, kinds in truth.faults.items()
    ]
    header = make_header(types, stamp_ns, '')
    return make(types, STATUS, header=header, status=entries)


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
    packed['ring'] = ring_of(np.nan_to_num(cloud.points))
    packed['time'] = cloud.time_offset_ns * 1e-9
    return packed


def _geometry(frame: SensorFrame) -> CameraModel:
    assert frame.camera is not None
    return frame.camera
