"""`sam_ad demo`: a drive through day, tunnel and rain, with sensors that fail on the way.

The demo is the user's own sequence of commands: simulate a bag, start the nodes, replay the bag
over DDS in lockstep, record what the nodes publish, replay it once more live, at the pace of the
drive, to see how many frames this machine drops, label the faulty moments without their faults,
and put it all on one page.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from sam_ad_perception.commands.demo.nodes import drive_nodes, lacking_ros, run_command
from sam_ad_perception.commands.demo.plan import DemoPlan, measured_networks, routing_table
from sam_ad_perception.commands.display.progress import LineProgress
from sam_ad_perception.core.console.command_line import CommandParser, number, whole_number
from sam_ad_perception.core.console.outputs import new_folder
from sam_ad_perception.reporting.run_rates import RunRate, say_rate

if TYPE_CHECKING:
    from sam_ad_perception.core.metrics import ConfusionMatrix
    from sam_ad_perception.modeling.inference.segmenter import Segmenter
    from sam_ad_perception.simulation.drives.configuration import DriveConfig

MARK = '.sam_ad_demo'
"""Says that a folder is a demo's, which the next one may remove."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        argv: Command line after `sam_ad demo`; the process's own by default.

    Returns:
        Exit code.

    Raises:
        ValueError: An argument does not fit, or a step failed; the message says which.
        OSError: A file cannot be written.
    """
    plan = _parse(argv)
    console = Console()
    begin = time.monotonic()
    _clear(plan.out)
    lacking = lacking_ros()
    if lacking:
        console.print(
            f'no {", ".join(lacking)} in this Python: the drive is labelled without the nodes, '
            'as `sam_ad label` does'
        )
    console.rule('1/5  simulate a drive: day, a tunnel, rain; four sensors fail')
    run_command('simulate', str(plan.drive), *plan.simulation)
    if lacking:
        console.rule('2/5  label it, as the nodes would')
        runs = [label_offline(plan, console)]
        console.rule('3/5  no live run: it needs the nodes')
    else:
        console.rule('2/5  replay it through the nodes, over DDS, waiting for each mask')
        runs = [drive_nodes(plan, console, live=False)]
        console.rule(f'3/5  the same {plan.duration_s:g} s live: the pace of the drive')
        runs.append(drive_nodes(plan, console, live=True))
    console.rule('4/5  label the faulty moments as they were without the faults')
    without = label_without_faults(plan, console)
    console.rule('5/5  write the report')
    page = write_report(plan, without, runs, console)
    console.print()
    for run in runs:
        console.print(say_rate(run), highlight=False, soft_wrap=True)
    console.print(f'[bold green]Look at {page}[/]', soft_wrap=True)
    console.print(f'beside it: overlay.webm, the labelled bag {plan.labelled}', soft_wrap=True)
    console.print(f'{time.monotonic() - begin:.0f} s in all')
    return 0


def _clear(out: Path) -> None:
    """Make the folder of a demo, and remove what an earlier demo left there and nothing else."""
    mark = out / MARK
    if mark.exists():
        shutil.rmtree(out)
    elif out.exists() and any(out.iterdir()):
        raise ValueError(
            f'--out: {out} holds files that are not of a demo: give a folder of its own, or '
            'remove it'
        )
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text('Written by sam_ad demo; the next demo replaces this folder.\n')


def _parse(argv: Sequence[str] | None) -> DemoPlan:
    parser = CommandParser(
        prog='sam_ad demo',
        description=__doc__,
        examples=('sam_ad demo', 'sam_ad demo --out tour --model mle_sam_fast --threads 4'),
    )
    parser.add_argument(
        '--out', type=new_folder(), default=Path('demo_output'), help='folder to write'
    )
    parser.add_argument(
        '--seed', type=whole_number(0), default=DemoPlan.seed, help='of the simulated drive'
    )
    parser.add_argument(
        '--duration',
        type=number(above=0),
        default=DemoPlan.duration_s,
        help='of the drive, seconds',
    )
    parser.add_argument(
        '--model',
        default=DemoPlan.models,
        help='keys in models/zoo.yaml, separated by commas; default: all of the routing table',
    )
    parser.add_argument(
        '--threads', type=whole_number(1), help='CPU threads; default: all of them'
    )
    options = parser.parse_args(argv)
    if options.duration < 5:
        raise ValueError(f'--duration must be 5 s or more, got {options.duration}')
    threads = options.threads or os.cpu_count() or 1
    plan = DemoPlan(options.out, options.seed, options.duration, options.model, threads)
    if not plan.models:
        return replace(plan, models=','.join(measured_networks()))
    from sam_ad_perception.nodes.ros.configuration import ModelConfig
    from sam_ad_perception.nodes.segmentation.model_loading import check_model

    check_model(ModelConfig(key=plan.models))
    return plan


def label_offline(plan: DemoPlan, console: Console) -> RunRate:
    """Label the drive with the code that the nodes run, without the nodes.

    Args:
        plan: What is driven.
        console: Shows the progress.

    Returns:
        How many masks, how fast.

    Raises:
        ValueError: A network cannot be loaded.
    """
    from sam_ad_perception.bags.labelling.recording import LabelOptions, label_bag

    segmenter = _make_segmenter(plan)
    options = LabelOptions(copy_inputs=False, color=False)
    begin = time.monotonic()
    with LineProgress(console=console) as progress:
        task = progress.add_task('labelling')
        report = label_bag(
            plan.drive,
            plan.labelled,
            segmenter,
            segmenter.labels,
            options=options,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    frames = report.frames + sum(report.dropped.values())
    how = 'labelled without the nodes, as `sam_ad label` does, one frame after the other'
    return RunRate('offline', how, frames, report.frames, time.monotonic() - begin)


def _read_plan(plan: DemoPlan) -> DriveConfig:
    """The drive, as `sam_ad simulate` understood it."""
    from sam_ad_perception.commands.options.simulation import add_arguments, read_config

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_config(parser.parse_args(plan.simulation))


def _make_segmenter(plan: DemoPlan) -> Segmenter:
    from sam_ad_perception.nodes.ros.configuration import ModelConfig, SegmentationConfig
    from sam_ad_perception.nodes.segmentation.model_loading import make_segmenter

    model = ModelConfig(key=plan.models, threads=plan.threads, routing_table=str(routing_table()))
    return make_segmenter(SegmentationConfig(model=model))


def label_without_faults(plan: DemoPlan, console: Console) -> dict[int, ConfusionMatrix]:
    """Render every faulty frame once more without its fault, and label it with the same networks.

    Args:
        plan: What was driven.
        console: Shows the progress.

    Returns:
        Stamp, nanoseconds -> the mask against the truth.

    Raises:
        ValueError: A network cannot be loaded.
    """
    from sam_ad_perception.core.metrics import ConfusionMatrix
    from sam_ad_perception.simulation.drives.drive import Drive

    config = _read_plan(plan)
    faulty, well = Drive(config), Drive(replace(config, faults=()))
    stamps = [
        stamp_ns
        for stamp_ns in faulty.frame_stamps('camera')
        if any(faulty.faults(sensor, stamp_ns) for sensor in faulty.sensors)
    ]
    segmenter = _make_segmenter(plan)
    space = segmenter.labels
    found = {}
    with LineProgress(console=console) as progress:
        for stamp_ns in progress.track(stamps, description='frames'):
            bundle, truth = well.bundle(stamp_ns)
            (result,) = segmenter.segment([bundle])
            found[stamp_ns] = ConfusionMatrix(len(space), space.ignore_id)
            found[stamp_ns].update(result.mask, truth.labels)
    return found


def write_report(
    plan: DemoPlan,
    without: dict[int, ConfusionMatrix],
    runs: Sequence[RunRate],
    console: Console,
) -> Path:
    """Write `report.html` and `overlay.webm`.

    Args:
        plan: What was driven.
        without: From `label_without_faults`.
        runs: Of the drive; the masks are of the first.
        console: Shows the progress.

    Returns:
        The page.

    Raises:
        ValueError: The labelled bag holds no status.
    """
    from sam_ad_perception.commands.report import about_networks
    from sam_ad_perception.core.console.installation import share_folder
    from sam_ad_perception.modeling.zoo.entries import load_zoo
    from sam_ad_perception.reporting.drive_page import PageText, write_drive_page

    zoo = load_zoo(share_folder('models') / 'zoo.yaml')
    keys = plan.models.split(',')
    networks, warning = about_networks(zoo, keys)
    text = PageText(
        title='Day, tunnel, rain: a drive with failing sensors',
        subtitle='A simulated drive, labelled by the code that runs on a vehicle. '
        'A lidar is unplugged, a camera goes black, a thermal camera stops, an event camera '
        'bursts; each time the other sensors carry on.',
        warning=warning,
        facts={
            **networks,
            'drive': f'sam_ad simulate {" ".join(plan.simulation)}',
            'seed': f'{plan.seed}, which the networks were not trained on',
            'run': 'labelled without the nodes, as `sam_ad label` does'
            if lacking_ros()
            else 'nodes as processes over DDS; masks and video are those of the lockstep run',
            'machine': f'{platform.machine()}, {os.cpu_count()} cores, '
            f'Python {platform.python_version()}; load {os.getloadavg()[0]:.1f} when the page was '
            'written: a live run gets what other programs leave',
        },
        runs=runs,
    )
    with LineProgress(console=console) as progress:
        task = progress.add_task('pictures')
        return write_drive_page(
            plan.drive,
            plan.labelled,
            plan.out,
            zoo[keys[0]].labels,
            text,
            without=without,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
