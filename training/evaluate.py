"""Measure a checkpoint on held-back simulated drives, with all sensors and with some removed.

    python -m training.evaluate mle_sam_demo [--weights runs/mle_sam_demo/mle_sam_demo.safetensors]

Goes through `Segmenter`, as a vehicle does, at the camera's full size. The table shows the IoU
of each class; `--out` writes the figures in the form of `results` in `models/zoo.yaml`.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sam_ad_perception.core.health_config import UNCHECKED
from sam_ad_perception.core.labels import LabelSpace
from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.modeling.checkpoints import CheckpointSpec, load_checkpoint
from sam_ad_perception.modeling.expert_network import ExpertNetwork
from sam_ad_perception.modeling.segmenter import Segmenter
from sam_ad_perception.modeling.zoo import MeasuredResult, build_model, load_zoo
from sam_ad_perception.simulation.drive import Drive, DriveConfig

HELD_BACK_SEEDS = range(100)
DRIVE_S = 20.0


@dataclass(frozen=True, eq=False)
class Measurement:
    """What one subset of the sensors reached.

    Attributes:
        result: The figures that are published.
        iou: (classes,) float64, NaN for a class that is absent.
    """

    result: MeasuredResult
    iou: np.ndarray


def standard_subsets(
    sensors: Sequence[Modality], required: Sequence[str] = ()
) -> list[tuple[Modality, ...]]:
    """All sensors, each one removed, and each one alone.

    Args:
        sensors: The registered sensors.
        required: Those without which the network cannot run.

    Returns:
        Subsets without repetition, all with the required sensors.
    """
    everything = tuple(sensors)
    removed = [tuple(s for s in everything if s is not gone) for gone in everything]
    alone = [(s,) for s in everything]
    unique = dict.fromkeys([everything, *removed, *alone])
    return [subset for subset in unique if subset and set(required) <= set(subset)]


def keep_sensors(bundle: SensorBundle, subset: Sequence[Modality]) -> SensorBundle:
    """Remove all other sensors from a bundle.

    Args:
        bundle: The bundle.
        subset: Sensors to keep.

    Returns:
        A bundle in the same view in which the others are missing.
    """
    kept = {m: frame for m, frame in bundle.frames.items() if m in subset}
    gone = {m: 'removed' for m in bundle.frames if m not in subset}
    return dataclasses.replace(bundle, frames=kept, missing={**bundle.missing, **gone})


def measure_subsets(
    segmenter: Segmenter,
    subsets: Sequence[tuple[Modality, ...]],
    frames: int,
    console: Console,
) -> list[Measurement]:
    """Measure subsets on held-back drives, one frame per drive first, then a second ...

    Args:
        segmenter: The network.
        subsets: What to measure.
        frames: Frames, spread over the held-back seeds.
        console: Where progress is shown.

    Returns:
        One measurement per subset, in order.
    """
    space = segmenter.labels
    matrices = [ConfusionMatrix(len(space), space.ignore_id) for _ in subsets]
    size = (0, 0)
    for number in track(range(frames), description='measuring', console=console):
        seed = HELD_BACK_SEEDS[number % len(HELD_BACK_SEEDS)]
        time_s = np.random.default_rng(number).uniform(0.2, DRIVE_S - 0.2)
        drive = Drive(DriveConfig(seed=seed, duration_s=DRIVE_S))
        bundle, truth = drive.bundle(drive.config.start_ns + int(time_s * 1e9))
        size = bundle.camera.size
        for subset, matrix in zip(subsets, matrices, strict=True):
            result = segmenter.segment([keep_sensors(bundle, subset)])[0]
            matrix.update(result.mask, truth.labels)
    return [
        Measurement(_summarise(subset, matrix, frames, size), matrix.iou())
        for subset, matrix in zip(subsets, matrices, strict=True)
    ]


def load_weights(zoo_path: Path, key: str, weights: Path) -> Segmenter:
    """Build a segmenter with weights that the zoo does not know yet.

    Args:
        zoo_path: The zoo.
        key: The entry.
        weights: safetensors file of its network, as training exports it.

    Returns:
        The segmenter.

    Raises:
        ValueError: No such entry, or the file does not fit its network.
    """
    zoo = load_zoo(zoo_path)
    if key not in zoo:
        raise ValueError(f'{zoo_path} has no model {key!r}, expected one of {list(zoo)}')
    network = build_model(zoo[key])
    load_checkpoint(network, CheckpointSpec(weights.name), weights.parent)
    return Segmenter([ExpertNetwork(zoo[key], network)], health=UNCHECKED)


def _summarise(
    subset: Sequence[Modality], matrix: ConfusionMatrix, frames: int, size: tuple[int, int]
) -> MeasuredResult:
    iou = matrix.iou()
    return MeasuredResult(
        dataset='simulated, held-back seeds 0-99',
        subset=tuple(str(m) for m in subset),
        miou=round(100 * matrix.miou(), 2),
        classes=int(np.isfinite(iou).sum()),
        frames=frames,
        resolution=size,
    )


def make_table(measurements: Sequence[Measurement], space: LabelSpace) -> Table:
    """Lay the measurements out, one row per class.

    Args:
        measurements: What was measured.
        space: The classes.

    Returns:
        The table.
    """
    table = Table(title='IoU in percent')
    table.add_column('class', no_wrap=True)
    everything = max((m.result.subset for m in measurements), key=len)
    for m in measurements:
        table.add_column(_heading(m.result.subset, everything), justify='right')
    for index, name in enumerate(space.names):
        values = [m.iou[index] for m in measurements]
        if np.isfinite(values).any():
            table.add_row(name, *[f'{100 * v:.1f}' for v in values])
    table.add_row('mean', *[f'{m.result.miou:.1f}' for m in measurements], style='bold')
    return table


def _heading(subset: Sequence[str], everything: Sequence[str]) -> str:
    gone = [name for name in everything if name not in subset]
    if not gone:
        return 'all'
    return f'no {gone[0]}' if len(gone) == 1 else ' '.join(subset)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog='python -m training.evaluate')
    parser.add_argument('model')
    parser.add_argument('--zoo', type=Path, default=Path('models/zoo.yaml'))
    parser.add_argument('--checkpoints', type=Path, default=Path('models/checkpoints'))
    parser.add_argument('--weights', type=Path, help="a file in place of the zoo entry's own")
    parser.add_argument('--frames', type=int, default=100)
    parser.add_argument('--quick', action='store_true', help='all sensors only')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--out', type=Path, help='YAML file for the figures')
    arguments = parser.parse_args()
    console = Console()
    torch.set_num_threads(arguments.threads)
    if arguments.weights is None:
        segmenter = Segmenter.from_zoo(
            arguments.zoo, arguments.model, arguments.checkpoints, health=UNCHECKED
        )
    else:
        segmenter = load_weights(arguments.zoo, arguments.model, arguments.weights)
    spec = segmenter.experts[arguments.model].spec
    subsets = standard_subsets([Modality(name) for name in spec.inputs], spec.required)
    subsets = subsets[:1] if arguments.quick else subsets
    measurements = measure_subsets(segmenter, subsets, arguments.frames, console)
    console.print(make_table(measurements, segmenter.labels))
    if arguments.out is not None:
        rows = [dataclasses.asdict(m.result) for m in measurements]
        plain = [{k: list(v) if isinstance(v, tuple) else v for k, v in r.items()} for r in rows]
        arguments.out.write_text(yaml.safe_dump({'results': plain}, sort_keys=False))


if __name__ == '__main__':
    main()
