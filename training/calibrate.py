"""Fit the temperatures at which a network's confidence comes true, by set of sensors.

    python -m training.calibrate mle_sam_demo --frames 6
    python -m training.calibrate runs/mine mfnet --root data/mfnet --split val --out figures

Simulated drives that no training has seen are shown as they are and with faults on one sensor;
those of `training.evaluate`'s first frames are not among them. `--out` writes `temperatures.yaml`
in the form of the zoo: its rows belong into the entry (`temperatures`) of exactly these weights.
The mask does not depend on them, the confidence that comes with it does.
"""

from __future__ import annotations

import argparse
import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from rich.console import Console

from sam_ad_perception.core.console.command_line import CommandParser, describe_error
from sam_ad_perception.core.labels import mapping
from sam_ad_perception.core.routing.day_or_night import estimate_condition
from sam_ad_perception.core.routing.router import RoutingConfig
from sam_ad_perception.core.sensors import Modality, SensorBundle
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inputs.camera_view import looks_at_others
from sam_ad_perception.modeling.zoo.entries import sensor_sets
from sam_ad_perception.modeling.zoo.files import zoo_files
from training.augmentation.sensor_faults import spoil_bundle
from training.configuration.fault_cases import fault_cases
from training.datasets.catalog import dataset_names
from training.evaluation.data import SIMULATED, EvaluationData, HeldBackDrives, open_data
from training.evaluation.encodings import share_encodings
from training.evaluation.measurement import shrink_labels
from training.evaluation.presentation.outcome import show
from training.evaluation.presentation.tables import TextTable
from training.evaluation.selection import load_network
from training.evaluation.systems import REMOVED
from training.evaluation.temperature_fit import FittedSet, TemperatureFit, fit_set
from training.frames.frame import LabelledFrame, keep_inputs, prepare_frame
from training.networks.checkpoint import save_atomically

SEEDS = range(50, 100)
"""Simulated drives for the fit: `training.evaluate` begins with the others."""

FAULTS = 2
"""Each frame is also shown with so many faults, one after the other, on different sensors."""

STEP = 2
"""Every so many cells of each axis of the network's grid one is counted."""

TEMPERATURES = 'temperatures.yaml'


def fit_temperatures(
    expert: ExpertNetwork, data: EvaluationData, console: Console, *, faults: int = FAULTS
) -> list[FittedSet]:
    """Show frames to a network and find its temperatures.

    Args:
        expert: The network.
        data: Frames with truth.
        console: Where progress is shown.
        faults: With how many faults each frame is also shown.

    Returns:
        One per set of sensors that occurred.

    Raises:
        ValueError: No table relates the network's classes to the data set's.
    """
    ids = None
    if expert.spec.labels != data.space:
        ids = mapping(expert.spec.labels, data.space)
    share_encodings(expert.network)
    groups: dict[tuple[str, ...], dict[str, TemperatureFit]] = {}
    for number, frame in enumerate(data):
        rng = np.random.default_rng([number, zlib.crc32(frame.name.encode())])
        for shown, sets in _spoil(frame, expert, data.sensors, faults, rng):
            _count(shown, sets, expert, ids, data.space.ignore_id, groups)
        console.print(f'{number + 1} of {len(data)} frames')
    found = [fit_set(subset, fits) for subset, fits in groups.items()]
    return sorted(found, key=lambda each: len(each.row.subset), reverse=True)


def _spoil(
    frame: LabelledFrame,
    expert: ExpertNetwork,
    sensors: Sequence[str],
    faults: int,
    rng: np.random.Generator,
) -> Iterator[tuple[LabelledFrame, list[tuple[str, ...]]]]:
    """A frame with each of some faults, and the sets of sensors that see it."""
    sets = [s for s in sensor_sets(expert.spec) if set(s) <= set(sensors)]
    yield frame, sets
    cases: dict[str, list[str]] = {}
    for case in fault_cases([n for n in expert.spec.inputs if n in sensors], 'all'):
        cases.setdefault(case.split(':')[0], []).append(case)
    for sensor in rng.permutation(sorted(cases))[:faults].tolist():
        bundle = spoil_bundle(frame.bundle, str(rng.choice(cases[sensor])), rng)
        yield dataclasses.replace(frame, bundle=bundle), [s for s in sets if sensor in s]


def _count(
    frame: LabelledFrame,
    sets: Sequence[tuple[str, ...]],
    expert: ExpertNetwork,
    ids: np.ndarray | None,
    ignore_id: int,
    groups: dict[tuple[str, ...], dict[str, TemperatureFit]],
) -> None:
    """Count the pixels of a frame on the network's own grid."""
    forms = expert.spec.inputs
    together = not any(map(looks_at_others, forms.values()))
    prepared = prepare_frame(frame, forms, expert.spec.input_size)
    seems = seeming_condition(frame.bundle)
    for subset in sets:
        if not together:  # an input made with the help of a removed sensor is another one
            kept = keep_inputs(frame, subset, REMOVED)
            prepared = prepare_frame(kept, forms, expert.spec.input_size)
        inputs = {name: prepared.inputs[name] for name in subset if name in prepared.inputs}
        if len(inputs) < len(subset):
            continue  # the vehicle would run another set
        _, logits = expert.run([dataclasses.replace(prepared, inputs=inputs)])
        grid = logits[0].cpu().numpy()
        labels = shrink_labels(frame.labels, grid.shape[1:])[::STEP, ::STEP]
        known = labels != ignore_id
        pixels = np.ascontiguousarray(grid[:, ::STEP, ::STEP][:, known])
        best = pixels.argmax(axis=0).astype(np.uint8)
        right = (best if ids is None else ids[best]) == labels[known]
        name = seems if Modality.CAMERA in subset else ''
        fit = groups.setdefault(subset, {}).setdefault(name, TemperatureFit())
        fit.update(pixels, right)


