"""Read and replace the header stamp of a serialized message; no other byte is looked at.

Any message that begins with a `std_msgs/Header` has it at the same place in CDR (OMG DDS-XTypes
7.4.1): four bytes that tell the byte order, then seconds (int32) and nanoseconds (uint32).
"""

from __future__ import annotations

import struct

_STAMP_AT = 4
_STAMP_END = 12
_PLAIN_CDR = {0: '>iI', 1: '<iI'}
BILLION = 1_000_000_000


def read_stamp(data: bytes) -> int:
    """Read the header stamp.

    Args:
        data: A serialized message that begins with a header.

    Returns:
        The stamp, nanoseconds.

    Raises:
        ValueError: Too short, not plain CDR, or nanoseconds out of range.
    """
    seconds, nanoseconds = struct.unpack_from(_format_of(data), data, _STAMP_AT)
    if nanoseconds >= BILLION:
        raise ValueError(f'header.stamp.nanosec must be below {BILLION}, got {nanoseconds}')
    return int(seconds) * BILLION + int(nanoseconds)


def replace_stamp(data: bytes, stamp_ns: int) -> bytes:
    """Put another header stamp into a serialized message.

    Args:
        data: A serialized message that begins with a header.
        stamp_ns: The stamp, nanoseconds.

    Returns:
        The message; all other bytes are as they were.

    Raises:
        ValueError: Too short, not plain CDR, or the stamp does not fit a ROS time.
    """
    seconds, nanoseconds = divmod(stamp_ns, BILLION)
    if not -(2**31) <= seconds < 2**31:
        raise ValueError(f'stamp_ns must fit 32 bits of seconds, got {stamp_ns}')
    stamp = struct.pack(_format_of(data), seconds, nanoseconds)
    return b''.join((data[:_STAMP_AT], stamp, memoryview(data)[_STAMP_END:]))


def _format_of(data: bytes) -> str:
    """Find the byte order."""
    if len(data) < _STAMP_END:
        raise ValueError(
            f'a serialized message with a header has 12 bytes or more, got {len(data)}'
        )
    order = _PLAIN_CDR.get(data[1]) if data[0] == 0 else None
    if order is None:
        raise ValueError(
            f'serialized messages must be plain CDR, got encapsulation {data[:2].hex()}'
        )
    return order
