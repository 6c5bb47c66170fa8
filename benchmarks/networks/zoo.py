"""The networks of the zoo: what each costs to build and to run, and what MLE-SAM's sensors cost.

python -m benchmarks.networks.zoo [--input 128 128] [--sensor-input 256 256] [--threads 2]
    [KEY ...]

Each network is built without memory (meta device) and for real, in a process of its own, and runs
one pass at a size that a small machine bears. Each MLE-SAM then runs with one sensor, two and so
on: absent ones are not encoded. Weights are random.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.result_files import save_results
from sam_ad_perception.modeling.encoders.lora import merge_lora
from sam_ad_perception.modeling.zoo.entries import ModelSpec, build_model, load_zoo

ZOO = Path(__file__).parents[2] / 'models' / 'zoo.yaml'
MIB = 1 << 20


def build_times(spec: ModelSpec) -> dict[str, float]:
    """Build without memory and count, twice: torch sets itself up in the first time."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        with torch.device('meta'):
            network = build_model(spec)
        seconds.append(time.perf_counter() - start)
    parameters = list(network.parameters())
    return {
        'meta_s': seconds[1],
        'parameters': sum(p.numel() for p in parameters),
        'trained': sum(p.numel() for p in parameters if p.requires_grad),
    }


def inputs_of(spec: ModelSpec, size: tuple[int, int], device: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(1, count, *size, generator=generator).to(device)
        for name, count in spec.channels.items()
    }


def best_times(call: Callable[[], object], repeats: int, device: str) -> tuple[float, float]:
    """Wall and CPU seconds of the fastest call."""
    best = (float('inf'), float('inf'))
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        call()
        if device != 'cpu':
            torch.cuda.synchronize()
        cpu = time.process_time() - cpu_start
        best = min(best[0], time.perf_counter() - start), min(best[1], cpu)
    return best


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """All figures of one network, as its own process."""
    torch.set_num_threads(arguments.threads)
    spec, device = load_zoo(ZOO)[arguments.one], arguments.device
    figures: dict[str, object] = dict(build_times(spec))
    before = _status_bytes('VmRSS')
    start = time.perf_counter()
    network = build_model(spec).to(device).eval()
    figures['build_s'] = time.perf_counter() - start
    figures['weights_mib'] = (
        torch.cuda.memory_allocated() if device != 'cpu' else _status_bytes('VmRSS') - before
    ) / MIB
    merge_lora(network)
    inputs = inputs_of(spec, tuple(arguments.input), device)
    held = _restart_peak(device)
    with torch.inference_mode():
        logits: Tensor = network(inputs, with_aux=False).logits
        assert torch.isfinite(logits).all()
        figures['pass_mib'] = (_peak_bytes(device) - held) / MIB

        def run() -> object:
            return network(inputs, with_aux=False)

        figures['pass_s'], figures['pass_cpu_s'] = best_times(run, arguments.repeats, device)
        if spec.builder == 'mle_sam' and not spec.required:
            figures['sensors'] = measure_sensors(network, spec, arguments)
    return figures


def measure_sensors(
    network: Callable[..., object], spec: ModelSpec, arguments: argparse.Namespace
) -> list[tuple[float, float]]:
    """Times with the first sensor, the first two, and so on."""
    inputs = inputs_of(spec, tuple(arguments.sensor_input), arguments.device)
    names, times = list(inputs), []
    for count in range(1, len(names) + 1):
        present = {name: inputs[name] for name in names[:count]}

        def run(present: dict[str, Tensor] = present) -> object:
            return network(present, with_aux=False)

        run()
        times.append(best_times(run, arguments.repeats, arguments.device))
    return times


def _restart_peak(device: str) -> int:
    """Forget the peak of the set-up; returns the memory in use (Linux)."""
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path('/proc/self/clear_refs').write_text('5')
    return _status_bytes('VmHWM')


def _peak_bytes(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device != 'cpu' else _status_bytes('VmHWM')


def _status_bytes(field: str) -> int:
    status = Path('/proc/self/status').read_text()
    return int(re.search(rf'{field}:\s+(\d+) kB', status).group(1)) * 1024  # type: ignore[union-attr]


def network_table(results: dict[str, dict], arguments: argparse.Namespace) -> Table:
    height, width = arguments.input
    table = Table(
        title=f'{arguments.device}, {arguments.threads} threads, fp32, random weights, '
        f'pass at {height}x{width}, best of {arguments.repeats}'
    )
    columns = (
        'network', 'M parameters', 'M trained', 'on meta, s', 'for real, s', 'weights, MiB',
        'pass, s', 'pass, CPU s', 'beyond the weights, MiB',
    )  # fmt: skip
    for name in columns:
        table.add_column(name, justify='left' if name == 'network' else 'right')
    for key, figures in results.items():
        table.add_row(
            key,
            f'{figures["parameters"] / 1e6:.2f}',
            f'{figures["trained"] / 1e6:.2f}',
            f'{figures["meta_s"]:.2f}',
            f'{figures["build_s"]:.2f}',
            f'{figures["weights_mib"]:.0f}',
            f'{figures["pass_s"]:.3f}',
            f'{figures["pass_cpu_s"]:.3f}',
            f'{figures["pass_mib"]:.0f}',
        )
    return table


def sensor_table(results: dict[str, dict], arguments: argparse.Namespace) -> Table:
    height, width = arguments.sensor_input
    table = Table(
        title=f'sensors present, {height}x{width}, adapters merged, no auxiliary head: '
        'seconds, CPU seconds, and CPU time over that of one sensor'
    )
    table.add_column('network')
    most = max(len(figures['sensors']) for figures in results.values())
    for count in range(1, most + 1):
        table.add_column(str(count), justify='right')
    for key, figures in results.items():
        first = figures['sensors'][0][1]
        cells = (f'{s:.3f} {cpu:.3f} {cpu / first:.2f}x' for s, cpu in figures['sensors'])
        table.add_row(key, *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('keys', nargs='*', metavar='KEY', help='entries, default: all')
    parser.add_argument('--input', type=int, nargs=2, default=(128, 128), metavar=('H', 'W'))
    parser.add_argument(
        '--sensor-input', type=int, nargs=2, default=(256, 256), metavar=('H', 'W')
    )
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--one', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments)))
        return
    console, results = Console(), {}
    for key in arguments.keys or load_zoo(ZOO):
        command = [sys.executable, '-m', 'benchmarks.networks.zoo', '--one', key]
        command += ['--input', *map(str, arguments.input)]
        command += ['--sensor-input', *map(str, arguments.sensor_input)]
        command += ['--repeats', str(arguments.repeats), '--threads', str(arguments.threads)]
        command += ['--device', arguments.device]
        with console.status(key):
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results[key] = json.loads(done.stdout)
    console.print(network_table(results, arguments))
    save_results('networks', [{'network': k, **figures} for k, figures in results.items()])
    sensors = {key: figures for key, figures in results.items() if 'sensors' in figures}
    if sensors:
        console.print(sensor_table(sensors, arguments))


if __name__ == '__main__':
    main()
