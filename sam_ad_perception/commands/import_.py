"""`sam_ad import`: KITTI, nuScenes, folders of files and ROS 1 bags as rosbag2."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sam_ad_perception.bags.importing.plan import ImportReport, Progress
from sam_ad_perception.core.console.command_line import CommandParser, number, whole_number
from sam_ad_perception.core.console.outputs import new_folder, refuse_own_input
from sam_ad_perception.core.console.suggestions import missing_path

FORMATS = ('kitti', 'nuscenes', 'folder', 'rosbag1')


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: Command line after `sam_ad import`.

    Returns:
        0.

    Raises:
        ValueError: The source cannot be imported, or an option does not belong to its format.
        OSError: A file cannot be read or written.
    """
    options = _parse(argv)
    from rich.console import Console
    from rich.table import Table

    from sam_ad_perception.commands.display.progress import LineProgress
    from sam_ad_perception.commands.display.tables import print_table

    _check(options)
    console = Console(stderr=True)
    with ExitStack() as stack:
        bar = LineProgress(console=console)
        task = bar.add_task('writing messages', total=None)
        if console.is_terminal:
            stack.enter_context(bar)

        def show(done: int, total: int) -> None:
            if not bar.live.is_started:  # in a log file a refusal is one line
                stack.enter_context(bar)
            bar.update(task, completed=done, total=total)

        report = run_import(options, show)
    table = Table('topic', 'type', 'messages', title=str(options.out), title_justify='left')
    for topic, count in sorted(report.counts.items()):
        table.add_row(topic, report.types[topic], str(count))
    print_table(console, table)
    for remark in report.remarks:
        console.print(remark, markup=False, highlight=False, soft_wrap=True)
    return 0


def run_import(options: argparse.Namespace, on_progress: Progress | None = None) -> ImportReport:
    """Import what the options name.

    Args:
        options: The command line.
        on_progress: Told after every message.

    Returns:
        What was written.

    Raises:
        ValueError: The source cannot be imported.
        OSError: A file cannot be read or written.
    """
    from sam_ad_perception.bags.importing.folder import plan_folder
    from sam_ad_perception.bags.importing.kitti import plan_kitti
    from sam_ad_perception.bags.importing.nuscenes import plan_nuscenes
    from sam_ad_perception.bags.importing.plan import write_plan
    from sam_ad_perception.bags.importing.rosbag1 import import_rosbag1

    _check(options)
    out, overwrite = options.out, options.overwrite
    if options.format == 'rosbag1':
        return import_rosbag1(options.source, out, overwrite=overwrite, on_progress=on_progress)
    if options.format == 'kitti':
        plan = plan_kitti(options.source, 10.0 if options.rate is None else options.rate)
    elif options.format == 'nuscenes':
        plan = plan_nuscenes(options.source, options.scene, key_frames=options.key_frames)
    else:
        plan = plan_folder(
            options.source,
            options.calibration,
            unit=options.unit,
            columns=options.columns or 4,
            lidar_frame=options.lidar_frame,
        )
    return write_plan(plan, out, overwrite=overwrite, on_progress=on_progress)


def _check(options: argparse.Namespace) -> None:
    """Refuse options of other formats."""
    belongs = {
        'rate': 'kitti',
        'scene': 'nuscenes',
        'key_frames': 'nuscenes',
        **dict.fromkeys(('calibration', 'unit', 'columns', 'lidar_frame'), 'folder'),
    }
    if not options.source.exists():
        raise ValueError(missing_path(options.source))
    if options.format != 'rosbag1' and not options.source.is_dir():
        raise ValueError(f'{options.source} is a file, expected a folder of {options.format}')
    if options.calibration and not options.calibration.is_file():
        raise ValueError(missing_path(options.calibration))
    refuse_own_input(options.out, options.source)
    if options.out.exists() and not options.overwrite:
        raise ValueError(f'{options.out} exists already (--overwrite replaces a bag)')
    for name, owner in belongs.items():
        if getattr(options, name) and options.format != owner:
            option = name.replace('_', '-')
            raise ValueError(f'--{option} is of the format {owner}, got {options.format}')


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(
        prog='sam_ad import',
        description='Write recordings of other formats as rosbag2 (MCAP). JPEG and PNG images are '
        'copied byte for byte, clouds keep all their fields. What is assumed or left out is '
        'printed.',
        examples=(
            'sam_ad import kitti 2011_09_26_drive_0001_sync --out drive',
            'sam_ad import nuscenes nuscenes --scene scene-0061 --out drive',
            'sam_ad import folder recorded --calibration rig.yaml --unit us --out drive',
            'sam_ad import rosbag1 drive.bag --out drive',
        ),
    )
    add = parser.add_argument
    add('format', choices=FORMATS, help='format of the source')
    add('source', type=Path, help='folder, or .bag file')
    add('--out', type=new_folder(), required=True, help='folder of the recording')
    add('--overwrite', action='store_true', help='replace a recording that is there')
    add(
        '--rate', type=number(above=0), help='kitti without stamps: frames per second, default: 10'
    )
    add('--scene', default='', help='nuscenes: name or token of the scene')
    add('--key-frames', action='store_true', help='nuscenes: no sweeps between the key frames')
    add('--calibration', type=Path, help='folder: YAML file, default: calibration.yaml in it')
    add('--unit', default='', choices=('s', 'ms', 'us', 'ns'), help='folder: unit of the stamps')
    add('--columns', type=whole_number(1), help='folder: numbers per point of .bin, default: 4')
    add('--lidar-frame', default='', help='folder: frame of the points')
    return parser.parse_args(argv)
