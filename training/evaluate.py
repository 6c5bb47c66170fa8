"""Measure trained networks: every set of sensors, in every condition, with noise and faults.

    python -m training.evaluate mle_sam_demo simulated --conditions day,night,fog,rain
    python -m training.evaluate runs/mine simulated --subsets full --out runs/mine/figures
    python -m training.evaluate mle_sam_demo ad_sam_small simulated --routing models/routing/x.yaml

A network is named by its entry in the zoo, by the folder of its run, or by its file of weights.
Prints IoU per class and mIoU; `--out` writes a page with pictures (`index.html`), all figures
(`measurements.csv`), and those of the zoo's form (`results.yaml`). `--routing` writes the table by
which a vehicle chooses networks and sensors (`model.routing_table` of the segmentation node).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from sam_ad_perception.core.routing_table import (
    RoutingTable,
    load_routing_table,
    save_routing_table,
)
from sam_ad_perception.modeling.backends import BACKENDS, BackendConfig
from training.checkpoint import save_atomically
from training.datasets.catalog import DATASETS
from training.datasets.frames import LabelledFrame
from training.evaluation_data import SIMULATED, EvaluationData, fit_labels, open_data
from training.evaluation_files import (
    load_results,
    measured_results,
    save_measurements,
    save_results,
)
from training.evaluation_page import make_page
from training.evaluation_plan import SUBSETS, Extent, make_plan
from training.evaluation_tables import (
    TextTable,
    case_table,
    class_table,
    fault_table,
    noise_table,
    published_table,
    retention_table,
    subset_table,
)
from training.measurement import Setting, System, measure
from training.published import comparable, load_published
from training.routing_rows import SystemResult, check_same, merge_tables, routing_rows
from training.selection import TrainedNetwork, load_network
from training.sensor_faults import SELECTIONS


def evaluate(
    networks: Sequence[TrainedNetwork],
    data: EvaluationData,
    plan: Sequence[tuple[System, Sequence[Setting]]],
    console: Console,
) -> list[SystemResult]:
    """Measure, with progress.

    Args:
        networks: The networks of the plan.
        data: The data set.
        plan: See `make_plan`.
        console: Where progress is shown.

    Returns:
        One result per system of the plan.
    """
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn('left'), TimeRemainingColumn())
    with Progress(*columns, *times, console=console) as bar:
        task = bar.add_task('frames', total=len(data))
        reached = measure(_tell(data, console), plan, data.space, bar, task)
    known = {network.spec.key: network for network in networks}
    results = []
    for (system, _), scores in zip(plan, reached, strict=True):
        network = known.get(system.key)
        facts = (network.parameters, network.sha256) if network else (0, '')
        results.append(SystemResult(system.key, scores, *facts))
    return results


def _tell(data: EvaluationData, console: Console) -> Iterator[LabelledFrame]:
    """Read the frames; where no progress bar can be seen, print a line now and then."""
    start, step = time.monotonic(), max(1, len(data) // 20)
    for number, frame in enumerate(data):
        if number and number % step == 0 and not console.is_terminal:
            minutes = (time.monotonic() - start) / 60
            left = minutes * (len(data) / number - 1)
            console.print(f'{number} of {len(data)} frames, {minutes:.1f} min, {left:.1f} left')
        yield frame


def make_tables(
    results: Sequence[SystemResult], data: EvaluationData, source: Path | None
) -> list[TextTable]:
    """Lay measurements out.

    Args:
        results: The measurements.
        data: The data set.
        source: Folder of an earlier evaluation on the data that the networks were trained for.

    Returns:
        Tables for terminal and page.

    Raises:
        ValueError: The earlier evaluation's figures cannot be read.
        OSError: Likewise.
    """
    tables: list[TextTable | None] = []
    for result in results:
        tables += [class_table(result, data.space), subset_table(result)]
        tables += [noise_table(result), case_table(result)]
    tables.append(fault_table(results))
    if source is not None:
        there = load_results(source)
        for result in results:
            own = measured_results(result, data.name, (0, 0))
            before = {row.subset: row.miou for row in there.get(result.key, ())}
            if own and before:
                here = {row.subset: row.miou for row in own}
                tables.append(retention_table(result.key, here, before))
    name = data.name.removesuffix('_projected')
    rows = comparable(load_published(), name, data.split, len(data.space))
    if rows:
        ours = {
            f'{r.key} on {" + ".join(s.subset)}': score
            for r in results
            for s, score in r.scores.items()
            if s.plain
        }
        where = f'{data.name} {data.split}, {len(data.space)} classes'
        tables.append(published_table(rows, ours, where))
    return [table for table in tables if table is not None]


def make_routing_table(
    results: Sequence[SystemResult], data: EvaluationData, size: tuple[int, int], command: str
) -> RoutingTable:
    """Make what the router reads.

    Args:
        results: The measurements; those of vehicles are left out.
        data: The data set.
        size: Mask size `(H, W)`, pixels.
        command: What made them.

    Returns:
        The table.
    """
    rows = tuple(row for result in results for row in routing_rows(result))
    return RoutingTable(data.name, data.split, data.space.name, size, rows, command)


def save_all(
    results: Sequence[SystemResult],
    data: EvaluationData,
    tables: Sequence[TextTable],
    command: str,
    folder: Path,
) -> None:
    """Write page, long table and the zoo's figures.

    Args:
        results: The measurements.
        data: The data set.
        tables: What the page shows as text.
        command: What made them.
        folder: Where; it is made.

    Raises:
        OSError: A file cannot be written.
    """
    save_results(results, f'{data.name}, {data.split}', data.size, folder)
    save_measurements(results, data.space, folder)
    facts = {
        'data': f'{data.name}, {data.split}',
        'classes': f'{data.space.name}, {len(data.space)}',
        'mask': f'{data.size[1]} x {data.size[0]}',
        'command': command,
    }
    for result in results:
        if result.sha256:
            facts[result.key] = f'{result.parameters:,} parameters, sha256 {result.sha256}'
    page = make_page('Evaluation', facts, results, tables, data.space)
    save_atomically(page.encode(), folder / 'index.html')


def show(table: TextTable, console: Console) -> None:
    """Print a table.

    Args:
        table: The table.
        console: Where.
    """
    shown = Table(title=table.title, caption=table.note or None)
    for index, name in enumerate(table.columns):
        shown.add_column(name, justify='right' if index else 'left', no_wrap=not index)
    for row in table.rows:
        shown.add_row(*row, style='bold' if row[0].startswith('mean') else '')
    console.print(shown)


def main() -> None:
    """Run from the command line."""
    parser = _make_parser()
    arguments = parser.parse_args()
    named = arguments.networks[-1] in (SIMULATED, *DATASETS) and len(arguments.networks) > 1
    if arguments.dataset is None and named:
        arguments.dataset = arguments.networks.pop()
    console = Console()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    extent = Extent(arguments.subsets, arguments.noise, arguments.faults)
    command = shlex.join(['python', '-m', 'training.evaluate', *sys.argv[1:]])
    try:
        networks = [
            load_network(name, arguments.zoo, arguments.checkpoints, arguments.entry)
            for name in arguments.networks
        ]
        data = open_data(
            arguments.dataset or SIMULATED,
            root=arguments.root,
            split=arguments.split,
            partial=arguments.partial,
            frames=arguments.frames,
            conditions=arguments.conditions,
        )
        data = fit_labels(data, [network.spec.labels for network in networks])
        table = load_routing_table(arguments.router) if arguments.router else None
        plan = make_plan(
            networks,
            data,
            extent,
            table=table,
            device=arguments.device,
            backend=BackendConfig(arguments.backend),
        )
        before = [load_routing_table(arguments.routing)] if _exists(arguments.routing) else []
        if before:  # tell that they cannot be compared before the work, not after it
            check_same(before[0], RoutingTable(data.name, data.split, data.space.name,
                                               data.size, before[0].rows))  # fmt: skip
    except (ValueError, OSError) as error:
        parser.error(str(error))
    results = evaluate(networks, data, plan, console)
    tables = make_tables(results, data, arguments.source)
    for each in tables:
        show(each, console)
    if arguments.out:
        save_all(results, data, tables, command, arguments.out)
    if arguments.routing:
        made = make_routing_table(results, data, data.size, command)
        save_routing_table(merge_tables([*before, made]), arguments.routing)


def _exists(path: Path | None) -> bool:
    return path is not None and path.exists()


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog='python -m training.evaluate',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'networks', nargs='+', metavar='network', help='entry of the zoo, run, or file of weights'
    )
    parser.add_argument(
        'dataset',
        nargs='?',
        help=f'{SIMULATED} where none is named, or one of {", ".join(DATASETS)}',
    )
    parser.add_argument('--root', type=Path, help='folder of the data set')
    parser.add_argument('--split', default='val')
    parser.add_argument('--partial', action='store_true', help='less than was published will do')
    parser.add_argument('--zoo', type=Path, default=Path('models/zoo.yaml'))
    parser.add_argument('--checkpoints', type=Path, default=Path('models/checkpoints'))
    parser.add_argument('--entry', default='', help='entry of weights that do not tell it')
    parser.add_argument('--frames', type=int, default=0, help='simulated: in each condition')
    parser.add_argument(
        '--conditions',
        type=lambda text: text.split(','),
        default=['day'],
        metavar='NAME,NAME',
        help='light and weather of simulated drives, such as day,night,fog,night+rain',
    )
    parser.add_argument('--subsets', choices=SUBSETS, default='standard')
    parser.add_argument('--noise', action='store_true', help='also with noise on each sensor')
    parser.add_argument('--faults', choices=SELECTIONS, default='none')
    parser.add_argument('--router', type=Path, help='also measure a vehicle with this table')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--backend', default='torch', choices=BACKENDS, help='runs the networks')
    parser.add_argument('--threads', type=int, default=0, help='with 1, latency is CPU time')
    parser.add_argument('--source', type=Path, help='--out of a run on the training domain')
    parser.add_argument('--out', type=Path, help='folder for page and figures')
    parser.add_argument('--routing', type=Path, help='routing table to write, or to add to')
    return parser


if __name__ == '__main__':
    main()
