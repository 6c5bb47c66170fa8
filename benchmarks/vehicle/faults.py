"""What happens to the masks when something fails: real processes over DDS, one fault at a time.

    python -m benchmarks.vehicle.faults [--only camera] [--seconds 3]

After each fault: the longest gap in the masks (allowed: two deadlines and one reference period),
whether the status named the sensor and with which words, how long all sensors took to be back, and
whether any mask came twice or out of order. The network is the smallest one, untrained: what is
measured here is everything else.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.result_files import save_results
from benchmarks.vehicle.content import SENSORS, render_content
from benchmarks.vehicle.processes import Vehicle, drive, write_smallest_network

RATE_HZ = 10.0
DEADLINE_S = 0.05
ALLOWED_GAP_S = 2 * DEADLINE_S + 1 / RATE_HZ
STALE_S = 1.0
NODE = 'node'
HIDDEN = 'smallest.hidden'
Act = Callable[[Vehicle], object]


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes:
        name: What fails.
        sensor: Whose status is to name it; `NODE` where /diagnostics is to say that there is no
            mask; empty where nothing is to be named.
        begin: Makes it fail.
        end: Mends it.
        in_order: Whether stamps may not go back: they may where a clock does.
        gap_s: Longest gap allowed, seconds; None where no mask can come.
        before: Sensors that make masks before the fault; empty where nothing does.
        after: Sensors that make masks once it is mended.
    """

    name: str
    sensor: str
    begin: Act
    end: Act
    in_order: bool = True
    gap_s: float | None = ALLOWED_GAP_S
    before: tuple[str, ...] = SENSORS
    after: tuple[str, ...] = SENSORS


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        case: The fault.
        gap_s: Longest time without a mask, from the fault to its mend, seconds.
        said: What the status said of it, the most frequent first; empty where it named nothing.
        recovery_s: From the mend to the first mask from all sensors; None for never.
        disorder: Masks whose stamp was not newer than the one before.
        masks: Masks during the fault.
        age_s: Age of the oldest mask at its arrival, seconds; None where the clock that stamps
            it was wrong.
    """

    case: Case
    gap_s: float
    said: tuple[str, ...]
    recovery_s: float | None
    disorder: int
    masks: int
    age_s: float | None

    @property
    def words(self) -> str:
        """What the status said most often."""
        return self.said[0] if self.said else ''

    @property
    def complaints(self) -> list[str]:
        """What is not as it should be."""
        found = []
        if self.case.gap_s is not None and self.gap_s > self.case.gap_s:
            found.append('gap')
        if self.case.sensor and not self.words:
            found.append('not named')
        if self.recovery_s is None:
            found.append('no recovery')
        if self.case.in_order and self.disorder:
            found.append('order')
        if self.age_s is not None and self.age_s > STALE_S:
            found.append('stale')
        return found


def tell(sensor: str, line: str) -> Act:
    """Send a command to a sensor."""
    return lambda vehicle: vehicle.parts[sensor].tell(line)


def planted(sensor: str, fault: str, **options: bool) -> Case:
    """A fault that the sensor itself makes."""
    name = f'{sensor}: {fault}'
    return Case(name, sensor, tell(sensor, f'fault {fault}'), tell(sensor, 'clear'), **options)


def clock_case(sensor: str, jump_s: int) -> Case:
    """A clock that jumps; of the camera's, which leads, the others are told to be far from it."""
    leads = sensor == 'camera'
    begin = tell(sensor, f'fault clock {jump_s}')
    named = 'thermal' if leads else sensor
    return Case(
        f'{sensor}: clock {jump_s}', named, begin, tell(sensor, 'clear'), in_order=not leads
    )


