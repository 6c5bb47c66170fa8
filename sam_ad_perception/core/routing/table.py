"""What was measured of each network on each subset of the sensors: what the router goes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from sam_ad_perception.core.labels import LABEL_SPACES
from sam_ad_perception.core.settings.yaml_documents import read_yaml
from sam_ad_perception.core.settings.yaml_records import build_record
from sam_ad_perception.core.transaction import write_file


@dataclass(frozen=True)
class RoutingRow:
    """One measurement.

    Attributes:
        expert: Key of the network in the zoo.
        subset: Sensors that it was given.
        miou: Mean IoU over the whole split, percent.
        conditions: Mean IoU in each condition that was measured apart (day, night ...), percent.
        latency_ms: Time of the network for one frame on the machine that measured, milliseconds;
            None where it was not measured.
        checkpoint_sha256: Weights that were measured; empty where they are not named.

    Raises:
        ValueError: The subset is empty or repeats itself, or a figure is out of range.
    """

    expert: str
    subset: tuple[str, ...]
    miou: float
    conditions: Mapping[str, float] = field(default_factory=dict)
    latency_ms: float | None = None
    checkpoint_sha256: str = ''

    def __post_init__(self) -> None:
        if not self.subset or len(set(self.subset)) != len(self.subset):
            raise ValueError(f'subset must name sensors, each once, got {list(self.subset)}')
        for name, value in {'miou': self.miou, **self.conditions}.items():
            if not 0 <= value <= 100:
                raise ValueError(f'{name} must be from 0 to 100 percent, got {value}')
        if self.latency_ms is not None and not self.latency_ms >= 0:
            raise ValueError(f'latency_ms must not be negative, got {self.latency_ms}')


@dataclass(frozen=True)
class RoutingTable:
    """Measurements that may be compared: one dataset, split, label space and resolution.

    Attributes:
        dataset: Name of the dataset.
        split: Which part of it.
        label_space: Name of the classes that were counted.
        resolution: Mask size `(H, W)` at which they were counted, pixels.
        rows: One row per network and subset.
        command: What made the table.
        classes: Names of own classes, where no label space that is built in was counted.

    Raises:
        ValueError: No label space, no row, or two rows for one network and subset.
    """

    dataset: str
    split: str
    label_space: str
    resolution: tuple[int, int]
    rows: tuple[RoutingRow, ...]
    command: str = ''
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.label_space not in LABEL_SPACES and not self.classes:
            raise ValueError(
                f'label_space must be one of {sorted(LABEL_SPACES)}, or `classes` name own ones, '
                f'got {self.label_space!r}'
            )
        if not self.rows:
            raise ValueError('rows must hold at least one measurement, got none')
        seen = set()
        for index, row in enumerate(self.rows):
            key = (row.expert, frozenset(row.subset))
            if key in seen:
                raise ValueError(f'rows[{index}] repeats {row.expert} on {sorted(row.subset)}')
            seen.add(key)


def load_routing_table(path: Path) -> RoutingTable:
    """Read a table as `python -m training.evaluate --routing` writes it.

    Args:
        path: YAML file.

    Returns:
        The table.

    Raises:
        ValueError: Names the file, the field, what came and what was expected.
        OSError: The file cannot be read.
    """
    content = read_yaml(path)
    return build_record(RoutingTable, content, str(path))


def save_routing_table(table: RoutingTable, path: Path) -> None:
    """Write a table.

    Args:
        table: The table.
        path: YAML file; its folder is made.

    Raises:
        OSError: The file cannot be written.
    """
    rows = []
    for row in table.rows:
        plain: dict[str, object] = {
            'expert': row.expert,
            'subset': list(row.subset),
            'miou': row.miou,
        }
        if row.conditions:
            plain['conditions'] = dict(row.conditions)
        if row.latency_ms is not None:
            plain['latency_ms'] = row.latency_ms
        if row.checkpoint_sha256:
            plain['checkpoint_sha256'] = row.checkpoint_sha256
        rows.append(plain)
    content = {
        'dataset': table.dataset,
        'split': table.split,
        'label_space': table.label_space,
        'resolution': list(table.resolution),
        'command': table.command,
        'rows': rows,
    }
    if table.classes:
        content['classes'] = list(table.classes)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(content, sort_keys=False, width=100)
    with write_file(path) as stream:
        stream.write(text.encode())
