"""Starts the synchronizer node."""

from sam_ad_perception.nodes.launch.description import describe_node


def generate_launch_description():
    """Describe the node."""
    return describe_node('synchronizer')
