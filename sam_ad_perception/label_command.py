"""`sam_ad label`: what its command line says, and what it tells."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sam_ad_perception.label_display import (
    FleetProgress,
    LabelProgress,
    print_ends,
    print_mapping,
    print_report,
)

if TYPE_CHECKING:
    from rich.console import Console

    from sam_ad_perception.bags.fleet import BagJob, BagOutcome, FleetTask
    from sam_ad_perception.bags.labelling import LabelOptions
    from sam_ad_perception.bags.ray_fleet import RayOptions
    from sam_ad_perception.bags.topics import TopicMapping
    from sam_ad_perception.modeling.segmenter import Segmenter
    from sam_ad_perception.nodes.configuration import ModelConfig, SegmentationConfig

INSTALL_RAY = 'pip install sam_ad_perception[fleet]'


def main(argv: Sequence[str]) -> int:
    """Label a recording, or all recordings of a folder; see `sam_ad label --help`."""
    options = _parse_label(argv)
    from rich.console import Console

    from sam_ad_perception.bags.fleet import find_bags, is_one_bag

    console = Console(stderr=True)
    work = _read_work(options)
    bags = find_bags(options.bag, options.out) if options.bag.is_dir() else []
    if is_one_bag(options.bag, bags):
        return _label_bag(options, work, console)
    if options.report:
        raise ValueError(f'--report is of one recording, got the folder {options.bag}')
    return _label_fleet(options, work, bags, console)


@dataclass(frozen=True)
class _Work:
    """What the command line and the files that it names ask for.

    Attributes:
        config: Parameters of the segmentation node.
        options: What is written, and how.
        files: Files that have a say beside the bag, by their purpose.
    """

    config: SegmentationConfig
    options: LabelOptions
    files: Mapping[str, Path]


def _read_work(options: argparse.Namespace) -> _Work:
    """Read the files that the command line names, and put what it says over what they say."""
    from sam_ad_perception.bags.labelling import LabelOptions
    from sam_ad_perception.core.calibration import Calibration, load_calibration
    from sam_ad_perception.core.parameters import load
    from sam_ad_perception.nodes.configuration import SegmentationConfig

    config = load(SegmentationConfig, options.params, 'segmentation') if options.params else None
    config = config or SegmentationConfig()
    config = replace(config, model=_model(config.model, options))
    named = options.calibration or (Path(config.calibration) if config.calibration else None)
    files = {'calibration': named} if named else {}
    if config.model.routing_table:
        files['routing table'] = Path(config.model.routing_table)
    label_options = LabelOptions(
        config.bundler,
        load_calibration(named) if named else Calibration(),
        copy_inputs=options.copy,
        color=options.color,
        points=options.points,
        own_centre=options.own_centre,
    )
    return _Work(config, label_options, files)


def _label_bag(options: argparse.Namespace, work: _Work, console: Console) -> int:
    """Label one recording."""
    from sam_ad_perception.bags.labelling import check_sensors, label_bag
    from sam_ad_perception.bags.reader import BagReader
    from sam_ad_perception.bags.topics import guess_topics

    with BagReader(options.bag) as reader:
        mapping = guess_topics(reader.topics, dict(options.topic), dict(options.rectified))
        print_mapping(console, options.bag, mapping)
        check_sensors(reader, mapping, work.options.calibration)
    if options.out.exists() and not options.overwrite:
        raise ValueError(f'{options.out} exists already (--overwrite replaces a bag)')

    with console.status('loading the network'):
        from sam_ad_perception.nodes.model_loading import make_segmenter

        segmenter = make_segmenter(work.config)
    with LabelProgress(console, 'labelling') as progress:
        report = label_bag(
            options.bag,
            options.out,
            segmenter,
            segmenter.labels,
            mapping=mapping,
            options=work.options,
            overwrite=options.overwrite,
            progress=progress.advance,
            on_mask=lambda bundle, result: progress.count(),
        )
    print_report(console, report, options.out)
    if options.report and report.frames:
        _write_page(options, work, segmenter, mapping, console)
    return 0 if report.frames else 1


def _write_page(
    options: argparse.Namespace,
    work: _Work,
    segmenter: Segmenter,
    mapping: TopicMapping,
    console: Console,
) -> None:
    """Write the report of one recording beside its labelled bag."""
    from sam_ad_perception.bags.bundles import BundleOptions
    from sam_ad_perception.reporting.drive_page import PageText, write_drive_page

    chosen = work.options
    text = PageText(
        f'Masks of {options.bag.name}',
        facts={'recording': str(options.bag), 'networks': ', '.join(segmenter.experts)},
    )
    with LabelProgress(console, 'drawing') as progress:

        def show(done: int, total: int) -> None:
            progress.advance(done, total)
            progress.count()

        page = write_drive_page(
            options.bag,
            options.out,
            options.out,
            segmenter.labels,
            text,
            mapping=mapping,
            options=BundleOptions(chosen.bundler, chosen.calibration, chosen.own_centre),
            progress=show,
        )
    console.print(f'report: {page}', markup=False, highlight=False, soft_wrap=True)


def _label_fleet(
    options: argparse.Namespace, work: _Work, bags: Sequence[Path], console: Console
) -> int:
    """Label all recordings of a folder."""
    from sam_ad_perception.bags.fleet import (
        BagOutcome,
        Fate,
        FleetTask,
        leave_finished,
        lock_folder,
        plan_jobs,
    )
    from sam_ad_perception.nodes.model_loading import make_segmenter

    with lock_folder(options.out):
        work = _name_files(work)
        jobs = plan_jobs(options.bag, bags, options.out, _settings(options, work))
        left = list(leave_finished(jobs, overwrite=options.overwrite))
        names = {job.name for job in left}
        ends = [BagOutcome(j.name, Fate.FINISHED_BEFORE) for j in jobs if j.name not in names]
        parallel = _ray_options(options, work, len(left))
        if parallel is not None and not work.config.model.threads:
            model = replace(work.config.model, threads=parallel.cpus)
            work = replace(work, config=replace(work.config, model=model))
        load = partial(make_segmenter, work.config)
        task = FleetTask(load, work.options, dict(options.topic), dict(options.rectified))
        if left:
            ends += _label_all(console, left, task, parallel)
    print_ends(console, ends, options.out)
    return 1 if any(end.fate is Fate.FAILED for end in ends) else 0


def _label_all(
    console: Console, jobs: Sequence[BagJob], task: FleetTask, parallel: RayOptions | None
) -> list[BagOutcome]:
    """Label, and show how far it is."""
    from sam_ad_perception.bags.fleet import label_serially
    from sam_ad_perception.bags.ray_fleet import label_with_ray

    with FleetProgress(console, jobs) as progress:
        ends = (
            label_with_ray(jobs, task, parallel, progress.show)
            if parallel
            else label_serially(jobs, task, progress.show)
        )
        return [progress.end(end) for end in ends]


def _ray_options(options: argparse.Namespace, work: _Work, jobs: int) -> RayOptions | None:
    """Say how Ray is used; None for one recording after the other in this process."""
    from sam_ad_perception.bags.ray_fleet import RayOptions

    on_gpu = work.config.model.device.startswith('cuda')
    gpus = options.gpus_per_worker if options.gpus_per_worker is not None else float(on_gpu)
    chosen = RayOptions(options.address, options.workers, options.cpus_per_worker, gpus)
    if not chosen.address and (jobs < 2 or chosen.workers == 1):
        return None
    if importlib.util.find_spec('ray') is not None:
        return chosen
    if chosen.address or chosen.workers:
        raise ValueError(f'Ray is not installed: {INSTALL_RAY}')
    print(f'one bag after the other; several at a time: {INSTALL_RAY}', file=sys.stderr)
    return None


def _name_files(work: _Work) -> _Work:
    """Name the zoo and the checkpoints as each worker will find them."""
    from sam_ad_perception.nodes.model_loading import model_files

    zoo, checkpoints = (str(path.resolve()) for path in model_files(work.config.model))
    table = work.files.get('routing table')
    model = replace(
        work.config.model,
        zoo=zoo,
        checkpoint_dir=checkpoints,
        routing_table=str(table.resolve()) if table else '',
    )
    return replace(work, config=replace(work.config, model=model))


def _settings(options: argparse.Namespace, work: _Work) -> dict[str, str]:
    """All that decides about the masks, to know results of the same settings again."""
    from sam_ad_perception.bags.provenance import describe_settings
    from sam_ad_perception.core.parameters import flatten

    model = work.config.model
    said = {name: getattr(options, name) for name in ('copy', 'color', 'points', 'own_centre')}
    said |= {'topics': sorted(options.topic), 'rectified': sorted(map(str, options.rectified))}
    zoo, checkpoints = Path(model.zoo), Path(model.checkpoint_dir)
    return describe_settings(flatten(work.config), said, zoo, checkpoints, work.files)


def _parse_label(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line of `label`."""
    parser = argparse.ArgumentParser(
        prog='sam_ad label',
        description='Label a rosbag2 recording (MCAP or SQLite): masks, confidence, depth image, '
        'labelled points. Needs no ROS. Which topic is which sensor is guessed and printed. '
        'Of a folder of recordings all are labelled; the same command again does only what is '
        'not done, and one that fails does not stop the others.',
    )
    _add_recording(parser)
    _add_model(parser)
    _add_fleet(parser)
    _add_results(parser)
    return parser.parse_args(argv)