def sensor_cases(sensor: str) -> list[Case]:
    """List all that one sensor may suffer."""

    def part(act: Callable[..., object], *arguments: int) -> Act:
        return lambda vehicle: act(vehicle.parts[sensor], *arguments)

    from benchmarks.vehicle.processes import Part

    harmless = partial(Case, sensor='')
    cases = [
        Case(f'{sensor}: killed, restarted', sensor, part(Part.kill), part(Part.restart)),
        Case(
            f'{sensor}: stopped, resumed',
            sensor,
            part(Part.signal, signal.SIGSTOP),
            part(Part.signal, signal.SIGCONT),
        ),
        planted(sensor, 'silent'),
        harmless(
            f'{sensor}: late 0.1',
            begin=tell(sensor, 'fault late 0.1'),
            end=tell(sensor, 'clear'),
        ),
        harmless(
            f'{sensor}: double_rate',
            begin=tell(sensor, 'fault double_rate'),
            end=tell(sensor, 'clear'),
        ),
        planted(sensor, 'wrong_encoding'),
        planted(sensor, 'truncated'),
        *(clock_case(sensor, jump_s) for jump_s in (10, -10)),
    ]
    if sensor in ('camera', 'thermal'):
        cases += [planted(sensor, 'frozen'), planted(sensor, 'black')]
    if sensor == 'lidar':
        cases += [planted(sensor, 'nan')]
    return cases


def start_cases(folder: Path) -> list[Case]:
    """List what is suffered once, in this order, by a vehicle that starts; see `start_all`.

    Args:
        folder: As of `start_all`.
    """

    def put_back(vehicle: Vehicle) -> None:
        hidden = folder / 'network' / HIDDEN
        hidden.rename(hidden.with_suffix('.safetensors'))
        for name in ('configure', 'activate'):
            if not vehicle.transition(name):
                raise RuntimeError(f'{name} failed')

    return [
        Case(
            'checkpoint missing',
            NODE,
            begin=lambda vehicle: vehicle.until(lambda: vehicle.heard.problems, 60.0),
            end=put_back,
            gap_s=None,
            before=(),
            after=('camera',),
        ),
        Case(
            'TF missing, then appears',
            'lidar',
            begin=lambda vehicle: None,
            end=lambda vehicle: vehicle.start('placement'),
            before=('camera',),
        ),
    ]


def all_cases() -> list[Case]:
    """List every fault that a running vehicle may suffer."""

    def everyone(line: str) -> Act:
        def act(vehicle: Vehicle) -> None:
            for sensor in SENSORS:
                vehicle.parts[sensor].tell(line)

        return act

    network = partial(Case, sensor='', gap_s=None)
    return [
        *(case for sensor in SENSORS for case in sensor_cases(sensor)),
        Case('bag loop: 5 s back', '', everyone('fault clock -5'), everyone('clear'), False),
        Case('camera_info changes', '', tell('camera', 'fault info'), tell('camera', 'clear')),
        network(
            'network: raises',
            begin=tell('faulty_network', 'raise'),
            end=tell('faulty_network', 'clear'),
        ),
        network(
            'network: loses the GPU',
            begin=tell('faulty_network', 'lose'),
            end=tell('faulty_network', 'clear'),
        ),
        network(
            'network: takes 5 s',
            begin=tell('faulty_network', 'sleep 5'),
            end=tell('faulty_network', 'clear'),
        ),
    ]  # fmt: skip


def run_case(vehicle: Vehicle, case: Case, seconds: float, settle: float = 0.5) -> Outcome:
    """Let a fault happen to a vehicle that is well.

    Args:
        vehicle: With all its parts.
        case: The fault.
        seconds: How long it lasts.
        settle: How long the vehicle is watched before and after, seconds.

    Returns:
        What came of it.
    """
    heard = vehicle.heard
    if case.before:
        vehicle.await_masks(sensors=case.before)
        vehicle.run(settle)
    begun = time.monotonic()
    first_mask = max(len(heard.masks) - 1, 0)
    case.begin(vehicle)
    vehicle.run(seconds)
    mended = time.monotonic()
    gap_end = len(heard.masks)
    case.end(vehicle)
    try:
        recovery_s = vehicle.await_masks(20.0, case.after)[0] - mended
    except RuntimeError as err:
        print(f'{case.name}: {err}'[:2000])
        recovery_s = None
    vehicle.run(settle)
    arrivals = [arrival for arrival, _, _ in heard.masks[first_mask : gap_end + 1]] or [mended]
    stamps = [stamp for _, stamp, _ in heard.masks[first_mask:]]
    return Outcome(
        case,
        gap_s=max((b - a for a, b in pairwise(arrivals)), default=0.0),
        said=spoken_words(vehicle, case, begun, mended),
        recovery_s=recovery_s,
        disorder=sum(b <= a for a, b in pairwise(stamps)),
        masks=sum(begun <= arrival < mended for arrival, _, _ in heard.masks),
        age_s=max((age for _, _, age in heard.masks[first_mask:]), default=0.0)
        if case.in_order
        else None,
    )


