"""Everything that a vehicle sends, for minutes: what becomes of each frame, how long it takes.

    python -m benchmarks.load [--minutes 10] [--camera-rate 30]

A 1920x1080 camera, a 640x512 thermal and a 640x480 event camera at 30 Hz and a lidar of 131072
points at 10 Hz, each a process over DDS, drive the segmentation node with the smallest network.
Every camera frame must end as a mask or as a drop with its reason; masks come in order; the memory
of the node does not grow. Beside it, in the same run: a bare rclpy node that receives the same
images and answers with masks of the same size, see `benchmarks.echo`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.vehicle import Vehicle, drive, write_smallest_network
from benchmarks.vehicle_content import SENSORS, render_content
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.core.status import without_figures as kind_of

SIZES = {'size': (1080, 1920), 'thermal_size': (512, 640), 'event_size': (480, 640)}
POINTS = 131072
LIDAR_RATE_HZ = 10.0
TARGET_MS = 40.0
ALLOWED_GROWTH = 0.02
TICKS_PER_S = os.sysconf('SC_CLK_TCK')


@dataclass(frozen=True)
class Memory:
    """What the node held at one time.

    Attributes:
        total_mb: Proportional share of all its pages, those of DDS included.
        own_mb: Pages that are its alone and belong to no file: the heap.
    """

    total_mb: float
    own_mb: float


@dataclass
class Report:
    """What was seen of one node under load.

    Attributes:
        seconds: Length of the observation.
        sent: Camera frames that were sent since the first answer.
        masks: Those that became masks.
        drops: Those that were dropped, by reason.
        lost: Those of which nothing was heard.
        disorder: Masks whose stamp was not newer than the one before.
        stages_ms: Latency of each stage, milliseconds per mask.
        own_ms: From the arrival in the node to the mask, less the network and the wait for other
            sensors.
        age_ms: From the stamp to the arrival of the mask, twice through DDS.
        rest_ms: That, less the network and the wait for other sensors.
        memory: At even times.
        cpu: Processor time of the node per time.
        problems: Errors on /diagnostics.
        leave_s: From SIGTERM, under load, to its end.
        exit_code: Of the node.
        litter: Files that it left in shared memory.
    """

    seconds: float
    sent: int = 0
    masks: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    disorder: int = 0
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    own_ms: list[float] = field(default_factory=list)
    age_ms: list[float] = field(default_factory=list)
    rest_ms: list[float] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    cpu: float = 0.0
    problems: list[str] = field(default_factory=list)
    leave_s: float = 0.0
    exit_code: int = 0
    litter: list[str] = field(default_factory=list)

    @property
    def accounted(self) -> int:
        """Frames that became a mask or a drop."""
        return self.masks + self.drops.total()

    def growth(self, name: str) -> float:
        """By how much the memory grew from the first third to the last, as a share."""
        figures = [getattr(each, name) for each in self.memory]
        third = max(len(figures) // 3, 1)
        return float(np.median(figures[-third:]) / np.median(figures[:third]) - 1)


def read_memory(pid: int) -> Memory:
    """Read what a process holds."""
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()[1:]
    kb = {name.rstrip(':'): int(value) for name, value, *_ in map(str.split, lines)}
    return Memory(kb['Pss'] / 1024, kb['Pss_Anon'] / 1024)


def read_cpu_s(pid: int) -> float:
    """Read the processor time that a process has used, seconds."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def start_sensors(vehicle: Vehicle, camera_rate: float, sensors: Iterable[str] = SENSORS) -> None:
    """Start sensors that serialize their content once."""
    for sensor in sensors:
        rate = LIDAR_RATE_HZ if sensor == 'lidar' else camera_rate
        vehicle.start(sensor, '--serialized', '--rate', str(rate))


def observe(vehicle: Vehicle, name: str, seconds: float, period_s: float) -> Report:
    """Watch a node that answers, let it leave while the sensors go on, and account for all frames.

    Args:
        vehicle: With sensors and node.
        name: Which node.
        seconds: How long.
        period_s: Between two looks at its memory.

    Returns:
        What was seen.
    """
    heard, part = vehicle.heard, vehicle.parts[name]
    heard.masks.clear()
    heard.statuses.clear()
    heard.problems.clear()
    if not vehicle.until(lambda: heard.masks, 30.0):
        raise RuntimeError(f'{name} makes no masks:\n{part.log.read_text()[-2000:]}')
    report, begin_s = Report(seconds), read_cpu_s(part.process.pid)
    for _ in range(max(round(seconds / period_s), 1)):
        vehicle.run(min(period_s, seconds))
        report.memory.append(read_memory(part.process.pid))
    report.cpu = (read_cpu_s(part.process.pid) - begin_s) / seconds
    end_ns = time.time_ns()
    vehicle.run(1.0)  # what is on its way arrives
    files = part.shared_memory()
    report.leave_s, report.exit_code = part.leave()
    report.litter = sorted(str(file) for file in files if file.exists())
    vehicle.parts['camera'].end()
    sent = map(int, (vehicle.folder / 'camera.stamps').read_text().split())
    _account(report, vehicle, [stamp for stamp in sent if stamp <= end_ns])
    return report


