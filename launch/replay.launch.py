"""Replays a bag through perception: simulated time, nothing lost, the same masks each time.

Without `sam_ad_bag` only the nodes start, ready for `sam_ad replay BAG --lockstep` in another
terminal. The arguments of perception.launch.py are given here all the same.
"""

from sam_ad_perception.nodes.launch.description import describe_perception


def generate_launch_description():
    """Describe the nodes and the replay, whose end ends everything."""
    return describe_perception(replay=True)
