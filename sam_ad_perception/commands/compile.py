"""`sam_ad compile`: compile the kernels for this computer, so that no first start waits for it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from sam_ad_perception.core.console.command_line import CommandParser, whole_number


def main(argv: Sequence[str]) -> int:
    """Compile on all cores and show it; see `sam_ad compile --help`."""
    parser = CommandParser(
        prog='sam_ad compile',
        description='Compile all kernels for this processor, on all cores. `make setup` does it; '
        'after `pip install`, or in the image of a vehicle, it saves the first start of a node '
        'or command most of a minute. Kernels that were compiled before are kept.',
        examples=('sam_ad compile', 'NUMBA_CACHE_DIR=/var/cache/kernels sam_ad compile'),
    )
    parser.add_argument(
        '--processes',
        type=whole_number(1),
        default=len(os.sched_getaffinity(0)),
        help='default: one per core (%(default)s)',
    )
    options = parser.parse_args(argv)
    from rich.console import Console

    from sam_ad_perception.commands.display.progress import LineProgress
    from sam_ad_perception.nodes.segmentation.kernels import compile_kernels

    console, begun = Console(), time.monotonic()
    with LineProgress(
        '{task.description}', '{task.completed}/{task.total}', console=console, transient=True
    ) as progress:
        task = progress.add_task('compiling kernels', total=None)
        for name, done, total in compile_kernels(options.processes):
            progress.update(
                task, description=f'compiling kernels: {name} done', completed=done, total=total
            )
    console.print(f'kernels are ready ({time.monotonic() - begun:.0f} s)', highlight=False)
    return 0
