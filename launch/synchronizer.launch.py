"""Starts the synchronizer node."""

from sam_ad_perception.nodes.launch_description import describe_node

INPUTS = ('camera_image', 'camera_info', 'thermal_image', 'thermal_info', 'points')


def generate_launch_description():
    """Describe the node."""
    return describe_node('synchronizer', INPUTS, ('synchronizer_policy',))
