"""Starts the depth projection node."""

from sam_ad_perception.nodes.launch_description import describe_node

INPUTS = ('camera_info', 'points')


def generate_launch_description():
    """Describe the node."""
    return describe_node('depth_projection', INPUTS, ('calibration',))
