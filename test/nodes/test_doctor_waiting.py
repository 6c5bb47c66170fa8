"""`sam_ad doctor` waits for nodes that tell of themselves seldom, alone in a ROS domain."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.node import Node

from sam_ad_perception.commands.doctor.running import find_running
from sam_ad_perception.nodes.ros.rclpy_helpers import HARDWARE_ID, message_type

pytestmark = pytest.mark.ros


def test_a_node_that_is_silent_for_longer_than_its_period_is_waited_for(graph):
    kind = message_type('diagnostic_msgs/msg/DiagnosticArray')
    status = message_type('diagnostic_msgs/msg/DiagnosticStatus')
    publisher = graph.node.create_publisher(kind, '/diagnostics', 1)
    told = kind(status=[status(name='late/node: output', hardware_id=HARDWARE_ID)])
    scout = Node('scout', context=graph.context)
    timer = threading.Timer(1.5, publisher.publish, [told])
    timer.start()
    try:
        assert [each.name for each in find_running(scout, seconds=0.5)] == ['/late/node']
    finally:
        timer.join()
        scout.destroy_node()
        graph.node.destroy_publisher(publisher)


def test_a_node_whose_first_announcement_was_lost_is_waited_for(graph):
    """Nobody is known to publish for two seconds: as where DDS announces a node anew."""
    kind = message_type('diagnostic_msgs/msg/DiagnosticArray')
    status = message_type('diagnostic_msgs/msg/DiagnosticStatus')
    told = kind(status=[status(name='found/node: output', hardware_id=HARDWARE_ID)])
    scout = Node('scout', context=graph.context)
    ended = threading.Event()

    def publish() -> None:
        ended.wait(2.0)
        publisher = graph.node.create_publisher(kind, '/diagnostics', 1)
        while not ended.wait(0.2):
            publisher.publish(told)
        graph.node.destroy_publisher(publisher)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        assert [each.name for each in find_running(scout, seconds=0.5)] == ['/found/node']
    finally:
        ended.set()
        thread.join()
        scout.destroy_node()
