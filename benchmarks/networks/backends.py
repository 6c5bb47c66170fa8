"""What runs a network fastest: torch, torch.compile, bfloat16, int8, ONNX Runtime, OpenVINO.

python -m benchmarks.networks.backends [--threads 1 2] [--backends torch onnx ...] [KEY ...]
A key may carry an input size, as in mle_sam_demo@192x320. Each network runs on a simulated frame
of four 640x400 sensors. `ms` is wall time, best of --repeats; `CPU ms` is processor time, which a
busy machine inflates less; `x` is CPU time of torch eager over it. `mask` is the share of pixels
with the class of torch eager. `frame ms` is a whole frame: health, alignment, network, mask.
`limit` is what the network's operations and bytes take at the measured rates, in float32.
Networks without a checkpoint have random weights: their masks are as hard to match as any.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.result_files import save_results
from sam_ad_perception.core.benchmarking import best_ms, describe_machine
from sam_ad_perception.core.health.config import HealthConfig
from sam_ad_perception.core.images.thermal import ThermalRanges
from sam_ad_perception.core.sensors import SensorBundle
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.hardware_limits import count_work, measure_rates
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.runtimes.backends import BackendConfig, TorchBackend
from sam_ad_perception.modeling.zoo.checkpoints import load_checkpoint
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo
from sam_ad_perception.simulation.drives.drive import Drive, DriveConfig

ROOT = Path(__file__).parents[2]
KEYS = ('mle_sam_demo@192x320', 'mle_sam_demo', 'ad_sam_small', 'fusion_sam_small')
WAYS = {
    'torch': 'torch',
    'channels last': 'torch',
    'half': 'torch',
    'int8': 'torch',
    'compile': 'compile',
    'onnx': 'onnx',
    'openvino': 'openvino',
    'openvino half': 'openvino',
}
"""Way -> `model.backend`."""
STAMP_NS = 1_000_000_000


@dataclasses.dataclass
class Row:
    """One network, one backend, one number of threads."""

    network: str
    threads: int
    way: str
    wall_ms: float
    cpu_ms: float
    ratio: float
    mask: float
    frame_ms: float
    limit_ms: float
    problem: str = ''


def find_spec(key: str) -> ModelSpec:
    """The entry, with the input size that the key carries."""
    name, _, size = key.partition('@')
    spec = load_zoo(ROOT / 'models' / 'zoo.yaml')[name]
    if not size:
        return spec
    height, width = map(int, size.split('x'))
    return dataclasses.replace(spec, input_size=(height, width))


def make_expert(spec: ModelSpec, way: str, cache: Path | None) -> ExpertNetwork:
    """The network on one of `WAYS`; weights are random where it has no checkpoint."""
    torch.manual_seed(0)
    network = build_model(spec)
    if spec.checkpoint.file:
        load_checkpoint(network, spec.checkpoint, ROOT / 'models' / 'checkpoints')
    if way == 'int8':
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of its age; there is no other one in torch itself
            network = torch.ao.quantization.quantize_dynamic(
                network.eval(), plain_layers(network), torch.qint8
            )
    if way == 'channels last':
        network = network.to(memory_format=torch.channels_last)
    config = BackendConfig(WAYS[way], half=way.endswith('half'), cache=cache)
    return ExpertNetwork(spec, network, backend=config)


def plain_layers(network: torch.nn.Module) -> set[str]:
    """Names of the linear layers of which the network reads no more than the output."""
    return {
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and not re.search(r'qkv\.base|fusion\.gates', name)
    }


def race(
    plain: Callable[[], object], call: Callable[[], object], repeats: int
) -> tuple[float, float, float]:
    """Wall and CPU milliseconds of a call, and how often it fits into the other, in turns."""
    wall = cpu = plain_cpu = float('inf')
    for _ in range(repeats):
        plain_cpu = min(plain_cpu, best_ms(plain, 1)[1])
        one = best_ms(call, 1)
        wall, cpu = min(wall, one[0]), min(cpu, one[1])
    return wall, cpu, plain_cpu / cpu


def measure(
    key: str, arguments: argparse.Namespace, bundle: SensorBundle, console: Console
) -> Iterator[Row]:
    """All rows of one network."""
    spec = find_spec(key)
    plain = make_expert(spec, 'torch', None)
    item = plain.prepare(bundle, tuple(spec.inputs), ThermalRanges())
    work = count_work(plain, item)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        expected = plain.run([item])[1].argmax(1)
        limit_ms = work.limit_ms(measure_rates())
        for way in arguments.backends:
            with console.status(f'{key}, {threads} threads, {way}'):
                try:
                    expert = plain if way == 'torch' else make_expert(spec, way, arguments.cache)
                    logits = expert.run([item])[1]
                except RuntimeError as err:
                    reason = str(err).splitlines()[0]
                    nan = float('nan')
                    yield Row(key, threads, way, nan, nan, nan, nan, nan, limit_ms, reason)
                    continue
                wall_ms, cpu_ms, ratio = race(
                    lambda: plain.run([item]), lambda e=expert: e.run([item]), arguments.repeats
                )
                segmenter = Segmenter([expert], health=HealthConfig())
                segmenter.segment([bundle])
                frame_ms, _ = best_ms(lambda s=segmenter: s.segment([bundle]), arguments.repeats)
            mask = float((logits.argmax(1) == expected).float().mean())
            fell = WAYS[way] != 'torch' and isinstance(expert.backend, TorchBackend)
            problem = 'fell back to torch' if fell else ''
            row = (wall_ms, cpu_ms, ratio, mask, frame_ms, limit_ms)
            yield Row(key, threads, way, *row, problem)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('keys', nargs='*', metavar='KEY[@HxW]', default=KEYS)
    parser.add_argument('--threads', type=int, nargs='+', default=(1, 2))
    parser.add_argument('--backends', nargs='+', choices=WAYS, default=tuple(WAYS))
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--cache', type=Path, help='folder of exported graphs')
    arguments = parser.parse_args()
    console, rows = Console(), []
    with console.status('simulating a frame'):
        bundle, _ = Drive(DriveConfig()).bundle(STAMP_NS)
    table = Table(title=f'{describe_machine()} at the start; fp32 torch eager is 1x')
    for name in ('network', 'threads', 'backend'):
        table.add_column(name)
    for name in ('ms', 'CPU ms', 'x', 'mask, %', 'limit, ms', 'frame, ms', 'masks/s'):
        table.add_column(name, justify='right')
    for key in arguments.keys:
        for row in measure(key, arguments, bundle, console):
            rows.append(row)
            cells = [f'{row.wall_ms:.0f}', f'{row.cpu_ms:.0f}', f'{row.ratio:.2f}']
            cells += [f'{100 * row.mask:.2f}', f'{row.limit_ms:.0f}']
            cells += [f'{row.frame_ms:.0f}', f'{1000 / row.frame_ms:.1f}']
            way = f'{row.way} ({row.problem})' if row.problem else row.way
            table.add_row(row.network, str(row.threads), way, *cells)
        save_results('backends', rows)
    console.print(table)


if __name__ == '__main__':
    main()
