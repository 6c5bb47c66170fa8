"""Routing table rows from measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sam_ad_perception.core.routing.table import RoutingRow, RoutingTable
from training.evaluation.measurement import Score, Setting


@dataclass(frozen=True, eq=False)
class SystemResult:
    """What one network, or a vehicle, reached.

    Attributes:
        key: Its name.
        scores: By setting.
        parameters: Of the network; 0 for what drives no vehicle by itself: a vehicle, a mean over
            several sizes.
        sha256: Of the network's weights; empty likewise.
    """

    key: str
    scores: Mapping[Setting, Score]
    parameters: int = 0
    sha256: str = ''


def routing_rows(result: SystemResult) -> list[RoutingRow]:
    """Rows of one network: every subset of which there is a mask of every frame.

    Their figures go over the classes that occur, see `ConfusionMatrix.miou_of_present`.

    Args:
        result: What it reached.

    Returns:
        One row per subset.
    """
    rows = []
    for setting, score in result.scores.items():
        if not setting.plain or score.masks < score.frames:
            continue
        latency = score.latency_ms
        rows.append(
            RoutingRow(
                expert=result.key,
                subset=setting.subset,
                miou=round(100 * score.native.miou_of_present(), 2),
                conditions={
                    n: round(100 * m.miou_of_present(), 2) for n, m in score.conditions.items()
                },
                latency_ms=None if latency is None else round(latency, 1),
                checkpoint_sha256=result.sha256,
            )
        )
    return rows


def merge_tables(tables: Sequence[RoutingTable]) -> RoutingTable:
    """Put tables of several runs together; of one network the rows of the last table count.

    Args:
        tables: At least one.

    Returns:
        One table; its command is that of each, one per line.

    Raises:
        ValueError: They were measured on other data, so that their figures cannot be compared.
    """
    for table in tables[1:]:
        check_same(tables[0], table)
    rows: dict[str, tuple[RoutingRow, ...]] = {}
    for table in tables:
        for expert in dict.fromkeys(row.expert for row in table.rows):
            rows[expert] = tuple(row for row in table.rows if row.expert == expert)
    commands = dict.fromkeys(line for t in tables for line in t.command.splitlines() if line)
    return replace(
        tables[0],
        rows=tuple(row for group in rows.values() for row in group),
        command='\n'.join(commands),
    )


def check_same(first: RoutingTable, other: RoutingTable) -> None:
    """Refuse to compare tables of different data.

    Args:
        first: A table.
        other: Another one.

    Raises:
        ValueError: They differ in data set, split, label space or resolution.
    """
    for name in ('dataset', 'split', 'label_space', 'classes', 'resolution'):
        a, b = getattr(first, name), getattr(other, name)
        if a != b:
            raise ValueError(
                f'routing tables of another {name} cannot be compared: {a!r} and {b!r}'
            )
