"""Frozen dataclasses from YAML mappings, strictly: every surprise is an error with its place."""

from __future__ import annotations

import dataclasses
import reprlib
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar('T')


def build_record(record_type: type[T], mapping: object, where: str) -> T:
    """Make a dataclass from a mapping as YAML gives it.

    Nested dataclasses, tuples, `Mapping[str, X]` and `X | None` are followed. An int is taken
    where a float is expected; nothing else is converted.

    Args:
        record_type: The dataclass.
        mapping: Field name to value.
        where: Place named in errors, for example `models.mle_sam_demo`.

    Returns:
        The record.

    Raises:
        ValueError: An unknown, missing or ill-typed field, or a value that the record refuses.
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f'{where} must be a mapping, got {reprlib.repr(mapping)}')
    hints = get_type_hints(record_type)
    fields = {f.name: f for f in dataclasses.fields(record_type) if f.init}  # type: ignore[arg-type]
    unknown = sorted(set(map(str, mapping)) - set(fields))
    if unknown:
        raise ValueError(f'{where} has unknown fields {unknown}, expected some of {list(fields)}')
    missing = [
        name
        for name, f in fields.items()
        if name not in mapping
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f'{where} lacks {missing}')
    values = {
        name: convert_value(hints[name], value, f'{where}.{name}')
        for name, value in mapping.items()
    }
    try:
        return record_type(**values)
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error


def convert_value(hint: Any, value: object, where: str) -> Any:
    """Check one value against a type hint and convert lists to tuples.

    Args:
        hint: Resolved type hint.
        value: Value as YAML gives it.
        where: Place named in errors.

    Returns:
        The value.

    Raises:
        ValueError: The value does not fit the hint.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        if value is None and type(None) in arguments:
            return None
        options = [a for a in arguments if a is not type(None)]
        return convert_value(options[0], value, where)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build_record(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f'{where} must be a list, got {reprlib.repr(value)}')
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise ValueError(f'{where} must have {len(kinds)} items, got {len(value)}')
        return tuple(
            convert_value(kind, item, f'{where}[{i}]')
            for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f'{where} must be a mapping, got {reprlib.repr(value)}')
        return {k: convert_value(arguments[1], v, f'{where}.{k}') for k, v in value.items()}
    if hint in (Any, object):
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise ValueError(f'{where} must be {hint.__name__}, got {reprlib.repr(value)}')
    return value
