"""Make of a trained network what a vehicle loads: weights, entry of a zoo, ONNX on request.

    python -m training.export runs/mle_sam_demo --out exported
    python -m training.export runs/mine/debug.safetensors --out exported --name mine --onnx

The folder then holds `zoo.yaml` and `checkpoints/`, which nodes and `sam_ad label` take as
`model.zoo` and `model.checkpoint_dir`. Nothing is left there of a network that, read back from its
file, does not give the same logits.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from torch import Tensor

from sam_ad_perception.core.console.command_line import CommandParser, describe_error
from sam_ad_perception.core.console.outputs import new_folder
from sam_ad_perception.core.label_files import label_space_values
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.runtimes.onnx_export import export_sensor_sets
from sam_ad_perception.modeling.zoo.checkpoints import (
    CheckpointError,
    CheckpointSpec,
    load_checkpoint,
)
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo, sensor_sets
from sam_ad_perception.modeling.zoo.files import zoo_files
from sam_ad_perception.modeling.zoo.packed import pack_entry, read_entries
from training.evaluation.files import load_results
from training.evaluation.selection import TrainedNetwork, load_network
from training.networks.checkpoint import export_weights, save_atomically

ZOO, CHECKPOINTS, ONNX = 'zoo.yaml', 'checkpoints', 'onnx'
LOGIT_TOLERANCE = 1e-4
"""Largest difference of the logits, over their largest value, between a network and its copy at
other addresses, where matrix products may add in another order."""
ONNX_AGREEMENT = 0.99


def export_network(
    trained: TrainedNetwork,
    name: str,
    folder: Path,
    *,
    half: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> CheckpointSpec:
    """Write the weights of a network, read them back, and compare.

    Args:
        trained: The network; its weights become those of the file.
        name: Name of the file, without ending.
        folder: Where; it is made.
        half: Whether the file holds half precision.
        metadata: What the file carries beside the weights.

    Returns:
        Name and checksum of the file.

    Raises:
        CheckpointError: Read back, the network is another one; the file is removed.
        OSError: The file cannot be written.
    """
    path = folder / f'{name}.safetensors'
    sha256 = export_weights(trained.network.state_dict(), path, half=half, metadata=metadata)
    checkpoint = CheckpointSpec(path.name, sha256)
    try:
        check_reload(trained.network, trained.spec, checkpoint, folder)
    except CheckpointError:
        path.unlink()
        raise
    return checkpoint


def check_reload(
    network: SegmentationNetwork, spec: ModelSpec, checkpoint: CheckpointSpec, folder: Path
) -> None:
    """Refuse a file from which a network does not come back.

    Into the same memory the file must bring the same bits; a network built anew, whose tensors
    lie elsewhere, must give the same logits but for rounding. What the weights do not hold (a
    buffer that is not saved, an entry that was changed after the training) shows here.

    Args:
        network: The network; afterwards its weights are those of the file.
        spec: Its entry.
        checkpoint: The file.
        folder: Where it lies.

    Raises:
        CheckpointError: The logits are not finite, or the network does not come back.
    """
    network.eval()
    inputs = make_inputs(spec)
    load_checkpoint(network, checkpoint, folder)  # half precision has moved the weights
    expected = _logits(network, inputs)
    if not bool(expected.isfinite().all()):
        raise CheckpointError(f'{checkpoint.file}: the network gives logits that are no numbers')
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    load_checkpoint(network, checkpoint, folder)
    if not torch.equal(_logits(network, inputs), expected):
        raise CheckpointError(
            f'{checkpoint.file}: read back, the network gives other logits; something that it '
            'computes with is not in its state'
        )
    fresh = build_model(spec).eval()
    load_checkpoint(fresh, checkpoint, folder)
    error = (_logits(fresh, inputs) - expected).abs().max() / expected.abs().max()
    if not float(error) <= LOGIT_TOLERANCE:
        raise CheckpointError(
            f'{checkpoint.file}: a network built anew from the entry {spec.key} gives logits that '
            f'differ by {float(error):.1e}, expected at most {LOGIT_TOLERANCE:.0e}; something '
            'that it computes with is neither in the file nor in the entry'
        )


def make_inputs(spec: ModelSpec) -> dict[str, Tensor]:
    """Make random images of every modality, the same ones every time.

    Args:
        spec: The entry.

    Returns:
        (1, C, H, W) float32 by modality.
    """
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn((1, channels, *spec.input_size), generator=generator)
        for name, channels in spec.channels.items()
    }


def write_entry(
    entry: Mapping[str, Any],
    name: str,
    checkpoint: CheckpointSpec,
    path: Path,
    results: Sequence[Mapping[str, object]] = (),
) -> ModelSpec:
    """Write an entry into a zoo, beside those that are there, and read it back.

    Args:
        entry: The network's entry, as it stands in a zoo.
        name: Its key in the new one.
        checkpoint: The weights.
        path: File to write.
        results: What was measured of it, as of `MeasuredResult`.

    Returns:
        The new entry.

    Raises:
        OSError: A file cannot be read or written.
    """
    entry = dict(entry)
    facts = {k: v for k, v in vars(checkpoint).items() if v}
    entry['checkpoint'] = facts
    entry.pop('results', None)
    if results:
        entry['results'] = [dict(row) for row in results]
    others = {}
    if path.is_file():
        load_zoo(path)  # what is no zoo is not written over
        others = yaml.safe_load(path.read_text(encoding='utf-8'))['models']
    text = yaml.safe_dump({'models': {**others, name: entry}}, sort_keys=False, width=100)
    save_atomically(text.encode(), path)
    return load_zoo(path)[name]


def main(argv: Sequence[str] | None = None, prog: str = 'python -m training.export') -> None:
    """Run from the command line.

    Args:
        argv: Its arguments; those of the process where None.
        prog: What the user called it by.
    """
    parser = CommandParser(
        prog,
        __doc__,
        examples=(
            'sam_ad export runs/mine --out vehicle',
            'sam_ad export mle_sam_demo --out onnx --onnx --sensors camera,lidar',
        ),
        raw=True,
    )
    parser.add_argument('network', help='entry of the zoo, folder of a run, or file of weights')
    parser.add_argument('--out', type=new_folder(), required=True, help='folder; is made')
    parser.add_argument('--name', default='', help='key of the new entry, default: the old one')
    parser.add_argument('--entry', default='', help='entry of weights that do not tell it')
    parser.add_argument('--zoo', type=Path, help="default: that of a run, else the package's")
    parser.add_argument(
        '--checkpoints', type=Path, help='default: those of the package, or beside --zoo'
    )
    parser.add_argument('--full', action='store_true', help='fp32 instead of half precision')
    parser.add_argument('--licence', default='', help='terms of the weights')
    parser.add_argument('--results', type=Path, help='--out of training.evaluate')
    parser.add_argument('--onnx', action='store_true', help='also a file per set of sensors')
    parser.add_argument(
        '--sensors',
        action='append',
        type=lambda text: tuple(text.split(',')),
        metavar='NAME,NAME',
        help='only this set of sensors as ONNX; may be given several times',
    )
    arguments = parser.parse_args(argv)
    _, arguments.checkpoints = zoo_files(arguments.zoo or '', arguments.checkpoints or '')
    try:
        _export(arguments, Console())
    except (ValueError, OSError, ImportError) as error:
        parser.error(describe_error(error))


def _export(arguments: argparse.Namespace, console: Console) -> None:
    trained = load_network(
        arguments.network, arguments.zoo, arguments.checkpoints, arguments.entry
    )
    key, out = trained.spec.key, arguments.out
    name = arguments.name or key
    results = _rows(arguments.results, key) if arguments.results else []
    for stale in stale_graphs(out / ONNX, name):
        stale.unlink()
        console.print(f'{stale} is of earlier weights and was removed')
    entry = dict(read_entries(trained.spec.source)[key])
    entry['label_space'] = label_space_values(trained.spec.labels)
    if not trained.spec.temperatures:
        entry.pop('temperatures', None)  # of other weights
    checkpoint = export_network(
        trained,
        name,
        out / CHECKPOINTS,
        half=not arguments.full,
        metadata=pack_entry(entry, name, trained.spec.labels),
    )
    note = shlex.join(['python', '-m', 'training.export', *sys.argv[1:]])
    checkpoint = replace(checkpoint, licence=arguments.licence, note=note)
    spec = write_entry(entry, name, checkpoint, out / ZOO, results)
    console.print(f'{out / ZOO}: {name}, {trained.parameters:,} parameters')
    console.print(f'{out / CHECKPOINTS / checkpoint.file}: sha256 {checkpoint.sha256}')
    if arguments.onnx or arguments.sensors:
        sets = arguments.sensors or sensor_sets(spec)
        _export_onnx(trained.network, spec, sets, out / ONNX, console)


def stale_graphs(folder: Path, name: str) -> list[Path]:
    """Find the graphs of an entry whose weights are about to be replaced.

    Args:
        folder: Of ONNX files and what runtimes made of them.
        name: Key of the entry.

    Returns:
        The files.
    """
    endings = ('.onnx', '.onnx.data', '.engine', '.plan')
    if not folder.is_dir():
        return []
    return [p for p in sorted(folder.glob(f'{name}.*')) if p.name.endswith(endings)]


def _export_onnx(
    network: SegmentationNetwork,
    spec: ModelSpec,
    sets: Sequence[Sequence[str]],
    folder: Path,
    console: Console,
) -> None:
    """Write ONNX files; the first one that ONNX Runtime reads otherwise ends it."""
    fresh = not folder.exists()
    for file in export_sensor_sets(network, spec, sets, folder):
        text = f'{file.agreement:.2%} of the pixels agree, relative error {file.error:.1e}'
        console.print(f'{file.path}: {text}')
        if file.agreement < ONNX_AGREEMENT:
            if fresh:
                shutil.rmtree(folder)
            raise CheckpointError(f'{file.path}: {text}, expected {ONNX_AGREEMENT:.0%} at least')


def _rows(folder: Path, key: str) -> list[dict[str, object]]:
    """What was measured of a network, as plain values."""
    found = load_results(folder).get(key, ())
    return [
        {k: list(v) if isinstance(v, tuple) else v for k, v in vars(row).items()} for row in found
    ]


def _logits(network: SegmentationNetwork, inputs: Mapping[str, Tensor]) -> Tensor:
    """The logits of all heads, one after the other."""
    with torch.inference_mode():
        output = network(inputs, with_aux=True)
    heads = [output.logits] if output.aux_logits is None else [output.logits, output.aux_logits]
    return torch.cat([head.flatten() for head in heads])


if __name__ == '__main__':
    main()
