"""Event packets: what one message of an event camera holds, whichever driver sent it.

`event_camera_msgs/EventPacket` is read by its fields. Event arrays (`dvs_msgs/EventArray`,
`prophesee_event_msgs/EventArray`) are read from their CDR bytes: as objects, one for each event,
a message of 10,000 events takes tens of milliseconds to build, from the bytes a tenth of one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVENT_ARRAY = 'event_array'
"""The encoding of packets that were event arrays."""

ENCODINGS: tuple[str, ...] = (
    *('evt2', 'evt21', 'evt3', 'libcaer', 'libcaer_cmp', 'mono'),
    EVENT_ARRAY,
)
"""Encodings that can be decoded, `libcaer_cmp` where `event_camera_py` is installed."""

EVENT_PACKET_TYPES: tuple[str, ...] = (
    'event_camera_msgs/msg/EventPacket',
    'event_array_msgs/msg/EventArray',
)
"""Messages that are packets: one layout under two names, the second of which came first."""

EVENT_ARRAY_TYPES: tuple[str, ...] = (
    'dvs_msgs/msg/EventArray',
    'prophesee_event_msgs/msg/EventArray',
)
"""Messages that are event arrays: one layout under several names."""

_WORD_BYTES = {'evt2': 4, 'evt21': 8, 'evt3': 2, 'libcaer': 8, 'libcaer_cmp': 2, 'mono': 8}
_EVENT_BYTES = 16  # from one event of an array to the next; the last one is 3 bytes shorter
_CDR_HEADER = 4


class EventDecodeError(ValueError):
    """An event packet cannot be decoded: the field, what came, what was expected."""


@dataclass(frozen=True, eq=False)
class EventPacket:
    """The content of one message of an event camera.

    Attributes:
        stamp_ns: Header stamp, host clock, nanoseconds.
        size: Sensor size `(H, W)`, pixels.
        encoding: One of `ENCODINGS`.
        data: (N,) uint8, the events as the sensor packed them.
        seq: Number of the packet; a gap means that packets were lost.
        time_base_ns: Added to the times of the events (mono, libcaer), nanoseconds.
        is_bigendian: Byte order of `mono` and `event_array`; the others are little-endian always.
        frame_id: Frame of the sensor.
    """

    stamp_ns: int
    size: tuple[int, int]
    encoding: str
    data: NDArray[np.uint8]
    seq: int = 0
    time_base_ns: int = 0
    is_bigendian: bool = False
    frame_id: str = ''


def packet_from_message(message: Any) -> EventPacket:
    """Read an `event_camera_msgs/EventPacket`, of rclpy or of rosbags, without copying its data.

    Args:
        message: Anything with the fields of that message.

    Returns:
        The packet; its data is a view of the message's.
    """
    stamp = message.header.stamp
    return EventPacket(
        stamp_ns=stamp.sec * 1_000_000_000 + stamp.nanosec,
        size=(int(message.height), int(message.width)),
        encoding=str(message.encoding),
        data=np.frombuffer(message.events, np.uint8),
        seq=int(message.seq),
        time_base_ns=int(message.time_base),
        is_bigendian=bool(message.is_bigendian),
        frame_id=str(message.header.frame_id),
    )


def packet_number(data: bytes | memoryview) -> int:
    """Read the number of a serialized `event_camera_msgs/EventPacket`, and no more of it.

    Args:
        data: The message: the four bytes of the encapsulation, then the body in plain CDR.

    Returns:
        Its `seq`.

    Raises:
        EventDecodeError: The bytes end before it.
    """
    order = '>' if _byte_order(data) else '<'
    body = memoryview(data)[_CDR_HEADER:]
    try:
        length = struct.unpack_from(f'{order}I', body, 8)[0]
        at = (12 + length + 3) // 4 * 4 + 8  # the name of the frame, height, width
        return int(struct.unpack_from(f'{order}Q', body, (at + 7) // 8 * 8)[0])
    except struct.error as err:
        raise EventDecodeError(f'event packet: {len(data)} bytes end before its number') from err


def packet_from_event_array(data: bytes | memoryview) -> EventPacket:
    """Read an event array from its serialized bytes, without copying its events.

    The layout is plain CDR (OMG DDS-XTypes 1.3, 7.4.3, version 1) of
    `{Header header, uint32 height, uint32 width, Event[] events}`, as ROS 2 records and sends it.

    Args:
        data: The message: the four bytes of the encapsulation, then the body.

    Returns:
        The packet, of encoding `event_array`, without a number.

    Raises:
        EventDecodeError: The bytes are cut off, or not laid out so.
    """
    bigendian = _byte_order(data)
    order = '>' if bigendian else '<'
    body = memoryview(data)[_CDR_HEADER:]
    try:
        sec, nanosec, length = struct.unpack_from(f'{order}iII', body)
        name = bytes(body[12 : 12 + length])
        at = (12 + length + 3) // 4 * 4
        height, width, count = struct.unpack_from(f'{order}III', body, at)
    except struct.error as err:
        raise EventDecodeError(
            f'event array: {len(data)} bytes end within the header or the size'
        ) from err
    needed = max(_EVENT_BYTES * count - 3, 0)
    rest = len(body) - at - 12
    if not needed <= rest <= needed + 7:  # a sender may pad the end
        raise EventDecodeError(
            f'event array: {count} events take {needed} bytes, but {rest} bytes are left'
        )
    return EventPacket(
        stamp_ns=sec * 1_000_000_000 + nanosec,
        size=(height, width),
        encoding=EVENT_ARRAY,
        data=np.frombuffer(body, np.uint8, needed, at + 12),
        is_bigendian=bigendian,
        frame_id=name.rstrip(b'\0').decode(errors='replace'),
    )


def check_packet(packet: EventPacket) -> None:
    """Check that a packet can be decoded.

    Args:
        packet: The packet.

    Raises:
        EventDecodeError: Its encoding is unknown, its size empty, or its data of a wrong form or
            cut off.
    """
    if packet.encoding not in ENCODINGS:
        raise EventDecodeError(
            f'encoding must be one of {list(ENCODINGS)}, got {packet.encoding!r}'
        )
    height, width = packet.size
    if not (0 < height <= 65535 and 0 < width <= 65535):
        raise EventDecodeError(
            f'height and width must be in 1..65535, got height {height}, width {width}'
        )
    if packet.data.dtype != np.uint8 or packet.data.ndim != 1:
        raise EventDecodeError(
            f'events must be a row of uint8, got {packet.data.dtype} {packet.data.shape}'
        )
    count = packet.data.size
    if packet.encoding == EVENT_ARRAY:
        if count and (count + 3) % _EVENT_BYTES:
            raise EventDecodeError(f'events: got {count} bytes, expected 16 N - 3 of an array')
    elif count % _WORD_BYTES[packet.encoding]:
        raise EventDecodeError(
            f'events: got {count} bytes, expected a multiple of '
            f'{_WORD_BYTES[packet.encoding]} for {packet.encoding}'
        )


def _byte_order(data: bytes | memoryview) -> bool:
    """Whether a serialized message is big-endian; it must be plain CDR of version 1."""
    kind = bytes(data[:2])
    if len(data) < _CDR_HEADER or kind not in (b'\0\0', b'\0\1'):
        raise EventDecodeError(
            f'event array: encapsulation {kind.hex()!r} is not plain CDR (0000 or 0001)'
        )
    return kind == b'\0\0'
