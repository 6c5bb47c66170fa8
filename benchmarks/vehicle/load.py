"""Everything that a vehicle sends, for minutes: what becomes of each frame, how long it takes.

    python -m benchmarks.vehicle.load [--seconds 600] [--camera-rate 30]
    python -m benchmarks.vehicle.load --pictures --seconds 60 --camera-rate 5

A 1920x1080 camera, a 640x512 thermal and a 640x480 event camera at 30 Hz and a lidar of 131072
points at 10 Hz, each a process over DDS, drive the segmentation node with the smallest network.
Every camera frame must end as a mask, as a drop with its reason, or as one that the node counted
as lost in DDS; masks come in order; the memory of the node does not grow. Beside it, in the same
run: a bare rclpy node that receives the same images and answers with masks of the same size, see
`benchmarks.vehicle.echo`. At 10 Hz (`--camera-rate 10`) the two compare without waiting for a
processor.

`--pictures` measures something else: the processor time per overlay of the 1920x1080 camera alone,
with a visualization node beside the segmentation node, and inside of it.
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
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.result_files import compare, save_results
from benchmarks.vehicle.content import SENSORS, render_content
from benchmarks.vehicle.processes import Vehicle, drive, write_smallest_network
from sam_ad_perception.core.status import FrameStatus
from sam_ad_perception.core.status import without_figures as kind_of

SIZES = {'size': (1080, 1920), 'thermal_size': (512, 640), 'event_size': (480, 640)}
POINTS = 131072
FEW_POINTS = 1024
"""Where no lidar is started."""
CAMERA_RATE_HZ, LIDAR_RATE_HZ = 30.0, 10.0
TARGET_MS = 40.0
ALLOWED_GROWTH = 0.02
PICTURES_FIRST = 5
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
        sent: Camera frames that were sent between two looks at /diagnostics.
        masks: Those that became masks.
        drops: Those that were dropped, by reason.
        unheard: Those of which nothing was heard.
        lost: Camera frames that the node itself counted as lost on the way meanwhile.
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
    unheard: int = 0
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
    def unaccounted(self) -> int:
        """Frames of which nobody says what became; one on its way at either look may be one."""
        return self.unheard - self.lost

    def growth(self, name: str) -> float:
        """By how much the memory grew, as a share: the line of least squares through all looks."""
        figures = np.array([getattr(each, name) for each in self.memory])
        if len(figures) < 2:
            return 0.0
        slope, start = np.polyfit(np.linspace(0, 1, len(figures)), figures, 1)
        return float(slope / start)


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
    heard.lost.clear()
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
    first_ns, last_ns = heard.masks[0][1], sent[-1]
    looks = [look for look in heard.lost if look[0] <= last_ns]
    if len(looks) > 1:
        (first_ns, lost_before), (last_ns, lost) = looks[0], looks[-1]
        report.lost = lost - lost_before
    masks = {stamp: 1e3 * age for _, stamp, age in heard.masks}
    statuses = {status.stamp_ns: status for _, status in heard.statuses}
    frames = [stamp for stamp in sent if first_ns <= stamp <= last_ns]
    report.sent = len(frames)
    for stamp in frames:
        status = statuses.get(stamp)
        if stamp in masks:
            report.masks += 1
        elif status is not None and status.dropped is not None:
            report.drops[kind_of(status.dropped)] += 1
        else:
            report.unheard += 1
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
        vehicle.await_masks(300.0)
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


def run_pictures(
    folder: Path, seconds: float, camera_rate: float, *, inside: bool
) -> tuple[float, int]:
    """Let somebody look at the overlay.

    Args:
        folder: With the content.
        seconds: Length of the observation.
        camera_rate: Frames per second of the camera.
        inside: Whether the segmentation node makes the overlay, or a node beside it.

    Returns:
        Processor milliseconds of all nodes per overlay, and the number of overlays.
    """
    with drive(folder) as vehicle:
        network = write_smallest_network(folder / 'network')
        told = ('-p', f'visualization.enabled:={str(inside).lower()}', '-p', 'max_mask_age_s:=0.0')
        nodes = [vehicle.start('segmentation_node', '--ros-args', *network, *told)]
        if not inside:
            nodes.append(vehicle.start('visualization_node'))
        overlays = vehicle.listen('semantic/overlay')
        vehicle.start('placement')
        start_sensors(vehicle, camera_rate, ('camera',))
        if not vehicle.until(lambda: len(overlays) > PICTURES_FIRST, 600.0):
            raise RuntimeError(f'no overlays:\n{nodes[0].log.read_text()[-2000:]}')
        before_s, count = sum(read_cpu_s(each.process.pid) for each in nodes), len(overlays)
        vehicle.run(seconds)
        spent_s = sum(read_cpu_s(each.process.pid) for each in nodes) - before_s
        made = len(overlays) - count
        return 1e3 * spent_s / max(made, 1), made


def compare_pictures(console: Console, folder: Path, seconds: float, camera_rate: float) -> None:
    """Measure both ways, one after the other, print and save."""
    ways = {'inside': True, 'beside': False}
    found = {}
    for way, inside in ways.items():
        found[way] = cpu_ms, count = run_pictures(folder, seconds, camera_rate, inside=inside)
        console.print(f'visualization {way}: {cpu_ms:.1f} ms of processor time, {count} overlays')
    (ours, _), (theirs, _) = found['inside'], found['beside']
    what = 'segmentation and visualization, per 1080p overlay'
    save_results('pictures', [compare(what, 'ms', ours, 'as two nodes', theirs)])


def print_report(console: Console, report: Report, peer: Report | None) -> None:
    """Print what came of the frames, the latency and the memory."""
    balance = Table(title=f'camera frames of {report.seconds:.0f} s', show_header=False)
    balance.add_column()
    balance.add_column(justify='right')
    balance.add_row('sent', str(report.sent))
    balance.add_row('became masks', str(report.masks))
    for reason, count in report.drops.most_common():
        balance.add_row(f'dropped: {reason}', str(count))
    balance.add_row('lost in DDS, counted by the node', str(report.lost))
    balance.add_row('unaccounted', str(report.unaccounted))
    balance.add_row('masks out of order', str(report.disorder))
    console.print(balance)
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
        console.print(f'peer: {peer.sent} frames sent, {peer.masks} answered, {peer.unheard} not')
    last = report.memory[-1]
    console.print(
        f'memory {last.total_mb:.0f} MB, {last.own_mb:.0f} MB of it the heap; after the warm-up '
        f'grown by {report.growth("total_mb"):+.1%} and {report.growth("own_mb"):+.1%} (line '
        f'through {len(report.memory)} looks, allowed {ALLOWED_GROWTH:.0%}); '
        f'{report.cpu:.2f} processors'
    )
    console.print(
        f'left {report.leave_s:.2f} s after SIGTERM with exit code {report.exit_code}, '
        f'{len(report.litter)} files left in shared memory'
    )
    own_p99 = float(np.percentile(report.own_ms, 99))
    console.print(
        f'p99 in the node, less network and waiting: {own_p99:.1f} ms (target {TARGET_MS:.0f} ms)'
    )


def rows_of(report: Report, peer: Report | None) -> list[dict[str, Any]]:
    """The figures of a run as rows of a table of results."""
    counts = {
        'frames sent': report.sent,
        'masks': report.masks,
        **{f'dropped: {reason}': count for reason, count in report.drops.most_common()},
        'lost in DDS, counted by the node': report.lost,
        'unaccounted': report.unaccounted,
        'masks out of order': report.disorder,
    }
    rows = [compare(what, 'frames', count) for what, count in counts.items()]
    times = {**report.stages_ms, 'in the node, less network and waiting': report.own_ms}
    for percent in (50, 99):
        rows += [
            compare(f'{what}, p{percent}', 'ms', float(np.percentile(values, percent)))
            for what, values in times.items()
        ]
        what = f'stamp to mask, less network and waiting, p{percent}'
        ours = float(np.percentile(report.rest_ms, percent))
        if peer is None:
            rows.append(compare(what, 'ms', ours))
        else:
            theirs = float(np.percentile(peer.age_ms, percent))
            rows.append(compare(what, 'ms', ours, 'bare rclpy echo', theirs))
    return [
        *rows,
        compare('observed', 's', report.seconds),
        compare('memory', 'MB', report.memory[-1].total_mb),
        compare('growth of memory after the warm-up', '%', 100 * report.growth('total_mb')),
        compare('growth of the heap after the warm-up', '%', 100 * report.growth('own_mb')),
        compare('processors', 'cores', report.cpu),
        compare('processor time per frame', 'ms', 1e3 * report.cpu * report.seconds / report.sent),
        compare('SIGTERM to end', 's', report.leave_s),
    ]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=600.0)
    parser.add_argument('--camera-rate', type=float, default=CAMERA_RATE_HZ)
    parser.add_argument('--warm-up', type=float, default=60.0, help='seconds')
    parser.add_argument('--peer-seconds', type=float, default=15.0, help='0 for none')
    parser.add_argument('--pictures', action='store_true', help='cost of the overlay, both ways')
    options = parser.parse_args()
    seconds = options.seconds
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console.print('rendering ...')
        points = FEW_POINTS if options.pictures else POINTS
        render_content(folder, frames=4, points=points, **SIZES)
        rate, peer = options.camera_rate, None
        if options.pictures:
            compare_pictures(console, folder, seconds, rate)
            return
        if options.peer_seconds:
            peer = run_peer(folder, options.peer_seconds, rate)
        period_s = min(5.0, seconds / 6)
        report = run_load(folder, seconds, rate, warm_up_s=options.warm_up, period_s=period_s)
    console.print(f'load of the machine: {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors')
    print_report(console, report, peer)
    save_results('load' if rate == CAMERA_RATE_HZ else f'load_{rate:g}_hz', rows_of(report, peer))


if __name__ == '__main__':
    main()
