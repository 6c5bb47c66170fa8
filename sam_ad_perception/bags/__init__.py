"""Recordings: reading and writing rosbag2 (MCAP, SQLite) and labelling it, without ROS.

`reader.BagReader` and `writer.BagWriter` have the messages, `bundles.read_bundles` what the
sensors saw together; `labelling.recording.label_bag` writes masks.
"""
