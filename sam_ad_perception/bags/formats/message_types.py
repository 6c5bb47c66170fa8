"""Types of messages: which are read as a sensor, and which need their driver first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from sam_ad_perception.core.events.packets import EVENT_ARRAY_TYPES, EVENT_PACKET_TYPES
from sam_ad_perception.core.messages.livox import LIVOX_TYPES
from sam_ad_perception.core.sensor_kinds import IMAGE_TYPES as IMAGE_TYPES

VIDEO_TYPES = (
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket',
    'foxglove_msgs/msg/CompressedVideo',
)
PACKET_TYPE = 'event_camera_msgs/msg/EventPacket'
PACKET_TYPES = (*EVENT_PACKET_TYPES, *EVENT_ARRAY_TYPES)
CLOUD_TYPES = ('sensor_msgs/msg/PointCloud2', *LIVOX_TYPES)

_PACKETS_OF: Mapping[str, str] = MappingProxyType(
    {
        'velodyne_msgs': 'velodyne_pointcloud',
        'ouster_sensor_msgs': 'ouster_ros',
        'ouster_msgs': 'ouster_ros',
        'ouster_ros': 'ouster_ros',
        'ros2_ouster': 'ouster_ros',
        'hesai_ros_driver': 'hesai_ros_driver',
        'pandar_msgs': 'hesai_ros_driver or nebula_ros',
        'nebula_msgs': 'nebula_ros',
        'rslidar_msg': 'rslidar_sdk',
        'rslidar_msgs': 'rslidar_sdk',
        'robosense_msgs': 'rslidar_sdk or nebula_ros',
        'lslidar_msgs': 'lslidar_driver',
        'innovusion_msgs': 'its Seyond/Innovusion driver',
        'luminar_msgs': 'its Luminar driver',
        'ffmpeg_image_transport_msgs': 'ffmpeg_image_transport',
        'theora_image_transport': 'theora_image_transport',
        'point_cloud_interfaces': 'point_cloud_transport',
    }
)
"""Package of messages that hold what a device sent, and the package that turns them into messages
of sensor_msgs."""

_UNREAD: Mapping[str, str] = MappingProxyType(
    {
        'sensor_msgs/msg/LaserScan': 'one line of a scanner, not a cloud',
        'sensor_msgs/msg/MultiEchoLaserScan': 'one line of a scanner, not a cloud',
        'sensor_msgs/msg/PointCloud': 'an old cloud; point_cloud_converter makes PointCloud2',
        'stereo_msgs/msg/DisparityImage': 'disparities; stereo_image_proc makes depths',
    }
)
_NO_SENSORS = frozenset(
    {
        *('geometry_msgs', 'visualization_msgs', 'rcl_interfaces', 'lifecycle_msgs'),
        *('action_msgs', 'service_msgs', 'rosbag2_interfaces'),
    }
)
"""Packages whose `ParameterEvent`, `TransitionEvent` and the like no sensor sends."""
_SENSOR_LIKE = re.compile(
    r'(Image|Cloud|Scan|Packet|Lidar|Lidars|Camera|Events?|EventArray|Thermal|Video|Radar|Frame)'
    r'(Msg|Stamped|Array|Data|[0-9])*$'
)


def unread_reason(kind: str) -> str:
    """Say why messages of a type that looks like a sensor's are not read.

    Args:
        kind: For example `velodyne_msgs/msg/VelodyneScan`.

    Returns:
        The reason; '' for a type that is read, or that is no sensor's.
    """
    if kind in (*IMAGE_TYPES, *VIDEO_TYPES, *PACKET_TYPES, *CLOUD_TYPES):
        return ''
    if kind in _UNREAD:
        return f'{kind} is not read: {_UNREAD[kind]}'
    package, _, name = kind.partition('/')
    if driver := _PACKETS_OF.get(package):
        return f'{kind} is not read: {driver} turns it into messages of sensor_msgs'
    if _SENSOR_LIKE.search(name) and package not in _NO_SENSORS:
        return f'{kind} is not read: no type of a sensor that is known here'
    return ''
