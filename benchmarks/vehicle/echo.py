"""The least that a node can do with camera images: receive them, send masks of the same size.

    python -m benchmarks.vehicle.echo

The peer of `benchmarks.vehicle.load`: plain rclpy with the messages and the quality of service of
the segmentation node, and nothing in between.
"""

from __future__ import annotations

import sys
from array import array
from typing import Any

from sam_ad_perception.nodes.ros import topics
from sam_ad_perception.nodes.ros.process import run_node


def make() -> Any:
    """Make the node."""
    import rclpy

    from sam_ad_perception.nodes.ros.configuration import QosConfig
    from sam_ad_perception.nodes.ros.rclpy_helpers import OUTPUT_QOS, message_type, sensor_qos

    node = rclpy.create_node('echo', start_parameter_services=False)
    image = message_type('sensor_msgs/msg/Image')
    publisher = node.create_publisher(image, topics.MASK, OUTPUT_QOS)
    pixels = array('B')

    def answer(message: Any) -> None:
        count = message.height * message.width
        if len(pixels) != count:
            pixels[:] = array('B', bytes(count))
        mask = image(height=message.height, width=message.width, step=message.width)
        mask.header, mask.encoding, mask.data = message.header, 'mono8', pixels
        publisher.publish(mask)

    node.create_subscription(image, topics.CAMERA_IMAGE, answer, sensor_qos(QosConfig()))
    return node


if __name__ == '__main__':
    sys.exit(run_node(make))
