"""Parameters as dataclass fields: default, range, unit and description in one place.

A configuration is a frozen dataclass whose fields are made with `parameter`. Nested dataclasses
give dotted names, so the same tree is read from a ROS 2 parameter file by `parameter_files.load`,
declared on a node from `leaves`, and put together again by `build`. Values are refused as strictly
as ROS refuses them: `1` is not a float, `null` is not a value, and a name that nobody declared is
an error, not a comment.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sam_ad_perception.core.console.suggestions import did_you_mean, nearest
from sam_ad_perception.core.settings.parameter_tables import (
    TABLE,
    declare_sensors,
    table_prefix,
    with_entries,
)

T = TypeVar('T')
Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]

SCALARS: tuple[type, ...] = (bool, int, float, str)


class ParameterError(ValueError):
    """A parameter is unknown, of the wrong type, out of range, or against another one."""


@dataclass(frozen=True)
class Parameter:
    """One leaf of a configuration.

    Attributes:
        name: Dotted name, for example `synchronizer.deadline`.
        type: `bool`, `int`, `float` or `str`; for a list the type of its items.
        length: None for a scalar, the number of items for a fixed list, -1 for any number.
        default: The value where nobody says otherwise.
        description: One sentence for the reader of `ros2 param describe`.
        ge: Smallest value allowed (of each item), or None.
        le: Largest value allowed (of each item), or None.
        unit: Unit of the value, or ''.
        choices: The values allowed, or () where any will do.
    """

    name: str
    type: type
    length: int | None
    default: Value
    description: str
    ge: float | None = None
    le: float | None = None
    unit: str = ''
    choices: tuple[Scalar, ...] = ()

    @property
    def takes_bool(self) -> bool:
        """Whether a plain `true` or `false` is taken for the word: it is one of its choices."""
        return self.type is str and {'true', 'false'} <= set(self.choices)


def parameter(
    default: T,
    description: str,
    *,
    factory: Callable[[], T] | None = None,
    ge: float | None = None,
    le: float | None = None,
    unit: str = '',
    choices: tuple[Scalar, ...] | None = None,
) -> T:
    """Declare a field of a configuration dataclass.

    Args:
        default: Its value where nobody says otherwise; a list is written as a tuple, never empty
            (ROS cannot tell the type of an empty list).
        description: One sentence.
        factory: Makes the default when a configuration is made, where that depends on which
            sensors there are; `default` then only shows its type.
        ge: Smallest value allowed, or None.
        le: Largest value allowed, or None.
        unit: Unit of the value, for example `s`.
        choices: The values allowed, or None for any.

    Returns:
        The field, typed as its default so that type checkers see a plain dataclass.

    Raises:
        ValueError: The default is an empty tuple.
    """
    if default == ():
        raise ValueError(f'a parameter cannot default to an empty list: {description!r}')
    metadata = {
        'description': description,
        'ge': ge,
        'le': le,
        'unit': unit,
        'choices': tuple(choices or ()),
    }
    made: Any
    if factory is not None:
        made = dataclasses.field(default_factory=factory, metadata=metadata)
    else:
        made = dataclasses.field(default=default, metadata=metadata)
    return made


def leaves(config_type: type, names: Iterable[str] = ()) -> dict[str, Parameter]:
    """List the parameters of a configuration.

    Args:
        config_type: A dataclass made of `parameter` fields and of dataclasses like it.
        names: Dotted names that were given: they make the entries of open tables.

    Returns:
        Dotted name to `Parameter`, in the order of the fields. A nested dataclass takes its
        defaults from the field that holds it.
    """
    return {p.name: p for p in _walk(config_type, config_type(), '', tuple(names))}


def build(config_type: type[T], values: Mapping[str, Any]) -> T:
    """Put a configuration together from dotted names.

    Args:
        config_type: The dataclass to make.
        values: Dotted name to value; a list may come as any sequence. What is not named keeps
            its default.

    Returns:
        The configuration.

    Raises:
        ParameterError: A name is unknown, or a value ill-typed, out of range, or refused by the
            dataclass's own `__post_init__`; the message names the parameter.
    """
    try:
        declare_sensors(values)
    except ValueError as err:
        raise ParameterError(str(err)) from err
    known = leaves(config_type, values)
    for name in values:
        if name not in known:
            raise ParameterError(_unknown(name, known))
    checked = {name: check(known[name], value) for name, value in values.items()}
    built: T = _assemble(config_type, config_type(), '', checked)
    return built


def check(declared: Parameter, value: Any) -> Value:
    """Check one value against its declaration.

    Args:
        declared: The parameter.
        value: What came: a scalar, or a sequence for a list.

    Returns:
        The value, a list as a tuple.

    Raises:
        ParameterError: The type, the number of items, the range or the choice is wrong.
    """
    if declared.length is None:
        return _check_scalar(declared, value)
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, '__iter__'):
        raise ParameterError(
            f'parameter {declared.name!r} must be a list of {declared.type.__name__}, '
            f'got {_shown(value)}'
        )
    items = tuple(_check_scalar(declared, item) for item in value)
    if declared.length != -1 and len(items) != declared.length:
        raise ParameterError(
            f'parameter {declared.name!r} must have {declared.length} items, got {len(items)}'
        )
    if not items:
        raise ParameterError(f'parameter {declared.name!r} must not be an empty list')
    return items


def flatten(tree: Any, prefix: str = '') -> dict[str, Any]:
    """Turn a nested mapping, or a configuration, into dotted names.

    Args:
        tree: Nested mapping with string keys, or an instance of a configuration dataclass.
        prefix: Put before each name.

    Returns:
        Dotted name to value.
    """
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        instance, fields = tree, dataclasses.fields(tree)
        tables = [f for f in fields if f.metadata.get(TABLE)]
        tree = {f.name: getattr(tree, f.name) for f in fields if f not in tables} | {
            (f'{f.name}.{key}' if f.metadata['named'] else str(key)): value
            for f in tables
            for key, value in getattr(instance, f.name).items()
        }
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f'{prefix}{key}'
        if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
            flat |= flatten(value, f'{name}.')
        else:
            flat[name] = value
    return flat


def _walk(
    config_type: type, instance: Any, prefix: str, names: tuple[str, ...]
) -> Iterator[Parameter]:
    """Yield the leaves below a dataclass, with the values of `instance` as defaults."""
    hints = get_type_hints(config_type)
    for each in dataclasses.fields(config_type):
        name = f'{prefix}{each.name}'
        hint = hints[each.name]
        value = getattr(instance, each.name)
        if each.metadata.get(TABLE):
            where = table_prefix(each, prefix)
            for key, item in with_entries(each, prefix, value, names).items():
                yield from _walk(type(item), item, f'{where}{key}.', names)
            continue
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            yield from _walk(hint, value, f'{name}.', names)
            continue
        item_type, length = _item_type(hint)
        if item_type not in SCALARS or 'description' not in each.metadata:
            raise TypeError(
                f'{config_type.__name__}.{each.name} must be made with `parameter` and be a bool, '
                f'int, float, str or a tuple of one of them, it is {hint}'
            )
        yield Parameter(name, item_type, length, value, **each.metadata)


def _item_type(hint: Any) -> tuple[type, int | None]:
    """Split a type hint into the scalar's type and the length (see `Parameter.length`)."""
    if get_origin(hint) is not tuple:
        return hint, None
    items = get_args(hint)
    if len(items) == 2 and items[1] is Ellipsis:
        return items[0], -1
    return (items[0] if len(set(items)) == 1 else object), len(items)


