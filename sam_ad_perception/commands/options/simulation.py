"""The options of `sam_ad simulate`, and the drives that they describe."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sam_ad_perception.core.console.command_line import existing_file, number, whole_number
from sam_ad_perception.core.console.outputs import new_file
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.gallery import SUFFIXES
from sam_ad_perception.simulation.drives.render_pool import EXTRA_TRUTH
from sam_ad_perception.simulation.faults.effects import KINDS, parse_fault
from sam_ad_perception.simulation.sensors.rig import load_rig
from sam_ad_perception.simulation.street.scene import SCENES, STREET
from sam_ad_perception.simulation.weather.conditions import CONDITIONS, Schedule

BAG, FOLDER = 'bag', 'folder'
DRIVES = 10
"""So many go into a folder where nobody says."""
_WORTH_PROCESSES_S = 3.0
"""Shorter drives are done before further processes have started."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what describes a drive and how it is rendered."""
    parser.add_argument(
        '--format',
        choices=(BAG, FOLDER),
        default=BAG,
        help='one drive as a bag, or a folder of many to train on: train/DRIVE and val/DRIVE; '
        'default: %(default)s',
    )
    _add_drive(parser)
    parser.add_argument(
        '--drives',
        type=whole_number(1),
        help='of a folder: one each of the seeds from --seed on, with the conditions in turn; '
        f'default: {DRIVES}',
    )
    parser.add_argument(
        '--val', type=whole_number(0), help='of a folder: the last ones go into val/, default: 0'
    )
    parser.add_argument(
        '--rig',
        type=existing_file('config/rig.example.yaml is one'),
        help='file of sensors, see config/rig.example.yaml',
    )
    parser.add_argument(
        '--events', choices=('evt3', 'mono'), default='evt3', help='encoding of event packets'
    )
    parser.add_argument(
        '--truth',
        nargs='+',
        choices=EXTRA_TRUTH,
        default=[],
        help='ground truth beside the labels of the camera',
    )
    parser.add_argument(
        '--gallery',
        type=new_file(*SUFFIXES),
        metavar='FILE',
        help='also draw this street in every condition and with every fault, as .png or .jpg',
    )
    parser.add_argument(
        '--workers',
        type=whole_number(1),
        help='processes that render; default: one per processor, at most 8',
    )


def _add_drive(parser: argparse.ArgumentParser) -> None:
    """Adds what happens on a drive."""
    parser.add_argument('--seed', type=whole_number(0), default=0, help='default: %(default)s')
    parser.add_argument(
        '--duration', type=number(above=0), default=10.0, help='seconds, default: %(default)s'
    )
    parser.add_argument(
        '--scene', choices=SCENES, default=STREET, help='street, default: %(default)s'
    )
    parser.add_argument(
        '--condition',
        action='append',
        metavar='[START:]NAME',
        help=f'light and weather, one of {", ".join(CONDITIONS)}, or two as in night+rain; '
        'repeat it with a start in seconds for conditions that change; drives of a folder take '
        'the ones that are named in turn',
    )
    parser.add_argument(
        '--fault',
        action='append',
        default=[],
        metavar='SENSOR:KIND:START:END[:STRENGTH]',
        help='what goes wrong from START to END seconds, for example camera:black:2.0:3.0; may '
        f'be repeated; kinds: {", ".join(KINDS)}',
    )


def read_config(options: argparse.Namespace) -> DriveConfig:
    """The drive that a command line describes.

    Args:
        options: Of `add_arguments`.

    Returns:
        The configuration.

    Raises:
        ValueError: A value is refused.
        OSError: The rig cannot be read.
    """
    for name in ('drives', 'val'):
        if getattr(options, name) is not None:
            raise ValueError(f'--{name} is of --format {FOLDER}, got --format {options.format}')
    conditions = tuple(_read_condition(text) for text in options.condition or ['day'])
    return _make_config(options, options.seed, conditions)


def read_folder(options: argparse.Namespace) -> dict[Path, DriveConfig]:
    """The drives of a training folder that a command line describes.

    Args:
        options: Of `add_arguments`.

    Returns:
        The place of each drive in the folder, such as `train/seed_7_night`, and its configuration.

    Raises:
        ValueError: A value is refused.
        OSError: The rig cannot be read.
    """
    count, val = options.drives or DRIVES, options.val or 0
    if val >= count:
        raise ValueError(f'--val must be less than --drives, got {val} of {count}')
    names = options.condition or ['day']
    drives = {}
    for index in range(count):
        seed, name = options.seed + index, names[index % len(names)]
        split = 'val' if index >= count - val else 'train'
        place = Path(split, f'seed_{seed}_{name.replace("+", "_")}')
        drives[place] = _make_config(options, seed, ((0.0, name),))
    return drives


def count_workers(options: argparse.Namespace) -> int:
    """How many processes shall render."""
    if options.workers is not None:
        return int(options.workers)
    if options.duration < _WORTH_PROCESSES_S:
        return 1
    return min(8, len(os.sched_getaffinity(0)))


def _make_config(options: argparse.Namespace, seed: int, conditions: Schedule) -> DriveConfig:
    faults = tuple(parse_fault(text) for text in options.fault)
    for fault, text in zip(faults, options.fault, strict=True):
        if not 0 <= fault.start_s < options.duration:
            raise ValueError(
                f'--fault must begin within the drive, from 0 to {options.duration:g} s after '
                f'its start, got {text!r}'
            )
    return DriveConfig(
        seed=seed,
        duration_s=options.duration,
        scene=options.scene,
        conditions=conditions,
        faults=faults,
        rig=load_rig(options.rig) if options.rig else (),
    )


def _read_condition(text: str) -> tuple[float, str]:
    start, given, name = text.rpartition(':')
    if not given:
        return 0.0, name
    try:
        return float(start), name
    except ValueError:
        raise ValueError(f'a condition is [START:]NAME, got {text!r}') from None
