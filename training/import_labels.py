"""Bring corrected masks back as the truth of a recording.

    sam_ad import-labels BAG FOLDER

FOLDER holds what the annotation tool wrote, in a format of `sam_ad export-labels`. The masks go
into `labels/` of the recording, all of them or, where one is wrong, none.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sam_ad_perception.core.console.command_line import CommandParser
from training.annotation.corrections import ImportReport, import_labels
from training.annotation.formats import FORMATS


def main(argv: list[str] | None = None, prog: str = 'python -m training.import_labels') -> int:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.
        prog: What the user called it by.

    Returns:
        0.
    """
    parser = CommandParser(
        prog,
        __doc__,
        examples=('sam_ad import-labels labelled corrected',),
        raw=True,
    )
    add = parser.add_argument
    add('bag', type=Path, help='the recording that the masks were exported from')
    add('folder', type=Path, help='what the annotation tool wrote, unpacked')
    add('--format', choices=FORMATS, default='', help='default: told from the files')
    add('--label-space', default='', help='of masks of a recording that does not say it')
    add('--replace', action='store_true', help='let labels that are there become others')
    options = parser.parse_args(argv)
    report = import_labels(
        options.bag,
        options.folder,
        name=options.format,
        label_space=options.label_space,
        replace=options.replace,
    )
    _show(report)
    return 0


def _show(report: ImportReport) -> None:
    console = Console()
    table = Table(title='pixels by class')
    for heading in ('class', 'before', 'taken away', 'added'):
        table.add_column(heading, justify='left' if heading == 'class' else 'right')
    for name, *counts in report.rows():
        table.add_row(name, *(f'{count:,}' for count in counts))
    console.print(table)
    total = int(report.changes.sum())
    share = 100 * report.changed_pixels / max(total, 1)
    text = (
        f'{len(report.stamps)} masks from {report.format}, {report.unchanged} of them unchanged; '
        f'{report.changed_pixels:,} of {total:,} pixels changed ({share:.2f} %)'
    )
    if report.replaced:
        text += f'; {report.replaced} labels were replaced'
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f'wrote {report.folder}', markup=False, highlight=False, soft_wrap=True)


if __name__ == '__main__':
    sys.exit(main())
