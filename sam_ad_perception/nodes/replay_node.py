"""Publishes a recorded bag over ROS 2, with simulated time, faults on demand, and in lockstep.

Lockstep: a reference frame goes out when the mask of the last one came back, or the status that
counts it as dropped. All other messages go out at their time in between. While it waits, /clock
runs on to the node's deadline after the last reference and stands still there, so that deadlines
in ROS time can pass, and no more time passes than that.

DDS keeps the order of the messages of one topic, not between topics. What has the same time goes
out in a fixed order (transforms, geometry, measurements, the leading sensor last), but a node may
still see a large sweep after a small image. So time waits for each measurement.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sam_ad_perception.bags.camera_views import CameraViews, choose_views, list_cameras
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.topics import choose_topics, read_role, roles
from sam_ad_perception.core.console.command_line import (
    CommandParser,
    checked,
    describe_error,
    existing_file,
    number,
)
from sam_ad_perception.core.console.outputs import new_file
from sam_ad_perception.core.sensors import Modality
from sam_ad_perception.core.transaction import write_file
from sam_ad_perception.nodes.launch.model import views_of
from sam_ad_perception.nodes.replay.playback import Replay, ReplayError, ReplayOptions
from sam_ad_perception.nodes.replay.schedule import Plan, parse_drop, plan_routes
from sam_ad_perception.nodes.ros.environment import prepare_environment
from sam_ad_perception.nodes.ros.node import PerceptionNode
from sam_ad_perception.nodes.ros.process import raise_on_signals
from sam_ad_perception.nodes.ros.rclpy_helpers import message_type
from sam_ad_perception.nodes.ros.view_choice import choose_wanted, read_view

WRONG_INPUT = 2
LINE_EVERY_S = 10.0


def refused_types(reader: BagReader) -> dict[str, str]:
    """Find the types of a bag that cannot be published here.

    Args:
        reader: The bag.

    Returns:
        Type to the reason in words.
    """
    refused = {}
    for topic in reader.topics:
        try:
            message_type(topic.type)
        except (ImportError, AttributeError):
            refused[topic.type] = f'type {topic.type} is not installed'
            continue
        known = topic.type in reader.typestore.types
        if known and topic.digest and topic.digest != reader.typestore.hash_rihs01(topic.type):
            refused[topic.type] = f'type {topic.type} differs from the one that is installed'
    return refused


def describe(plan: Plan, mapping_rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Tell what goes where.

    Args:
        plan: The routes.
        mapping_rows: `TopicMapping.rows`.

    Returns:
        The text, line by line.
    """
    remarks = {topic: (role, remark) for role, topic, remark in mapping_rows}
    lines = []
    for source, route in plan.routes.items():
        role, remark = remarks.get(source, ('', ''))
        note = f' ({"; ".join(filter(None, (role, remark)))})' if role else ''
        lines.append(f'{source} -> {route.target}{note}')
    lines += [f'{source} not published: {why}' for source, why in plan.left_out.items()]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Replay a bag.

    Args:
        argv: Command line; the process's own by default.

    Returns:
        Exit code: 0 done or stopped by the user, 1 nobody listened or answered, 2 a wrong bag or
        option.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    split = arguments.index('--ros-args') if '--ros-args' in arguments else len(arguments)
    parsed = _parse(arguments[:split])
    options = _options(parsed)
    prepare_environment()
    try:
        with BagReader(parsed.bag) as reader:
            views = _choose_views(reader, parsed, arguments[split:])
            plan = plan_routes(reader.topics, views.mappings, refused_types(reader))
            _check(options, plan, reader)
            rows = [row for each in views.mappings.values() for row in each.rows()]
            for line in describe(plan, rows):
                print(line)
            sys.stdout.flush()
            return _replay(reader, plan, options, arguments[split:], parsed.json)
    except (ValueError, OSError) as err:
        print(f'replay: {describe_error(err)}', file=sys.stderr)
        return WRONG_INPUT


def _choose_views(
    reader: BagReader, parsed: argparse.Namespace, ros_arguments: Sequence[str]
) -> CameraViews:
    """Find the cameras that are views, and say so of those that are none."""
    given = dict(parsed.topic)
    files = [str(parsed.params)] if parsed.params else []
    for word, value in itertools.pairwise(ros_arguments):
        files += [value] if word == '--params-file' else []
    chosen = choose_wanted(parsed.view, parsed.topic, views_of(files))
    if chosen.remark:
        print(chosen.remark)
    if chosen.wanted is not None:
        return choose_views(reader, given, None, chosen.wanted)
    mapping = choose_topics(reader, given)
    if not {'camera', 'camera_info'} & {*given}:
        others = list_cameras(reader, given)
        camera = mapping.sensors.get(Modality.CAMERA)
        if camera is not None and len(others) > 1:
            options = ' '.join(f'--view {name}' for name in others)
            print(f'of {len(others)} cameras {camera.data} alone is a view: {options} takes all')
    return CameraViews({'': mapping})


