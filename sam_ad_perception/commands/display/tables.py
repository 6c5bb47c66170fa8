"""Tables at any width: where the headers do not fit, each row becomes lines of `header: value`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_table(console: Console, table: Table) -> None:
    """Print a table so that no header and no value is cut.

    Args:
        console: Its width decides.
        table: Headers and cells are strings.
    """
    if _is_whole(table, console.width):
        console.print(table)
        return
    if table.title:
        console.print(str(table.title), highlight=False)
    for record in fold_table(table):
        for line in record:
            console.print(line, highlight=False, soft_wrap=True)
    if table.caption:
        console.print(str(table.caption), highlight=False, soft_wrap=True)


def fold_table(table: Table) -> list[list[str]]:
    """Lay a table out one row below the other.

    Args:
        table: Headers and cells are strings, which may hold markup of rich.

    Returns:
        For each row its lines; the first column leads, empty cells are left out.
    """
    headers = [str(column.header) for column in table.columns]
    rows = zip(*(list(map(str, column.cells)) for column in table.columns), strict=True)
    records = []
    for first, *rest in rows:
        lines = [f'{headers[0]}: {first}' if headers[0] else first]
        pairs = zip(headers[1:], rest, strict=True)
        lines += [f'  {name}: {text}' if name else f'  {text}' for name, text in pairs if text]
        records.append(lines)
    return records


def _is_whole(table: Table, width: int) -> bool:
    """Whether all words of the headers, and no sign of a cut, are in the table as it is drawn."""
    from rich.console import Console

    drawn = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with drawn.capture() as capture:
        drawn.print(table)
    text = capture.get()
    words = {word for column in table.columns for word in str(column.header).split()}
    seen = set(text.replace('┃', ' ').replace('│', ' ').split())
    return words <= seen and '\u2026' not in text
