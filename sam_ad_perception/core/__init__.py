"""The ROS-free, torch-free heart: sensors, time, geometry, labels, messages."""
