"""Held-back frames in several processes: each is rendered once, for all that is measured on it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sam_ad_perception.core.health.config import HealthConfig
from sam_ad_perception.core.routing.table import RoutingTable
from sam_ad_perception.modeling.inference.expert_network import ExpertNetwork
from sam_ad_perception.modeling.inference.segmenter import Segmenter
from sam_ad_perception.modeling.inputs.preparation import PreparedBundle
from training.evaluation.data import HeldBackDrives
from training.evaluation.measurement import Score, Setting, System, empty_scores, measure_frame
from training.evaluation.plan import ROUTED, Extent, network_settings, vehicle_settings
from training.evaluation.selection import load_network
from training.evaluation.systems import GridUpperBound, NetworkSystem, VehicleSystem

SUBSETS, DRIVEN, FAULTS = 'subsets', 'driven', 'faults'
"""Parts of the evidence: networks on every set of sensors; the routed vehicle with all sensors and
without each; networks and vehicles with noise and faults."""
JUDGED = 'judged'
"""Of the first part, the frames on which the vehicle is judged."""

Scores = dict[str, dict[Setting, Score]]
"""By system and setting."""


@dataclass(frozen=True)
class Job:
    """What is measured.

    Attributes:
        networks: As of `selection.load_network`.
        zoo: The zoo.
        checkpoints: Folder of the checkpoints that the zoo names.
    """

    networks: tuple[str, ...]
    zoo: Path
    checkpoints: Path


@dataclass(frozen=True)
class NetworkFacts:
    """What a table says of a network beside its figures.

    Attributes:
        key: Its entry in the zoo.
        sensors: What it can see.
        parameters: All of them.
        sha256: Of its weights.
        grid: Rows and columns of its logits.
    """

    key: str
    sensors: tuple[str, ...]
    parameters: int
    sha256: str
    grid: tuple[int, int]

    @property
    def ceiling(self) -> str:
        """Name of the system that sees the truth through its grid."""
        return ceiling_name(self.grid)


def ceiling_name(grid: tuple[int, int]) -> str:
    """Name of the system that sees the truth through a grid."""
    return f'perfect labels, {grid[0]} x {grid[1]} grid'


@dataclass(frozen=True)
class Task:
    """One frame.

    Attributes:
        data: The frames.
        index: Which one.
        parts: What is measured on it.
        table: What the vehicle routes by.
    """

    data: HeldBackDrives
    index: int
    parts: tuple[str, ...]
    table: RoutingTable | None = None


class Bench:
    """All networks, ready for one frame after the other. One thread of torch: others run beside.

    Args:
        job: The networks.

    Attributes:
        facts: Of each network.

    Raises:
        ValueError: A network cannot be loaded, or two have one entry.
        OSError: A file cannot be read.
    """

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(1)
        trained = [load_network(name, job.zoo, job.checkpoints) for name in job.networks]
        keys = [each.spec.key for each in trained]
        if not keys or len(set(keys)) < len(keys):
            raise ValueError(f'networks must be of different entries, at least one; got {keys}')
        self.experts = [ExpertNetwork(each.spec, each.network) for each in trained]
        self.facts = [
            NetworkFacts(
                each.spec.key,
                tuple(each.spec.inputs),
                each.parameters,
                each.sha256,
                _grid_of(expert),
            )
            for each, expert in zip(trained, self.experts, strict=True)
        ]
        space = HeldBackDrives().space
        self.space = space
        self._networks = [NetworkSystem(expert, space) for expert in self.experts]
        grids = dict.fromkeys(facts.grid for facts in self.facts)
        self._ceilings = [GridUpperBound(ceiling_name(g), g, len(space)) for g in grids]
        self._checked = [
            VehicleSystem(
                checked_name(expert.spec.key), Segmenter([expert], health=HealthConfig()), space
            )
            for expert in self.experts
        ]
        self._vehicle = Segmenter(self.experts, health=HealthConfig())
        self._routed = VehicleSystem(ROUTED, self._vehicle, space)

    def measure(self, task: Task) -> dict[str, Scores]:
        """Render a frame and measure everything on it.

        Args:
            task: The frame.

        Returns:
            Scores by part.
        """
        sample = task.data.read(task.index)
        self._vehicle.table = task.table
        reached = {}
        before = task.data.read_before(task.index) if FAULTS in task.parts else []
        for vehicle in (*self._checked, self._routed):
            vehicle.before = before
        for part in task.parts:
            plan = self._plan(part, task.data.sensors)
            scores = empty_scores(plan, self.space)
            measure_frame(sample, task.index, plan, scores)
            reached[part] = {s.key: each for (s, _), each in zip(plan, scores, strict=True)}
        return reached

    def _plan(self, part: str, sensors: tuple[str, ...]) -> list[tuple[System, list[Setting]]]:
        plan: list[tuple[System, list[Setting]]] = []
        if part == DRIVEN:
            return [(self._routed, vehicle_settings(sensors, Extent()))]
        extent = Extent('all') if part == SUBSETS else Extent('full', noise=True, faults='all')
        plan += [(n, network_settings(n.expert.spec, sensors, extent)) for n in self._networks]
        if part == SUBSETS:
            return [*plan, *((ceiling, [Setting(sensors)]) for ceiling in self._ceilings)]
        for network, checked in zip(self._networks, self._checked, strict=True):
            own = [name for name in network.expert.spec.inputs if name in sensors]
            plan.append((checked, vehicle_settings(own, extent)))
        return [*plan, (self._routed, vehicle_settings(sensors, extent))]


def checked_name(key: str) -> str:
    """Name of a network behind the vehicle's health checks."""
    return f'{key}, checked'


def _grid_of(expert: ExpertNetwork) -> tuple[int, int]:
    size = expert.spec.input_size
    zeros = {n: np.zeros((c, *size), np.float32) for n, c in expert.spec.channels.items()}
    _, logits = expert.run([PreparedBundle(zeros, {})])
    return logits.shape[-2], logits.shape[-1]


Measure = Callable[[Iterable[Task]], Iterator[dict[str, Scores]]]


@contextmanager
def open_bench(job: Job, workers: int) -> Iterator[Measure]:
    """Start the processes.

    Args:
        job: The networks.
        workers: Number of processes; 1 stays in this one.

    Yields:
        What measures tasks, and gives their scores in the order of the tasks.
    """
    if workers == 1:
        bench = Bench(job)
        yield lambda tasks: map(bench.measure, tasks)
        return
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, context, _start, (job,)) as pool:

        def measure(tasks: Iterable[Task]) -> Iterator[dict[str, Scores]]:
            futures = [pool.submit(_measure, task) for task in tasks]
            return (future.result() for future in futures)

        try:
            yield measure
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_benches: list[Bench] = []
"""The bench of this process."""


def _start(job: Job) -> None:
    _benches.append(Bench(job))


def _measure(task: Task) -> dict[str, Scores]:
    return _benches[0].measure(task)


def merge_scores(total: Scores, more: Mapping[str, Mapping[Setting, Score]]) -> None:
    """Add scores of other frames.

    Args:
        total: Is added to.
        more: What is added; its scores may become part of the total.
    """
    for key, reached in more.items():
        known = total.setdefault(key, {})
        for setting, score in reached.items():
            if setting in known:
                known[setting].merge(score)
            else:
                known[setting] = score
