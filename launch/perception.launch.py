"""Starts perception: segmentation and visualization; other nodes, RViz, a recorder on demand.

Several cameras: `sam_ad_views:=front,left` makes one network serve both, and starts the rest for
each of them under its name.
"""

from sam_ad_perception.nodes.launch.description import describe_perception


def generate_launch_description():
    """Describe the nodes."""
    return describe_perception()