def seeming_condition(bundle: SensorBundle) -> str:
    """What a vehicle takes the surroundings of a bundle for; empty where it is not sure."""
    shown = bundle.frames.get(Modality.CAMERA)
    picture = np.asarray(shown.data) if shown is not None else np.empty(0)
    if picture.ndim != 3 or picture.dtype != np.uint8:
        return ''
    seems = estimate_condition(np.asarray(picture, np.uint8))
    sure = seems.confidence >= RoutingConfig().min_condition_confidence
    return seems.name if sure else ''


def temperature_table(key: str, found: Sequence[FittedSet]) -> TextTable:
    """Lay the temperatures out.

    Args:
        key: The network.
        found: See `fit_temperatures`.

    Returns:
        The table, with the calibration error on the frames of the fit before and after.
    """
    rows = [
        (
            ' + '.join(each.row.subset),
            f'{each.row.temperature:.2f}',
            ', '.join(f'{k} {v:.2f}' for k, v in each.row.conditions.items()) or '-',
            f'{100 * each.fit.at(1.0).error():.1f}',
            f'{100 * each.fit.at(each.row.temperature).error():.1f}',
            str(each.fit.frames),
        )
        for each in found
    ]
    columns = ('sensors', 'temperature', 'by condition', 'ECE at 1', 'ECE', 'frames')
    note = 'ECE: expected calibration error on the frames of the fit, percent.'
    return TextTable(f'{key}: temperatures', columns, tuple(rows), note)


def save_temperatures(key: str, found: Sequence[FittedSet], folder: Path) -> None:
    """Write `temperatures.yaml`: entry to its rows, as they may be copied into the zoo.

    Args:
        key: The network.
        found: See `fit_temperatures`.
        folder: Where; it is made.

    Raises:
        OSError: The file cannot be written.
    """
    rows = []
    for each in found:
        row: dict[str, object] = {
            'subset': list(each.row.subset),
            'temperature': each.row.temperature,
        }
        if each.row.conditions:
            row['conditions'] = dict(sorted(each.row.conditions.items()))
        rows.append(row)
    text = yaml.safe_dump({key: {'temperatures': rows}}, sort_keys=False, width=100)
    save_atomically(text.encode(), folder / TEMPERATURES)


def main(argv: Sequence[str] | None = None, prog: str = 'python -m training.calibrate') -> None:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.
        prog: What the user called it by.
    """
    parser = _make_parser(prog)
    arguments = parser.parse_args(argv)
    console = Console()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        _, checkpoints = zoo_files(arguments.zoo or '', arguments.checkpoints or '')
        trained = load_network(arguments.network, arguments.zoo, checkpoints, arguments.entry)
        expert = ExpertNetwork(trained.spec, trained.network, arguments.device)
        if arguments.dataset == SIMULATED:
            data: EvaluationData = HeldBackDrives(
                arguments.frames, tuple(arguments.conditions), SEEDS
            )
        else:
            data = open_data(
                arguments.dataset,
                root=arguments.root,
                split=arguments.split,
                partial=arguments.partial,
                frames=arguments.frames,
            )
        found = fit_temperatures(expert, data, console, faults=arguments.faults)
        if arguments.out:
            save_temperatures(expert.spec.key, found, arguments.out)
    except (ValueError, OSError) as error:
        parser.error(describe_error(error))
    show(temperature_table(expert.spec.key, found), console)


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog,
        __doc__,
        examples=('python -m training.calibrate mle_sam_demo --frames 6 --out figures',),
        raw=True,
    )
    parser.add_argument('network', help='entry of the zoo, run, or file of weights')
    parser.add_argument(
        'dataset', nargs='?', default=SIMULATED,
        help=f'{SIMULATED} where none is named, or one of {", ".join(dataset_names())}',
    )  # fmt: skip
    parser.add_argument('--root', type=Path, help='folder of the data set')
    parser.add_argument('--split', default='train')
    parser.add_argument('--partial', action='store_true', help='less than was published will do')
    parser.add_argument('--zoo', type=Path, help="default: that of a run, else the package's")
    parser.add_argument(
        '--checkpoints', type=Path, help='default: those of the package, or beside --zoo'
    )
    parser.add_argument('--entry', default='', help='entry of weights that do not tell it')
    parser.add_argument(
        '--frames', type=int, default=6, help='simulated: in each condition; 0: all of a data set'
    )
    parser.add_argument(
        '--conditions', type=lambda text: text.split(','),
        default=['day', 'night', 'fog', 'rain'], metavar='NAME,NAME',
        help='light and weather of simulated drives',
    )  # fmt: skip
    parser.add_argument(
        '--faults', type=int, default=FAULTS, help='with how many faults each frame is also shown'
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=0, help='of torch; 0 for its own number')
    parser.add_argument('--out', type=Path, help=f'folder of {TEMPERATURES}')
    return parser


if __name__ == '__main__':
    main()
