"""Recordings: reading and writing rosbag2 (MCAP, SQLite) and labelling it, without ROS."""
