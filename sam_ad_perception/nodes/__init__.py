"""ROS 2 nodes: wiring only. Convert, one call into the core, publish.

One file per executable; `start` runs them, and no folder imports them.
"""
