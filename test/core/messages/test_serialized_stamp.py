"""Stamps of serialized messages against the serializer of rosbags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from sam_ad_perception.core.messages.serialized_stamp import read_stamp, replace_stamp

STORE = get_typestore(Stores.ROS2_JAZZY)
Time = STORE.types['builtin_interfaces/msg/Time']
Header = STORE.types['std_msgs/msg/Header']
STAMPS = st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1)


def serialize(stamp_ns: int, payload: bytes, order: bool) -> bytes:
    import numpy as np

    kind = STORE.types['sensor_msgs/msg/CompressedImage']
    header = Header(Time(*divmod(stamp_ns, 10**9)), 'camera')
    message = kind(header, 'jpeg', np.frombuffer(payload, np.uint8))
    return bytes(STORE.serialize_cdr(message, kind.__msgtype__, little_endian=order))


@given(STAMPS, STAMPS, st.binary(max_size=40), st.booleans())
def test_stamp_is_replaced_and_nothing_else(
    old: int, new: int, payload: bytes, order: bool
) -> None:
    data = serialize(old, payload, order)
    assert read_stamp(data) == old
    changed = replace_stamp(data, new)
    assert changed == serialize(new, payload, order)
    assert read_stamp(changed) == new


@pytest.mark.parametrize(
    ('data', 'expected'),
    [
        (b'\0\1\0\0' + bytes(7), 'has 12 bytes or more, got 11'),
        (b'\0\7\0\0' + bytes(8), 'plain CDR, got encapsulation 0007'),
        (b'\0\1\0\0' + bytes(4) + b'\xff\xff\xff\xff', 'nanosec must be below'),
    ],
)
def test_other_bytes_are_refused(data: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_stamp(data)


def test_stamp_must_fit() -> None:
    with pytest.raises(ValueError, match='32 bits of seconds'):
        replace_stamp(serialize(0, b'', True), 2**31 * 10**9)
