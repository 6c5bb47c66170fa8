"""What one check of `sam_ad doctor` found, and how checks are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

OK, NOTE, WARN, FAIL = 'ok', 'off', 'warn', 'FAIL'
_STYLES = {OK: 'green', NOTE: 'dim', WARN: 'yellow', FAIL: 'bold red'}


@dataclass(frozen=True)
class Finding:
    """What one look found.

    Attributes:
        what: What was looked at.
        state: `OK`, `NOTE` (an optional part is absent), `WARN` or `FAIL`.
        text: What was found.
        fix: What to do about it; empty where nothing is to be done.
    """

    what: str
    state: str
    text: str
    fix: str = ''


Check = Callable[[], Iterator[Finding]]


def run_checks(checks: Sequence[Check], tell: Callable[[Finding], object]) -> int:
    """Run checks; one that breaks is a finding too.

    Args:
        checks: Each yields its findings.
        tell: Takes each finding as it comes.

    Returns:
        Exit code: 1 where something failed, else 0.
    """
    failed = False
    for check in checks:
        try:
            for finding in check():
                failed |= finding.state == FAIL
                tell(finding)
        except Exception as err:
            failed = True
            name = check.__name__.removeprefix('check_').replace('_', ' ')
            tell(Finding(name, FAIL, f'{type(err).__name__}: {err}', 'please report this'))
    return int(failed)


def make_row(finding: Finding) -> Table:
    """Lay one finding out.

    Args:
        finding: The finding.

    Returns:
        A line: state, what, text, and below it the fix.
    """
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=4)
    grid.add_column(width=22)
    grid.add_column()
    text = Text(finding.text)
    if finding.fix:
        text.append(f'\n-> {finding.fix}', style='cyan')
    grid.add_row(Text(finding.state, style=_STYLES[finding.state]), finding.what, text)
    return grid
