"""Train a network of the zoo and small published ones by one recipe, and hold them side by side.

    python -m training.experiments.comparison training/configs/camvid.yaml root=/path/to/camvid
    python -m training.experiments.comparison CONFIG --networks espnet deeplabv3 --threads 2

All see the same frames, changed in the same way, at the same input size, under the same loss and
optimizer, and none is chosen by its result: what counts is the averaged weights of the last step.
Quick networks make more epochs than slow ones, so that all train for about the same time on one
core; the table says how long it was. Each is then exported to ONNX, measured on the validation
split at the size of its labels, and timed, both under ONNX Runtime.

Everything lies in `output_dir`: a folder per network as `training.train` leaves it, the ONNX
files, `comparison.json`, and the tables in `comparison.md`. The same command goes on where it was
cut off; of what is finished, it only measures again.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

from sam_ad_perception.core.metrics import ConfusionMatrix
from sam_ad_perception.modeling.network import SegmentationNetwork
from sam_ad_perception.modeling.runtimes.onnx_export import export_onnx
from sam_ad_perception.modeling.zoo.checkpoints import load_efficientnet
from sam_ad_perception.modeling.zoo.entries import ModelSpec
from sam_ad_perception.modeling.zoo.pretrained import find_official
from training.configuration.run import TrainConfig, load_config
from training.evaluation.presentation.outcome import show
from training.evaluation.presentation.tables import TextTable
from training.evidence import save_tables
from training.experiments.runner import Build, Variant, run_variants
from training.frames.frame import FrameSource
from training.networks.baselines import DeepLab, EspNet, LiteDeepLab
from training.networks.start import build_network
from training.runs.batches import open_frames
from training.runs.trainer import Trainer
from training.runs.validation import validation_data

RUNS = 30
"""Passes that are timed, after a few to warm up."""


def build_espnet(spec: ModelSpec, _: TrainConfig, __: Console) -> nn.Module:
    """Build ESPNet with fresh weights for the classes of an entry."""
    return EspNet(len(spec.labels.classes)).train()


def build_deeplab(spec: ModelSpec, _: TrainConfig, __: Console) -> nn.Module:
    """Build DeepLabV3 on MobileNetV3 with fresh weights for the classes of an entry."""
    return DeepLab(len(spec.labels.classes)).train()


def build_lite_deeplab(spec: ModelSpec, config: TrainConfig, console: Console) -> nn.Module:
    """Build DeepLabV3 on EfficientNet-lite0 with the weights that the entry's network has too."""
    network = LiteDeepLab(len(spec.labels.classes))
    path = find_official(config.checkpoint_folder / spec.backbone.file, spec)
    load_efficientnet(path, network.backbone, spec.backbone.sha256)
    console.print(f'DeepLabV3 starts from {path.name}')
    return network.train()


@dataclass(frozen=True)
class Contender:
    """One of the networks that are compared.

    Attributes:
        title: As the table has it.
        weights: What its training starts from.
        epochs: Its epochs over those of the configuration.
        build: Makes it.
    """

    title: str
    weights: str
    epochs: float
    build: Build


OURS = 'zoo'
CONTENDERS: Mapping[str, Contender] = {
    OURS: Contender('', '', 1.0, build_network),
    'espnet': Contender('ESPNet', 'none', 2.5, build_espnet),
    'deeplabv3': Contender('DeepLabV3-MobileNetV3-Large', 'none', 1.5, build_deeplab),
    'deeplabv3_lite': Contender(
        'DeepLabV3-EfficientNet-lite0', 'ImageNet', 2.0, build_lite_deeplab
    ),
}
"""The entry of the configuration, and what it is held against."""


def configure(config: TrainConfig, name: str) -> TrainConfig:
    """Derive the run of one network.

    Args:
        config: That of the entry.
        name: Key of `CONTENDERS`.

    Returns:
        The same recipe with the network's own folder and epochs. Rates of parts are those of
        the entry's parts, which the others do not have.
    """
    schedule = config.schedule
    epochs = schedule.epochs * CONTENDERS[name].epochs
    scales = config.optimizer.scales if name == OURS else {}
    return dataclasses.replace(
        config,
        output_dir=str(Path(config.output_dir) / name),
        schedule=dataclasses.replace(schedule, epochs=epochs),
        optimizer=dataclasses.replace(config.optimizer, scales=scales),
    )


