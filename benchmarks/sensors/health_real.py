"""How the health checks do on real recordings with faults that others wrote.

    python -m benchmarks.sensors.health_real [--sensors camera] [--half looked_at] [--only mud]
        [--quick]

Healthy recordings (`--data`, the folder of the sample data, and `--videos`, a folder of one's own
healthy videos) suffer the faults of imagecorruptions (`pip install --no-deps imagecorruptions`),
of albumentations (the extra `faults`) and of plain array damage, at three severities; sweeps,
thermal pictures and windows of events those of plain damage and of a published model of fog. A
cell is one fault at one severity on one clip: found where at least half of its frames have a
finding after healthy frames, named where the finding is of the right kind; both again with the
fault there from the first frame. `real_faults.faults.Half` splits the faults: those `looked_at`
may be used while checks are built, the others only measure them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.real_faults.camera_recordings import user_videos
from benchmarks.real_faults.faults import SEVERITIES, Fault
from benchmarks.real_faults.recordings import Recording
from benchmarks.real_faults.scoring import Alarms, Cell, joined, score_cell, score_healthy
from benchmarks.real_faults.suites import SUITES
from benchmarks.result_files import save_results
from sam_ad_perception.core.benchmarking import write_results
from sam_ad_perception.core.sensors import Modality

QUICK_CLIPS, QUICK_FAULTY, QUICK_HEALTHY = 2, 10, 100


def fault_table(cells: Sequence[Cell]) -> Table:
    """One row per fault: how many of its cells are found, by severity."""
    table = Table(title='cells: found, found by the right cause, by severity 1 / 2 / 3')
    for name in ('sensor', 'half', 'fault'):
        table.add_column(name, no_wrap=True)
    for name in ('found', 'named', 'from the start', 'named', 'delay s', 'out', 'said'):
        table.add_column(name)
    for sensor, half, fault in dict.fromkeys((c.sensor, c.half, c.fault) for c in cells):
        these = [c for c in cells if (c.sensor, c.fault) == (sensor, fault)]
        delays = sorted(c.delay_s for c in these if c.named and c.delay_s is not None)
        said: dict[str, int] = {}
        for cell in these:
            for kind, count in cell.kinds.items():
                said[kind] = said.get(kind, 0) + count
        table.add_row(
            sensor, half, fault,
            *(_by_severity(these, name) for name in COUNTED),
            f'{delays[len(delays) // 2]:.2g}' if delays else '',
            f'{sum(c.taken_out for c in these) / len(these):.0%}',
            ', '.join(sorted(said, key=lambda kind: -said[kind])[:3]),
        )  # fmt: skip
    return table


COUNTED = ('found', 'named', 'found_from_start', 'named_from_start')


def _by_severity(cells: Sequence[Cell], name: str) -> str:
    counts = []
    for severity in SEVERITIES:
        these = [getattr(c, name) for c in cells if c.severity == severity]
        counts.append(f'{sum(these)}' if these else '-')
    return '/'.join(counts) + f' of {len(cells)}'


def sum_table(cells: Sequence[Cell]) -> Table:
    """One row per sensor and half."""
    table = Table('sensor', 'half', 'cells', 'found', 'named', 'from the start', 'named', 'out')
    for sensor, half in dict.fromkeys((c.sensor, c.half) for c in cells):
        these = [c for c in cells if (c.sensor, c.half) == (sensor, half)]
        counts = [sum(getattr(c, name) for c in these) for name in COUNTED]
        shown = [f'{count} ({count / len(these):.0%})' for count in counts]
        out = sum(c.taken_out >= 0.5 for c in these)
        table.add_row(sensor, half, str(len(these)), *shown, str(out))
    return table


def sum_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Count the cells by sensor, half of the faults and severity.

    Args:
        cells: Of any sensors.

    Returns:
        A row each, with how many of the cells are found, named, and not used for the most part.
    """
    rows = []
    for sensor, half, severity in sorted({(c.sensor, c.half, c.severity) for c in cells}):
        these = [c for c in cells if (c.sensor, c.half, c.severity) == (sensor, half, severity)]
        counts = {name: sum(getattr(c, name) for c in these) for name in COUNTED}
        out = sum(c.taken_out >= 0.5 for c in these)
        place = {'sensor': sensor, 'half': half, 'severity': severity, 'cells': len(these)}
        rows.append({**place, **counts, 'taken_out': out})
    return rows


