"""Options of commands that say which topic is which sensor."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sam_ad_perception.core.console.command_line import checked, existing_file
from sam_ad_perception.core.console.suggestions import did_you_mean, missing_path
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.nodes.ros.view_choice import choose_wanted, read_view


def add_topic_options(parser: argparse.ArgumentParser) -> None:
    """Add `--topic`, `--rectified` and `--view`."""
    add_topic_option(parser)
    parser.add_argument(
        '--rectified',
        action='append',
        default=[],
        type=read_rectified,
        metavar='SENSOR:=true|false',
        help='whether images are rectified; default: for the camera the parameter '
        'camera.rectified, of which auto lets its images tell; for others the name of the topic',
    )
    parser.add_argument(
        '--view',
        action='append',
        default=[],
        type=checked(read_view),
        metavar='NAME[:=TOPIC]',
        help='label the camera NAME, whose images are TOPIC, and no other; may be given several '
        'times. Default: the parameter views, else every camera there is; --topic camera:=TOPIC '
        'labels one as if it were the only one',
    )


def add_topic_option(parser: argparse.ArgumentParser) -> None:
    """Add `--topic`."""
    from sam_ad_perception.bags import topics

    parser.add_argument(
        '--topic',
        action='append',
        default=[],
        type=checked(topics.read_role),
        metavar='ROLE:=NAME',
        help=f'take NAME as ROLE, one of {", ".join(topics.roles())}; without NAME: leave ROLE '
        'out',
    )


def add_calibration_option(parser: argparse.ArgumentParser) -> None:
    """Add `--calibration`."""
    parser.add_argument(
        '--calibration',
        type=existing_file('config/extrinsics.example.yaml shows what it holds'),
        help='file of transforms and geometry that the bag lacks',
    )


def check_bag(bag: Path) -> None:
    """Refuse a recording that is not there, before anything is shown.

    Args:
        bag: Folder or file.

    Raises:
        ValueError: It is not there.
    """
    if not bag.exists():
        raise ValueError(missing_path(bag))


def read_rectified(text: str) -> tuple[Modality, bool]:
    """Read `SENSOR:=true|false`; raises `ArgumentTypeError`."""
    sensor, _, value = text.partition(':=')
    known = [m.value for m in Modality]
    if sensor not in known or value not in ('true', 'false'):
        raise argparse.ArgumentTypeError(
            f'expected SENSOR:=true|false with one of {known}, got {text!r}'
            f'{"" if sensor in known else did_you_mean(sensor, known)}'
        )
    return Modality(sensor), value == 'true'


def wanted_readings(given: Sequence[tuple[Modality, bool]], camera: str) -> dict[Modality, bool]:
    """Say which images are rectified: by the command line, else by the parameter file.

    Args:
        given: Options `--rectified`.
        camera: Parameter `camera.rectified`; `auto` says nothing.

    Returns:
        Whether a sensor's images are rectified, where somebody says so.
    """
    named = {} if camera == 'auto' else {Modality.CAMERA: camera == 'true'}
    return {**named, **dict(given)}


def wanted_views(options: argparse.Namespace, named: Sequence[str]) -> dict[str, str] | None:
    """Say which cameras are labelled, and print where the parameter file does not decide it.

    Args:
        options: With `--view` and `--topic`.
        named: Parameter `views`.

    Returns:
        Name of each view -> topic of its images, '' where its name tells; None for all cameras.
    """
    chosen = choose_wanted(options.view, options.topic, named)
    if chosen.remark:
        print(chosen.remark, file=sys.stderr)
    return chosen.wanted
