"""Launch files: what starts together, with its views, remaps, parameters and peers.

`model.PerceptionLaunch` is what a launch starts, without ROS; `description.describe_perception`
makes the actions of it, `costmap` and `rviz` the processes beside the nodes.
"""
