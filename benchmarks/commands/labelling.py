"""How fast bags are labelled: reading, segmenting and writing at once, and one after the other.

python -m benchmarks.commands.labelling [BAG ...] [--threads 1 2] [--network KEY@HxW]
Without BAG: eight KITTI frames, where the recorded data is there, and a simulated drive with four
sensors. `plain` is the same work in one thread; both ways run in turns, and of each the fastest of
--repeats counts. `real time` is the length of the recording over the time it took. `busy` is the
processor time over the wall time: so many cores worked. `read`, `segment` and `write` are the
processor time of each, ms per mask, which a busy machine inflates less than wall time: no overlap
is faster than the longest of them, which gives `limit`, masks/s where a core is free for each.
The second table repeats a bag to make it longer: memory must not grow with it.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from benchmarks.networks.backends import ROOT, find_spec, make_expert
from benchmarks.result_files import save_results
from sam_ad_perception.bags.labelling import recording
from sam_ad_perception.bags.reader import BagReader
from sam_ad_perception.bags.writer import BagWriter
from sam_ad_perception.simulation.drives.configuration import DriveConfig
from sam_ad_perception.simulation.drives.drive import Drive
from sam_ad_perception.simulation.drives.recording import record

NETWORK = 'mle_sam_demo@192x320'
LENGTHS = (1, 4, 16)


@dataclasses.dataclass
class Row:
    """One bag, one number of threads, one way."""

    bag: str
    masks: int
    threads: int
    way: str
    masks_per_s: float
    real_time: float
    busy_cores: float
    read_ms: float
    segment_ms: float
    write_ms: float
    limit_per_s: float


@dataclasses.dataclass
class Length:
    """Memory for a bag of some length."""

    bag: str
    masks: int
    duration_s: float
    peak_mib: float


@dataclasses.dataclass(order=True)
class Run:
    """What one labelling took: wall seconds, then processor seconds of all and of two stages."""

    wall_s: float
    cpu_s: float = 0.0
    read_s: float = 0.0
    write_s: float = 0.0
    masks: int = 0


class Ways:
    """The two ways of labelling.

    Both note what reading and writing take of their thread; the methods stand in for
    `read_ahead` and `write_behind`.
    """

    def __init__(self, run: Run, *, plain: bool) -> None:
        self.run = run
        self.plain = plain
        self.ahead, self.behind = recording.read_ahead, recording.write_behind

    def read(self, items: Iterable[Any], depth: int) -> Generator[Any, None, None]:
        """Read, ahead or not."""
        timed = self.time_items(iter(items))
        yield from timed if self.plain else self.ahead(timed, depth)

    def time_items(self, items: Iterator[Any]) -> Iterator[Any]:
        """Note the time of the thread in which it runs."""
        while True:
            start = time.thread_time()
            item = next(items, None)
            self.run.read_s += time.thread_time() - start
            if item is None:
                return
            yield item

    @contextmanager
    def write(self, write: Callable[[Any], None], depth: int) -> Iterator[Any]:
        """Write, behind or not."""

        def timed(item: Any) -> None:
            start = time.thread_time()
            write(item)
            self.run.write_s += time.thread_time() - start

        if self.plain:
            yield SimpleNamespace(put=timed)
        else:
            with self.behind(timed, depth) as behind:
                yield behind


def make_segmenter(network: str, threads: int) -> Any:
    import torch

    from sam_ad_perception.modeling.inference.segmenter import Segmenter

    torch.set_num_threads(threads)
    return Segmenter([make_expert(find_spec(network), 'torch', None)])


def label(bag: Path, segmenter: Any, *, plain: bool) -> Run:
    run = Run(0.0)
    ways = Ways(run, plain=plain)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(recording, 'read_ahead', ways.read),
        patch.object(recording, 'write_behind', ways.write),
    ):
        start, cpu_start = time.perf_counter(), time.process_time()
        report = recording.label_bag(bag, Path(folder, 'out'), segmenter, segmenter.labels)
        run.wall_s = time.perf_counter() - start
        run.cpu_s = time.process_time() - cpu_start
    run.masks = report.frames
    return run


def compare(bag: Path, network: str, threads: int, repeats: int) -> list[Row]:
    """Both ways, in a process of their own."""
    segmenter = make_segmenter(network, threads)
    label(bag, segmenter, plain=True)  # compiles what numba compiles
    with BagReader(bag) as reader:
        duration_s = reader.duration_s
    best: dict[bool, Run] = {}
    for _ in range(repeats):
        for plain in (True, False):
            run = label(bag, segmenter, plain=plain)
            best[plain] = min(best.get(plain, run), run)
    return [make_row(bag, duration_s, threads, plain, run) for plain, run in best.items()]


def make_row(bag: Path, duration_s: float, threads: int, plain: bool, run: Run) -> Row:
    segment_s = run.cpu_s - run.read_s - run.write_s
    stages = [1e3 * each / run.masks for each in (run.read_s, segment_s, run.write_s)]
    longest = max(run.read_s, segment_s / threads, run.write_s)
    return Row(
        name_of(bag),
        run.masks,
        threads,
        'plain' if plain else 'at once',
        run.masks / run.wall_s,
        duration_s / run.wall_s,
        run.cpu_s / run.wall_s,
        *stages,
        run.masks / (run.read_s + segment_s / threads + run.write_s if plain else longest),
    )


def name_of(bag: Path) -> str:
    return bag.parent.name if bag.name == 'bag' else bag.name


def lengthen(bag: Path, times: int, out: Path) -> None:
    """Write a bag that repeats another, later each time."""
    with BagReader(bag) as source, BagWriter(out) as writer:
        for topic in source.topics:
            writer.copy_topic(topic)
        period = source.end_ns - source.start_ns + 100_000_000
        for k in range(times):
            for message in source.messages():
                if k and 'tf_static' in message.topic:
                    continue
                content = source.deserialize(message)
                if hasattr(content, 'header'):
                    stamp = content.header.stamp
                    total = stamp.sec * 1_000_000_000 + stamp.nanosec + k * period
                    stamp.sec, stamp.nanosec = divmod(total, 1_000_000_000)
                writer.write(message.topic, content, message.received_ns + k * period)


def measure_length(bag: Path, network: str, threads: int, times: int) -> Length:
    """Peak memory of labelling a bag that is repeated, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        longer = Path(folder, 'longer')
        # Writing the bag must not count: a process of its own does it.
        command = (
            f'from benchmarks.commands.labelling import *; lengthen(Path({str(bag)!r}), {times}, '
        )
        subprocess.run([sys.executable, '-c', f'{command}Path({str(longer)!r}))'], check=True)
        run = label(longer, make_segmenter(network, threads), plain=False)
        with BagReader(longer) as reader:
            duration_s = reader.duration_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Length(name_of(bag), run.masks, duration_s, peak)


