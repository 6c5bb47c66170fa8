"""Base of every node: QoS overrides on each topic, parameters that keep their value."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSPolicyKind, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

POLICIES = {
    'history': QoSPolicyKind.HISTORY,
    'depth': QoSPolicyKind.DEPTH,
    'reliability': QoSPolicyKind.RELIABILITY,
    'durability': QoSPolicyKind.DURABILITY,
    'deadline': QoSPolicyKind.DEADLINE,
    'lifespan': QoSPolicyKind.LIFESPAN,
    'liveliness': QoSPolicyKind.LIVELINESS,
    'liveliness_lease_duration': QoSPolicyKind.LIVELINESS_LEASE_DURATION,
    'avoid_ros_namespace_conventions': QoSPolicyKind.AVOID_ROS_NAMESPACE_CONVENTIONS,
}
"""Last part of a `qos_overrides` parameter -> policy."""


class PerceptionNode(Node):
    """A node whose topics heed `qos_overrides./<topic>.<subscription or publisher>.<policy>`.

    A parameter that is set to the value it has is accepted whatever it is, so that what
    `ros2 param dump` writes can be loaded again as it is.
    """

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Any, qos_profile: Any, **options: Any
    ) -> Subscription:
        """Subscribe, with the QoS that parameters give to this topic.

        Args:
            msg_type: Class of the messages.
            topic: Name of the topic.
            callback: Takes each message.
            qos_profile: Profile, or the number of messages held.
            **options: Of `rclpy.node.Node.create_subscription`.

        Returns:
            The subscription.

        Raises:
            ValueError: An override names no policy, or one that it cannot have.
        """
        qos, more = self._overridden('subscription', topic, qos_profile)
        return super().create_subscription(msg_type, topic, callback, qos, **{**more, **options})

    def create_publisher(
        self, msg_type: Any, topic: str, qos_profile: Any, **options: Any
    ) -> Publisher:
        """Advertise, with the QoS that parameters give to this topic.

        Args:
            msg_type: Class of the messages.
            topic: Name of the topic.
            qos_profile: Profile, or the number of messages held.
            **options: Of `rclpy.node.Node.create_publisher`.

        Returns:
            The publisher.

        Raises:
            ValueError: An override names no policy, or one that it cannot have.
        """
        qos, more = self._overridden('publisher', topic, qos_profile)
        return super().create_publisher(msg_type, topic, qos, **{**more, **options})

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters all at one time; those that have their value already need no permission.

        Args:
            parameter_list: What to set.

        Returns:
            Whether it was accepted, and if not, why.
        """
        changed = [each for each in parameter_list if not self._holds(each)]
        if parameter_list and not changed:
            return SetParametersResult(successful=True)
        return super().set_parameters_atomically(changed)

    def _holds(self, wanted: Parameter) -> bool:
        """Whether a parameter has a value already."""
        if not self.has_parameter(wanted.name):
            return False
        held = self.get_parameter(wanted.name)
        return held.type_ == wanted.type_ and _plain(held.value) == _plain(wanted.value)

    def _overridden(self, kind: str, topic: str, qos: Any) -> tuple[QoSProfile, dict[str, Any]]:
        """Copy a profile, and find which of its policies parameters override."""
        profile = QoSProfile(depth=qos) if isinstance(qos, int) else copy.copy(qos)
        # rclpy advertises the topics of its own before it knows the parameters.
        given = getattr(self, '_parameter_overrides', None)
        if not given or not any(name.startswith('qos_overrides.') for name in given):
            return profile, {}
        prefix = f'qos_overrides.{self.resolve_topic_name(topic)}.{kind}.'
        named = sorted(name.removeprefix(prefix) for name in given if name.startswith(prefix))
        for policy in named:
            if policy not in POLICIES:
                raise ValueError(
                    f'parameter {prefix + policy!r}: there is no QoS policy {policy!r}, expected '
                    f'one of {sorted(POLICIES)}'
                )
        if not named:
            return profile, {}
        kinds = [POLICIES[policy] for policy in named]
        return profile, {'qos_overriding_options': QoSOverridingOptions(kinds)}


def _plain(value: Any) -> Any:
    """Make the values of lists comparable, in whichever of its forms rclpy holds them."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return list(value) if is_list or hasattr(value, 'tolist') else value
