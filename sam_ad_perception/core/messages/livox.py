"""Livox `CustomMsg`, read from its serialized bytes: as objects a sweep takes 0.1 s."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam_ad_perception.core.messages.image_encodings import ConversionError
from sam_ad_perception.core.messages.point_cloud import PointField, decode_point_cloud
from sam_ad_perception.core.sensors import Modality, SensorFrame

LIVOX_TYPES: tuple[str, ...] = (
    'livox_ros_driver2/msg/CustomMsg',
    'livox_ros_driver/msg/CustomMsg',
    'livox_interfaces/msg/CustomMsg',
)
"""One layout under the names of three drivers."""

POINT_FIELDS = (
    PointField('offset_time', 0, 6),
    PointField('x', 4, 7),
    PointField('y', 8, 7),
    PointField('z', 12, 7),
    PointField('reflectivity', 16, 2),
    PointField('tag', 17, 2),
    PointField('line', 18, 2),
)
"""A `CustomPoint` as CDR lays it out: the time in nanoseconds after `timebase`, then metres."""

_POINT_STEP = 20  # the last point is one byte shorter
_LONGEST_NS = 1_000_000_000


def sweep_from_livox(data: bytes | memoryview) -> SensorFrame:
    """Read a Livox `CustomMsg` from its serialized bytes.

    The layout is plain CDR of `{Header header, uint64 timebase, uint32 point_num, uint8 lidar_id,
    uint8[3] rsvd, CustomPoint[] points}`.

    Args:
        data: The message: the four bytes of the encapsulation, then the body.

    Returns:
        The sweep, with the time of each point and with reflectivity for intensity.

    Raises:
        ConversionError: The bytes are cut off, or not laid out so.
    """
    kind = bytes(data[:2])
    if kind not in (b'\0\0', b'\0\1'):
        raise ConversionError(
            f'CustomMsg: encapsulation {kind.hex()!r} is not plain CDR (0000 or 0001)'
        )
    bigendian = kind == b'\0\0'
    order = '>' if bigendian else '<'
    body = memoryview(data)[4:]
    try:
        sec, nanosec, length = struct.unpack_from(f'{order}iII', body)
        frame_id = bytes(body[12 : 12 + length]).rstrip(b'\0').decode(errors='replace')
        at = (12 + length + 7) // 8 * 8
        timebase, number = struct.unpack_from(f'{order}QI', body, at)
        (count,) = struct.unpack_from(f'{order}I', body, at + 16)
    except struct.error as err:
        raise ConversionError(f'CustomMsg: {len(data)} bytes end before its points') from err
    at += 20
    needed = max(count * _POINT_STEP - 1, 0)
    if len(body) - at < needed:
        raise ConversionError(
            f'CustomMsg: {count} points take {needed} bytes, but {len(body) - at} bytes are left'
        )
    stamp_ns = sec * 1_000_000_000 + nanosec
    content = np.zeros(count * _POINT_STEP, np.uint8)
    content[:needed] = np.frombuffer(body, np.uint8, needed, at)
    cloud, _ = decode_point_cloud(
        content, POINT_FIELDS, _POINT_STEP, len(content), 1, count, bigendian, stamp_ns
    )
    behind_ns = timebase - stamp_ns
    offsets: NDArray[np.int64] | None = cloud.time_offset_ns
    if offsets is not None and 0 < abs(behind_ns) < _LONGEST_NS:
        cloud = replace(cloud, time_offset_ns=offsets + behind_ns)
    if number != count:
        note = f'{cloud.time_note}; point_num is {number}, the message holds {count} points'
        cloud = replace(cloud, time_note=note)
    return SensorFrame(Modality.LIDAR, stamp_ns, frame_id.lstrip('/'), cloud)
