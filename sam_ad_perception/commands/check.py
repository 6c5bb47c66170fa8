"""`sam_ad check`: what a recording holds and what is wrong with it, before it is labelled."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from sam_ad_perception.commands.options.model import add_params_option
from sam_ad_perception.commands.options.topics import (
    add_calibration_option,
    add_topic_options,
    check_bag,
)
from sam_ad_perception.core.console.command_line import CommandParser
from sam_ad_perception.core.console.outputs import new_file, new_folder
from sam_ad_perception.core.sensor_kinds import EVENTS

if TYPE_CHECKING:
    from rich.console import Console

    from sam_ad_perception.bags.bundles import BundleOptions
    from sam_ad_perception.bags.checking.recording_check import RecordingCheck
    from sam_ad_perception.bags.checking.sensor_check import SensorCheck
    from sam_ad_perception.commands.doctor.findings import Finding
    from sam_ad_perception.core.sensors import Modality

PAGE = 'check.html'


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: Command line after `sam_ad check`.

    Returns:
        0 where nothing is broken, 1 where something is (a line says FAIL).

    Raises:
        ValueError: The recording or a file cannot be read, or an option cannot be followed.
    """
    options = _parse(argv)
    from rich.console import Console

    from sam_ad_perception.bags.checking.parameters import label_command, write_parameters

    check_bag(options.bag)
    if options.params and options.write:
        raise ValueError(
            '--write makes a parameter file from the defaults, not from that of --params: give '
            'one of them'
        )
    console = Console()
    check = _check(options)
    findings = list_findings(check)
    _print(console, check, findings)
    calibration = str(options.calibration.resolve()) if options.calibration else ''
    parameters = write_parameters(check, calibration)
    command = label_command(check, options.write)
    command += f'\n{launch_command(check, options.write)}'
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(parameters)
        _say(console, f'parameters: {options.write}')
    if options.out:
        page = _write_page(options.out, check, findings, parameters, command)
        _say(console, f'page: {page}')
    _say(console, command)
    from sam_ad_perception.commands.doctor.findings import FAIL, WARN

    states = [each.state for each in findings]
    _say(console, f'{states.count(FAIL)} broken, {states.count(WARN)} to look at')
    return int(FAIL in states)


def list_findings(check: RecordingCheck) -> list[Finding]:
    """Put what was found in the form of `sam_ad doctor`.

    Args:
        check: What `check_recording` returned.

    Returns:
        FAIL for what takes a sensor out, warn for the others; each sentence once.
    """
    from sam_ad_perception.commands.doctor.findings import FAIL, WARN, Finding

    found = {}
    for each in sorted(check.findings, key=lambda f: not f.out):
        what = each.sensor or 'recording'
        found[what, each.text] = Finding(what, FAIL if each.out else WARN, each.text, each.remedy)
    return list(found.values())


def describe_sensor(each: SensorCheck) -> dict[str, str]:
    """Tell all that is known of a sensor.

    Args:
        each: The sensor.

    Returns:
        Name of a fact -> the fact; '' where it is not known or of no meaning.
    """
    timing = each.timing
    rate = jitter = gaps = clock = ''
    if timing is not None:
        if timing.period_s > 0:
            rate = f'{1 / timing.period_s:.1f} Hz'
        if each.modality.record.form != EVENTS:  # packets may be sent by size: they have no beat
            if math.isfinite(timing.jitter_s):
                jitter = f'{1e3 * timing.jitter_s:.1f} ms'
            gaps = f'{timing.missing} missing of {timing.count + timing.missing}'
        clock = f'stamps {1e3 * timing.delay_s:.0f} ms old on arrival'
        if math.isfinite(each.clock_s) and each.clock_s:
            clock += f', {1e3 * each.clock_s:+.0f} ms against the camera'
    rectified = {True: 'rectified', False: 'raw', None: ''}[each.rectified]
    whose = "the sweep's" if each.modality == 'camera' else 'its'
    share = f'{100 * each.in_view:.1f} % of {whose} points' if each.in_view >= 0 else ''
    return {
        'topic': f'{each.topic}, {each.count} messages' if each.topic else 'camera_info alone',
        'why': each.reason,
        'not taken': '; '.join(f'{name}: {why}' for name, why in each.others),
        'rate': rate,
        'jitter': jitter,
        'gaps': gaps,
        'covers': f'{100 * each.coverage:.0f} % of the recording' if each.topic else '',
        'clock': clock,
        'stamp': each.stamp,
        'place': each.extrinsics,
        'image': ', '.join(filter(None, (rectified, each.bits))),
        'points': f'up to {each.points} a sweep' if each.points >= 0 else '',
        'lens': each.lens,
        'in the image': share,
        'used': f'in {each.used} of {each.seen} frames' if each.seen else 'not looked at',
        'notes': '; '.join(f'{text} ({n} times)' for text, n in each.notes.most_common(3)),
    }


