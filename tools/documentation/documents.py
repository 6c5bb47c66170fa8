"""Writes what code and measurements say into documents: `python -m tools.documentation`.

`config/NODE.param.yaml` holds every parameter of a node at its default, described.

A table stands between `<!-- parameters:NODE -->` and `<!-- /parameters -->`. A topic table,
between `<!-- topics:NODE -->` and `<!-- /topics -->`, is written by hand and compared by a test.
Between `<!-- results:NAME -->` and `<!-- /results -->` stands `benchmarks/results/NAME.md`, which
the command that it names has measured; `speed` is the table of `speed_claims`, `headline` that of
`headline`. Pages of `reference` stand between `<!-- commands -->`, `<!-- api -->`,
`<!-- datasets -->` or `<!-- weights -->` and their ends; that of `safety_case` between
`<!-- safety -->` and its end.
`docs/benchmarks.md` has the tables of all benchmarks. Between `<!-- claims:PAPER -->` and
`<!-- /claims -->` stand the lists of `training/papers/PAPER.yaml`, and the configurations that
follow a paper begin with where their values are from.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sam_ad_perception.core.settings.parameter_tables import ENTRY
from sam_ad_perception.core.settings.parameters import Parameter, leaves
from tools.documentation.benchmark_tables import benchmark_page
from tools.documentation.headline import headline_table
from tools.documentation.reference import api_page, commands_page, datasets_table, weights_table
from tools.documentation.safety_case import safety_page
from tools.documentation.speed_claims import speed_table

_ANY = 'any_name'
ROOT = Path(__file__).resolve().parents[2]
README = ROOT / 'README.md'
DOCS = ROOT / 'docs'
DOCUMENTS = (README, ROOT / 'THIRD_PARTY.md', *sorted(DOCS.rglob('*.md')))
CONFIG = ROOT / 'config'
RESULTS = ROOT / 'benchmarks/results'
BENCHMARKS = DOCS / 'benchmarks.md'
_PARAMETERS = re.compile(r'(<!-- parameters:(\w+) -->\n)(.*?)(<!-- /parameters -->)', re.DOTALL)
_RESULTS = re.compile(r'(<!-- results:(\w+) -->\n)(.*?)(<!-- /results -->)', re.DOTALL)
_WRITTEN = re.compile(
    r'(<!-- (commands|api|datasets|weights|safety) -->\n)(.*?)(<!-- /\2 -->)', re.DOTALL
)
_CLAIMS = re.compile(r'(<!-- claims:(\w+) -->\n)(.*?)(<!-- /claims -->)', re.DOTALL)
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
    from sam_ad_perception.nodes.ros import configuration

    name = ''.join(word.capitalize() for word in node.split('_'))
    for each in (f'{name}NodeConfig', f'{name}Config'):
        found: type[Any] | None = getattr(configuration, each, None)
        if found is not None:
            return found
    raise ValueError(f'nodes/ros/configuration.py has no {name}Config for the node {node!r}')


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
    for name in _open_tables(config):
        lines += [f'    # {name}:', '    #   NAME:  # any number, each under a name of its own']
        entry = f'{name}.{_ANY}.'
        for whole, each in leaves(config, [entry]).items():
            if whole.startswith(entry):
                comment = textwrap.wrap(_comment(each), 89)
                lines += [f'    #     # {line}' for line in comment]
                lines.append(f'    #     {whole.removeprefix(entry)}: {_yaml_value(each.default)}')
    return '\n'.join(lines) + '\n'


def parameter_table(config: type[Any]) -> str:
    """A Markdown table with one row per parameter of a configuration."""
    rows = ['| parameter | default | range | |', '|---|---|---|---|']
    every = leaves(config, [f'{table}.{_ANY}.' for table in _open_tables(config)])
    for name, each in every.items():
        name = name.replace(_ANY, 'NAME')
        text = each.description.replace('|', '\\|').replace('<', '\\<')
        rows.append(f'| `{name}` | {_value(each.default, each.unit)} | {_range(each)} | {text} |')
    return '\n'.join(rows) + '\n'


def _open_tables(config: type[Any]) -> list[str]:
    """The tables of a configuration that anybody may add entries to."""
    return [each.name for each in dataclasses.fields(config) if ENTRY in each.metadata]


def with_tables(text: str) -> str:
    """A document with every parameter table and every block of results written anew.

    Raises:
        OSError: There are no such results.
    """

    def written(match: re.Match[str]) -> str:
        return match[1] + parameter_table(config_type(match[2])) + match[4]

    def measured(match: re.Match[str]) -> str:
        name = match[2]
        tables = {'speed': speed_table, 'headline': headline_table}
        made = tables[name](RESULTS) if name in tables else (RESULTS / f'{name}.md').read_text()
        return match[1] + made + match[4]

    def reference(match: re.Match[str]) -> str:
        written = {
            'commands': commands_page,
            'api': api_page,
            'datasets': datasets_table,
            'weights': weights_table,
            'safety': lambda: safety_page(RESULTS),
        }
        return match[1] + written[match[2]]() + match[4]

    def claimed(match: re.Match[str]) -> str:
        claims = importlib.import_module('training.configuration.claims')
        lists: str = claims.card_lists(claims.load_papers()[match[2]])
        return match[1] + lists + match[4]

    text = _CLAIMS.sub(claimed, text)
    return _WRITTEN.sub(reference, _RESULTS.sub(measured, _PARAMETERS.sub(written, text)))


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


def pages() -> dict[Path, str]:
    """Every document and parameter file as it should be."""
    made = {document: with_tables(document.read_text()) for document in DOCUMENTS}
    made[BENCHMARKS] = benchmark_page(RESULTS)
    for node in config_nodes():
        path = CONFIG / f'{node}.param.yaml'
        made[path] = parameter_file(node, config_type(node))
    claims = importlib.import_module('training.configuration.claims')
    for name, paper in claims.load_papers().items():
        for path in claims.headed(paper):
            place = path.relative_to(ROOT).as_posix()
            made[path] = claims.with_head(path.read_text(), place, paper, name)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite the documents and the parameter files, or only name those that differ.

    Args:
        argv: Command line; the process's own by default.

    Returns:
        Exit code: 1 where `--check` found a difference.
    """
    parser = argparse.ArgumentParser(prog='python -m tools.documentation', description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing, name what differs')
    options = parser.parse_args(argv)
    differ = {path: text for path, text in pages().items() if path.read_text() != text}
    for path, text in differ.items():
        if options.check:
            print(
                f'{path.relative_to(ROOT)} is not as the code says: python -m tools.documentation'
            )
        else:
            path.write_text(text)
    return int(options.check and bool(differ))
