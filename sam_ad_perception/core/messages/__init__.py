"""ROS messages and arrays to core records and back, with their pixel and point layouts.

`from_ros` reads messages, `to_ros` makes them, of rclpy or of rosbags alike;
`from_arrays.bundle_from_arrays` takes numpy arrays, which `array_forms` makes of what other
libraries hold. The other files are for these three, but
`serialized_stamp.read_stamp`, for messages that stay undecoded.
"""
