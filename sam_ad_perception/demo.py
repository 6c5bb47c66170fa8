"""`sam_ad demo`: a simulated drive through the real nodes, with sensors failing on the way.

The demo is the user's own sequence of commands: simulate a bag, start the nodes, replay the bag
over DDS while sensors are cut, record what the nodes publish, label the bag offline with each
sensor taken away, and put it all on one page.
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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

if TYPE_CHECKING:
    from sam_ad_perception.reporting.page import QualityRow

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


@dataclass(frozen=True)
class DemoPlan:
    """What the demo drives.

    Attributes:
        out: Folder of everything that it writes.
        seed: Of the simulated drive; the network was not trained on seeds below 1000.
        duration_s: Length of the drive, seconds.
        model: Key in the zoo.
        threads: Threads of the network on the CPU.
    """

    out: Path
    seed: int = 7
    duration_s: float = 8.0
    model: str = 'mle_sam_demo'
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
    def cuts(self) -> tuple[str, ...]:
        """Which sensor is unplugged when, as `sam_ad replay --drop` takes it."""
        sixth = self.duration_s / 6
        sensors = ('thermal', 'lidar', 'camera', 'event')
        return tuple(
            f'{sensor}@{(i + 1) * sixth:.2f}-{(i + 1.6) * sixth:.2f}'
            for i, sensor in enumerate(sensors)
        )


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
    if (plan.drive).exists():
        shutil.rmtree(plan.out)
    plan.out.mkdir(parents=True, exist_ok=True)
    console.rule('1/4  simulate a drive')
    _run_cli('simulate', str(plan.drive), f'--seed={plan.seed}', f'--duration={plan.duration_s}')
    console.rule('2/4  replay it through the nodes, over DDS, while sensors fail')
    drive_live(plan, console)
    console.rule('3/4  take each sensor away for the whole drive')
    quality = rate_subsets(plan, console)
    console.rule('4/4  write the report')
    page = write_report(plan, quality, console)
    console.print(f'\n[bold green]Look at {page}[/]', soft_wrap=True)
    console.print(f'beside it: overlay.webm, the labelled bag {plan.labelled}', soft_wrap=True)
    return 0


def _parse(argv: Sequence[str] | None) -> DemoPlan:
    parser = argparse.ArgumentParser(prog='sam_ad demo', description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('demo_output'), help='folder to write')
    parser.add_argument('--seed', type=int, default=DemoPlan.seed, help='of the simulated drive')
    parser.add_argument(
        '--duration', type=float, default=DemoPlan.duration_s, help='of the drive, seconds'
    )
    parser.add_argument('--model', default=DemoPlan.model, help='key in models/zoo.yaml')
    parser.add_argument('--threads', type=int, default=os.cpu_count() or 1, help='CPU threads')
    options = parser.parse_args(argv)
    if options.duration < 3:
        raise ValueError(f'--duration must be 3 s or more, got {options.duration}')
    return DemoPlan(options.out, options.seed, options.duration, options.model, options.threads)


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
    model = ['-p', f'model.key:={plan.model}', '-p', f'model.threads:={plan.threads}']
    with ExitStack() as nodes:
        nodes.enter_context(_node(plan, 'segmentation_node', [*sim_time, *in_lockstep, *model]))
        nodes.enter_context(_node(plan, 'visualization_node', sim_time))
        arguments = [str(plan.labelled), *OUTPUT_TOPICS, *sim_time]
        recorder = nodes.enter_context(_node(plan, 'recorder_node', arguments))
        console.print('nodes started; loading the network ...')
        _await_line(recorder, plan.out / 'logs' / 'recorder_node.log', 'recording')
        cuts = [f'--drop={cut}' for cut in plan.cuts]
        _run_cli('replay', str(plan.drive), '--lockstep', '--timeout=120', *cuts)


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


def rate_subsets(plan: DemoPlan, console: Console) -> list[QualityRow]:
    """Label the drive offline with all sensors and with each one taken away.

    Args:
        plan: What was driven.
        console: Shows the progress.

    Returns:
        One row per set of sensors, all sensors first.

    Raises:
        ValueError: The bag cannot be labelled.
    """
    from sam_ad_perception.bags.labelling import LabelOptions, label_bag
    from sam_ad_perception.bags.reader import BagReader
    from sam_ad_perception.bags.topics import guess_topics
    from sam_ad_perception.core.sensors import Modality
    from sam_ad_perception.modeling.segmenter import Segmenter
    from sam_ad_perception.nodes.environment import share_folder
    from sam_ad_perception.reporting.drive_log import read_drive_log, read_truth
    from sam_ad_perception.reporting.drive_report import rate_quality

    models = share_folder('models')
    segmenter = Segmenter.from_zoo(
        models / 'zoo.yaml', plan.model, models / 'checkpoints', threads=plan.threads
    )
    space = segmenter.labels
    options = LabelOptions(copy_inputs=False, color=False, points=False)
    truth = read_truth(plan.drive)
    rows = []
    sensors = (None, Modality.CAMERA, Modality.THERMAL, Modality.EVENT, Modality.LIDAR)
    with Progress(console=console) as progress:
        for removed in sensors:
            name = 'all sensors' if removed is None else f'without {removed}'
            task = progress.add_task(name)
            with BagReader(plan.drive) as bag:
                # An empty topic switches a sensor off; the camera's geometry stays known.
                overrides = {} if removed is None else {removed.value: ''}
                mapping = guess_topics(bag.topics, overrides)
            out = plan.out / 'subsets' / name.replace(' ', '_')
            label_bag(
                plan.drive,
                out,
                segmenter,
                space,
                mapping=mapping,
                options=options,
                progress=lambda done, total, task=task: progress.update(  # type: ignore[misc]
                    task, completed=done, total=total
                ),
            )
            log = read_drive_log(out, space, truth)
            rows.append(rate_quality(name, log.confusion, space, log.published, len(truth)))
            progress.console.print(f'  {name}: mIoU {100 * rows[-1].miou:.1f} %')
    return rows


def write_report(plan: DemoPlan, quality: list[QualityRow], console: Console) -> Path:
    """Write `report.html` and `overlay.webm`.

    Args:
        plan: What was driven.
        quality: From `rate_subsets`.
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

    spec = load_zoo(share_folder('models') / 'zoo.yaml')[plan.model]
    text = PageText(
        title='A drive with failing sensors',
        facts={
            'network': f'{plan.model}, {spec.description}',
            'drive': f'simulated, seed {plan.seed} (not trained on), {plan.duration_s:g} s',
            'unplugged': ', '.join(plan.cuts),
            'run': 'nodes as processes over DDS, lockstep replay; the video is that run',
            'machine': f'{platform.machine()}, {os.cpu_count()} cores, '
            f'Python {platform.python_version()}',
        },
        next_steps={
            'label your own bag': 'sam_ad label BAG --out DIR',
            'replay it through the nodes': 'sam_ad replay BAG --lockstep',
            'start the nodes on a vehicle': 'ros2 launch sam_ad_perception perception.launch.py',
            'train the network': 'python -m training.train training/configs/mle_sam_demo.yaml',
        },
    )
    with Progress(console=console) as progress:
        task = progress.add_task('pictures')
        return write_drive_page(
            plan.drive,
            plan.labelled,
            plan.out,
            LABEL_SPACES[spec.label_space],
            text,
            quality=quality,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
