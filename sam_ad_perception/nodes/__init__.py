"""ROS 2 nodes: wiring only. Convert, one call into the core, publish."""
