"""The nodes of `sam_ad demo`: processes over DDS, and what a replay through them came to.

A replay in lockstep waits for each mask, so that none is lost and the run repeats exactly; a live
one goes at the pace of the drive, as on a vehicle, and shows what this machine keeps up with.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from sam_ad_perception.commands.demo.plan import DemoPlan, routing_table
from sam_ad_perception.core.console.installation import share_folder
from sam_ad_perception.reporting.run_rates import RunRate, read_rate

OUTPUT_TOPICS = (
    'semantic/status',
    'semantic/image',
    'semantic/confidence',
    'semantic/label_info',
    'semantic/points',
    'depth_registered/image_rect',
)
ROS_PACKAGES = ('rclpy', 'event_camera_msgs', 'tf2_msgs', 'vision_msgs')
"""What the nodes import besides the messages that come with rclpy."""
REPLAY_FILE = 'replay.param.yaml'
LOCKSTEP, LIVE = 'lockstep', 'live'
LOCKSTEP_HOW = 'the replay waits for each mask, so that none is lost, however slow the machine is'
LIVE_HOW = 'the same drive once at its own pace (rate 1), with the parameters of a vehicle'
START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 15.0


def lacking_ros() -> list[str]:
    """What the nodes need and this interpreter does not have, as in a wheel without ROS 2."""
    return [name for name in ROS_PACKAGES if importlib.util.find_spec(name) is None]


def run_command(*arguments: str) -> None:
    """Run a `sam_ad` command as the user would; its progress goes to the same terminal."""
    command = [sys.executable, '-m', 'sam_ad_perception.commands.cli', *arguments]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise ValueError(f'`sam_ad {" ".join(arguments)}` ended with exit code {code}')


def drive_nodes(plan: DemoPlan, console: Console, *, live: bool) -> RunRate:
    """Start the nodes, replay the drive through them, and record what they publish.

    Args:
        plan: What is driven.
        console: Shows which step is under way.
        live: At the pace of the drive, with the parameters of a vehicle, recording the statuses
            alone; else in lockstep, recording everything.

    Returns:
        What came back, and how fast.

    Raises:
        ValueError: A node does not start or does not end well; its log is named.
    """
    _isolate()
    name, how = (LIVE, LIVE_HOW) if live else (LOCKSTEP, LOCKSTEP_HOW)
    logs, summary = plan.out / 'logs' / name, plan.out / f'{name}.json'
    logs.mkdir(parents=True, exist_ok=True)
    sim_time = ['--ros-args', '-p', 'use_sim_time:=true']
    parameters = [] if live else ['--params-file', str(share_folder('config') / REPLAY_FILE)]
    model = [
        '-p', f'model.key:={plan.models}', '-p', f'model.threads:={plan.threads}',
        '-p', f'model.routing_table:={routing_table()}', '-p', 'ground.overrule:=true',
    ]  # fmt: skip
    bag, recorded = (plan.live, OUTPUT_TOPICS[:1]) if live else (plan.labelled, OUTPUT_TOPICS)
    with ExitStack() as nodes:
        nodes.enter_context(_node(logs, 'segmentation_node', [*sim_time, *parameters, *model]))
        if not live:
            nodes.enter_context(_node(logs, 'visualization_node', sim_time))
        recorder = nodes.enter_context(
            _node(logs, 'recorder_node', [str(bag), *recorded, *sim_time])
        )
        console.print(f'nodes started; loading {plan.models} ...', soft_wrap=True)
        _await_line(recorder, logs / 'recorder_node.log', 'recording')
        pace = () if live else ('--lockstep', '--timeout=120')
        wait = f'--wait={START_TIMEOUT_S:.0f}'
        run_command('replay', str(plan.drive), *pace, wait, f'--json={summary}')
    return read_rate(name, how, json.loads(summary.read_text(encoding='utf-8')))


def _isolate() -> None:
    """Keep other ROS systems on this machine and network out of the demo."""
    from sam_ad_perception.nodes.ros.environment import prepare_environment

    prepare_environment()
    os.environ['ROS_DOMAIN_ID'] = str(random.randint(1, 100))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


@contextmanager
def _node(logs: Path, name: str, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node as a process of its own; it is told to end, not killed, so that it can close."""
    log = logs / f'{name}.log'
    with log.open('wb') as stream:
        process = subprocess.Popen(
            [sys.executable, '-m', 'sam_ad_perception.nodes', name, *arguments],
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
