"""What the papers state, and the field or the test that realises each statement.

`training/papers/*.yaml` has one row per statement. From them `python -m tools.documentation`
writes the head of each paper's configuration and the lists of the model cards.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sam_ad_perception.core.settings.yaml_documents import read_yaml
from sam_ad_perception.core.settings.yaml_records import build_record
from training.configuration.run import load_config, to_mapping

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'training/papers'
PAPER, LINEAGE, OURS = KINDS = ('paper', 'lineage', 'ours')
TOPICS = (
    'architecture', 'equation', 'loss', 'optimiser', 'schedule', 'augmentation', 'data',
    'protocol', 'metric',
)  # fmt: skip
_HEAD = re.compile(r'# claims: .*?\n(?:#   .*\n)*', re.MULTILINE)


@dataclass(frozen=True)
class Claim:
    """One statement.

    Attributes:
        says: The statement, in our words.
        at: Where it stands: section, equation or table of the paper; of what the paper does not
            say, where it would.
        topic: One of `TOPICS`.
        kind: `paper` for what is as the paper says, `lineage` for what its code family has where
            the paper is silent, `ours` for all else.
        code: Of `lineage`, which code.
        why: Of `ours`, the reason.
        differs: Whether the paper says otherwise.
        absent: Whether nothing here realises it.
        places: Key of the file's `places`: the configurations or zoo entries that hold the field.
        key: The field, its names joined by dots.
        value: What it is there.
        tests: Tests that realise it, as `file::name`.

    Raises:
        ValueError: Fields that do not go together.
    """

    says: str
    at: str
    topic: str
    kind: str
    code: str = ''
    why: str = ''
    differs: bool = False
    absent: bool = False
    places: str = ''
    key: str = ''
    value: Any = None
    tests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.topic not in TOPICS:
            raise ValueError(
                f'kind must be one of {KINDS} and topic one of {TOPICS}, got {self.kind!r} and '
                f'{self.topic!r} for {self.says!r}'
            )
        if bool(self.code) != (self.kind == LINEAGE) or bool(self.why) != (self.kind == OURS):
            raise ValueError(
                f'code goes with {LINEAGE} and why with {OURS}, got {self.kind} for {self.says!r}'
            )
        if (self.differs or self.absent) and self.kind != OURS:
            raise ValueError(f'only {OURS} differs or is absent, got {self.kind}: {self.says!r}')
        if bool(self.places) != bool(self.key):
            raise ValueError(f'places and key go together, got one of them for {self.says!r}')
        if bool(self.key or self.tests) == self.absent:
            raise ValueError(f'a field or a test realises a row, or absent is true: {self.says!r}')


@dataclass(frozen=True)
class Paper:
    """The statements of one paper.

    Attributes:
        title: Its name and number.
        read: What of it we could read.
        places: By name, patterns of files, `path` or `path::entry`; one that starts with `!` takes
            away again.
        claims: The rows.
    """

    title: str
    read: str
    places: Mapping[str, tuple[str, ...]]
    claims: tuple[Claim, ...] = field(default_factory=tuple)


def load_papers(folder: Path = FOLDER) -> dict[str, Paper]:
    """Read the statements of all papers.

    Args:
        folder: Of their files.

    Returns:
        By the name of the file.

    Raises:
        ValueError: A file is not in the expected form.
    """
    return {
        path.stem: build_record(Paper, read_yaml(path), path.name)
        for path in sorted(folder.glob('*.yaml'))
    }


def find_places(paper: Paper, name: str, root: Path = ROOT) -> dict[str, Mapping[str, Any]]:
    """Read the configurations and zoo entries that a name stands for.

    Args:
        paper: The paper.
        name: Key of its `places`.
        root: Of the repository.

    Returns:
        Their plain values by `path` or `path::entry`; of a configuration with the defaults.

    Raises:
        ValueError: The name is unknown, or a pattern matches nothing.
    """
    if name not in paper.places:
        raise ValueError(f'places must be one of {list(paper.places)}, got {name!r}')
    found: dict[str, Mapping[str, Any]] = {}
    for pattern in paper.places[name]:
        taken = dict(_match(pattern.removeprefix('!'), root))
        if not taken:
            raise ValueError(f'{paper.title}: {pattern} of places.{name} matches nothing')
        if pattern.startswith('!'):
            found = {place: values for place, values in found.items() if place not in taken}
        else:
            found |= taken
    return found


def _match(pattern: str, root: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    file, _, entry = pattern.partition('::')
    for path in sorted(root.glob(file)):
        place = path.relative_to(root).as_posix()
        values = _read(path, path.stat().st_mtime_ns, zoo=bool(entry))
        if not entry:
            yield place, values
            continue
        for name in fnmatch.filter(values, entry):
            yield f'{place}::{name}', values[name]


@lru_cache(maxsize=256)
def _read(path: Path, changed_ns: int, *, zoo: bool) -> Mapping[str, Any]:
    """A configuration with its defaults, or the entries of a zoo; again where it has changed."""
    if not zoo:
        return to_mapping(load_config(path))
    entries: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding='utf-8'))['models']
    return entries


def value_at(values: Mapping[str, Any], key: str) -> Any:
    """Look a field up.

    Args:
        values: Nested values.
        key: Names joined by dots.

    Returns:
        The value.

    Raises:
        ValueError: There is no such field; the message names how far it goes.
    """
    found: Any = values
    for name in key.split('.'):
        if not isinstance(found, Mapping) or name not in found:
            raise ValueError(f'{key} has no {name!r}')
        found = found[name]
    return found


def describe(claim: Claim) -> str:
    """Say in one line where a value is from."""
    if claim.kind == PAPER:
        return f'paper, {claim.at}'
    if claim.kind == LINEAGE:
        return f'lineage, {claim.code}'
    return f'ours, {claim.why}'


def with_head(text: str, place: str, paper: Paper, name: str) -> str:
    """A configuration with the origin of its values written anew at its head.

    Args:
        text: The configuration.
        place: Its path from the root of the repository.
        paper: The paper that it follows.
        name: Of the paper's file.

    Returns:
        The text.
    """
    lines = [f'# claims: of training/papers/{name}.yaml, by python -m tools.documentation']
    shown: dict[str, bool] = {}
    for claim in paper.claims:
        if claim.key and place in _files(paper, claim.places) and claim.key not in shown:
            shown[claim.key] = True
            lines.append(f'#   {claim.key}: {describe(claim)}')
    head = '\n'.join(lines) + '\n'
    return _HEAD.sub(lambda _: head, text, count=1)


def _files(paper: Paper, name: str) -> set[str]:
    return {place for place in find_places(paper, name) if '::' not in place}


def headed(paper: Paper) -> list[Path]:
    """The configurations of a paper that have such a head."""
    files = {place for name in paper.places for place in _files(paper, name)}
    return [ROOT / place for place in sorted(files)]


def card_lists(paper: Paper) -> str:
    """The lists of a model card: what is faithful, what differs, what is open in the paper.

    Args:
        paper: The paper.

    Returns:
        Markdown.
    """
    groups: dict[str, list[Claim]] = {'Faithful': [], 'Different': [], 'Open in the paper': []}
    for claim in paper.claims:
        open_or = 'Different' if claim.differs else 'Open in the paper'
        groups['Faithful' if claim.kind == PAPER else open_or].append(claim)
    counts = ', '.join(f'{sum(c.kind == kind for c in paper.claims)} {kind}' for kind in KINDS)
    lines = [f'Read: {paper.read} {len(paper.claims)} statements: {counts}.', '']
    for title, claims in groups.items():
        lines.append(f'**{title}.**')
        lines.append('')
        for claim in claims:
            origin = f'({claim.at})' if claim.kind == PAPER else f'({claim.at}): {describe(claim)}'
            value = f' `{claim.key}: {claim.value}`' if claim.key else ''
            lines.append(f'* {claim.says} {origin}{value}')
        lines.append('')
    return '\n'.join(lines[:-1]) + '\n'
