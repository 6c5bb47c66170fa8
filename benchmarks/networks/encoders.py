"""Our SAM encoder beside the official module: time, peak memory, and how equal they are.

python -m benchmarks.networks.encoders [--size vit_b] [--input 1024 1024] [--repeats 2]
    [--device cpu]

Each side runs in a process of its own, so that one's memory does not hide in the other's.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.networks.official import official_encoder
from benchmarks.result_files import compare, save_results
from sam_ad_perception.modeling.encoders.sam_vit import SamVit, resize_position
from sam_ad_perception.modeling.encoders.specs import SAM_VIT_SPECS, SamVitSpec

SIDES = ('official', 'ours')
MIB = 1 << 20


def build(side: str, spec: SamVitSpec, size: tuple[int, int]) -> nn.Module:
    torch.manual_seed(0)
    official = official_encoder(spec)
    with torch.no_grad():
        for name, parameter in official.named_parameters():
            if 'pos' in name:  # zero by default, which would hide them
                parameter.normal_(std=0.2)
    if side == 'ours':
        ours = SamVit(spec)
        ours.load_state_dict(official.state_dict(), strict=True)
        return ours
    grid = (size[0] // 16, size[1] // 16)
    official.pos_embed = nn.Parameter(resize_position(official.pos_embed.detach(), grid))
    return official


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    device = torch.device(arguments.device)
    dtype = getattr(torch, arguments.dtype)
    size = tuple(arguments.input)
    encoder = build(arguments.side, SAM_VIT_SPECS[arguments.size], size).to(device, dtype).eval()
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    image = image.to(device, dtype)
    cuda = device.type == 'cuda'
    before = torch.cuda.memory_allocated() if cuda else _restart_peak()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    times, cpu_times = [], []
    with torch.inference_mode():
        for _ in range(arguments.repeats + 1):  # the first one warms up
            start, cpu_start = time.perf_counter(), time.process_time()
            out = encoder(image)
            if cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
            cpu_times.append(time.process_time() - cpu_start)
    torch.save(out.float().cpu(), arguments.output)
    peak = torch.cuda.max_memory_allocated() if cuda else _peak_bytes()
    return {
        'seconds': min(times[1:]),
        'cpu_seconds': min(cpu_times[1:]),
        'extra_mib': (peak - before) / MIB,
    }


def _restart_peak() -> int:
    """Forget the peak of the set-up; returns the memory in use (Linux)."""
    Path('/proc/self/clear_refs').write_text('5')
    return _peak_bytes()


def _peak_bytes() -> int:
    status = Path('/proc/self/status').read_text()
    return int(re.search(r'VmHWM:\s+(\d+) kB', status).group(1)) * 1024  # type: ignore[union-attr]


def compare_sides(arguments: argparse.Namespace) -> None:
    results, outputs = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            output = Path(folder, f'{side}.pt')
            command = [sys.executable, '-m', 'benchmarks.networks.encoders', '--side', side]
            command += ['--size', arguments.size, '--input', *map(str, arguments.input)]
            command += ['--repeats', str(arguments.repeats), '--device', arguments.device]
            command += ['--dtype', arguments.dtype, '--output', str(output)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[side] = json.loads(done.stdout)
            outputs[side] = torch.load(output, weights_only=True)
    error = (outputs['ours'] - outputs['official']).norm() / outputs['official'].norm()
    height, width = arguments.input
    table = Table(
        title=f'SAM {arguments.size}, {height}x{width}, {arguments.dtype}, {arguments.device}, '
        f'{torch.get_num_threads()} threads, best of {arguments.repeats}'
    )
    for column in ('encoder', 'seconds', 'CPU seconds', 'memory beyond the weights, MiB'):
        table.add_column(column)
    for side, result in results.items():
        table.add_row(
            side,
            f'{result["seconds"]:.3f}',
            f'{result["cpu_seconds"]:.3f}',
            f'{result["extra_mib"]:.0f}',
        )
    ratio = {key: results['official'][key] / results['ours'][key] for key in results['ours']}
    table.add_row(
        'official / ours',
        f'{ratio["seconds"]:.2f}',
        f'{ratio["cpu_seconds"]:.2f}',
        f'{ratio["extra_mib"]:.1f}',
        style='bold',
    )
    Console().print(table)
    print(f'relative difference of the outputs {float(error):.1e}')
    what = f'SAM {arguments.size} at {height}x{width} on {arguments.device}'
    rows = [
        compare(f'{what}, {key}', key, ours, 'official', results['official'][key])
        for key, ours in results['ours'].items()
    ]
    save_results('encoders', [*rows, {'what': 'relative difference', 'ours': float(error)}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', choices=list(SAM_VIT_SPECS), default='vit_b')
    parser.add_argument('--input', type=int, nargs=2, default=(1024, 1024), metavar=('H', 'W'))
    parser.add_argument('--repeats', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--dtype', choices=('float32', 'bfloat16', 'float16'), default='float32')
    parser.add_argument('--side', choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument('--output', type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments)))
    else:
        compare_sides(arguments)


if __name__ == '__main__':
    main()
