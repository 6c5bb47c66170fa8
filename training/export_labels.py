"""Write masks of a labelled recording for an annotation tool.

    sam_ad export-labels BAG --out FOLDER --format voc --least-confident 20

Images and masks are named by the stamp of the frame; void is 255. Where a frame was corrected
before, the corrected mask is written. `sam_ad import-labels` brings the folder back.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from sam_ad_perception.core.console.command_line import CommandParser, whole_number
from sam_ad_perception.core.console.outputs import new_folder
from training.annotation.export import ExportOptions, ExportReport, export_labels
from training.annotation.formats import FORMATS
from training.annotation.picks import KEYS


def main(argv: list[str] | None = None, prog: str = 'python -m training.export_labels') -> int:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.
        prog: What the user called it by.

    Returns:
        0.
    """
    options = _make_parser(prog).parse_args(argv)
    report = export_labels(
        options.bag,
        options.out,
        ExportOptions(
            options.format,
            options.every,
            options.least_confident,
            options.where,
            options.label_space,
            options.clouds,
            options.disagreement,
        ),
    )
    _show(report, options.format, options.out)
    return 0


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog,
        __doc__,
        examples=(
            'sam_ad export-labels labelled --out to_correct --format voc --least-confident 20',
        ),
        raw=True,
    )
    add = parser.add_argument
    add('bag', type=Path, help='what `sam_ad label` wrote')
    add('--out', type=new_folder(), required=True, help='folder to write; it must not exist')
    add('--format', choices=FORMATS, default='masks', help='default: %(default)s')
    add(
        '--every',
        type=whole_number(1),
        default=1,
        metavar='N',
        help='take every Nth frame of those that fit',
    )
    add(
        '--least-confident',
        type=whole_number(0),
        default=0,
        metavar='N',
        help='of those, take the N most doubtful ones that are not corrected yet, spread in time '
        'and over day and night',
    )
    add(
        '--disagreement',
        default='',
        metavar='MODEL',
        help='with --least-confident: doubt is also how much of the mask changes in this network '
        'when a sensor is left out; as of label --model',
    )
    add(
        '--where',
        default='',
        metavar='CONDITION',
        help='take only frames that fit, for example "condition=night and missing=camera"; '
        f'{", ".join(KEYS)}, joined by and, or',
    )
    add('--label-space', default='', help='of masks of a recording that does not say it')
    add(
        '--clouds',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='also write the labelled sweeps as SemanticKITTI; they do not come back',
    )
    return parser


def _show(report: ExportReport, name: str, out: Path) -> None:
    console = Console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    shown = ', '.join(f'{n} of {sensor or "nothing"}' for sensor, n in report.pictures.items())
    say(f'{len(report.frames)} of {report.of} masks; pictures: {shown}')
    if report.clouds:
        say(f'{report.clouds} labelled sweeps as SemanticKITTI')
    say(f'{name}: {report.limits}')
    say(f'wrote {out}')


if __name__ == '__main__':
    sys.exit(main())
