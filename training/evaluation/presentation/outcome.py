"""The outcome of an evaluation: its tables in the terminal, its page, files and routing rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from sam_ad_perception.core.routing.table import RoutingTable
from training.evaluation.data import EvaluationData
from training.evaluation.files import (
    load_results,
    measured_results,
    save_measurements,
    save_results,
)
from training.evaluation.presentation.failures import failure_tables
from training.evaluation.presentation.page import make_page
from training.evaluation.presentation.published import comparable, load_published
from training.evaluation.presentation.tables import (
    TextTable,
    case_table,
    class_table,
    fault_table,
    networks_table,
    noise_table,
    other_protocols_table,
    published_table,
    retention_table,
    stability_table,
    subset_table,
    trust_table,
)
from training.evaluation.routing_rows import SystemResult, routing_rows
from training.evaluation.sequence import SequenceFollower
from training.evaluation.systems import TIMED_FRAMES
from training.networks.checkpoint import save_atomically


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
        tables += failure_tables(result)
    tables += [fault_table(results), networks_table(results, data.space)]
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
    if rows and data.protocol is not None:
        ours = {
            f'{r.key} on {" + ".join(s.subset)}': score
            for r in results
            for s, score in r.scores.items()
            if s.plain
        }
        where = f'{data.name} {data.split}, {len(data.space)} classes'
        tables.append(published_table(rows, ours, where, data.protocol))
    apart = comparable(load_published(), name, data.split, len(data.space), otherwise=True)
    if apart:
        tables.append(other_protocols_table(apart))
    return [table for table in tables if table is not None]


def make_routing_table(
    results: Sequence[SystemResult], data: EvaluationData, size: tuple[int, int], command: str
) -> RoutingTable:
    """Make what the router reads.

    Args:
        results: The measurements; those of vehicles and of means over several sizes are left out.
        data: The data set.
        size: Mask size `(H, W)`, pixels.
        command: What made them.

    Returns:
        The table.
    """
    networks = [result for result in results if result.parameters]
    rows = tuple(row for result in networks for row in routing_rows(result))
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
        f' over at most the first {TIMED_FRAMES} frames, without reading and preparing.'
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
