"""Every network of the zoo, built for real: time to build, memory, and one forward pass.

python -m benchmarks.networks [--input 128 128] [KEY ...]
The pass runs at a small size, so that the papers' networks fit a CPU; it shows that they run.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from sam_ad_perception.modeling.zoo import build_model, load_zoo

ZOO = Path(__file__).parents[1] / 'models' / 'zoo.yaml'
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('keys', nargs='*', metavar='KEY', help='entries, default: all')
    parser.add_argument('--input', type=int, nargs=2, default=(128, 128), metavar=('H', 'W'))
    arguments = parser.parse_args()
    zoo = load_zoo(ZOO)
    size = tuple(arguments.input)
    columns = ('network', 'M parameters', 'MiB', 'build, s', f'pass at {size[0]}x{size[1]}, s')
    table = Table(*columns, title=f'{torch.get_num_threads()} threads, fp32, random weights')
    for key in arguments.keys or zoo:
        start = time.perf_counter()
        network = build_model(zoo[key]).eval()
        built = time.perf_counter()
        inputs = {name: torch.randn(1, c, *size) for name, c in zoo[key].channels.items()}
        with torch.inference_mode():
            logits = network(inputs, with_aux=False).logits
        done = time.perf_counter()
        assert torch.isfinite(logits).all(), key
        parameters = list(network.parameters())
        table.add_row(
            key,
            f'{sum(p.numel() for p in parameters) / 1e6:.2f}',
            f'{sum(p.numel() * p.element_size() for p in parameters) / MIB:.0f}',
            f'{built - start:.1f}',
            f'{done - built:.1f}',
        )
    Console().print(table)


if __name__ == '__main__':
    main()
