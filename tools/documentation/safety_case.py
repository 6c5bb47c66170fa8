"""What can make a mask dangerous, what is asked against it, and what was measured of that.

`docs/safety.yaml` has hazards, requirements, tests and where each figure stands in
`benchmarks/results`; `python -m tools.documentation` writes the page from it. No figure is typed
there: each is read from the results, and what falls short of its goal is told as missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam_ad_perception.core.settings.yaml_documents import read_yaml
from sam_ad_perception.core.settings.yaml_records import build_record

ROOT = Path(__file__).resolve().parents[2]
SAFETY = ROOT / 'docs/safety.yaml'


@dataclass(frozen=True)
class Figure:
    """A measured figure: the sum of one column over some rows of a file of results.

    Attributes:
        what: What it says.
        file: Of the results, without its ending.
        value: The column.
        goal: What it should reach.
        where: Column to value, or to a list of values, of the rows that count.
        rows: Under which key of the file the rows stand.
        of: Column to whose sum it is set in relation, percent; empty for the value itself.
        at_most: Whether less is better.
        unit: Of the value.
    """

    what: str
    file: str
    value: str
    goal: float
    where: Mapping[str, Any] = field(default_factory=dict)
    rows: str = 'rows'
    of: str = ''
    at_most: bool = False
    unit: str = ''

    def read(self, folder: Path) -> tuple[float, str]:
        """Read it.

        Args:
            folder: Of the results.

        Returns:
            The figure, in percent where it is set in relation, and how it is told.

        Raises:
            ValueError: No row has the columns, or a value of `where` is in no row.
            OSError: There is no such file.
        """
        content = json.loads((folder / f'{self.file}.json').read_text())
        rows = [row for row in content[self.rows] if self._counts(row)]
        for key, wanted in self.where.items():
            lacking = {*_listed(wanted)} - {row[key] for row in rows}
            if lacking:
                raise ValueError(f'{self.file}.json has no row with {key} {sorted(lacking)}')
        if not rows:
            raise ValueError(f'{self.file}.json has no row with {self.value!r} for {self.what!r}')
        total = float(sum(row[self.value] for row in rows))
        if not self.of:
            return total, f'{total:.3g} {self.unit}'.rstrip()
        whole = float(sum(row[self.of] for row in rows))
        share = 100 * total / whole
        return share, f'{total:g} of {whole:g} ({share:.3g} %)'

    @property
    def goal_text(self) -> str:
        """The goal in words."""
        unit = '%' if self.of else self.unit
        return f'{"at most" if self.at_most else "at least"} {self.goal:g} {unit}'.rstrip()

    def is_met(self, folder: Path) -> bool:
        """Whether the goal is reached, see `read`."""
        value, _ = self.read(folder)
        return value <= self.goal if self.at_most else value >= self.goal

    def _counts(self, row: Mapping[str, Any]) -> bool:
        wanted = all(row.get(key) in _listed(value) for key, value in self.where.items())
        return wanted and self.value in row and (not self.of or self.of in row)


@dataclass(frozen=True)
class Hazard:
    """One way in which a mask becomes dangerous.

    Attributes:
        id: Stable name.
        hazard: What is wrong with the mask, and what that may lead to.
        trigger: The triggering condition, in the words of ISO 21448.
        requirement: What is asked of the software.
        tests: `path::name` of the tests that hold the requirement.
        figures: What was measured of it.
        gap: What is not covered or not measured; empty where nothing is known to be.

    Raises:
        ValueError: There is no test, or neither a figure nor a gap.
    """

    id: str
    hazard: str
    trigger: str
    requirement: str
    tests: tuple[str, ...]
    figures: tuple[Figure, ...] = ()
    gap: str = ''

    def __post_init__(self) -> None:
        if not self.tests:
            raise ValueError(f'{self.id} has no test')
        if not (self.figures or self.gap):
            raise ValueError(f'{self.id} has no figure: say in its gap why')


@dataclass(frozen=True)
class SafetyCase:
    """All hazards.

    Attributes:
        hazards: In the order of the page.

    Raises:
        ValueError: Two have one id.
    """

    hazards: tuple[Hazard, ...]

    def __post_init__(self) -> None:
        ids = [hazard.id for hazard in self.hazards]
        if len(set(ids)) < len(ids):
            raise ValueError(f'ids of hazards must differ, got {ids}')


def load_safety_case(path: Path = SAFETY) -> SafetyCase:
    """Read the hazards.

    Args:
        path: YAML file.

    Returns:
        The case.

    Raises:
        ValueError: The file is not in the expected form.
    """
    return build_record(SafetyCase, read_yaml(path), path.name)


def safety_page(folder: Path, path: Path = SAFETY) -> str:
    """Write what stands between the markers of the page.

    Args:
        folder: Of the results.
        path: Of the hazards.

    Returns:
        Markdown.

    Raises:
        ValueError: A figure cannot be read.
        OSError: A file is not there.
    """
    case = load_safety_case(path)
    figures = [(hazard, figure) for hazard in case.hazards for figure in hazard.figures]
    missed = [(h, f) for h, f in figures if not f.is_met(folder)]
    lines = [
        f'{len(case.hazards)} hazards, {len(figures)} figures, of which {len(missed)} miss '
        'their goal:',
        '',
        '| hazard | figure | goal | measured |',
        '|---|---|---|---|',
        *(
            f'| [{h.id}](#{h.id}) | {f.what} | {f.goal_text} | {f.read(folder)[1]} |'
            for h, f in missed
        ),
        '',
    ]
    for hazard in case.hazards:
        lines += _section(hazard, folder)
    return '\n'.join(lines)


def _section(hazard: Hazard, folder: Path) -> Iterator[str]:
    yield from (f'## {hazard.id}', '')
    yield from (f'**Hazard.** {hazard.hazard}', '')
    yield from (f'**Triggering condition.** {hazard.trigger}', '')
    yield from (f'**Requirement.** {hazard.requirement}', '')
    if hazard.figures:
        yield from ('| figure | goal | measured | | results |', '|---|---|---|---|---|')
        for figure in hazard.figures:
            verdict = 'met' if figure.is_met(folder) else '**missed**'
            told, file = figure.read(folder)[1], f'`{figure.file}.json`'
            yield f'| {figure.what} | {figure.goal_text} | {told} | {verdict} | {file} |'
        yield ''
    if hazard.gap:
        yield from (f'**Not covered.** {hazard.gap}', '')
    yield from (f'Tests: {", ".join(f"`{test}`" for test in hazard.tests)}', '')


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
