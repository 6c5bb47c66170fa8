"""Point clouds that several views share, and messages that get lost: over DDS, in this process."""

import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.nodes.inputs import clouds as cloud_module
from sam_ad_perception.nodes.inputs.clouds import CloudInput
from sam_ad_perception.nodes.ros.diagnostics import TopicMonitor
from sam_ad_perception.nodes.ros.rclpy_helpers import DeadlineTimer, message_type

pytestmark = pytest.mark.ros

CLOUD = 'sensor_msgs/msg/PointCloud2'
POINTS = np.array([(1, 2, 3), (4, 5, 6)], [(axis, '<f4') for axis in 'xyz'])


@pytest.fixture
def node(graph):
    made = Node('reader', context=graph.context)
    graph.executor.add_node(made)
    yield made
    graph.executor.remove_node(made)
    made.destroy_node()


def cloud(points, stamp_ns=5):
    return from_ros.cloud_to_message(message_type, points, stamp_ns, 'lidar')


def test_views_of_one_topic_share_its_sweeps_and_count_each_for_itself(graph, node, monkeypatch):
    calls = []
    read = cloud_module.read_sweep
    monkeypatch.setattr(cloud_module, 'read_sweep', lambda m: calls.append(1) or read(m))
    clouds = CloudInput(node, QoSProfile(depth=10))
    front, rear = TopicMonitor('front', 1.0), TopicMonitor('rear', 1.0)
    heard = {front: [], rear: []}
    for monitor, frames in heard.items():
        clouds.add('shared', monitor, lambda sweep, frames=frames: frames.append(sweep()))
    publisher = graph.node.create_publisher(message_type(CLOUD), 'shared', 10)
    graph.until(publisher.get_subscription_count, 'the match')
    assert publisher.get_subscription_count() == 1
    publisher.publish(cloud(POINTS))
    graph.until(lambda: heard[rear], 'the sweep')
    assert heard[front][0] is heard[rear][0]
    np.testing.assert_array_equal(heard[front][0].data.points, [[1, 2, 3], [4, 5, 6]])
    assert len(calls) == 1

    publisher.publish(cloud(POINTS[:0]))
    graph.until(lambda: rear.received == 2, 'the empty sweep')
    for monitor in heard:
        assert monitor.bad.counts == {
            'PointCloud2 holds no usable point: 0 are NaN, infinite or at the origin': 1
        }
    clouds.remove(front)
    publisher.publish(cloud(POINTS))
    graph.until(lambda: rear.received == 3, 'a sweep for one view')
    assert front.received == 2
    clouds.remove(rear)
    graph.until(lambda: not publisher.get_subscription_count(), 'the end')
    graph.node.destroy_publisher(publisher)


def test_what_does_not_fit_the_queue_is_counted_as_lost(graph, node):
    qos = QoSProfile(depth=3, reliability=ReliabilityPolicy.BEST_EFFORT)
    clouds, monitor = CloudInput(node, qos), TopicMonitor('lidar', 1.0)
    stamps = []
    clouds.add('slow', monitor, lambda sweep: stamps.append(sweep().stamp_ns))
    publisher = graph.node.create_publisher(message_type(CLOUD), 'slow', 100)
    graph.until(publisher.get_subscription_count, 'the match')
    publisher.publish(cloud(POINTS, 0))
    graph.until(lambda: stamps, 'the first')
    for stamp_ns in range(1, 41):  # nobody looks meanwhile
        publisher.publish(cloud(POINTS, stamp_ns))
    graph.until(lambda: stamps[-1] == 40, 'the last')
    assert monitor.received == len(stamps)
    assert monitor.losses.total == 41 - len(stamps) > 0
    clouds.remove(monitor)
    graph.node.destroy_publisher(publisher)


def test_a_deadline_wakes_the_executor_when_it_is_due_and_not_again(graph, node):
    now_ns = node.get_clock().now().nanoseconds
    deadlines, polls = [now_ns + 150_000_000, now_ns + 60_000_000], []

    def poll():
        polls.append(node.get_clock().now().nanoseconds - deadlines.pop())

    timer = DeadlineTimer(node, lambda: deadlines[-1] if deadlines else None, poll)
    timer.arm()
    graph.until(lambda: len(polls) == 2, 'both deadlines')
    assert min(polls) >= 0
    begin, rounds = time.monotonic(), 0
    while time.monotonic() < begin + 0.2:
        graph.executor.spin_once(timeout_sec=0.1)
        rounds += 1
    assert rounds <= 10