def default_bags(folder: Path, console: Console) -> list[Path]:
    """The KITTI frames, where they are, and a simulated drive."""
    data = Path(os.environ.get('SAM_AD_TEST_DATA', ROOT.parent / 'shared' / 'data'))
    bags = [data / 'kitti' / 'bag'] if (data / 'kitti' / 'bag').is_dir() else []
    drive = folder / 'simulated'
    with console.status('simulating'), BagWriter(drive) as writer:
        record(Drive(DriveConfig(duration_s=1.0)), writer, encoding='evt3', workers=1)
    return [*bags, drive]


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('bags', nargs='*', type=Path, metavar='BAG')
    parser.add_argument('--network', default=NETWORK, metavar='KEY@HxW')
    parser.add_argument('--threads', type=int, nargs='+', default=(1, 2))
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--lengths', type=int, nargs='*', default=LENGTHS)
    arguments = parser.parse_args()
    console = Console(width=110)  # so wide is the table, also in a file
    rows: list[Row] = []
    lengths: list[Length] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        bags = arguments.bags or default_bags(Path(folder), console)
        for bag in bags:
            for threads in arguments.threads:
                with console.status(f'{bag}, {threads} threads'):
                    rows += alone(compare, bag, arguments.network, threads, arguments.repeats)
        for times in arguments.lengths:
            with console.status(f'{bags[0]}, {times} times'):
                lengths.append(alone(measure_length, bags[0], arguments.network, 1, times))
    names = 'masks/s', 'real time', 'busy', 'read', 'segment', 'write', 'limit'
    table = Table('bag', 'masks', 'threads', 'way', title=f'{arguments.network}, load {load:.1f}')
    for name in names:
        table.add_column(name, justify='right')
    for row in rows:
        cells = [f'{row.masks_per_s:.2f}', f'{row.real_time:.2f}', f'{row.busy_cores:.2f}']
        cells += [f'{ms:.0f}' for ms in (row.read_ms, row.segment_ms, row.write_ms)]
        cells += [f'{row.limit_per_s:.1f}']
        table.add_row(row.bag, str(row.masks), str(row.threads), row.way, *cells)
    console.print(table)
    table = Table('bag', 'masks', 'length, s', 'peak memory, MiB', title='memory')
    for each in lengths:
        table.add_row(each.bag, str(each.masks), f'{each.duration_s:.1f}', f'{each.peak_mib:.0f}')
    console.print(table)
    save_results('labelling', [*rows, *lengths])


if __name__ == '__main__':
    main()
