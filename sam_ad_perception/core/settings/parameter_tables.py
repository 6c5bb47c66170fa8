"""Parts of a configuration that there are one of for each sensor: tables of parameters.

See `core.settings.parameters` for what a configuration is.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sam_ad_perception.core.sensor_kinds import declare_sensor

TABLE = 'table'
"""Key in the metadata of a field that is a table."""
ENTRY = 'entry'
"""Key in the metadata of a table that anybody may add entries to: the configuration of one."""
_SENSOR = re.compile(r'(?:\w+\.)*sensors\.(\w+)\.kind')


def table(factory: Callable[[], Mapping[Any, Any]], *, named: bool = False) -> Any:
    """Declare a field that holds one configuration for each of a number of names.

    Its leaves stand beside the other fields: `thermal.offset_s` of a table of sensors.

    Args:
        factory: Makes the default: name to configuration.
        named: Whether the field's own name is in front: `sensors.thermal_left.kind`.

    Returns:
        The field, a mapping.
    """
    return dataclasses.field(default_factory=factory, metadata={TABLE: True, 'named': named})


def open_table(entry: type) -> Any:
    """Declare a table that is empty where nobody says otherwise, with entries of any name.

    An entry comes about by any parameter of it: `selections.dynamic.classes`.

    Args:
        entry: Configuration of one entry; it can be made without arguments.

    Returns:
        The field, a mapping.
    """
    return dataclasses.field(
        default_factory=dict, metadata={TABLE: True, 'named': True, ENTRY: entry}
    )


def with_entries(
    field: dataclasses.Field[Any], prefix: str, value: Mapping[Any, Any], names: Iterable[str]
) -> dict[Any, Any]:
    """Add to a table the entries that parameters name, if anybody may add some.

    Args:
        field: The table.
        prefix: What is in front of the names of its configuration.
        value: Its entries.
        names: Dotted names of parameters.

    Returns:
        The entries; new ones at their defaults.
    """
    found = dict(value)
    entry = field.metadata.get(ENTRY)
    if entry is None:
        return found
    where = table_prefix(field, prefix)
    for name in names:
        key, dot, _ = name.removeprefix(where).partition('.')
        if name.startswith(where) and dot and key not in found:
            found[key] = entry()
    return found


class Tabled:
    """A configuration with tables: `config.thermal` is the entry `thermal`, as in parameters."""

    def __getattr__(self, name: str) -> Any:
        own = object.__getattribute__(self, '__dict__')
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            named = field.metadata.get('named', True)
            if not named and name in own.get(field.name, ()):
                return own[field.name][name]
        raise AttributeError(f'{type(self).__name__!r} has no attribute {name!r}')


def complete_table(config: Any, name: str, defaults: Mapping[Any, Any]) -> None:
    """Give a table that was made by hand the entries that it lacks; for `__post_init__`.

    Args:
        config: A frozen configuration with the table.
        name: Its field.
        defaults: Every entry.

    Raises:
        ValueError: It has an entry that is not among the defaults.
    """
    given = getattr(config, name)
    for key in given:
        if key not in defaults:
            raise ValueError(f'{name} must be among {[*map(str, defaults)]}, got {str(key)!r}')
    whole = {key: given.get(key, value) for key, value in defaults.items()}
    object.__setattr__(config, name, whole)


def declare_sensors(values: Mapping[str, Any]) -> None:
    """Declare the sensors that parameters name: each `sensors.<name>.kind`.

    Args:
        values: Dotted name to value; others than these are left alone.

    Raises:
        ValueError: There is no such kind, or the name cannot be given.
    """
    for name, value in values.items():
        found = _SENSOR.fullmatch(name)
        if found is None:
            continue
        try:
            declare_sensor(found[1], value)
        except ValueError as err:
            raise ValueError(f'parameter {name!r}: {err}') from err


def table_prefix(field: dataclasses.Field[Any], prefix: str) -> str:
    """What is in front of the names of a table.

    Args:
        field: The table.
        prefix: What is in front of the names of its configuration.

    Returns:
        The prefix.
    """
    return f'{prefix}{field.name}.' if field.metadata['named'] else prefix
