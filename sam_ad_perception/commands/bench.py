"""`sam_ad bench`: what runs the chosen network fastest on this machine, with sensors as given.

Every way runs the same simulated frames through the whole of perception, as a node or
`sam_ad label` does.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sam_ad_perception.commands.display.progress import show_status
from sam_ad_perception.commands.display.tables import print_table
from sam_ad_perception.commands.options.model import (
    add_model_options,
    add_params_option,
    override_model,
)
from sam_ad_perception.core.benchmarking import (
    Spread,
    best_ms,
    describe_machine,
    write_results,
)
from sam_ad_perception.core.console.command_line import (
    CommandParser,
    existing_file,
    names_of,
    whole_number,
)
from sam_ad_perception.core.console.outputs import new_file
from sam_ad_perception.core.sensors import Modality, PointCloud, SensorBundle

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.table import Table
    from torch import Tensor

    from sam_ad_perception.modeling.inference.segmenter import Segmenter
    from sam_ad_perception.nodes.ros.configuration import SegmentationConfig
    from sam_ad_perception.simulation.drives.configuration import DriveConfig

WAYS = {
    'torch': ('torch', False),
    'half': ('torch', True),
    'compile': ('compile', False),
    'onnx': ('onnx', False),
    'openvino': ('openvino', False),
    'openvino-half': ('openvino', True),
}
"""`model.backend` and `model.half` of each way."""
DEFAULT_WAYS = ('torch', 'half', 'onnx', 'openvino', 'openvino-half')
"""Those that take seconds to build."""

LEAST_SIZE = 16
"""Pixels of the smallest side that can be simulated."""
SAME = 0.99
"""Share of the pixels that must get the class of float32 torch for a way to be advised."""


@dataclass(frozen=True)
class BenchRow:
    """One way to run the network.

    Attributes:
        way: One of `WAYS`.
        threads: Of the network.
        frame: A whole frame.
        stages: Each of its stages.
        limit_ms: No way can run the network faster, by operations and bytes; NaN where unknown.
        same: Share of the pixels with the class that float32 torch gives, 0..1.
        start_s: From building the network to its first mask, seconds.
        torch_mask_ms: What mask and confidence take when torch interpolates the logits and
            takes the best class, instead of ours in one pass; only beside float32 torch.
        problem: Why it did not run; empty where it did.
    """

    way: str
    threads: int
    frame: Spread
    stages: dict[str, Spread]
    limit_ms: float
    same: float
    start_s: float
    torch_mask_ms: float = np.nan
    problem: str = ''


def main(argv: Sequence[str]) -> int:
    """Measure, print a table, and advise; see `sam_ad bench --help`."""
    options = _parse(argv)
    from rich.console import Console

    from sam_ad_perception.nodes.segmentation.model_loading import check_model
    from sam_ad_perception.simulation.drives.sample_frames import sample_frames

    console = Console()
    config = _read_config(options)
    check_model(config.model)
    frames = _drive(options)
    with show_status(console, 'simulating frames'):
        bundles = sample_frames(frames, options.frames, options.sensors, options.points)
    rows = list(measure(config, bundles, options, console))
    for table in make_tables(rows, f'{config.model.key}: {_describe(bundles[0])}'):
        print_table(console, table)
    for row in rows:
        if row.way == 'torch':
            mask, peer = row.stages['mask'].p50, row.torch_mask_ms
            console.print(
                f'mask and confidence at {row.threads} threads: ours {mask:.1f} ms, torch '
                f'interpolating {peer:.1f} ms, {peer / mask:.1f}x',
                highlight=False,
            )
    good = [row for row in rows if not row.problem and row.same >= SAME]
    best = min(good, key=lambda row: row.frame.p50)
    backend, half = WAYS[best.way]
    console.print(
        f'Fastest: model.backend: {backend}, model.half: {str(half).lower()}, '
        f'model.threads: {best.threads}: {1e3 / best.frame.p50:.1f} masks/s',
        highlight=False,
    )
    if options.json:
        write_results(options.json, rows, f'sam_ad bench {shlex.join(argv)}'.rstrip())
        console.print(f'written to {options.json}', highlight=False, soft_wrap=True)
    return 0


def measure(
    config: SegmentationConfig,
    bundles: Sequence[SensorBundle],
    options: argparse.Namespace,
    console: Console,
) -> Iterator[BenchRow]:
    """Run every way with every number of threads.

    Args:
        config: Network and device.
        bundles: Frames.
        options: Of the command line.
        console: Where progress shows.

    Yields:
        One row each; with each number of threads that of torch in float32 comes first.
    """
    expected: list[NDArray[np.uint8]] = []
    for threads in options.threads:
        for way in dict.fromkeys(('torch', *options.backends)):
            backend, half = WAYS[way]
            model = replace(config.model, backend=backend, half=half, threads=threads)
            with show_status(console, f'{way}, {threads} threads'):
                yield measure_way(replace(config, model=model), bundles, way, expected)


def measure_way(
    config: SegmentationConfig,
    bundles: Sequence[SensorBundle],
    way: str,
    expected: list[NDArray[np.uint8]],
) -> BenchRow:
    """Run the frames in one way.

    Args:
        config: Network, device, backend, threads.
        bundles: Frames.
        way: One of `WAYS`.
        expected: Masks of float32 torch; filled where empty.

    Returns:
        Its row.
    """
    from sam_ad_perception.core.images.thermal import ThermalRanges
    from sam_ad_perception.modeling.inference.hardware_limits import count_work, measure_rates
    from sam_ad_perception.modeling.runtimes.backends import TorchBackend
    from sam_ad_perception.nodes.segmentation.model_loading import make_segmenter

    begun = time.perf_counter()
    segmenter = make_segmenter(config)
    (first,) = segmenter.segment([bundles[0]])
    start_s = time.perf_counter() - begun
    expert, threads = segmenter.experts[first.expert], config.model.threads
    if WAYS[way][0] != 'torch' and isinstance(expert.backend, TorchBackend):
        none = Spread(np.nan, np.nan)
        return BenchRow(way, threads, none, {}, np.nan, np.nan, start_s, problem='cannot run')
    segmenter.segment([bundles[-1]])
    segmenter.reset()
    totals, stages, masks = run_frames(segmenter, bundles)
    expected.extend(() if expected else masks)
    item = expert.prepare(bundles[0], [str(m) for m in first.used], ThermalRanges())
    rates = measure_rates(expert.device, half=config.model.half)
    return BenchRow(
        way,
        threads,
        Spread.of(totals),
        {stage: Spread.of(values) for stage, values in stages.items()},
        count_work(expert, item).limit_ms(rates),
        float(np.mean([(a == b).mean() for a, b in zip(masks, expected, strict=True)])),
        start_s,
        measure_torch_mask(expert.run([item])[1], bundles[0]) if way == 'torch' else np.nan,
    )


def run_frames(
    segmenter: Segmenter, bundles: Sequence[SensorBundle]
) -> tuple[list[float], dict[str, list[float]], list[NDArray[np.uint8]]]:
    """Segment frame by frame.

    Args:
        segmenter: What runs.
        bundles: Frames.

    Returns:
        Milliseconds of each frame, those of each of its stages, and the masks (H, W).
    """
    totals: list[float] = []
    stages: dict[str, list[float]] = {}
    masks = []
    for bundle in bundles:
        start = time.perf_counter()
        (result,) = segmenter.segment([bundle])
        totals.append(1e3 * (time.perf_counter() - start))
        masks.append(result.mask)
        for stage, seconds in result.latency_s.items():
            stages.setdefault(stage, []).append(1e3 * seconds)
    return totals, stages, masks


def measure_torch_mask(logits: Tensor, bundle: SensorBundle) -> float:
    """Time how torch alone would make mask and confidence.

    Args:
        logits: (1, classes, h, w), on the device that makes the mask.
        bundle: Tells the size of the mask.

    Returns:
        Milliseconds, least of five.
    """
    import torch

    def decode() -> None:
        full = torch.nn.functional.interpolate(logits, bundle.camera.size, mode='bilinear')
        confidence, mask = full.softmax(1).max(1)
        (confidence * 255).round().to(torch.uint8).cpu().numpy()
        mask.to(torch.uint8).cpu().numpy()

    with torch.inference_mode():
        return best_ms(decode, 5)[0]


def _drive(options: argparse.Namespace) -> DriveConfig:
    """Describe a drive of sensors as the command line has them."""
    from sam_ad_perception.simulation.drives.drive import DriveConfig
    from sam_ad_perception.simulation.sensors.rig import load_rig

    return DriveConfig(
        duration_s=0.1 * options.frames + 1.0,
        size=options.size,
        thermal_size=options.thermal_size,
        event_size=options.event_size,
        rig=load_rig(options.rig) if options.rig else (),
    )


def make_tables(rows: Sequence[BenchRow], title: str) -> Iterator[Table]:
    """Lay the rows out: how fast each is, and where the rest of a frame goes.

    Args:
        rows: The rows.
        title: What ran.

    Yields:
        The tables; `x` is the frame of float32 torch with the same threads over the row's.
    """
    from rich.table import Table

    speed = Table(title=f'{title}\n{describe_machine()}; milliseconds, p50 / p99')
    names = ('frame', 'masks/s', 'x', 'network', 'limit', 'same mask, %', 'first mask, s')
    rest = Table(title='what else a frame takes, milliseconds, p50 / p99')
    stages = [s for s in dict.fromkeys(s for row in rows for s in row.stages) if s != 'network']
    for table, columns in ((speed, names), (rest, stages)):
        table.add_column('backend')
        for name in ('threads', *columns):
            table.add_column(name, justify='right')
    for row in rows:
        head = (row.way, str(row.threads))
        if row.problem:
            speed.add_row(*head, row.problem)
            continue
        plain = next(r for r in rows if (r.way, r.threads) == ('torch', row.threads))
        speed.add_row(
            *head,
            str(row.frame),
            f'{1e3 / row.frame.p50:.1f}',
            f'{plain.frame.p50 / row.frame.p50:.2f}',
            str(row.stages['network']),
            f'{row.limit_ms:.0f} ({100 * row.limit_ms / row.stages["network"].p50:.0f} %)',
            f'{100 * row.same:.2f}',
            f'{row.start_s:.1f}',
        )
        rest.add_row(*head, *(str(row.stages.get(stage, '')) for stage in stages))
    yield speed
    yield rest


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = CommandParser(
        prog='sam_ad bench',
        description='Measure on this machine, with simulated frames of sensors of your sizes, '
        'which backend, precision and number of threads runs the chosen network fastest: whole '
        'frames by stage, the masks held against float32 torch, and how near the network comes '
        'to what the machine could do (operations over the measured rate of matrix products, '
        'bytes over the measured bandwidth). A busy machine gives other figures: look at the load '
        'in the title.',
        examples=(
            'sam_ad bench',
            'sam_ad bench --model mle_sam_fast --sensors camera,lidar --backends torch onnx',
        ),
    )
    cores = len(os.sched_getaffinity(0))
    add_model_options(parser)
    add_params_option(parser)
    parser.add_argument(
        '--threads',
        type=whole_number(1),
        nargs='+',
        default=sorted({1, (cores + 1) // 2, cores}),
        help='default: %(default)s',
    )
    parser.add_argument('--backends', nargs='+', choices=WAYS, default=DEFAULT_WAYS)
    parser.add_argument('--frames', type=whole_number(1), default=20, help='default: %(default)s')
    parser.add_argument(
        '--sensors',
        type=_sensors,
        default=tuple(m for m in Modality if m.kind is m and m.record.leads),
        metavar='NAME,NAME',
        help='of camera, thermal, event and lidar; default: all',
    )
    for name, default in (('size', '400x640'), ('thermal-size', '256x320')):
        parser.add_argument(f'--{name}', type=_size, default=default, metavar='HxW')
    parser.add_argument('--event-size', type=_size, default='200x320', metavar='HxW')
    parser.add_argument(
        '--points', type=whole_number(0), default=0, help='of a sweep; default: as simulated'
    )
    parser.add_argument(
        '--rig',
        type=existing_file('config/rig.example.yaml is one'),
        help='file of sensors, see config/rig.example.yaml',
    )
    parser.add_argument('--json', type=new_file(), help='also write the figures here')
    return parser.parse_args(argv)


def _sensors(text: str) -> tuple[Modality, ...]:
    """Read `NAME,NAME`."""
    return tuple(Modality(name) for name in names_of(Modality)(text))


def _size(text: str) -> tuple[int, int]:
    """Read `HxW`."""
    try:
        height, width = map(int, text.split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'expected HxW, for example 400x640, got {text!r}'
        ) from None
    if min(height, width) < LEAST_SIZE:
        raise argparse.ArgumentTypeError(
            f'expected at least {LEAST_SIZE}x{LEAST_SIZE} pixels, got {text!r}'
        )
    return height, width


def _read_config(options: argparse.Namespace) -> SegmentationConfig:
    """What the parameter file says, and over it what the command line says."""
    from sam_ad_perception.core.settings.parameter_files import load
    from sam_ad_perception.nodes.ros.configuration import SegmentationConfig

    config = load(SegmentationConfig, options.params, 'segmentation') if options.params else None
    config = config or SegmentationConfig()
    if config.views != ('',):
        told = f'one frame is measured: the views {", ".join(config.views)} are left aside'
        print(told, file=sys.stderr)
    chosen = argparse.Namespace(**{**vars(options), 'threads': None})  # it has several
    return replace(config, model=override_model(config.model, chosen))


def _describe(bundle: SensorBundle) -> str:
    """Say what a frame holds."""
    parts = []
    for modality, frame in bundle.frames.items():
        if isinstance(frame.data, PointCloud):
            parts.append(f'{modality} {len(frame.data.points)} points')
        elif frame.camera is not None:
            parts.append(f'{modality} {frame.camera.width}x{frame.camera.height}')
    return ', '.join(parts)
