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
from dataclasses import dataclass
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

from sam_ad_perception.core.console.command_line import (
    describe_error,
)
from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.routing.table import (
    RoutingTable,
    load_routing_table,
    save_routing_table,
)
from sam_ad_perception.modeling.runtimes.backends import BackendConfig
from sam_ad_perception.modeling.zoo.files import zoo_files
from training.datasets.catalog import FOLDERS, dataset_names
from training.datasets.own.data_file import read_data_file
from training.evaluation.arguments import make_parser
from training.evaluation.data import (
    SIMULATED,
    EvaluationData,
    LabelledSplit,
    fit_labels,
    open_data,
)
from training.evaluation.measurement import Setting, System, measure
from training.evaluation.plan import Extent, make_plan
from training.evaluation.presentation.outcome import (
    make_routing_table,
    make_tables,
    own_classes,
    save_all,
    show,
    timed,
)
from training.evaluation.routing_rows import SystemResult, check_same, merge_tables
from training.evaluation.selection import TrainedNetwork, load_network
from training.evaluation.sequence import SequenceFollower
from training.frames.frame import LabelledFrame
from training.frames.summary import show_splits
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
        frames = _tell(data, console)
        reached = measure(frames, plan, data.space, bar, task, follower, data.protocol)
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


def main(argv: Sequence[str] | None = None, prog: str = 'python -m training.evaluate') -> None:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.
        prog: What the user called it by.
    """
    parser = make_parser(prog, __doc__)
    arguments = parser.parse_args(argv)
    _sort_names(arguments)
    console = Console()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    command = shlex.join(
        ['python', '-m', 'training.evaluate', *(sys.argv[1:] if argv is None else argv)]
    )
    try:
        opened = _open(arguments, console)
    except (ValueError, OSError) as error:
        told = describe_error(error)
        last = arguments.networks[-1]
        if repr(last) in told and 'did you mean' not in told:
            told += did_you_mean(last, dataset_names())
        parser.error(told)
    data = opened.data
    follower = SequenceFollower(data.space) if arguments.consecutive else None
    results = evaluate(opened.networks, data, opened.plan, console, follower)
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
        save_routing_table(merge_tables([*opened.before, rows]), arguments.routing)


@dataclass(frozen=True)
class _Opened:
    """What an evaluation works on: networks, frames, what is measured, and an earlier table."""

    networks: list[TrainedNetwork]
    data: EvaluationData
    plan: Sequence[tuple[System, Sequence[Setting]]]
    before: list[RoutingTable]


def _sort_names(arguments: argparse.Namespace) -> None:
    """Tell the data set, or a data file, from the networks that are named before it."""
    last = Path(arguments.dataset or arguments.networks[-1]).expanduser()
    if is_data_file(last) and (arguments.dataset or len(arguments.networks) > 1):
        if not arguments.dataset:
            arguments.networks.pop()
        arguments.dataset, arguments.root = FOLDERS, last
    named = arguments.networks[-1] in (SIMULATED, *dataset_names()) and len(arguments.networks) > 1
    if arguments.dataset is None and named:
        arguments.dataset = arguments.networks.pop()


def _usual_split(arguments: argparse.Namespace) -> str:
    """What is measured on where nobody said: frames that no step of the training saw."""
    own = arguments.dataset == FOLDERS and arguments.root
    return 'test' if own and read_data_file(arguments.root).file.test is not None else 'val'


def _open(arguments: argparse.Namespace, console: Console) -> _Opened:
    """Load the networks, open the data, and find out before the work what cannot be done.

    Raises:
        ValueError: Networks, data or the routing table do not fit each other.
        OSError: A file cannot be read.
    """
    _, checkpoints = zoo_files(arguments.zoo or '', arguments.checkpoints or '')
    networks = [
        load_network(name, arguments.zoo, checkpoints, arguments.entry)
        for name in arguments.networks
    ]
    data = open_data(
        arguments.dataset or SIMULATED,
        root=arguments.root,
        split=arguments.split or _usual_split(arguments),
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
        Extent(
            arguments.subsets,
            arguments.noise,
            arguments.failures,
            arguments.faults,
            tuple(arguments.scales),
            arguments.mirror,
        ),
        table=table,
        device=arguments.device,
        backend=BackendConfig(arguments.backend, half=arguments.half),
    )
    written = arguments.routing is not None and arguments.routing.exists()
    before = [load_routing_table(arguments.routing)] if written else []
    if before:  # tell that they cannot be compared before the work, not after it
        check_same(before[0], RoutingTable(data.name, data.split, data.space.name,
                                           data.size, before[0].rows,
                                           classes=own_classes(data.space)))  # fmt: skip
    return _Opened(networks, data, plan, before)


if __name__ == '__main__':
    main()
