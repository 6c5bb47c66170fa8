"""`sam_ad simulate`: one drive as a recording, or many as a folder to train on."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.commands.display.progress import LineProgress, name_compiling, show_status
from sam_ad_perception.commands.options.simulation import (
    FOLDER,
    add_arguments,
    count_workers,
    read_config,
    read_folder,
)
from sam_ad_perception.core.console.command_line import CommandParser
from sam_ad_perception.core.console.outputs import new_folder
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.drive import Drive
from sam_ad_perception.simulation.drives.gallery import write_gallery
from sam_ad_perception.simulation.drives.recording import record


def main(argv: Sequence[str]) -> int:
    """Simulate one drive or many; see `sam_ad simulate --help`."""
    options = _parse(argv)
    console = Console(stderr=True)
    if options.format == FOLDER:
        drives = read_folder(options)
        config = next(iter(drives.values()))
        counts = write_folder(options, drives, console)
    else:
        config = read_config(options)
        counts = write_bag(options, config, console)
    for topic, count in counts.items():
        console.print(f'{count:6d} {topic}', highlight=False)
    console.print(f'written to {options.out}', highlight=False, soft_wrap=True)
    if options.gallery:
        with show_status(console, 'drawing the gallery'):
            write_gallery(options.gallery, config)
        console.print(f'drawn in {options.gallery}', highlight=False, soft_wrap=True)
    return 0


def write_bag(
    options: argparse.Namespace, config: DriveConfig, console: Console
) -> Mapping[str, int]:
    """Record a drive, rendered by several processes.

    Args:
        options: Of the command line.
        config: The drive.
        console: Where progress is shown.

    Returns:
        Number of messages per topic.

    Raises:
        BagError: There is something at its place.
    """
    with (
        BagWriter(options.out, overwrite=options.overwrite) as writer,
        _make_bar(console) as bar,
    ):
        task = bar.add_task('simulating', total=1.0)
        with name_compiling(lambda text: bar.update(task, description=text), 'simulating'):
            return record(
                Drive(config),
                writer,
                encoding=options.events,
                workers=count_workers(options),
                extra=options.truth,
                progress=lambda share: bar.update(task, completed=share),
            )


def write_folder(
    options: argparse.Namespace, drives: Mapping[Path, DriveConfig], console: Console
) -> Mapping[str, int]:
    """Record many drives, several at a time, in the folders of their splits.

    `python -m training.train CONFIG dataset=recordings root=FOLDER` trains on them.

    Args:
        options: Of the command line.
        drives: See `commands.options.simulation.read_folder`.
        console: Where progress is shown.

    Returns:
        Number of messages per topic, of all drives.

    Raises:
        BagError: There is something at the place of a drive.
    """
    cores = len(os.sched_getaffinity(0))
    workers = min(cores if options.workers is None else options.workers, len(drives))
    context = multiprocessing.get_context('spawn')
    total: Counter[str] = Counter()
    with (
        ProcessPoolExecutor(workers, context) as pool,
        _make_bar(console) as bar,
    ):
        task = bar.add_task(f'simulating {len(drives)} drives', total=len(drives))
        futures = [
            pool.submit(_record_drive, options, place, config) for place, config in drives.items()
        ]
        try:
            for future in as_completed(futures):
                total.update(future.result())
                bar.advance(task)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return total


def _record_drive(
    options: argparse.Namespace, place: Path, config: DriveConfig
) -> Mapping[str, int]:
    with BagWriter(options.out / place, overwrite=options.overwrite) as writer:
        drive = Drive(config)
        return record(drive, writer, encoding=options.events, extra=options.truth)


def _make_bar(console: Console) -> LineProgress:
    columns = TextColumn('{task.description}'), BarColumn(), TaskProgressColumn()
    return LineProgress(*columns, TimeRemainingColumn(), console=console)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(
        prog='sam_ad simulate',
        description='Write a simulated drive with camera, thermal, event and lidar topics, tf and '
        'ground truth as a rosbag2 recording (MCAP), or many of them as a folder to train on. The '
        'seed decides everything.',
        examples=(
            'sam_ad simulate drive --condition night+rain --fault camera:black:2.0:3.0',
            'sam_ad simulate drives --format folder --drives 20 --val 4 --condition day '
            '--condition fog',
        ),
    )
    parser.add_argument('out', type=new_folder(), help='folder of the bag, or of the drives')
    add_arguments(parser)
    parser.add_argument('--overwrite', action='store_true', help='replace bags at OUT')
    return parser.parse_args(argv)
