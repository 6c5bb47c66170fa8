"""The model zoo: what each network is made of, what it expects, and where its weights are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sam_ad_perception.core.console.suggestions import did_you_mean
from sam_ad_perception.core.label_files import label_space_from
from sam_ad_perception.core.labels import LABEL_SPACES, LabelSpace
from sam_ad_perception.core.registry import resolve
from sam_ad_perception.core.settings.yaml_records import build_record
from sam_ad_perception.modeling.encoders.pool import EncoderPool
from sam_ad_perception.modeling.encoders.specs import STRIDE
from sam_ad_perception.modeling.inputs.representations import REPRESENTATIONS, Representation
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.networks.registry import NETWORKS
from sam_ad_perception.modeling.zoo.checkpoints import CheckpointSpec
from sam_ad_perception.modeling.zoo.packed import read_entries
from sam_ad_perception.modeling.zoo.temperatures import Temperature


@dataclass(frozen=True)
class MeasuredResult:
    """One measurement of the checkpoint.

    Attributes:
        dataset: Dataset and split.
        subset: Sensors used.
        miou: Mean IoU over the classes present, percent.
        classes: Number of classes present.
        frames: Frames measured.
        resolution: Mask size `(H, W)`, pixels.
    """

    dataset: str
    subset: tuple[str, ...]
    miou: float
    classes: int
    frames: int
    resolution: tuple[int, int]


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """One entry of the zoo.

    Attributes:
        key: Name of the entry.
        builder: Which network; a key of `NETWORKS`.
        arguments: What it is built from.
        inputs: For each registered modality, the form in which the network sees it.
        required: Modalities without which the network cannot run; at least one is always needed.
        input_size: Network input size `(H, W)`, pixels.
        label_space: Key of `LABEL_SPACES`, or the name of own classes.
        space: Own classes; None for those of `label_space`.
        checkpoint: The trained weights.
        backbone: The weights that training starts from.
        results: Measurements.
        temperatures: Of the checkpoint's confidence, by set of sensors.
        description: One sentence.
        source: The zoo file that holds the entry.

    Raises:
        ValueError: A field is out of range.
    """

    key: str
    builder: str
    arguments: object
    inputs: Mapping[str, Representation]
    input_size: tuple[int, int]
    label_space: str
    required: tuple[str, ...] = ()
    checkpoint: CheckpointSpec = field(default_factory=CheckpointSpec)
    backbone: CheckpointSpec = field(default_factory=CheckpointSpec)
    results: tuple[MeasuredResult, ...] = ()
    temperatures: tuple[Temperature, ...] = ()
    description: str = ''
    source: Path = Path()
    space: LabelSpace | None = None

    def __post_init__(self) -> None:
        if type(self.arguments) is not NETWORKS[self.builder].arguments:
            raise ValueError(f'builder {self.builder!r} does not take {type(self.arguments)}')
        sets = [frozenset(row.subset) for row in self.temperatures]
        if len(set(sets)) < len(sets) or any(each - set(self.inputs) for each in sets):
            raise ValueError(
                f'temperatures must be of different sets of {sorted(self.inputs)}, got '
                f'{[sorted(each) for each in sets]}'
            )
        if not self.inputs:
            raise ValueError('modalities must name at least one, got none')
        stray = sorted(set(self.required) - set(self.inputs))
        if stray:
            raise ValueError(f'required names {stray}, which are not among its modalities')
        if any(side <= 0 or side % STRIDE for side in self.input_size):
            raise ValueError(
                f'input_size must be positive multiples of {STRIDE}, got {self.input_size}'
            )
        if self.space is None and self.label_space not in LABEL_SPACES:
            raise ValueError(
                f'label_space must be one of {sorted(LABEL_SPACES)}, got {self.label_space!r}'
            )

    @property
    def labels(self) -> LabelSpace:
        """The classes of the mask."""
        return self.space or LABEL_SPACES[self.label_space]

    @property
    def mean_of_heads(self) -> bool:
        """Whether the mask comes from the mean of both heads' logits, not from the main one's."""
        return getattr(self.arguments, 'output', 'main') == 'mean'

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each modality's image."""
        return {name: form.channels for name, form in self.inputs.items()}


@dataclass(frozen=True)
class _Entry:
    """An entry as it is written in the file."""

    builder: str
    arguments: Mapping[str, Any]
    modalities: Mapping[str, Mapping[str, object]]
    input_size: tuple[int, int]
    label_space: object
    resize: str = 'stretch'
    required: tuple[str, ...] = ()
    checkpoint: CheckpointSpec = field(default_factory=CheckpointSpec)
    backbone: CheckpointSpec = field(default_factory=CheckpointSpec)
    results: tuple[MeasuredResult, ...] = ()
    temperatures: tuple[Temperature, ...] = ()
    description: str = ''


