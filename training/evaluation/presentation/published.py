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
        protocol: In what it was measured otherwise than by the benchmark's evaluator; empty where
            it was by that one, at one scale.
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
    protocol: str = ''


@dataclass(frozen=True)
class PublishedFailures:
    """What a method keeps where sensors fail, see `training.evaluation.failure_protocol`.

    Attributes:
        method: The method.
        case: `EMM`, `RMM 0.25` (the share of values that go missing) or `NM`.
        miou: Percent: of EMM and RMM the mean of all sets that fail and the expectations at
            p = 0.2, 0.1, 0.05; of NM at low, mid and high level.
        note: What to know before comparing.
    """

    method: str
    case: str
    miou: tuple[float, ...]
    note: str = ''


@dataclass(frozen=True)
class PublishedFile:
    """All of `training/published.yaml`.

    Attributes:
        results: Results on data sets.
        failures: Results where sensors fail, on DELIVER with 25 classes.
    """

    results: tuple[PublishedResult, ...]
    failures: tuple[PublishedFailures, ...]


def load_published(path: Path = PATH) -> tuple[PublishedResult, ...]:
    """Read the published results on data sets.

    Args:
        path: YAML file.

    Returns:
        All of them.

    Raises:
        ValueError: The file is not in the expected form.
    """
    return _read(path).results


def load_published_failures(path: Path = PATH) -> tuple[PublishedFailures, ...]:
    """Read the published results where sensors fail.

    Args:
        path: YAML file.

    Returns:
        All of them.

    Raises:
        ValueError: The file is not in the expected form.
    """
    return _read(path).failures


def _read(path: Path) -> PublishedFile:
    return build_record(PublishedFile, read_yaml(path), path.name)


def comparable(
    results: tuple[PublishedResult, ...],
    dataset: str,
    split: str,
    classes: int,
    *,
    otherwise: bool = False,
) -> list[PublishedResult]:
    """Choose what was measured on the same frames and classes as one's own figure.

    Args:
        results: Published results.
        dataset: The data set.
        split: Its split; a likely split (`val?`) counts, and says so in the table.
        classes: Number of classes of one's own label space.
        otherwise: Whether those are meant that were measured by another protocol, which do not
            stand beside others.

    Returns:
        The results, best first.
    """
    same = [
        r
        for r in results
        if (r.dataset, r.split.rstrip('?'), r.classes) == (dataset, split, classes)
        and bool(r.protocol) == otherwise
    ]
    return sorted(same, key=lambda r: -r.miou)
