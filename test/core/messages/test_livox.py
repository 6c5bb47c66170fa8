"""Livox CustomMsg: serialized by rosbags from the driver's definition, read from its bytes."""

from __future__ import annotations

import numpy as np
import pytest
from rosbags.typesys import get_types_from_msg

from sam_ad_perception.bags.formats.type_store import make_typestore
from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.messages.image_encodings import ConversionError
from sam_ad_perception.core.messages.labelled_cloud import labelled_cloud
from sam_ad_perception.core.messages.livox import sweep_from_livox

STAMP = 1_700_000_000_123_456_789
KIND = 'rig_msgs/msg/CustomMsg'
POINT = 'uint32 offset_time\nfloat32 x\nfloat32 y\nfloat32 z\nuint8 reflectivity\nuint8 tag\n'
MESSAGE = 'std_msgs/Header header\nuint64 timebase\nuint32 point_num\nuint8 lidar_id\n'


def serialize(points, frame='livox_frame', timebase=STAMP, little=True, number=None):
    store = make_typestore()
    store.register(get_types_from_msg(f'{POINT}uint8 line\n', 'rig_msgs/msg/CustomPoint'))
    text = f'{MESSAGE}uint8[3] rsvd\nrig_msgs/CustomPoint[] points\n'
    store.register(get_types_from_msg(text, KIND))
    point, kind = store.types['rig_msgs/msg/CustomPoint'], store.types[KIND]
    time = store.types['builtin_interfaces/msg/Time'](STAMP // 10**9, STAMP % 10**9)
    header = store.types['std_msgs/msg/Header'](time, frame)
    sent = [point(k * 1000, *map(float, p), k % 200, 16, k % 4) for k, p in enumerate(points)]
    number = len(sent) if number is None else number
    message = kind(header, timebase, number, 1, np.zeros(3, np.uint8), sent)
    return bytes(store.serialize_cdr(message, KIND, little_endian=little))


@pytest.mark.parametrize('frame', ['', 'l', 'li', 'lid', 'lida', 'lidar', 'livox_frame', '/livox'])
@pytest.mark.parametrize('little', [True, False])
def test_custom_messages_are_read_from_their_bytes(frame, little, rng):
    points = rng.uniform(1, 50, (57, 3)).astype(np.float32)
    points[5] = 0  # no return
    sweep = sweep_from_livox(serialize(points, frame, STAMP + 2000, little))
    kept = np.delete(np.arange(57), 5)
    assert (sweep.stamp_ns, sweep.frame_id) == (STAMP, frame.lstrip('/'))
    np.testing.assert_array_equal(sweep.data.points, points[kept])
    np.testing.assert_array_equal(sweep.data.intensity, kept % 200)
    np.testing.assert_array_equal(sweep.data.time_offset_ns, kept * 1000 + 2000)
    store = make_typestore()
    cloud = labelled_cloud(
        store.types.__getitem__, sweep.data, np.zeros(56, 'u1'), LABEL_SPACES['cityscapes'], 0, ''
    )
    assert [f.name for f in cloud.fields][:3] == ['offset_time', 'x', 'y']
    assert cloud.width == 57


def test_damaged_custom_messages_are_refused(rng):
    data = serialize(rng.uniform(1, 50, (20, 3)))
    for length in (0, 3, 4, 17, 40, len(data) - 1):
        with pytest.raises(ConversionError, match='CustomMsg'):
            sweep_from_livox(data[:length])
    assert len(sweep_from_livox(serialize(np.zeros((0, 3)))).data.points) == 0
    odd = sweep_from_livox(serialize(np.ones((2, 3)), number=5))
    assert 'point_num is 5, the message holds 2 points' in odd.data.time_note