def spoken_words(vehicle: Vehicle, case: Case, begin: float, end: float) -> tuple[str, ...]:
    """Find what perception said about a fault.

    Args:
        vehicle: Who heard it.
        case: The fault.
        begin: Since when, steady seconds.
        end: Until when, steady seconds.

    Returns:
        In words, the most frequent first; empty where nothing was said.
    """
    statuses = [s for arrival, s in vehicle.heard.statuses if begin <= arrival < end]
    problems = [text for arrival, text in vehicle.heard.problems if begin <= arrival < end]
    sources: list[list[str | None]] = [[status.dropped for status in statuses]]
    if case.sensor == NODE:
        sources = [list(problems)]
    elif case.sensor:  # missing says more than the shortcoming of one that is used
        sources = [[s.missing.get(case.sensor) for s in statuses]]
        sources.append([s.notes.get(case.sensor) for s in statuses])
    counts = [Counter(words for words in source if words) for source in sources]
    return tuple(words for count in counts for words, _ in count.most_common())


def start_all(vehicle: Vehicle, folder: Path) -> None:
    """Start the sensors, and the segmentation node with the smallest network, to be mended.

    Its checkpoint is hidden, and nothing tells the transforms: `start_cases` come first.
    """
    network = write_smallest_network(folder / 'network')
    checkpoint = folder / 'network' / HIDDEN
    checkpoint.with_suffix('.safetensors').rename(checkpoint)
    settings = ['-p', f'bundler.sync.deadline_s:={DEADLINE_S}', '-p', 'diagnostics_period_s:=0.2']
    vehicle.start('faulty_network', '--ros-args', *network, *settings)
    for sensor in SENSORS:
        # 30 ms of events each: without a hole between the packets
        vehicle.start(sensor, '--rate', str(1 / 0.03 if sensor == 'event' else RATE_HZ))


def rows_of(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """The outcomes as figures to keep; what no mask can come of has no gap."""
    return [
        {
            'fault': outcome.case.name,
            'masks': outcome.masks,
            'gap_ms': None if outcome.case.gap_s is None else 1e3 * outcome.gap_s,
            'allowed_ms': None if outcome.case.gap_s is None else 1e3 * outcome.case.gap_s,
            'back_after_s': outcome.recovery_s,
            'status': outcome.words,
            'complaints': ', '.join(outcome.complaints),
        }
        for outcome in outcomes
    ]


def make_table(outcomes: list[Outcome]) -> Table:
    """Lay the outcomes out."""
    table = Table(title=f'gap allowed {1e3 * ALLOWED_GAP_S:.0f} ms')
    for name in ('fault', 'masks', 'gap ms', 'oldest ms', 'back after s'):
        table.add_column(name, no_wrap=True)
    table.add_column('what the status said')
    table.add_column('', no_wrap=True)
    for outcome in outcomes:
        recovery = '-' if outcome.recovery_s is None else f'{outcome.recovery_s:.2f}'
        complaints = ', '.join(outcome.complaints)
        table.add_row(
            outcome.case.name,
            str(outcome.masks),
            '-' if outcome.case.gap_s is None else f'{1e3 * outcome.gap_s:.0f}',
            '-' if outcome.age_s is None else f'{1e3 * outcome.age_s:.0f}',
            recovery,
            outcome.words,
            f'[red]{complaints}[/]' if complaints else '[green]ok[/]',
        )
    return table


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', default='', help='cases whose name contains this')
    parser.add_argument('--seconds', type=float, default=3.0, help='length of each fault')
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 180)
    with tempfile.TemporaryDirectory() as name, drive(Path(name)) as vehicle:
        console.print('rendering ...')
        render_content(Path(name))
        start_all(vehicle, Path(name))
        cases = start_cases(Path(name))
        cases += [case for case in all_cases() if options.only in case.name]
        outcomes = [
            run_case(vehicle, case, options.seconds)
            for case in track(cases, description='failing', console=console)
        ]
    console.print(make_table(outcomes))
    if not options.only:
        save_results('faults', rows_of(outcomes))


if __name__ == '__main__':
    main()
