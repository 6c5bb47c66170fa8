"""Starts the visualization node."""

from sam_ad_perception.nodes.launch_description import describe_node

INPUTS = ('camera_image', 'camera_info', 'points')


def generate_launch_description():
    """Describe the node."""
    return describe_node('visualization', INPUTS, ('calibration',))
