"""`sam_ad`: the command line. Each command is imported when it is called, and not before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from sam_ad_perception.bags.labelling import LabelReport
    from sam_ad_perception.bags.topics import TopicMapping
    from sam_ad_perception.nodes.configuration import ModelConfig

USAGE_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Command line after `sam_ad`; the process's own by default.

    Returns:
        Exit code: 0 done, 1 nothing came out, 2 wrong input (one sentence says what), 130
        interrupted.
    """
    parser = argparse.ArgumentParser(
        prog='sam_ad',
        description='Semantic segmentation from any subset of camera, thermal, event and lidar.',
        epilog='`sam_ad COMMAND --help` tells more about each.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    listing = '; '.join(f'{name}: {text}' for name, (text, _) in COMMANDS.items())
    parser.add_argument('command', choices=COMMANDS, metavar='COMMAND', help=listing)
    parser.add_argument('arguments', nargs=argparse.REMAINDER, help='of the command')
    options = parser.parse_args(argv)
    _, run = COMMANDS[options.command]
    try:
        return run(options.arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, OSError) as err:
        if options.debug:
            raise
        print(f'sam_ad {options.command}: {err}', file=sys.stderr)
        return USAGE_ERROR


def label(argv: Sequence[str]) -> int:
    """Label a recording; see `sam_ad label --help`."""
    options = _parse_label(argv)
    from rich.console import Console

    from sam_ad_perception.bags.labelling import LabelOptions, check_sensors, label_bag
    from sam_ad_perception.bags.reader import BagReader
    from sam_ad_perception.bags.topics import guess_topics
    from sam_ad_perception.core.calibration import Calibration, load_calibration
    from sam_ad_perception.core.parameters import load
    from sam_ad_perception.nodes.configuration import SegmentationConfig

    console = Console(stderr=True)
    config = load(SegmentationConfig, options.params, 'segmentation') if options.params else None
    config = config or SegmentationConfig()
    named = options.calibration or (Path(config.calibration) if config.calibration else None)
    calibration = load_calibration(named) if named else Calibration()
    with BagReader(options.bag) as reader:
        mapping = guess_topics(reader.topics, dict(options.topic), dict(options.rectified))
        _print_mapping(console, options.bag, mapping)
        check_sensors(reader, mapping, calibration)
    if options.out.exists() and not options.overwrite:
        raise ValueError(f'{options.out} exists already (--overwrite replaces a bag)')

    with console.status('loading the network'):
        from sam_ad_perception.nodes.model_loading import make_segmenter

        segmenter = make_segmenter(replace(config, model=_model(config.model, options)))
    with _progress(console, 'labelling') as progress:
        report = label_bag(
            options.bag,
            options.out,
            segmenter,
            segmenter.labels,
            mapping=mapping,
            options=LabelOptions(
                config.bundler,
                calibration,
                copy_inputs=options.copy,
                color=options.color,
                points=options.points,
                own_centre=options.own_centre,
            ),
            overwrite=options.overwrite,
            progress=progress,
        )
    _print_report(console, report, options.out)
    return 0 if report.frames else 1


def simulate(argv: Sequence[str]) -> int:
    """Simulate a drive into a recording; see `sam_ad simulate --help`."""
    options = _parse_simulate(argv)
    from rich.console import Console

    from sam_ad_perception.bags.writer import BagWriter
    from sam_ad_perception.simulation.command import count_workers, read_config
    from sam_ad_perception.simulation.drive import Drive
    from sam_ad_perception.simulation.recording import record

    console = Console(stderr=True)
    config = read_config(options)
    drive = Drive(config)
    with (
        BagWriter(options.out, overwrite=options.overwrite) as writer,
        _progress(console, 'simulating') as progress,
    ):
        counts = record(
            drive,
            writer,
            encoding=options.events,
            workers=count_workers(options),
            extra=options.truth,
            progress=lambda share: progress(round(1000 * share), 1000),
        )
    for topic, count in counts.items():
        console.print(f'{count:6d} {topic}', highlight=False)
    console.print(f'written to {options.out}', highlight=False, soft_wrap=True)
    if options.gallery:
        from sam_ad_perception.simulation.gallery import write_gallery

        with console.status('drawing the gallery'):
            write_gallery(options.gallery, config)
        console.print(f'drawn in {options.gallery}', highlight=False, soft_wrap=True)
    return 0


def replay(argv: Sequence[str]) -> int:
    """Publish a recording over ROS 2."""
    from sam_ad_perception.nodes.replay_node import main as run

    return run(argv)


def weights(argv: Sequence[str]) -> int:
    """Fetch official weight files."""
    from sam_ad_perception.modeling.weights import add_arguments, run

    parser = argparse.ArgumentParser(prog='sam_ad weights', description=weights.__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


def models(argv: Sequence[str]) -> int:
    """List the networks of the zoo: size, sensors, and whether their weights are there."""
    parser = argparse.ArgumentParser(prog='sam_ad models', description=models.__doc__)
    parser.add_argument('--zoo', type=Path, help='zoo file, default: the one of the package')
    parser.add_argument('--checkpoint-dir', type=Path, help='folder of checkpoints')
    options = parser.parse_args(argv)
    from rich.console import Console

    from sam_ad_perception.modeling.model_table import model_table
    from sam_ad_perception.modeling.zoo import load_zoo
    from sam_ad_perception.nodes.configuration import ModelConfig
    from sam_ad_perception.nodes.model_loading import model_files

    zoo, folder = model_files(
        ModelConfig(zoo=str(options.zoo or ''), checkpoint_dir=str(options.checkpoint_dir or ''))
    )
    Console().print(model_table(load_zoo(zoo), folder))
    return 0


def export(argv: Sequence[str]) -> int:
    """Write a network of the zoo as ONNX, one file for each set of sensors that it takes."""
    from sam_ad_perception.modeling.onnx_command import add_arguments, run

    parser = argparse.ArgumentParser(prog='sam_ad export', description=export.__doc__)
    add_arguments(parser)
    options = parser.parse_args(argv)
    from sam_ad_perception.nodes.configuration import ModelConfig
    from sam_ad_perception.nodes.model_loading import model_files

    named = ModelConfig(zoo=options.zoo or '', checkpoint_dir=options.checkpoints or '')
    return run(options, *model_files(named))


def offsets(argv: Sequence[str]) -> int:
    """Estimate the clock offset of each sensor of a recording."""
    from sam_ad_perception.bags.offset_report import main as run

    return run(argv)


def demo(argv: Sequence[str]) -> int:
    """Show all of it on a simulated drive."""
    from sam_ad_perception.demo import main as run

    return run(argv)


def doctor(argv: Sequence[str]) -> int:
    """Look at all that perception stands on."""
    from sam_ad_perception.nodes.doctor import main as run

    return run(argv)


COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    'demo': ('simulate a drive, run the nodes on it, and write a report', demo),
    'simulate': ('write a simulated drive with ground truth as a bag', simulate),
    'label': ('write masks, confidence, depth and labelled points beside a bag', label),
    'offsets': ('estimate the clock offset of each sensor of a bag', offsets),
    'replay': ('publish a bag over ROS 2, with faults on demand', replay),
    'doctor': ('check installation, machine, weights and live topics', doctor),
    'models': ('list the networks and the state of their weights', models),
    'weights': ('fetch the official SAM and SAM 2.1 weights', weights),
    'export': ('write a network as ONNX, one file per set of sensors', export),
}


def _parse_label(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of `label`."""
    from sam_ad_perception.bags import topics

    parser = argparse.ArgumentParser(
        prog='sam_ad label',
        description='Label a rosbag2 recording (MCAP or SQLite): masks, confidence, depth image, '
        'labelled points. Needs no ROS. Which topic is which sensor is guessed and printed.',
    )
    switch = argparse.BooleanOptionalAction
    parser.add_argument('bag', type=Path, help='folder, or .mcap or .db3 file')
    parser.add_argument('--out', type=Path, required=True, help='folder of the labelled bag')
    parser.add_argument('--overwrite', action='store_true', help='replace a bag at --out')
    parser.add_argument(
        '--topic',
        action='append',
        default=[],
        type=_assignment,
        metavar='ROLE:=NAME',
        help=f'take NAME as ROLE, one of {", ".join(topics.ROLES)}; without NAME: leave ROLE out',
    )
    parser.add_argument(
        '--rectified',
        action='append',
        default=[],
        type=_rectified,
        metavar='SENSOR:=true|false',
        help='whether images are rectified, where the topic name does not tell',
    )
    parser.add_argument('--params', type=Path, help='parameter file of the segmentation node')
    parser.add_argument(
        '--calibration', type=Path, help='file of transforms and geometry that the bag lacks'
    )
    parser.add_argument(
        '--own-centre',
        action='store_true',
        help='camera frames sit in their own centres although CameraInfo.P has an offset',
    )
    parser.add_argument('--model', help='entry of the zoo')
    parser.add_argument('--zoo', help='zoo file')
    parser.add_argument('--checkpoints', help='folder of checkpoints')
    parser.add_argument('--device', help='for example cpu or cuda:0')
    parser.add_argument('--threads', type=int, help='of the network on a CPU')
    parser.add_argument(
        '--backend', choices=('torch', 'compile', 'onnx'), help='what runs the network'
    )
    for name, text in (
        ('copy', 'copy the recorded messages too'),
        ('color', 'write semantic/color'),
        ('points', 'write semantic/points'),
    ):
        parser.add_argument(f'--{name}', action=switch, default=True, help=text)
    return parser.parse_args(argv)


def _parse_simulate(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of `simulate`."""
    from sam_ad_perception.simulation.command import add_arguments

    parser = argparse.ArgumentParser(
        prog='sam_ad simulate',
        description='Write a simulated drive with camera, thermal, event and lidar topics, tf and '
        'ground truth as a rosbag2 recording (MCAP). The seed decides everything.',
    )
    parser.add_argument('out', type=Path, help='folder of the bag')
    add_arguments(parser)
    parser.add_argument('--overwrite', action='store_true', help='replace a bag at OUT')
    return parser.parse_args(argv)


def _assignment(text: str) -> tuple[str, str]:
    """Read `ROLE:=NAME`."""
    role, given, name = text.partition(':=')
    if not given:
        raise argparse.ArgumentTypeError(f'expected ROLE:=NAME, got {text!r}')
    return role, name


def _rectified(text: str) -> tuple[str, bool]:
    """Read `SENSOR:=true|false`."""
    from sam_ad_perception.core.sensors import Modality

    sensor, value = _assignment(text)
    if sensor not in tuple(Modality) or value not in ('true', 'false'):
        raise argparse.ArgumentTypeError(
            f'expected SENSOR:=true|false with one of {[m.value for m in Modality]}, got {text!r}'
        )
    return Modality(sensor), value == 'true'


def _model(config: ModelConfig, options: argparse.Namespace) -> ModelConfig:
    """Put what the command line says over what the parameter file says."""
    said = {
        'key': options.model,
        'zoo': options.zoo,
        'checkpoint_dir': options.checkpoints,
        'device': options.device,
        'threads': options.threads,
        'backend': options.backend,
    }
    return replace(config, **{name: value for name, value in said.items() if value is not None})


class _progress:  # noqa: N801  (used like a function, in a `with` block)
    """A progress bar over messages."""

    def __init__(self, console: Console, title: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = '{task.description}', BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task(title, total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        self._bar.start()
        return lambda done, total: self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()


def _print_mapping(console: Console, bag: Path, mapping: TopicMapping) -> None:
    """Tell which topic was taken for which sensor."""
    from rich.markup import escape
    from rich.table import Table

    table = Table('role', 'topic', 'remark', title=escape(str(bag)), title_justify='left')
    for row in mapping.rows():
        table.add_row(*(escape(text) for text in row))
    console.print(table)


def _print_report(console: Console, report: LabelReport, out: Path) -> None:
    """Tell what came out."""
    from rich.table import Table

    table = Table('stage', 'p50', 'p95', 'p99', 'max', title='latency, ms', title_justify='left')
    for stage, each in report.latency_ms.items():
        values = (each.p50, each.p95, each.p99, each.max)
        table.add_row(stage, *(f'{value:.1f}' for value in values))
    if report.frames:
        console.print(table)
    lines = [f'{count} masks from {subset}' for subset, count in report.used.items()]
    lines += [f'{n} frames dropped: {reason}' for reason, n in report.dropped.items()]
    lines += [
        f'{t}: {u.count} messages not used: {u.reason}' for t, u in report.unreadable.items()
    ]
    lines += [f'{topic} not copied: nobody defines its type' for topic in report.not_copied]
    lines += [f'{report.frames} masks written to {out}']
    for line in lines:  # reasons may hold brackets, which are no markup
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == '__main__':
    sys.exit(main())
