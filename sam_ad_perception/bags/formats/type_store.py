"""Message types for recordings, without ROS: those of ROS 2 Jazzy and the ones it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

_EVENT = 'uint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity\n'
_EVENT_ARRAY = 'std_msgs/Header header\nuint32 height\nuint32 width\n'

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        'dvs_msgs/msg/Event': _EVENT,
        'dvs_msgs/msg/EventArray': f'{_EVENT_ARRAY}dvs_msgs/Event[] events\n',
        'event_camera_msgs/msg/EventPacket': (
            'std_msgs/Header header\n'
            'uint32 height\n'
            'uint32 width\n'
            'uint64 seq\n'
            'uint64 time_base\n'
            'string encoding\n'
            'bool is_bigendian\n'
            'uint8[] events\n'
        ),
        'vision_msgs/msg/VisionClass': 'uint16 class_id\nstring class_name\n',
        'vision_msgs/msg/LabelInfo': (
            'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n'
        ),
    }
)
"""Fields of the messages that rosbags does not bring: SQLite bags older than Iron embed none.

They are those of `interfaces/`, which only a source tree has (a test compares the two).
"""

DRIVER_DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        'prophesee_event_msgs/msg/Event': _EVENT,
        'prophesee_event_msgs/msg/EventArray': (
            f'{_EVENT_ARRAY}prophesee_event_msgs/Event[] events\n'
        ),
        'event_array_msgs/msg/EventArray': DEFINITIONS['event_camera_msgs/msg/EventPacket'],
        'ffmpeg_image_transport_msgs/msg/FFMPEGPacket': (
            'std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n'
            'uint8 flags\nbool is_bigendian\nuint8[] data\n'
        ),
        'foxglove_msgs/msg/CompressedVideo': (
            'builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n'
        ),
        **{
            f'{package}/msg/{name}': text.format(package=package)
            for package in ('livox_ros_driver2', 'livox_ros_driver', 'livox_interfaces')
            for name, text in (
                (
                    'CustomPoint',
                    'uint32 offset_time\nfloat32 x\nfloat32 y\nfloat32 z\nuint8 reflectivity\n'
                    'uint8 tag\nuint8 line\n',
                ),
                (
                    'CustomMsg',
                    'std_msgs/Header header\nuint64 timebase\nuint32 point_num\nuint8 lidar_id\n'
                    'uint8[3] rsvd\n{package}/CustomPoint[] points\n',
                ),
            )
        },
    }
)
"""Fields of messages that come with their drivers."""


def make_typestore() -> Typestore:
    """Make a store of all message types that perception reads and writes.

    Returns:
        A new store, to which a bag may add its own types; `store.types.__getitem__` is a
        `core.messages.from_ros.MessageTypes`.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in {**DEFINITIONS, **DRIVER_DEFINITIONS}.items():
        store.register(get_types_from_msg(text, name))
    return store
