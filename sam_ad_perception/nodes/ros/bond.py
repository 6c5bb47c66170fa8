"""The seam to bondpy: the bond by which a lifecycle manager sees that a managed node lives.

As nodes of nav2 have it: topic `bond`, the node's name as id, formed while the node is active. A
manager that hears nothing for its `bond_timeout` takes its other nodes down. That is also how it
learns of a node that a signal ended: ROS is gone before the node could tell.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

try:
    import bondpy.bondpy as bondpy
except ImportError:  # not in the wheels
    bondpy = None

RCLError = rclpy_implementation.RCLError
TOPIC = 'bond'
PERIOD_PARAMETER = 'bond_heartbeat_period'
TIMEOUT_S = 4.0
"""Without a heartbeat of the manager for so long, the bond is broken: what nav2 sets."""


def _publish_while_possible(node: Node, publish: Callable[[bool], None], active: bool) -> None:
    try:
        publish(active)
    except RCLError:
        if node.context.ok():
            raise


class ManagerBond:
    """One node's side of the bond.

    Args:
        node: Whose name the bond carries; it forms none unless it has the parameter
            `bond_heartbeat_period` and that is above 0.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._bond: Any = None

    @property
    def _period_s(self) -> float:
        if not self._node.has_parameter(PERIOD_PARAMETER):
            return 0.0
        return float(self._node.get_parameter(PERIOD_PARAMETER).value)

    def check(self) -> None:
        """See whether a bond that is asked for can be formed.

        Raises:
            ValueError: bondpy is not installed.
        """
        if self._period_s > 0 and bondpy is None:
            raise ValueError(
                f'{PERIOD_PARAMETER} {self._period_s:g} needs bondpy, which is not installed '
                '(apt install ros-$ROS_DISTRO-bondpy); 0 forms no bond'
            )

    def follow(self, *, active: bool) -> None:
        """Form the bond when the node has become active, break it when it no longer is.

        Args:
            active: Whether it is now.
        """
        if active and self._bond is None and self._period_s > 0:
            bond = bondpy.Bond(self._node, TOPIC, self._node.get_name(), self._tell)
            # Its thread goes on until the node ends, after a signal has ended ROS.
            bond._publish = partial(_publish_while_possible, self._node, bond._publish)
            bond.heartbeat_period = self._period_s
            bond.heartbeat_timeout = TIMEOUT_S
            self._bond = bond
            bond.start()
        elif not active and self._bond is not None:
            bond, self._bond = self._bond, None
            bond.set_broken_callback(None)  # which would come when the manager's farewell does not
            bond.shutdown()
            # It destroys both, and leaves them in the node's lists.
            with suppress(InvalidHandle):
                self._node.destroy_subscription(bond.sub)
            with suppress(InvalidHandle):
                self._node.destroy_publisher(bond.pub)

    def _tell(self) -> None:
        text = f'{TOPIC}: no lifecycle manager answers; this node goes on'
        self._node.get_logger().warning(text)
