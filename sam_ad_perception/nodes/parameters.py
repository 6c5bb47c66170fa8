"""Configuration dataclasses as ROS 2 parameters: declared with text and range, and kept equal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from sam_ad_perception.core.parameters import (
    ROS_OWN,
    Parameter,
    build,
    leaves,
)

Config = TypeVar('Config')

UNBOUNDED_INT = 2**63 - 1
UNBOUNDED_FLOAT = 1.7976931348623157e308


class NodeParameters(Generic[Config]):
    """The parameters of one node, kept equal to one frozen configuration.

    Attributes:
        config: The configuration as it is now; a new object after each change.
    """

    def __init__(
        self,
        node: Node,
        config_type: type[Config],
        changeable: Collection[str] = (),
        on_change: Callable[[Config], object] | None = None,
    ) -> None:
        """Declare every leaf of a configuration on a node, and read the values given to it.

        Args:
            node: The node.
            config_type: A configuration dataclass of `core.parameters`.
            changeable: Dotted names that may be set while the node runs, `group.*` for all of a
                group. The others are for start-up, and setting one is refused with that reason.
            on_change: Told of each new configuration; where it raises ValueError, the change is
                refused with its text.

        Raises:
            ParameterError: A value is refused, or a name was given that is no parameter of it.
        """
        self._type = config_type
        self._leaves = leaves(config_type)
        self._told = sorted(changeable)
        self._changeable = frozenset(
            name
            for each in changeable
            for name in ([each] if each in self._leaves else _group(each, self._leaves))
        )
        self._on_change = on_change
        overrides = node._parameter_overrides
        _refuse_unknown(config_type, overrides, node)
        # Declared by their defaults, then set: rclpy's own refusal of a bad override is an
        # exception class that names no range.
        values = {}
        for name, leaf in self._leaves.items():
            given = overrides.get(name)
            values[name] = leaf.default if given is None else given.value
        self.config = build(config_type, values)
        for name, leaf in self._leaves.items():
            node.declare_parameter(
                name, _ros_value(leaf, values[name]), self._describe(leaf), ignore_override=True
            )
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._adopt)

    def _describe(self, leaf: Parameter) -> ParameterDescriptor:
        """Make what `ros2 param describe` shows."""
        unit = f' [{leaf.unit}]' if leaf.unit else ''
        constraints = []
        if leaf.choices:
            constraints.append('one of ' + ', '.join(map(str, leaf.choices)))
        # Not read_only: rclpy would refuse a change with a text that names no reason.
        if leaf.name not in self._changeable:
            constraints.append('read at start-up, cannot be set while the node runs')
        descriptor = ParameterDescriptor(
            description=f'{leaf.description}{unit}',
            additional_constraints='; '.join(constraints),
        )
        if (leaf.ge is not None or leaf.le is not None) and leaf.length is None:
            if leaf.type is int:
                descriptor.integer_range = [
                    IntegerRange(
                        from_value=-UNBOUNDED_INT if leaf.ge is None else int(leaf.ge),
                        to_value=UNBOUNDED_INT if leaf.le is None else int(leaf.le),
                        step=1,
                    )
                ]
            elif leaf.type is float:
                descriptor.floating_point_range = [
                    FloatingPointRange(
                        from_value=-UNBOUNDED_FLOAT if leaf.ge is None else float(leaf.ge),
                        to_value=UNBOUNDED_FLOAT if leaf.le is None else float(leaf.le),
                        step=0.0,
                    )
                ]
        return descriptor

    def _changed(self, parameters: Sequence[RosParameter]) -> Config | None:
        """Work out the configuration after a change; None where it holds none of ours."""
        ours = {p.name: p.value for p in parameters if p.name in self._leaves}
        if not ours:
            return None
        current = _flat_values(self.config, self._leaves)
        return build(self._type, {**current, **ours})

    def _check(self, parameters: Sequence[RosParameter]) -> SetParametersResult:
        """Say whether a change is allowed, and why not."""
        for each in parameters:
            if each.name in self._leaves and each.name not in self._changeable:
                return SetParametersResult(
                    successful=False,
                    reason=f'parameter {each.name!r} is read at start-up; changeable are '
                    f'{self._told or "none"}',
                )
        try:
            config = self._changed(parameters)
            if config is not None and self._on_change is not None:
                self._on_change(config)
        except ValueError as err:
            return SetParametersResult(successful=False, reason=str(err))
        return SetParametersResult(successful=True)

    def _adopt(self, parameters: Sequence[RosParameter]) -> None:
        """Take over a change that was allowed."""
        config = self._changed(parameters)
        if config is not None:
            self.config = config


def _group(pattern: str, names: Collection[str]) -> list[str]:
    """List the names of a group, given as `group.*`."""
    found = [name for name in names if pattern.endswith('.*') and name.startswith(pattern[:-1])]
    assert found, f'changeable names {pattern}'
    return found


def _refuse_unknown(config_type: type, overrides: dict[str, Any], node: Node) -> None:
    """Refuse a name that is given but not a parameter: a misspelt one must not be ignored."""
    given = {
        name: value.value
        for name, value in overrides.items()
        if not ROS_OWN.fullmatch(name) and not node.has_parameter(name)
    }
    build(config_type, given)


def _ros_value(leaf: Parameter, value: Any) -> Any:
    """Turn a value into the form rclpy takes: a list as a list."""
    return value if leaf.length is None else list(value)


def _flat_values(config: Any, names: Collection[str]) -> dict[str, Any]:
    """Read the values of dotted names from a configuration."""
    values = {}
    for name in names:
        value = config
        for part in name.split('.'):
            value = getattr(value, part)
        values[name] = value
    return values
