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
import dataclasses
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

from sam_ad_perception.core.console.command_line import (
    CommandParser,
    checked,
    describe_error,
    existing_file,
    existing_folder,
    whole_number,
)
from sam_ad_perception.core.console.outputs import new_file, new_folder
from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from sam_ad_perception.core.routing.table import (
    RoutingTable,
    load_routing_table,
    save_routing_table,
)
from sam_ad_perception.modeling.devices import check_device
from sam_ad_perception.modeling.runtimes.backends import BACKENDS, BackendConfig
from sam_ad_perception.modeling.zoo.files import zoo_files
from training.configuration.fault_cases import SELECTIONS
from training.datasets.catalog import FOLDERS, dataset_names
from training.evaluation.data import (
    SIMULATED,
    EvaluationData,
    LabelledSplit,
    fit_labels,
    open_data,
)
from training.evaluation.files import (
    load_results,
    measured_results,
    save_measurements,
    save_results,
)
from training.evaluation.measurement import Setting, System, measure
from training.evaluation.plan import SUBSETS, Extent, make_plan
from training.evaluation.presentation.page import make_page
from training.evaluation.presentation.published import comparable, load_published
from training.evaluation.presentation.tables import (
    TextTable,
    case_table,
    class_table,
    fault_table,
    noise_table,
    published_table,
    retention_table,
    stability_table,
    subset_table,
    trust_table,
)
from training.evaluation.routing_rows import SystemResult, check_same, merge_tables, routing_rows
from training.evaluation.selection import TrainedNetwork, load_network
from training.evaluation.sequence import SequenceFollower
from training.evaluation.systems import TIMED_FRAMES
from training.frames.frame import LabelledFrame
from training.frames.summary import show_splits
from training.networks.checkpoint import save_atomically
from training.own_data import is_data_file


def evaluate(
    networks: Sequence[TrainedNetwork],
    data: EvaluationData,
    plan: Sequence[tuple[System, Sequence[Setting]]],
    console: Console,
    follower: SequenceFollower | None = None,
) -> list[SystemResult]:
    """Measure, with progress.

    Args:
        networks: The networks of the plan.
        data: The data set.
        plan: See `make_plan`.
        console: Where progress is shown.
        follower: Where given, the frames follow each other.

    Returns:
        One result per system of the plan.
    """
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn('left'), TimeRemainingColumn())
    with Progress(*columns, *times, console=console) as bar:
        task = bar.add_task('frames', total=len(data))
        reached = measure(_tell(data, console), plan, data.space, bar, task, follower)
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
    results: Sequence[SystemResult],
    data: EvaluationData,
    source: Path | None,
    follower: SequenceFollower | None = None,
) -> list[TextTable]:
    """Lay measurements out.

    Args:
        results: The measurements.
        data: The data set.
        source: Folder of an earlier evaluation on the data that the networks were trained for.
        follower: What watched frames that follow each other; None where they do not.

    Returns:
        Tables for terminal and page.

    Raises:
        ValueError: The earlier evaluation's figures cannot be read.
        OSError: Likewise.
    """
    tables: list[TextTable | None] = []
    for result in results:
        tables += [class_table(result, data.space), subset_table(result)]
        tables += [noise_table(result), case_table(result), trust_table(result)]
    tables.append(fault_table(results))
    if follower is not None:
        tables.append(stability_table(results, follower.truth))
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
    own = own_classes(data.space)
    return RoutingTable(data.name, data.split, data.space.name, size, rows, command, own)


def own_classes(space: LabelSpace) -> tuple[str, ...]:
    """Names of the classes of a label space that is not built in; none of one that is."""
    return () if space in LABEL_SPACES.values() else space.names


