"""Sensor data without ROS and torch: sensors, time, geometry, labels, messages.

`sensors` has the records that everybody exchanges, `labels` the classes, `parameters` the checked
configuration, `status` what is said of each mask. The folders say in their own docstring where to
enter.
"""