def _assemble(config_type: Any, default: Any, prefix: str, values: Mapping[str, Value]) -> Any:
    """Make an instance of `config_type` from `default`, with the values below `prefix`."""
    arguments: dict[str, Any] = {}
    for each in dataclasses.fields(config_type):
        name = f'{prefix}{each.name}'
        value = getattr(default, each.name)
        if each.metadata.get(TABLE):
            where = table_prefix(each, prefix)
            arguments[each.name] = {
                key: _assemble(type(item), item, f'{where}{key}.', values)
                for key, item in with_entries(each, prefix, value, values).items()
            }
        elif dataclasses.is_dataclass(value):
            arguments[each.name] = _assemble(type(value), value, f'{name}.', values)
        else:
            arguments[each.name] = values.get(name, value)
    try:
        return config_type(**arguments)
    except ParameterError:
        raise
    except ValueError as err:
        where = f'parameters {prefix[:-1]!r}: ' if prefix else ''
        raise ParameterError(f'{where}{err}') from err


def _check_scalar(declared: Parameter, value: Any) -> Scalar:
    """Check one scalar, or one item of a list."""
    name = declared.name
    checked: Scalar = value
    if declared.takes_bool and type(value) is bool:
        checked = value = str(value).lower()
    # type() and not isinstance(): True is an int to Python, but not to ROS.
    if type(value) is not declared.type:
        if declared.takes_bool:
            raise ParameterError(
                f'parameter {name!r} must be one of {", ".join(map(str, declared.choices))}, '
                f'got {_shown(value)}'
            )
        hint = f'; write {value}.0' if declared.type is float and type(value) is int else ''
        raise ParameterError(
            f'parameter {name!r} must be of type {declared.type.__name__}, '
            f'got {_shown(value)}{hint}'
        )
    if isinstance(checked, float) and not math.isfinite(checked):
        raise ParameterError(f'parameter {name!r} must be finite, got {checked}')
    if declared.choices and checked not in declared.choices:
        raise ParameterError(
            f'parameter {name!r} must be one of {list(declared.choices)}, got {checked!r}'
            f'{did_you_mean(str(checked), map(str, declared.choices))}'
        )
    if not isinstance(checked, str):
        unit = f' {declared.unit}' if declared.unit else ''
        if declared.ge is not None and checked < declared.ge:
            raise ParameterError(
                f'parameter {name!r} must be at least {declared.ge}{unit}, got {checked}'
            )
        if declared.le is not None and checked > declared.le:
            raise ParameterError(
                f'parameter {name!r} must be at most {declared.le}{unit}, got {checked}'
            )
    return checked


def _shown(value: Any) -> str:
    """Describe a refused value: itself and its type."""
    return 'null' if value is None else f'{value!r} ({type(value).__name__})'


def edit_distance(a: str, b: str) -> int:
    """Count the letters to insert, delete, replace or swap with the next to turn `a` into `b`.

    Args:
        a: One word.
        b: Another.

    Returns:
        Their number: the distance of Damerau and Levenshtein, of neighbours swapped once.
    """
    older: list[int] = []
    last = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and (letter, a[i - 2]) == (b[j - 2], other):
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        older, last = last, row
    return last[-1]


def _unknown(name: str, known: Mapping[str, Parameter]) -> str:
    """Word the refusal of an unknown name, with the nearest known one."""
    longer = [each for each in known if each.endswith(f'.{name}')]
    near = longer[0] if longer else nearest(name, known, 0.5)
    group = name.partition('.')[0]
    others = sorted(each for each in known if each.startswith(f'{group}.')) or sorted(known)
    guess = f', did you mean {near!r}?' if near else f'; known are {others}'
    return f'unknown parameter {name!r}{guess}'
