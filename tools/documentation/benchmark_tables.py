"""Every measured table on one page: `benchmarks/results/*.json` to `docs/benchmarks.md`.

`python -m tools.documentation` writes the page. Figures stand there as the benchmarks left them,
each table with its command, its machine and the commit that it measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

HEAD = """# Benchmarks

What `benchmarks/` measured, written by `python -m tools.documentation` from `benchmarks/results`.
`ratio` is how many times better ours is than the peer in the same run. The machine is shared:
`load` is how many processes wanted to run meanwhile, and where it is above the number of cores,
wall times are longer than they need be. `make bench` measures all of it anew.
"""
NAMES = {'cpu_ms': 'CPU ms', 'wall_ms': 'wall ms', 'miou': 'mIoU'}


def benchmark_page(folder: Path) -> str:
    """Write the page of all benchmarks.

    Args:
        folder: Of the files that `benchmarks.result_files.save_results` left; those without `rows`
            have a form of their own and are left out.

    Returns:
        Markdown.

    Raises:
        ValueError: A file is no JSON object.
    """
    parts = [HEAD]
    for path in sorted(folder.glob('*.json')):
        content = json.loads(path.read_text())
        if not isinstance(content, Mapping):
            raise ValueError(f'{path} must hold an object, got {type(content).__name__}')
        if content.get('rows'):
            parts.append(_section(path.stem, content))
    return '\n'.join(parts)


def _section(name: str, content: Mapping[str, Any]) -> str:
    where = [content.get('processor'), f'{content.get("cores")} cores']
    where += [f'load {content["load"]:g}'] if 'load' in content else []
    where += [f'commit {content["commit"]}'] if content.get('commit') else []
    lines = [f'## {name.replace("_", " ")}', '', f'`{content["command"]}`  ']
    lines += [', '.join(str(each) for each in where if each), '']
    for columns, rows in groupby(content['rows'], key=tuple):
        lines += [*_table(columns, list(rows)), '']
    return '\n'.join(lines)


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table without the columns that are empty in every row."""
    used = [name for name in columns if any(row[name] not in ('', None) for row in rows)]
    head = [NAMES.get(name, name.replace('_', ' ')) for name in used]
    lines = [f'| {" | ".join(head)} |', f'|{"---|" * len(used)}']
    return lines + [f'| {" | ".join(_cell(row[name]) for name in used)} |' for row in rows]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ''
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'
    if isinstance(value, int):
        return f'{value:,}'
    if isinstance(value, Mapping):
        return ', '.join(f'{name} {_cell(each)}' for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ', '.join(map(_cell, value))
    return str(value).replace('|', '\\|').replace('\n', ' ')
