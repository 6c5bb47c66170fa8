"""Label many recordings at the same time with Ray: on the cores of one machine, or on a cluster.

Each worker is a process with its own networks that labels one recording after the other. All see
the same folders: on a cluster these lie on a shared file system, at the same path everywhere.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sam_ad_perception.bags.labelling.fleet import (
    BagJob,
    BagOutcome,
    BagProgress,
    Fate,
    FleetTask,
    Tell,
    label_one,
)
from sam_ad_perception.core.transaction import TargetError, lock_target, recover

ATTEMPTS = 3
"""A recording that its worker does not survive is tried so often."""
LOOK_S = 0.5
"""Progress is told and shown at this interval."""
_STORE_BYTES = 80 << 20


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs, and what each worker gets.

    Attributes:
        address: Of a cluster, `auto` or `ray://HOST:PORT`; '' for this machine alone.
        workers: How many processes; 0 for as many as there are cores, or GPUs, for.
        cpus: Cores of each.
        gpus: GPUs of each; a fraction where several share one.
    """

    address: str = ''
    workers: int = 0
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.workers < 0 or self.cpus < 1 or self.gpus < 0:
            raise ValueError(
                'workers must be 0 or more, CPUs of each 1 or more, GPUs of each 0 or more, got '
                f'{self.workers}, {self.cpus}, {self.gpus}'
            )


class _Worker:
    """Runs in a process of its own."""

    def __init__(self, task: FleetTask, board: Any) -> None:
        self._task = task
        self._board = board
        self._segmenter: Any = None
        self._told_s = 0.0

    def label(self, job: BagJob) -> BagOutcome:
        """Label a recording; only networks that cannot be loaded are an exception."""
        if self._segmenter is None:
            self._segmenter = self._task.load()
        return label_one(job, self._task, self._segmenter, self._tell)

    def _tell(self, progress: BagProgress) -> None:
        if time.monotonic() - self._told_s > LOOK_S:
            self._told_s = time.monotonic()
            self._board.tell.remote(progress)


class _Board:
    """Where workers say how far they are."""

    def __init__(self) -> None:
        self._told: dict[str, BagProgress] = {}

    def tell(self, progress: BagProgress) -> None:
        """Take news."""
        self._told[progress.name] = progress

    def read(self) -> list[BagProgress]:
        """Give the news since the last time."""
        told, self._told = self._told, {}
        return list(told.values())


def label_with_ray(
    jobs: Iterable[BagJob], task: FleetTask, options: RayOptions, tell: Tell
) -> Iterator[BagOutcome]:
    """Label recordings at the same time.

    Args:
        jobs: Which.
        task: How.
        options: Where.
        tell: Told how far each is.

    Yields:
        What became of each, as they end. One whose worker dies is tried again.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ValueError: There is no such cluster, or the networks cannot be loaded.
    """
    waiting = deque((job, 1) for job in jobs)
    ray = _start(options)
    running: dict[Any, tuple[BagJob, int, Any]] = {}
    try:
        board = ray.remote(num_cpus=0)(_Board).remote()
        make = ray.remote(num_cpus=options.cpus, num_gpus=options.gpus)(_Worker).remote
        count = min(len(waiting), options.workers or _room(ray.cluster_resources(), options))
        idle = [make(task, board) for _ in range(count)]
        while waiting or running:
            while idle and waiting:
                (job, attempt), worker = waiting.popleft(), idle.pop()
                running[worker.label.remote(job)] = job, attempt, worker
            ended, _ = ray.wait(list(running), timeout=LOOK_S)
            for progress in ray.get(board.read.remote()):
                tell(progress)
            for reference in ended:
                job, attempt, worker = running.pop(reference)
                try:
                    yield ray.get(reference)
                    idle.append(worker)
                except ray.exceptions.RayTaskError as err:
                    raise ValueError(f'a worker cannot begin: {err.cause}') from err
                except ray.exceptions.RayActorError:
                    idle.append(make(task, board))
                    if attempt < ATTEMPTS:
                        waiting.append((job, attempt + 1))
                        continue
                    reason = f'its worker died {attempt} times: too little memory?'
                    yield BagOutcome(job.name, Fate.FAILED, reason=reason)
    finally:
        ray.shutdown()
        for job, _, _ in running.values():
            with suppress(TargetError), lock_target(job.out):
                recover(job.out)


def _start(options: RayOptions) -> Any:
    """Connect to the cluster, or start Ray on this machine alone."""
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # it would report to its makers
    import ray

    quiet: dict[str, Any] = {'logging_level': logging.ERROR, 'log_to_driver': False}
    if not options.address:
        ray.init(
            address='local',
            num_cpus=options.workers * options.cpus or None,
            include_dashboard=False,
            object_store_memory=_STORE_BYTES,
            **quiet,
        )
        return ray
    try:
        ray.init(address=options.address, **quiet)
    except (ConnectionError, RuntimeError) as err:
        raise ValueError(f'no Ray cluster answers at {options.address}: {err}') from err
    return ray


def _room(resources: dict[str, float], options: RayOptions) -> int:
    """So many workers fit into a cluster now."""
    rooms = [resources.get('CPU', 0.0) // options.cpus]
    if options.gpus:
        rooms.append(resources.get('GPU', 0.0) // options.gpus)
    return max(1, int(min(rooms)))
