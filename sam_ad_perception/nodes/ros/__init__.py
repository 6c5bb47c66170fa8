"""What every node shares: rclpy, topics, parameters, process life, diagnostics.

`process.run_node` runs a node, `configuration` has the parameters of each, `topics` every topic
name, `rclpy_helpers` QoS and subscriptions.
"""
