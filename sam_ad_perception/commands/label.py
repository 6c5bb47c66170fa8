"""`sam_ad label`: its options, and what it prints."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sam_ad_perception.commands.brief_check import print_brief_check
from sam_ad_perception.commands.display.labelling import (
    FleetProgress,
    LabelProgress,
    print_ends,
    print_episode,
    print_report,
    print_views,
)
from sam_ad_perception.commands.display.progress import show_status
from sam_ad_perception.commands.options.labelling import INSTALL_RAY, parse_label
from sam_ad_perception.commands.options.model import (
    override_model,
)
from sam_ad_perception.commands.options.topics import check_bag
from sam_ad_perception.core.console.outputs import refuse_own_input

if TYPE_CHECKING:
    from rich.console import Console

    from sam_ad_perception.bags.camera_views import CameraViews
    from sam_ad_perception.bags.labelling.fleet import BagJob, BagOutcome, FleetTask
    from sam_ad_perception.bags.labelling.ray_fleet import RayOptions
    from sam_ad_perception.bags.labelling.view_run import LabelOptions
    from sam_ad_perception.core.sensors import Modality, Segmentation, SensorBundle
    from sam_ad_perception.modeling.inference.segmenter import Segmenter
    from sam_ad_perception.nodes.ros.configuration import SegmentationConfig


def main(argv: Sequence[str]) -> int:
    """Label a recording, or all recordings of a folder; see `sam_ad label --help`."""
    options = parse_label(argv)
    options.argv = list(argv)
    check_bag(options.bag)
    from rich.console import Console

    from sam_ad_perception.bags.labelling.fleet import find_bags, is_one_bag
    from sam_ad_perception.nodes.segmentation.model_loading import check_model

    console = Console(stderr=True)
    bags = find_bags(options.bag, options.out) if options.bag.is_dir() else []
    alone = is_one_bag(options.bag, bags)
    refuse_own_input(options.out, options.bag)
    if alone and options.out.exists() and not options.overwrite:
        raise ValueError(f'{options.out} exists already (--overwrite replaces a bag)')
    for name in ('report', 'rerun'):
        if not alone and getattr(options, name):
            raise ValueError(f'--{name} is of one recording, got the folder {options.bag}')
    if options.rerun:
        from sam_ad_perception.reporting.rerun_file import require_rerun

        require_rerun()
    work = _read_work(options)
    check_model(work.config.model)
    if alone:
        return _label_bag(options, work, console)
    return _label_fleet(options, work, bags, console)


@dataclass(frozen=True)
class _Work:
    """What the command line and the files that it names ask for.

    Attributes:
        config: Parameters of the segmentation node.
        options: What is written, and how.
        files: Files that have a say beside the bag, by their purpose.
        views: Cameras that are labelled, see `camera_views.choose_views`; None for all.
        rectified: Whether a sensor's images are, where somebody said so.
    """

    config: SegmentationConfig
    options: LabelOptions
    files: Mapping[str, Path]
    views: Mapping[str, str] | None
    rectified: Mapping[Modality, bool]


def _read_work(options: argparse.Namespace) -> _Work:
    """Read the files that the command line names, and put what it says over what they say."""
    from sam_ad_perception.bags.labelling.view_run import LabelOptions
    from sam_ad_perception.commands.options.topics import wanted_readings, wanted_views
    from sam_ad_perception.core.geometry.calibration import Calibration, load_calibration
    from sam_ad_perception.core.settings.parameter_files import load
    from sam_ad_perception.nodes.ros.configuration import SegmentationConfig

    config = load(SegmentationConfig, options.params, 'segmentation') if options.params else None
    config = config or SegmentationConfig()
    from sam_ad_perception.nodes.segmentation.model_loading import locate_model

    config = replace(config, model=locate_model(override_model(config.model, options)))
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
        plausibility=config.plausibility,
        selections=config.selections,
    )
    views = wanted_views(options, config.views)
    rectified = wanted_readings(options.rectified, config.camera.rectified)
    return _Work(config, label_options, files, views, rectified)


def _label_bag(options: argparse.Namespace, work: _Work, console: Console) -> int:
    """Label one recording."""
    from sam_ad_perception.bags.camera_views import choose_views
    from sam_ad_perception.bags.labelling.recording import check_sensors, label_bag
    from sam_ad_perception.bags.reader import BagReader

    # Views and sensors, told before anything is loaded.
    with BagReader(options.bag) as reader:
        views = choose_views(reader, dict(options.topic), work.rectified, work.views)
        print_views(console, options.bag, views)
        for mapping in views.mappings.values():
            check_sensors(reader, mapping, work.options.calibration)
    if options.check:
        print_brief_check(console, options.bag, views, work.options)

    with show_status(console, 'loading the network'):
        from sam_ad_perception.nodes.segmentation.model_loading import make_segmenter

        segmenter = make_segmenter(work.config)
    # Label, with progress and on request a file for the viewer rerun.
    with ExitStack() as stack:
        shown = None
        if options.rerun:
            from sam_ad_perception.reporting.rerun_file import RerunFile

            shown = stack.enter_context(RerunFile(options.rerun, segmenter.labels))
        progress = stack.enter_context(LabelProgress(console, 'labelling'))
        stack.enter_context(progress.name_compiling())

        def take(bundle: SensorBundle, result: Segmentation) -> None:
            progress.count()
            if shown is not None:
                shown.add(bundle, result)

        report = label_bag(
            options.bag,
            options.out,
            segmenter,
            segmenter.labels,
            views=views.mappings,
            options=work.options,
            overwrite=options.overwrite,
            progress=progress.advance,
            on_mask=take,
        )
    # What came of it, and the page on request.
    print_report(console, report, options.out)
    print_episode(console, options.bag)
    if options.report and report.frames:
        _write_page(options, work, segmenter, views, console)
    return 0 if report.frames else 1


def _write_page(
    options: argparse.Namespace,
    work: _Work,
    segmenter: Segmenter,
    views: CameraViews,
    console: Console,
) -> None:
    """Write the report of one recording beside its labelled bag."""
    import torch

    from sam_ad_perception.bags.bundles import BundleOptions
    from sam_ad_perception.commands.report import about_machine, about_networks, about_topics
    from sam_ad_perception.reporting.drive_page import PageText, write_views_page

    chosen = work.options
    networks, warning = about_networks(
        {key: expert.spec for key, expert in segmenter.experts.items()}, list(segmenter.experts)
    )
    facts = {'recording': str(options.bag), **networks}
    facts |= about_topics(next(iter(views.mappings.values())))
    facts |= about_machine('labelled on', work.config.model.threads or torch.get_num_threads())
    facts['command'] = f'sam_ad label {shlex.join(options.argv)}'
    text = PageText(
        f'Masks of {options.bag.name}',
        facts=facts,
        left_out=views.left_out,
        warning=warning,
    )
    with LabelProgress(console, 'drawing') as progress:

        def show(done: int, total: int) -> None:
            progress.advance(done, total)
            progress.count()

        page = write_views_page(
            options.bag,
            options.out,
            options.out,
            segmenter.labels,
            text,
            views.mappings,
            options=BundleOptions(
                chosen.bundler, chosen.calibration, chosen.own_centre, chosen.plausibility
            ),
            progress=show,
            tell=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
        )
    console.print(f'report: {page}', markup=False, highlight=False, soft_wrap=True)


def _label_fleet(
    options: argparse.Namespace, work: _Work, bags: Sequence[Path], console: Console
) -> int:
    """Label all recordings of a folder."""
    from sam_ad_perception.bags.labelling.fleet import (
        BagOutcome,
        Fate,
        FleetTask,
        leave_finished,
        lock_folder,
        plan_jobs,
    )
    from sam_ad_perception.nodes.segmentation.model_loading import make_segmenter

    ends: list[BagOutcome] = []
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
        task = FleetTask(load, work.options, dict(options.topic), work.rectified, work.views)
        if left:
            _label_all(console, left, task, parallel, ends)
    print_ends(console, ends, options.out)
    return 1 if any(end.fate is Fate.FAILED for end in ends) else 0


def _label_all(
    console: Console,
    jobs: Sequence[BagJob],
    task: FleetTask,
    parallel: RayOptions | None,
    ends: list[BagOutcome],
) -> None:
    """Label, show how far it is, and add what became of each recording to `ends`."""
    from sam_ad_perception.bags.labelling.fleet import label_serially
    from sam_ad_perception.bags.labelling.ray_fleet import label_with_ray

    with FleetProgress(console, jobs) as progress, progress.name_compiling():
        made = (
            label_with_ray(jobs, task, parallel, progress.show)
            if parallel
            else label_serially(jobs, task, progress.show)
        )
        try:
            ends.extend(map(progress.end, made))
        except KeyboardInterrupt:
            done = sum(not end.reason for end in ends)
            raise KeyboardInterrupt(
                f'{done} labelled bags are kept, the same command goes on with the others'
            ) from None


def _ray_options(options: argparse.Namespace, work: _Work, jobs: int) -> RayOptions | None:
    """Say how Ray is used; None for one recording after the other in this process."""
    from sam_ad_perception.bags.labelling.ray_fleet import RayOptions

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
    from sam_ad_perception.nodes.segmentation.model_loading import model_files

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
    from sam_ad_perception.bags.labelling.provenance import describe_settings
    from sam_ad_perception.core.settings.parameters import flatten

    model = work.config.model
    said = {name: getattr(options, name) for name in ('copy', 'color', 'points', 'own_centre')}
    said |= {'topics': sorted(options.topic)}
    said |= {'rectified': sorted(map(str, work.rectified.items()))}
    if work.views:
        said['views'] = sorted(map(str, work.views.items()))
    zoo, checkpoints = Path(model.zoo), Path(model.checkpoint_dir)
    return describe_settings(flatten(work.config), said, zoo, checkpoints, work.files)