def fault_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Count the cells by fault, over all severities and clips.

    Args:
        cells: Of any sensors.

    Returns:
        A row each, with how many of its cells are found, named, and not used for the most part.
    """
    rows = []
    for sensor, half, fault in dict.fromkeys((c.sensor, c.half, c.fault) for c in cells):
        these = [c for c in cells if (c.sensor, c.fault) == (sensor, fault)]
        place = {'sensor': sensor, 'half': half, 'fault': fault, 'cells': len(these)}
        counts = {name: sum(getattr(c, name) for c in these) for name in COUNTED}
        out = sum(c.taken_out >= 0.5 for c in these)
        rows.append({**place, **counts, 'taken_out': out})
    return rows


def alarm_table(alarms: Iterable[Alarms]) -> Table:
    """One row per data set."""
    table = Table('sensor', 'healthy', 'frames', 'alarms', 'taken out', 'alarms an hour', 'kinds')
    for each in alarms:
        rate = f'{each.alarms / each.hours:.0f}' if each.hours else ''
        kinds = ', '.join(f'{kind} {count}' for kind, count in each.kinds.items())
        table.add_row(
            each.sensor, each.data_set, str(each.frames), str(each.alarms),
            str(each.taken_out), rate, kinds,
        )  # fmt: skip
    return table


def choose(
    faults: Iterable[Fault], arguments: argparse.Namespace, console: Console
) -> list[Fault]:
    """Those that are asked for and can be made here."""
    wanted = [f for f in faults if arguments.only in f.name and arguments.half in ('', f.half)]
    absent = {f.absent: sum(o.absent == f.absent for o in wanted) for f in wanted if f.absent}
    for package, count in absent.items():
        console.print(f'{count} faults left out: {package} is not installed (see --help)')
    return [f for f in wanted if not f.absent]


def measure(
    modality: Modality, arguments: argparse.Namespace, console: Console
) -> tuple[list[Cell], list[Alarms]]:
    """Score every fault on every clip of a sensor, and its healthy recordings."""
    suite = SUITES[modality]
    clips: Sequence[Recording] = suite.clips(arguments.data)
    healthy = list(suite.healthy(arguments.data))
    if arguments.videos and modality is Modality.CAMERA:
        healthy += user_videos(arguments.videos)
    severities, most = arguments.severities, arguments.frames
    clips = clips[: arguments.clips]
    if arguments.quick:
        clips, severities, most = clips[:QUICK_CLIPS], [2], QUICK_FAULTY
    faults = choose(suite.faults(), arguments, console)
    cells = [
        score_cell(fault, severity, clip, modality, most)
        for fault in track(faults, str(modality), console=console)
        for clip in clips
        for severity in severities
    ]
    limit = QUICK_HEALTHY if arguments.quick else None
    alarms = []
    for recording in healthy if not arguments.only else []:
        alarms.append(score_healthy(recording, modality, limit))
        recording.__dict__.pop('frames', None)  # a video takes a gigabyte
    return cells, joined(alarms)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = os.environ.get('SAM_AD_TEST_DATA', '../shared/data')
    parser.add_argument('--data', type=Path, default=Path(known))
    parser.add_argument('--videos', type=Path, help='folder of healthy videos of your own')
    parser.add_argument('--sensors', nargs='*', default=[str(m) for m in SUITES])
    parser.add_argument('--half', default='', choices=['', 'looked_at', 'measured_only'])
    parser.add_argument('--only', default='', help='faults whose name contains this')
    parser.add_argument('--severities', nargs='*', type=int, default=SEVERITIES)
    parser.add_argument('--clips', type=int, help='at most so many clips of a sensor')
    parser.add_argument('--frames', type=int, help='at most so many faulty ones of a clip')
    parser.add_argument('--cells', type=Path, help='file that takes every single cell, JSON')
    parser.add_argument('--quick', action='store_true', help='two clips, one severity')
    arguments = parser.parse_args()
    console = Console(width=170)
    cells: list[Cell] = []
    alarms: list[Alarms] = []
    for sensor in arguments.sensors:
        more = measure(Modality(sensor), arguments, console)
        cells += more[0]
        alarms += more[1]
    console.print(fault_table(cells))
    console.print(alarm_table(alarms))
    console.print(sum_table(cells))
    if arguments.cells:
        write_results(arguments.cells, cells, 'python -m benchmarks.sensors.health_real')
    if not (arguments.only or arguments.quick):
        rows = [*sum_rows(cells), *(asdict(each) for each in alarms), *fault_rows(cells)]
        save_results('health_real', rows)


if __name__ == '__main__':
    main()
