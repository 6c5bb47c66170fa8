"""Writes what code and measurements say into documents: `python -m tools.documentation`.

`config/NODE.param.yaml` holds every parameter of a node at its default, described.

A table stands between `<!-- parameters:NODE -->` and `<!-- /parameters -->`. A topic table,
between `<!-- topics:NODE -->` and `<!-- /topics -->`, is written by hand and compared by a test.
Between `<!-- results:NAME -->` and `<!-- /results -->` stands `benchmarks/results/NAME.md`, which
the command that it names has measured; `speed` is the table of `tools.speed_claims`.
`docs/benchmarks.md` has the tables of all benchmarks.
"""

from __future__ import annotations

import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sam_ad_perception.core.parameters import Parameter, leaves
from tools.benchmark_tables import benchmark_page
from tools.speed_claims import speed_table

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / 'README.md'
DOCUMENTS = (README, ROOT / 'models/README.md')
CONFIG = ROOT / 'config'
RESULTS = ROOT / 'benchmarks/results'
BENCHMARKS = ROOT / 'docs/benchmarks.md'
_PARAMETERS = re.compile(r'(<!-- parameters:(\w+) -->\n)(.*?)(<!-- /parameters -->)', re.DOTALL)
_RESULTS = re.compile(r'(<!-- results:(\w+) -->\n)(.*?)(<!-- /results -->)', re.DOTALL)
_TOPICS = re.compile(r'<!-- topics:(\w+) -->\n(.*?)<!-- /topics -->', re.DOTALL)


@dataclass(frozen=True)
class Topic:
    """One row of a topic table.

    Attributes:
        name: Relative topic name.
        type: Message type, for example `sensor_msgs/msg/Image`.
        direction: 'in' or 'out'.
    """

    name: str
    type: str
    direction: str


def config_type(node: str) -> type[Any]:
    """The configuration class of a node, by the node's name in the graph.

    Raises:
        ValueError: There is no such node.
    """
    from sam_ad_perception.nodes import configuration

    name = ''.join(word.capitalize() for word in node.split('_'))
    for each in (f'{name}NodeConfig', f'{name}Config'):
        found: type[Any] | None = getattr(configuration, each, None)
        if found is not None:
            return found
    raise ValueError(f'nodes/configuration.py has no {name}Config for the node {node!r}')


def config_nodes() -> list[str]:
    """The nodes that have a parameter file of defaults."""
    names = [path.name.removesuffix('.param.yaml') for path in CONFIG.glob('*.param.yaml')]
    return sorted(name for name in names if name != 'replay')


def parameter_file(node: str, config: type[Any]) -> str:
    """The parameter file of a node, with what each parameter means."""
    lines = [
        f'# Parameters of {node}_node at their defaults; a vehicle needs only those it changes.',
        '/**:',
        '  ros__parameters:',
    ]
    open_groups: list[str] = []
    for name, each in leaves(config).items():
        *groups, leaf = name.split('.')
        shared = 0
        while shared < min(len(groups), len(open_groups)) and (
            groups[shared] == open_groups[shared]
        ):
            shared += 1
        lines += [
            f'{"  " * (depth + 2)}{group}:'
            for depth, group in enumerate(groups[shared:], start=shared)
        ]
        open_groups = groups
        indent = '  ' * (len(groups) + 2)
        lines += textwrap.wrap(
            _comment(each),
            99,
            initial_indent=f'{indent}# ',
            subsequent_indent=f'{indent}# ',
            break_on_hyphens=False,
        )
        lines.append(f'{indent}{leaf}: {_yaml_value(each.default)}')
    return '\n'.join(lines) + '\n'


def parameter_table(config: type[Any]) -> str:
    """A Markdown table with one row per parameter of a configuration."""
    rows = ['| parameter | default | range | |', '|---|---|---|---|']
    for name, each in leaves(config).items():
        text = each.description.replace('|', '\\|').replace('<', '\\<')
        rows.append(f'| `{name}` | {_value(each.default, each.unit)} | {_range(each)} | {text} |')
    return '\n'.join(rows) + '\n'


def with_tables(text: str) -> str:
    """A document with every parameter table and every block of results written anew.

    Raises:
        OSError: There are no such results.
    """

    def written(match: re.Match[str]) -> str:
        return match[1] + parameter_table(config_type(match[2])) + match[4]

    def measured(match: re.Match[str]) -> str:
        name = match[2]
        figures = speed_table(RESULTS) if name == 'speed' else (RESULTS / f'{name}.md').read_text()
        return match[1] + figures + match[4]

    return _RESULTS.sub(measured, _PARAMETERS.sub(written, text))


def documented_nodes(text: str) -> set[str]:
    """The nodes that a document has a parameter table for."""
    return {match[2] for match in _PARAMETERS.finditer(text)}


def documented_topics(text: str) -> dict[str, set[Topic]]:
    """The rows of a document's topic tables, by node.

    A row begins with the topic and the type in code marks, then `in` or `out`. A type without a
    package, as in `Image`, is not accepted.

    Raises:
        ValueError: A row reads otherwise.
    """
    result: dict[str, set[Topic]] = {}
    for match in _TOPICS.finditer(text):
        topics = result.setdefault(match[1], set())
        for line in match[2].splitlines()[2:]:
            row = re.match(r'\| `([\w/~]+)` \| `(\w+/\w+)` \| (in|out) \|', line)
            if row is None:
                raise ValueError(f'not a row of a topic table: {line}')
            package, message = row[2].split('/')
            topics.add(Topic(row[1], f'{package}/msg/{message}', row[3]))
    return result


def _value(value: object, unit: str) -> str:
    if isinstance(value, tuple):
        text = '[' + ', '.join(str(item) if item != '' else "''" for item in value) + ']'
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = str(value) if value != '' else "''"
    return f'`{text}` {unit}'.rstrip()


def _range(each: Parameter) -> str:
    if each.choices:
        return ', '.join(f'`{choice}`' for choice in each.choices)
    if each.ge is None and each.le is None:
        return ''
    if each.le is None:
        return f'at least {each.ge}'
    return f'at most {each.le}' if each.ge is None else f'{each.ge} to {each.le}'


def _comment(each: Parameter) -> str:
    text = each.description + (f' [{each.unit}]' if each.unit else '')
    if each.choices:
        return f'{text} One of {", ".join(map(str, each.choices))}.'
    limits = [
        f'{word} {limit:g}'
        for word, limit in (('at least', each.ge), ('at most', each.le))
        if limit is not None
    ]
    return f'{text} ({", ".join(limits)})' if limits else text


def _yaml_value(value: object) -> str:
    text = yaml.safe_dump(
        list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=1000
    )
    return text.removesuffix('...\n').strip()


def main() -> int:
    """Rewrite the documents and the parameter files; return the exit status."""
    for document in DOCUMENTS:
        document.write_text(with_tables(document.read_text()))
    BENCHMARKS.write_text(benchmark_page(RESULTS))
    for node in config_nodes():
        path = CONFIG / f'{node}.param.yaml'
        path.write_text(parameter_file(node, config_type(node)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
