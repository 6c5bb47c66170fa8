"""`sam_ad doctor`: looks at everything that perception stands on, one line each with the fix."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from sam_ad_perception.commands.doctor.findings import (
    FAIL,
    WARN,
    Finding,
    make_row,
    run_checks,
)
from sam_ad_perception.commands.options.model import ZOO_ADVICE
from sam_ad_perception.core.console.command_line import CommandParser, existing_file, number
from sam_ad_perception.core.console.suggestions import missing_path
from sam_ad_perception.nodes.ros.environment import prepare_environment


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Arguments; the process's own by default.

    Returns:
        Exit code: 0 nothing is broken, 1 something is.
    """
    parser = _make_parser()
    options = parser.parse_args(argv)
    bags = [text for text in options.remappings if ':=' not in text]
    for bag in bags:
        if not Path(bag).exists():
            parser.error(f'expected TOPIC:=NAME or a recording, got {bag!r}: {missing_path(bag)}')
    if bags:
        from sam_ad_perception.bags.containers.folder import find_files

        for bag in bags:
            find_files(Path(bag))
    renamed = dict(_remapping(parser, text) for text in options.remappings if text not in bags)
    prepare_environment()
    from sam_ad_perception.commands.doctor.machine import system_checks

    console = Console()
    checks = [*system_checks(options.zoo, options.checkpoint_dir)]
    if options.seconds > 0 and not bags:

        def check_topics() -> Iterator[Finding]:
            from sam_ad_perception.commands.doctor.topics import look_at_topics

            console.print(f'[dim]listening for {options.seconds:g} s ...[/dim]')
            return look_at_topics(options.seconds, options.namespace, renamed, options.view)

        checks.append(check_topics)
    states: list[str] = []

    def tell(finding: Finding) -> None:
        states.append(finding.state)
        console.print(make_row(finding))

    code = run_checks(checks, tell)
    console.print(f'{states.count(FAIL)} broken, {states.count(WARN)} to look at')
    for bag in bags:
        from sam_ad_perception.commands.check import main as check

        console.rule(bag)
        code |= check([bag])
    return code


def _make_parser() -> CommandParser:
    parser = CommandParser(
        prog='sam_ad doctor',
        description='Check the installation, the machine, the weights, the nodes that run and '
        'the topics that they listen to, or a recording in their place; each line that is not ok '
        'says how to mend it.',
        examples=(
            'sam_ad doctor',
            'sam_ad doctor camera/image_rect:=/cam0/image --seconds 5',
            'sam_ad doctor drive                # a recording, as `sam_ad check drive` does',
        ),
    )
    parser.add_argument(
        '--zoo', type=existing_file(ZOO_ADVICE), help='zoo file, default: the one of the package'
    )
    parser.add_argument('--checkpoint-dir', type=Path, help='folder of checkpoints')
    parser.add_argument('--namespace', default='', help='of the sensor topics, for example /front')
    parser.add_argument(
        '--seconds',
        type=number(low=0),
        default=3.0,
        help='listen so long to the topics; 0 leaves them out',
    )
    parser.add_argument('--view', help='of a running node with several, default: its first')
    parser.add_argument(
        'remappings',
        nargs='*',
        metavar='TOPIC:=NAME | BAG',
        help='camera/image_rect:=/cam0/image ..., or recordings to check',
    )
    return parser


def _remapping(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    topic, arrow, name = text.partition(':=')
    if not arrow or not topic or not name:
        parser.error(f'a remapping is written TOPIC:=NAME, got {text!r}')
    return topic, name


if __name__ == '__main__':
    sys.exit(main())