def save_all(
    results: Sequence[SystemResult],
    data: EvaluationData,
    tables: Sequence[TextTable],
    command: str,
    folder: Path,
    damaged: Sequence[str] = (),
) -> None:
    """Write page, long table and the zoo's figures.

    Args:
        results: The measurements.
        data: The data set.
        tables: What the page shows as text.
        command: What made them.
        folder: Where; it is made.
        damaged: Frames that could not be read.

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
    if damaged:
        facts['left out'] = f'{len(damaged)} frames that cannot be read, first {damaged[0]}'
    for result in results:
        if result.sha256:
            facts[result.key] = f'{result.parameters:,} parameters, sha256 {result.sha256}'
    page = make_page('Evaluation', facts, results, tables, data.space)
    save_atomically(page.encode(), folder / 'index.html')


def timed(table: TextTable, device: str) -> TextTable:
    """Say beside a column of milliseconds what they are of.

    Args:
        table: Any table.
        device: Where the networks ran.

    Returns:
        The table, with a note where it has such a column.
    """
    if 'ms' not in table.columns:
        return table
    threads = '' if device.startswith('cuda') else f' with {torch.get_num_threads()} threads'
    text = (
        f'ms: median time of the network for a frame at its own input size, on {device}{threads},'
        f' over the first {TIMED_FRAMES} frames, without reading and preparing.'
    )
    return dataclasses.replace(table, note=f'{table.note} {text}'.strip())


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


def main(argv: Sequence[str] | None = None, prog: str = 'python -m training.evaluate') -> None:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.
        prog: What the user called it by.
    """
    parser = _make_parser(prog)
    arguments = parser.parse_args(argv)
    _, arguments.checkpoints = zoo_files(arguments.zoo or '', arguments.checkpoints or '')
    last = Path(arguments.dataset or arguments.networks[-1]).expanduser()
    if is_data_file(last) and (arguments.dataset or len(arguments.networks) > 1):
        if not arguments.dataset:
            arguments.networks.pop()
        arguments.dataset, arguments.root = FOLDERS, last
    named = arguments.networks[-1] in (SIMULATED, *dataset_names()) and len(arguments.networks) > 1
    if arguments.dataset is None and named:
        arguments.dataset = arguments.networks.pop()
    console = Console()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    extent = Extent(arguments.subsets, arguments.noise, arguments.faults)
    command = shlex.join(
        ['python', '-m', 'training.evaluate', *(sys.argv[1:] if argv is None else argv)]
    )
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
            label_space=arguments.label_space,
            calibration=arguments.calibration,
        )
        if isinstance(data, LabelledSplit):
            show_splits([data.findings], data.space, console)
        data = fit_labels(data, [network.spec.labels for network in networks])
        table = load_routing_table(arguments.router) if arguments.router else None
        plan = make_plan(
            networks,
            data,
            extent,
            table=table,
            device=arguments.device,
            backend=BackendConfig(arguments.backend, half=arguments.half),
        )
        before = [load_routing_table(arguments.routing)] if _exists(arguments.routing) else []
        if before:  # tell that they cannot be compared before the work, not after it
            check_same(before[0], RoutingTable(data.name, data.split, data.space.name,
                                               data.size, before[0].rows,
                                               classes=own_classes(data.space)))  # fmt: skip
    except (ValueError, OSError) as error:
        told = describe_error(error)
        last = arguments.networks[-1]
        if repr(last) in told and 'did you mean' not in told:
            told += did_you_mean(last, dataset_names())
        parser.error(told)
    follower = SequenceFollower(data.space) if arguments.consecutive else None
    results = evaluate(networks, data, plan, console, follower)
    damaged = sorted(set(getattr(data, 'damaged', ())))
    if not any(score.frames for result in results for score in result.scores.values()):
        parser.error(
            f'no frame could be read, first: {damaged[0] if damaged else "there is none"}'
        )
    made = make_tables(results, data, arguments.source, follower)
    tables = [timed(table, arguments.device) for table in made]
    for each in tables:
        show(each, console)
    for text in damaged:
        console.print(f'left out: {text}', markup=False, soft_wrap=True)
    if arguments.out:
        save_all(results, data, tables, command, arguments.out, damaged)
    if arguments.routing:
        rows = make_routing_table(results, data, data.size, command)
        save_routing_table(merge_tables([*before, rows]), arguments.routing)


def _exists(path: Path | None) -> bool:
    return path is not None and path.exists()


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog,
        __doc__,
        examples=(
            'sam_ad evaluate mle_sam_demo --conditions day,night+rain',
            'sam_ad evaluate runs/mine mfnet --root data/mfnet --out results',
        ),
        raw=True,
    )
    parser.add_argument(
        'networks', nargs='+', metavar='network', help='entry of the zoo, run, or file of weights'
    )
    parser.add_argument(
        'dataset',
        nargs='?',
        help=f'{SIMULATED} where none is named, or one of {", ".join(dataset_names())}',
    )
    parser.add_argument(
        '--root', type=existing_folder('the folder of the data set'), help='folder of the data set'
    )
    parser.add_argument('--split', default='val')
    parser.add_argument(
        '--label-space', default='', help='of recordings that do not say what their labels mean'
    )
    parser.add_argument(
        '--calibration',
        type=existing_file('config/extrinsics.example.yaml shows what it holds'),
        help='of recordings: transforms and cameras that they lack',
    )
    parser.add_argument('--partial', action='store_true', help='less than was published will do')
    parser.add_argument('--zoo', type=Path, help="default: that of a run, else the package's")
    parser.add_argument(
        '--checkpoints', type=Path, help='default: those of the package, or beside --zoo'
    )
    parser.add_argument('--entry', default='', help='entry of weights that do not tell it')
    parser.add_argument(
        '--frames', type=whole_number(0), default=0, help='simulated: in each condition'
    )
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
    parser.add_argument(
        '--consecutive',
        action='store_true',
        help='the frames follow each other: tell also how steady the masks are',
    )
    parser.add_argument(
        '--router',
        type=existing_file('--routing writes one'),
        help='also measure a vehicle with this table',
    )
    parser.add_argument(
        '--device', default='cpu', type=checked(_device), help='cpu, cuda or cuda:N'
    )
    parser.add_argument('--backend', default='torch', choices=BACKENDS, help='runs the networks')
    parser.add_argument('--half', action='store_true', help='in half precision, as model.half')
    parser.add_argument(
        '--threads', type=whole_number(0), default=0, help='with 1, latency is CPU time'
    )
    parser.add_argument(
        '--source',
        type=existing_folder('it is what --out wrote'),
        help='--out of a run on the training domain',
    )
    parser.add_argument('--out', type=new_folder(), help='folder for page and figures')
    parser.add_argument('--routing', type=new_file(), help='routing table to write, or to add to')
    return parser


def _device(text: str) -> str:
    check_device(text)
    return text


if __name__ == '__main__':
    main()
