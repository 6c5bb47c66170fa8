"""Reference pages written from the code: commands, the public API, datasets.

`python -m tools.documentation` puts them between `<!-- commands -->` and `<!-- /commands -->`, and
likewise for `api`, `datasets` and `weights`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import sam_ad_perception as public

TRAINING = (
    'prepare',
    'train',
    'latents',
    'evaluate',
    'experiments.comparison',
    'experiments.data_efficiency',
    'experiments.ablation',
    'export',
)
"""Commands of training that have a page of their own, in the order of use."""
_SECTION = re.compile(r'^(Args|Returns|Raises|Yields|Attributes):$')


def commands_page() -> str:
    """Write every command of `sam_ad` and of training with its options.

    Returns:
        Markdown.
    """
    cli = importlib.import_module('sam_ad_perception.commands.cli')
    parts = ['## sam_ad\n']
    for name, (text, run) in cli.COMMANDS.items():
        parts.append(_command(f'sam_ad {name}', text, _parser(run), level=3))
    parts.append('## python -m training\n\nFrom the checkout only.\n')
    for name in TRAINING:
        parser = _parser(importlib.import_module(f'training.{name}').main)
        parts.append(_command(f'python -m training.{name}', '', parser, level=3))
    return '\n'.join(parts)


def _parser(run: Callable[..., object]) -> argparse.ArgumentParser:
    completion = importlib.import_module('sam_ad_perception.commands.completion')
    takes_none = not inspect.signature(run).parameters
    found: argparse.ArgumentParser = completion.command_parser(
        (lambda _: run()) if takes_none else run
    )
    return found


def _command(name: str, text: str, parser: argparse.ArgumentParser, level: int) -> str:
    """One command as a heading, its description, and a table of its arguments."""
    lines = [f'{"#" * level} {name}', '']
    told = (parser.description or text).strip()
    lines += [_sentence(told.partition('\n\n')[0]), '']
    rows = [
        _row(action)
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS
    ]
    if rows:
        lines += ['| argument | default | |', '|---|---|---|', *rows, '']
    return '\n'.join(lines)


def _row(action: argparse.Action) -> str:
    names = ', '.join(f'`{option}`' for option in action.option_strings)
    metavar = action.metavar or action.dest.upper()
    value = ' '.join(metavar) if isinstance(metavar, tuple) else metavar
    if not names:
        names = f'`{value}`'
    elif action.nargs != 0:
        names += f' `{value}`'
    choices = action.choices
    told = (action.help or '').replace('%(default)s', str(action.default)).replace('%%', '%')
    if choices is not None:
        told += f' ({", ".join(f"`{choice}`" for choice in choices)})'
    default = action.default
    hidden = default in (None, False, argparse.SUPPRESS, '', [], ()) or action.nargs == 0
    shown = '' if hidden else f'`{" ".join(map(str, default)) if _is_list(default) else default}`'
    return f'| {names} | {shown} | {_cell(told)} |'


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|').replace('<', '\\<')


def _sentence(text: str) -> str:
    text = ' '.join(text.split())
    return text[:1].upper() + text[1:] + ('' if text.endswith(('.', ':')) else '.')


def api_page() -> str:
    """Write every public name of the package with its signature and docstring.

    Returns:
        Markdown.
    """
    parts = []
    for name in public.__all__:
        value = getattr(public, name)
        if not callable(value):
            continue
        parts.append(_entry(name, value, 2))
        if inspect.isclass(value):
            for member, each in _methods(value):
                parts.append(_entry(f'{name}.{member}', each, 3))
    return '\n'.join(parts)


def _methods(cls: type[Any]) -> list[tuple[str, Any]]:
    members = [
        (name, each)
        for name, each in inspect.getmembers(cls)
        if (name == '__call__' or not name.startswith('_')) and callable(each)
    ]
    return sorted(members, key=lambda member: inspect.getsourcelines(member[1])[1])


def _entry(name: str, value: Any, level: int) -> str:
    parameters = [
        each if each.annotation is inspect.Parameter.empty else each.replace(annotation=each.empty)
        for each in inspect.signature(value).parameters.values()
        if each.name != 'self'
    ]
    names = ', '.join(
        each.name if each.default is each.empty else f'{each.name}=...' for each in parameters
    )
    shown = name.replace('.__call__', ' object')
    call = f'{name.removesuffix(".__call__")}({names})'
    lines = [f'{"#" * level} {shown}', '', f'```text\n{call}\n```', '']
    return '\n'.join([*lines, docstring_markdown(inspect.getdoc(value) or ''), ''])


def docstring_markdown(text: str) -> str:
    """Turn a Google docstring into Markdown: its sections become lists.

    Args:
        text: The docstring, without its indentation.

    Returns:
        Markdown.
    """
    lines: list[str] = []
    section = ''
    for line in text.splitlines():
        heading = _SECTION.match(line)
        if heading is not None:
            section = heading[1]
            lines += [f'**{section}**', '']
        elif section and line.startswith('    '):
            item = line[4:]
            named = re.match(r'(\*{0,2}\w+): (.*)', item)
            if section in ('Returns', 'Yields') and not item.startswith(' '):
                lines.append(item)
            elif named is not None:
                lines.append(f'* `{named[1]}`: {named[2]}')
            else:
                lines.append(f'  {item.strip()}')
        else:
            if line.strip():
                section = ''
            lines.append(line)
    return '\n'.join(lines).rstrip()


def datasets_table() -> str:
    """Write the datasets that training reads.

    Returns:
        Markdown.
    """
    catalog = importlib.import_module('training.datasets.catalog')
    rows = ['| `dataset:` | classes | labelled frames | |', '|---|---|---|---|']
    for layout in catalog.LAYOUTS.values():
        frames = ', '.join(f'{split} {count:,}' for split, count in layout.published.items())
        module = inspect.getmodule(layout.read)
        told = (inspect.getdoc(module) or '').partition('\n\n')[0]
        rows.append(f'| `{layout.name}` | `{layout.space}` | {frames} | {_cell(told)} |')
    rows.append(f'| `{catalog.RECORDINGS}` | as recorded | | Labelled rosbag2 recordings. |')
    return '\n'.join(rows) + '\n'


def weights_table() -> str:
    """Write the official weight files and their terms.

    Returns:
        Markdown.
    """
    downloads = importlib.import_module('sam_ad_perception.modeling.zoo.downloads')
    rows = ['| name | file | terms | for |', '|---|---|---|---|']
    rows += [
        f'| `{name}` | [{file.name}]({file.url}) | {file.licence} | {file.use} |'
        for name, file in downloads.WEIGHT_FILES.items()
    ]
    return '\n'.join(rows) + '\n'
