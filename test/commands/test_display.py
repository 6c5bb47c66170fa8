"""Tables keep their headers at any width, progress is told in a log file, compiling is named."""

from __future__ import annotations

import io
import time

import numba
import pytest
from rich.console import Console
from rich.table import Table

from sam_ad_perception.commands.display.progress import (
    COMPILING,
    LineProgress,
    name_compiling,
    show_status,
)
from sam_ad_perception.commands.display.tables import print_table

HEADERS = (
    'backend',
    'threads',
    'frame',
    'masks/s',
    'network',
    'limit',
    'same mask, %',
    'start, s',
)


def printed(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_table(console, table)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize('width', [50, 80, 120, 200])
def test_headers_and_values_are_whole_at_any_width(width: int) -> None:
    table = Table(*HEADERS, title='a title')
    values = ['torch', '16', '1234.5 / 2345.6', '12.3', '1000.1 / 2000.2', '12 (34 %)', '99.99']
    table.add_row(*values, '123.4')
    text = printed(table, width)
    for cell in (*HEADERS, *values):
        for word in cell.split():
            assert word in text, f'{word} at {width} columns'
    assert 'a title' in text
    assert '\u2026' not in text
    assert ('backend: torch' in text) == (width == 50)


def test_a_narrow_table_that_fits_stays_a_table() -> None:
    table = Table('role', 'topic', 'remark')
    table.add_row('camera', '/camera/image_rect', '')
    assert 'role: camera' not in printed(table, 50)


def test_a_line_comes_every_few_seconds_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), width=80)
    with LineProgress(console=console, every_s=0.05) as bar:
        task = bar.add_task('labelling', total=4)
        bar.update(task, completed=1)
        time.sleep(0.3)  # nothing is done meanwhile, and it is still told
        bar.update(task, description='drawing', completed=2)
        time.sleep(0.2)
        bar.update(task, completed=4)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line for line in text.splitlines() if line.endswith(' s')]
    assert lines[0].startswith('labelling, 25 %, 0 s')
    assert any(line.startswith('drawing, 50 %') for line in lines)
    assert 4 <= len(lines) <= 12


def test_no_such_lines_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with LineProgress(console=console, every_s=0.02) as bar:
        bar.add_task('labelling', total=4)
        time.sleep(0.1)
    assert 'labelling, 0 %' not in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_happens_is_a_line_in_a_log_file() -> None:
    console = Console(file=io.StringIO(), width=80)
    with show_status(console, 'loading the network'):
        pass
    assert console.file.getvalue() == 'loading the network ...\n'  # type: ignore[attr-defined]


def test_compiling_is_named_while_it_lasts_and_only_then() -> None:
    told: list[str] = []

    @numba.njit(cache=False)
    def inner(x: int) -> int:
        return x + 1

    @numba.njit(cache=False)
    def outer(x: int) -> int:
        return inner(x) * 2

    with name_compiling(told.append, 'labelling'):
        assert outer(3) == 8
        assert told == [COMPILING, 'labelling']  # once, although one kernel calls another
        outer(4)
    assert told == [COMPILING, 'labelling']
