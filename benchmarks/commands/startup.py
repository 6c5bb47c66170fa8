"""How fast commands and nodes start, and how long a cold and a warm start take to the first mask.

python -m benchmarks.commands.startup [--repeats 3]
Each start is a process of its own. `--help` of the CLI shows what a user waits for at the prompt;
importing a node's main module is what comes before its first line of log. depth_projection_node
and synchronizer_node, which run no network, are to start under 1.5 s. A warm start finds its files
in the page cache and compiled kernels in the kernel cache; the cold one is given an empty kernel
cache (page cache included only with --drop, as root).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.result_files import save_results

ROOT = Path(__file__).parents[2]
LIGHT = ('depth_projection_node', 'synchronizer_node')
NODES = (*LIGHT, 'visualization_node', 'replay_node', 'recorder_node', 'segmentation_node')
LIGHT_LIMIT_S = 1.5

FIRST_MASK = """
import json, time
last, steps, name = 0.0, {}, 'importing nodes'
def tell(text):
    global last, name
    now = time.process_time()
    steps[name], last, name = steps.get(name, 0.0) + now - last, now, text
from sam_ad_perception.nodes.ros.configuration import ModelConfig, SegmentationConfig
from sam_ad_perception.nodes.segmentation.model_loading import load_model, sample_bundle
model = load_model(SegmentationConfig(model=ModelConfig(MODEL)), tell)
tell('first mask')
model.segmenter.segment([sample_bundle()])
tell('')
print(json.dumps(steps))
"""


@dataclass
class Start:
    """One kind of start, best of several.

    Attributes:
        name: What starts.
        wall_s: Seconds until it is done.
        cpu_s: Processor seconds of the process: what a machine without other load would take.
        modules: Modules that were imported.
        steps: Processor seconds of each step that a node tells, where it tells any.
    """

    name: str
    wall_s: float
    cpu_s: float
    modules: int = 0
    steps: dict[str, float] = field(default_factory=dict)


def run(code: str, environment: dict[str, str]) -> Start:
    """Run code in a new interpreter."""
    counted = f'{code}\nimport sys; print(len(sys.modules))'
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, '-c', counted],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    *told, modules = done.stdout.splitlines()
    steps = json.loads(told[-1]) if told and told[-1].startswith('{') else {}
    return Start('', wall, cpu, int(modules), steps)


def measure(
    name: str, code: str, repeats: int, environment: dict[str, str] | None = None
) -> Start:
    """The best of several starts, wall and CPU each by itself."""
    runs = [run(code, environment or {}) for _ in range(repeats)]
    best = min(runs, key=lambda each: each.cpu_s)
    return replace(best, name=name, wall_s=min(each.wall_s for each in runs))


def drop_caches() -> None:
    """Forget what the kernel read from disk (Linux, root)."""
    os.sync()
    Path('/proc/sys/vm/drop_caches').write_text('3')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--model', default='mle_sam_demo')
    parser.add_argument('--drop', action='store_true', help='drop the page cache for the cold one')
    arguments = parser.parse_args()
    console, starts = Console(), []
    helps = (
        'import sys\nfrom sam_ad_perception.commands.cli import main\n'
        "try: main(['--help'])\nexcept SystemExit: pass"
    )
    cases = {'bare interpreter': 'pass', 'import numpy, rclpy': 'import numpy, rclpy'}
    cases['sam_ad --help'] = helps
    cases |= {name: f'import sam_ad_perception.nodes.{name}' for name in NODES}
    for name, code in cases.items():
        with console.status(name):
            starts.append(measure(name, code, arguments.repeats))
    code = FIRST_MASK.replace('MODEL', repr(arguments.model))
    with tempfile.TemporaryDirectory() as empty, console.status('cold start'):
        if arguments.drop:
            drop_caches()
        starts.append(measure('first mask, cold', code, 1, {'NUMBA_CACHE_DIR': empty}))
    with console.status('warm start'):
        starts.append(measure('first mask, warm', code, arguments.repeats))
    table = Table(title=f'start-up, best of {arguments.repeats}, load {os.getloadavg()[0]:.1f}')
    table.add_column('start')
    for column in ('wall, s', 'CPU, s', 'modules', f'under {LIGHT_LIMIT_S} s'):
        table.add_column(column, justify='right')
    for start in starts:
        kept = 'yes' if start.cpu_s < LIGHT_LIMIT_S else 'no'
        table.add_row(
            start.name,
            f'{start.wall_s:.2f}',
            f'{start.cpu_s:.2f}',
            str(start.modules),
            kept if start.name in LIGHT else '',
        )
        for step, seconds in start.steps.items():
            table.add_row(f'  {step}', '', f'{seconds:.2f}')
    console.print(table)
    save_results('startup', starts)


if __name__ == '__main__':
    main()
