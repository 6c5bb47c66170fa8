"""ROS 2 parameter files: read strictly where names are ours, and with others left alone."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sam_ad_perception.core.settings.parameter_tables import ENTRY, declare_sensors
from sam_ad_perception.core.settings.parameters import (
    ParameterError,
    build,
    edit_distance,
    flatten,
    leaves,
)
from sam_ad_perception.core.settings.yaml_documents import YamlError, read_yaml

T = TypeVar('T')

ROS_OWN = re.compile(r'use_sim_time|start_type_description_service|qos_overrides\..*')
"""Parameters that every ROS node has by itself; a parameter file may hold them."""

_log = logging.getLogger(__name__)


def load(config_type: type[T], path: Path, node_name: str = '/**', *, strict: bool = False) -> T:
    """Read a ROS 2 parameter file.

    Args:
        config_type: The dataclass to make.
        path: YAML file, `<node name>: ros__parameters: ...`.
        node_name: Whose parameters; the section `/**` holds for every node, and the node's own
            section overrides it.
        strict: Whether every name must be ours, as in a file that only this package reads; else
            names that are not like ours are left alone, as a vehicle's file may hold them.

    Returns:
        The configuration.

    Raises:
        ParameterError: The file is not a parameter file or holds no section for the node, or a
            value is refused (see `build`).
        OSError: The file cannot be read.
    """
    try:
        content = read_yaml(path, _Loader)
    except ParameterError as err:
        raise ParameterError(f'{path}: {err}') from err
    except YamlError as err:
        raise ParameterError(str(err)) from err
    if not isinstance(content, dict):
        raise ParameterError(f'{path} must hold `<node name>: ros__parameters: ...`')
    wanted = {'/**', node_name, node_name.lstrip('/'), '/' + node_name.lstrip('/')}
    sections = [content[key] for key in ('/**', *sorted(wanted - {'/**'})) if key in content]
    if not sections:
        raise ParameterError(
            f'{path} has no parameters for {node_name!r}, it has {sorted(map(str, content))}'
        )
    values: dict[str, Any] = {}
    for section in sections:
        if not isinstance(section, dict) or set(section) != {'ros__parameters'}:
            raise ParameterError(f'{path}: a node section must hold exactly `ros__parameters`')
        values |= flatten(section['ros__parameters'] or {})
    try:
        declare_sensors(values)
    except ValueError as err:
        raise ParameterError(f'{path}: {err}') from err
    foreign = [] if strict else not_ours(config_type, values)
    if foreign:
        _log.warning('%s: left alone, no parameters of ours: %s', path, ', '.join(foreign))
    ignored = {*foreign, *(name for name in values if ROS_OWN.fullmatch(name))}
    try:
        return build(config_type, {k: v for k, v in values.items() if k not in ignored})
    except ParameterError as err:
        raise ParameterError(f'{path}: {err}') from err


class _Loader(yaml.SafeLoader):
    """Reads `1e-3` as a float, as ROS does (YAML 1.1 wants `1.0e-3`); refuses a repeated key."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (str(key.value) for key, _ in node.value):
            if key in seen:
                raise ParameterError(f'{key!r} is given twice, line {node.start_mark.line + 1}')
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+'),
    list('-+.0123456789'),
)


def not_ours(config_type: type, names: Iterable[str]) -> list[str]:
    """Find the names that belong to somebody else: a file or launch file sets them for all nodes.

    A name is ours, perhaps misspelt, where it lies in one of our groups, lacks only the group, or
    differs from one of our names by a few letters: `build` refuses it. Parameters that every ROS
    node has by itself are nobody's business.

    Args:
        config_type: The dataclass.
        names: Dotted names.

    Returns:
        Those that are neither ours nor near to ours.
    """
    known = leaves(config_type)
    groups = {name.partition('.')[0] for name in known if '.' in name}
    groups |= {each.name for each in dataclasses.fields(config_type) if ENTRY in each.metadata}

    def near(name: str) -> bool:
        group, dot, _ = name.partition('.')
        if (dot and group in groups) or (dot and any(k.endswith(f'.{name}') for k in known)):
            return True
        allowed = max(1, min(3, len(name) // 4))
        return any(
            abs(len(each) - len(name)) <= allowed and edit_distance(name, each) <= allowed
            for each in known
        )

    return [
        name
        for name in names
        if name not in known and not ROS_OWN.fullmatch(name) and not near(name)
    ]
