"""Published results, with where they were published; only like is put beside like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sam_ad_perception.core.settings.yaml_documents import read_yaml
from sam_ad_perception.core.settings.yaml_records import build_record

PATH = Path(__file__).parents[2] / 'published.yaml'


@dataclass(frozen=True)
class PublishedResult:
    """One published figure.

    Attributes:
        method: The method, with its backbone where that matters.
        dataset: The data set's name as on our command line.
        split: The split; `val?` where the source does not say and val is likely.
        classes: Number of classes that were averaged.
        sensors: What the method saw, in the source's words.
        miou: Percent.
        source: Paper or repository.
        note: What to know before comparing.
        conditions: Percent in each condition or sensor-failure case, in the data set's words.
    """

    method: str
    dataset: str
    split: str
    classes: int
    sensors: str
    miou: float
    source: str
    note: str = ''
    conditions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    results: tuple[PublishedResult, ...]


def load_published(path: Path = PATH) -> tuple[PublishedResult, ...]:
    """Read the published results.

    Args:
        path: YAML file.

    Returns:
        All of them.

    Raises:
        ValueError: The file is not in the expected form.
    """
    content = read_yaml(path)
    return build_record(_File, content, path.name).results


def comparable(
    results: tuple[PublishedResult, ...], dataset: str, split: str, classes: int
) -> list[PublishedResult]:
    """Choose what was measured on the same frames and classes as one's own figure.

    Args:
        results: Published results.
        dataset: The data set.
        split: Its split; a likely split (`val?`) counts, and says so in the table.
        classes: Number of classes of one's own label space.

    Returns:
        The results, best first.
    """
    same = [
        r
        for r in results
        if (r.dataset, r.split.rstrip('?'), r.classes) == (dataset, split, classes)
    ]
    return sorted(same, key=lambda r: -r.miou)
