"""The event topic with packets, arrays or rendered pictures on it: over DDS, in this process."""

import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.node import Node
from rclpy.serialization import serialize_message

from sam_ad_perception.core.events.decoding import EventDecoder
from sam_ad_perception.core.events.packets import packet_from_event_array
from sam_ad_perception.core.events.representations import event_image
from sam_ad_perception.core.geometry.calibration import Calibration
from sam_ad_perception.core.geometry.transform_tree import TransformTree
from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.nodes.inputs.clouds import CloudInput
from sam_ad_perception.nodes.inputs.events import EVENT_TYPES, IMAGE_TYPE, PACKET_TYPE, EventInput
from sam_ad_perception.nodes.inputs.sensors import SensorInputs
from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
from sam_ad_perception.nodes.ros.rclpy_helpers import TransformInput, message_type, sensor_qos

pytestmark = pytest.mark.ros

ARRAY_TYPE = 'dvs_msgs/msg/EventArray'
S = 1_000_000_000
STAMP = 1_700_000_000 * S


@pytest.fixture
def node(graph):
    made = Node('reader', context=graph.context)
    graph.executor.add_node(made)
    yield made
    graph.executor.remove_node(made)
    made.destroy_node()


@pytest.fixture
def reader(graph, node):
    """An input on `events`, what it heard, and what it told."""
    heard, told = [], []
    callbacks = dict.fromkeys(EVENT_TYPES, lambda message, info: heard.append(message))
    made = EventInput(node, 'events', 10, callbacks, told.append)
    yield made, heard, told
    made.destroy()


def event_array(stamp_ns=STAMP):
    """Two events in the last millisecond."""
    array = message_type(ARRAY_TYPE)(height=48, width=64)
    array.header.stamp = from_ros.ns_to_stamp(message_type, stamp_ns)
    array.header.frame_id = 'event_optical'
    event = message_type('dvs_msgs/msg/Event')
    for column, t_ns in ((3, stamp_ns - 1_000_000), (5, stamp_ns)):
        ts = from_ros.ns_to_stamp(message_type, t_ns)
        array.events.append(event(x=column, y=7, ts=ts, polarity=column == 5))
    return array


def wait_for(graph, reader, kind):
    def done():
        reader.choose()
        return reader.kind == kind

    graph.until(done, f'the choice of {kind}')


def test_the_published_type_is_subscribed_and_read(graph, driver, reader):
    made, heard, told = reader
    assert made.kind == PACKET_TYPE
    for kind in (ARRAY_TYPE, IMAGE_TYPE, PACKET_TYPE):
        publisher = driver.create_publisher(message_type(kind), 'events', 10)
        wait_for(graph, made, kind)
        graph.until(publisher.get_subscription_count, f'the match of {kind}')
        heard.clear()
        publisher.publish(event_array() if kind == ARRAY_TYPE else message_type(kind)())
        graph.until(lambda: heard, f'a message of {kind}')
        assert isinstance(heard[0], bytes if kind == ARRAY_TYPE else message_type(kind))
        driver.destroy_publisher(publisher)
        graph.until(lambda: not driver.count_publishers('events'), 'the publisher to go')
    assert told == []


def test_packets_that_wait_are_taken_in_one_round_and_in_order(graph, driver, node):
    heard = []
    callbacks = dict.fromkeys(EVENT_TYPES, lambda message, info: heard.append(message))
    made = EventInput(node, 'events', 100, callbacks, heard.append)
    publisher = driver.create_publisher(message_type(PACKET_TYPE), 'events', 100)
    graph.until(publisher.get_subscription_count, 'the match')
    for seq in range(40):
        publisher.publish(message_type(PACKET_TYPE)(seq=seq))
    time.sleep(0.3)  # they are there before anybody looks
    rounds = 0
    while len(heard) < 40 and rounds < 10:
        before = len(heard)
        graph.executor.spin_once(timeout_sec=1.0)
        rounds += len(heard) > before
    assert [packet.seq for packet in heard] == list(range(40))
    assert rounds == 1
    made.destroy()
    driver.destroy_publisher(publisher)


def test_a_type_that_is_no_event_data_is_told_and_changes_nothing(graph, driver, reader):
    made, _, told = reader
    publisher = driver.create_publisher(message_type('sensor_msgs/msg/PointCloud2'), 'events', 10)

    def done():
        made.choose()
        return told

    graph.until(done, 'word of the wrong type')
    assert 'events carries sensor_msgs/msg/PointCloud2, expected one of' in told[0]
    assert made.kind == PACKET_TYPE
    driver.destroy_publisher(publisher)


@pytest.fixture
def inputs(graph, node):
    transforms = TransformInput(node, TransformTree())
    config = SegmentationConfig()
    clouds = CloudInput(node, sensor_qos(config.qos))
    made = SensorInputs(node, config, Calibration(), transforms, clouds, lambda results: None)
    made.start()
    yield made
    made.destroy()
    transforms.destroy()


def settle(graph, inputs, publisher):
    def done():
        inputs.choose_transports()
        return publisher.get_subscription_count()

    graph.until(done, 'the match')


def test_arrays_reach_the_bundler_and_their_losses_its_counters(graph, driver, inputs):
    publisher = driver.create_publisher(message_type(ARRAY_TYPE), 'events', 10)
    settle(graph, inputs, publisher)
    for stamp in (STAMP, STAMP + S, STAMP + S // 2):
        publisher.publish(event_array(stamp))
    graph.until(lambda: inputs.counters['event.late_packets'], 'the late array')
    assert inputs.counters['event.packets'] == 2
    assert inputs.counters['event.events'] == 4
    driver.destroy_publisher(publisher)


def test_a_rendered_picture_reaches_the_bundler(graph, driver, inputs):

    packet = packet_from_event_array(serialize_message(event_array()))
    picture = event_image(EventDecoder().decode(packet))
    assert (picture[7, 3] == (255, 0, 0)).all()
    assert (picture[7, 5] == (0, 0, 255)).all()
    publisher = driver.create_publisher(message_type(IMAGE_TYPE), 'events', 10)
    settle(graph, inputs, publisher)
    blue_first = np.ascontiguousarray(picture[:, :, ::-1])
    message = from_ros.array_to_image(message_type, blue_first, 'bgr8', STAMP, 'event_optical')
    publisher.publish(message)
    graph.until(lambda: inputs.monitors['event'].received, 'the picture')
    assert inputs.monitors['event'].bad.total == 0
    assert inputs.counters['event.received'] == 1
    driver.destroy_publisher(publisher)
