"""Camera infos and transforms over DDS, whenever the node starts and whoever publishes them."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.event_handler import PublisherEventCallbacks

from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import CameraModel
from sam_ad_perception.nodes.ros.configuration import QosConfig
from sam_ad_perception.nodes.ros.diagnostics import TopicMonitor
from sam_ad_perception.nodes.ros.rclpy_helpers import (
    LATCHED_QOS,
    InfoSubscription,
    TransformInput,
    message_type,
)

CAMERA = CameraModel(64, 48, np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]), frame_id='cam')


@pytest.mark.parametrize('kept', [True, False])
def test_info_is_received_whether_it_is_kept_or_repeated(graph, kept):
    node, topic = graph.node, f'info_{kept}/camera_info'
    publisher = node.create_publisher(
        message_type('sensor_msgs/msg/CameraInfo'), topic, LATCHED_QOS if kept else 10
    )
    message = from_ros.camera_to_message(message_type, CAMERA, 5)
    if kept:
        publisher.publish(message)  # once, before anybody listens
    got = []
    subscription = InfoSubscription(
        node, topic, TopicMonitor('camera_info', float('inf')), got.append, QosConfig()
    )

    def came():
        if not kept and publisher.get_subscription_count():
            publisher.publish(message)
        return got

    graph.until(came, 'the camera_info')
    assert got[0].width == 64
    subscription.destroy()


@pytest.mark.parametrize('kept', [True, False])
def test_no_side_sees_a_quality_of_service_that_does_not_fit(graph, kept):
    """The middleware's own event tells, on which rclpy logs its warning."""
    node, topic, wrong = graph.node, f'quiet_{kept}/camera_info', []
    events = PublisherEventCallbacks(incompatible_qos=wrong.append)
    publisher = node.create_publisher(
        message_type('sensor_msgs/msg/CameraInfo'),
        topic,
        LATCHED_QOS if kept else 10,
        event_callbacks=events,
    )
    subscription = InfoSubscription(
        node, topic, TopicMonitor('camera_info', float('inf')), lambda message: None, QosConfig()
    )
    wanted = 2 if kept else 1
    graph.until(lambda: publisher.get_subscription_count() == wanted, 'the subscriptions')
    graph.spin(1.0)
    assert publisher.get_subscription_count() == wanted
    assert wrong == []
    subscription.destroy()


def test_transforms_of_the_namespace_of_the_sensors_are_used(graph):
    node, tree = graph.node, TransformTree()
    publishers = {}
    for i, name in enumerate(('/robot1', '/robot2', '')):
        T = np.eye(4)
        T[0, 3] = i + 1
        publishers[name] = node.create_publisher(
            message_type('tf2_msgs/msg/TFMessage'), f'{name}/tf_static', LATCHED_QOS
        )
        links = [('base', 'lidar', 7, T)]
        publishers[name].publish(from_ros.transforms_to_message(message_type, links))
    taken = TransformInput(node, tree, ['/robot1/points'])
    graph.until(lambda: tree.has_frame('lidar') and tree.doubts, 'both trees')
    assert tree.lookup('base', 'lidar')[0, 3] == 1
    assert tree.doubt('base', 'lidar').startswith(
        "the transforms of /robot1 and / place 'lidar' 2.00 m and 0.0 degrees apart"
    )
    taken.destroy()
