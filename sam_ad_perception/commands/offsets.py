"""`sam_ad offsets`: how far each sensor's clock runs ahead of the camera's, as parameters."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sam_ad_perception.bags.camera_views import list_cameras
from sam_ad_perception.bags.clock_offsets import OffsetOptions, SensorOffset, estimate_offsets
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics
from sam_ad_perception.commands.options.topics import add_topic_option, check_bag
from sam_ad_perception.core.console.command_line import CommandParser, number
from sam_ad_perception.core.sensors import Modality

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sam_ad_perception.bags.topics import TopicMapping


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: Command line after `sam_ad offsets`.

    Returns:
        0 where each sensor's offset could be told, else 1.

    Raises:
        BagError: The recording cannot be read, or has no camera images.
    """
    options = _parse(argv)
    check_bag(options.bag)
    from rich.console import Console

    from sam_ad_perception.commands.display.progress import LineProgress
    from sam_ad_perception.commands.display.tables import print_table

    console = Console(stderr=True)
    looked_at = OffsetOptions(options.start, options.duration, options.max_offset)
    with BagReader(options.bag) as reader, LineProgress(console=console) as bar:
        mapping = choose_topics(reader, dict(options.topic))
        _tell_cameras(console, reader, mapping, dict(options.topic))
        task = bar.add_task('watching the motion', total=None)
        found = estimate_offsets(
            reader,
            mapping,
            looked_at,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    print_table(console, offset_table(found))
    for modality, each in found.items():
        clock = each.clock.sentence if each.clock else ''
        method = each.method and f'from {each.method}'
        if notes := '; '.join(filter(None, (clock, method, each.remark))):
            console.print(f'{modality}: {notes}', markup=False, highlight=False, soft_wrap=True)
    print(offset_yaml(found), end='')
    return 0 if all(each.offset_s is not None for each in found.values()) else 1


def _tell_cameras(
    console: Console, reader: BagReader, mapping: TopicMapping, given: Mapping[str, str]
) -> None:
    """Say whose clock the others are held against where there are several cameras."""
    chosen = mapping.sensors.get(Modality.CAMERA)
    if chosen is None or not chosen.data or {'camera', 'camera_info'} & {*given}:
        return
    others = [topic for topic in list_cameras(reader, given).values() if topic != chosen.data]
    if others:
        text = f'measured against {chosen.data}, none of the views {", ".join(others)}'
        text += '; --topic camera:=TOPIC takes another'
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def offset_table(found: Mapping[Modality, SensorOffset]) -> Table:
    """Show what was found, one row for each sensor, times in milliseconds.

    Args:
        found: What `estimate_offsets` returned.

    Returns:
        A table for `rich`.
    """
    from rich.table import Table

    table = Table(
        *(
            'sensor',
            'frames',
            'period',
            'jitter',
            'missing',
            'disorder',
            'arrives after',
            'hint',
            'offset',
        ),
        title='milliseconds; delay: arrival after stamp; hint: offset if all delays were equal',
        title_justify='left',
    )
    for modality, each in found.items():
        t = each.timing
        offset = 'unknown'
        if each.offset_s is not None and each.standard_error_s is not None:
            offset = f'{1e3 * each.offset_s:.1f} +- {1e3 * each.standard_error_s:.1f}'
        table.add_row(
            modality.value,
            str(t.count),
            f'{1e3 * t.period_s:.2f}',
            f'{1e3 * t.jitter_s:.2f}',
            str(t.missing),
            str(t.disordered),
            f'{1e3 * t.delay_s:.1f} +- {1e3 * t.delay_spread_s:.1f}',
            f'{1e3 * each.hint_s:.1f}',
            offset,
        )
    return table


def offset_yaml(found: Mapping[Modality, SensorOffset]) -> str:
    """Write the offsets as parameters of the segmentation node.

    Args:
        found: What `estimate_offsets` returned.

    Returns:
        YAML; a comment for each sensor whose offset cannot be told.
    """
    lines = ['/**:', '  ros__parameters:', '    bundler:', '      sync:']
    for modality, each in found.items():
        if each.clock is not None and each.offset_s is None:
            lines.append(f'        # {each.clock.text}')
        if each.clock is not None and each.clock.code == 'clock.drift':
            lines.append(f'        # {each.clock.remedy}')
        elif modality is Modality.CAMERA and each.clock is None:
            lines.append('        # offset_s of the camera is 0.0: the others are told against it')
        elif each.clock_offset_s is not None and each.offset_s in (None, 0.0):
            lines += [
                f'        {modality}:',
                f'          offset_s: {each.clock_offset_s:.4f}  # by arrivals alone',
            ]
        elif each.offset_s is None or each.standard_error_s is None:
            hint = f'{each.hint_s:.4f} by arrivals alone'
            lines.append(f'        # {modality}: cannot be told from its motion; {hint}')
        else:
            lines += [
                f'        {modality}:',
                f'          offset_s: {each.offset_s:.4f}  # +- {each.standard_error_s:.4f}',
            ]
    return '\n'.join(lines) + '\n'


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(
        prog='sam_ad offsets',
        description='Estimate how far the clock of each sensor of a rosbag2 recording runs ahead '
        "of the camera's, from how both move; and its rate, jitter and delay. The recording needs "
        'motion that varies: bumps, turns, braking. YAML to paste goes to standard output.',
        examples=('sam_ad offsets drive', 'sam_ad offsets drive --start 60 --duration 120'),
    )
    parser.add_argument('bag', type=Path, help='folder, or .mcap, .db3 or (ROS 1) .bag file')
    add_topic_option(parser)
    standard = OffsetOptions()
    for name, value, kind, text in (
        ('start', standard.start_s, number(low=0), 'seconds to pass over'),
        ('duration', standard.duration_s, number(above=0), 'seconds to look at'),
        ('max-offset', standard.max_offset_s, number(above=0),
         'look for offsets up to so many seconds'),
    ):  # fmt: skip
        parser.add_argument(
            f'--{name}', type=kind, default=value, help=f'{text}, default: %(default)s'
        )
    return parser.parse_args(argv)
