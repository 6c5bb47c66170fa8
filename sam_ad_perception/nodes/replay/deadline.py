"""The deadline of the segmentation node that a replay waits for."""

from __future__ import annotations

import time

import rclpy
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

PARAMETER = 'bundler.sync.deadline_s'
DEFAULT_DEADLINE_S = 0.05
ASK_TIMEOUT_S = 15.0


def ask_deadline(node: Node, executor: SingleThreadedExecutor) -> float:
    """Ask the segmentation node for its deadline.

    Args:
        node: Asks.
        executor: Spins it.

    Returns:
        Seconds; the default where no node tells.
    """
    client = node.create_client(GetParameters, 'segmentation/get_parameters')
    request = GetParameters.Request(names=[PARAMETER])
    end = time.monotonic() + ASK_TIMEOUT_S
    deadline_s = None
    while deadline_s is None and time.monotonic() < end and rclpy.ok():
        # A busy node answers late, and one that has not found us answers nobody: ask again.
        if not client.wait_for_service(ASK_TIMEOUT_S / 5):
            continue
        future = client.call_async(request)
        executor.spin_until_future_complete(future, ASK_TIMEOUT_S / 5)
        values = future.result().values if future.done() else []
        if values and values[0].type == ParameterType.PARAMETER_DOUBLE:
            deadline_s = float(values[0].double_value)
        elif future.done():
            break
    node.destroy_client(client)
    if deadline_s is None:
        print(
            f'no segmentation node told its {PARAMETER}, {DEFAULT_DEADLINE_S} s is assumed '
            '(--deadline tells another)',
            flush=True,
        )
    return DEFAULT_DEADLINE_S if deadline_s is None else deadline_s
