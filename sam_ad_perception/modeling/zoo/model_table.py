"""The zoo as a table: what each entry costs, what it needs, and whether its weights are here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import box
from rich.table import Table

from sam_ad_perception.modeling.encoders.pool import EncoderPool
from sam_ad_perception.modeling.zoo.checkpoints import (
    CheckpointError,
    CheckpointSpec,
    check_digest,
)
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model

MIB = 1 << 20


@dataclass(frozen=True)
class ModelRow:
    """What is known of an entry without loading it.

    Attributes:
        key: Name of the entry.
        parameters: All parameters.
        trainable: Those that training changes.
        memory_bytes: Parameters and buffers as they are kept.
        modalities: Registered modalities, the required ones marked with `*`.
        size: Network input size `(H, W)`, pixels.
        classes: Number of classes and their label space.
        checkpoint: State of the trained weights, in words.
    """

    key: str
    parameters: int
    trainable: int
    memory_bytes: int
    modalities: str
    size: tuple[int, int]
    classes: str
    checkpoint: str


def describe_model(spec: ModelSpec, folder: Path, pool: EncoderPool | None = None) -> ModelRow:
    """Describe an entry; its network is built without memory.

    Args:
        spec: The entry.
        folder: Checkpoint folder.
        pool: See `build_model`; the row counts a shared encoder in full.

    Returns:
        The row.

    Raises:
        ValueError: The entry cannot be built.
    """
    with torch.device('meta'):
        network = build_model(spec, pool)
    parameters = list(network.parameters())
    kept = [*parameters, *network.buffers()]
    return ModelRow(
        key=spec.key,
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        memory_bytes=sum(t.numel() * t.element_size() for t in kept),
        modalities=' '.join(n + ('*' if n in spec.required else '') for n in spec.inputs),
        size=spec.input_size,
        classes=f'{len(spec.labels.classes)} {spec.label_space}',
        checkpoint=checkpoint_state(spec.checkpoint, folder),
    )


def checkpoint_state(spec: CheckpointSpec, folder: Path) -> str:
    """Tell whether trained weights are there and are the right ones.

    Args:
        spec: File and checksum.
        folder: Checkpoint folder.

    Returns:
        `none published`, `absent`, `wrong file`, `here`, or `here, no checksum`.
    """
    if not spec.file:
        return 'none published'
    path = folder / spec.file
    if not path.is_file():
        return 'absent'
    if not spec.sha256:
        return 'here, no checksum'
    try:
        check_digest(path, spec.sha256)
    except CheckpointError:
        return 'wrong file'
    return 'here'


def model_table(zoo: Mapping[str, ModelSpec], folder: Path) -> Table:
    """Make the table of `sam_ad models`.

    Args:
        zoo: The entries.
        folder: Checkpoint folder.

    Returns:
        One row per entry; millions of parameters, MiB of memory.

    Raises:
        ValueError: An entry cannot be built.
    """
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for name, width in (('model', 0), ('sensors', 8), ('input', 9), ('weights', 9)):
        table.add_column(name, no_wrap=name == 'model', min_width=width)
    for name in ('M', 'trained', 'MiB'):
        table.add_column(name, justify='right', no_wrap=True, min_width=len(name))
    pool = EncoderPool()
    for spec in zoo.values():
        row = describe_model(spec, folder, pool)
        table.add_row(
            row.key,
            row.modalities,
            f'{row.size[0]}x{row.size[1]}',
            row.checkpoint,
            f'{row.parameters / 1e6:.2f}',
            f'{row.trainable / 1e6:.2f}',
            f'{row.memory_bytes / MIB:.0f}',
        )
    table.caption = '* required sensor; M: million parameters, and how many are trained'
    if pool.saved_bytes:
        table.caption += (
            f'; all networks at once take {pool.saved_bytes / MIB:.0f} MiB less than the sum: '
            'they share their frozen SAM encoder'
        )
    return table
