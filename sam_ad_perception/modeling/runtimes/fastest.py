"""The backend `auto`: the fastest of those that run here, measured once and kept."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam_ad_perception.core.benchmarking import find_processor
from sam_ad_perception.core.transaction import write_file
from sam_ad_perception.modeling.runtimes.backends import (
    BackendError,
    Images,
    OnProgress,
    Runner,
    StaticBackend,
    TorchBackend,
)
from sam_ad_perception.modeling.zoo.entries import ModelSpec

RECORD = 'fastest.json'
"""What was measured of a network, beside its exported graphs."""

ROUNDS = 7
"""Turns of all backends; the least time of each counts, which a busy machine lengthens least."""

CLEAR = 0.95
"""Another backend than torch is taken where it takes less than this share of torch's time."""


class FastestBackend(StaticBackend):
    """Runs what was fastest with the first set of sensors that it was built for.

    A node builds the set of all sensors first. What was measured is kept for the network, the
    processor, the number of threads and the precision; `sam_ad bench` measures whole frames.

    Args:
        plain: torch with the network.
        spec: Its entry.
        others: The other backends that run here, by name.
        record: The file of what was measured; made where it is not there.
    """

    title = 'looking for the fastest backend'

    def __init__(
        self,
        plain: TorchBackend,
        spec: ModelSpec,
        others: Mapping[str, StaticBackend],
        record: Path,
    ) -> None:
        super().__init__(plain)
        self.spec = spec
        self.others = dict(others)
        self.record = record
        self.choice = ''

    def build(self, names: tuple[str, ...], on_progress: OnProgress) -> Runner:
        """Build a set of sensors for the chosen backend; the first set chooses it."""
        if not self.choice:
            self.choice = self._recall() or self._measure(names, on_progress)
            on_progress(f'{self.spec.key} runs under {self.choice}')
        if self.choice not in self.others:
            return self._run_torch
        try:
            return self.others[self.choice].runner(names, on_progress)
        except BackendError as err:
            on_progress(f'{"+".join(names)} runs under torch: {err}')
            return self._run_torch

    def _run_torch(self, inputs: Images) -> tuple[torch.Tensor, torch.Tensor | None]:
        made = self.plain.run(inputs)
        return made.logits, made.gate

    @property
    def _machine(self) -> str:
        """What a measurement holds for."""
        return (
            f'{find_processor()}, {len(os.sched_getaffinity(0))} cores, '
            f'{torch.get_num_threads()} threads, {"half" if self.plain.half else "float32"}'
        )

    def _recall(self) -> str:
        """The fastest of a kept measurement of the same backends; empty where there is none."""
        milliseconds = read_record(self.record).get(self._machine, {})
        if set(milliseconds) != {'torch', *self.others}:
            return ''
        return choose_fastest(milliseconds)

    def _measure(self, names: tuple[str, ...], on_progress: OnProgress) -> str:
        """Time all backends in turns, keep the figures, and name the fastest."""
        runners: dict[str, Runner] = {'torch': self._run_torch}
        failed: dict[str, float] = {}
        for name, backend in self.others.items():
            try:
                runners[name] = backend.runner(names, on_progress)
            except BackendError as err:
                on_progress(f'without {name}: {err}')
                failed[name] = float('inf')
        rng = np.random.default_rng(0)
        images = {
            name: torch.from_numpy(
                rng.standard_normal(
                    (1, self.spec.channels[name], *self.spec.input_size), np.float32
                )
            )
            for name in names
        }
        best = time_in_turns(runners, images)
        told = ', '.join(f'{name} {ms:.0f} ms' for name, ms in sorted(best.items(), key=_value))
        on_progress(f'{self.spec.key}, {"+".join(names)}, {self._machine}: {told}')
        # what failed is kept, too, or every start would try it again
        best.update(failed)
        write_record(self.record, {**read_record(self.record), self._machine: best})
        return choose_fastest(best)


def choose_fastest(milliseconds: Mapping[str, float]) -> str:
    """Choose a backend by its time; torch where no other one is clearly faster.

    Args:
        milliseconds: Time of each, `torch` among them.

    Returns:
        Its name.
    """
    name = min(milliseconds, key=lambda each: milliseconds[each])
    return name if milliseconds[name] < CLEAR * milliseconds['torch'] else 'torch'


def time_in_turns(runners: Mapping[str, Runner], images: Images) -> dict[str, float]:
    """Time runners of one network on the same images.

    Args:
        runners: By name.
        images: (1, C, H, W) of each modality.

    Returns:
        Least milliseconds of each over `ROUNDS` turns, after one that does not count.
    """
    best = dict.fromkeys(runners, float('inf'))
    for turn in range(ROUNDS + 1):
        for name, run in runners.items():
            begun = time.perf_counter()
            run(images)
            if turn:
                best[name] = min(best[name], 1e3 * (time.perf_counter() - begun))
    return best


def read_record(path: Path) -> dict[str, dict[str, float]]:
    """Read what was measured.

    Args:
        path: A file of `write_record`.

    Returns:
        Milliseconds by backend, infinite where it failed, by machine; empty where the file is
        missing or damaged: then it is measured again.
    """
    try:
        read: Any = json.loads(path.read_text(encoding='utf-8'))
        return {
            str(machine): {str(name): float(ms) for name, ms in row.items()}
            for machine, row in read.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def write_record(path: Path, record: Mapping[str, Mapping[str, float]]) -> None:
    """Write what was measured; the file appears all at once.

    Args:
        path: The file.
        record: As of `read_record`.

    Raises:
        BackendError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_file(path) as file:
            file.write(json.dumps(record, indent=1).encode())
    except OSError as err:
        raise BackendError(f'{path} cannot be written: {err.strerror}') from err


def _value(item: tuple[str, float]) -> float:
    return item[1]
