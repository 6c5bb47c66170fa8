"""What the project claims of its speed: each target beside the figure that was measured for it.

The figures are read from `benchmarks/results/*.json`, as the benchmarks left them;
`python -m tools.documentation` writes the table into `docs/results.md`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]

MASK_PIXELS_SAME = 0.99
"""A way to run a network counts where so many pixels get the class of float32 torch."""


@dataclass(frozen=True)
class Claim:
    """One target.

    Attributes:
        what: Of what.
        file: Of the figures, without its ending.
        figure: Takes the measured value from the rows of the file.
        goal: The target.
        unit: Of both.
        at_least: Whether more is better.
    """

    what: str
    file: str
    figure: Callable[[Rows], float]
    goal: float
    unit: str
    at_least: bool = False

    def row(self, folder: Path) -> str:
        """The row of the table.

        Args:
            folder: Of the files.

        Returns:
            Markdown; a file that is absent is told as not measured.
        """
        goal = f'{"at least" if self.at_least else "at most"} {self.goal:g} {self.unit}'.rstrip()
        path = folder / f'{self.file}.json'
        if not path.is_file():
            return f'| {self.what} | {goal} | not measured | | |'
        content = json.loads(path.read_text())
        value = self.figure(content['rows'])
        met = value >= self.goal if self.at_least else value <= self.goal
        verdict = 'met' if met else '**missed**'
        told = f'{value:.3g} {self.unit}'.rstrip()
        return f'| {self.what} | {goal} | {told} | {verdict} | `{content["command"]}` |'


def one(what: str, key: str = 'ours', column: str = 'what') -> Callable[[Rows], float]:
    """Take a figure of the row that has this name.

    Args:
        what: The name.
        key: Of the figure.
        column: That holds the name.

    Returns:
        What takes it from rows.
    """

    def take(rows: Rows) -> float:
        (row,) = (each for each in rows if each.get(column) == what)
        return float(row[key])

    return take


def times_the_peer(what: str) -> Callable[[Rows], float]:
    """Take how many times the peer's figure ours is."""
    ratio = one(what, 'ratio')
    return lambda rows: 1.0 / ratio(rows)


def masks_per_s(rows: Rows) -> float:
    """Take the frames per second of the fastest way that gives the same masks."""
    sound = [row for row in rows if not row['problem'] and row['same'] >= MASK_PIXELS_SAME]
    return max(1000.0 / row['frame']['p50'] for row in sound)


def slowest_start(*names: str) -> Callable[[Rows], float]:
    """Take the longest of several starts, wall time."""
    return lambda rows: max(one(name, 'wall_s', 'name')(rows) for name in names)


OWN = 'in the node, less network and waiting, p99'
ROUND = 'stamp to mask, less network and waiting, p50'
HEAP = 'growth of the heap after the warm-up'
LIGHT = ('depth_projection_node', 'synchronizer_node')
FOUR = 'four 640x400 sensors'
CLAIMS = (
    Claim(f'masks, `mle_sam_fast`, {FOUR}', 'bench_fast', masks_per_s, 5, '/s', at_least=True),
    Claim(f'masks, `mle_sam_demo`, {FOUR}', 'bench_demo', masks_per_s, 1.5, '/s', at_least=True),
    Claim(
        'a frame besides the network, CPU of one core', 'overhead', one('all of these'), 12, 'ms'
    ),
    Claim('the same in the node, p99, camera at 15 Hz', 'load_15_hz', one(OWN), 40, 'ms'),
    Claim('the same, camera at 30 Hz', 'load', one(OWN), 40, 'ms'),
    Claim('stamp to mask over DDS, in echoes', 'load_10_hz', times_the_peer(ROUND), 1.5, 'times'),
    Claim('growth of the node in 10 minutes', 'load', one(HEAP), 2, '%'),
    Claim('start of a node without a network', 'startup', slowest_start(*LIGHT), 1.5, 's'),
)


def speed_table(folder: Path) -> str:
    """Write the table of all claims.

    Args:
        folder: Of the benchmarks' files.

    Returns:
        Markdown.
    """
    head = ['| what | target | measured | | by |', '|---|---|---|---|---|']
    return '\n'.join([*head, *(claim.row(folder) for claim in CLAIMS)]) + '\n'