def load_zoo(path: Path) -> dict[str, ModelSpec]:
    """Read `zoo.yaml`, and the zoo files of packages that bring networks.

    Args:
        path: The file, or a weight file that carries its entry.

    Returns:
        The entries by key, in the order of the file, then those of installed packages; the own
        entry of the file holds where both have a key.

    Raises:
        ValueError: A file is not a zoo, or two packages bring the same key; the message names the
            entry and the field.
        OSError: The file cannot be read.
    """
    zoo = _read_zoo(path)
    for name, file in _package_zoos(path).items():
        for key, spec in _read_zoo(file).items():
            if key in zoo and zoo[key].source != path:
                raise ValueError(f'{file}, which network {name!r} brings: {key!r} is taken')
            if key not in zoo:
                zoo[key] = _with_own_weights(spec, file.parent)
    return zoo


def check_key(zoo: Mapping[str, ModelSpec], key: str, place: Path | str = 'the zoo') -> None:
    """Refuse a key that a zoo does not have.

    Args:
        zoo: The entries.
        key: What is wanted.
        place: Where they were read.

    Raises:
        ValueError: It has no such entry; the message names the nearest one.
    """
    if key not in zoo:
        raise ValueError(
            f'{place} has no model {key!r}'
            + (did_you_mean(key, zoo) or f', expected one of {", ".join(zoo)}')
        )


def zoo_files(path: Path) -> list[Path]:
    """List the zoo files that belong together.

    Args:
        path: The zoo that is named.

    Returns:
        It, and those that installed packages bring.
    """
    return [path, *_package_zoos(path).values()]


def _package_zoos(path: Path) -> dict[str, Path]:
    """The zoo files beside one, each by a network of the package that brings it."""
    found: dict[Path, str] = {}
    for name, kind in NETWORKS.foreign.items():
        if kind.zoo is not None and kind.zoo != path:
            found.setdefault(kind.zoo, name)
    return {name: file for file, name in found.items()}


def _with_own_weights(spec: ModelSpec, folder: Path) -> ModelSpec:
    """Let an entry find the weights that lie beside the zoo file of its package."""
    path = folder / spec.checkpoint.file
    if not spec.checkpoint.file or not path.is_file():
        return spec
    return replace(spec, checkpoint=replace(spec.checkpoint, file=str(path)))


def _read_zoo(path: Path) -> dict[str, ModelSpec]:
    read = {key: _spec_of(key, entry) for key, entry in read_entries(path).items()}
    return {key: replace(spec, source=path) for key, spec in read.items()}


def _spec_of(key: str, mapping: object) -> ModelSpec:
    where = f'models.{key}'
    entry = build_record(_Entry, mapping, where)
    if entry.resize != 'stretch':
        raise ValueError(f'{where}.resize must be stretch, got {entry.resize!r}')
    # The representation of each sensor, built from its own options.
    inputs = {}
    for name, written in entry.modalities.items():
        options = dict(written)
        form = options.pop('representation', None)
        if not isinstance(form, str) or form not in REPRESENTATIONS:
            raise ValueError(
                f'{where}.modalities.{name}.representation must be one of '
                f'{list(REPRESENTATIONS)}, got {form!r}'
            )
        inputs[name] = build_record(REPRESENTATIONS[form], options, f'{where}.modalities.{name}')
    # The arguments of the network's builder, by its own dataclass.
    if entry.builder not in NETWORKS:
        raise ValueError(
            f'{where}.builder must be one of {list(NETWORKS)}, got {entry.builder!r}'
            + (f': {NETWORKS.broken[entry.builder]}' if entry.builder in NETWORKS.broken else '')
        )
    kind = NETWORKS[entry.builder].arguments
    arguments: Any = build_record(kind, entry.arguments, f'{where}.arguments')
    # The classes: a space by its name, or written out in the entry.
    space = None
    if not isinstance(entry.label_space, str):
        space = label_space_from(entry.label_space, key, f'{where}.label_space')
        space = LABEL_SPACES.get(space.name) if space in LABEL_SPACES.values() else space
    try:
        return ModelSpec(
            key=key,
            builder=entry.builder,
            arguments=arguments,
            inputs=inputs,
            input_size=entry.input_size,
            label_space=space.name if space else str(entry.label_space),
            space=space,
            required=entry.required,
            checkpoint=entry.checkpoint,
            backbone=entry.backbone,
            results=entry.results,
            temperatures=entry.temperatures,
            description=entry.description,
        )
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error


def sensor_sets(spec: ModelSpec) -> list[tuple[str, ...]]:
    """List the sets of sensors that a network takes.

    Args:
        spec: Its entry.

    Returns:
        Every non-empty subset of its modalities that holds the required ones, smallest first.
    """
    names = list(spec.inputs)
    sets = (s for n in range(1, len(names) + 1) for s in itertools.combinations(names, n))
    return [s for s in sets if set(spec.required) <= set(s)]


def build_model(spec: ModelSpec, pool: EncoderPool | None = None) -> SegmentationNetwork:
    """Build the network of an entry, with fresh weights.

    Args:
        spec: The entry.
        pool: Frozen SAM encoders that several networks share; None builds the entry's own.

    Returns:
        The network in training mode.

    Raises:
        ValueError: The entry cannot be built; the message names the field.
    """
    build = resolve(NETWORKS[spec.builder].build)
    network: SegmentationNetwork = build(spec, pool or EncoderPool())
    return network
