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

from sam_ad_perception.core.settings.parameter_files import ROS_OWN, not_ours
from sam_ad_perception.core.settings.parameter_tables import declare_sensors
from sam_ad_perception.core.settings.parameters import Parameter, build, check, flatten, leaves
from sam_ad_perception.nodes.ros.configuration import NODE_CONFIGS

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
        all_changeable: Callable[[], bool] | None = None,
    ) -> None:
        """Declare every leaf of a configuration on a node, and read the values given to it.

        Args:
            node: The node.
            config_type: A configuration dataclass of `core.settings.parameters`.
            changeable: Dotted names that may be set while the node runs, `group.*` for all of a
                group. The others are for start-up, and setting one is refused with that reason.
            on_change: Told of each new configuration; where it raises ValueError, the change is
                refused with its text.
            all_changeable: Whether every parameter may be set now: a node that is not configured
                reads them when it is. None for never.

        Raises:
            ParameterError: A value is refused, or a name was given that is nearly, but not quite,
                one of its parameters. Names that are not ours are left alone, and logged once.
        """
        self._type = config_type
        overrides = node._parameter_overrides
        declare_sensors({name: each.value for name, each in overrides.items()})
        self._leaves = leaves(config_type, overrides)
        self._told = sorted(changeable)
        # An open table may be empty, but its name must be right.
        known = {*self._leaves, *leaves(config_type, (f'{each}.' for each in changeable))}
        assert all(each in known or _group(each, known) for each in changeable), changeable
        self._changeable = frozenset(
            name
            for each in changeable
            for name in ([each] if each in self._leaves else _group(each, self._leaves))
        )
        self._on_change = on_change
        self._all_changeable = all_changeable
        _refuse_misspelt(config_type, overrides, node)
        # Declared by their defaults, then set: rclpy's own refusal of a bad override is an
        # exception class that names no range.
        values = {}
        for name, leaf in self._leaves.items():
            given = overrides.get(name)
            values[name] = leaf.default if given is None else given.value
        self.config = build(config_type, values)
        values |= {name: check(self._leaves[name], value) for name, value in values.items()}
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
            constraints.append(
                'read at start-up, cannot be set while the node runs'
                if self._all_changeable is None
                else 'read by configure, can be set while the node is unconfigured'
            )
        descriptor = ParameterDescriptor(
            description=f'{leaf.description}{unit}',
            additional_constraints='; '.join(constraints),
            dynamic_typing=leaf.takes_bool,
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
        return build(self._type, {**flatten(self.config), **ours})

    def _check(self, parameters: Sequence[RosParameter]) -> SetParametersResult:
        """Say whether a change is allowed, and why not."""
        values = flatten(self.config)
        open_now = self._all_changeable is not None and self._all_changeable()
        for each in parameters:
            fixed = each.name in self._leaves and each.name not in self._changeable
            if not fixed or open_now or _same(self._leaves[each.name], values[each.name], each):
                continue
            when = 'at start-up'
            if self._all_changeable is not None:
                when = 'by configure: set it while the node is unconfigured'
            return SetParametersResult(
                successful=False,
                reason=f'parameter {each.name!r} is read {when}; changeable at any time are '
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
    return [name for name in names if pattern.endswith('.*') and name.startswith(pattern[:-1])]


def _refuse_misspelt(config_type: type, overrides: dict[str, Any], node: Node) -> None:
    """Refuse a name that is nearly a parameter; log those that are somebody else's."""
    given = {
        name: value.value for name, value in overrides.items() if not node.has_parameter(name)
    }
    ours = leaves(config_type, given)
    foreign = {*not_ours(config_type, given)}
    for other in NODE_CONFIGS:  # one file may serve all nodes of a launch
        foreign |= (given.keys() & leaves(other, given).keys()) - ours.keys()
    if foreign:
        node.get_logger().warning(
            f'left alone, no parameters of this node: {", ".join(map(repr, sorted(foreign)))}'
        )
    kept = {name: value for name, value in given.items() if name not in foreign}
    build(config_type, {k: v for k, v in kept.items() if not ROS_OWN.fullmatch(k)})


def _same(leaf: Parameter, held: Any, wanted: RosParameter) -> bool:
    """Whether a parameter has this value already."""
    value = wanted.value if leaf.length is None else tuple(wanted.value or ())
    if leaf.takes_bool and isinstance(value, bool):
        value = str(value).lower()
    return type(value) is type(held) and bool(value == held)


def _ros_value(leaf: Parameter, value: Any) -> Any:
    """Turn a value into the form rclpy takes: a list as a list."""
    return value if leaf.length is None else list(value)