def _add_recording(parser: argparse.ArgumentParser) -> None:
    """What is labelled, where the result goes, and what the recording does not tell itself."""
    from sam_ad_perception.bags import topics

    parser.add_argument(
        'bag', type=Path, help='folder, or .mcap or .db3 file; or a folder of those'
    )
    parser.add_argument(
        '--out', type=Path, required=True, help='folder of the labelled bag, or of all of them'
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace a bag at --out; of several, those labelled with other settings',
    )
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


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Which network, and what it runs on."""
    parser.add_argument('--model', help='entry of the zoo')
    parser.add_argument('--zoo', help='zoo file')
    parser.add_argument('--checkpoints', help='folder of checkpoints')
    parser.add_argument('--device', help='for example cpu or cuda:0')
    parser.add_argument('--threads', type=int, help='of the network on a CPU')
    parser.add_argument(
        '--backend', choices=('torch', 'compile', 'onnx'), help='what runs the network'
    )


def _add_fleet(parser: argparse.ArgumentParser) -> None:
    """How a folder of recordings is shared out."""
    fleet = parser.add_argument_group(
        'a folder of recordings', f'Several at a time need Ray: {INSTALL_RAY}.'
    )
    fleet.add_argument(
        '--workers',
        type=int,
        default=0,
        help='how many at a time; default: what there is room for',
    )
    fleet.add_argument(
        '--cpus-per-worker', type=int, default=1, help='and threads of its network, default: 1'
    )
    fleet.add_argument(
        '--gpus-per-worker', type=float, help='default: 1 with a --device cuda, else 0'
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
        ('points', 'write semantic/points'),
    ):
        switch = argparse.BooleanOptionalAction
        parser.add_argument(f'--{name}', action=switch, default=True, help=text)
    parser.add_argument(
        '--report',
        action='store_true',
        help='of one recording: also write report.html at --out, with video and timeline',
    )


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
