"""`sam_ad demo`: a drive through day, tunnel and rain, with sensors that fail on the way.

The demo is the user's own sequence of commands: simulate a bag, start the nodes, replay the bag
over DDS, record what the nodes publish, label the faulty moments without their faults, and put it
all on one page.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

if TYPE_CHECKING:
    from sam_ad_perception.core.metrics import ConfusionMatrix
    from sam_ad_perception.modeling.segmenter import Segmenter
    from sam_ad_perception.simulation.configuration import DriveConfig

OUTPUT_TOPICS = (
    'semantic/image',
    'semantic/confidence',
    'semantic/status',
    'semantic/label_info',
    'semantic/points',
    'depth_registered/image_rect',
)
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 15.0
RAIN_SHARE = 0.58
"""When the rain begins, as a share of the drive: while the vehicle is still in the tunnel."""
FAULT_SHARES = (
    ('lidar', 'dropout', 0.13, 0.26),
    ('camera', 'black', 0.45, 0.56),
    ('thermal', 'dropout', 0.71, 0.81),
    ('event', 'event_burst', 0.87, 0.95),
)
"""Sensor, kind, start and end as shares of the drive: a lidar unplugged by day, a camera black in
the tunnel, a thermal camera that stops and an event camera that bursts in the rain."""


@dataclass(frozen=True)
class DemoPlan:
    """What the demo drives.

    Attributes:
        out: Folder of everything that it writes.
        seed: Of the simulated drive; the networks were not trained on seeds below 1000.
        duration_s: Length of the drive, seconds.
        models: Keys in the zoo, separated by commas; empty for all that were measured.
        threads: Threads of the networks on the CPU.
    """

    out: Path
    seed: int = 7
    duration_s: float = 14.0
    models: str = ''
    threads: int = 2

    @property
    def drive(self) -> Path:
        """The simulated bag."""
        return self.out / 'drive'

    @property
    def labelled(self) -> Path:
        """What the nodes published."""
        return self.out / 'labelled'

    @property
    def conditions(self) -> tuple[str, ...]:
        """Light and weather, as `sam_ad simulate --condition` takes them."""
        return 'day', f'{RAIN_SHARE * self.duration_s:.2f}:rain'

    @property
    def faults(self) -> tuple[str, ...]:
        """What goes wrong when, as `sam_ad simulate --fault` takes it."""
        return tuple(
            f'{sensor}:{kind}:{start * self.duration_s:.2f}:{end * self.duration_s:.2f}'
            for sensor, kind, start, end in FAULT_SHARES
        )

    @property
    def simulation(self) -> tuple[str, ...]:
        """The options of `sam_ad simulate`."""
        return (
            '--scene=tunnel', f'--seed={self.seed}', f'--duration={self.duration_s}',
            *(f'--condition={each}' for each in self.conditions),
            *(f'--fault={each}' for each in self.faults),
        )  # fmt: skip


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
    if plan.drive.exists():
        shutil.rmtree(plan.out)
    plan.out.mkdir(parents=True, exist_ok=True)
    console.rule('1/4  simulate a drive: day, a tunnel, rain; four sensors fail')
    _run_cli('simulate', str(plan.drive), *plan.simulation)
    console.rule('2/4  replay it through the nodes, over DDS')
    drive_live(plan, console)
    console.rule('3/4  label the faulty moments as they were without the faults')
    without = label_without_faults(plan, console)
    console.rule('4/4  write the report')
    page = write_report(plan, without, console)
    console.print(f'\n[bold green]Look at {page}[/]', soft_wrap=True)
    console.print(f'beside it: overlay.webm, the labelled bag {plan.labelled}', soft_wrap=True)
    console.print(f'{time.monotonic() - begin:.0f} s in all')
    return 0


def _parse(argv: Sequence[str] | None) -> DemoPlan:
    parser = argparse.ArgumentParser(prog='sam_ad demo', description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('demo_output'), help='folder to write')
    parser.add_argument('--seed', type=int, default=DemoPlan.seed, help='of the simulated drive')
    parser.add_argument(
        '--duration', type=float, default=DemoPlan.duration_s, help='of the drive, seconds'
    )
    parser.add_argument(
        '--model',
        default=DemoPlan.models,
        help='keys in models/zoo.yaml, separated by commas; default: all of the routing table',
    )
    parser.add_argument('--threads', type=int, default=os.cpu_count() or 1, help='CPU threads')
    options = parser.parse_args(argv)
    if options.duration < 5:
        raise ValueError(f'--duration must be 5 s or more, got {options.duration}')
    plan = DemoPlan(options.out, options.seed, options.duration, options.model, options.threads)
    return plan if plan.models else replace(plan, models=','.join(_measured_networks()))


def routing_table() -> Path:
    """What was measured of the small networks, on simulated drives."""
    from sam_ad_perception.nodes.environment import share_folder

    return share_folder('models') / 'routing' / 'simulated.yaml'


def _measured_networks() -> list[str]:
    """The networks of the routing table; those without weights are left out by the nodes."""
    from sam_ad_perception.core.routing_table import load_routing_table

    return list(dict.fromkeys(row.expert for row in load_routing_table(routing_table()).rows))


def _run_cli(*arguments: str) -> None:
    """Run a `sam_ad` command as the user would; its progress goes to the same terminal."""
    command = [sys.executable, '-m', 'sam_ad_perception.cli', *arguments]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise ValueError(f'`sam_ad {" ".join(arguments)}` ended with exit code {code}')


def drive_live(plan: DemoPlan, console: Console) -> None:
    """Start the nodes, replay the drive through them, and record what they publish.

    Args:
        plan: What is driven.
        console: Shows which step is under way.

    Raises:
        ValueError: A node does not start or does not end well; its log is named.
    """
    from sam_ad_perception.nodes.environment import prepare_environment, share_folder

    prepare_environment()
    # A domain of its own keeps other ROS systems on this machine and network out of the demo.
    os.environ['ROS_DOMAIN_ID'] = str(random.randint(1, 100))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    sim_time = ['--ros-args', '-p', 'use_sim_time:=true']
    in_lockstep = ['--params-file', str(share_folder('config') / 'replay.param.yaml')]
    model = [
        '-p', f'model.key:={plan.models}', '-p', f'model.threads:={plan.threads}',
        '-p', f'model.routing_table:={routing_table()}',
    ]  # fmt: skip
    with ExitStack() as nodes:
        nodes.enter_context(_node(plan, 'segmentation_node', [*sim_time, *in_lockstep, *model]))
        nodes.enter_context(_node(plan, 'visualization_node', sim_time))
        arguments = [str(plan.labelled), *OUTPUT_TOPICS, *sim_time]
        recorder = nodes.enter_context(_node(plan, 'recorder_node', arguments))
        console.print(f'nodes started; loading {plan.models} ...')
        _await_line(recorder, plan.out / 'logs' / 'recorder_node.log', 'recording')
        _run_cli('replay', str(plan.drive), '--lockstep', '--timeout=120')


@contextmanager
def _node(
    plan: DemoPlan, name: str, arguments: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node as a process of its own; it is told to end, not killed, so that it can close."""
    log = plan.out / 'logs' / f'{name}.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('wb') as stream:
        process = subprocess.Popen(
            [sys.executable, '-m', f'sam_ad_perception.nodes.{name}', *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    if code:
        raise ValueError(f'{name} ended with exit code {code}; its log is {log}')


def _await_line(process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while text not in log.read_text(errors='replace'):
        if process.poll() is not None:
            raise ValueError(f'{log.stem} ended early; its log is {log}')
        if time.monotonic() > end:
            raise ValueError(f'nothing to record after {START_TIMEOUT_S:.0f} s; see {log.parent}')
        time.sleep(0.1)


def _read_plan(plan: DemoPlan) -> DriveConfig:
    """The drive, as `sam_ad simulate` understood it."""
    from sam_ad_perception.simulation.command import add_arguments, read_config

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_config(parser.parse_args(plan.simulation))


def _make_segmenter(plan: DemoPlan) -> Segmenter:
    from sam_ad_perception.nodes.configuration import ModelConfig, SegmentationConfig
    from sam_ad_perception.nodes.model_loading import make_segmenter

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
    from sam_ad_perception.simulation.drive import Drive

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
    with Progress(console=console) as progress:
        for stamp_ns in progress.track(stamps, description='frames'):
            bundle, truth = well.bundle(stamp_ns)
            (result,) = segmenter.segment([bundle])
            found[stamp_ns] = ConfusionMatrix(len(space), space.ignore_id)
            found[stamp_ns].update(result.mask, truth.labels)
    return found


def write_report(plan: DemoPlan, without: dict[int, ConfusionMatrix], console: Console) -> Path:
    """Write `report.html` and `overlay.webm`.

    Args:
        plan: What was driven.
        without: From `label_without_faults`.
        console: Shows the progress.

    Returns:
        The page.

    Raises:
        ValueError: The labelled bag holds no status.
    """
    from sam_ad_perception.core.labels import LABEL_SPACES
    from sam_ad_perception.modeling.zoo import load_zoo
    from sam_ad_perception.nodes.environment import share_folder
    from sam_ad_perception.reporting.drive_page import PageText, write_drive_page

    zoo = load_zoo(share_folder('models') / 'zoo.yaml')
    specs = [zoo[key] for key in plan.models.split(',')]
    text = PageText(
        title='Day, tunnel, rain: a drive with failing sensors',
        subtitle='A simulated drive, replayed over DDS through the nodes that run on a vehicle. '
        'A lidar is unplugged, a camera goes black, a thermal camera stops, an event camera '
        'bursts; each time the other sensors carry on.',
        facts={
            'networks': '; '.join(f'{spec.key}: {spec.description}' for spec in specs),
            'drive': f'sam_ad simulate {" ".join(plan.simulation)}',
            'seed': f'{plan.seed}, which the networks were not trained on',
            'run': 'nodes as processes over DDS, lockstep replay; the video is that run',
            'machine': f'{platform.machine()}, {os.cpu_count()} cores, '
            f'Python {platform.python_version()}',
        },
    )
    with Progress(console=console) as progress:
        task = progress.add_task('pictures')
        return write_drive_page(
            plan.drive,
            plan.labelled,
            plan.out,
            LABEL_SPACES[specs[0].label_space],
            text,
            without=without,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
