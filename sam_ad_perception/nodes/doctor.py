"""`sam_ad doctor`: looks at everything that perception stands on, one line each with the mend."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sam_ad_perception.nodes.environment import prepare_environment

OK, NOTE, WARN, FAIL = 'ok', 'off', 'warn', 'FAIL'
_STYLES = {OK: 'green', NOTE: 'dim', WARN: 'yellow', FAIL: 'bold red'}


@dataclass(frozen=True)
class Finding:
    """What one look found.

    Attributes:
        what: What was looked at.
        state: `OK`, `NOTE` (an optional part is absent), `WARN` or `FAIL`.
        text: What was found.
        mend: What to do about it; empty where nothing is to be done.
    """

    what: str
    state: str
    text: str
    mend: str = ''


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
        A line: state, what, text, and below it the mend.
    """
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=4)
    grid.add_column(width=22)
    grid.add_column()
    text = Text(finding.text)
    if finding.mend:
        text.append(f'\n-> {finding.mend}', style='cyan')
    grid.add_row(Text(finding.state, style=_STYLES[finding.state]), finding.what, text)
    return grid


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Arguments; the process's own by default.

    Returns:
        Exit code: 0 nothing is broken, 1 something is.
    """
    parser = argparse.ArgumentParser(
        prog='sam_ad doctor',
        description='Check the installation, the machine, the weights and the live topics; '
        'each line that is not ok says how to mend it.',
    )
    parser.add_argument('--zoo', type=Path, help='zoo file, default: the one of the package')
    parser.add_argument('--checkpoint-dir', type=Path, help='folder of checkpoints')
    parser.add_argument('--namespace', default='', help='of the sensor topics, for example /front')
    parser.add_argument(
        '--seconds',
        type=float,
        default=3.0,
        help='listen so long to the topics; 0 leaves them out',
    )
    parser.add_argument(
        'remappings', nargs='*', metavar='TOPIC:=NAME', help='camera/image_rect:=/cam0/image ...'
    )
    options = parser.parse_args(argv)
    renamed = dict(_remapping(parser, text) for text in options.remappings)
    prepare_environment()
    from sam_ad_perception.nodes.doctor_system import system_checks

    console = Console()
    checks = [*system_checks(options.zoo, options.checkpoint_dir)]
    if options.seconds > 0:

        def check_topics() -> Iterator[Finding]:
            from sam_ad_perception.nodes.doctor_topics import look_at_topics

            console.print(f'[dim]listening for {options.seconds:g} s ...[/dim]')
            return look_at_topics(options.seconds, options.namespace, renamed)

        checks.append(check_topics)
    states: list[str] = []

    def tell(finding: Finding) -> None:
        states.append(finding.state)
        console.print(make_row(finding))

    code = run_checks(checks, tell)
    console.print(f'{states.count(FAIL)} broken, {states.count(WARN)} to look at')
    return code


def _remapping(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    topic, arrow, name = text.partition(':=')
    if not arrow or not topic or not name:
        parser.error(f'a remapping is written TOPIC:=NAME, got {text!r}')
    return topic, name


if __name__ == '__main__':
    sys.exit(main())