def _replay(
    reader: BagReader,
    plan: Plan,
    options: ReplayOptions,
    ros_arguments: Sequence[str],
    summary: Path | None,
) -> int:
    """Start ROS, publish, tell what came back."""
    raise_on_signals()
    # ROS's own handler closes the context from a thread of its own, under a wait that is going on:
    # at times that ends in a segmentation fault. All waits here are short: none needs to be woken.
    rclpy.init(args=[sys.argv[0], *ros_arguments], signal_handler_options=SignalHandlerOptions.NO)
    node = PerceptionNode('replay')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    replay = Replay(node, executor, reader, plan, options)
    code = 0
    try:
        with _progress(reader, options) as tell:
            replay.run(tell)
        replay.finish()
    except ReplayError as err:
        print(f'replay: {err}', file=sys.stderr)
        code = 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    for line in replay.ledger.lines():
        print(line)
    if summary is not None:
        with write_file(summary) as stream:
            stream.write(json.dumps(replay.ledger.figures(), indent=1).encode())
    return code


class _progress:  # noqa: N801  (used like a function, in a `with` block)
    """A bar over the seconds of the bag on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, reader: BagReader, options: ReplayOptions) -> None:
        total = reader.duration_s - options.start_s
        if options.duration_s is not None:
            total = min(total, options.duration_s)
        console = Console()
        columns = (
            TextColumn('replay'),
            BarColumn(),
            TextColumn('{task.completed:.1f} / {task.total:.1f} s'),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task('replay', total=total)
        self._total = total
        self._told = time.monotonic()

    def __enter__(self) -> Callable[[float], object]:
        self._bar.start()
        return self._show

    def _show(self, seconds: float) -> None:
        self._bar.update(self._task, completed=seconds)
        if not self._bar.console.is_terminal and time.monotonic() - self._told >= LINE_EVERY_S:
            self._told = time.monotonic()
            print(f'replay: {seconds:.1f} of {self._total:.1f} s', flush=True)

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()


def _check(options: ReplayOptions, plan: Plan, reader: BagReader) -> None:
    """Refuse what would silently do nothing.

    Raises:
        ValueError: Says what.
    """
    if options.start_s >= reader.duration_s > 0:
        raise ValueError(
            f'--start must be before the end of the bag at {reader.duration_s:.2f} s, '
            f'got {options.start_s:g}'
        )
    sensors = {str(r.sensor) for r in plan.routes.values() if r.sensor is not None}
    for drop in options.drops:
        if drop.sensor not in {*sensors, *plan.routes}:
            raise ValueError(
                f'--drop names {drop.sensor!r}, which the bag does not have; '
                f'it has {sorted(sensors)}'
            )
    if options.lockstep and not sensors:
        raise ValueError('--lockstep needs a bag with a sensor: no topic was taken for one')


def _options(parsed: argparse.Namespace) -> ReplayOptions:
    return ReplayOptions(
        rate=parsed.rate,
        loop=parsed.loop,
        lockstep=parsed.lockstep,
        drops=tuple(parsed.drop),
        start_s=parsed.start,
        duration_s=parsed.duration,
        wait_s=parsed.wait,
        timeout_s=parsed.timeout,
        deadline_s=parsed.deadline,
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser(
        prog='sam_ad replay',
        description='Publish a rosbag2 recording (MCAP or SQLite) over ROS 2 with /clock. Which '
        'topic is which sensor is guessed and printed. Start the nodes with use_sim_time. What '
        'follows --ros-args goes to ROS.',
        examples=(
            'sam_ad replay drive --lockstep',
            'sam_ad replay drive --drop lidar@5-8 --ros-args -r __ns:=/vehicle',
        ),
    )
    add = parser.add_argument
    add('bag', type=Path, help='folder, or .mcap, .db3 or (ROS 1) .bag file')
    add('--rate', type=number(above=0), default=1.0, help='times real time, default: %(default)s')
    add('--loop', action='store_true', help='start again at the end, until stopped')
    add(
        '--drop', type=checked(parse_drop), action='append', default=[],
        metavar='SENSOR@START-END',
        help='leave a sensor out, in seconds after the start of the bag; repeatable',
    )  # fmt: skip
    add('--lockstep', action='store_true', help='wait for the mask, or the drop, of each frame')
    add(
        '--topic', type=checked(read_role), action='append', default=[], metavar='ROLE:=NAME',
        help=f'take NAME as ROLE, one of {", ".join(roles())}; without NAME: leave ROLE out',
    )  # fmt: skip
    add(
        '--view', type=checked(read_view), action='append', default=[], metavar='NAME[:=TOPIC]',
        help='the camera NAME, whose images are TOPIC, is a view: it goes to NAME/camera/...; '
        'repeatable. Default: the parameter views, else one camera without name',
    )  # fmt: skip
    add(
        '--params', type=existing_file('sam_ad check --write makes one'), metavar='FILE',
        help='parameter file of the nodes: its views are views here, too; so are those of files '
        'that follow --ros-args --params-file',
    )  # fmt: skip
    add('--start', type=number(low=0), default=0.0, help='skip so many seconds of the bag')
    add('--duration', type=number(above=0), help='publish only so many seconds of the bag')
    add(
        '--wait', type=number(low=0), default=60.0,
        help='longest wait for the nodes, seconds; 0 for none; default: %(default)s',
    )  # fmt: skip
    add(
        '--timeout', type=number(above=0), default=30.0,
        help='longest wait for an answer in lockstep, seconds; default: %(default)s',
    )  # fmt: skip
    add(
        '--deadline', type=number(low=0),
        help="the node's deadline in seconds; by default the node is asked",
    )  # fmt: skip
    add('--json', type=new_file(), metavar='FILE', help='write the summary as JSON, too')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    sys.exit(main())
