"""`sam_ad label`: what its command line says, and what it tells."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from sam_ad_perception.bags.labelling import LabelReport
    from sam_ad_perception.bags.topics import TopicMapping
    from sam_ad_perception.nodes.configuration import ModelConfig


def main(argv: Sequence[str]) -> int:
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
    with LabelProgress(console, 'labelling') as progress:
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
            progress=progress.advance,
            on_mask=lambda bundle, result: progress.count(),
        )
    _print_report(console, report, options.out)
    return 0 if report.frames else 1


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


class LabelProgress:
    """A progress bar with masks, masks per second and the time left, in a `with` block."""

    def __init__(self, console: Console, title: str) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

        text = '{task.fields[masks]} masks, {task.fields[rate]:.1f}/s'
        self._bar = Progress(
            '{task.description}',
            BarColumn(),
            TaskProgressColumn(),
            text,
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(title, total=None, masks=0, rate=0.0)
        self._masks = 0
        self._start = time.monotonic()

    def __enter__(self) -> LabelProgress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def count(self, masks: int = 1) -> None:
        """Take more masks into account."""
        self._masks += masks
        rate = self._masks / max(1e-3, time.monotonic() - self._start)
        self._bar.update(self._task, masks=self._masks, rate=rate)

    def advance(self, done: int, total: int) -> None:
        """Show how far it is."""
        self._bar.update(self._task, completed=done, total=total)


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
