"""Where benchmarks leave their figures: `benchmarks/results/NAME.json`, in one form."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam_ad_perception.core.benchmarking import write_results

RESULTS = Path(__file__).parent / 'results'


def compare(
    what: str, unit: str, ours: float, peer: str = '', theirs: float = float('nan')
) -> dict[str, Any]:
    """Make a row: ours, a peer, and how many times better ours is.

    Args:
        what: What was measured.
        unit: Of both; a rate (`.../s`) is better where it is larger, all else where it is smaller.
        ours: Our figure.
        peer: The other's name; empty where there is none.
        theirs: The other's figure.

    Returns:
        The row.
    """
    row: dict[str, Any] = {'what': what, 'unit': unit, 'ours': ours}
    if peer:
        ratio = ours / theirs if unit.endswith('/s') else theirs / ours
        row |= {'peer': peer, 'theirs': theirs, 'ratio': ratio}
    return row


def save_results(name: str, rows: Sequence[Any]) -> None:
    """Write the rows of a benchmark with the machine, the versions, the commit and the command.

    Args:
        name: Of the benchmark; also of the file.
        rows: Dataclasses or mappings.
    """
    module = sys.modules['__main__'].__spec__
    command = ['python', '-m', module.name if module else sys.argv[0], *sys.argv[1:]]
    write_results(RESULTS / f'{name}.json', rows, shlex.join(command))
