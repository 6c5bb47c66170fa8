"""What each synchronizer makes of the same arrivals, beside `message_filters` in the same run.

Run from the repository root: `python -m benchmarks.sensors.synchronizer`. Five sensors, 60 s of
arrivals per case. For both: bundles per camera frame, pairings that are wrong by the true times,
the time by which a bundle leaves later than its reference came (the added wait: p50, p99), and
microseconds of processor per message. A sweep at 10 Hz beside a camera at 30 Hz is waited for
where its rhythm says that it comes before the deadline.

A case is played several times. Whatever the machine does besides hits another message each time,
so the least cost of each message is its own; `worst us` is the worst of these, `worst seen us`
the worst of all. Ours must account for each reference frame, and the run fails where it does not.

`ApproximateTimeSynchronizer` is measured where it can be imported (a ROS installation has it),
with a short and a long queue, once each. Where a case takes it too long, it is stopped, and the
row tells after which part.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.result_files import save_results
from sam_ad_perception.core.synchronization.config import SensorConfig
from sam_ad_perception.core.synchronization.results import Outcome, SyncedSet
from sam_ad_perception.core.synchronization.synchronizer import Synchronizer

MS, S = 1_000_000, 1_000_000_000
TOLERANCE = 50 * MS
PERIODS_MS = {'camera': 33, 'thermal': 33, 'event': 33, 'depth': 33, 'lidar': 100}
TEN_HERTZ = dict.fromkeys(PERIODS_MS, 100)


@dataclass(frozen=True)
class Arrival:
    """One frame: when it arrives, whose it is, its stamp, and when it was truly measured."""

    now: int
    key: str
    stamp: int
    true: int


@dataclass
class Result:
    """What one synchronizer did with one case."""

    bundles: int = 0
    wrong: int = 0
    latencies: list[int] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    left: int = 0


Case = tuple[list[Arrival], dict[str, int]]


def drive(
    seconds: int,
    offsets: dict[str, int] | None = None,
    periods_ms: dict[str, int] = PERIODS_MS,
) -> list[Arrival]:
    """Steady sensors with small phases, 1 ms of jitter, 5 to 10 ms of transport."""
    rng = Random(0)
    arrivals = []
    for i, (key, period) in enumerate(periods_ms.items()):
        for true in range(i * MS, seconds * S, period * MS):
            stamp = true + rng.randint(-MS // 2, MS // 2)
            now = true + rng.randint(5 * MS, 10 * MS)
            arrivals.append(Arrival(now, key, stamp + (offsets or {}).get(key, 0), true))
    return sorted(arrivals, key=lambda a: a.now)


def cases(seconds: int) -> dict[str, Case]:
    """Name -> arrivals, and the clock offsets that the user has configured."""
    steady = drive(seconds)
    ahead = {'thermal': 59 * MS}
    slow = drive(seconds, ahead, TEN_HERTZ)
    half, loop = seconds * S // 2, seconds * S
    no_lidar = [a for a in steady if a.key != 'lidar']
    again = [Arrival(a.now + loop, a.key, a.stamp, a.true) for a in steady]
    return {
        'all present': (steady, {}),
        'all at 10 Hz': (drive(seconds, None, TEN_HERTZ), {}),
        'lidar never comes': (no_lidar, {}),
        'thermal never comes': ([a for a in steady if a.key != 'thermal'], {}),
        'thermal stops': ([a for a in steady if a.key != 'thermal' or a.true < half], {}),
        'camera stops': ([a for a in steady if a.key != 'camera' or a.true < half], {}),
        'bag played twice': (steady + again, {}),
        'thermal 59 ms ahead, 10 Hz': (slow, {}),
        '... and configured': (slow, ahead),
        'bursts of 20 frames': (bursts(seconds), {}),
        'clusters of 20 frames': (clusters(seconds), {}),
    }


def bursts(seconds: int) -> list[Arrival]:
    """Frames 0.1 ms apart, further apart between sensors: many sets to try for message_filters."""
    return [
        Arrival(t * 200 * MS + n * 100_000, key, stamp, stamp)
        for t in range(seconds * 5)
        for i, key in enumerate(PERIODS_MS)
        for n in range(20)
        for stamp in [t * 200 * MS + i * 14 * MS + n * 100_000]
    ]


def clusters(seconds: int) -> list[Arrival]:
    """20 frames of each of four sensors near one camera frame, but not all near each other."""
    arrivals = []
    for t in range(200 * MS, seconds * S, 200 * MS):
        for n in range(20):
            for i, key in enumerate(('thermal', 'event', 'depth', 'lidar')):
                apart = -40 * MS if i < 2 else 30 * MS
                stamp = t + apart + n * 100_000
                arrivals.append(Arrival(t + 45 * MS + n * 100_000, key, stamp, stamp))
        arrivals.append(Arrival(t + 60 * MS, 'camera', t, t))
    return arrivals


def count_wrong(true_times: dict[str, list[int]], bundle: list[Arrival]) -> int:
    """How many frames of a bundle are not the ones measured nearest to its reference."""
    reference, *others = bundle
    wrong = 0
    for chosen in others:
        times = true_times[chosen.key]
        at = bisect_left(times, reference.true)
        nearest = min(abs(t - reference.true) for t in times[max(at - 1, 0) : at + 1])
        wrong += abs(chosen.true - reference.true) > nearest + 2 * MS  # twice the jitter
    return wrong


def play(arrivals: list[Arrival], contender: Contender, limit_s: float = 1e9) -> Result:
    """Feed a synchronizer, polling it in time where it wants that; stop past the time limit."""
    result = Result()
    times: dict[str, list[int]] = {key: [] for key in PERIODS_MS}
    for arrival in sorted(arrivals, key=lambda a: a.true):
        times[arrival.key].append(arrival.true)

    def note(now: int, bundles: list[list[Arrival]]) -> None:
        for bundle in bundles:
            result.bundles += 1
            result.wrong += count_wrong(times, [a for a in bundle if times[a.key]])
            result.latencies.append(now - bundle[0].now)

    gc.disable()
    spent = 0
    for number, arrival in enumerate(arrivals):
        if spent > limit_s * S:
            result.left = len(arrivals) - number
            break
        while (due := contender.due()) is not None and due < arrival.now:
            note(due, contender.poll(due))
        start = time.thread_time_ns()
        bundles = contender.add(arrival)
        result.costs.append(time.thread_time_ns() - start)
        spent += result.costs[-1]
        note(arrival.now, bundles)
    gc.enable()
    return result


class Ours:
    """Our synchronizer, with the parameters of a node."""

    def __init__(self, offsets: dict[str, int]) -> None:
        sensors = {
            key: SensorConfig(
                offset_s=offsets.get(key, 0) / S,
                tolerance_s=0.11 if key == 'lidar' else TOLERANCE / S,
            )
            for key in PERIODS_MS
        }
        self.sync: Synchronizer[str, Arrival] = Synchronizer(
            sensors, ['camera', 'thermal', 'lidar']
        )

    def due(self) -> int | None:
        """When it wants to be polled."""
        return self.sync.next_deadline_ns

    def poll(self, now: int) -> list[list[Arrival]]:
        """Bundles due by now, each with its reference first."""
        return self._bundles(self.sync.poll(now))

    def unaccounted(self) -> int:
        """Reference frames that became neither a bundle nor a counted drop, at the end."""
        self.sync.flush()
        counts = self.sync.counters
        ends = ('bundle', 'superseded', 'taken_back', 'required_absent')
        return sum(
            counts.get((key, 'reference'), 0) - sum(counts.get((key, end), 0) for end in ends)
            for key in PERIODS_MS
        )

    def add(self, arrival: Arrival) -> list[list[Arrival]]:
        """Bundles that the frame brings, each with its reference first."""
        return self._bundles(self.sync.add(arrival.key, arrival.stamp, arrival, arrival.now))

    def _bundles(self, outcomes: list[Outcome[str, Arrival]]) -> list[list[Arrival]]:
        return [
            [o.items[o.reference][1], *(a for k, (_, a) in o.items.items() if k != o.reference)]
            for o in outcomes
            if isinstance(o, SyncedSet)
        ]


class MessageFilters:
    """`ApproximateTimeSynchronizer` over the same sensors; it has no offsets and no deadline."""

    def __init__(self, module: Any, queue: int) -> None:
        self.make_time = importlib.import_module('builtin_interfaces.msg').Time
        self.inputs = {key: module.SimpleFilter() for key in PERIODS_MS}
        self.sync = module.ApproximateTimeSynchronizer(
            list(self.inputs.values()), queue, TOLERANCE / S
        )
        self.out: list[list[Arrival]] = []
        self.sync.registerCallback(lambda *m: self.out.append([each.arrival for each in m]))

    def due(self) -> None:
        """Never: it is driven by messages alone."""
        return

    def poll(self, now: int) -> list[list[Arrival]]:
        """Nothing comes by time."""
        return []

    def add(self, arrival: Arrival) -> list[list[Arrival]]:
        """Bundles that the frame brings, each with its reference first."""
        stamp = self.make_time(sec=arrival.stamp // S, nanosec=arrival.stamp % S)
        message = SimpleNamespace(header=SimpleNamespace(stamp=stamp), arrival=arrival)
        self.inputs[arrival.key].signalMessage(message)
        bundles, self.out = self.out, []
        return bundles


Contender = Ours | MessageFilters


def find_peer() -> Any:
    try:
        return importlib.import_module('message_filters')
    except ImportError as err:
        Console().print(f'message_filters is not measured: {err}')
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=int, default=60, help='length of each case')
    parser.add_argument('--repeat', type=int, default=5, help='so often ours plays a case')
    parser.add_argument(
        '--queue', type=int, nargs='*', default=[10, 100], help='queues of message_filters'
    )
    parser.add_argument(
        '--limit', type=float, default=20.0, help='seconds of processor per case of the peer'
    )
    arguments = parser.parse_args()
    peer = find_peer()
    columns = 'bundles', 'wrong', 'p50 ms', 'p99 ms', 'mean us', 'worst us', 'worst seen us'
    table = Table('case', 'synchronizer', *columns)
    rows = []
    for name, (arrivals, offsets) in cases(arguments.seconds).items():
        frames = sum(a.key == 'camera' for a in arrivals)
        results = []
        for _ in range(arguments.repeat):
            ours = Ours(offsets)
            results.append(play(arrivals, ours))
            if unaccounted := ours.unaccounted():
                raise SystemExit(f'{name}: {unaccounted} reference frames are unaccounted for')
        cells = figures(frames, results)
        table.add_row(name, 'ours', *cells)
        rows.append(
            {'case': name, 'synchronizer': 'ours', **dict(zip(columns, cells, strict=True))}
        )
        for queue in arguments.queue if peer is not None else ():
            result = play(arrivals, MessageFilters(peer, queue), arguments.limit)
            done = f', first {len(result.costs)} of {len(arrivals)}' if result.left else ''
            cells, who = figures(frames, [result]), f'message_filters, queue {queue}{done}'
            table.add_row('', who, *cells)
            rows.append(
                {'case': name, 'synchronizer': who, **dict(zip(columns, cells, strict=True))}
            )
    Console(width=130).print(table)
    names = ('case', 'synchronizer', *columns)
    save_results('synchronizer', [dict(zip(names, row, strict=True)) for row in rows])


def figures(frames: int, results: list[Result]) -> list[str]:
    """The cells of a row, from all plays of a case."""
    first = results[0]
    waits = [float('nan')] * 2
    if first.latencies:
        waits = [float(each) / MS for each in np.percentile(first.latencies, (50, 99))]
    costs = np.array([result.costs for result in results]) / 1e3
    own = costs.min(axis=0)
    return [
        f'{first.bundles} / {frames}',
        str(first.wrong),
        *(f'{each:.1f}' for each in waits),
        f'{costs.mean():.1f}',
        f'{own.max():.0f}',
        f'{costs.max():.0f}',
    ]


if __name__ == '__main__':
    main()
