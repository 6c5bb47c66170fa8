"""Measure all that is claimed of the networks that are committed, and hold it against the targets.

    python -m training.evidence
    python -m training.evidence mle_sam_demo runs/mine --frames 8 --fault-frames 2

Simulated drives that no training has seen, equally many frames by day, by night, in fog and in
rain; `mix` is one confusion matrix over all of them, of the classes that occur. Measured are every
network on every set of sensors, with noise and every fault on one sensor, by itself and behind the
vehicle's health checks, and the routed vehicle: all networks, health checks and router together.

The router's table is made on the first half of the frames (seeds 0-49), the vehicle that goes by
it is judged on the other half (seeds 50-99). Faults come upon it after healthy frames.

Writes the router's table, all figures, and the tables of docs/results.md and
docs/reference/models.md, which `python -m tools.documentation` puts there.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sam_ad_perception.core.routing.table import RoutingTable, save_routing_table
from sam_ad_perception.modeling.zoo.entries import load_zoo
from sam_ad_perception.simulation.street.scene import SCENES, STREET
from training.evaluation.data import HeldBackDrives
from training.evaluation.presentation.outcome import show
from training.evaluation.presentation.tables import TextTable
from training.evaluation.routing_rows import SystemResult, routing_rows
from training.evidence_report.bench import (
    DRIVEN,
    FAULTS,
    JUDGED,
    SUBSETS,
    Bench,
    Job,
    Measure,
    NetworkFacts,
    Scores,
    Task,
    merge_scores,
    open_bench,
)
from training.evidence_report.tables import (
    as_records,
    driven_table,
    fault_figures,
    markdown,
    network_table,
    noise_figures,
    sensor_table,
    target_table,
)
from training.evidence_report.targets import (
    Comparison,
    Evidence,
    Target,
    compare_all,
    hold_targets,
)
from training.networks.checkpoint import save_atomically

CONDITIONS = ('day', 'night', 'fog', 'rain')
ROUTING_SEEDS, JUDGED_SEEDS = range(50), range(50, 100)


def run_tasks(
    measure: Measure, tasks: Sequence[Task], title: str, console: Console
) -> dict[str, Scores]:
    """Measure frames, with progress.

    Args:
        measure: See `open_bench`.
        tasks: The frames.
        title: What is shown beside the bar.
        console: Where.

    Returns:
        Scores of all frames, by part.
    """
    total: dict[str, Scores] = {}
    start, step = time.monotonic(), max(1, len(tasks) // 20)
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn('left'), TimeRemainingColumn())
    with Progress(*columns, *times, console=console, disable=not console.is_terminal) as bar:
        row = bar.add_task(title, total=len(tasks))
        for done, parts in enumerate(measure(tasks), 1):
            for part, scores in parts.items():
                merge_scores(total.setdefault(part, {}), scores)
            bar.advance(row)
            if not console.is_terminal and done % step == 0:
                minutes = (time.monotonic() - start) / 60
                console.print(f'{title}: {done} of {len(tasks)} frames, {minutes:.1f} min')
    return total


def measure_all(
    measure: Measure,
    facts: Sequence[NetworkFacts],
    halves: tuple[HeldBackDrives, HeldBackDrives],
    fault_frames: int,
    command: str,
    console: Console,
) -> tuple[dict[str, Scores], RoutingTable]:
    """Measure: networks, then the router's table, then the vehicle that goes by it.

    Args:
        measure: See `open_bench`.
        facts: The networks.
        halves: Frames for the table, and frames on which it is judged.
        fault_frames: Frames in each condition of the second half that also get noise and faults.
        command: What is noted in the table.
        console: Where progress is shown.

    Returns:
        Scores by part, and the table.
    """
    first, second = halves
    tasks = [Task(first, index, (SUBSETS,)) for index in range(len(first))]
    parts = run_tasks(measure, tasks, 'for the router', console)
    reached = parts[SUBSETS]
    rows = [
        row
        for each in facts
        for row in routing_rows(SystemResult(each.key, reached[each.key], sha256=each.sha256))
    ]
    table = RoutingTable(
        first.name, first.split, first.space.name, first.size, tuple(rows), command
    )
    faulty = fault_frames * len(second.conditions)
    tasks = [
        Task(second, i, (SUBSETS, DRIVEN, *((FAULTS,) if i < faulty else ())), table)
        for i in range(len(second))
    ]
    judged = run_tasks(measure, tasks, 'judged', console)
    parts[JUDGED] = judged[SUBSETS]
    for part, scores in judged.items():
        merge_scores(parts.setdefault(part, {}), scores)
    return parts, table


def make_tables(
    evidence: Evidence, comparisons: Sequence[Comparison], targets: Sequence[Target]
) -> tuple[list[TextTable], list[TextTable]]:
    """Lay the evidence out.

    Args:
        evidence: The measurements.
        comparisons: See `compare_all`.
        targets: See `hold_targets`.

    Returns:
        What docs/results.md shows, and the details.
    """
    full = [sensor_table(evidence, f) for f in evidence.networks if f.key == evidence.full]
    others = [sensor_table(evidence, f) for f in evidence.networks if f.key != evidence.full]
    noise = [noise_figures(evidence, facts) for facts in evidence.networks]
    front = [target_table(targets), network_table(evidence), *full, driven_table(comparisons)]
    details = [*others, *noise, fault_figures(evidence, comparisons)]
    return [t for t in front if t and t.rows], [t for t in details if t]


def trained_entries(zoo: Path, checkpoints: Path) -> list[str]:
    """Entries of the zoo whose weights are there."""
    found = load_zoo(zoo).items()
    return [
        key
        for key, spec in found
        if spec.checkpoint.file and (checkpoints / spec.checkpoint.file).is_file()
    ]


def save_tables(text: str, tables: Iterable[TextTable], path: Path) -> None:
    """Write tables as Markdown.

    Args:
        text: Stands before them.
        tables: The tables.
        path: The file.

    Raises:
        OSError: It cannot be written.
    """
    parts = [text + '\n', *map(markdown, tables)]
    save_atomically('\n'.join(part for part in parts if part.strip()).encode(), path)


def main() -> None:
    """Run from the command line."""
    # Networks, and the frames: one half makes the router's table, the other judges by it.
    parser = _make_parser()
    options = parser.parse_args()
    console, start = make_console(), time.monotonic()
    command = shlex.join(['python', '-m', 'training.evidence', *sys.argv[1:]])
    try:
        names = options.networks or trained_entries(options.zoo, options.checkpoints)
        job = Job(tuple(names), options.zoo, options.checkpoints)
        facts = Bench(job).facts
        half = options.frames // 2
        first, second = (
            HeldBackDrives(count, options.conditions, seeds, options.scene)
            for count, seeds in ((half, ROUTING_SEEDS), (options.frames - half, JUDGED_SEEDS))
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
    # Measure, then compare with the targets.
    with open_bench(job, options.workers) as measure:
        parts, table = measure_all(
            measure, facts, (first, second), options.fault_frames, command, console
        )
    evidence = Evidence(
        facts, first.sensors, options.conditions, parts, options.full, options.fast
    )
    comparisons = compare_all(evidence)
    targets = hold_targets(evidence, comparisons)
    front, details = make_tables(evidence, comparisons, targets)
    for each in (*front, *details):
        show(each, console)
    # What is written, with how it was made.
    minutes = (time.monotonic() - start) / 60
    text = (
        f'`{command}` ({minutes:.0f} minutes with {options.workers} processes): '
        f'{options.frames} held-back frames each of {", ".join(options.conditions)}, '
        f'{min(options.fault_frames, len(second))} of them with noise and faults; '
        'mIoU over the classes that occur. The router and what is judged by it have seen '
        'different halves of them.'
    )
    records = {
        'command': command,
        'minutes': round(minutes, 1),
        'frames': [first.split, second.split],
        **as_records(evidence, comparisons, targets),
    }
    save_routing_table(table, options.routing)
    options.out.mkdir(parents=True, exist_ok=True)
    made = json.dumps(records, indent=1) + '\n'
    save_atomically(made.encode(), options.out / 'simulated.json')
    save_tables(text, front, options.out / 'simulated.md')
    save_tables(text, details, options.out / 'simulated_details.md')
    console.print(f'wrote {options.routing} and {options.out}/simulated*', soft_wrap=True)


def make_console() -> Console:
    """The terminal, or a file wide enough for the tables."""
    return Console(width=None if sys.stdout.isatty() else 180)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog='python -m training.evidence',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'networks',
        nargs='*',
        metavar='network',
        help='entry of the zoo, run, or file of weights; default: all entries with weights',
    )
    add_frame_options(parser)
    parser.add_argument(
        '--fault-frames', type=int, default=8, help='in each condition, default: %(default)s'
    )
    parser.add_argument('--full', default='mle_sam_demo', help='entry that most targets are for')
    parser.add_argument('--fast', default='mle_sam_fast', help='entry of the fast network')
    parser.add_argument('--routing', type=Path, default=Path('models/routing/simulated.yaml'))
    return parser


def add_frame_options(parser: argparse.ArgumentParser) -> None:
    """Adds what says which frames are measured, and where figures go."""
    parser.add_argument('--zoo', type=Path, default=Path('models/zoo.yaml'))
    parser.add_argument('--checkpoints', type=Path, default=Path('models/checkpoints'))
    parser.add_argument(
        '--frames', type=int, default=40, help='in each condition, default: %(default)s'
    )
    parser.add_argument(
        '--conditions',
        type=lambda text: tuple(text.split(',')),
        default=CONDITIONS,
        metavar='NAME,NAME',
        help=f'light and weather, default: {",".join(CONDITIONS)}',
    )
    parser.add_argument('--scene', choices=SCENES, default=STREET)
    parser.add_argument(
        '--workers', type=int, default=len(os.sched_getaffinity(0)), help='processes'
    )
    parser.add_argument('--out', type=Path, default=Path('benchmarks/results'))


if __name__ == '__main__':
    main()
