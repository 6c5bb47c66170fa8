"""The options of `sam_ad label`: recording, network, workers, results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sam_ad_perception.commands.options.model import (
    add_model_options,
    add_params_option,
    add_threads_option,
)
from sam_ad_perception.commands.options.topics import add_calibration_option, add_topic_options
from sam_ad_perception.core.console.command_line import CommandParser, number, whole_number
from sam_ad_perception.core.console.install_advice import install_advice
from sam_ad_perception.core.console.outputs import new_file, new_folder

INSTALL_RAY = install_advice('fleet')


def parse_label(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of `label`.

    Args:
        argv: Its arguments.

    Returns:
        What they say.
    """
    parser = CommandParser(
        prog='sam_ad label',
        description='Label a recording (rosbag2 or ROS 1): masks, confidence, depth image, '
        'labelled points, of every camera. Needs no ROS. Which topic is which sensor is guessed '
        'and printed. Of a folder of recordings all are labelled; the same command again does '
        'only what is not done, and one that fails does not stop the others.',
        examples=(
            'sam_ad label drive --out labelled --report',
            'sam_ad label drive --out labelled --topic thermal:=/flir/image_raw --device cuda',
            'sam_ad label recordings --out all_labelled --workers 4',
        ),
    )
    _add_recording(parser)
    _add_model(parser)
    _add_fleet(parser)
    _add_results(parser)
    return parser.parse_args(argv)


def _add_recording(parser: argparse.ArgumentParser) -> None:
    """What is labelled, where the result goes, and what the recording does not tell itself."""
    parser.add_argument(
        'bag', type=Path, help='folder, or .mcap, .db3 or (ROS 1) .bag file; or a folder of those'
    )
    parser.add_argument(
        '--out',
        type=new_folder(),
        required=True,
        help='folder of the labelled bag, or of all of them',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace a bag at --out; of several, those labelled with other settings',
    )
    add_topic_options(parser)
    add_params_option(parser)
    add_calibration_option(parser)
    parser.add_argument(
        '--own-centre',
        action='store_true',
        help='camera frames sit in their own centres although CameraInfo.P has an offset',
    )
    parser.add_argument(
        '--check',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='of one recording: tell first what sam_ad check finds in its first second of work',
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Which network, and what it runs on."""
    add_model_options(parser)
    add_threads_option(parser)
    parser.add_argument(
        '--backend',
        choices=('torch', 'compile', 'onnx', 'openvino', 'auto'),
        help='what runs the network',
    )


def _add_fleet(parser: argparse.ArgumentParser) -> None:
    """How a folder of recordings is shared out."""
    fleet = parser.add_argument_group(
        'a folder of recordings', f'Several at a time need Ray: {INSTALL_RAY}'
    )
    fleet.add_argument(
        '--workers',
        type=whole_number(0),
        default=0,
        help='how many at a time; default: what there is room for',
    )
    fleet.add_argument(
        '--cpus-per-worker',
        type=whole_number(1),
        default=1,
        help='and threads of its network, default: 1',
    )
    fleet.add_argument(
        '--gpus-per-worker', type=number(low=0), help='default: 1 with a --device cuda, else 0'
    )
    fleet.add_argument(
        '--address',
        default='',
        help='Ray cluster, auto or ray://HOST:10001; its machines share the folders. Default: '
        'this machine alone',
    )


def _add_results(parser: argparse.ArgumentParser) -> None:
    """What is written."""
    for name, text in (
        ('copy', 'copy the recorded messages too'),
        ('color', 'write semantic/color'),
        ('points', 'write semantic/points, its mask and its confidence'),
    ):
        switch = argparse.BooleanOptionalAction
        parser.add_argument(f'--{name}', action=switch, default=True, help=text)
    parser.add_argument(
        '--rerun',
        type=new_file('.rrd'),
        metavar='FILE.rrd',
        help='of one recording: also write masks, depth, points and status for the viewer rerun '
        '(pip install rerun-sdk)',
    )
    parser.add_argument(
        '--report',
        action='store_true',
        help='of one recording: also write report.html at --out, with video and timeline',
    )
