"""Timing of calls, and a description of the machine: versions, commit, processors."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sam_ad_perception.core.transaction import write_file

PACKAGES = ('numpy', 'numba', 'opencv-python-headless', 'torch', 'onnxruntime', 'openvino')


@dataclass(frozen=True)
class Machine:
    """What figures depend on.

    Attributes:
        processor: Name of the processor.
        cores: Cores that this process may use.
        memory_gib: Main memory, GiB.
        load: Mean number of processes that wanted to run in the last minute.
        system: Operating system with its version.
        python: Version of Python.
        versions: Of the packages that the work is done with; absent ones are left out.
        commit: Of this package's checkout, with `-dirty` where files differ from it; empty where
            it is installed.
        measured: When, UTC, ISO 8601.
    """

    processor: str
    cores: int
    memory_gib: float
    load: float
    system: str
    python: str
    versions: Mapping[str, str]
    commit: str
    measured: str

    def __str__(self) -> str:
        return f'{self.processor}, {self.cores} cores, load {self.load:.1f}'


@dataclass(frozen=True)
class Spread:
    """How times spread, milliseconds.

    Attributes:
        p50: Median.
        p99: 99th percentile, the slowest where there are few.
    """

    p50: float
    p99: float

    @classmethod
    def of(cls, values_ms: Sequence[float]) -> Spread:
        """Sum up at least one time, milliseconds."""
        p50, p99 = np.percentile(values_ms, (50, 99), method='higher').tolist()
        return cls(p50, p99)

    def __str__(self) -> str:
        return f'{self.p50:.3g} / {self.p99:.3g}'


def describe_machine() -> Machine:
    """Look at the machine that runs this.

    Returns:
        The description.
    """
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return Machine(
        processor=find_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30, 1),
        load=round(os.getloadavg()[0], 1),
        system=platform.platform(),
        python=platform.python_version(),
        versions=versions,
        commit=_commit(),
        measured=datetime.now(UTC).isoformat(timespec='seconds'),
    )


def write_results(path: Path, rows: Sequence[Any], command: str) -> None:
    """Write figures with what they were measured on, as JSON.

    Args:
        path: The file; folders are made where they are not there.
        rows: Dataclasses or mappings of plain values, one per line of the table.
        command: What was called.

    Raises:
        OSError: The file cannot be written.
    """
    made = [dict(row) if isinstance(row, Mapping) else asdict(row) for row in rows]
    facts = {'command': command, **asdict(describe_machine()), 'rows': made}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_rounded(facts), indent=1) + '\n'
    with write_file(path) as stream:
        stream.write(text.encode())


def best_ms(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Time some calls one after the other.

    Args:
        call: What is timed.
        repeats: How often, 1 or more.

    Returns:
        Least wall time and least processor time of this process, each by itself, milliseconds.
    """
    wall = cpu = float('inf')
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        call()
        cpu = min(cpu, time.process_time() - cpu_start)
        wall = min(wall, time.perf_counter() - start)
    return wall * 1e3, cpu * 1e3


def _rounded(value: Any) -> Any:
    """Leave four digits of every number: more was not measured; NaN, which is no JSON, is None."""
    if isinstance(value, float):
        return float(f'{value:.4g}') if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value


def find_processor() -> str:
    """The name of this processor, which Linux tells in a file."""
    try:
        for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the checkout that holds this file, if one does."""
    git = ['git', '-C', str(Path(__file__).parent)]
    for command in (
        [*git, 'ls-files', '--error-unmatch', __file__],
        [*git, 'describe', '--always', '--dirty', '--exclude=*'],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ''
    return done.stdout.strip()