def list_sensors(check: RecordingCheck) -> dict[str, dict[str, str]]:
    """Tell of each camera of a recording, and once of the sensors that they share.

    Args:
        check: What `check_recording` returned.

    Returns:
        Name of the sensor, with that of the view where there are several -> what is known of it.
    """
    if '' in check.views:
        return {str(each.modality): describe_sensor(each) for each in check.sensors}
    rows = {
        f'camera {name}': describe_sensor(view.camera)
        for name, view in check.views.items()
        if view.camera is not None
    }
    first = check.first
    for each in first.sensors:
        if each.modality == 'camera':
            continue
        same = [s for v in check.views.values() for s in v.sensors if s.modality is each.modality]
        facts = describe_sensor(each)
        facts['place'] = facts['place'] and f'{facts["place"]} {first.name}'
        facts['in the image'] = ''  # told of each camera
        if seen := sum(s.seen for s in same):
            facts['used'] = f'in {sum(s.used for s in same)} of {seen} frames'
        rows[str(each.modality)] = facts
    return rows


def launch_command(check: RecordingCheck, params: Path | None) -> str:
    """The launch that reads live what was recorded, by the recorded names.

    Args:
        check: What `check_recording` returned.
        params: The parameter file that was written; None for none.

    Returns:
        The command line.
    """
    from sam_ad_perception.core.sensor_kinds import image_of
    from sam_ad_perception.nodes.launch.model import INPUTS, PREFIX, VIEW

    names = {topic.removeprefix(VIEW): name for name, (topic, _) in INPUTS.items()}
    lines = ['ros2 launch sam_ad_perception perception.launch.py']
    if params is not None:
        lines.append(f'{PREFIX}segmentation_params_file:={quote(str(params))}')
    cameras = {n: v.camera.topic for n, v in check.views.items() if n and v.camera is not None}
    if cameras:
        named = ','.join(f'{name}:={image_of(topic)}' for name, topic in cameras.items())
        lines.append(f'{PREFIX}views:={named}')
    for each in check.sensors:
        if cameras and each.modality == 'camera':
            continue
        told = {each.modality.topic: image_of(each.topic), each.modality.info_topic: each.info}
        lines += [
            f'{PREFIX}{names[own]}:={topic}'
            for own, topic in told.items()
            if topic and topic != f'/{own}'
        ]
    return ' \\\n  '.join(lines)


def _check(options: argparse.Namespace) -> RecordingCheck:
    """Check, and show how far it is."""
    from rich.console import Console

    from sam_ad_perception.bags.checking.recording_check import check_recording

    chosen, views, rectified = _bundle_options(options)
    from sam_ad_perception.commands.display.progress import LineProgress

    with LineProgress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task('opening', total=1.0)
        return check_recording(
            options.bag,
            dict(options.topic),
            rectified,
            chosen,
            lambda share, what: bar.update(task, completed=share, description=what),
            wanted=views,
        )


