"""YAML text to plain values within a budget: a small file cannot take minutes or all memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 16 << 20
"""Longest text; the metadata of a bag with thousands of files is far below it."""
MAX_VALUES = 500_000
"""Most values of a document, those that aliases repeat counted each time."""
MAX_DEPTH = 100
"""Deepest nesting."""


class YamlError(ValueError):
    """Text that is no YAML, or more of it than anybody means; the message says where."""


def read_yaml(path: Path, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """Read a YAML file.

    Args:
        path: The file.
        loader: Makes the values.

    Returns:
        Mappings, lists and scalars.

    Raises:
        YamlError: It is no YAML, or exceeds the budget.
        OSError: It cannot be read.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise YamlError(f'{path} has {size} bytes, at most {MAX_BYTES} are read')
    try:
        text = path.read_text(encoding='utf-8')
    except UnicodeDecodeError as err:
        raise YamlError(f'{path} is not valid YAML: {err}') from err
    return parse_yaml(text, str(path), loader)


def parse_yaml(text: str, source: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """Parse YAML text.

    Args:
        text: One document.
        source: Where it is from, for errors.
        loader: Makes the values.

    Returns:
        Mappings, lists and scalars.

    Raises:
        YamlError: It is no YAML, or exceeds the budget.
    """
    if len(text) > MAX_BYTES:
        raise YamlError(
            f'{source} has {len(text)} characters, at most {MAX_BYTES} are read as YAML'
        )
    try:
        reader = loader(text)
        node = reader.get_single_node()
        if node is None:
            return None
        _check_budget(node, source)
        return reader.construct_document(node)
    except RecursionError as err:
        raise YamlError(f'{source} nests deeper than {MAX_DEPTH} levels') from err
    except yaml.YAMLError as err:
        raise YamlError(f'{source} is not valid YAML: {_describe(err)}') from err


def _describe(err: yaml.YAMLError) -> str:
    """Problem and place, without the text around it: that is not ours to print."""
    mark = getattr(err, 'problem_mark', None)
    problem = str(getattr(err, 'problem', None) or 'characters that YAML does not allow')
    if mark is None:
        return problem[:200]
    return f'line {mark.line + 1}, column {mark.column + 1}: {problem[:200]}'


def _check_budget(root: yaml.Node, source: str) -> None:
    """Count the values of a document as they would be without aliases, each node once."""
    counts: dict[int, int] = {}
    open_nodes: set[int] = set()

    def count(node: yaml.Node, depth: int) -> int:
        key = id(node)
        if key in counts:
            return counts[key]
        if key in open_nodes:
            raise YamlError(f'{source}, line {node.start_mark.line + 1}: an alias contains itself')
        if depth > MAX_DEPTH:
            line = node.start_mark.line + 1
            raise YamlError(f'{source}, line {line}: nested deeper than {MAX_DEPTH} levels')
        open_nodes.add(key)
        total = 1
        if isinstance(node, yaml.SequenceNode):
            total += sum(count(item, depth + 1) for item in node.value)
        elif isinstance(node, yaml.MappingNode):
            total += sum(count(k, depth + 1) + count(v, depth + 1) for k, v in node.value)
        if total > MAX_VALUES:
            line = node.start_mark.line + 1
            raise YamlError(
                f'{source}, line {line}: aliases make more than {MAX_VALUES} values of it'
            )
        open_nodes.discard(key)
        counts[key] = total
        return total

    count(root, 1)