def _account(report: Report, vehicle: Vehicle, sent: list[int]) -> None:
    """Fill a report from what was heard."""
    heard = vehicle.heard
    first_ns = heard.masks[0][1]
    masks = {stamp: 1e3 * age for _, stamp, age in heard.masks}
    statuses = {status.stamp_ns: status for _, status in heard.statuses}
    frames = [stamp for stamp in sent if stamp >= first_ns]
    report.sent = len(frames)
    for stamp in frames:
        status = statuses.get(stamp)
        if stamp in masks:
            report.masks += 1
        elif status is not None and status.dropped is not None:
            report.drops[kind_of(status.dropped)] += 1
        else:
            report.lost += 1
    report.disorder = sum(b[1] <= a[1] for a, b in pairwise(heard.masks))
    report.age_ms = list(masks.values())
    report.problems = sorted({text for _, text in heard.problems})
    for stamp, status in statuses.items():
        if status.dropped is None and 'total' in status.latency_ms:
            _add_latency(report, status, masks.get(stamp))


def _add_latency(report: Report, status: FrameStatus, age_ms: float | None) -> None:
    latency = status.latency_ms
    for stage, ms in latency.items():
        report.stages_ms.setdefault(stage, []).append(ms)
    waited = latency['network'] + latency['wait']
    report.own_ms.append(latency['total'] - waited)
    if age_ms is not None:
        report.rest_ms.append(age_ms - waited)


def run_load(
    folder: Path, seconds: float, camera_rate: float, *, warm_up_s: float, period_s: float
) -> Report:
    """Drive the segmentation node.

    Args:
        folder: With the content.
        seconds: Length of the observation.
        camera_rate: Frames per second of camera, thermal camera and event camera.
        warm_up_s: Before it.
        period_s: Between two looks at the memory.

    Returns:
        What was seen.
    """
    with drive(folder) as vehicle:
        network = write_smallest_network(folder / 'network')
        vehicle.start('segmentation_node', '--ros-args', *network)
        vehicle.start('placement')
        start_sensors(vehicle, camera_rate)
        vehicle.await_masks(90.0)
        vehicle.run(warm_up_s)
        return observe(vehicle, 'segmentation_node', seconds, period_s)


def run_peer(folder: Path, seconds: float, camera_rate: float) -> Report:
    """Drive the bare node with the same images, and nothing else beside it."""
    with drive(folder) as vehicle:
        vehicle.start('echo')
        start_sensors(vehicle, camera_rate, ('camera',))
        vehicle.until(lambda: vehicle.heard.masks, 30.0)
        vehicle.run(1.0)
        return observe(vehicle, 'echo', seconds, seconds)


def print_report(console: Console, report: Report, peer: Report | None) -> None:
    """Print what came of the frames, the latency and the memory."""
    console.print(
        f'{report.sent} camera frames sent in {report.seconds:.0f} s: {report.masks} masks, '
        f'{report.drops.total()} dropped with a reason, {report.lost} unheard of; '
        f'{report.disorder} masks out of order'
    )
    for reason, count in report.drops.most_common():
        console.print(f'  {count} dropped: {reason}')
    for text in report.problems:
        console.print(f'  [red]{text}[/]')
    table = Table(title='latency, ms per mask')
    for name in ('', 'p50', 'p99', 'max'):
        table.add_column(name, justify='left' if not name else 'right')
    rows = dict(sorted(report.stages_ms.items(), key=lambda item: -float(np.median(item[1]))))
    rows['in the node, less network and waiting'] = report.own_ms
    rows['stamp to mask over DDS, less those'] = report.rest_ms
    rows['stamp to mask over DDS'] = report.age_ms
    if peer is not None:
        rows['peer: stamp to mask over DDS'] = peer.age_ms
    for name, values in rows.items():
        if values:
            figures = (*np.percentile(values, (50, 99)), max(values))
            table.add_row(name, *(f'{figure:.1f}' for figure in figures))
    console.print(table)
    if peer is not None:
        console.print(f'peer: {peer.sent} frames sent, {peer.masks} answered, {peer.lost} not')
    last = report.memory[-1]
    console.print(
        f'memory {last.total_mb:.0f} MB, {last.own_mb:.0f} MB of it the heap; grown by '
        f'{report.growth("total_mb"):+.1%} and {report.growth("own_mb"):+.1%} (allowed '
        f'{ALLOWED_GROWTH:.0%}); {report.cpu:.2f} processors'
    )
    console.print(
        f'left {report.leave_s:.2f} s after SIGTERM with exit code {report.exit_code}, '
        f'{len(report.litter)} files left in shared memory'
    )
    own_p99 = float(np.percentile(report.own_ms, 99))
    console.print(
        f'p99 in the node, less network and waiting: {own_p99:.1f} ms (target {TARGET_MS:.0f} ms)'
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--seconds', type=float, help='instead of minutes')
    parser.add_argument('--camera-rate', type=float, default=30.0)
    parser.add_argument('--warm-up', type=float, default=20.0, help='seconds')
    parser.add_argument('--peer-seconds', type=float, default=15.0, help='0 for none')
    options = parser.parse_args()
    seconds = options.seconds or 60 * options.minutes
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console.print('rendering ...')
        render_content(folder, frames=4, points=POINTS, **SIZES)
        rate, peer = options.camera_rate, None
        if options.peer_seconds:
            peer = run_peer(folder, options.peer_seconds, rate)
        period_s = min(10.0, seconds / 6)
        report = run_load(folder, seconds, rate, warm_up_s=options.warm_up, period_s=period_s)
    console.print(f'load of the machine: {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors')
    print_report(console, report, peer)


if __name__ == '__main__':
    main()
