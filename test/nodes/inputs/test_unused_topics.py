"""Topics that look like a sensor's and that nobody reads are told, over real DDS."""

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.node import Node

from sam_ad_perception.nodes.inputs.unused_topics import (
    diagnose_unused,
    find_unused,
    names_read,
    why_unused,
)
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type
from sam_ad_perception.nodes.ros.topics import sensor_topics


@pytest.mark.ros
def test_what_others_publish_and_nobody_reads_is_told(graph):
    driver = Node('driver', context=graph.context)
    for topic, kind in (
        ('/lidar_top/points', 'sensor_msgs/msg/PointCloud2'),
        ('/front/scan', 'sensor_msgs/msg/LaserScan'),
        ('/boson/image_raw', 'sensor_msgs/msg/Image'),
        ('/camera/image_rect/compressed', 'sensor_msgs/msg/CompressedImage'),
        ('/camera/image_rect', 'sensor_msgs/msg/Image'),
        ('/other/semantic/image', 'sensor_msgs/msg/Image'),
        ('/odom', 'nav_msgs/msg/Odometry'),
    ):
        driver.create_publisher(message_type(kind), topic, 5)
    read = names_read(graph.node, sensor_topics().values())
    graph.node.create_subscription(message_type('std_msgs/msg/String'), '/wanted', print, 5)
    found = {}

    def complete():
        found.clear()
        found.update(find_unused(graph.node, read))
        return len(found) >= 3

    graph.until(complete, 'the driver to be discovered', 30.0)
    driver.destroy_node()
    assert set(found) == {'/lidar_top/points', '/front/scan', '/boson/image_raw'}
    assert (
        'lidar is read from /points: points:=/lidar_top/points takes it'
        in (found['/lidar_top/points'])
    )
    assert 'one line of a scanner' in found['/front/scan']
    assert 'thermal/image_rect:=/boson/image_raw' in found['/boson/image_raw']
    (entry,) = diagnose_unused(found.items())
    assert entry.message.startswith('3 topics')
    assert dict(entry.values) == found
    assert diagnose_unused([]) == []


@pytest.mark.parametrize(
    ('kind', 'told'),
    [
        ('velodyne_msgs/msg/VelodyneScan', 'velodyne_pointcloud turns it into'),
        ('ouster_sensor_msgs/msg/PacketMsg', 'ouster_ros turns it into'),
        ('hesai_ros_driver/msg/UdpFrame', 'hesai_ros_driver turns it into'),
        ('livox_ros_driver2/msg/CustomMsg', 'points:=/its/topic'),
        ('foxglove_msgs/msg/CompressedVideo', 'camera/image_rect:=/its/topic'),
        ('sensor_msgs/msg/Imu', ''),
        ('std_msgs/msg/String', ''),
        ('rcl_interfaces/msg/ParameterEvent', ''),
        ('lifecycle_msgs/msg/TransitionEvent', ''),
    ],
)
def test_packets_are_named_with_the_driver_that_reads_them(kind, told):
    reason = why_unused('/its/topic', kind)
    assert told in reason if told else not reason