class OnnxNetwork:
    """A network that sees the camera, under ONNX Runtime on the CPU.

    Args:
        network: The network in inference mode.
        size: Its input size `(H, W)`, pixels.
        path: Where the ONNX file is written.
        threads: How many the runtime takes.
    """

    def __init__(
        self, network: SegmentationNetwork, size: tuple[int, int], path: Path, threads: int
    ) -> None:
        import onnxruntime

        export_onnx(network, {'camera': torch.zeros(1, 3, *size)}, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.size = size
        self._session = onnxruntime.InferenceSession(
            path, options, providers=['CPUExecutionProvider']
        )

    def run(self, image: torch.Tensor) -> torch.Tensor:
        """Map (1, 3, H, W) to logits (1, classes, h, w)."""
        return torch.from_numpy(self._session.run(['logits'], {'camera': image.numpy()})[0])

    def time(self) -> list[float]:
        """Time `RUNS` passes, seconds each, from the fastest to the slowest."""
        image = torch.from_numpy(
            np.random.default_rng(0).standard_normal((1, 3, *self.size), np.float32)
        )
        times = []
        for _ in range(RUNS + 3):
            start = time.perf_counter()
            self.run(image)
            times.append(time.perf_counter() - start)
        return sorted(times[3:])


def measure_miou(network: OnnxNetwork, source: FrameSource, classes: int) -> ConfusionMatrix:
    """Count the pixels of all frames at the size of their labels.

    Args:
        network: The network.
        source: The frames.
        classes: Classes of both.

    Returns:
        The counts.

    Raises:
        DatasetError: A frame cannot be read.
    """
    matrix = ConfusionMatrix(classes)
    for index in range(source.length):
        batch = source.read([index])
        labels = batch.labels[0].numpy().astype(np.uint8)
        logits = F.interpolate(
            network.run(batch.inputs['camera']), size=labels.shape, mode='bilinear'
        )
        matrix.update(logits.argmax(dim=1)[0].numpy().astype(np.uint8), labels)
    return matrix


def measure(trainer: Trainer, name: str, threads: int) -> dict[str, Any]:
    """Export a trained network, and measure what it sees and how fast it is.

    Args:
        trainer: Its finished run.
        name: Key of `CONTENDERS`.
        threads: Threads of ONNX Runtime.

    Returns:
        Figures by name.
    """
    spec, config = trainer.spec, trainer.config
    network = trainer.average.network.eval()
    assert isinstance(network, SegmentationNetwork)
    path = trainer.output.with_suffix('.onnx')
    runtime = OnnxNetwork(network, spec.input_size, path, threads)
    held = open_frames(spec, config, validation_data(config)).source
    matrix = measure_miou(runtime, held, len(spec.labels.classes))
    times = runtime.time()
    contender = CONTENDERS[name]
    return {
        'title': contender.title or spec.key,
        'weights': contender.weights or spec.backbone.file or 'none',
        'parameters': sum(p.numel() for p in network.parameters()),
        'epochs': config.schedule.epochs,
        'steps': trainer.step,
        'miou': 100 * matrix.miou(),
        'classes': {
            label: 100 * float(iou)
            for label, iou in zip(spec.labels.names, matrix.iou(), strict=True)
        },
        'frames': held.length,
        'input_size': list(spec.input_size),
        'threads': threads,
        'median_s': times[len(times) // 2],
        'best_s': times[0],
    }


def comparison_tables(results: Mapping[str, Mapping[str, Any]]) -> list[TextTable]:
    """Lay the figures side by side.

    Args:
        results: Those of `measure` with `cpu_minutes`, by name.

    Returns:
        What each network took and reached; and its classes.
    """
    first = next(iter(results.values()))
    height, width = first['input_size']
    title = (
        f'{first["frames"]} frames of the validation split, {len(first["classes"])} classes, '
        f'inputs {height}x{width}'
    )
    note = f'ms: ONNX Runtime, {first["threads"]} threads, median of {RUNS}.'
    rows = tuple(
        (
            figures['title'],
            figures['weights'],
            f'{figures["parameters"] / 1e6:.2f}',
            f'{figures["epochs"]:g}',
            f'{figures["cpu_minutes"]:.1f}',
            f'{figures["miou"]:.1f}',
            f'{figures["miou"] - first["miou"]:+.1f}',
            f'{1e3 * figures["median_s"]:.0f}',
            f'{1 / figures["median_s"]:.1f}',
        )
        for figures in results.values()
    )
    names = ('network', 'starts from', 'M parameters', 'epochs', 'CPU min')
    columns = (*names, 'mIoU, %', 'to the first', 'ms', 'frames/s')
    classes = tuple(first['classes'])
    detail = tuple(
        (figures['title'], *(f'{figures["classes"][name]:.1f}' for name in classes))
        for figures in results.values()
    )
    return [
        TextTable(title, columns, rows, note),
        TextTable('IoU of the classes, percent', ('network', *classes), detail),
    ]


def compare(
    config: TrainConfig, names: list[str], threads: int, console: Console
) -> list[TextTable]:
    """Train and measure networks one after the other.

    Args:
        config: The recipe, with the entry that is compared.
        names: Keys of `CONTENDERS`; the first is what the others are compared with.
        threads: Threads of ONNX Runtime.
        console: Where progress is shown.

    Returns:
        Tables of what was measured now, and of others of which figures are there.
    """
    file = Path(config.output_dir) / 'comparison.json'
    variants = [Variant(name, configure(config, name), CONTENDERS[name].build) for name in names]
    results = run_variants(
        variants, lambda name, run: measure(run.trainer, name, threads), file, console
    )
    return comparison_tables({name: results[name] for name in CONTENDERS if name in results})


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog='python -m training.experiments.comparison',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', type=Path)
    parser.add_argument('overrides', nargs='*', metavar='name=value')
    parser.add_argument('--networks', nargs='+', choices=list(CONTENDERS), metavar='NAME',
                        default=list(CONTENDERS), help=f'of {", ".join(CONTENDERS)}')  # fmt: skip
    parser.add_argument('--threads', type=int, default=2, help='of ONNX Runtime')
    arguments = parser.parse_args()
    console = Console()
    command = shlex.join(['python', '-m', 'training.experiments.comparison', *sys.argv[1:]])
    try:
        config = load_config(arguments.config, arguments.overrides)
        if not config.schedule.epochs:
            raise ValueError('schedule.epochs must say how long the networks train, got 0')
        tables = compare(config, arguments.networks, arguments.threads, console)
        for table in tables:
            show(table, console)
        folder = Path(config.output_dir)
        save_tables(f'`{command}`', tables, folder / 'comparison.md')
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == '__main__':
    main()
