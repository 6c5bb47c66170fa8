"""One image topic, raw or compressed, whichever is there: over DDS, within this process."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from rclpy.node import Node

from sam_ad_perception.core.messages import from_ros
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.nodes.inputs.images import ImageInput
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type

pytestmark = pytest.mark.ros

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


@pytest.fixture
def made(graph):
    """A maker of inputs on `pictures`, and what they heard."""
    node = Node('reader', context=graph.context)
    graph.executor.add_node(node)
    heard, inputs = [], []

    def hear(message, info):
        heard.append(message)

    def make(transport):
        inputs.append(
            ImageInput(
                node, 'pictures', transport, 10, lambda message, info: heard.append(message)
            )
        )
        return inputs[-1]

    yield make, heard
    for each in inputs:
        each.destroy()
    graph.executor.remove_node(node)
    node.destroy_node()


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_a_fixed_transport_stays_whatever_is_published(graph, made, transport):
    reader = made[0](transport)
    publisher = graph.node.create_publisher(message_type(COMPRESSED), 'pictures/compressed', 10)
    reader.choose()
    assert reader.transports == (transport,)
    graph.node.destroy_publisher(publisher)


def test_auto_follows_what_is_published_raw_first(graph, made):
    make, heard = made
    reader = make('auto')
    assert set(reader.transports) == {'raw', 'compressed'}

    def chooses(*expected):
        def done():
            reader.choose()
            return set(reader.transports) == set(expected)

        graph.until(done, f'the choice of {expected}')

    small = graph.node.create_publisher(message_type(COMPRESSED), 'pictures/compressed', 10)
    chooses('compressed')
    graph.until(small.get_subscription_count, 'the match')
    pixels = np.full((6, 8, 3), (10, 120, 230), np.uint8)
    message = from_ros.array_to_compressed(message_type, pixels, 'rgb8', 7, 'camera')
    small.publish(message)
    graph.until(lambda: heard, 'the compressed image')
    np.testing.assert_array_equal(from_ros.decode_image(heard[0], Modality.CAMERA), pixels)

    large = graph.node.create_publisher(message_type(RAW), 'pictures', 10)
    chooses('raw')
    graph.node.destroy_publisher(large)
    chooses('compressed')
    graph.node.destroy_publisher(small)
    chooses('raw', 'compressed')
