"""Starts the segmentation node."""

from sam_ad_perception.nodes.launch_description import INPUTS, SWITCHES, describe_node

PARAMETERS = ('model', 'zoo', 'checkpoint_dir', 'device', 'calibration', 'views', *SWITCHES)


def generate_launch_description():
    """Describe the node."""
    return describe_node('segmentation', tuple(INPUTS), PARAMETERS)