def _bundle_options(
    options: argparse.Namespace,
) -> tuple[BundleOptions, dict[str, str] | None, dict[Modality, bool]]:
    """Synchronize as the parameter file says, and look at the views that are named."""
    from sam_ad_perception.bags.bundles import BundleOptions
    from sam_ad_perception.commands.options.topics import wanted_readings, wanted_views
    from sam_ad_perception.core.geometry.calibration import Calibration, load_calibration
    from sam_ad_perception.core.settings.parameter_files import load
    from sam_ad_perception.nodes.ros.configuration import SegmentationConfig

    config = SegmentationConfig()
    if options.params:
        config = load(SegmentationConfig, options.params, 'segmentation')
    named = options.calibration or (Path(config.calibration) if config.calibration else None)
    views = wanted_views(options, config.views)
    chosen = BundleOptions(
        config.bundler,
        load_calibration(named) if named else Calibration(),
        plausibility=config.plausibility,
    )
    return chosen, views, wanted_readings(options.rectified, config.camera.rectified)


def _print(console: Console, check: RecordingCheck, findings: Sequence[Finding]) -> None:
    """Print what was found."""
    from rich.markup import escape
    from rich.table import Table

    from sam_ad_perception.commands.doctor.findings import OK, make_row
    from sam_ad_perception.commands.doctor.findings import Finding as Line

    _say(console, subtitle(check))
    for name, facts in list_sensors(check).items():
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=12, style='dim')
        grid.add_column()
        for fact, text in facts.items():
            if text:
                grid.add_row(fact, escape(text))
        console.print(f'[bold]{escape(name)}[/bold]')
        console.print(grid)
    for name, count, why in check.left_out:
        _say(console, f'not read: {name}, {count} messages: {why}')
    for finding in findings:
        console.print(make_row(finding))
    if not findings:
        console.print(make_row(Line('recording', OK, 'nothing is wrong with what was read')))


def subtitle(check: RecordingCheck) -> str:
    """Say in one line what was read."""
    dropped = sum(check.dropped.values())
    lost = f', {dropped} without one' if dropped else ''
    return (
        f'{check.path}: {check.duration_s:.1f} s, of which {check.read_s:.1f} s were read: '
        f'{check.bundles} reference frames that can give a mask{lost}'
    )


def _write_page(
    folder: Path,
    check: RecordingCheck,
    findings: Sequence[Finding],
    parameters: str,
    command: str,
) -> Path:
    """Write the page."""
    from sam_ad_perception.reporting.check_page import CheckPage, picture_bundle, render_check_page

    pictures: dict[str, bytes] = {}
    for number, (name, view) in enumerate(check.views.items()):
        if view.example is not None:
            pictures |= picture_bundle(view.example, name, camera_alone=number > 0)
    page = CheckPage(
        f'Check of {check.path.resolve().name}',
        subtitle(check),
        [(f.state, f.what, f'{f.text}: {f.fix}' if f.fix else f.text) for f in findings],
        list_sensors(check),
        pictures,
        parameters,
        command,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE
    path.write_text(render_check_page(page))
    return path


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(
        prog='sam_ad check',
        description='Check a recording before it is labelled: topics, rates, clocks, transforms, '
        'lenses, and whether the sweep lies on the image of every camera. Reads parts of long '
        'recordings.',
        examples=(
            'sam_ad check drive',
            'sam_ad check drive --out check --write vehicle.param.yaml',
            'sam_ad check drive --topic thermal:=/flir/image_raw',
        ),
    )
    parser.add_argument('bag', type=Path, help='folder, or .mcap, .db3 or (ROS 1) .bag file')
    add_topic_options(parser)
    add_params_option(parser)
    add_calibration_option(parser)
    parser.add_argument(
        '--out', type=new_folder(), metavar='DIR', help=f'write a page with pictures, DIR/{PAGE}'
    )
    parser.add_argument(
        '--write',
        type=new_file(),
        metavar='FILE',
        help='write the parameters of the recording, for label --params and for launch files',
    )
    return parser.parse_args(argv)
